"""results/traces/: one file per scenario in Chrome's Trace Event format, which Perfetto and chrome://tracing open.

    process    one execution
      coordinator  the execution, and within it each time without power; instants where it cut
      supervisor   each restart, from the process's start to the restored state; instants at holds and promises
      pipeline     each life, and within it the stage bodies; bodies side by side get threads of their own
      faults       each time that one was on, of link, scarcity and heat, a thread for each; the far end's receipts as instants
      counters     CPU, memory, disk writes, the link's round trips: a point per sample, none where there was none

Microseconds since the run began. A body that a cut killed ends with the power, and says so. What cannot be placed in time
(a boot without a hello) is left out. Every thread is well nested: clocks of two machines may differ by a hair, so a body is
drawn inside its life, and a life ends where the next one begins.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from runner.judgement.conclude import Conclusion
from runner.judgement.evidence import Evidence, Execution
from runner.judgement.judge import one_line
from runner.judgement.report.bodies import Body, Course, courses
from runner.judgement.report.heat_courses import heat_courses
from runner.judgement.report.held import Held
from runner.judgement.report.link_courses import LinkCourse, link_courses
from runner.judgement.report.metrics import rates, readings, sampled_lives
from runner.judgement.report.scarcity_courses import scarcity_courses
from runner.judgement.timeline import Timeline
from runner.ondevice.journal import Record

COORDINATOR, SUPERVISOR, PIPELINE = 1, 2, 3  # threads; bodies side by side get 4, 5 …
RECEIVED, ON = 10_000, 10_001  # … and what was on 10001, 10002 …
GAUGES = {"memory used, bytes": "system.memory.usage{system.memory.state=used}"}
RATES = {
    "CPU busy, cores": "system.cpu.time{cpu.mode=busy}",
    "disk writes, bytes per second": "system.disk.io{disk.io.direction=write}",
}
MAX_POINTS = 2_000  # of one counter of one execution

Event = dict[str, Any]
Span = tuple[float, float]  # seconds since the run began


def files(conclusion: Conclusion) -> dict[str, str]:
    evidence = conclusion.evidence
    stamp = datetime.fromisoformat(evidence.config["started_at"]).strftime("%Y%m%d_%H%M%S")
    scenarios = dict.fromkeys(execution.scenario for execution in evidence.executions)
    return {
        f"results/traces/trace_{stamp}_{re.sub(r'[^A-Za-z0-9_-]', '_', scenario)}.json": _text(trace(evidence, scenario))
        for scenario in scenarios
    }


def _text(whole: dict[str, Any]) -> str:
    """One event per line: a trace has thousands."""
    events = ",\n".join(json.dumps(event, ensure_ascii=False) for event in whole["traceEvents"])
    rest = json.dumps({key: value for key, value in whole.items() if key != "traceEvents"}, ensure_ascii=False)
    return f'{{"traceEvents": [\n{events}\n],\n{rest[1:]}\n'


def trace(evidence: Evidence, scenario: str) -> dict[str, Any]:
    """The whole file of one scenario."""
    timeline = Timeline(evidence)
    mine = [course for course in courses(evidence, timeline) if course.execution.scenario == scenario]
    on: dict[str, list[tuple[str, Held]]] = {}
    for kind, courses_of in (("link", link_courses), ("scarcity", scarcity_courses), ("heat", heat_courses)):
        for held in courses_of(evidence, timeline):
            on.setdefault(held.name, []).append((kind, held))
    events = [
        event for pid, course in enumerate(mine, 1) for event in _of_execution(timeline, course, pid, on.get(course.execution.name, []))
    ]
    about = {key: one_line(str(evidence.config[key])) for key in ("roadmap_entry_id", "run_id", "started_at", "stageflow_version")}
    error = {"zero": "the run's begin", "device_time_error_s": round(timeline.error_s, 6)}
    return {
        "traceEvents": sorted(events, key=_order),
        "displayTimeUnit": "ms",
        "otherData": {**about, "scenario": one_line(scenario), **error},
    }


def _order(event: Event) -> tuple[Any, ...]:
    """Names first, then by time; of two that begin together the longer encloses the other."""
    return event["ph"] != "M", event.get("ts", 0), event["pid"], event["tid"], -event.get("dur", 0)


def _of_execution(timeline: Timeline, course: Course, pid: int, on: Sequence[tuple[str, Held]]) -> list[Event]:
    execution, lives = course.execution, spans_of_lives(course)
    threads = side_by_side(course, lives)
    names = {COORDINATOR: "coordinator", SUPERVISOR: "supervisor", PIPELINE: "pipeline"}
    names |= {PIPELINE + lane: f"pipeline, side by side {lane + 1}" for lane in range(1, len(threads))}
    made = _Process(pid)
    made.named("process_name", 0, f"{execution.scenario}: {execution.name}")
    for tid, name in names.items():
        made.named("thread_name", tid, name)
        made.named("thread_sort_index", tid, tid)
    _coordinator(made, timeline, course)
    _supervisor(made, timeline, execution)
    for life, span in lives.items():
        made.span(PIPELINE, f"life {life}", "life", span, {"stageflow_runner.life": life})
    for lane, inside in enumerate(threads):
        for span, body in inside:
            said = {"stageflow.stage.name": body.stage, "stageflow_runner.life": body.life}
            ending = {"stageflow_runner.ending": body.ending, "stageflow_runner.said": body.said, "stageflow_runner.evidence": body.where}
            name = body.stage if body.ending == "finished" else f"{body.stage} ({body.ending})"
            made.span(PIPELINE + lane, name, "stage", span, {**said, **ending})
    _counters(made, timeline, execution)
    _on(made, on)
    for _, held in on:
        if isinstance(held, LinkCourse):
            _link(made, held)
    return made.events


# ---- what encloses what -----------------------------------------------------------------------------------------


def spans_of_lives(course: Course) -> dict[int, Span]:
    """When each life began and ended that has a place in time; none reaches into the next."""
    spans: dict[int, Span] = {}
    following_s = math.inf
    for life in reversed(course.lives):
        if life.began_s is not None and life.ended_s is not None:
            began_s = min(life.began_s, following_s)
            spans[life.number] = (began_s, max(began_s, min(life.ended_s, following_s)))
            following_s = began_s
    return dict(sorted(spans.items()))


def side_by_side(course: Course, lives: dict[int, Span]) -> list[list[tuple[Span, Body]]]:
    """The bodies in as few threads as it takes so that no two of one thread overlap; at least one thread."""
    placed = []
    for body in course.bodies:
        if body.began_s is not None and body.ended_s is not None and body.life in lives:
            first_s, last_s = lives[body.life]
            began_s = min(max(body.began_s, first_s), last_s)
            placed.append(((began_s, max(began_s, min(body.ended_s, last_s))), body))
    threads: list[list[tuple[Span, Body]]] = [[]]
    for span, body in sorted(placed, key=lambda item: item[0]):
        free = next((thread for thread in threads if not thread or thread[-1][0][1] <= span[0]), None)
        if free is None:
            threads.append(free := [])
        free.append((span, body))
    return threads


def _with_life(execution: Execution) -> Iterator[tuple[int, Record]]:
    """Each record with the number of restarts before it."""
    life = 0
    for record in execution.records:
        life += record.kind == "restored"
        yield life, record


# ---- as events ------------------------------------------------------------------------------------------------


class _Process:
    """Makes the events of one process."""

    def __init__(self, pid: int) -> None:
        self.pid, self.events = pid, list[Event]()

    def named(self, what: str, tid: int, value: str | int) -> None:
        key = "sort_index" if isinstance(value, int) else "name"
        self._add({"name": what, "ph": "M", "tid": tid, "args": {key: one_line(value) if isinstance(value, str) else value}})

    def span(self, tid: int, name: str, category: str, span: Span, args: dict[str, Any]) -> None:
        began, ended = (round(at_s * 1e6) for at_s in span)
        shown = {"name": one_line(name), "cat": category, "ph": "X", "ts": began, "dur": max(0, ended - began)}
        self._add({**shown, "tid": tid, "args": _plain(args)})

    def instant(self, tid: int, name: str, category: str, at_s: float, args: dict[str, Any], scope: str = "t") -> None:
        shown = {"name": one_line(name), "cat": category, "ph": "i", "s": scope, "ts": round(at_s * 1e6)}
        self._add({**shown, "tid": tid, "args": _plain(args)})

    def counter(self, name: str, at_s: float, value: float) -> None:
        self._add({"name": name, "ph": "C", "ts": round(at_s * 1e6), "tid": 0, "args": {"value": round(value, 3)}})

    def _add(self, event: Event) -> None:
        self.events.append({**event, "pid": self.pid})


def _plain(args: dict[str, Any]) -> dict[str, Any]:
    """A device's words as one line each."""
    return {key: one_line(value) if isinstance(value, str) else value for key, value in args.items()}


