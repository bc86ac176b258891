"""Pipelines that are not EDGE-002's: stages side by side, and outputs that together are larger than one frame."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.lab.where import Lab
from runner.ondevice.frames import MAX_PAYLOAD_BYTES
from runner.story.execute import execute
from runner.story.plan import Asked, make_plan

ENTRY = """
id: WIDE-001
title: Side by side
priority: P2
risk: Low
industry: none
deployment_mode: none
limits: { restored_s: 5, running_again_s: 5 }
cuts: { default: 12, quick: 3, bar: 50 }
scenarios:
  baseline: { pipeline: wide, profile: steady, COMMON }
  recovery: { pipeline: wide, profile: power-cuts, COMMON }
""".replace("COMMON", "durability: journaled, judge: must_hold, stages: [slow, fast, third, last], checks: [CHECKS]").replace(
    "CHECKS",
    ", ".join(
        f"{{ check: {name}, severity: critical }}"
        for name in ("finished", "nothing_repeated", "state_equal", "promises_kept", "restored_state_true")
    ),
)
PIPELINE = """
import asyncio
from stageflow import Pipeline, StageKind, StageOutput

class Stage:
    def __init__(self, letter, delay_s):
        self.letter, self.delay_s = letter, delay_s
    async def execute(self, ctx):
        await asyncio.sleep(self.delay_s)
        return StageOutput.ok({"text": self.letter * 900_000})

def build():
    return (
        Pipeline()
        .with_stage("slow", Stage("s", 0.2), StageKind.WORK)
        .with_stage("fast", Stage("f", 0.01), StageKind.WORK)
        .with_stage("third", Stage("t", 0.01), StageKind.WORK, dependencies=("slow", "fast"))
        .with_stage("last", Stage("l", 0.01), StageKind.WORK, dependencies=("third",))
    )
"""


@pytest.mark.real
def test_parallel_stages_with_large_outputs_are_cut_and_resumed(make_lab: Callable[..., Path]) -> None:
    """Stages end in another order than they are listed, and the replay is larger than a frame: neither is a failure."""
    assert MAX_PAYLOAD_BYTES < 3 * 900_000
    files = {"pipelines/wide_001/entry.yaml": ENTRY, "pipelines/wide_001/wide.py": PIPELINE, "pipelines/wide_001/__init__.py": ""}
    root = make_lab(files)
    lab = Lab(root, root / "runs", builtin=False)
    conclusion = asyncio.run(execute(make_plan(Asked("WIDE-001", cuts=6), lab), lab, lambda event, **facts: None))
    assert [result for result in conclusion.results if not result.held] == []
    assert (conclusion.outcome.verdict, conclusion.cuts["counted"] >= 6) == ("PASS_WITH_CONCERNS", True), conclusion.trouble
