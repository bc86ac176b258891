"""results/metrics/: figures that were measured, said with their number; nothing made up for what was not."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from runner.judgement.conclude import conclude
from runner.judgement.evidence import Execution
from runner.judgement.report import metrics
from runner.lab.folder import RunFolder
from runner.ondevice import journal
from runner.ondevice.journal import Record

BUSY = "system.cpu.time{cpu.mode=busy}"
BOOTS = {"a": "a" * 32, "b": "b" * 32}


def execution(*said: tuple[str, float, dict[str, Any]]) -> Execution:
    """An execution whose journal is these (boot and kind, second, payload)."""
    records = []
    for number, (what, at_s, payload) in enumerate(said, 1):
        boot, kind = what.split(" ")
        records.append(Record(number, BOOTS[boot], int(at_s * 1e9), 0, kind, payload, b""))
    return Execution("one-1", "one", "results/journal/device-one-1.journal", records, 0, [], [], {}, None)


def samples(*said: tuple[str, float, Any]) -> Execution:
    """An execution that sampled CPU time: (boot, second, reading)."""
    return execution(*((f"{boot} sample", at_s, {"metrics": {BUSY: value}}) for boot, at_s, value in said))


def all_rates(of: Execution) -> list[float]:
    return [grown / took_s for life in metrics.sampled_lives(of) for _, took_s, grown in metrics.rates(BUSY, life)]


@pytest.mark.parametrize(("percent", "expected"), [(50, 10), (95, 19), (99, 20), (100, 20), (1, 1)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, expected: float) -> None:
    """Nearest rank over 1 … 20: never between two samples."""
    assert metrics.nearest_rank(range(1, 21), percent) == expected


def test_percentiles_say_of_how_many_samples() -> None:
    """One sample is every percentile of itself; nothing has none."""
    assert metrics.percentiles([0.5]) == {"count": 1, "p50": 0.5, "p95": 0.5, "p99": 0.5, "max": 0.5}
    assert metrics.percentiles([]) == {}


def test_a_counter_is_a_rate_within_one_boot() -> None:
    """Half a core over two seconds; what lies between two boots is nobody's."""
    assert all_rates(samples(("a", 1, 10.0), ("a", 3, 11.0), ("b", 1, 0.0), ("b", 2, 1.0))) == [0.5, 1.0]


def test_no_rate_is_taken_over_a_restart_in_the_same_boot() -> None:
    """A process crash keeps the boot id and starts the process's own counters again."""
    said = execution(
        ("a sample", 1, {"metrics": {BUSY: 1.0}}), ("a restored", 2, {}), ("a sample", 3, {"metrics": {BUSY: 9.0}})
    )  # fmt: skip
    assert all_rates(said) == []


def test_a_counter_that_fell_is_no_negative_rate() -> None:
    """It was reset by somebody: that step is left out, and the next one counts."""
    assert all_rates(samples(("a", 1, 5.0), ("a", 2, 1.0), ("a", 3, 2.0))) == [1.0]


@pytest.mark.parametrize("value", [float("nan"), math.inf, "1", None, True, [1], 10**400], ids=repr)
def test_what_is_no_finite_number_is_left_out(value: Any) -> None:
    """A device may send anything as a metric; a gap is a gap and never a zero."""
    (life,) = metrics.sampled_lives(samples(("a", 1, value), ("a", 2, 1)))
    assert [reading for _, reading in metrics.readings(BUSY, life)] == [1.0]
    assert all_rates(samples(("a", 1, 1.0), ("a", 2, value), ("a", 3, 2.0))) == [0.5]


def test_absurd_durations_are_left_out() -> None:
    """A stage that claims to have taken longer than clocks can count has no duration."""
    ends = [("a stage_finished", 1.0, {"stage": "s", "duration_ns": value}) for value in (10**9, -1, 10**400)]
    assert metrics.stage_durations([execution(*ends)]) == {"s": [1.0]}


@pytest.mark.real
def test_the_files_of_a_real_run_agree_with_its_journals(real_run: RunFolder) -> None:
    """Durations, counts and bytes are those of the journals, counted here once more; every file is strict JSON."""

    def no_constant(word: str) -> None:
        pytest.fail(f"{word} is no JSON")

    found = metrics.files(conclude(real_run, "now"))
    said = {name.rpartition("/")[2]: json.loads(text, parse_constant=no_constant) for name, text in found.items()}
    assert set(said) == {"cuts.json", "latency.json", "throughput.json", "resource_usage.json"}
    for name, throughput in said["throughput.json"]["executions"].items():
        path = real_run.device_journal(name)
        assert throughput["journal_bytes"] == path.stat().st_size - len(journal.FILE_HEADER)
        ends = [record.payload for record in journal.read_file(str(path)) if record.kind == "stage_finished"]
        latency = said["latency.json"]["executions"][name]
        assert sum(stage["count"] for stage in latency.values()) == len(ends) == throughput["stages"]
        assert all(latency[end["stage"]]["max"] >= round(end["duration_ns"] / 1e9, 4) for end in ends)
        assert throughput["stages_per_s"] == pytest.approx(len(ends) / throughput["duration_s"], rel=0.01)
    assert len(said["cuts.json"]) == len(conclude(real_run, "now").evidence.cuts)
