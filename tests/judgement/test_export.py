"""A run in other programs' formats, held against readers that are not ours."""

from __future__ import annotations

import io
import json
import re
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from google.protobuf.json_format import Parse, ParseError
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from runner.errors import AskError
from runner.judgement.conclude import Conclusion, conclude
from runner.judgement.export import FORMATS, TEXT, export, otlp, parquet
from runner.judgement.export.points import MAX_SERIES
from runner.judgement.judge import CheckResult
from runner.lab.folder import RunFolder
from runner.model.finding import Finding
from tests.judgement.made_run import GENERATED_AT, MadeRun

WRITES, USED = "system.disk.io{disk.io.direction=write}", "system.memory.usage{system.memory.state=used}"
HEAT, OWN = "hw.temperature{hw.id=thermal_zone0}", "process.cpu.time"
ZERO_NS = 1_769_860_000_000_000_000  # when a made run begins
MESSAGES: dict[str, Any] = {"resourceSpans": TracesData, "resourceLogs": LogsData, "resourceMetrics": MetricsData}
FINDING = Finding(
    id="EDGE-002-REL-001",
    type="reliability",
    severity="high",
    title="Something is lost",
    description="Found: it is gone",
    created_at=GENERATED_AT,
    evidence=("results/journal/device-recovery-1.journal#1",),
    fingerprint="abc",
)


@pytest.fixture
def run(tmp_path: Path) -> MadeRun:
    """Two boots with a cut between, at second 5; a stage that the cut kills, and a silence of ten seconds."""
    made = MadeRun(tmp_path)
    made.begin("recovery-1", 1.0)
    made.stage("recovery-1", "ingest", 2.0, 3.0)
    made.stage("recovery-1", "screen", 4.0, None)
    for at_s, count in ((2.0, 100), (3.0, 300)):
        made.sample(at_s, "recovery-1", {WRITES: count, USED: 1e6, HEAT: 40.5, OWN: 0.1 * at_s})
    made.cut(5.0, "recovery-1", "screen", back_s=6.0)
    for at_s, count in ((8.0, 10), (18.0, 500)):
        made.sample(at_s, "recovery-1", {WRITES: count, USED: 2e6, HEAT: 41.0, OWN: 0.01 * at_s})
    made.end(19.0, "recovery-1")
    made.end(20.0)
    return made


def whole(conclusion: Conclusion, form: str) -> bytes:
    return b"".join(export(conclusion, form))


def second(at_ns: int | float) -> float:
    return round((at_ns - ZERO_NS) / 1e9, 3)


# ---- OTLP -------------------------------------------------------------------------------------------------------


def messages(data: bytes) -> dict[str, list[Any]]:
    """Each line, read strictly as the protobuf message that it is. OTLP says ids in hexadecimal, protobuf's JSON in base64."""
    found: dict[str, list[Any]] = {key: [] for key in MESSAGES}
    for line in data.decode().splitlines():
        (key,) = json.loads(line)
        ids = re.compile(r'"(traceId|spanId|parentSpanId)":"([0-9a-f]+)"')
        text = ids.sub(lambda said: f'"{said[1]}":"{b64encode(bytes.fromhex(said[2])).decode()}"', line)
        found[key].append(Parse(text, MESSAGES[key]()))
    return found


