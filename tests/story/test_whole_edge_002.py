"""All of EDGE-002 on the local device: one run, and a folder that somebody who was not there can take and check."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.judgement.conclude import conclude
from runner.lab.folder import RunFolder

pytestmark = pytest.mark.real


def test_a_whole_run_holds_every_rule_of_the_folder(whole_lab: Path, runner: Callable[..., Any]) -> None:
    """`run verify` finds nothing to object to."""
    (run,) = RunFolder.every(whole_lab / "runs")
    said = runner("--json", "--lab", str(whole_lab), "run", "verify", run.run_id)
    assert said.exit_code == 0, said.out


def test_a_whole_run_judges_itself(whole_run: RunFolder) -> None:
    """`pytest tests/` in the folder: every promise of all five scenarios holds, or is observed not to, as findings.json says."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/", "-q"],
        cwd=whole_run.root,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_each_scenario_says_what_it_should(whole_run: RunFolder) -> None:
    """What must hold holds; plain Stageflow loses what it loses, which is a finding with its own command and no failure."""
    conclusion = conclude(whole_run, "now")
    assert conclusion.outcome.verdict == "PASS_WITH_CONCERNS"
    assert {(r.scenario, r.check) for r in conclusion.results if not r.held} == {
        ("chaos", "nothing_repeated"),
        ("chaos", "alarms_sent_once"),
    }
    commands = {finding.reproduction.steps[0] for finding in conclusion.findings if finding.reproduction}
    assert commands == {"runner exec EDGE-002 --device local --seed 3 --stageflow 1.2.0 --scenario chaos --cuts 2"}
    assert all(finding.impact and finding.recommendation and finding.component == "stageflow-core 1.2.0" for finding in conclusion.findings)


def test_the_lab_knows_the_findings_at_once(whole_lab: Path) -> None:
    """`runs/aggregated_findings.json` is made again by each run."""
    found = json.loads((whole_lab / "runs" / "aggregated_findings.json").read_text())
    assert (found["total_runs"], found["total_findings"], sum(found["by_severity"].values())) == (1, 2, 2)
