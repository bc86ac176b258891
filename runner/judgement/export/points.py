"""Every series of a run as streams of points: one stream per metric, attributes and execution.

    counter   start ──┬───●───●───●      the start is the boot, or the process that counts; another boot, or a value that
    other boot        └────────────┬──●  fell, is another start
    gap               nothing: no point is made up where none was measured

Telemetry comes from the devices' journals, the three restart clocks and the losses from the table of cuts, the data link from
its guard, its probe and its far end. Streams of one
metric stand together; a stream's points are in order of time, no two at one moment, and are read only when they are asked for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from runner.judgement.conclude import Conclusion, cut_rows
from runner.judgement.export.source import LONGEST, Source, short
from runner.judgement.report.link_courses import link_courses
from runner.judgement.report.series import Sample, number, samples_of
from runner.judgement.timeline import Timeline
from runner.model.metrics import METRICS, Metric, metric_of, split

MAX_SERIES = 200  # a device may invent names without end; those that everybody knows come first
EXECUTION = "stageflow_runner.execution"


class Point(NamedTuple):
    at_ns: int  # wall clock
    start_ns: int  # where a counter began at zero; at_ns of anything else
    value: float


@dataclass(frozen=True)
class Stream:
    metric_name: str
    metric: Metric
    attributes: dict[str, str]
    points: Callable[[], Iterator[Point]]


def streams_of(conclusion: Conclusion) -> list[Stream]:
    """All that was measured, sorted by metric, attributes and execution. Samples without a place in time are not in it.

    How many series are left out, beyond MAX_SERIES or with names too long to be any, is a metric itself.
    """
    source = Source(conclusion)
    samples: dict[str, list[Sample]] = {execution.name: [] for execution in conclusion.evidence.executions}
    for sample in samples_of(conclusion.evidence, source.timeline):
        samples[sample.execution].append(sample)
    names = {name for taken in samples.values() for sample in taken for name in sample.metrics}
    chosen = sorted((name for name in names if len(name) <= LONGEST), key=lambda name: (split(name)[0] not in METRICS, name))[:MAX_SERIES]
    beginnings = _Beginnings(conclusion, source.timeline)
    streams = [*_of_cuts(conclusion, source), *_of_links(conclusion, source)]
    if left_out := len(names) - len(chosen):
        streams.append(_single("stageflow_runner.telemetry.left_out", {}, source.wall_ns(source.timeline.end_s), left_out))
    for name in chosen:
        metric_name, attributes = split(name)
        said = {short(key): short(value) for key, value in attributes.items()}
        for execution, taken in samples.items():
            points = partial(_points, name, taken, source, beginnings)
            streams.append(Stream(short(metric_name), metric_of(name), {**said, EXECUTION: execution}, points))
    return sorted(streams, key=lambda one: (one.metric_name, list(one.attributes.items())))


def _single(name: str, attributes: dict[str, str], at_ns: int, value: float) -> Stream:
    """A stream of one point."""
    return Stream(name, METRICS[name], attributes, lambda: iter((Point(at_ns, at_ns, float(value)),)))


class _Beginnings:
    """Where a counter began at zero: with its boot, or with the supervisor's process."""

    def __init__(self, conclusion: Conclusion, timeline: Timeline) -> None:
        self._timeline = timeline
        self._started: dict[str, list[float]] = {}
        for record in conclusion.evidence.coordinator:
            if record.kind in ("hello", "recovered", "reattached") and "supervisor_started_ns" in record.payload:
                at_s = timeline.device_s(record.payload["boot_id"], record.payload["supervisor_started_ns"])
                if at_s is not None:
                    self._started.setdefault(record.payload["boot_id"], []).append(at_s)
        for started in self._started.values():
            started.sort()

    def of(self, sample: Sample, metric: Metric) -> float:
        """In seconds since the run began; never behind the sample itself."""
        if metric.since == "process":
            started = self._started.get(sample.boot, [])
            if place := bisect_right(started, sample.at_s):
                return started[place - 1]
        return min(self._timeline.device_s(sample.boot, 0) or 0.0, sample.at_s)


