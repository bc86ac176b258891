"""results/traces/: what a trace viewer needs, and nothing that overlaps where it must enclose."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from runner.judgement.conclude import conclude
from runner.judgement.report import traces
from runner.judgement.timeline import Timeline
from runner.lab.folder import RunFolder

pytestmark = pytest.mark.real
REQUIRED = {
    "M": {"name", "ph", "pid", "tid", "args"},
    "X": {"name", "cat", "ph", "ts", "dur", "pid", "tid", "args"},
    "i": {"name", "cat", "ph", "s", "ts", "pid", "tid", "args"},
    "C": {"name", "ph", "ts", "pid", "tid", "args"},
}


def overlapping(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Pairs of complete events of one thread of which neither encloses the other nor ends before it begins."""
    found, open_ends = [], dict[tuple[int, int], list[dict[str, Any]]]()
    for event in (event for event in events if event["ph"] == "X"):
        stack = open_ends.setdefault((event["pid"], event["tid"]), [])
        while stack and stack[-1]["ts"] + stack[-1]["dur"] <= event["ts"]:
            stack.pop()
        if stack and event["ts"] + event["dur"] > stack[-1]["ts"] + stack[-1]["dur"]:
            found.append((stack[-1]["name"], event["name"]))
        stack.append(event)
    return found


def recovery(run: RunFolder) -> dict[str, Any]:
    """The trace of the recovery, as a viewer loads it."""
    files = traces.files(conclude(run, "now"))
    return dict(json.loads(next(text for name, text in files.items() if name.endswith("_recovery.json"))))


def test_a_file_per_scenario_named_by_the_runs_start(real_run: RunFolder) -> None:
    """Made again tomorrow it has the same name, and the same content."""
    conclusion = conclude(real_run, "now")
    started = conclusion.evidence.config["started_at"]
    stamp = f"{started[:10].replace('-', '')}_{started[11:19].replace(':', '')}"
    files = traces.files(conclusion)
    assert list(files) == [f"results/traces/trace_{stamp}_{scenario}.json" for scenario in conclusion.evidence.plan["scenarios"]]
    assert files == traces.files(conclude(real_run, "later"))


def test_every_event_has_what_its_phase_needs(real_run: RunFolder) -> None:
    """The object format: names first, times sorted, integers in microseconds, durations not negative."""
    said = recovery(real_run)
    assert set(said) == {"traceEvents", "displayTimeUnit", "otherData"}
    for event in said["traceEvents"]:
        assert set(event) == REQUIRED[event["ph"]], event
        assert all(type(event[key]) is int for key in ("ts", "dur", "pid", "tid") if key in event)
        assert event.get("dur", 0) >= 0
    times = [event["ts"] for event in said["traceEvents"] if event["ph"] != "M"]
    assert times == sorted(times)
    named = {(e["pid"], e["tid"]) for e in said["traceEvents"] if e["name"] == "thread_name"}
    assert {(e["pid"], e["tid"]) for e in said["traceEvents"] if e["ph"] in "Xi"} <= named


def test_what_lies_in_one_thread_is_nested(real_run: RunFolder) -> None:
    """A body lies in its life, a time without power in its execution."""
    events = recovery(real_run)["traceEvents"]
    assert {event["cat"] for event in events if event["ph"] == "X"} == {"execution", "power", "restart", "life", "stage"}
    for name, text in traces.files(conclude(real_run, "now")).items():
        assert overlapping(json.loads(text)["traceEvents"]) == [], name


def test_overlapping_would_be_found() -> None:
    """The negative control of the above: two bodies side by side in one thread."""
    body = {"ph": "X", "pid": 1, "tid": 3, "dur": 10}
    assert overlapping([{**body, "name": "a", "ts": 0}, {**body, "name": "b", "ts": 5}]) == [("a", "b")]
    assert overlapping([{**body, "name": "a", "ts": 0}, {**body, "name": "b", "ts": 10}]) == []


def test_bodies_are_those_that_the_witness_saw(real_run: RunFolder) -> None:
    """One event per beginning; those in flight at a cut are killed, and end when the power did."""
    conclusion = conclude(real_run, "now")
    events = recovery(real_run)["traceEvents"]
    bodies = [event for event in events if event.get("cat") == "stage"]
    seen = [line for execution in conclusion.evidence.of("recovery") for line in execution.witnessed]
    assert sorted(event["args"]["stageflow.stage.name"] for event in bodies) == sorted(line.stage for line in seen)
    killed = [event for event in bodies if event["args"]["stageflow_runner.ending"] in ("killed", "lost")]
    cuts = {event["ts"] for event in events if event.get("cat") == "cut"}
    assert killed
    assert {event["ts"] + event["dur"] for event in killed} <= cuts
    assert len(cuts) == sum(len(execution.cuts) for execution in conclusion.evidence.of("recovery"))
    assert all("(" in event["name"] for event in killed)


def test_stages_side_by_side_get_threads_of_their_own(real_run: RunFolder) -> None:
    """Two bodies that overlap are in two threads; one that follows is in the first again."""
    evidence = conclude(real_run, "now").evidence
    course = traces.courses(evidence, Timeline(evidence))[0]
    life = {0: (0.0, 10.0)}
    body = course.bodies[0]
    bodies = [
        body._replace(stage=stage, began_s=began_s, ended_s=ended_s)
        for stage, began_s, ended_s in (("a", 0.0, 4.0), ("b", 1.0, 6.0), ("c", 5.0, 12.0))
    ]
    threads = traces.side_by_side(replace(course, bodies=bodies), life)
    assert [[body.stage for _, body in thread] for thread in threads] == [["a", "c"], ["b"]]
    assert threads[0][1][0] == (5.0, 10.0)  # never beyond its life


def test_a_boot_that_cannot_be_placed_is_left_out(forger: Any) -> None:
    """Without a hello of its boot a record has no time, and none is made up."""
    forger.rewrite(
        forger.run.coordinator_journal,
        lambda record: {key: value for key, value in record.payload.items() if key != "answered_boottime_ns"},
    )
    events = recovery(forger.run)["traceEvents"]
    assert {event.get("cat") for event in events if event["ph"] == "X"} == {"execution", "power"}


def test_a_device_cannot_name_a_file(real_run: RunFolder) -> None:
    """A scenario's name becomes part of a file name only as plain letters."""
    conclusion = conclude(real_run, "now")
    hostile = [replace(execution, scenario="../../x/y") for execution in conclusion.evidence.executions]
    names = traces.files(replace(conclusion, evidence=replace(conclusion.evidence, executions=hostile)))
    assert all(".." not in name and name.count("/") == 2 for name in names)
