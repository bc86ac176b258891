"""Runs of EDGE-002 from inside a test: small plans, real devices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.judgement.conclude import Conclusion
from runner.lab.where import Lab, builtin_root
from runner.model.plan import CutPlan, Plan
from runner.story.execute import execute
from runner.story.plan import Asked, make_plan
from runner.target.target import Target


def cut(execution: str, number: int, stage: str, point: str) -> CutPlan:
    return CutPlan(hold=f"{execution}/{number}", stage=stage, point=point)


def plan_with(lab: Lab, device: str, *cuts: tuple[str, str]) -> Plan:
    """EDGE-002 with exactly these (stage, point) cuts in one recovery."""
    plan = make_plan(Asked("EDGE-002", device=device, scenarios=("recovery",), quick=True), lab)
    baseline, recovery = plan.executions[0], plan.executions[1]
    chosen = tuple(cut("recovery-1", number, stage, point) for number, (stage, point) in enumerate(cuts, 1))
    return plan.model_copy(update={"executions": (baseline, recovery.model_copy(update={"cuts": chosen})), "cuts_asked": len(chosen)})


@pytest.fixture
def run_edge_002(tmp_path: Path) -> Callable[..., Conclusion]:
    """`run_edge_002(("screen", "before_flush"), …, device=…, adjust=…)` gives the conclusion."""
    lab = Lab(builtin_root(), tmp_path / "runs", builtin=True)

    def run(
        *cuts: tuple[str, str],
        device: str = "local",
        adjust: Callable[[Target], None] = lambda target: None,
        judge: str = "must_hold",
        loss: str = "",
        boot_limit_s: float = 0,
        fraction: tuple[float | None, ...] = (),
        **executions: Any,
    ) -> Conclusion:
        plan = plan_with(lab, device, *cuts)
        if fraction:  # a cut with a fraction is a random one
            baseline, recovery = plan.executions
            made = tuple(cut.model_copy(update={"fraction": part}) for cut, part in zip(recovery.cuts, fraction, strict=True))
            plan = plan.model_copy(update={"executions": (baseline, recovery.model_copy(update={"cuts": made}))})
        changed = {key: value for key, value in {"loss": loss, "boot_limit_s": boot_limit_s}.items() if value}
        update = {
            "type": plan.type.model_copy(update=changed),
            "executions": tuple(execution.model_copy(update=executions) for execution in plan.executions),
            "scenarios": {name: scenario.model_copy(update={"judge": judge}) for name, scenario in plan.scenarios.items()},
        }
        return asyncio.run(execute(plan.model_copy(update=update), lab, lambda event, **facts: None, adjust=adjust))

    return run


def failed(conclusion: Conclusion) -> set[str]:
    """Names of the checks of the recovery that did not hold."""
    return {result.check for result in conclusion.results if not result.held and result.scenario == "recovery"}