def _coordinator(made: _Process, timeline: Timeline, course: Course) -> None:
    execution = course.execution
    ending = str(execution.ended.get("ending", "never ended"))
    said = {"stageflow_runner.scenario": execution.scenario, "stageflow_runner.ending": ending}
    made.span(COORDINATOR, execution.name, "execution", (course.began_s, course.ended_s), said)
    changes = {(change.hold, change.on): change.at_s for change in timeline.power}
    for cut in execution.cuts:
        off_s = min(max(changes[cut.hold, False], course.began_s), course.ended_s)
        facts = {"hold": cut.hold, "stage": cut.stage, "point": cut.point, "loss": cut.loss}
        cost = {"writes_lost": cut.writes_lost, "records_lost": cut.records_lost, "vacuous": cut.vacuous, "counted": cut.counted}
        args = {f"stageflow_runner.cut.{key}": value for key, value in {**facts, **cost}.items()}
        made.instant(COORDINATOR, f"cut at {cut.stage or 'the journal'}, {cut.point}", "cut", off_s, args, scope="p")
        on_s = min(changes.get((cut.hold, True), course.ended_s), course.ended_s)
        made.span(COORDINATOR, "power off", "power", (off_s, max(off_s, on_s)), {"stageflow_runner.cut.hold": cut.hold})


