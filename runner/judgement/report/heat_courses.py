"""What heat each execution went through: temperatures, clock and flags over time, and how long each stage took beside a run without heat.

    heat.jsonl        ──► die, board, air, clock, and when which flag was set
    device's journals ──► each stage: from when to when, and what it used of the full clock    (as judgement/heat.py places both in time)
    the baseline      ──► what the same stage took without heat
    held.py           ──► when its program was on
    judgement/heat    ──► asked and measured

Seconds since the run began. An execution without heat has no course, so nothing of this is in the files of a run without any.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from runner.judgement import heat
from runner.judgement.evidence import Evidence, Execution
from runner.judgement.heat_log import Heat, Tick
from runner.judgement.judge import one_line
from runner.judgement.report.held import Held, windows_of
from runner.judgement.report.series import Series, drawn, number
from runner.judgement.timeline import Timeline
from runner.ondevice import heat as model
from runner.ondevice.journal import Record

LIMIT = 1.2  # times what the clock explains, on a machine whose own speed is steady: from here on a stage took longer than that
SHORTEST_S = 0.2  # without heat: of what is over sooner, starting and flushing are the most, and a clock explains neither
LEAST_GAP_S = 5.0  # between two ticks: from here on a line has a gap
BASELINE = "baseline"


class Spell(NamedTuple):
    """One time that a flag was set: its word, from when to when, and the lowest clock meanwhile."""

    word: str
    began_s: float
    ended_s: float
    least_mhz: float


class StageTime(NamedTuple):
    """How long a stage took, in the boot in which it ended; `used_s` of the full clock, `cool_s` in the run without heat, or None.

    `limit`: times what its clock explains, from which on it took longer. `timed`: the device was timed on the same core meanwhile.
    """

    stage: str
    took_s: float
    used_s: float
    cool_s: float | None
    limit: float = LIMIT
    timed: bool = False

    @property
    def explained_s(self) -> float | None:
        """How long its clock alone lets it take: what it took without heat, by what share of the clock it had."""
        return None if self.cool_s is None or self.used_s <= 0 else self.cool_s * self.took_s / self.used_s

    @property
    def longer(self) -> bool:
        """Whether it took longer than its clock explains, was long enough to tell, and had the core for itself."""
        if self.cool_s is None or self.cool_s < SHORTEST_S or self.timed:
            return False
        return self.took_s > self.limit * (self.explained_s or 0.0)


@dataclass(frozen=True)
class HeatCourse(Held):
    """The heat of one execution."""

    ticks: list[tuple[float, Tick]]  # when, and what
    pace: float
    full_mhz: float
    steps: list[tuple[float, float, str]]  # of the throttle: from how many °C on which clock, and its flag's word
    ended: str
    spells: list[Spell]
    stages: list[StageTime]

    def series(self) -> list[Series]:
        """Die, board and air in °C, and the clock in MHz; a board without power ends a stretch, its body goes on."""
        lines = (
            ("die", "die", "°C", [(at_s, "", tick.die_c) for at_s, tick in self.ticks]),
            ("board", "board", "°C", [(at_s, "", tick.board_c) for at_s, tick in self.ticks]),
            ("ambient", "air", "°C", [(at_s, "", tick.ambient_c) for at_s, tick in self.ticks]),
            ("mhz", "clock", "MHz", list(self._clock())),
        )
        made = (
            drawn(f"{self.name} heat.{key}", f"{self.name}: {title}", unit, found, LEAST_GAP_S, self.end_s)
            for key, title, unit, found in lines
        )
        return [one for one in made if one.stretches]

    def _clock(self) -> Iterator[tuple[float, str, float]]:
        """When, in which stretch of power, and the clock. It steps: until a tick it is what it was at the one before."""
        stretch, before = 0, None
        for at_s, tick in self.ticks:
            if not tick.powered:
                before = None
                continue
            stretch += before is None
            if before not in (None, tick.mhz):
                yield at_s, str(stretch), before
            yield at_s, str(stretch), tick.mhz
            before = tick.mhz

    @property
    def waited_s(self) -> float:
        """How long the model stood still at first: until the pipeline began."""
        return next((at_s for at_s, tick in self.ticks if tick.on), self.ticks[-1][0]) - self.ticks[0][0]

    def at_each_clock(self) -> list[tuple[float, float]]:
        """(MHz, for how many seconds), the fastest first; while the board had no power it had no clock."""
        found: dict[float, float] = {}
        for (_, before), (_, tick) in zip(self.ticks, self.ticks[1:], strict=False):
            if before.powered:
                found[before.mhz] = found.get(before.mhz, 0.0) + tick.dt_s
        return sorted(found.items(), reverse=True)

    def span(self, key: str) -> tuple[float, float]:
        """The lowest and the highest of a figure."""
        values = [float(getattr(tick, key)) for _, tick in self.ticks]
        return min(values), max(values)


def heat_courses(evidence: Evidence, timeline: Timeline) -> list[HeatCourse]:
    """The course of each execution that was heated, in the order in which they began."""
    found = (_course(evidence, timeline, execution) for execution in evidence.executions)
    return [course for course in found if course is not None]


def _course(evidence: Evidence, timeline: Timeline, execution: Execution) -> HeatCourse | None:
    heats = [each for each in evidence.heated.heats if each.execution == execution.name and each.ticks]
    if not heats:
        return None
    told = heats[-1]
    ticks = [(timeline.coordinator_s(tick.boottime_ns), tick) for tick in told.ticks]
    full_mhz = max(tick.mhz for tick in told.ticks)
    return HeatCourse(
        execution,
        windows_of(evidence, timeline, execution, [heat.program(execution.name)]),
        heat.rows(evidence, execution),
        timeline.end_s,
        ticks,
        number(told.told.get("pace")) or 1.0,
        full_mhz,
        _steps(told),
        one_line(told.ended),
        list(_spells(ticks)),
        list(_stages(evidence, timeline, execution, told)),
    )


def _steps(told: Heat) -> list[tuple[float, float, str]]:
    """The throttle's steps as it was told them; what is no step is none."""
    throttle = told.told.get("throttle")
    steps = throttle.get("steps") if isinstance(throttle, dict) else None
    return [
        (float(step[0]), float(step[1]), one_line(str(step[2])))
        for step in (steps if isinstance(steps, list) else [])
        if isinstance(step, list) and len(step) == 3 and number(step[0]) is not None and number(step[1]) is not None
    ]


