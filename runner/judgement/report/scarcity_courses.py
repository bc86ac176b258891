"""What each execution had too little of: when what was on, what it was found to have, and its memory against the cap.

    held.py              ──► windows of resources, disk and clock
    judgement/scarcity   ──► asked and measured
    samples, `confined`  ──► what the pipeline's group had of the memory that it may have

Seconds since the run began. An execution that was to have enough of everything has no course, so nothing of this is in the files of a
run without scarcity; whose group had a cap on its memory has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from runner.judgement import scarcity
from runner.judgement.asked import named
from runner.judgement.evidence import Evidence, Execution
from runner.judgement.report.held import Held, windows_of
from runner.judgement.report.series import Series, drawn, number
from runner.judgement.timeline import Timeline

GAP_S = 10.0  # between two readings of memory: from here on its line has a gap


class Memory(NamedTuple):
    """What the group of an execution's pipeline had of the memory that it may have."""

    cap_bytes: int
    peak_bytes: int
    oom_kills: int
    series: Series | None  # in percent of the cap


@dataclass(frozen=True)
class ScarcityCourse(Held):
    """The scarcity of one execution."""

    memory: Memory | None

    def series(self) -> list[Series]:
        return [self.memory.series] if self.memory and self.memory.series else []


MEMORY_HEAD = ("execution", "cap, MiB", "peak, MiB", "of the cap", "killed for want of memory")


def memory_cells(courses: Sequence[ScarcityCourse]) -> list[tuple[str, str, str, str, int]]:
    """Memory against its cap as a table has it, of each execution that had one."""
    return [
        (
            course.name,
            f"{memory.cap_bytes / 2**20:g}",
            f"{memory.peak_bytes / 2**20:.1f}",
            f"{100 * memory.peak_bytes / memory.cap_bytes:.0f} %",
            memory.oom_kills,
        )
        for course in courses
        if (memory := course.memory)
    ]


def scarcity_courses(evidence: Evidence, timeline: Timeline) -> list[ScarcityCourse]:
    """The course of each execution that had too little of something, in the order in which they began."""
    found = (_course(evidence, timeline, execution) for execution in evidence.executions)
    return [course for course in found if course is not None]


def _course(evidence: Evidence, timeline: Timeline, execution: Execution) -> ScarcityCourse | None:
    asked, memory = scarcity.planned(evidence, execution.name), _memory(execution, timeline)
    if not asked and memory is None:
        return None
    return ScarcityCourse(
        execution,
        windows_of(evidence, timeline, execution, named(asked, execution.name)),
        scarcity.rows(evidence, execution),
        timeline.end_s,
        memory,
    )


def _memory(execution: Execution, timeline: Timeline) -> Memory | None:
    said = [
        (record, figures)
        for record in execution.records
        if record.kind in ("sample", "confined") and isinstance(figures := record.payload.get("confined"), dict)
    ]
    caps = [cap for _, figures in said if (cap := number(figures.get("memory_limit_bytes")))]
    if not caps:
        return None
    cap = min(caps)
    readings = [
        (at_s, record.boot_id, 100 * used / cap)
        for record, figures in said
        if (at_s := timeline.at(record)) is not None and (used := number(figures.get("memory_bytes"))) is not None
    ]
    peak = max((number(figures.get("memory_peak_bytes")) or 0 for _, figures in said), default=0)
    kills = max((number(figures.get("oom_kills")) or 0 for _, figures in said), default=0)
    title = f"{execution.name}: memory, of its cap of {cap / 2**20:g} MiB"
    one = drawn(f"{execution.name} memory.of_cap", title, "%", readings, GAP_S, timeline.end_s)
    return Memory(int(cap), int(peak), int(kills), one if one.stretches else None)
