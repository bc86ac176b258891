"""The guard's journals, one for each run, written by a thread that nobody who reverts has to wait for.

A disk that is full, damaged or does not answer costs the notes, never an undo: a journal that cannot be written is
ignored from then on.
"""

from __future__ import annotations

import os
import queue
import threading
from typing import Any

from .journal import Journal, fsync_folder
from .say import say

IDLE_S = 1.0  # what was only written is flushed when this long nothing more came


class Note:
    """One record on its way to the disk."""

    def __init__(self, run: str, kind: str, payload: dict[str, Any], flush: bool) -> None:
        self.run, self.kind, self.payload, self.flush = run, kind, payload, flush
        self.error = ""
        self._done = threading.Event()

    def done(self) -> None:
        self._done.set()

    def wait(self, limit_s: float) -> str:
        """Why it is not on the disk, or ""."""
        return self.error if self._done.wait(limit_s) else f"the disk did not answer within {limit_s:g} s"


class Notes(threading.Thread):
    """`first` is what each journal is told when this guard opens it: that it was started, and why."""

    def __init__(self, runs: str, first: dict[str, Any]) -> None:
        super().__init__(daemon=True, name="notes")
        self._runs, self._first = runs, first
        self._queue: queue.Queue[Note] = queue.Queue()
        self._journals: dict[str, Journal | None] = {}  # None: it cannot be written, and why not
        self._wrong: dict[str, str] = {}
        self._told: set[str] = set()
        self._unflushed: set[str] = set()

    def note(self, run: str, kind: str, payload: dict[str, Any], flush: bool = False) -> Note:
        note = Note(run, kind, payload, flush)
        self._queue.put(note)
        return note

    def open(self, run: str) -> Note:
        """The journal of `run`, made where it was none."""
        return self.note(run, "", {}, True)

    def settle(self, limit_s: float) -> None:
        """Returns when all that was noted so far is on the disk, or the limit is over."""
        self.note("", "", {}, True).wait(limit_s)

    def forget(self, run: str) -> None:
        """No program of this run is left: its folder may be removed, and its journal anew opened for the next."""
        self.note(run, "forget", {}, True)

    def run(self) -> None:
        while True:
            try:
                note = self._queue.get(timeout=IDLE_S)
            except queue.Empty:
                self._flush_all()
                continue
            try:
                self._take(note)
            except Exception as error:  # and not OSError alone: this thread must go on
                note.error = f"{type(error).__name__}: {error}"
                say(f"the guard's journal of {note.run}: {note.error}")
                self._journals[note.run], self._wrong[note.run] = None, note.error
            note.done()

    def _take(self, note: Note) -> None:
        if not note.run:
            self._flush_all()
        elif note.kind == "forget":
            journal = self._journals.pop(note.run, None)
            self._wrong.pop(note.run, None)
            self._unflushed.discard(note.run)
            if journal is not None:
                journal.flush()
                journal.close()
        else:
            journal = self._journal(note.run)
            if journal is None:
                note.error = self._wrong[note.run]
                return
            if note.kind:
                journal.write(note.kind, note.payload)
                self._unflushed.add(note.run)
            if note.flush:
                journal.flush()
                self._unflushed.discard(note.run)

    def _journal(self, run: str) -> Journal | None:
        if run not in self._journals:
            self._journals[run] = journal = open_journal(os.path.join(self._runs, run, "guard"), run)
            if run not in self._told or journal.written_sequence == 1:
                self._told.add(run)
                journal.write("guard_started", self._first)
                self._unflushed.add(run)
        return self._journals[run]

    def _flush_all(self) -> None:
        for run in list(self._unflushed):
            self._unflushed.discard(run)
            try:
                journal = self._journals.get(run)
                if journal is not None:
                    journal.flush()
            except OSError as error:
                self._journals[run], self._wrong[run] = None, f"{type(error).__name__}: {error}"


def open_journal(folder: str, run: str) -> Journal:
    """The guard's journal of one run, in `folder`; a new one is durable with its name. Raises OSError."""
    path = os.path.join(folder, "journal")
    if os.path.exists(path):
        return Journal.open(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for parent in (os.path.dirname(os.path.dirname(folder)), os.path.dirname(folder)):
        fsync_folder(parent)
    return Journal.create(path, "began", {"run": run, "stages": [], "holds": []})
