"""From facts to a verdict: what failed, how bad that is, and when there is nothing to be said at all."""

from __future__ import annotations

from typing import Any

import pytest

from runner.errors import AskError
from runner.judgement.conclude import conclude
from runner.lab.folder import RunFolder, read_json, write_json

pytestmark = pytest.mark.real


def test_nine_crashes_that_held_pass_with_concerns(real_run: RunFolder) -> None:
    """Every check held, fewer cuts than the bar: the reason says how many, and what that bounds."""
    conclusion = conclude(real_run, "now")
    assert (conclusion.row, conclusion.findings) == ("held_with_concerns", [])
    assert conclusion.reason == "9 of 50 cuts: failure rate at most 33% (95 %)"
    assert conclusion.cuts == {"asked": 9, "made": 9, "vacuous": 0, "counted": 9}
    said = conclusion.as_json()
    assert (said["verdict"], said["status"], said["exit_code"]) == ("PASS_WITH_CONCERNS", "completed", 0)
    assert said["run_dir"] == str(real_run.root)


def test_with_the_bar_reached_crashes_are_still_no_power_failure(real_run: RunFolder, forger: Any) -> None:
    """The bar is the entry's, as it was when the run was made; but process crashes alone are never a full pass."""
    config = read_json(real_run.run_config)
    config["test_parameters"]["cuts"]["bar"] = 9
    write_json(real_run.run_config, config)
    forger.seal()
    conclusion = conclude(real_run, "now")
    assert (conclusion.outcome.verdict, conclusion.reason) == (
        "PASS_WITH_CONCERNS",
        "every check held over 9 process crashes; the power was never cut",
    )


def set_checks(run: RunFolder, check: str, /, **changes: Any) -> None:
    """Changes how the plan uses a check in the recovery, or how the recovery is judged."""
    config = read_json(run.run_config)
    recovery = config["test_parameters"]["scenarios"]["recovery"]
    recovery["judge"] = changes.pop("judge", recovery["judge"])
    for use in recovery["checks"]:
        if use["check"] == check:
            use.update(changes)
    write_json(run.run_config, config)


@pytest.mark.parametrize(
    ("severity", "judge", "row"),
    [
        ("critical", "must_hold", "must_hold_failed_badly"),
        ("high", "must_hold", "must_hold_failed_badly"),
        ("medium", "must_hold", "must_hold_failed"),
        ("low", "must_hold", "must_hold_failed"),
        ("critical", "observe", "held_with_concerns"),
    ],
)
def test_one_failed_check_is_as_bad_as_the_entry_says(forger: Any, severity: str, judge: str, row: str) -> None:
    """One finding, with its severity, its evidence and the command that makes it again; observing never fails a run."""
    forger.change(forger.recovery, "finished", 0, state_sha256="0" * 64)
    set_checks(forger.run, "state_equal", severity=severity, judge=judge)
    forger.seal()
    conclusion = conclude(forger.run, "2026-11-21T20:00:00.000Z")
    assert conclusion.row == row
    (finding,) = conclusion.findings
    assert (finding.id, finding.severity, finding.type) == ("EDGE-002-BUG-001", severity, "bug")
    assert finding.created_at == conclusion.evidence.completed_at  # when the run ended, however often it is judged again
    assert finding.evidence[0].startswith("results/journal/device-recovery-1.journal#")
    again = "runner exec EDGE-002 --device local --seed 3 --stageflow 1.2.0 --scenario recovery --cuts 9"
    assert finding.reproduction and finding.reproduction.steps[0] == again
    assert "final state 000000000000, baseline" in finding.description
    assert conclusion.as_json()["findings"][severity] == 1


@pytest.mark.parametrize(("also", "row", "code"), [("", "lab", 3), ("every_stage_witnessed", "must_hold_failed_badly", 1)])
def test_a_check_that_asks_after_the_fault_blocks_and_accuses_nobody(forger: Any, also: str, row: str, code: int) -> None:
    """Not reached is no failure of the software, and makes no finding; what must hold and failed in spite of it has still failed."""
    forger.change(forger.recovery, "finished", 0, state_sha256="0" * 64)
    set_check_alone(forger.run, "state_equal", judge="reached")
    if also:
        forger.run.witness.write_text("")
    forger.seal()
    conclusion = conclude(forger.run, "now")
    assert (conclusion.row, conclusion.outcome.exit_code) == (row, code)
    assert not any("state equal" in finding.title for finding in conclusion.findings)
    if not also:
        assert conclusion.reason.startswith("fault not reached: ") and "final state 000000000000" in conclusion.reason
        assert conclusion.findings == []


def set_check_alone(run: RunFolder, check: str, **changes: Any) -> None:
    """Changes how the plan uses a check in the recovery, and nothing of how the recovery is judged."""
    config = read_json(run.run_config)
    for use in config["test_parameters"]["scenarios"]["recovery"]["checks"]:
        if use["check"] == check:
            use.update(changes)
    write_json(run.run_config, config)


