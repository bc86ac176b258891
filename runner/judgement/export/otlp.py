"""OTLP/JSON: each line is one message, as an OTLP endpoint takes it and the Collector's `otlp_json_file` receiver reads it.

    {"resourceSpans": …}    the run is a trace: run ─► executions (each cut is an event) ─► the bodies of their stages
    {"resourceLogs": …}     each finding, tied to that trace
    {"resourceMetrics": …}  telemetry, and what each cut cost; at most so many points a line

Ids are made from the run's own id, so that the same run is the same trace, however often it is sent. Only what failed is an
error: a body that a cut killed was meant to be, and says so in an attribute.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby, islice
from typing import Any
from uuid import UUID

from runner.judgement.conclude import Conclusion
from runner.judgement.export.points import Point, Stream, streams_of
from runner.judgement.export.source import SCOPE, Source, short
from runner.judgement.judge import one_line
from runner.judgement.report.bodies import Body, Course, courses

PER_LINE = 2_000  # spans, findings or points
INTERNAL, OK, ERROR, CUMULATIVE = 1, 1, 2, 2
_SEVERITIES = {"critical": (21, "FATAL"), "high": (17, "ERROR"), "medium": (13, "WARN"), "low": (10, "INFO"), "info": (9, "INFO")}

Message = dict[str, Any]


def pieces(conclusion: Conclusion) -> Iterator[bytes]:
    source = Source(conclusion)
    ids = _Ids(source)
    for batch in _batched(_spans(conclusion, source, ids)):
        yield _line(source, "Spans", "spans", batch)
    for batch in _batched(_logs(conclusion, ids)):
        yield _line(source, "Logs", "logRecords", batch)
    for batch in _metrics(streams_of(conclusion)):
        yield _line(source, "Metrics", "metrics", batch)


def _line(source: Source, signal: str, key: str, items: Sequence[Message]) -> bytes:
    """One message, and the end of its line."""
    scope = {"name": SCOPE, **({"version": source.version} if source.version else {})}
    inside = {"resource": {"attributes": _attributes(source.resource)}, f"scope{signal}": [{"scope": scope, key: items}]}
    return (json.dumps({f"resource{signal}": [inside]}, ensure_ascii=False, separators=(",", ":")) + "\n").encode("utf-8", "replace")


def _attributes(said: dict[str, Any]) -> list[Message]:
    """What is None is not said."""
    return [{"key": key, "value": _value(value)} for key, value in said.items() if value is not None]


def _value(value: Any) -> Message:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, (list, tuple)):
        return {"arrayValue": {"values": [_value(one) for one in value]}}
    return {"stringValue": one_line(str(value))}


def _batched(items: Iterable[Message]) -> Iterator[list[Message]]:
    remaining = iter(items)
    while batch := list(islice(remaining, PER_LINE)):
        yield batch


# ---- the run as a trace, and its findings -----------------------------------------------------------------------


class _Ids:
    """The trace is the run's own UUID; a span is a hash of what it stands for."""

    def __init__(self, source: Source) -> None:
        try:
            self.trace = UUID(str(source.conclusion.evidence.config.get("agent_run_id"))).hex
        except ValueError:
            self.trace = hashlib.sha256(source.name.encode()).hexdigest()[:32]

    def span(self, *words: object) -> str:
        return hashlib.sha256("\0".join([self.trace, *map(str, words)]).encode("utf-8", "replace")).hexdigest()[:16]


def _spans(conclusion: Conclusion, source: Source, ids: _Ids) -> Iterator[Message]:
    outcome, evidence, timeline = conclusion.outcome, conclusion.evidence, source.timeline
    well = outcome.exit_code == 0
    said = {
        "test.suite.name": evidence.plan["entry"],
        "test.suite.run.status": "success" if well else "failure" if outcome.verdict else "aborted",
        "stageflow_runner.status": outcome.status,
        "stageflow_runner.verdict": outcome.verdict,
        "stageflow_runner.seed": evidence.plan["seed"],
    }
    whole = _span(source, ids, (), f"run {evidence.plan['entry']}", (0.0, timeline.end_s), said)
    yield {**whole, "status": {"code": OK if well else ERROR, **({} if well else {"message": one_line(conclusion.reason)})}}
    for course in courses(evidence, timeline):
        ending = course.execution.ended.get("ending", "never ended")
        about = {"stageflow_runner.scenario": course.execution.scenario, "stageflow_runner.ending": ending}
        words = (course.execution.name,)
        span = _span(source, ids, words, course.execution.name, (course.began_s, course.ended_s), about)
        yield {**span, "events": list(_cuts(source, course))}
        for body in course.bodies:
            if body.began_s is not None and body.ended_s is not None:  # what has no place in time cannot be drawn
                yield _stage(source, ids, words, body, body.began_s, body.ended_s)