def said(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def metrics_of(conclusion: Conclusion) -> dict[str, Any]:
    (message,) = messages(whole(conclusion, "otlp"))["resourceMetrics"]
    return {metric.name: metric for metric in message.resource_metrics[0].scope_metrics[0].metrics}


def test_a_counter_starts_with_its_boot_and_a_gauge_nowhere(run: MadeRun) -> None:
    """Sums are cumulative; each boot has its start, the silence has no point, and the supervisor's own starts with its process."""
    found = metrics_of(run.conclusion())
    disk, memory, heat, own = (found[name] for name in ("system.disk.io", "system.memory.usage", "hw.temperature", OWN))
    points = [(second(p.start_time_unix_nano), second(p.time_unix_nano), p.as_double) for p in disk.sum.data_points]
    assert points == [(1.0, 2.0, 100.0), (1.0, 3.0, 300.0), (6.0, 8.0, 10.0), (6.0, 18.0, 500.0)]
    assert (disk.unit, disk.sum.is_monotonic, disk.sum.aggregation_temporality) == ("By", True, 2)
    assert (memory.sum.is_monotonic, memory.sum.data_points[0].start_time_unix_nano) == (False, 0)
    assert (heat.unit, [point.as_double for point in heat.gauge.data_points]) == ("Cel", [40.5, 40.5, 41.0, 41.0])
    assert {second(point.start_time_unix_nano) for point in own.sum.data_points} == {1.0, 7.0}
    assert said(disk.sum.data_points[0].attributes) == {"disk.io.direction": "write", "stageflow_runner.execution": "recovery-1"}


def test_a_counter_that_fell_has_a_new_start(run: MadeRun) -> None:
    """Somebody reset it within one boot: it counts again from the moment it was last seen."""
    run.journals["recovery-1"] = run.journals["recovery-1"][:1]
    for at_s, count in ((8.0, 10), (9.0, 4), (10.0, 6)):
        run.sample(at_s, "recovery-1", {WRITES: count})
    points = metrics_of(run.conclusion())["system.disk.io"].sum.data_points
    assert [(second(point.start_time_unix_nano), point.as_double) for point in points] == [(6.0, 10.0), (8.0, 4.0), (8.0, 6.0)]


def test_the_run_is_a_trace(run: MadeRun) -> None:
    """Run, execution, bodies: each inside its parent; the cut is an event, and what it killed is no error."""
    (message,) = messages(whole(run.conclusion(), "otlp"))["resourceSpans"]
    resource = said(message.resource_spans[0].resource.attributes)
    assert resource["service.name"] == "stageflow-runner"
    assert (resource["device.id"], resource["stageflow.version"]) == ("qemu-pi", "1.2.0")
    root, execution, ingest, screen = message.resource_spans[0].scope_spans[0].spans
    assert [span.name for span in (root, execution, ingest, screen)] == ["run EDGE-002", "recovery-1", "ingest", "screen"]
    assert (execution.parent_span_id, ingest.parent_span_id) == (root.span_id, execution.span_id)
    assert {len(root.trace_id), len(root.span_id)} == {16, 8}
    assert (second(ingest.start_time_unix_nano), second(ingest.end_time_unix_nano)) == (2.0, 3.0)
    assert (second(screen.end_time_unix_nano), screen.status.code) == (5.0, 0)
    assert said(screen.attributes)["stageflow_runner.ending"] == "killed"
    assert [(event.name, second(event.time_unix_nano)) for event in execution.events] == [("cut", 5.0), ("power on", 6.0)]
    assert said(execution.events[0].attributes)["stageflow_runner.cut.writes_lost"] == 2


@pytest.mark.parametrize(("row", "code", "status"), [("all_held", 1, "success"), ("must_hold_failed", 2, "failure"), ("lab", 2, "aborted")])
def test_how_the_run_ended_is_the_status_of_its_span(run: MadeRun, row: str, code: int, status: str) -> None:
    """By the one table: what the lab broke is aborted, and no failure."""
    (message,) = messages(whole(run.conclusion(row), "otlp"))["resourceSpans"]
    root = message.resource_spans[0].scope_spans[0].spans[0]
    assert (root.status.code, said(root.attributes)["test.suite.run.status"]) == (code, status)


def test_a_finding_is_a_log_of_the_trace(run: MadeRun) -> None:
    """With its severity and its evidence; a run without any has no logs."""
    found = messages(whole(run.conclusion(findings=[FINDING]), "otlp"))
    (record,) = found["resourceLogs"][0].resource_logs[0].scope_logs[0].log_records
    assert (record.severity_number, record.event_name) == (17, "stageflow_runner.finding")
    assert record.trace_id == found["resourceSpans"][0].resource_spans[0].scope_spans[0].spans[0].trace_id
    assert said(record.attributes)["stageflow_runner.finding.evidence"].values[0].string_value == FINDING.evidence[0]
    assert messages(whole(run.conclusion(), "otlp"))["resourceLogs"] == []


def test_a_message_that_is_none_is_refused_by_the_reader() -> None:
    """The negative control: the reader that the tests above rely on takes no field that OTLP does not have."""
    with pytest.raises(ParseError):
        messages(b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"a","gage":{}}]}]}]}\n')


