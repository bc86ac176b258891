"""The roadmap of a lab, and what its `runs/` say about each entry: tested, attempted or untested. Nothing of it is stored.

What runs say is read without pydantic or PyYAML: they are imported where the roadmap's file is read.

a run of more than the baseline, `completed`   tested
a completed run of more than its baseline      tested
only other runs (failed, blocked, killed …)    attempted
no run                                         untested
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from runner.errors import AskError
from runner.lab.folder import RunFolder, read_json
from runner.lab.where import Lab

if TYPE_CHECKING:
    from runner.model.roadmap import Roadmap, RoadmapEntry

State = Literal["tested", "attempted", "untested"]
STATES: tuple[State, ...] = get_args(State)
RELATIVE = "pipelines/roadmap.yaml"
MAX_CHARS = 200


@dataclass(frozen=True)
class Tried:
    """One earlier run as its own folder tells it; every word is one bounded line."""

    run_id: str
    run_dir: str
    device: str
    status: str
    verdict: str
    summary: str
    beyond_baseline: bool = True  # something was held over it: a baseline alone tests nothing


def read_roadmap(lab: Lab) -> Roadmap:
    """The lab's own roadmap, else the built-in one. Raises AskError with every complaint about the file."""
    from runner.lab.yaml_source import Source
    from runner.model.roadmap import Roadmap

    path = lab.file(RELATIVE)
    if path is None:
        raise AskError(
            f"{RELATIVE} is not there", expected="the roadmap as scripts/make_roadmap.py writes it", where=str(lab.root / RELATIVE)
        )
    source = Source(path, lab.shown(path))
    roadmap = source.validate(Roadmap)
    if roadmap is None:
        raise AskError.of(source.complaints)
    return roadmap


def here(lab: Lab) -> list[str]:
    """Ids of the entries that have a pipeline folder, in this lab or built in."""
    from runner.lab.load import entry_id_of

    return [entry_id_of(name) for name in lab.names("pipelines", "*/entry.yaml")]


def known_id(name: str, roadmap: Roadmap, folders: Iterable[str], where: str) -> str:
    """The entry's id for `name`, in either case. Raises AskError with the nearest one."""
    from runner.lab.yaml_source import nearest

    ids = list(dict.fromkeys([*(row.id for row in roadmap.entries), *folders]))
    if name.upper() in ids:
        return name.upper()
    found = f"no entry is called {name[:MAX_CHARS]!r}{nearest(name.upper()[:MAX_CHARS], ids)}"
    raise AskError(found, expected=f"one of the {len(ids)} ids of `runner entry list`", where=where, do="runner entry list")


def tried(runs: Path, entry_id: str = "") -> dict[str, list[Tried]]:
    """Every run below `runs` by its entry's id, oldest first; only those of `entry_id` where one is given."""
    found: dict[str, list[Tried]] = {}
    for folder in RunFolder.every(runs):
        entry = folder.root.parent.name
        if entry_id in ("", entry):
            found.setdefault(entry, []).append(_told_by(folder))
    return found


def state_of(runs: Collection[Tried]) -> State:
    """What an entry's runs make of it."""
    return "tested" if any(run.status == "completed" and run.beyond_baseline for run in runs) else "attempted" if runs else "untested"


def next_entry(
    roadmap: Roadmap, runs: Mapping[str, Collection[Tried]], among: Collection[str] | None = None
) -> tuple[RoadmapEntry | None, str]:
    """The first entry in execution order without a completed run, and why it is that one; only ids `among`, where they are given."""
    rows = [row for row in roadmap.entries if among is None or row.id in among]
    left = [row for row in rows if state_of(runs.get(row.id, ())) != "tested"]
    row = min(left, key=lambda row: row.turn, default=None)
    if row is None:
        return None, "every entry is tested" if among is None else "every entry that has a folder is tested"
    attempts = len(runs.get(row.id, ()))
    said = f"attempted {attempts} {'time' if attempts == 1 else 'times'} and never completed" if attempts else "untested"
    alike = sum(other.turn == row.turn for other in left)
    tie = f", and of {alike} alike the roadmap names it first" if alike > 1 else ""
    return (
        row,
        f"{said}; no open entry comes before phase {row.phase}, {row.priority}, {row.risk}{tie} ({len(left)} of {len(rows)} are open)",
    )


def _told_by(folder: RunFolder) -> Tried:
    """A run's own words. One that cannot be read is a run all the same, and no test."""
    device, status, verdict, summary = "?", "unreadable", "", ""
    beyond = True
    with contextlib.suppress(AskError, KeyError, TypeError, AttributeError, RecursionError):
        plan = read_json(folder.run_config)["test_parameters"]
        device, beyond = one_line(plan["device"]), set(plan["scenarios"]) != {"baseline"}
    with contextlib.suppress(AskError, KeyError, TypeError, AttributeError, RecursionError):
        about = read_json(folder.findings)["metadata"]
        verdict, summary = one_line(about.get("verdict", "")), one_line(about.get("summary", ""))
        status = one_line(about["status"])
    return Tried(folder.run_id, str(folder.root), device, status, verdict, summary, beyond)


def one_line(text: Any, chars: int = MAX_CHARS) -> str:
    """Anybody's words as one printable line of at most so many characters."""
    return "".join(c if c.isprintable() else " " for c in str(text)[:chars])