def _stage(source: Source, ids: _Ids, parent: tuple[str, ...], body: Body, began_s: float, ended_s: float) -> Message:
    said = {
        "stageflow.stage.name": body.stage,
        "stageflow_runner.life": body.life,
        "stageflow_runner.ending": body.ending,
        "stageflow_runner.said": body.said,
        "stageflow_runner.evidence": body.where,
    }
    span = _span(source, ids, (*parent, body.where), body.stage, (began_s, max(began_s, ended_s)), said)
    return {**span, "status": {"code": ERROR, "message": one_line(body.said)}} if body.ending == "failed" else span


def _span(source: Source, ids: _Ids, words: tuple[str, ...], name: str, within_s: tuple[float, float], said: dict[str, Any]) -> Message:
    began_ns, ended_ns = map(source.wall_ns, within_s)
    return {
        "traceId": ids.trace,
        "spanId": ids.span(*words),
        **({"parentSpanId": ids.span(*words[:-1])} if words else {}),
        "name": short(name),
        "kind": INTERNAL,
        "startTimeUnixNano": str(began_ns),
        "endTimeUnixNano": str(ended_ns),
        "attributes": _attributes(said),
    }


def _cuts(source: Source, course: Course) -> Iterator[Message]:
    """Each cut of an execution, and the power coming back, in the order of time."""
    cuts = {cut.hold: cut for cut in course.execution.cuts}
    for change in source.timeline.power:
        if (cut := cuts.get(change.hold)) is None:
            continue
        said: dict[str, Any] = {"hold": cut.hold}
        if not change.on:
            said |= {"stage": cut.stage, "point": cut.point, "loss": cut.loss, "damage": cut.damage or None}
            said |= {key: getattr(cut, key) for key in ("writes_lost", "records_lost", "vacuous", "counted")}
        attributes = _attributes({f"stageflow_runner.cut.{key}": value for key, value in said.items()})
        yield {"timeUnixNano": str(source.wall_ns(change.at_s)), "name": "power on" if change.on else "cut", "attributes": attributes}


def _logs(conclusion: Conclusion, ids: _Ids) -> Iterator[Message]:
    for finding in conclusion.findings:
        seconds = datetime.fromisoformat(finding.created_at).timestamp()
        number, text = _SEVERITIES[finding.severity]
        said = {key: getattr(finding, key) for key in ("id", "type", "severity", "fingerprint", "component", "evidence")}
        yield {
            "timeUnixNano": str(round(seconds * 1000) * 1_000_000),
            "severityNumber": number,
            "severityText": text,
            "eventName": "stageflow_runner.finding",
            "body": {"stringValue": one_line(f"{finding.title}: {finding.description}")},
            "attributes": _attributes({f"stageflow_runner.finding.{key}": value for key, value in said.items()}),
            "traceId": ids.trace,
            "spanId": ids.span(),
        }


# ---- what was measured ------------------------------------------------------------------------------------------


def _metrics(streams: list[Stream]) -> Iterator[list[Message]]:
    """Metrics with their points, PER_LINE points at most together; a metric may go on in the next line."""
    batch: list[Message] = []
    room = PER_LINE
    for _, same in groupby(streams, key=lambda stream: stream.metric_name):
        of_metric = list(same)
        points = ((_attributes(stream.attributes), point) for stream in of_metric for point in stream.points())
        while taken := list(islice(points, room)):
            batch.append(_metric(of_metric[0], taken))
            room -= len(taken)
            if not room:
                yield batch
                batch, room = [], PER_LINE
    if batch:
        yield batch


def _metric(stream: Stream, taken: list[tuple[list[Message], Point]]) -> Message:
    metric, cumulative = stream.metric, stream.metric.kind != "gauge"
    points = [
        {
            "attributes": attributes,
            **({"startTimeUnixNano": str(point.start_ns)} if metric.kind == "counter" else {}),
            "timeUnixNano": str(point.at_ns),
            "asDouble": point.value,
        }
        for attributes, point in taken
    ]
    data: Message = {"dataPoints": points}
    if cumulative:
        data |= {"aggregationTemporality": CUMULATIVE, "isMonotonic": metric.kind == "counter"}
    said = {"name": stream.metric_name, "description": metric.description, "unit": metric.unit}
    return {**{key: value for key, value in said.items() if value}, "sum" if cumulative else "gauge": data}
