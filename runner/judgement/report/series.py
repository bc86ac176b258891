"""Telemetry as lines that can be drawn: whatever the length of the run, at most two values per column of the page.

    samples ──▶ stretches: unbroken rows of (seconds, value)      a gap ends one, it is never bridged and never zero
            ──▶ columns: lowest and highest value of each column, in the order in which they came

A counter becomes a rate: its difference within one boot, over the seconds between (CPU: over all CPU time). A device is not
trusted to send numbers, nor to send few names. What each name is, and its unit: `runner/model/metrics.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from runner.judgement.evidence import Evidence
from runner.judgement.timeline import Timeline
from runner.model.metrics import Metric, metric_of

COLUMNS = 1_000
SLICES = 24  # rows of a series' table
MAX_SERIES = 40
LEAST_STEP_S = 0.25  # between two readings of a rate; counters tick too coarsely for less
LEAST_GAP_S = 3.0  # silence from here on is a gap, or three times the usual interval where that is longer

_BUSY, _IDLE = "system.cpu.time{cpu.mode=busy}", "system.cpu.time{cpu.mode=idle}"
_TITLES = {  # in this order they are shown; what is not named here comes behind, under its own name
    _BUSY: "CPU busy",
    "system.memory.usage{system.memory.state=used}": "Memory used",
    "system.disk.io{disk.io.direction=write}": "Disk writes",
    "system.disk.io{disk.io.direction=read}": "Disk reads",
    "hw.temperature{hw.id=emulated}": "Temperature, emulated",
    "hw.temperature{": "Temperature",
    "system.network.io{network.io.direction=receive}": "Network received",
    "system.network.io{network.io.direction=transmit}": "Network sent",
}
_BINARY = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))

Stretch = list[tuple[float, float]]  # (seconds since the run began, value)


class Sample(NamedTuple):
    at_s: float
    boot: str
    metrics: dict[str, Any]
    execution: str


class Column(NamedTuple):
    """What one column of the page holds of one stretch: 0 ≤ at < COLUMNS."""

    at: int
    first: float  # of the lowest and the highest value the one that came first …
    then: float  # … and the other
    total: float
    values: int


@dataclass(frozen=True)
class Series:
    """One line of the report, in units that people read."""

    name: str  # the OpenTelemetry name
    title: str
    unit: str
    known: bool  # whether its name is one of those that are always looked for
    stretches: list[list[Column]]

    @property
    def columns(self) -> list[Column]:
        return [column for stretch in self.stretches for column in stretch]

    @property
    def lowest(self) -> float:
        return min(min(column.first, column.then) for column in self.columns)

    @property
    def highest(self) -> float:
        return max(max(column.first, column.then) for column in self.columns)

    @property
    def mean(self) -> float:
        return sum(column.total for column in self.columns) / sum(column.values for column in self.columns)

    def slices(self) -> Iterator[tuple[int, Series | None]]:
        """The same for each of SLICES equal parts of the run: its number, and None where there is no sample."""
        for number in range(SLICES):
            inside = [column for column in self.columns if column.at * SLICES // COLUMNS == number]
            yield number, Series(self.name, self.title, self.unit, self.known, [inside]) if inside else None


@dataclass(frozen=True)
class Telemetry:
    samples: int
    present: list[tuple[float, float]]  # from when to when there are samples, without a gap between
    series: list[Series]
    left_out: int  # further names that were sampled


def telemetry(evidence: Evidence, timeline: Timeline) -> Telemetry:
    """Every series that was sampled, merged over all executions. Samples without a place in time are not shown."""
    samples = samples_of(evidence, timeline)
    if not samples:
        return Telemetry(0, [], [], 0)
    steps = [after.at_s - before.at_s for before, after in pairwise(samples) if after.boot == before.boot]
    gap_s = max(LEAST_GAP_S, 3 * median(steps or [0.0]))
    names = set().union(*(sample.metrics for sample in samples)) - {_IDLE}
    chosen = sorted(names, key=lambda name: (_rank(name), name))
    drawn = [_series(name, samples, gap_s, timeline.end_s) for name in chosen[:MAX_SERIES]]
    present = [(stretch[0][0], stretch[-1][0]) for stretch in _stretches(((s.at_s, s.boot, 0.0) for s in samples), gap_s)]
    return Telemetry(len(samples), present, [one for one in drawn if one.stretches], len(chosen[MAX_SERIES:]))


def drawn(name: str, title: str, unit: str, readings: list[tuple[float, str, float]], gap_s: float, end_s: float) -> Series:
    """A line of (seconds, boot, value) that no device sampled; a gap, and another boot, ends a stretch."""
    return Series(name, title, unit, True, [_columns(stretch, end_s, 1.0) for stretch in _stretches(readings, gap_s)])


def samples_of(evidence: Evidence, timeline: Timeline) -> list[Sample]:
    """All samples in the order of time. Those outside of the run, by more than the clocks' error, are not believed."""
    offsets: dict[str, float | None] = {}  # when each boot's clock stood at zero
    allowed_s = timeline.error_s + 1.0
    found = []
    for execution in evidence.executions:
        for record in execution.of_kind("sample"):
            if record.boot_id not in offsets:
                offsets[record.boot_id] = timeline.device_s(record.boot_id, 0)
            zero_s = offsets[record.boot_id]
            if zero_s is not None and -allowed_s <= (at_s := zero_s + record.boottime_ns / 1e9) <= timeline.end_s + allowed_s:
                found.append(Sample(at_s, record.boot_id, record.payload["metrics"], execution.name))
    return sorted(found, key=lambda sample: sample.at_s)


