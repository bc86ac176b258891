"""The same run with the oldest, a middle and the newest Stageflow that are supported."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runner.lab.where import Lab, builtin_root
from runner.story.execute import execute
from runner.story.plan import Asked, make_plan


@pytest.mark.real
@pytest.mark.parametrize("version", ["0.5.0", "0.9.6", "1.2.0"])
def test_edge_002_works_with_stageflow(version: str, tmp_path: Path) -> None:
    """Crash, resume and judgement need none of Stageflow's own hooks, so every release works."""
    lab = Lab(builtin_root(), tmp_path / "runs", builtin=True)
    plan = make_plan(Asked("EDGE-002", quick=True, stageflow=version), lab)
    conclusion = asyncio.run(execute(plan, lab, lambda event, **facts: None))
    assert conclusion.outcome.verdict == "PASS_WITH_CONCERNS", [result for result in conclusion.results if not result.held]
    assert conclusion.evidence.config["stageflow_version"] == version
