"""How the threads of one execution write its journal: promises, what is none, and an end behind which nothing comes.

    make       flushed when it returns, and whoever follows the journal is told: anybody may act on it
    write      in the journal, and on the disk with the next promise; how far it is written is told
    put        the same, and nobody is told: for whoever holds the lock, because something else must come first
    end        the last record, once
"""

from __future__ import annotations

import threading
from typing import Any, Callable

from .journal import Journal, Record
from .results import ENDS

Publish = Callable[[dict[str, Any]], None]


class Over(Exception):
    """The execution has ended: what its pipelines still say is not part of it."""


class Promises:
    """The journal of one execution. `publish` sends events to whoever is attached; `changed` is notified when more of it is flushed, or
    mirrored."""

    def __init__(self, journal: Journal, publish: Publish) -> None:
        self.journal, self.lock = journal, journal.lock
        self.changed = threading.Condition()
        self.mirrored_sequence = 0
        self.ended = any(record.kind in ENDS for record in journal.records)
        self.abandoned = False  # somebody ends it: what breaks from here on is not how it ended
        self._publish = publish

    def make(self, kind: str, payload: dict[str, Any]) -> None:
        """Raises Over behind the end."""
        with self.lock:
            self._refuse_behind_the_end(kind)
            self.journal.append(kind, payload)
        self.announce()

    def write(self, kind: str, payload: dict[str, Any]) -> Record:
        """Raises Over behind the end."""
        record = self.put(kind, payload)
        self.tell_progress(payload.get("stage", ""))
        return record

    def put(self, kind: str, payload: dict[str, Any]) -> Record:
        """Raises Over behind the end."""
        with self.lock:
            self._refuse_behind_the_end(kind)
            return self.journal.write(kind, payload)

    def flush(self) -> None:
        """All that is written is a promise now."""
        self.journal.flush()
        self.announce()

    def end(self, kind: str, payload: dict[str, Any], before: Callable[[], dict[str, Any]] = dict) -> None:
        """The last record of this journal, once: whoever comes second finds that it has ended already. What `before` says goes ahead of it.

        What breaks because somebody abandoned the execution, such as its killed pipelines, is not how it ended.
        """
        with self.lock:
            if not self.ended and (kind == "abandoned" or not self.abandoned):
                confined = before()
                if confined:
                    self.journal.write("confined", confined)
                self.make(kind, payload)
                self.ended = True

    def mirrored(self, sequence: int) -> None:
        """The coordinator has every record up to `sequence` on its own disk."""
        with self.changed:
            self.mirrored_sequence = max(self.mirrored_sequence, sequence)
            self.changed.notify_all()

    def announce(self) -> None:
        """More of it is flushed than was."""
        with self.changed:
            self.changed.notify_all()

    def tell_progress(self, stage: str) -> None:
        written, flushed = self.journal.written_sequence, self.journal.flushed_sequence
        self._publish({"event": "progress", "stage": stage, "written": written, "flushed": flushed})

    def _refuse_behind_the_end(self, kind: str) -> None:
        """Nothing is written behind the last record, whatever a pipeline still has to say."""
        if self.ended and kind not in ENDS:
            raise Over
