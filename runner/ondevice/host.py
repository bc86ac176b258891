"""The host: one process that runs one Stageflow pipeline, one stage report at a time.

    supervisor                                host
        │ ◄──────── ready {stages, import_s} ───┤   imports Stageflow and the pipeline at once
        ├─ go {attempt, replays} ─────────────► │
        ├─ {stage, result} for each replayed ─► │
        │                         for every stage: WITNESS first, then
        │ ◄──────── start {stage} ──────────────┤
        ├─ ack ───────────────────────────────► │   the body runs
        │ ◄──────── end {stage, output, files} ─┤
        ├─ ack (the record is on the disk) ───► │   only now does Stageflow see the output
        │ ◄──────── done ───────────────────────┤

It works with every Stageflow from 0.5.0 to 1.2.0 because it uses none of its hooks: each stage's
runner is wrapped before the graph is built. A finished stage that is replayed announces nothing and
runs nothing. Everything here is Python's standard library; Stageflow itself is imported late.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import inspect
import json
import os
import socket
import sys
import time
import uuid
from typing import Any

from .channel import Channel
from .facts import waited_s
from .journal import boottime_ns
from .results import FILES_KEY, hash_files


class Witness:
    """A line to somewhere outside this machine's disks, written before a stage body does any work."""

    def __init__(self, fd: int, attempt: dict[str, Any]) -> None:
        self._fd, self._attempt = fd, attempt

    def announce(self, stage: str) -> None:
        line = {**self._attempt, "stage": stage, "boottime_ns": boottime_ns()}
        os.write(self._fd, json.dumps(line, sort_keys=True).encode() + b"\n")
        if os.isatty(self._fd):  # a serial port takes a line long before it has sent it
            import termios

            termios.tcdrain(self._fd)


@dataclasses.dataclass
class Wrapped:
    """A stage's runner, with its start and its end reported around it."""

    name: str
    runner: Any
    config: dict[str, Any]
    channel: Channel
    witness: Witness
    replay: dict[str, Any] | None
    lane: str = ""  # set where several pipelines run at once

    async def execute(self, ctx: Any) -> Any:
        if self.replay is not None:
            return rebuild_output(self.replay)
        self.witness.announce(self.name)
        self.channel.call({"say": "start", "stage": self.name})
        began = time.monotonic_ns()
        try:
            output = await self._body(ctx)
        except BaseException as error:
            self._end(began, {"status": "raised", "error": f"{type(error).__name__}: {error}"[:2000]})
            raise
        data = getattr(output, "data", output) or {}
        refuse_what_json_changes(self.name, data)
        report = {
            "status": getattr(getattr(output, "status", None), "value", "ok"),
            "data": data,
            "error": getattr(output, "error", None),
            "version": getattr(output, "version", None),
            "files": {os.path.join(self.lane, path): sha for path, sha in hash_files(".", data.get(FILES_KEY, [])).items()},
        }
        self._end(began, report)
        return output

    async def _body(self, ctx: Any) -> Any:
        runner = self.runner(**self.config) if isinstance(self.runner, type) else self.runner
        return await (runner.execute(ctx) if hasattr(runner, "execute") else runner(ctx))

    def _end(self, began: int, report: dict[str, Any]) -> None:
        self.channel.call({"say": "end", "stage": self.name, "duration_ns": time.monotonic_ns() - began, **report})


def refuse_what_json_changes(stage: str, data: Any) -> None:
    """Raises TypeError for an output that would be another one when it is replayed from the journal."""
    try:
        same = json.loads(json.dumps(data, allow_nan=False)) == data
    except (TypeError, ValueError) as error:
        raise TypeError(f"the output of stage {stage!r} is not JSON: {error}") from None
    if not same:
        raise TypeError(f"the output of stage {stage!r} changes when it is written as JSON (tuples, keys that are no strings)")


def rebuild_output(journaled: dict[str, Any]) -> Any:
    """A journaled stage end as the StageOutput that it was, its status (skip, too) kept."""
    from stageflow import StageOutput, StageStatus  # type: ignore[import-not-found,unused-ignore]

    fields = {field.name for field in dataclasses.fields(StageOutput)}
    kept = {key: journaled.get(key) for key in ("data", "error", "version") if key in fields}
    return StageOutput(status=StageStatus(journaled["status"]), **kept)


