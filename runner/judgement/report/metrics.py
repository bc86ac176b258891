"""results/metrics/: what was measured, as JSON. Seconds, bytes, and what the device called its series.

    cuts.json            each cut: where, what it cost, the three clocks
    latency.json         each stage's durations: nearest-rank percentiles, with the number of samples
    throughput.json      what an execution got done per second, from its begin to its end, restarts included
    resource_usage.json  each series of telemetry; a counter is shown as its rate, within one life of one boot only

A device wrote most of this: what is no finite number is left out. A gap is a gap, never a zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from runner.judgement.conclude import Conclusion, cut_rows
from runner.judgement.evidence import Evidence, Execution
from runner.judgement.judge import one_line
from runner.judgement.timeline import Timeline
from runner.lab.folder import json_text
from runner.model.metrics import is_counter
from runner.ondevice.journal import Record

LARGEST = 2**63  # no counter goes beyond
MAX_SERIES = 200  # of one execution; a device may invent names without end


def files(conclusion: Conclusion) -> dict[str, str]:
    evidence = conclusion.evidence
    found = {
        "cuts": cut_rows(evidence),
        "latency": latency(evidence),
        "throughput": throughput(evidence),
        "resource_usage": resource_usage(evidence),
    }
    return {f"results/metrics/{name}.json": json_text(value) for name, value in found.items()}


def nearest_rank(values: Sequence[float], percent: float) -> float:
    """The smallest of the sorted values that `percent` of them do not exceed: always one that was measured."""
    return values[max(0, math.ceil(percent / 100 * len(values)) - 1)]


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """Count, P50, P95, P99 and the largest; {} of nothing."""
    ordered = sorted(values)
    if not ordered:
        return {}
    ranks = {f"p{percent}": round(nearest_rank(ordered, percent), 4) for percent in (50, 95, 99)}
    return {"count": len(ordered), **ranks, "max": round(ordered[-1], 4)}


# ---- how long ------------------------------------------------------------------------------------------------


def stage_durations(executions: Iterable[Execution]) -> dict[str, list[float]]:
    """Each stage's durations in seconds, as the device measured them, in the order in which it was first finished."""
    found: dict[str, list[float]] = {}
    for record in (record for execution in executions for record in execution.of_kind("stage_finished")):
        if 0 <= record.payload["duration_ns"] < 2**63:
            found.setdefault(one_line(record.payload["stage"]), []).append(record.payload["duration_ns"] / 1e9)
    return found


def latency(evidence: Evidence) -> dict[str, Any]:
    """Per execution, and over all executions of a scenario."""

    def stages(executions: Iterable[Execution]) -> dict[str, dict[str, float]]:
        return {stage: percentiles(durations) for stage, durations in stage_durations(executions).items()}

    return {
        "unit": "s",
        "percentiles": "nearest rank",
        "executions": {execution.name: stages([execution]) for execution in evidence.executions},
        "scenarios": {scenario: stages(evidence.of(scenario)) for scenario in evidence.plan["scenarios"]},
    }


def execution_spans(evidence: Evidence) -> dict[str, tuple[float, float]]:
    """When each execution began and ended, in seconds since the run began; one that never ended, at the last record."""
    timeline, spans = Timeline(evidence), {}
    for record in evidence.coordinator:
        if record.kind == "execution_began":
            spans[record.payload["execution"]] = (timeline.coordinator_s(record.boottime_ns), timeline.end_s)
        elif record.kind == "execution_ended" and record.payload["execution"] in spans:
            began_s, _ = spans[record.payload["execution"]]
            spans[record.payload["execution"]] = (began_s, timeline.coordinator_s(record.boottime_ns))
    return spans


def throughput(evidence: Evidence) -> dict[str, Any]:
    """Stages and journal records per second of each execution, and the bytes of its journal."""
    spans, found = execution_spans(evidence), {}
    for execution in evidence.executions:
        began_s, ended_s = spans[execution.name]
        counted = {
            "stages": len(execution.of_kind("stage_finished")),
            "journal_records": len(execution.records),
            "journal_bytes": sum(len(record.raw) for record in execution.records),
        }
        duration_s = ended_s - began_s
        rates = {f"{name}_per_s": round(count / duration_s, 3) for name, count in counted.items() if duration_s > 0}
        found[execution.name] = {"duration_s": round(duration_s, 3), "restarts": len(execution.of_kind("restored")), **counted, **rates}
    pushed = evidence.note("pushed") or {}
    return {"span": "from the execution's begin to its end, restarts included", "pushed_bytes": pushed.get("bytes"), "executions": found}


# ---- how much ------------------------------------------------------------------------------------------------


def resource_usage(evidence: Evidence) -> dict[str, Any]:
    """Min, mean, max and last of each series in each execution; every single sample is in the execution's journal."""
    found = {}
    for execution in evidence.executions:
        lives = list(sampled_lives(execution))
        names = sorted({name for life in lives for record in life for name in record.payload["metrics"]})[:MAX_SERIES]
        series = {one_line(name): _summary(name, lives) for name in names}
        shown = {name: summary for name, summary in series.items() if summary}
        found[execution.name] = {"samples": sum(map(len, lives)), "series": shown}
    return {"counters": "rates per second within one life of one boot", "executions": found}


def sampled_lives(execution: Execution) -> Iterator[list[Record]]:
    """The samples of each life of the supervisor, in order: no rate is taken across a restart."""
    life: list[Record] = []
    boot = ""
    for record in execution.records:
        if record.kind == "restored" or record.boot_id != boot:
            if life:
                yield life
            life, boot = [], record.boot_id
        if record.kind == "sample":
            life.append(record)
    if life:
        yield life


def readings(name: str, life: list[Record]) -> Iterator[tuple[Record, float]]:
    """One series of a life: each sample that holds it as a finite number (NaN is neither above nor below anything)."""
    for record in life:
        value = record.payload["metrics"].get(name)
        if type(value) in (int, float) and -LARGEST < value < LARGEST:
            yield record, value


def rates(name: str, life: list[Record]) -> Iterator[tuple[Record, float, float]]:
    """A counter's growth between consecutive samples of one life: (later sample, seconds, growth). One that fell was reset."""
    for (before, low), (after, high) in pairwise(readings(name, life)):
        if high >= low and after.boottime_ns > before.boottime_ns:
            yield after, (after.boottime_ns - before.boottime_ns) / 1e9, high - low


def _summary(name: str, lives: list[list[Record]]) -> dict[str, Any]:
    """Min, mean, max and last; {} where there is nothing, and where a counter was read once only."""
    if is_counter(name):
        values, total, total_s = [], 0.0, 0.0
        for _, took_s, grown in (step for life in lives for step in rates(name, life)):
            values.append(grown / took_s)
            total, total_s = total + grown, total_s + took_s
    else:
        values = [value for life in lives for _, value in readings(name, life)]
        total, total_s = sum(values), len(values)
    if not values:
        return {}
    shown = {"min": min(values), "mean": total / total_s, "max": max(values), "last": values[-1]}
    kind = "counter, per second" if is_counter(name) else "gauge"
    return {"kind": kind, "values": len(values), **{key: round(value, 3) for key, value in shown.items()}}