def _supervisor(made: _Process, timeline: Timeline, execution: Execution) -> None:
    for life, record in _with_life(execution):
        at_s = None if record.kind in ("sample", "stage_started") else timeline.at(record)
        if at_s is None:
            continue
        args: dict[str, Any] = {"stageflow_runner.journal.record": record.sequence, "stageflow_runner.life": life}
        if "stage" in record.payload:
            args["stageflow.stage.name"] = str(record.payload["stage"])
        if record.kind == "restored":
            began_s = timeline.device_s(record.boot_id, record.payload["supervisor_started_ns"])
            made.span(SUPERVISOR, f"restart {life}", "restart", (at_s if began_s is None else min(began_s, at_s), at_s), args)
        else:
            category = "hold" if record.kind == "holding" else "promise"
            name = f"hold: {record.payload.get('point')}" if record.kind == "holding" else record.kind
            made.instant(SUPERVISOR, name, category, at_s, args)


def _on(made: _Process, on: Sequence[tuple[str, Held]]) -> None:
    """What was on, each program in a thread of its own, because two of them may overlap; what has no place in time is left out."""
    programs = [(kind, held, name, windows) for kind, held in on for name, windows in held.by_program.items()]
    for tid, (kind, held, name, windows) in enumerate(programs, ON):
        made.named("thread_name", tid, f"{kind}: {name}")
        made.named("thread_sort_index", tid, tid)
        for window in windows:
            if window.began_s is not None:
                ended_s = held.end_s if window.ended_s is None else max(window.ended_s, window.began_s)
                said = {f"stageflow_runner.{kind}.program": name, f"stageflow_runner.{kind}.then": window.ended_by}
                made.span(tid, window.word, f"{kind} fault", (window.began_s, ended_s), said)


def _link(made: _Process, course: LinkCourse) -> None:
    """What came to the far end, and how long the light probe's packets took."""
    if course.receipts:
        made.named("thread_name", RECEIVED, "link: received by the far end")
        made.named("thread_sort_index", RECEIVED, RECEIVED)
    for at_s, service in course.receipts[:: 1 + len(course.receipts) // MAX_POINTS]:
        made.instant(RECEIVED, service, "receipt", at_s, {"stageflow_runner.link.service": service})
    for at_s, _, ms in course.round_trips[:: 1 + len(course.round_trips) // MAX_POINTS]:
        made.counter("link round trip, ms", at_s, ms)


def _counters(made: _Process, timeline: Timeline, execution: Execution) -> None:
    lives = list(sampled_lives(execution))
    step = 1 + sum(map(len, lives)) // MAX_POINTS  # of a run of days every so many-th sample, a rate being that of the time between
    for life in (life[::step] for life in lives):
        points = [(title, record, value) for title, name in GAUGES.items() for record, value in readings(name, life)]
        points += [(title, record, grown / took_s) for title, name in RATES.items() for record, took_s, grown in rates(name, life)]
        for title, record, value in points:
            at_s = timeline.at(record)
            if at_s is not None:
                made.counter(title, at_s, value)
