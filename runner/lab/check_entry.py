"""What can be known of an entry's folder by reading it, nothing imported and nothing run.

Profiles, pipelines and checks that entry.yaml names exist, whatever else is wrong with it; the roadmap's words are the
roadmap's; each Python file is Python and leaves `runner` alone; each pipeline builds the stages that entry.yaml names.
"""

from __future__ import annotations

import ast
import os
import re
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from runner.lab.load import Reader
from runner.lab.yaml_source import TEXT, Source, Unreadable, nearest, one_of, read_text
from runner.model.roadmap import RoadmapEntry

THE_ROADMAPS = ("title", "priority", "risk")  # industry and deployment mode may be said more exactly
OWN_LOCK = "requirements.lock"  # what an entry's stages import beside Stageflow
PINNED = "NAME==VERSION and its hashes, as `uv pip compile --generate-hashes` writes them"
_PIN = re.compile(r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:\[[A-Za-z0-9,._-]*\])? *== *[A-Za-z0-9.!+_-]+ *(?:;.*)?")


def check_folder(reader: Reader, entry_id: str, row: RoadmapEntry | None) -> None:
    """Every complaint about the entry's folder, noted in `reader`, as far as entry.yaml can be read, whatever else is wrong with it.

    `row` is None for an entry of the lab's own.
    """
    source = reader.entry_source(entry_id)
    data = _mapping(source.data)
    for key in THE_ROADMAPS if row else ():
        said, wanted, where = data.get(key), getattr(row, key), source.where((key,))
        if isinstance(said, str) and said != wanted and where not in {each.where for each in reader.complaints}:
            reader.complain(f"{key} is {said!r}", f"{wanted!r}, as the roadmap says", where)
    trees = check_python(reader, reader.entry_folder(entry_id))
    for name, scenario in _mapping(data.get("scenarios")).items():
        pipeline, stages = _mapping(scenario).get("pipeline"), _mapping(scenario).get("stages")
        if not isinstance(pipeline, str) or pipeline not in trees:
            continue  # not there, or not Python: both are complained of elsewhere
        if "build" not in _top_names(trees[pipeline]):
            where = source.where(("scenarios", name, "pipeline"))
            reader.complain(f"pipeline {pipeline!r} has no `build`", "a function build() that gives a new Pipeline", where)
        built = _stages_built(trees, pipeline)
        if not built or not isinstance(stages, list):
            continue
        for place, stage in enumerate(stages):
            if isinstance(stage, str) and stage not in built:
                found = f"pipeline {pipeline!r} builds no stage {stage!r}{nearest(stage, built)}"
                reader.complain(found, one_of(built), source.where(("scenarios", name, "stages", place)))
        for stage in sorted(each for each in built if each not in stages):
            found = f"stage {stage!r} of pipeline {pipeline!r} is not in `stages`"
            reader.complain(found, "every stage that the pipeline builds", source.where(("scenarios", name, "stages")))


def check_python(reader: Reader, folder: Path) -> dict[str, ast.Module]:
    """Every Python file of an entry can be parsed, and imports nothing of ours: the others' syntax trees, by path without the suffix."""
    return dict(_parsed(reader, folder))


def check_names(reader: Reader, source: Source, folder: Path, generic: Collection[str], scenarios: Collection[str] | None = None) -> None:
    """Every pipeline, profile and check that `entry.yaml` names exists, whatever else is wrong with it; only in `scenarios`, if given.

    `generic` are the checks that every entry has. The entry's own checks.py is read and not run.
    """
    check_lock(reader, folder)
    own = own_checks(reader, folder)
    for name in sorted((own or set()) & set(generic)):
        where = reader.lab.shown(folder / "checks.py")
        reader.complain(f"{name} is a check that every entry has", "another name for the entry's own", where)
    for scenario, said in _mapping(_mapping(source.data).get("scenarios")).items():
        if scenarios is not None and scenario not in scenarios:
            continue
        pipeline, profile = _mapping(said).get("pipeline"), _mapping(said).get("profile")
        if isinstance(pipeline, str) and pipeline.isidentifier() and not os.path.isfile(folder / f"{pipeline}.py"):
            known = [path.stem for path in folder.glob("*.py") if os.path.isfile(path) and path.stem not in ("__init__", "checks")]
            found = f"no pipeline is called {pipeline!r}{nearest(pipeline, known)}"
            reader.complain(found, one_of(known), source.where(("scenarios", scenario, "pipeline")))
        for each in profile if isinstance(profile, list) else [profile]:
            if isinstance(each, str):
                reader.profile(each, source.where(("scenarios", scenario, "profile")))
        uses = _mapping(said).get("checks")
        for place, use in enumerate(uses if isinstance(uses, list) and own is not None else ()):
            check, names = _mapping(use).get("check"), {*(own or ()), *generic}
            if isinstance(check, str) and check not in names:
                where = source.where(("scenarios", scenario, "checks", place, "check"))
                reader.complain(f"no check is called {check!r}{nearest(check, names)}", one_of(names), where)