def test_lines_are_bounded(run: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric that does not fit goes on in the next line, and no point is lost or told twice."""
    everything = whole(run.conclusion(), "otlp")
    monkeypatch.setattr(otlp, "PER_LINE", 3)
    in_lines = messages(whole(run.conclusion(), "otlp"))["resourceMetrics"]

    def points(found: list[Any]) -> list[Any]:
        metrics = [metric for message in found for metric in message.resource_metrics[0].scope_metrics[0].metrics]
        return [(m.name, p.time_unix_nano, p.as_double) for m in metrics for p in (*m.sum.data_points, *m.gauge.data_points)]

    assert {len(points([message])) for message in in_lines[:-1]} == {3}
    assert points(in_lines) == points(messages(everything)["resourceMetrics"])


# ---- OpenMetrics ------------------------------------------------------------------------------------------------


def families(data: bytes) -> dict[str, Any]:
    found = {family.name: family for family in text_string_to_metric_families(data.decode())}
    for family in found.values():
        assert all(sample.timestamp is not None for sample in family.samples), "what is backfilled needs its time"
    return found


def test_prometheus_reads_it(run: MadeRun) -> None:
    """Names with their units, counters with their beginnings, and the run that it was."""
    data = whole(run.conclusion(), "openmetrics")
    found = families(data)
    disk = found["system_disk_io_bytes"]
    assert (disk.type, disk.unit) == ("counter", "bytes")
    read = [(sample.name.rpartition("_")[2], second(float(sample.timestamp) * 1e9), sample.value) for sample in disk.samples]
    assert [one for one in read if one[0] == "total"] == [
        *(("total", 2.0, 100.0), ("total", 3.0, 300.0)),
        *(("total", 8.0, 10.0), ("total", 18.0, 500.0)),
    ]
    created = re.findall(r"^system_disk_io_bytes_created\{.*\} ([0-9.]+) [0-9.]+$", data.decode(), re.MULTILINE)
    assert [second(float(at_s) * 1e9) for at_s in created] == [1.0, 6.0]  # this reader forgets the second one
    assert (found["hw_temperature_celsius"].type, found["system_memory_usage_bytes"].type) == ("gauge", "gauge")
    instance = {"job": "stageflow-runner", "instance": "EDGE-002/run-2026-01-31-001"}
    assert instance.items() <= found["target"].samples[0].labels.items() & disk.samples[0].labels.items()
    restarts = {s.labels["stageflow_runner_restart_clock"]: s.value for s in found["stageflow_runner_restart_duration_seconds"].samples}
    assert (restarts["board_boot"], restarts["restored"]) == (1.0, 0.5)


HOSTILE: dict[str, Any] = {
    "": 1.0,
    "a.b": 1.0,
    "a_b": 2.0,  # the same name, to Prometheus
    "a.b.count": 3.0,
    "x{le=1,__name__=evil,job=mine}": 1.0,
    'x{y="\n# EOF\n\\}': 1.0,
    "target": 1.0,
    "9.lives.time": -1.0,
    "n" * 1000: 1.0,
    HEAT: 10**400,
    USED: "1",
    "ünï.cödé{ключ=значение}": 1.0,
    "lone\ud800": 1.0,
}


@pytest.mark.parametrize("form", FORMATS)
def test_a_hostile_device_cannot_break_a_file(run: MadeRun, form: str) -> None:
    """Names that are none, that clash, that would end a line or a file; values that are no numbers: every reader still reads."""
    run.sample(18.5, "recovery-1", HOSTILE)
    run.sample(18.6, "recovery-1", {f"many.{number}": 1.0 for number in range(MAX_SERIES + 50)})
    run.stage("recovery-1", "evil\n\x1b]0;\ud800", 18.7, None)
    data = whole(run.conclusion(reason="bad\nnews\x1b"), form)
    if form == "parquet":
        table = pyarrow.parquet.read_table(io.BytesIO(data))
        assert len(set(table["metric"].to_pylist())) <= MAX_SERIES + 10
        return
    assert b"\x1b" not in data
    if form == "otlp":
        assert len(messages(data)["resourceSpans"]) == 1
    elif form == "openmetrics":
        found = families(data)
        assert found["a_b"].samples[0].value == 1.0
        assert all(sample.labels["job"] == "stageflow-runner" for family in found.values() for sample in family.samples)
        assert found["stageflow_runner_telemetry_left_out"].samples[0].value > 50
    else:
        json.loads(data)


# ---- Parquet ----------------------------------------------------------------------------------------------------


def test_every_reading_is_a_row(run: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typed columns, the run in the metadata, in as many row groups as it takes."""
    monkeypatch.setattr(parquet, "ROWS", 5)
    file = pyarrow.parquet.ParquetFile(io.BytesIO(whole(run.conclusion(), "parquet")))
    assert file.num_row_groups > 2
    table = file.read()
    assert json.loads(table.schema.metadata[b"resource"])["device.id"] == "qemu-pi"
    rows = [row for row in table.to_pylist() if row["metric"] == "system.disk.io"]
    assert [row["value"] for row in rows] == [100.0, 300.0, 10.0, 500.0]
    assert [second(row["start_time"].timestamp() * 1e9) for row in rows] == [1.0, 1.0, 6.0, 6.0]
    assert (rows[0]["kind"], rows[0]["unit"], rows[0]["attributes"]) == ("counter", "By", [("disk.io.direction", "write")])
    assert {row["start_time"] for row in table.to_pylist() if row["kind"] != "counter"} == {None}


def test_without_pyarrow_it_is_said_what_to_install(run: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a single byte; and the other formats need nothing."""
    for name in ("pyarrow", "google", "opentelemetry", "prometheus_client"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(AskError, match="in a checkout of runner: pip install '\\.\\[parquet\\]'") as refused:
        export(run.conclusion(), "parquet")
    assert refused.value.complaints[0].do
    assert all(whole(run.conclusion(), form) for form in TEXT)


# ---- CTRF -------------------------------------------------------------------------------------------------------

FIELDS = {  # of a test, as the format's schema has them; no other is allowed
    *("id", "name", "status", "duration", "start", "stop", "suite", "message", "trace", "rawStatus", "tags", "type", "filePath"),
    *("retries", "flaky", "device", "attachments", "parameters", "steps", "extra"),
}


def result(check: str, judge: str, *problems: tuple[str, str]) -> CheckResult:
    return CheckResult("recovery", check, "reliability", "It holds.", "high", judge, problems)


def report(conclusion: Conclusion) -> Any:
    found = json.loads(whole(conclusion, "ctrf"))
    assert {"reportFormat", "specVersion", "results"} <= set(found)
    summary, tests = found["results"]["summary"], found["results"]["tests"]
    assert summary["tests"] == len(tests) == sum(summary[key] for key in ("passed", "failed", "skipped", "pending", "other"))
    for test in tests:
        assert set(test) <= FIELDS
        assert type(test["duration"]) is int and test["suite"] and test["name"]
    return found["results"]


def test_checks_are_tests_by_the_one_table(run: MadeRun) -> None:
    """Only what must hold can fail; what was observed passes, and says what it found."""
    bad = ("it is lost", "results/journal/coordinator.journal#3")
    how = {"kept": "must_hold", "watched": "observe", "met": "reached"}
    checks = [result("finished", "must_hold"), *(result(name, judge, bad) for name, judge in how.items())]
    found = report(run.conclusion("must_hold_failed", results=checks))
    assert [(test["name"], test["status"], test["rawStatus"]) for test in found["tests"]] == [
        ("finished", "passed", "held"),
        ("kept", "failed", "failed"),
        ("watched", "passed", "observed"),
        ("met", "passed", "not reached"),
    ]
    assert found["tests"][0]["duration"] == 18_000
    assert found["tests"][1]["trace"] == "it is lost (results/journal/coordinator.journal#3)"
    assert (found["summary"]["start"], found["summary"]["duration"]) == (ZERO_NS // 10**6, 20_000)


def test_what_the_lab_broke_is_no_failed_test(run: MadeRun) -> None:
    """Blocked is neither passed nor failed."""
    found = report(run.conclusion("lab", "the link is gone"))
    assert [(test["name"], test["status"], test["rawStatus"]) for test in found["tests"]] == [("run", "other", "lab")]
    assert found["tests"][0]["message"] == "blocked: the link is gone"
    assert found["environment"]["healthy"] is False


# ---- all of them ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_run_is_the_same_file(run: MadeRun, form: str) -> None:
    """Byte for byte; and another run is another one."""
    first = whole(run.conclusion(findings=[FINDING]), form)
    assert first == whole(run.conclusion(findings=[FINDING]), form)
    run.note(21.0, "note")
    run.sample(18.5, "recovery-1", {HEAT: 1.0})
    assert first != whole(run.conclusion(findings=[FINDING]), form)


@pytest.mark.parametrize("form", FORMATS)
def test_a_run_that_never_began_is_a_file_too(tmp_path: Path, form: str) -> None:
    """No execution, no sample, no device ever seen."""
    data = whole(MadeRun(tmp_path).conclusion("lab", "no device"), form)
    if form == "openmetrics":
        assert set(families(data)) == {"target"}
    elif form == "otlp":
        assert [len(found) for found in messages(data).values()] == [1, 0, 0]
    elif form == "parquet":
        assert pyarrow.parquet.read_table(io.BytesIO(data)).num_rows == 0
    else:
        assert report(MadeRun(tmp_path).conclusion("lab", "no device"))["summary"]["other"] == 1


@pytest.mark.real
def test_a_real_run_is_exported_whole(real_run: RunFolder) -> None:
    """The formats agree with each other and with the journals on how much was measured, and with the judge on what failed."""
    conclusion = conclude(real_run, "2026-01-01T00:00:00.000Z")
    found = messages(whole(conclusion, "otlp"))
    points = sum(
        len(metric.sum.data_points) + len(metric.gauge.data_points)
        for message in found["resourceMetrics"]
        for metric in message.resource_metrics[0].scope_metrics[0].metrics
    )
    rows = pyarrow.parquet.read_table(io.BytesIO(whole(conclusion, "parquet"))).to_pylist()
    samples = sum(len(execution.of_kind("sample")) for execution in conclusion.evidence.executions)
    assert points == len(rows)
    assert sum(row["metric"] == "process.memory.usage" for row in rows) == samples > 0
    data = whole(conclusion, "openmetrics")
    assert len([s for family in families(data).values() for s in family.samples if not s.name.endswith(("_created", "_info"))]) == points
    assert len(found["resourceSpans"][0].resource_spans[0].scope_spans[0].spans) > len(conclusion.evidence.executions)
    assert report(conclusion)["summary"]["tests"] == len(conclusion.results)
