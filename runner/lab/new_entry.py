"""`runner entry new`: a folder of pipelines that runs at once, made from templates, whole or not at all.

    templates/entry/**/NAME.template  ─►  <lab>/pipelines/fin_001/**/NAME

with {{ID}}, {{TITLE}} … replaced by the roadmap's words, and the mock data made by the generator that is one of the files.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
from pathlib import Path

from runner.errors import AskError
from runner.lab.load import folder_name
from runner.lab.template import TEMPLATES, fill
from runner.lab.where import Lab
from runner.model.roadmap import RoadmapEntry

FILES = TEMPLATES / "entry"
SUFFIX = ".template"


def new_entry(lab: Lab, row: RoadmapEntry) -> Path:
    """Makes the entry's folder in `lab` and gives its path.

    Raises AskError, with nothing made: in the built-in lab, where the entry has a folder, and where none can be written.
    """
    relative = f"pipelines/{folder_name(row.id)}"
    if lab.builtin:
        raise AskError(
            "the built-in lab is not written to",
            expected="a lab of your own",
            do=f"runner init my-lab && cd my-lab && runner entry new {row.id}",
        )
    there = lab.file(relative)
    if there is not None:
        own = there.is_relative_to(lab.root)
        do = f"runner entry check {row.id}" if own else f"to change it, copy it: cp -r {there} {lab.root / relative}"
        raise AskError(f"{row.id} has a folder already", expected="an entry without one", where=lab.shown(there), do=do)
    folder = lab.root / relative
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        for name, text in rendered(row).items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_text(text, encoding="utf-8")
        runpy.run_path(str(part / "mocks" / "generate.py"))["write"](part / "mocks" / "data")
        part.rename(folder)  # fails where somebody else was quicker
    except OSError as error:
        raise AskError(f"{folder} cannot be made: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def rendered(row: RoadmapEntry) -> dict[str, str]:
    """Every file of a new entry by its path in the folder. A title may hold any character: it can break neither Python nor YAML."""
    words = {
        "ID": row.id,
        "FOLDER": folder_name(row.id),
        "TITLE": "".join(c for c in row.title if c.isprintable() and c not in '"\\'),
        "TITLE_YAML": json.dumps(row.title),
        "PRIORITY": row.priority,
        "RISK": row.risk,
        "INDUSTRY_YAML": json.dumps(row.industry),
        "DEPLOYMENT_MODE_YAML": json.dumps(row.deployment_mode),
    }
    return {
        str(path.relative_to(FILES)).removesuffix(SUFFIX): fill(path.read_text(encoding="utf-8"), words)
        for path in sorted(FILES.rglob(f"*{SUFFIX}"))
    }