@pytest.mark.parametrize(("ending", "status", "code"), [("lab", "blocked", 3), ("bug", "failed", 4), ("interrupted", "failed", 130)])
def test_a_run_that_was_cut_short_says_nothing_about_the_software(forger: Any, ending: str, status: str, code: int) -> None:
    """No check is run, no finding made, no verdict given, even where the journals look terrible."""
    forger.change(forger.run.coordinator_journal, "run_ended", ending=ending, error="the link broke\nand more")
    forger.recovery.unlink()
    conclusion = conclude(forger.run, "now")
    assert (conclusion.results, conclusion.findings, conclusion.outcome.verdict) == ([], [], None)
    assert (conclusion.outcome.status, conclusion.outcome.exit_code, conclusion.reason) == (status, code, "the link broke")


def test_a_killed_coordinator_leaves_an_interrupted_run(forger: Any) -> None:
    """Its journal has no end: nobody concludes from half a run."""
    forger.drop(forger.run.coordinator_journal, "run_ended")
    conclusion = conclude(forger.run, "now")
    assert (conclusion.row, conclusion.reason) == ("interrupted", "the coordinator was killed")
    assert conclusion.findings == []


def test_a_power_loss_that_was_never_proven_blocks_the_run(forger: Any) -> None:
    """A fault that was not reached is the lab's fault; such a run never passes."""
    forger.change(forger.run.coordinator_journal, "cut", 0, loss="power_loss")
    conclusion = conclude(forger.run, "now")
    assert (conclusion.row, conclusion.outcome.verdict) == ("lab", None)
    assert "fault not reached" in conclusion.reason


def test_cuts_that_cost_nothing_are_a_fault_not_reached(forger: Any) -> None:
    """Had every crash come after the pipeline's end, nothing would have been tested: blocked, never a pass."""

    def after_the_end(record: Any) -> dict[str, Any]:
        acknowledged = record.kind == "cut" and record.payload["point"] in ("created", "after_ack")
        instead = {"kind": "finished"} if record.kind == "mirrored" else {"point": "random"} if acknowledged else {}
        return {**record.payload, **instead}

    forger.rewrite(forger.run.coordinator_journal, after_the_end)
    conclusion = conclude(forger.run, "now")
    assert (conclusion.cuts["counted"], conclusion.outcome.verdict) == (0, None)
    assert "cost anything" in conclusion.reason


def test_an_unknown_check_is_told_with_all_that_there_are(real_run: RunFolder) -> None:
    """The entry's own and the generic ones."""
    set_checks(real_run, "finished", check="finishd")
    with pytest.raises(AskError, match="no check is called 'finishd'") as refused:
        conclude(real_run, "now")
    assert {"finished", "ledger_adds_up"} <= set(refused.value.complaints[0].expected.replace(",", "").split())


@pytest.mark.real
def test_an_entrys_check_that_raises_has_found_itself_broken(forger: Any) -> None:
    """A mistake in checks.py is a failed check with its name, never our traceback."""
    checks = forger.run.pipelines / "checks.py"
    checks.write_text(checks.read_text() + "\n\ndef ledger_adds_up(evidence, scenario):\n    return evidence.nonsense\n")
    results = {result.check: result for result in conclude(forger.run, "now").results}
    assert "AttributeError" in results["ledger_adds_up"].problems[0][0]


@pytest.mark.real
def test_checks_that_cannot_be_loaded_are_the_users_to_mend(forger: Any) -> None:
    """A checks.py that does not even import is named, with what it said."""
    (forger.run.pipelines / "checks.py").write_text("import nothing_like_this\n")
    with pytest.raises(AskError, match="nothing_like_this"):
        conclude(forger.run, "now")


@pytest.mark.real
@pytest.mark.parametrize(
    "body", ["raise SystemExit(0)", "return ['nope']", "return None", "return [('a', 'b', 'c')]"], ids=["exit", "str", "none", "triple"]
)
def test_no_check_can_end_or_confuse_the_judgement(forger: Any, body: str) -> None:
    """Whatever an entry's own check does, it is that check which failed."""
    checks = forger.run.pipelines / "checks.py"
    checks.write_text(checks.read_text() + f"\n\ndef ledger_adds_up(evidence, scenario):\n    {body}\n")
    results = {result.check: result for result in conclude(forger.run, "now").results}
    assert not results["ledger_adds_up"].held


@pytest.mark.real
def test_a_plan_without_checks_judges_nothing(real_run: RunFolder) -> None:
    """Nothing checked is nothing passed."""
    config = read_json(real_run.run_config)
    config["test_parameters"]["scenarios"] = {}
    write_json(real_run.run_config, config)
    assert conclude(real_run, "now").outcome.verdict is None
