"""What the values of a run answer: what a cut cost, and whether it counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.judgement.checks import clocks, restored_state_true
from runner.judgement.evidence import Cut
from runner.judgement.reading import load_evidence
from runner.lab.folder import RunFolder

from .made_run import RESTORED_S, SUPERVISOR_S, MadeRun

pytestmark = pytest.mark.real


def test_a_process_crash_loses_no_write(real_run: RunFolder) -> None:
    """The kernel lived on: no disk write is claimed to be lost, and no record was."""
    for cut in load_evidence(real_run).cuts:
        assert (cut.writes_lost, cut.records_lost) == (None, 0)
        assert cut.counted


@pytest.mark.parametrize(
    ("point", "loss", "writes_lost", "ended", "vacuous", "counted"),
    [
        ("before_flush", "power_loss", 3, False, False, True),
        ("before_flush", "power_loss", 0, False, True, False),
        ("after_ack", "power_loss", 0, False, True, True),
        ("created", "power_loss", 0, False, True, True),
        ("random", "process_crash", None, False, False, True),
        ("random", "process_crash", None, True, True, False),
    ],
)
def test_a_cut_that_hit_nothing_does_not_count(
    real_run: RunFolder, point: str, loss: str, writes_lost: int | None, ended: bool, vacuous: bool, counted: bool
) -> None:
    """Except behind an acknowledgement, where having nothing to lose is the point."""
    real = load_evidence(real_run).cuts[0]
    lost = {} if writes_lost is None else {"writes_lost": {"count": writes_lost}}
    cut = Cut(**{**vars(real), "point": point, "loss": loss, "facts": lost, "ended_before": ended, "written": 1})
    assert (cut.vacuous, cut.counted) == (vacuous, counted)


def test_a_supervisor_that_dies_before_it_has_restored_is_stood_for_by_the_next_one(tmp_path: Path) -> None:
    """The state that the next one restored is the cut's, and the restart is timed from the first one's start."""
    run = MadeRun(tmp_path)
    run.begin("recovery-1")
    run.cut_and_its_supervisor_killed(3.0, "recovery-1", back_s=4.0, again_s=2.0)
    run.cut(9.0, "recovery-1", "train", back_s=10.0)
    evidence = run.conclusion().evidence
    assert [cut.restored and cut.restored.payload["supervisor_started_ns"] for cut in evidence.cuts] == [
        int((SUPERVISOR_S + 2.0) * 1e9),
        int(SUPERVISOR_S * 1e9),
    ]
    assert clocks(evidence.executions[0], evidence.cuts[0]).restored_s == pytest.approx(RESTORED_S + 2.0 - SUPERVISOR_S)
    assert without_a_state(run) == []


def test_where_the_next_one_restores_nothing_either_it_is_found(tmp_path: Path) -> None:
    """Nor is what a restart behind a later cut restored a state of the earlier one."""
    run = MadeRun(tmp_path)
    run.begin("recovery-1")
    run.cut_and_its_supervisor_killed(3.0, "recovery-1", back_s=4.0, again_s=2.0)
    del run.journals["recovery-1"][-2:]
    run.cut(9.0, "recovery-1", "train", back_s=10.0)
    assert without_a_state(run) == ["no restored state was recorded after the cut at recovery-1/1"]


def without_a_state(run: MadeRun) -> list[str]:
    problems = restored_state_true(run.conclusion().evidence, "recovery")
    return [problem for problem, _ in problems if problem.startswith("no restored state")]
