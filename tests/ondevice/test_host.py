"""The host around made-up pipelines of Stageflow's shape: witness, start, body, end, and only then the output."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import json
import os
import sys
import termios
import types
from pathlib import Path
from typing import Any

import pytest

from runner.ondevice.host import Witness, Wrapped, rebuild_output, refuse_what_json_changes, wrap


class StageStatus(enum.Enum):
    OK = "ok"
    SKIP = "skip"


@dataclasses.dataclass(frozen=True)
class StageOutput:
    """As Stageflow 1.2.0 has it; 0.5.0 has no version."""

    status: StageStatus = StageStatus.OK
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    error: str | None = None
    version: str | None = None


@dataclasses.dataclass(frozen=True)
class StageSpec:
    name: str
    runner: Any
    config: dict[str, Any] | None = None


class Heard:
    """A supervisor that acknowledges everything and remembers it beside what the stage did."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.messages: list[dict[str, Any]] = []

    def call(self, message: dict[str, Any]) -> dict[str, Any]:
        self.order.append(f"{message['say']} {message['stage']}")
        self.messages.append(message)
        return {"ack": True}


class Ingest:
    """A stage that is a class, with settings."""

    def __init__(self, heard: Heard, readings: int = 3) -> None:
        self.heard, self.readings = heard, readings

    async def execute(self, ctx: Any) -> StageOutput:
        self.heard.order.append("body ingest")
        Path("readings.json").write_text("[]")
        return StageOutput(data={"files": ["readings.json"], "readings": self.readings})


@pytest.fixture(autouse=True)
def _working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage's files lie in its working folder; Stageflow is the one above."""
    monkeypatch.chdir(tmp_path)
    fake = types.SimpleNamespace(StageOutput=StageOutput, StageStatus=StageStatus)
    monkeypatch.setitem(sys.modules, "stageflow", fake)  # type: ignore[arg-type]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def witness(tmp_path: Path, heard: Heard) -> Witness:
    """A witness whose every announcement is also seen in `heard.order`."""
    file = tmp_path / "witness.jsonl"
    file.touch()

    class Watched(Witness):
        def announce(self, stage: str) -> None:
            super().announce(stage)
            heard.order.append(f"witness {stage}")

    return Watched(os.open(file, os.O_WRONLY | os.O_APPEND), {"run": "R", "execution": "recovery-1", "life": 2, "boot": "b0"})


def run(runner: Any, heard: Any, witness: Witness, replay: dict[str, Any] | None = None, config: dict[str, Any] | None = None) -> Any:
    return asyncio.run(Wrapped("ingest", runner, config or {}, heard, witness, replay).execute(None))


def test_outside_hears_of_a_stage_before_its_body_and_before_its_output(heard: Heard, witness: Witness, tmp_path: Path) -> None:
    """Witness, start, body, end; the end carries status, data and file hashes."""
    output = run(Ingest(heard), heard, witness)
    assert heard.order == ["witness ingest", "start ingest", "body ingest", "end ingest"]
    assert output.data["readings"] == 3
    report = heard.messages[-1]
    assert (report["status"], report["data"], list(report["files"])) == ("ok", output.data, ["readings.json"])
    line = json.loads((tmp_path / "witness.jsonl").read_text())
    assert {**line, "boottime_ns": 0} == {
        "run": "R", "execution": "recovery-1", "life": 2, "boot": "b0", "stage": "ingest", "boottime_ns": 0,
    }  # fmt: skip


def test_a_witness_behind_a_serial_port_has_the_line_when_the_body_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What only waits to be sent would go with the power, and a stage that ran would be nobody's: the line is sent before it is done."""
    ours, theirs = os.openpty()
    sent: list[bytes] = []
    monkeypatch.setattr(termios, "tcdrain", lambda fd: sent.append(os.read(ours, 4096)))
    Witness(theirs, {"attempt": 1}).announce("sense")
    os.close(theirs)
    os.close(ours)
    assert b'"stage": "sense"' in b"".join(sent)


def test_a_stage_without_a_promise_kept_has_no_output(witness: Witness) -> None:
    """When the supervisor dies before it acknowledged the end, the pipeline never sees the output."""

    class Dies(Heard):
        def call(self, message: dict[str, Any]) -> dict[str, Any]:
            if message["say"] == "end":
                raise EOFError("the other end closed the channel")
            return super().call(message)

    with pytest.raises(EOFError):
        run(Ingest(Dies()), Dies(), witness)


