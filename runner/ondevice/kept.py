"""Executions as they lie on the disk: which one is the current one, whether its journal may go on, and how one that ended is read."""

from __future__ import annotations

import os
import threading
from typing import Any

from .journal import FILE_HEADER, Journal, Record, find_record, fsync_file, read
from .results import ENDS


class JournalRefused(Exception):
    """A journal that must not go on, and why."""


class Kept:
    """A journal that nobody writes any more: what of it is whole, flushed when this is made, and no more than looked at."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.changed = threading.Condition()
        self.over = True

    @classmethod
    def open(cls, path: str) -> Kept | None:
        """None when there is no journal at `path`. The file is left as it is."""
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as file:
            fsync_file(fd)
            return cls(Journal(path, -1, read(file.read()), 0))

    def state(self) -> dict[str, Any]:
        return {"ended": any(record.kind in ENDS for record in self.journal.records), "held": None}


def refuse(data: bytes, records: list[Record], name: str) -> None:
    """Raises JournalRefused for a journal that is not that of `name` ("run/execution"), or that is damaged *before* its end.

    A power cut tears the last records off, never one that whole records follow.
    """
    if data[: len(FILE_HEADER)] != FILE_HEADER:
        raise JournalRefused("the journal does not begin as journals do")
    end = len(FILE_HEADER) + sum(len(record.raw) for record in records)
    behind = find_record(data, end + 1, len(records) + 1) if len(data) > end else None
    if behind is not None:
        raise JournalRefused(
            f"the journal is damaged at byte {end}, behind record {len(records)}: record {behind.sequence} after it is whole"
        )
    if records and name != f"{records[0].payload.get('run')}/{records[0].payload.get('execution')}":
        raise JournalRefused(f"the journal is that of {records[0].payload.get('run')}/{records[0].payload.get('execution')}")


def point_to(runs: str, execution: str) -> None:
    """Durably notes which execution is the current one. No clock is asked: a board may boot in 1970."""
    with open(os.path.join(runs, "current.new"), "w") as file:
        file.write(execution)
        file.flush()
        fsync_file(file.fileno())
    os.rename(os.path.join(runs, "current.new"), os.path.join(runs, "current"))


def find_current(runs: str) -> str | None:
    """The folder of the current execution, or None when there is none or its journal is not there."""
    try:
        with open(os.path.join(runs, "current")) as file:
            folder = os.path.join(runs, file.read())
    except OSError:
        return None
    return folder if os.path.exists(os.path.join(folder, "journal")) else None
