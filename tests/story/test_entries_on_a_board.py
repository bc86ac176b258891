"""The entries whose link fails, whose board grows hot, or which have too little, on an emulated board: everything that they promise, the
power cut in the middle included."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.judgement import heat, links, scarcity
from runner.judgement.conclude import Conclusion, conclude
from runner.lab.folder import RunFolder
from tests.target.emulation.test_heat_for_real import can_limit

SCENARIO = "recovery"  # of every entry: its fault, and the power in the middle of that
BLOCKED, TRIES = 3, 2  # an outage that fell into a slow board's restart was not reached: no verdict, and the run is to be made again


SLOW = pytest.mark.long
ENTRIES = (
    pytest.param("EDGE-001", marks=(SLOW, pytest.mark.skipif(not can_limit(), reason="needs control groups for CPU time"))),
    "EDGE-003",
    pytest.param("EDGE-004", marks=SLOW),
    pytest.param("EDGE-005", marks=SLOW),
    "DEF-008",
)


@pytest.mark.qemu
@pytest.mark.alone
@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_passes_under_its_fault(entry: str, tmp_path: Path, runner_process: Callable[..., Any]) -> None:
    """Every check holds, each fault was what was asked and came off again, and the folder keeps every rule."""
    assert runner_process("init", str(tmp_path / "lab")).returncode == 0
    asked = ("exec", entry, "--device", "qemu-pi", "--quick", "--scenario", SCENARIO)
    for _ in range(TRIES):
        done = runner_process(*asked, cwd=tmp_path / "lab", limit_s=1200, RUNNER_STATE=str(tmp_path / "s"))
        if done.returncode != BLOCKED:
            break
    assert done.returncode == 0, done.stdout + done.stderr
    folder = max(RunFolder.every(tmp_path / "lab" / "runs"), key=lambda run: run.run_id)
    conclusion = conclude(folder, "2026-01-01T00:00:00.000Z")
    assert conclusion.outcome.verdict in ("PASS", "PASS_WITH_CONCERNS"), conclusion.reason
    assert reached(conclusion, SCENARIO) == []
    verified = runner_process("run", "verify", str(folder.root), cwd=tmp_path / "lab", RUNNER_STATE=str(tmp_path / "s"))
    assert verified.returncode == 0, verified.stdout


def reached(conclusion: Conclusion, scenario: str) -> list[dict[str, Any]]:
    """What of the faults was not as asked; and a row of its own for a scenario that had none at all."""
    evidence = conclusion.evidence
    found = [row for kind in (links, heat, scarcity) for execution in evidence.of(scenario) for row in kind.rows(evidence, execution)]
    return [row for row in found if not row["within"]] if found else [{"what": scenario, "measured": "nothing was on it"}]