def test_a_replayed_stage_announces_nothing_and_runs_nothing(heard: Heard, witness: Witness, tmp_path: Path) -> None:
    """Its journaled output is given back as it was, its status too."""
    replay = {"status": "skip", "data": {"readings": 3}, "error": None, "version": "7", "files": {}}
    assert run(Ingest(heard), heard, witness, replay) == StageOutput(StageStatus.SKIP, {"readings": 3}, None, "7")
    assert heard.order == []
    assert (tmp_path / "witness.jsonl").read_text() == ""


def test_an_older_stageflow_gets_only_the_fields_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.5.0's output has no version: it is left out."""
    old = dataclasses.make_dataclass("StageOutput", [("status", Any), ("data", dict)])
    monkeypatch.setattr(sys.modules["stageflow"], "StageOutput", old)
    assert rebuild_output({"status": "ok", "data": {"a": 1}, "version": "7", "error": None}) == old(StageStatus.OK, {"a": 1})


def test_a_stage_that_raises_is_reported_and_raises_on(heard: Heard, witness: Witness) -> None:
    """The error's kind and text are said; there is no data to promise."""

    async def fails(ctx: Any) -> StageOutput:
        raise RuntimeError("sensor offline")

    with pytest.raises(RuntimeError, match="sensor offline"):
        run(fails, heard, witness)
    assert heard.messages[-1]["status"] == "raised"
    assert heard.messages[-1]["error"] == "RuntimeError: sensor offline"


def test_a_stage_may_be_a_class_with_settings_an_object_or_a_function(heard: Heard, witness: Witness) -> None:
    """What Stageflow accepts as a runner is run here in the same way; a plain dict is a good output."""

    async def function(ctx: Any) -> dict[str, Any]:
        return {"readings": 5}

    assert run(Ingest, heard, witness, config={"heard": heard, "readings": 4}).data["readings"] == 4
    assert run(Ingest(heard), heard, witness).data["readings"] == 3
    assert run(function, heard, witness) == {"readings": 5}
    assert heard.messages[-1]["data"] == {"readings": 5}


def test_a_file_that_was_named_and_not_written_fails_the_stage(heard: Heard, witness: Witness) -> None:
    """No end is reported for it: a promise needs its file."""

    async def forgets(ctx: Any) -> StageOutput:
        return StageOutput(data={"files": ["gone.json"]})

    with pytest.raises(FileNotFoundError):
        run(forgets, heard, witness)
    assert heard.order == ["witness ingest", "start ingest"]


def test_every_stage_of_a_pipeline_is_wrapped_and_nothing_else_changed(heard: Heard, witness: Witness) -> None:
    """Names and order stay; settings go to the runner once; what is journaled is replayed."""
    specs = {"ingest": StageSpec("ingest", Ingest, {"heard": heard}), "seal": StageSpec("seal", Ingest(heard))}
    pipeline = types.SimpleNamespace(stages=dict(specs))
    wrap(pipeline, heard, witness, {"seal": {"status": "ok", "data": {}}})  # type: ignore[arg-type]
    assert list(pipeline.stages) == ["ingest", "seal"]
    assert pipeline.stages["ingest"].config == {}
    assert pipeline.stages["ingest"].runner.config == {"heard": heard}
    assert pipeline.stages["ingest"].runner.replay is None
    assert pipeline.stages["seal"].runner.replay == {"status": "ok", "data": {}}
    asyncio.run(pipeline.stages["ingest"].runner.execute(None))
    asyncio.run(pipeline.stages["seal"].runner.execute(None))
    assert [word for word in heard.order if word.startswith("body")] == ["body ingest"]


@pytest.mark.parametrize("data", [{"m": {1: "one"}}, {"t": (1, 2)}, {"n": float("nan")}, {"b": b"x"}, {"c": {"1": 1, 1: 2}}], ids=repr)
def test_an_output_that_a_replay_would_change_is_refused(data: Any) -> None:
    """What comes back from the journal must be what the stage returned, or a resumed pipeline is another pipeline."""
    with pytest.raises(TypeError, match="output of stage 'train'"):
        refuse_what_json_changes("train", data)
    refuse_what_json_changes("train", {"a": [1, 2.5, "x", None, True, {"b": []}]})
