"""A lab with one small entry, KILL-001: quick enough to be killed hundreds of times, with everything in it that a run does.

Three stages; crashes at placed and random points, one during a resume; and one image of a damaged disk.
"""

from __future__ import annotations

from pathlib import Path

CHECKS = ("finished", "nothing_repeated", "promises_kept", "restored_state_true", "every_stage_witnessed", "really_rebooted")
STAGES = ("take", "work", "keep")

_ENTRY = """
id: KILL-001
title: Small, to be killed often
priority: P2
risk: Low
industry: none
deployment_mode: none
limits: {{ restored_s: 60, running_again_s: 60 }}
cuts: {{ default: 3, quick: 1, bar: 50 }}
scenarios:
  baseline: {{ pipeline: small, profile: steady, durability: journaled, judge: must_hold, stages: [{stages}], checks: [{checks}] }}
  recovery: {{ pipeline: small, profile: small-cuts, durability: journaled, judge: must_hold, stages: [{stages}], checks: [{checks}] }}
  adversarial:
    pipeline: small
    profile: journal-damage
    durability: journaled
    judge: must_hold
    cuts: 1
    stages: [{stages}]
    checks: [{{ check: damage_refused, severity: critical }}]
"""
_PROFILE = """
title: At a flush, during a resume, anywhere
severs: [power]
faults:
  - fault: power_cut
    points: [after_flush, during_resume, random]
"""
_PIPELINE = """
import asyncio
from stageflow import Pipeline, StageKind, StageOutput

class Stage:
    def __init__(self, name):
        self.name = name
    async def execute(self, ctx):
        await asyncio.sleep(0.05)
        return StageOutput.ok({"made": self.name})

def build():
    return (
        Pipeline()
        .with_stage("take", Stage("take"), StageKind.WORK)
        .with_stage("work", Stage("work"), StageKind.WORK, dependencies=("take",))
        .with_stage("keep", Stage("keep"), StageKind.WORK, dependencies=("work",))
    )
"""
_INVENTORY = """
devices:
  local: { type: local-process }
  qemu-pi: { type: qemu-arm64 }
"""


def make(root: Path) -> Path:
    """The lab in `root`."""
    checks = ", ".join(f"{{ check: {name}, severity: critical }}" for name in CHECKS)
    files = {
        "inventory.yaml": _INVENTORY,
        "profiles/small-cuts.yaml": _PROFILE,
        "pipelines/kill_001/entry.yaml": _ENTRY.format(stages=", ".join(STAGES), checks=checks),
        "pipelines/kill_001/small.py": _PIPELINE,
        "pipelines/kill_001/__init__.py": "",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root
