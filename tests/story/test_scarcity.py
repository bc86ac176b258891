"""Real runs on this machine whose device has too little of something: a pipeline is really killed, a disk is really full, nothing stays."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from runner.errors import AskError
from runner.judgement import scarcity
from runner.judgement.conclude import Conclusion
from runner.lab.where import Lab, state_root
from runner.ondevice import fingerprint
from runner.ondevice.cgroup import Group
from runner.ondevice.small_disk import SmallDisk
from runner.story.execute import execute
from runner.story.plan import Asked, make_plan

HERE = fingerprint.capabilities()
pytestmark = [
    pytest.mark.alone,  # groups and mounts are the whole machine's: whoever compares fingerprints meanwhile sees them
    pytest.mark.skipif(not {"cgroup-memory", "loop"} <= set(HERE), reason="needs root, a memory controller and loop devices"),
]

ENTRY = """
id: EDGE-900
title: greedy
priority: P1
risk: High
industry: Energy
deployment_mode: Edge/IoT
stageflow: 1.2.0
limits: {{ restored_s: 5, running_again_s: 5 }}
cuts: {{ default: 1, quick: 1, bar: 0 }}
scenarios:
  baseline:
    pipeline: modest
    profile: steady
    durability: journaled
    judge: must_hold
    stages: [a, b]
    checks: [{{ check: finished, severity: critical }}]
  stress:
    pipeline: {pipeline}
    profile: {profile}
    durability: journaled
    judge: must_hold
    stages: [a, b]
    checks: [{{ check: finished, severity: critical }}]
"""
STAGES = """
import errno
import os
import time

from stageflow import StageOutput


class Holds:
    def __init__(self, mib=0):
        self.mib = mib

    async def execute(self, ctx):
        held = [bytearray(1 << 20) for _ in range(self.mib)]
        time.sleep(1.2)
        return StageOutput.ok({"files": [], "mib": len(held)})


class Writes:
    async def execute(self, ctx):
        found = "no small disk"
        if "SCARCE_FOLDER" in os.environ:
            try:
                with open(os.path.join(os.environ["SCARCE_FOLDER"], "told"), "wb") as file:
                    file.write(bytes(100_000))
                    file.flush()
                    os.fsync(file.fileno())
                found = "taken"
            except OSError as error:
                found = errno.errorcode[error.errno]
        return StageOutput.ok({"files": [], "found": found})
"""
PIPELINE = """
from stageflow import Pipeline, StageKind

from .stages.both import Holds, Writes


def build():
    return (
        Pipeline()
        .with_stage("a", Writes(), StageKind.WORK)
        .with_stage("b", Holds({mib}), StageKind.WORK, dependencies=("a",))
    )
"""


def run(tmp_path: Path, pipeline: str, profile: str) -> Conclusion:
    root = tmp_path / "lab"
    folder = root / "pipelines" / "edge_900"
    (folder / "stages").mkdir(parents=True)
    (root / "inventory.yaml").write_text("devices: { local: { type: local-process } }\n")
    for name in ("__init__.py", "stages/__init__.py"):
        (folder / name).touch()
    (folder / "entry.yaml").write_text(ENTRY.format(pipeline=pipeline, profile=profile))
    (folder / "stages" / "both.py").write_text(STAGES)
    for name, mib in (("modest", 2), ("greedy", 150)):
        (folder / f"{name}.py").write_text(PIPELINE.format(mib=mib))
    lab = Lab(root, tmp_path / "runs", builtin=False)
    plan = make_plan(Asked("EDGE-900", scenarios=("stress",)), lab)
    return asyncio.run(execute(plan, lab, lambda event, **facts: None))


def rows(conclusion: Conclusion) -> list[dict[str, Any]]:
    (execution,) = conclusion.evidence.of("stress")
    return scarcity.rows(conclusion.evidence, execution)


def nothing_is_left() -> None:
    state = str(state_root() / "local" / "local")
    assert not Group(state).exists()
    assert not Group(state, "-probe").exists()
    assert SmallDisk(state).source() == ""
    assert state not in Path("/proc/self/mounts").read_text()


def test_a_greedy_pipeline_is_killed_and_that_is_said(tmp_path: Path) -> None:
    """By the kernel, for want of memory, in its own group: the run failed and is not blocked, because the cap was really there."""
    conclusion = run(tmp_path, "greedy", "memory-64m")
    assert (conclusion.outcome.status, conclusion.outcome.verdict) == ("completed", "FAIL"), conclusion.reason
    (execution,) = conclusion.evidence.of("stress")
    (failed,) = execution.of_kind("failed")
    assert failed.payload["error"].endswith("killed for want of memory: it may have 64 MiB")
    (confined,) = execution.of_kind("confined")
    assert confined.payload["confined"]["oom_kills"] == 1
    assert 60 << 20 <= confined.payload["confined"]["memory_peak_bytes"] <= 64 << 20
    assert [row for row in rows(conclusion) if not row["within"]] == []
    guards = [record.kind for record in conclusion.evidence.guard]
    assert guards[-2:] == ["reverting", "reverted"], "it lived on outside of the group"
    nothing_is_left()


def test_a_modest_one_stays_under_the_cap(tmp_path: Path) -> None:
    """The control: under the same cap, nobody is killed, and the run passes."""
    conclusion = run(tmp_path, "modest", "memory-64m")
    assert conclusion.outcome.verdict == "PASS", conclusion.reason
    (execution,) = conclusion.evidence.of("stress")
    said = scarcity.last_figures(execution)["confined"]
    assert said["oom_kills"] == 0
    assert 10 << 20 < said["memory_peak_bytes"] < 64 << 20
    nothing_is_left()


@pytest.mark.parametrize(("profile", "found"), [("disk-full", "ENOSPC"), ("no-inodes", "ENOSPC"), ("read-only", "EROFS")])
def test_a_stage_meets_the_disk_that_was_asked(tmp_path: Path, profile: str, found: str) -> None:
    """The application and we see the same error; what the baseline works on is no such disk."""
    conclusion = run(tmp_path, "modest", profile)
    assert conclusion.outcome.verdict == "PASS", conclusion.reason
    (execution,), (baseline,) = conclusion.evidence.of("stress"), conclusion.evidence.of("baseline")
    assert execution.outputs["a"]["data"]["found"] == found
    assert baseline.outputs["a"]["data"]["found"] == "no small disk"
    assert [row for row in rows(conclusion) if not row["within"]] == []
    nothing_is_left()


def test_a_cap_that_the_evidence_does_not_show_blocks_the_run(tmp_path: Path) -> None:
    """What the kernel said is what counts: with half of the cap asked of the same evidence, nothing is judged."""
    conclusion = run(tmp_path, "modest", "memory-64m")
    (execution,) = conclusion.evidence.of("stress")
    for planned in conclusion.evidence.plan["executions"]:
        for fault in planned["scarcities"]:
            fault["memory_mib"] = 32
    found = [row["what"] for row in scarcity.rows(conclusion.evidence, execution) if not row["within"]]
    assert {"stress-1.resources-1, limit of memory", "limit of memory", "who wants more memory"} <= set(found)
    assert scarcity.not_reached(conclusion.evidence)


def test_nobody_turns_the_clock_of_a_machine_that_others_work_on(tmp_path: Path) -> None:
    """It is refused before anything moves, with its line."""
    with pytest.raises(AskError, match="turns its clock"):
        run(tmp_path, "modest", "clock-1970")
