"""The end of a run, behind everything for which its device was needed: judged, then reported, each a step that is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.clock import SystemClock
from runner.lab.where import find_lab
from runner.ondevice import failpoints
from runner.story.execute import _finish
from tests.judgement.made_run import TOKEN, MadeRun


def test_to_judge_and_to_report_are_steps_as_all_others(make_lab: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Told before the place at which a test may kill; so that nobody reads that the device is still waited for."""
    lab = find_lab(str(make_lab({})))
    made = MadeRun(lab.runs)
    made.plan |= {"scenarios": {}}
    made.end(4.0)
    made.conclusion()
    happened: list[str] = []

    def emit(event: str, **facts: Any) -> None:
        if event in ("step", "concluded"):
            happened.append(f"{event} {facts.get('name', '')}".rstrip())

    monkeypatch.setattr(failpoints, "reached", happened.append)
    _finish(made.folder, lab, emit, SystemClock(), None, TOKEN)
    steps = [line for name in ("judge", "report") for line in (f"step {name}", f"{name}.before", f"{name}.after")]
    assert happened == [*steps, "concluded"]