def run_context(graph: Any, run_token: str, stage_timeout_s: float) -> Any:
    """The context that this Stageflow's `run` wants, by its own annotation: StageContext (0.5) or PipelineContext."""
    identity = uuid.uuid5(uuid.NAMESPACE_URL, run_token)
    if "PipelineContext" in str(inspect.signature(graph.run).parameters["ctx"].annotation):
        from stageflow.stages.context import PipelineContext  # type: ignore[import-not-found,unused-ignore]

        required = ("request_id", "session_id", "user_id", "org_id", "interaction_id")
        data = {"_timeout_ms": int(stage_timeout_s * 1000)}
        return PipelineContext(pipeline_run_id=identity, data=data, **dict.fromkeys(required))
    from stageflow.context import ContextSnapshot, RunIdentity  # type: ignore[import-not-found,unused-ignore]
    from stageflow.core import PipelineTimer, StageContext  # type: ignore[import-not-found,unused-ignore]
    from stageflow.stages.inputs import StageInputs  # type: ignore[import-not-found,unused-ignore]

    snapshot = ContextSnapshot(run_id=RunIdentity(pipeline_run_id=identity))
    return StageContext(snapshot, StageInputs(snapshot), "pipeline", PipelineTimer())


def in_lane(stage: str, lane: str) -> str:
    """What a stage is called in the journal: by its own name, and where several pipelines run at once by its lane, too."""
    return f"{stage}@{lane}" if lane else stage


def wrap(pipeline: Any, channel: Channel, witness: Witness, replay: dict[str, dict[str, Any]], lane: str = "") -> Any:
    """The same pipeline with each stage's runner wrapped. Works on a fresh `build()` only."""
    for name, spec in list(pipeline.stages.items()):
        config = dict(getattr(spec, "config", None) or {})
        known_as = in_lane(name, lane)
        wrapped = Wrapped(known_as, spec.runner, config, channel, witness, replay.get(known_as), lane)
        changed: dict[str, Any] = {"runner": wrapped, **({"config": {}} if config else {})}
        pipeline.stages[name] = dataclasses.replace(spec, **changed)
    return pipeline


def stageflow_version(paths: list[str]) -> str:
    """The release that is really installed where the pipeline imports from; "" if nothing says."""
    for path in paths:
        for name in os.listdir(path):
            if name.startswith("stageflow_core-") and name.endswith(".dist-info"):
                return name[len("stageflow_core-") : -len(".dist-info")]
    return ""


def _die_with_the_supervisor() -> None:
    """A supervisor may be killed alone (out of memory); its next life must be the only one that works. Linux only."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    except (ImportError, AttributeError, OSError):
        pass


def main(fd: int) -> int:
    """Runs the one pipeline that the supervisor on the other end of `fd` names."""
    _die_with_the_supervisor()
    channel = Channel(socket.socket(fileno=fd))
    task = channel.hear()
    began = time.monotonic_ns()
    sys.path[:0] = task["paths"]
    os.chdir(task["work"])
    os.environ.update(task.get("settings", {}))  # where the far end is; a pipeline imports nothing of ours
    try:
        pipeline = importlib.import_module(task["module"]).build()
        import_s = (time.monotonic_ns() - began) / 1e9
        lane = task["lane"]
        ready = {
            "stages": [in_lane(name, lane) for name in pipeline.stages],
            "import_s": round(import_s, 3),
            "waited_s": waited_s(),
            "stageflow": stageflow_version(task["paths"]),
        }
        go = channel.call({"say": "ready", **ready})
        replay = {said["stage"]: said["result"] for said in (channel.hear() for _ in range(go["replays"]))}
        witness = Witness(task["witness"], go["attempt"])
        graph = wrap(pipeline, channel, witness, replay, lane).build()
        asyncio.run(graph.run(run_context(graph, f"{task['run']}/{lane}", task["stage_timeout_s"])))
        channel.call({"say": "done"})
        return 0
    except EOFError:
        return 75  # the supervisor died: there is nobody left to report to
    except BaseException as error:
        channel.tell({"say": "failed", "error": f"{type(error).__name__}: {error}"[:2000]})
        raise