def _points(name: str, samples: Iterable[Sample], source: Source, beginnings: _Beginnings) -> Iterator[Point]:
    metric = metric_of(name)
    began_s, start_ns, last_ns, last = None, 0, -1, 0.0
    for sample in samples:
        value, at_ns = number(sample.metrics.get(name)), source.wall_ns(sample.at_s)
        if value is None or at_ns <= last_ns:
            continue
        if metric.kind != "counter":
            start_ns = at_ns
        elif value < 0:
            continue
        elif (sample_began_s := beginnings.of(sample, metric)) != began_s:
            began_s, start_ns = sample_began_s, source.wall_ns(sample_began_s)
        elif value < last:
            start_ns = last_ns
        last_ns, last = at_ns, float(value)
        yield Point(at_ns, start_ns, last)


def _of_cuts(conclusion: Conclusion, source: Source) -> Iterator[Stream]:
    """What each cut cost, at the moment it fell, and what coming back took, at the moment the power was on again."""
    at_s = {(change.hold, change.on): change.at_s for change in source.timeline.power if change.hold}
    executions = [execution.name for execution in conclusion.evidence.executions for _ in execution.cuts]
    for execution, row in zip(executions, cut_rows(conclusion.evidence), strict=True):
        where = {key: short(row[key]) for key in ("hold", "point", "stage")}
        said = {EXECUTION: execution, **{f"stageflow_runner.cut.{key}": value for key, value in where.items()}}
        clocks = [
            (f"{clock}_s", {**said, "stageflow_runner.restart.clock": clock}) for clock in ("board_boot", "restored", "running_again")
        ]
        costs = [(cost, said) for cost in ("writes_lost", "records_lost")]
        for key, attributes in (*clocks, *costs):
            on = key.endswith("_s")
            moment_s, value = at_s.get((row["hold"], on)), number(row[key])
            name = "stageflow_runner.restart.duration" if on else f"stageflow_runner.cut.{key}"
            if moment_s is not None and value is not None:
                yield _single(name, attributes, source.wall_ns(moment_s), value)


def _of_links(conclusion: Conclusion, source: Source) -> Iterator[Stream]:
    """What the data link was, where it had faults: round trips, losses, what was on, and what had come through."""
    for course in link_courses(conclusion.evidence, source.timeline):
        said = {EXECUTION: course.name}
        yield from _gauge("rtt", said, source, [(at_s, ms / 1000) for at_s, _, ms in course.round_trips])
        yield from _gauge("loss", said, source, [(at_s, percent / 100) for at_s, _, percent in course.losses()])
        for program, windows in course.by_program.items():
            changes = [(at_s, value) for window in windows for at_s, value in ((window.began_s, 1.0), (window.ended_s, 0.0))]
            known = [(at_s, value) for at_s, value in changes if at_s is not None]
            yield from _gauge("fault", {**said, "stageflow_runner.link.program": short(program)}, source, known)
        for service in course.services:
            arrived = [at_s for at_s, name in course.receipts if name == service]
            counted = [(at_s, float(number)) for number, at_s in enumerate(arrived, 1)]
            yield from _gauge("receipts", {**said, "stageflow_runner.link.service": short(service)}, source, counted)


def _gauge(name: str, attributes: dict[str, str], source: Source, readings: list[tuple[float, float]]) -> Iterator[Stream]:
    """A stream of them; none of nothing. Of two at one moment the later one counts."""
    at_moments = {source.wall_ns(at_s): value for at_s, value in sorted(readings, key=lambda reading: reading[0])}
    points = [Point(at_ns, at_ns, value) for at_ns, value in at_moments.items()]
    if points:
        full = f"stageflow_runner.link.{name}"
        yield Stream(full, METRICS[full], attributes, lambda: iter(points))
