"""Places where an execution stops and waits for the coordinator, so that a cut hits exactly there.

    started         the stage was witnessed; its body has not begun
    before_flush    its end is written and on its way to the disk, but not flushed
    after_flush     its end is flushed; nobody has been told
    after_ack       the host was told and the coordinator has mirrored it
    created         the journal and its first record are durable and mirrored (no stage)
    during_resume   the journal is verified; `restored` is written but not flushed (no stage)

Each is journaled as `holding` first, so that no restart stops at the same hold twice; all but `created`, which only a
first life can meet, and where any further flush would hide what it is there to show.

At every hold something unflushed lies behind the promise (the held record itself, or else a sample), already on its
way to the disk: so a cut there shows both that what was promised stays and that what was not goes.

An execution under faults (of its link, of what it may have, heat) stands after a restart, too, before any pipeline
goes on: the restart took them back, and only the coordinator arms them again. For how long is in `host_ready`, and is
no part of the restart.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Callable

from .journal import Record
from .promises import Promises
from .results import finished_stages

HOLD_LIMIT_S = 120.0  # a hold whose coordinator never comes back is given up, and the run goes on by itself


class Holds:
    """Those of one execution, and how it stands at them. `measure` makes a sample, `publish` sends events to whoever is attached."""

    def __init__(
        self,
        planned: list[dict[str, Any]],
        promises: Promises,
        measure: Callable[[], dict[str, Any]],
        publish: Callable[[dict[str, Any]], None],
    ) -> None:
        self.standing: dict[str, Any] | None = None  # where it stands now
        self.alone = False  # a hold was given up: nobody is there, and no further hold waits for anybody
        self._planned, self._promises, self._measure, self._publish = planned, promises, measure, publish
        self._proceed = threading.Event()
        self._under_faults = threading.Event()  # what a restart took back is on again
        self._turn = threading.Lock()  # one hold at a time

    def proceed(self) -> None:
        """Lets a held execution go on."""
        self._proceed.set()

    def under_faults(self) -> None:
        """The faults of this execution, which the restart took back, are armed again: its pipelines may go on."""
        self._under_faults.set()

    # ---- which one comes next ---------------------------------------------------------------------------

    def arm(self, stage: str, *points: str) -> dict[str, Any] | None:
        """The first hold planned at one of these points that no life has used yet, durably marked as used; else None.

        Whoever gets one has the turn until it has stood there: pipelines that run at once stand at holds one after the other.
        """
        for point in points:
            while not self._turn.acquire(timeout=0.5):
                if self._promises.ended or self._promises.abandoned:
                    return None
            found = None if self.alone else self.use_next(stage, point)
            if found is not None:
                return found
            self._turn.release()
        return None

    def use_next(self, stage: str, point: str) -> dict[str, Any] | None:
        """The same at one point, without the turn."""
        records = self._promises.journal.records
        passed = {record.payload["hold"] for record in records if record.kind == "holding"}
        passed |= {hold["hold"] for hold in self._planned if hold["stage"] in finished_stages(records)}
        left = [hold for hold in self._planned if hold["hold"] not in passed and hold["point"] != "created"]
        for hold in left[:1] if point == "during_resume" else left:  # a resume is cut at its turn, stages as they come
            if (hold["stage"], hold["point"]) == (stage, point):
                self._promises.make("holding", hold)
                return dict(hold)
        return None

    # ---- how it stands there ----------------------------------------------------------------------------

    def stand(self, hold: dict[str, Any], record: Record) -> None:
        """Tells the coordinator that the execution stands here, behind this record, and stands until told to proceed."""
        try:
            self._stand(hold, record)
        finally:
            self._turn.release()

    def _stand(self, hold: dict[str, Any], record: Record) -> None:
        self._proceed.clear()
        if self._promises.abandoned:
            return
        journal = self._promises.journal
        with self._promises.lock:
            if journal.flushed_sequence >= record.sequence:
                self._promises.put("sample", {"metrics": self._measure(), "behind": hold["hold"]})
            journal.start_writeback()
        self.standing = {
            **hold,
            "sequence": record.sequence,
            "written": journal.written_sequence,
            "flushed": journal.flushed_sequence,
        }
        self._publish({"event": "held", **self.standing})
        self.alone = not self._proceed.wait(HOLD_LIMIT_S)
        self.standing = None

    def stand_at_a_new_journal(self) -> None:
        first = self._promises.journal.records[0]
        for hold in self._planned:
            if hold["point"] == "created":
                self.await_mirror(first)
                self._turn.acquire()
                self.stand(dict(hold), first)

    def await_mirror(self, record: Record) -> None:
        """Stands until the coordinator has this record on its own disk, or nobody comes for it."""
        deadline = time.monotonic() + HOLD_LIMIT_S
        with self._promises.changed:
            while self._promises.mirrored_sequence < record.sequence and not self._promises.abandoned and not self.alone:
                self._promises.changed.wait(1.0)
                self.alone = time.monotonic() > deadline

    def await_faults(self) -> float:
        """Stands until the faults are armed again, or nobody comes to do that; for how many seconds."""
        began = time.monotonic()
        while not (self._under_faults.wait(0.5) or self._promises.abandoned or self.alone):
            self.alone = time.monotonic() - began > HOLD_LIMIT_S
        return round(time.monotonic() - began, 3)
