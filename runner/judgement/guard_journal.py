"""The journal of the device's guard: what it did to the link of an execution, and when. Read, and nothing concluded.

    armed ── step "on" ── step "off" ── step "on" ── … ── reverting ── reverted      each with the boot, and its clock
               └───────────── changes ─────────────────────┘

Its records are the device's words: one that lacks what such a record says is left out. See runner/ondevice/guard.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.ondevice import journal
from runner.ondevice.journal import Record
from runner.ondevice.results import has_shape

GUARD = "guard"  # the name under which the guard's journal is mirrored
GUARD_RECORDS: dict[str, dict[str, type]] = {  # what its records must hold, where anything is concluded from them
    "armed": {"program": str, "fault": str},
    "step": {"program": str, "word": str, "on": bool},
    "reverting": {"program": str, "why": str},
    "reverted": {"program": str, "why": str},
    "revert_failed": {"program": str, "left": list},
}


def guard_of(path: Path) -> list[Record]:
    """The records of a guard's journal that are what they must be; none where there is no file."""
    records = journal.read(path.read_bytes()) if path.exists() else []
    return [record for record in records if has_shape(record.payload, GUARD_RECORDS.get(record.kind, {}))]


def not_armed(guard: list[Record]) -> list[Record]:
    """Steps of what nothing had armed, or had armed again since it was taken back: no undo was on the disk when they were carried out."""
    armed: set[str] = set()
    found: list[Record] = []
    for record in guard:
        program = str(record.payload.get("program"))
        if record.kind == "armed":
            armed.add(program)
        elif record.kind == "reverted":
            armed.discard(program)
        elif record.kind == "step" and program not in armed:
            found.append(record)
    return found


def changes(guard: list[Record], execution: str) -> list[dict[str, Any]]:
    """Each change of the link faults of an execution, from the records of a guard: program, fault, word, on, and when.

    `boottime_ns` is when it was noted; it came about between `began_ns` and `done_ns`. A step that failed puts nothing on. After a
    boot a program goes on with what is left of it: of the steps that it makes up for then, one right behind the other, only the
    last says anything, and that is no new change but what was on before (`replayed`).
    """
    found: list[dict[str, Any]] = []
    latest: dict[str, dict[str, Any]] = {}
    overtaken: set[int] = set()
    for record in guard:
        said, program = record.payload, str(record.payload.get("program", ""))
        last = latest.get(program)
        if not program.startswith(f"{execution}."):
            continue
        if record.kind == "reverted" and last is not None and last["boot_id"] == record.boot_id and last["word"].startswith("reverted: "):
            last["done_ns"] = record.boottime_ns
        if record.kind not in ("step", "reverting"):
            continue
        replayed = record.kind == "step" and said.get("replayed") is True
        if replayed and last is not None and last["replayed"] and last["boot_id"] == record.boot_id:
            overtaken.add(id(last))
        latest[program] = {
            "program": program,
            "fault": program.removeprefix(f"{execution}.").rpartition("-")[0],
            "word": str(said["word"]) if record.kind == "step" else f"reverted: {said['why']}",
            "on": record.kind == "step" and said["on"] and not said.get("failed"),
            "boottime_ns": record.boottime_ns,
            "began_ns": record.boottime_ns - (_took_ns(said) if record.kind == "step" else 0),
            "done_ns": record.boottime_ns,
            "boot_id": record.boot_id,
            "replayed": replayed,
        }
        found.append(latest[program])
    return [change for change in found if id(change) not in overtaken]


def _took_ns(step: dict[str, Any]) -> int:
    """How long a step took, by the guard that did it; nothing where it says what no step takes."""
    took_s = step.get("took_s")
    return int(took_s * 1e9) if isinstance(took_s, int | float) and 0 <= took_s < 600 else 0
