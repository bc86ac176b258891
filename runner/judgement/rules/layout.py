"""Names and files: is everything there that this run needs, called as the format has it, and nothing that must not be?"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from typing import get_args

from runner.judgement.checks import Problem
from runner.judgement.rules.look import MAX_BYTES, Found, Look, object_of
from runner.model.entry import Category


def run_folder_name(look: Look) -> Iterator[Problem]:
    if not re.fullmatch(r"run-\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])-\d{3}", look.root.name):
        yield f"the folder is called {look.root.name!r}", "."
    if look.config and look.config.get("run_id") != look.root.name:
        yield f"run_id is {look.config.get('run_id')!r}, the folder {look.root.name!r}", "config/run_config.json#/run_id"
    entry, parent = look.config.get("roadmap_entry_id"), look.root.parent.name
    if re.fullmatch(r"[A-Z0-9]+(-[A-Z0-9]+)*-\d{3}", parent) and entry and parent != entry:
        yield f"a run of {entry} lies among those of {parent}", ".."


def required_files(look: Look) -> Iterator[Problem]:
    folder = look.folder
    for path in (folder.readme, folder.findings, folder.final_report, folder.run_config, folder.environment):
        if not path.is_file():
            yield "is missing", look.shown(path)
        elif not path.stat().st_size:
            yield "is empty", look.shown(path)


def required_folders(look: Look) -> Iterator[Problem]:
    wanted = {"dx_evaluation": True, "pipelines": bool(look.plan.get("executions")), "results/journal": True}
    wanted |= dict.fromkeys(("tests", "results"), look.ran)
    earlier = [path for path in look.root.parent.glob("run-*") if path.is_dir() and path.name < look.root.name]
    wanted["research"] = not earlier and not look.in_progress
    for name, needed in wanted.items():
        if needed and not (look.root / name).is_dir():
            yield "is missing" + (": this is the first run of its entry" if name == "research" else ""), name


def json_readable(look: Look) -> Iterator[Problem]:
    for path in look.files():
        if path.suffix == ".json" and path.is_file() and look.shown(path).partition("/")[0] != "pipelines":
            try:
                json.loads(path.read_bytes())
            except (ValueError, RecursionError) as error:
                line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
                yield f"is no JSON: {getattr(error, 'msg', error)}", look.shown(path) + line


def category_files(look: Look) -> Found:
    folder = look.root / "tests"
    if not folder.is_dir():
        return None
    wanted = {"__init__.py", "conftest.py", *(f"test_{category}.py" for category in get_args(Category))}
    there = {path.name for path in folder.glob("*.py")}
    missing = [("is missing", f"tests/{name}") for name in sorted(wanted - there)]
    return missing + [("is none of the six categories", f"tests/{name}") for name in sorted(there - wanted) if name.startswith("test_")]


def pipeline_files(look: Look) -> Found:
    planned = look.plan.get("executions")
    if not isinstance(planned, list):
        return None
    modules = {str(object_of(one).get("module")) for one in planned}
    wanted = [f"pipelines/{name}.py" for name in ("__init__", *sorted(modules))]
    return [("is missing, and was planned to run", name) for name in wanted if not (look.root / name).is_file()]


def _named(place: str, pattern: str, allowed: str) -> Callable[[Look], Found]:
    """Every file in a folder of the run must be called so."""

    def names(look: Look) -> Found:
        found = [path for path in sorted(look.root.glob(place)) if path.is_file() and not path.name.startswith(("README", "."))]
        return [(f"is not called {allowed}", look.shown(path)) for path in found if not re.fullmatch(pattern, path.name)] if found else None

    return names


_LOG = r"run_.+\.log|run_.+_(analysis\.md|(stats|errors)\.json)|_(analysis\.md|(stats|errors)\.json)"
_MOCK = r"[A-Za-z0-9-]+(_[A-Za-z0-9-]+)+_\d+[kKmMgG]?(\.[a-z0-9]+)+"

log_names = _named("results/logs/*.log", _LOG, "run_*.log")
trace_names = _named("results/traces/*", r"trace_\d{8}_\d{6}_.+\.json", "trace_{timestamp}_{scenario}.json")
mock_names = _named("**/mocks/data/*/*", _MOCK, "{scenario}_{variant}_{size}.{ext}")


def metrics_files(look: Look) -> Found:
    if not look.ran or look.in_progress:
        return None
    names = [f"results/metrics/{name}.json" for name in ("latency", "throughput", "resource_usage")]
    return [("is missing", name) for name in names if not look.there(name)]


# ---- what must not be there ---------------------------------------------------------------------------------------------


def nothing_half_written(look: Look) -> Found:
    return [("was never finished", look.shown(path)) for path in look.files() if path.name.endswith((".part", ".new"))]


def links_stay_inside(look: Look) -> Iterator[Problem]:
    root = look.root.resolve()
    for path in look.files():
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            yield f"leads out of the folder, to {os.readlink(path)}", look.shown(path)


_SECRETS = {
    "a private key": re.compile(rb"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----\s*[A-Za-z0-9+/]"),
    "an access key": re.compile(rb"\b(AKIA|ASIA)[A-Z0-9]{16}\b"),
    "an access token": re.compile(rb"\b(gh[pousr]_[A-Za-z0-9]{36,}|glpat-[A-Za-z0-9_-]{20,}|xox[abpr]-[A-Za-z0-9-]{20,})"),
}


def no_secrets(look: Look) -> Iterator[Problem]:
    for path in look.files():
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                data = file.read(MAX_BYTES)
            for what, pattern in _SECRETS.items():
                if match := pattern.search(data):
                    yield f"looks like {what}", f"{look.shown(path)}:{_line_of(data, match.start())}"


def _line_of(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1