def _rank(name: str) -> int:
    known = [name == key or (key.endswith("{") and name.startswith(key)) for key in _TITLES]
    return known.index(True) if True in known else len(known)


def _series(name: str, samples: list[Sample], gap_s: float, end_s: float) -> Series:
    rank, metric = _rank(name), metric_of(name)
    if name == _BUSY:
        stretches = _rates(((s.at_s, s.boot, v, v + (number(s.metrics.get(_IDLE)) or 0.0)) for s, v in _readings(name, samples)), gap_s)
    elif metric.kind == "counter":
        stretches = _rates(((s.at_s, s.boot, v, s.at_s) for s, v in _readings(name, samples)), gap_s)
    else:
        stretches = _stretches(((s.at_s, s.boot, v) for s, v in _readings(name, samples)), gap_s)
    factor, unit = _unit(name, metric, max((value for stretch in stretches for _, value in stretch), default=0.0))
    known = list(_TITLES.values())
    title = known[rank] if rank < len(known) else name
    return Series(name, title, unit, rank < len(known), [_columns(stretch, end_s, factor) for stretch in stretches])


def _readings(name: str, samples: list[Sample]) -> Iterator[tuple[Sample, float]]:
    for sample in samples:
        value = number(sample.metrics.get(name))
        if value is not None:
            yield sample, value


def number(value: Any) -> float | None:
    """The value, if it is a number that can be drawn: not NaN, not infinite, not one to choke on."""
    return value if type(value) in (int, float) and -1e18 < value < 1e18 else None


def _stretches(readings: Iterable[tuple[float, str, float]], gap_s: float) -> list[Stretch]:
    stretches: list[Stretch] = []
    last_s, last_boot = 0.0, None
    for at_s, boot, value in readings:
        if boot != last_boot or at_s - last_s > gap_s:
            stretches.append([])
        stretches[-1].append((at_s, value))
        last_s, last_boot = at_s, boot
    return stretches


def _rates(readings: Iterable[tuple[float, str, float, float]], gap_s: float) -> list[Stretch]:
    """By how much a counter grew for each unit of what it is measured against; a counter that fell was begun anew."""
    stretches: list[Stretch] = [[]]
    last_s, last_boot, last, last_over = 0.0, "", 0.0, 0.0
    for at_s, boot, value, over in readings:
        if boot != last_boot or at_s - last_s > gap_s or value < last:
            stretches.append([])
        elif at_s - last_s < LEAST_STEP_S or over <= last_over:
            continue
        else:
            stretches[-1].append((at_s, (value - last) / (over - last_over)))
        last_s, last_boot, last, last_over = at_s, boot, value, over
    return [stretch for stretch in stretches if stretch]


def _unit(name: str, metric: Metric, highest: float) -> tuple[float, str]:
    """What to multiply a value by, and the unit that it has then."""
    per_s = "/s" if metric.kind == "counter" else ""
    if name == _BUSY:
        return 100.0, "%"
    if metric.unit == "By":
        size, unit = next(((size, unit) for size, unit in _BINARY if highest >= size), _BINARY[-1])
        return 1 / size, unit + per_s
    return 1.0, {"Cel": "°C", "s": "s"}.get(metric.unit, "") + per_s


def _columns(stretch: Stretch, end_s: float, factor: float) -> list[Column]:
    """A stretch cut into columns; the lowest and the highest value of each are kept."""
    columns: list[Column] = []
    per_s = COLUMNS / end_s if end_s > 0 else 0.0
    start = 0
    places = [min(COLUMNS - 1, max(0, int(at_s * per_s))) for at_s, _ in stretch]
    for stop in range(1, len(stretch) + 1):
        if stop < len(stretch) and places[stop] == places[start]:
            continue
        values = [value * factor for _, value in stretch[start:stop]]
        low, high = min(values), max(values)
        first, then = (low, high) if values.index(low) <= values.index(high) else (high, low)
        columns.append(Column(places[start], first, then, sum(values), len(values)))
        start = stop
    return columns
