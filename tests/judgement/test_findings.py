"""What a finding advises: to persist only what a restart lost, and never a journal against what no journal mends."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.judgement.checks import ABOUT_RESTARTS, CATEGORIES
from runner.judgement.findings import make_findings
from runner.judgement.judge import CheckResult
from runner.model.finding import Finding
from tests.judgement.made_run import GENERATED_AT, MadeRun


def failed(root: Path, check: str, durability: str = "native") -> Finding:
    """The finding that this check makes of a made run."""
    run = MadeRun(root)
    run.begin("recovery-1")
    run.end(2)
    run.plan["scenarios"]["recovery"]["durability"] = durability
    result = CheckResult("recovery", check, "reliability", "This holds.", "high", "observe", (("it does not", "results/journal/x#1"),))
    (finding,) = make_findings(run.conclusion().evidence, [result], GENERATED_AT)
    return finding


@pytest.mark.parametrize("check", sorted(ABOUT_RESTARTS))
def test_what_a_restart_lost_is_to_be_persisted(tmp_path: Path, check: str) -> None:
    """Of Stageflow by itself; until then a journal helps."""
    finding = failed(tmp_path, check)
    assert finding.recommendation and finding.impact
    said = "Let Stageflow itself persist what a stage finished, so that this holds over a restart: This holds."
    assert finding.recommendation.summary == said and finding.impact.workaround_available


@pytest.mark.parametrize("check", ["finished", "ran_at_once", "timeout_kept", "full_disk_heard", "snapshot_small"])
def test_what_no_restart_lost_is_to_hold_in_stageflow(tmp_path: Path, check: str) -> None:
    """A time-out that stays "ok", an interceptor that swallows an error, a large snapshot: no journal mends them, and none is advised."""
    finding = failed(tmp_path, check)
    assert finding.recommendation and finding.impact
    assert finding.recommendation.summary == "Make this hold in Stageflow itself: This holds."
    assert not finding.impact.workaround_available and "durability" not in finding.model_dump_json()


@pytest.mark.parametrize("check", ["nothing_repeated", "timeout_kept"])
def test_what_our_journal_did_not_keep_is_ours(tmp_path: Path, check: str) -> None:
    """Nothing is asked of Stageflow there."""
    finding = failed(tmp_path, check, "journaled")
    assert finding.recommendation and finding.recommendation.summary == "Make this hold: This holds."


def test_checks_about_restarts_are_checks_that_every_entry_has() -> None:
    """By their names, as the plan has them."""
    assert set(CATEGORIES) >= ABOUT_RESTARTS