def _spells(ticks: list[tuple[float, Tick]]) -> Iterator[Spell]:
    """Each time that a flag was set, from the first tick that shows it to the first that does not."""
    open_: dict[str, tuple[float, float]] = {}
    for at_s, tick in ticks:
        now = set(model.words(tick.flags))
        for word in [word for word in open_ if word not in now]:
            began_s, least_mhz = open_.pop(word)
            yield Spell(word, began_s, at_s, least_mhz)
        for word in now:
            began_s, least_mhz = open_.get(word, (at_s, tick.mhz))
            open_[word] = (began_s, min(least_mhz, tick.mhz))
    for word, (began_s, least_mhz) in open_.items():
        yield Spell(word, began_s, ticks[-1][0], least_mhz)


def _stages(evidence: Evidence, timeline: Timeline, execution: Execution, told: Heat) -> Iterator[StageTime]:
    ticks = [(timeline.coordinator_s(tick.boottime_ns), tick) for tick in told.ticks]
    cool = {end.payload["stage"]: ended_s - began_s for one in evidence.of(BASELINE) for _, end, began_s, ended_s in _spans(one, timeline)}
    spans = list(_spans(execution, timeline))
    judged = [(start, end) for start, end, *_ in spans if cool.get(end.payload["stage"].partition("@")[0], 0.0) >= SHORTEST_S]
    beside = dict(zip((end.sequence for _, end in judged), evidence.timed_beside(execution, judged), strict=True))
    for start, end, began_s, ended_s in spans:
        stage, used_s = end.payload["stage"], _used(ticks, began_s, ended_s)
        limit = LIMIT * evidence.slower_beside(execution.name, start, end)
        timed, cool_s = beside.get(end.sequence, False), cool.get(stage.partition("@")[0])
        yield StageTime(one_line(stage), ended_s - began_s, used_s, cool_s, limit, timed)


def _spans(execution: Execution, timeline: Timeline) -> Iterator[tuple[Record, Record, float, float]]:
    """(start, end, from, to) of each stage that ended in the boot in which it began."""
    begun: dict[str, Any] = {}
    for record in execution.records:
        if record.kind == "stage_started":
            begun[record.payload["stage"]] = record
        elif record.kind == "stage_finished":
            start = begun.pop(record.payload["stage"], None)
            if start is not None and start.boot_id == record.boot_id:
                began_s, ended_s = timeline.at(start), timeline.at(record)
                if began_s is not None and ended_s is not None:
                    yield start, record, began_s, ended_s


def _used(ticks: list[tuple[float, Tick]], began_s: float, ended_s: float) -> float:
    """Seconds of the full clock that were granted between two moments, less what others on the host took of them."""
    used_s, at_s, quota = 0.0, began_s, 1.0
    for tick_s, tick in ticks:
        if tick_s > at_s:
            until_s = min(tick_s, ended_s)
            part_s = until_s - at_s
            waited_s = tick.waited_s * min(1.0, part_s / (tick.dt_s or part_s))
            used_s, at_s = used_s + max(0.0, part_s * min(quota, tick.quota) - waited_s), until_s
        quota = tick.quota
        if at_s >= ended_s:
            return used_s
    return used_s + (ended_s - at_s) * quota
