"""Every beginning of a stage's body, and how it ended: the device's word, and the witness's where the device's was lost.

    life 0   ingest ████ finished   screen ███╳ killed by the cut
    life 1   ingest  ◇ replayed     screen ██████ finished

The process that a body ran in is known by its boot and by when it began, so which cut ended it needs no comparing of clocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from runner.judgement.evidence import Cut, Evidence, Execution
from runner.judgement.report.markup import clean
from runner.judgement.timeline import Timeline
from runner.ondevice.journal import Record

WITNESS = "results/journal/witness.jsonl"
LONGEST_NAME = 120  # of a stage, as it is shown


class Body(NamedTuple):
    """A stage's body in one life of its execution. Seconds since the run began; None where that boot has no place in time."""

    stage: str
    life: int
    began_s: float | None
    ended_s: float | None
    ending: str  # finished, failed, killed, lost (killed, and its beginning is known from the witness alone) or open
    said: str  # the same in words
    where: str  # the record, or the witness's line, of its beginning


class Life(NamedTuple):
    """One process that the execution lived in."""

    number: int
    began_s: float | None
    ended_s: float | None
    cut: Cut | None  # the one that it came back from; None for the first life
    replayed: list[str]
    rejected: dict[str, str]  # stages that were not restored, and why
    where: str


@dataclass(frozen=True)
class Course:
    """What one execution did, from its first life to its last."""

    execution: Execution
    lives: list[Life]
    bodies: list[Body]
    began_s: float
    ended_s: float

    @property
    def stages(self) -> list[str]:
        """In the order in which they first began."""
        return list(dict.fromkeys(body.stage for body in self.bodies))


def courses(evidence: Evidence, timeline: Timeline) -> list[Course]:
    """The course of every execution, in the order in which they began."""
    return [_course(execution, evidence, timeline) for execution in evidence.executions]


def _course(execution: Execution, evidence: Evidence, timeline: Timeline) -> Course:
    marks = {
        (record.kind, record.payload.get("execution")): timeline.coordinator_s(record.boottime_ns)
        for record in evidence.coordinator
        if record.kind in ("execution_began", "execution_ended")
    }
    began_s = marks.get(("execution_began", execution.name), 0.0)
    ended_s = marks.get(("execution_ended", execution.name), timeline.end_s)
    off_s = {change.hold: change.at_s for change in timeline.power if not change.on and change.hold}
    killers = _Killers(evidence.cuts, off_s, ended_s)
    bodies = [*_recorded(execution, timeline, killers), *_only_witnessed(execution, timeline, killers)]
    bodies.sort(key=lambda body: ended_s if body.began_s is None else body.began_s)
    return Course(execution, list(_lives(execution, timeline, killers)), bodies, began_s, ended_s)


class _Killers:
    """Which cut ended whatever ran in a process, and when. A cut ends everything on the device, whatever it was meant for."""

    def __init__(self, cuts: list[Cut], off_s: dict[str, float], ended_s: float) -> None:
        self._cuts = sorted(cuts, key=lambda cut: off_s.get(cut.hold, ended_s))
        self._off_s, self._ended_s = off_s, ended_s

    def of(self, boot: str, boottime_ns: int) -> tuple[str, float]:
        """The hold of the cut ("" where it was none) and the second at which the process, or the whole execution, ended."""
        came_back = [
            index
            for index, cut in enumerate(self._cuts)
            if cut.recovered and cut.recovered["boot_id"] == boot and cut.recovered["supervisor_started_ns"] <= boottime_ns
        ]
        after = max(came_back, default=-1) + 1
        hold = self._cuts[after].hold if after < len(self._cuts) else ""
        off_s = self._off_s.get(hold, self._ended_s)
        return (hold, off_s) if off_s < self._ended_s else ("", self._ended_s)

    def body(self, stage: str, life: int, boot: str, boottime_ns: int, began_s: float | None, where: str, *, lost: bool) -> Body:
        """A body whose end nobody wrote down."""
        hold, off_s = self.of(boot, boottime_ns)
        how = "killed by the cut at " + hold + (", known from the witness alone" if lost else "") if hold else "its end is not recorded"
        ending = ("lost" if lost else "killed") if hold else "open"
        return Body(clean(stage, LONGEST_NAME), life, began_s, None if began_s is None else max(off_s, began_s), ending, how, where)


def _recorded(execution: Execution, timeline: Timeline, killers: _Killers) -> Iterable[Body]:
    """Bodies whose beginning stands in the journal. Stages of one life may run side by side."""
    life, begun = 0, dict[str, Record]()
    for record in [*execution.records, None]:
        if record is None or record.kind == "restored":
            for stage, start in begun.items():
                yield _unfinished(execution, timeline, killers, life, stage, start)
            life, begun = life + 1, {}
        elif record.kind == "stage_started":
            stage = record.payload["stage"]
            if stage in begun:
                yield _unfinished(execution, timeline, killers, life, stage, begun[stage])
            begun[stage] = record
        elif record.kind in ("stage_finished", "stage_raised") and record.payload.get("stage") in begun:
            start, status = begun.pop(record.payload["stage"]), str(record.payload.get("status"))
            well = record.kind == "stage_finished" and status == "ok"
            times = timeline.at(start), timeline.at(record)
            yield Body(
                clean(record.payload["stage"], LONGEST_NAME),
                life,
                *times,
                "finished" if well else "failed",
                f"finished: {status}",
                execution.where(start),
            )


def _unfinished(execution: Execution, timeline: Timeline, killers: _Killers, life: int, stage: str, start: Record) -> Body:
    where = execution.where(start)
    return killers.body(stage, life, start.boot_id, start.boottime_ns, timeline.at(start), where, lost=False)


def _only_witnessed(execution: Execution, timeline: Timeline, killers: _Killers) -> Iterable[Body]:
    """Bodies that the witness outside saw begin, and whose record the cut took."""
    written = set()
    life = 0
    for record in execution.records:
        life += record.kind == "restored"
        if record.kind == "stage_started":
            written.add((record.payload["stage"], life, record.boot_id))
    for line in execution.witnessed:
        if (line.stage, line.life, line.boot) not in written:
            began_s = timeline.device_s(line.boot, line.boottime_ns)
            where = f"{WITNESS}:{line.index + 1}"
            yield killers.body(line.stage, line.life, line.boot, line.boottime_ns, began_s, where, lost=True)


def _lives(execution: Execution, timeline: Timeline, killers: _Killers) -> Iterable[Life]:
    back = {cut.restored.sequence: cut for cut in execution.cuts if cut.restored}
    for number, record in enumerate(record for record in execution.records if record.kind == "restored" or record.sequence == 1):
        began_s, (_, off_s) = timeline.at(record), killers.of(record.boot_id, record.boottime_ns)
        said = record.payload if record.kind == "restored" else {}
        yield Life(
            number,
            began_s,
            None if began_s is None else max(off_s, began_s),
            back.get(record.sequence),
            [clean(str(stage), LONGEST_NAME) for stage in said.get("replay", [])],
            {str(stage): str(why) for stage, why in said.get("rejected", {}).items()},
            execution.where(record),
        )