def check_lock(reader: Reader, folder: Path) -> None:
    """Every wheel that an entry needs beside Stageflow is pinned, each by SHA-256; nothing that an index would be asked for otherwise.

    Whether there are such wheels for a device only an index knows: it is asked when the device is there.
    """
    path, seen = folder / OWN_LOCK, set[str]()
    if not os.path.lexists(path):
        return
    shown = reader.lab.shown(path)
    try:
        requirements = list(_requirements(read_text(path)))
    except Unreadable as error:
        reader.complain(f"cannot be read: {error.found}", TEXT, f"{shown}:{error.line}")
        return
    for line, text in requirements:
        pin, *hashes = re.split(r"\s+--hash=", text)
        where, found = f"{shown}:{line}", _PIN.fullmatch(pin.strip())
        name = re.sub(r"[-_.]+", "-", found["name"]).lower() if found else ""
        bad = [each for each in hashes if not re.fullmatch(r"sha256:[0-9a-f]{64}", each.strip())]
        if found is None:
            reader.complain(f"{pin.strip()[:80]!r} pins no wheel", PINNED, where)
        elif not hashes:
            reader.complain(f"{name} has no hash", PINNED, where)
        elif bad:
            reader.complain(f"{bad[0].strip()[:80]!r} is no hash of a wheel", "--hash=sha256: and 64 digits", where)
        if name == "stageflow-core":
            reader.complain("stageflow-core is pinned", "`stageflow: VERSION` in entry.yaml: its wheels are known", where)
        elif name in seen:
            reader.complain(f"{name} is pinned twice", "once, with all hashes", where)
        seen.add(name)
    if not requirements:
        reader.complain("it pins no wheel", f"{PINNED}; or no {OWN_LOCK}", f"{shown}:1")


def _requirements(text: str) -> Iterator[tuple[int, str]]:
    """Each requirement of a lock with the line in which it begins, its lines joined and comments left out."""
    began, parts = 0, list[str]()
    for number, line in enumerate([*text.splitlines(), ""], 1):
        said = "" if line.lstrip().startswith("#") else line.partition(" #")[0].rstrip()
        began = began if parts else number
        parts.append(said.removesuffix("\\"))
        if not said.endswith("\\"):
            whole, parts = " ".join(parts).strip(), []
            if whole:
                yield began, whole


def own_checks(reader: Reader, folder: Path) -> set[str] | None:
    """Public functions of an entry's checks.py; none where there is none. None when it cannot be read, which is complained of."""
    path = folder / "checks.py"
    if not os.path.lexists(path):
        return set()
    tree = read_python(reader, path)
    return (
        None if tree is None else {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")}
    )


def read_python(reader: Reader, path: Path) -> ast.Module | None:
    """The syntax tree of a file, or None with one complaint about it. It is not run."""
    shown = reader.lab.shown(path)
    try:
        text = read_text(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a strange escape, on standard error
            return ast.parse(text, str(path))
    except Unreadable as error:
        reader.complain(f"cannot be read: {error.found}", TEXT, f"{shown}:{error.line}")
    except SyntaxError as error:
        reader.complain(f"not Python: {error.msg}", "a file that Python can read", f"{shown}:{error.lineno or 1}", "mend this line")
    except (ValueError, RecursionError, MemoryError) as error:
        reader.complain(f"not Python: {str(error) or 'nested too deeply'}", "a file that Python can read", f"{shown}:1")
    return None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _parsed(reader: Reader, folder: Path) -> Iterator[tuple[str, ast.Module]]:
    """Each Python file below `folder`, as its path without the suffix and its syntax tree."""
    for path in sorted(folder.rglob("*.py")):
        tree = read_python(reader, path)
        if tree is None:
            continue
        for line in _lines_importing_us(tree):
            where = f"{reader.lab.shown(path)}:{line}"
            reader.complain("imports `runner`, which no device has", "relative imports and stageflow", where)
        yield str(path.relative_to(folder).with_suffix("")), tree


def _lines_importing_us(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        else:
            continue
        if any(name.partition(".")[0] == "runner" for name in names):
            yield node.lineno


def _top_names(tree: ast.Module) -> set[str]:
    """Names that a module defines or imports at its top level."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def _stages_built(trees: dict[str, ast.Module], pipeline: str) -> set[str] | None:
    """The names that a pipeline gives to `with_stage`, or that the one does whose `build` it takes over; None: not literal."""
    seen: set[str] = set()
    while pipeline in trees and pipeline not in seen:
        seen.add(pipeline)
        nodes = list(ast.walk(trees[pipeline]))
        calls = [n for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr == "with_stage"]
        if calls:
            names = [call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None for call in calls]
            return {str(name) for name in names} if all(isinstance(name, str) for name in names) else None
        taken = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.level == 1 and any(alias.name == "build" for alias in n.names)]
        pipeline = (taken[0].module or "") if taken else ""
    return None
