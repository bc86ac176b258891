"""What the values of a run answer: what a cut cost, and whether it counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.judgement.checks import clocks, promises_kept, restored_in_time, restored_state_true
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
    """Nor is what a restart behind a later cut restored a state of the earlier one; an end behind both is no end before either."""
    run = MadeRun(tmp_path)
    run.begin("recovery-1")
    run.cut_and_its_supervisor_killed(3.0, "recovery-1", back_s=4.0, again_s=2.0)
    del run.journals["recovery-1"][-2:]
    run.cut(9.0, "recovery-1", "train", back_s=10.0)
    run.device(15.0, "recovery-1", "finished", stages=[], state_sha256="")
    assert without_a_state(run) == ["no restored state was recorded after the cut at recovery-1/1"]
    assert [cut.ended_before for cut in run.conclusion().evidence.cuts] == [False, False]


def test_an_end_that_nobody_had_heard_of_is_one_before_the_cut(tmp_path: Path) -> None:
    """Whichever cut came next; nothing is restored then."""
    run = MadeRun(tmp_path)
    run.begin("recovery-1")
    run.device(2.0, "recovery-1", "finished", stages=[], state_sha256="")
    for at_s in (3.0, 9.0):
        run.cut(at_s, "recovery-1", "train", back_s=at_s + 1)
        del run.journals["recovery-1"][-2:]
    assert [cut.ended_before for cut in run.conclusion().evidence.cuts] == [True, True]


@pytest.mark.parametrize("wrote", ["sample", "holding"])
def test_what_a_supervisor_wrote_behind_a_cut_did_not_survive_it(tmp_path: Path, wrote: str) -> None:
    """A record that was promised and lost is missed, though whoever died before it had restored, or was cut meanwhile, wrote another in its
    place, so that the next one found as many."""
    for broken in (0, 1):
        killed, cut = MadeRun(tmp_path / f"killed-{broken}"), MadeRun(tmp_path / f"cut-{broken}")
        for run in (killed, cut):
            run.begin("recovery-1")
            run.stage("recovery-1", "ingest", 2.0, 2.5)
            run.note(2.9, "held", execution="recovery-1", hold="recovery-1/1", flushed=3)
        killed.cut_and_its_supervisor_killed(3.0, "recovery-1", back_s=4.0, again_s=2.0, lost=broken, wrote=wrote)
        cut.cut(3.0, "recovery-1", "train", back_s=4.0)
        del cut.journals["recovery-1"][-2 - broken :]
        cut.device(5.5, "recovery-1", wrote, hold="", metrics={})
        cut.cut(6.0, "recovery-1", "", back_s=7.0)
        for run in (killed, cut):
            said = [problem for problem, _ in promises_kept(run.conclusion().evidence, "recovery") if "promised" in problem]
            assert said == ["recovery-1/1: 3 records were promised, 2 came back"] * broken
            assert run.conclusion().evidence.cuts[0].records_found == 3 - broken


@pytest.mark.parametrize(("noted", "accused"), [("reattached", True), ("returned", False)])
def test_a_restart_is_timed_from_the_first_answer_if_anybody_was_there(tmp_path: Path, noted: str, accused: bool) -> None:
    """While its coordinator was away nobody knows for how long a device could not go on."""
    run = MadeRun(tmp_path)
    run.begin("recovery-1")
    run.cut_and_its_supervisor_killed(3.0, "recovery-1", back_s=4.0, again_s=60.0, noted=noted)
    evidence = run.conclusion().evidence
    assert (clocks(evidence.executions[0], evidence.cuts[0]).restored_s is not None) == accused
    assert bool(restored_in_time(evidence, "recovery")) == accused


def test_a_board_that_goes_off_by_itself_behind_a_cut_is_not_timed_from_its_next_boot(tmp_path: Path) -> None:
    """Nothing says when its state was restored."""
    run = MadeRun(tmp_path)
    run.begin("recovery-1")
    run.cut(3.0, "recovery-1", "train", back_s=4.0)
    del run.journals["recovery-1"][-2:]
    run.restart(300.0, "recovery-1")
    run.note(301.0, "reattached", boot_id=run.boot_id, supervisor_started_ns=int(SUPERVISOR_S * 1e9))
    evidence = run.conclusion().evidence
    assert clocks(evidence.executions[0], evidence.cuts[0]).restored_s is None
    assert ["nothing says when" in problem for problem, _ in restored_in_time(evidence, "recovery")] == [True]


def without_a_state(run: MadeRun) -> list[str]:
    problems = restored_state_true(run.conclusion().evidence, "recovery")
    return [problem for problem, _ in problems if problem.startswith("no restored state")]
