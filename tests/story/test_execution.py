"""Whose fault it is when a device does not come back after a cut."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from runner.errors import LabError
from runner.model.plan import CutPlan
from runner.story.execution import _recover
from runner.target.transports.base import LinkLost


@pytest.mark.parametrize(
    ("facts", "labs_fault"),
    [({"on": True, "frozen": True}, True), ({"on": False, "last_end": "killed"}, True), ({"on": True}, False), ({}, False)],
)
def test_a_board_that_lost_its_emulator_is_not_judged(facts: dict[str, Any], labs_fault: bool, clock: Any) -> None:
    """Frozen or dead underneath: the lab's trouble. On and silent: a result, which fails the run."""

    async def recover(limit_s: float) -> None:
        raise LinkLost("no answer")

    async def said() -> dict[str, Any]:
        return facts

    notes: list[str] = []
    target = SimpleNamespace(recover=recover, type=SimpleNamespace(boot_limit_s=1), power=SimpleNamespace(facts=said))
    run: Any = SimpleNamespace(target=target, clock=clock, note=lambda kind, **_: notes.append(kind), emit=lambda *_, **__: None)
    plan: Any = SimpleNamespace(name="recovery-1")
    cut = CutPlan(hold="recovery-1/1", stage="a", point="started")
    if labs_fault:
        with pytest.raises(LabError, match="while it was starting"):
            asyncio.run(_recover(run, plan, cut))
    else:
        assert asyncio.run(_recover(run, plan, cut)) is False
    assert notes == ([] if labs_fault else ["not_recovered"])
