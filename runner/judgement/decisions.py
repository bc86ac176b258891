"""What people decided about findings: `runs/decisions.jsonl`, one line per decision, only ever appended to.

A finding is computed and never edited; the last line about its fingerprint says what has become of it.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from runner.errors import AskError, Complaint, LabError
from runner.lab.lock import locked
from runner.model.finding import Decision


def log_of(runs: Path) -> Path:
    return runs / "decisions.jsonl"


def append(runs: Path, decision: Decision) -> None:
    """Adds a line and flushes it. Safe when two write at once; a line that a crash tore stays, and ours stands after it.

    Raises LabError when it cannot be written; the log is then as it was.
    """
    path = log_of(runs)
    with locked(path) as fd:
        size = os.fstat(fd).st_size
        torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        try:
            with open(fd, "ab", closefd=False) as file:
                file.write(b"\n" * torn + decision.model_dump_json(exclude_none=True).encode() + b"\n")
            os.fsync(fd)
            if not size:
                _sync_folder(path.parent)
        except OSError as error:
            os.ftruncate(fd, size)
            raise LabError(f"{path} cannot be written: {error.strerror}", do="free or grant the place, then decide again") from error


def read(runs: Path) -> tuple[dict[str, list[Decision]], list[Complaint]]:
    """Every decision by fingerprint, oldest first, and each damaged line. Raises AskError when the log cannot be read at all."""
    path = log_of(runs)
    try:
        lines = path.read_bytes().split(b"\n") if path.exists() else []
    except OSError as error:
        raise AskError(f"{path} cannot be read: {error.strerror}") from error
    decided: dict[str, list[Decision]] = {}
    damaged = []
    for number, line in enumerate(lines, start=1):
        try:
            decision = Decision.model_validate_json(line) if line else None
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(str(key) for key in problem["loc"])
            damaged.append(Complaint(f"{field}: {problem['msg']}".removeprefix(": "), "one decision as JSON", f"{path}:{number}"))
            continue
        if decision:
            decided.setdefault(decision.fingerprint, []).append(decision)
    return decided, damaged


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
