"""Telemetry for drawing: no extreme is lost, no gap is bridged, no counter runs over a boot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.judgement.report.series import COLUMNS, MAX_SERIES, Series, Telemetry, telemetry
from runner.judgement.timeline import Timeline
from tests.judgement.made_run import MadeRun

WRITES = "system.disk.io{disk.io.direction=write}"
HEAT = "hw.temperature{hw.id=thermal_zone0}"
BUSY, IDLE = "system.cpu.time{cpu.mode=busy}", "system.cpu.time{cpu.mode=idle}"


@pytest.fixture
def run(tmp_path: Path) -> MadeRun:
    made = MadeRun(tmp_path)
    made.begin("recovery-1", 0.0)
    return made


def found(run: MadeRun, end_s: float = 100.0) -> Telemetry:
    run.end(end_s)
    evidence = run.conclusion().evidence
    return telemetry(evidence, Timeline(evidence))


def the_one(run: MadeRun, name: str) -> Series:
    (series,) = [series for series in found(run).series if series.name == name]
    return series


def values(series: Series) -> list[list[float]]:
    """Of each stretch, one value per column."""
    return [[column.first for column in stretch] for stretch in series.stretches]


def test_the_extremes_of_every_column_are_kept(run: MadeRun) -> None:
    """Ten values fall into each column; a single peak among thousands survives, and so does the mean."""
    readings = [20.0 + number % 5 for number in range(10 * COLUMNS)]
    readings[4567] = 90.0
    for number, value in enumerate(readings):
        run.sample(number * 0.01, "recovery-1", {HEAT: value})
    series = the_one(run, HEAT)
    assert len(series.columns) == COLUMNS
    assert (series.lowest, series.highest, series.mean) == (20.0, 90.0, pytest.approx(sum(readings) / len(readings)))
    (peak,) = [column for column in series.columns if column.then == 90.0 or column.first == 90.0]
    assert (peak.at, peak.first, peak.then) == (456, 20.0, 90.0)  # the lowest of that column came before it


def test_a_gap_is_a_gap(run: MadeRun) -> None:
    """Silence ends a stretch, however short it is on the page; so does a metric that is missing meanwhile. None is zero."""
    for second in (*range(5), *range(9, 14)):
        run.sample(second, "recovery-1", {HEAT: 40.0} if second != 11 else {})
    for second in range(20, 30):
        run.sample(second, "recovery-1", {HEAT: 41.0} if second in (20, 29) else {"other": 1.0})
    all_found = found(run)
    assert all_found.present == [(0.0, 4.0), (9.0, 13.0), (20.0, 29.0)]
    (series,) = [series for series in all_found.series if series.name == HEAT]
    assert values(series) == [[40.0] * 5, [40.0] * 4, [41.0], [41.0]]


def test_a_counter_is_a_rate_within_one_boot(run: MadeRun) -> None:
    """Never over a restart, where it begins at zero again, nor when it falls; two readings at one moment are one."""
    for at_s, count in ((1.0, 0), (2.0, 1024), (2.01, 9999), (3.0, 3072), (4.0, 10)):
        run.sample(at_s, "recovery-1", {WRITES: count})
    run.cut(5.0, "recovery-1", "x", back_s=5.0)
    for at_s, count in ((6.0, 10_000_000), (7.0, 10_002_048)):
        run.sample(at_s, "recovery-1", {WRITES: count})
    series = the_one(run, WRITES)
    assert (series.unit, values(series)) == ("KiB/s", [[1.0, 2.0], [2.0]])


def test_cpu_is_a_share_of_all_its_time(run: MadeRun) -> None:
    """Two cores, one of them busy: half, whatever the seconds between."""
    for second in range(4):
        run.sample(second * 2.0, "recovery-1", {BUSY: 100 + 2.0 * second, IDLE: 500 + 2.0 * second})
    series = the_one(run, BUSY)
    assert (series.title, series.unit, values(series)) == ("CPU busy", "%", [[50.0, 50.0, 50.0]])


def test_what_is_no_number_is_left_out(run: MadeRun) -> None:
    """Words, truths, lists and numbers without end are no readings; a name with nothing else has no series."""
    odd: list[Any] = ["9", True, None, [1], {"a": 1}, 10**400, -(10**30)]
    for second, value in enumerate([1.0, *odd, 2.0]):
        run.sample(second, "recovery-1", {HEAT: value, "odd": odd[0]})
    series = found(run).series
    assert [(one.name, values(one)) for one in series] == [(HEAT, [[1.0], [2.0]])]


def test_known_series_come_first_and_few_are_drawn(run: MadeRun) -> None:
    """However many names a device sends: the standard ones in their order, then others, and how many were left out."""
    for second in (1, 2):
        run.sample(second, "recovery-1", {**{f"a{number:04}": 1.0 for number in range(500)}, HEAT: 40.0, WRITES: second, BUSY: second})
    all_found = found(run)
    assert [one.title for one in all_found.series][:4] == ["CPU busy", "Disk writes", "Temperature", "a0000"]
    assert (len(all_found.series), all_found.left_out) == (MAX_SERIES, 503 - MAX_SERIES)


def test_no_sample_is_no_series(run: MadeRun) -> None:
    """A boot that nobody said hello to has no place in time: its samples are not shown anywhere."""
    run.boot_s.append(50.0)
    run.sample(51.0, "recovery-1", {HEAT: 40.0})
    assert found(run) == Telemetry(0, [], [], 0)
