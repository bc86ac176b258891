"""`run attach` and `exec --detach`, where no run is needed to see it: the exit status of a run that is over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.judgement import conclude
from runner.judgement.conclude import Conclusion
from runner.judgement.findings import make_findings
from runner.judgement.judge import CheckResult
from runner.lab.folder import write_json
from runner.lab.where import find_lab
from runner.story import execute
from runner.story.plan import Asked, make_plan
from tests.judgement.made_run import GENERATED_AT, MadeRun

Runner = Callable[..., Any]


@pytest.mark.parametrize(
    ("fail_on", "expected"),
    [("high", 1), ("info", 1), ("critical", 0), (None, 0), ("everything", 0)],
)
def test_whoever_attaches_is_told_what_exec_was_told_to_fail_on(
    runner: Runner, make_lab: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, fail_on: str | None, expected: int
) -> None:
    """An observed finding of severity high fails the run that asked for that, and none else; a word that no plan holds says nothing."""
    lab = make_lab({})
    made = MadeRun(lab / "runs")
    made.plan["fail_on"] = fail_on
    made.begin("recovery-1", 1.0)
    made.end(3.0, "recovery-1")
    made.end(4.0)
    lost = CheckResult(
        "recovery", "alarms_sent_once", "reliability", "Every alarm goes out once.", "high", "observe", (("2 again", "j#7"),)
    )
    concluded = made.conclusion("held_with_concerns", results=[lost])
    concluded.findings = make_findings(concluded.evidence, [lost], GENERATED_AT)
    write_json(made.folder.findings, {"metadata": {"completed_at": GENERATED_AT}, "findings": []})
    monkeypatch.setattr(conclude, "conclude", lambda folder, generated_at: concluded)
    said = runner("--json", "--lab", str(lab), "run", "attach", made.folder.run_id)
    assert (said.exit_code, said.json["exit_code"], said.json["verdict"]) == (expected, expected, "PASS_WITH_CONCERNS")


def test_of_a_run_that_is_over_there_is_nothing_to_cancel(runner: Runner, make_lab: Callable[..., Path]) -> None:
    """It says so in a sentence, exits with 0, and draws no conclusion again."""
    lab = make_lab({})
    made = MadeRun(lab / "runs")
    made.begin("recovery-1", 1.0)
    made.end(3.0, "recovery-1")
    made.end(4.0)
    made.conclusion()
    write_json(made.folder.findings, {"metadata": {"completed_at": GENERATED_AT, "status": "completed"}, "findings": []})
    before = made.folder.findings.read_bytes()
    said = runner("--lab", str(lab), "run", "cancel", made.folder.run_id)
    assert (said.exit_code, f"{made.folder.run_id} is over: there was nothing to cancel" in said.out) == (0, True)
    assert runner("--json", "--lab", str(lab), "run", "cancel", made.folder.run_id).json["cancelled"] is False
    assert made.folder.findings.read_bytes() == before


@pytest.mark.parametrize("over", [True, False], ids=["over", "killed"])
def test_of_a_run_that_is_over_a_resume_says_so_before_its_verdict(
    runner: Runner, make_lab: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, over: bool
) -> None:
    """And when it ended: its verdict alone looks as if it had just run. The exit status is the verdict's all the same."""
    lab = make_lab({})
    made = MadeRun(lab / "runs")
    made.begin("recovery-1", 1.0)
    if over:
        made.end(3.0, "recovery-1")
        made.end(4.0)
    plan, concluded = make_plan(Asked("EDGE-002"), find_lab(str(lab))), made.conclusion()

    async def resume(*_: Any, **__: Any) -> Conclusion:
        return concluded

    monkeypatch.setattr(execute, "plan_of", lambda *_: plan)
    monkeypatch.setattr(execute, "resume", resume)
    said = runner("--lab", str(lab), "run", "resume", made.folder.run_id)
    told = f"{made.folder.run_id} has ended already, at {concluded.evidence.completed_at}: nothing is gone on with"
    assert (said.exit_code, said.out.splitlines()[1].startswith(told), told in said.out) == (concluded.outcome.exit_code, over, over)
    assert "PASS · every check held" in said.out
