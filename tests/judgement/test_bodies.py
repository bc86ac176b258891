"""Every beginning of a stage, and how it ended, across restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.judgement.report.bodies import Body, Course, courses
from runner.judgement.timeline import Timeline
from tests.judgement.made_run import MadeRun


@pytest.fixture
def run(tmp_path: Path) -> MadeRun:
    made = MadeRun(tmp_path)
    made.begin("recovery-1", 0.0)
    return made


def course(run: MadeRun) -> Course:
    run.end(90.0, "recovery-1")
    run.end(100.0)
    evidence = run.conclusion().evidence
    return courses(evidence, Timeline(evidence))[0]


def short(body: Body) -> tuple[str, int, float | None, float | None, str]:
    return body.stage, body.life, body.began_s, body.ended_s, body.ending


def test_a_body_is_killed_by_the_cut_of_its_own_life(run: MadeRun) -> None:
    """Side by side, both end with the power; the same stage again in the next life is another body."""
    run.stage("recovery-1", "a", 1.0, None)
    run.stage("recovery-1", "b", 2.0, None)
    hold = run.cut(5.0, "recovery-1", "a", back_s=6.0)
    run.stage("recovery-1", "a", 10.0, 12.0)
    run.cut(20.0, "recovery-1", "", back_s=21.0)
    found = course(run)
    assert [short(body) for body in found.bodies] == [
        ("a", 0, 1.0, 5.0, "killed"),
        ("b", 0, 2.0, 5.0, "killed"),
        ("a", 1, 10.0, 12.0, "finished"),
    ]
    assert found.bodies[0].said == f"killed by the cut at {hold}"
    assert found.bodies[0].where == "results/journal/device-recovery-1.journal#2"
    assert found.stages == ["a", "b"]


def test_what_the_cut_took_from_the_journal_the_witness_has(run: MadeRun) -> None:
    """A beginning whose record is lost is there, by the witness's word; one that is recorded is not there twice."""
    run.stage("recovery-1", "a", 1.0, 2.0)
    run.witness(3.0, "recovery-1", "b")
    run.cut(5.0, "recovery-1", "b", back_s=6.0, replay=("a",))
    found = course(run)
    assert [short(body) for body in found.bodies] == [("a", 0, 1.0, 2.0, "finished"), ("b", 0, 3.0, 5.0, "lost")]
    assert found.bodies[1].where == "results/journal/witness.jsonl:2"
    assert [(life.number, life.began_s, life.ended_s, life.replayed) for life in found.lives] == [(0, 0.0, 5.0, []), (1, 7.5, 90.0, ["a"])]
    assert found.lives[1].cut and found.lives[1].cut.hold == "recovery-1/1"


def test_ends_that_are_not_well_say_so(run: MadeRun) -> None:
    """A status other than ok and a raised exception have failed; what never ended, in an execution that did, is open."""
    for number, stage in enumerate(("bad", "raised", "open"), start=1):
        run.stage("recovery-1", stage, float(number), None)
    run.device(5.0, "recovery-1", "stage_finished", stage="bad", status="fail", data={}, files={}, duration_ns=1)
    run.device(6.0, "recovery-1", "stage_raised", stage="raised", status="raised")
    found = {body.stage: (body.ending, body.ended_s, body.said) for body in course(run).bodies}
    assert found == {
        "bad": ("failed", 5.0, "finished: fail"),
        "raised": ("failed", 6.0, "finished: raised"),
        "open": ("open", 90.0, "its end is not recorded"),
    }


def test_a_cut_ends_what_runs_beside_the_execution_it_was_meant_for(run: MadeRun) -> None:
    """Power is the device's, not an execution's; but a cut that came after an execution's end did nothing to it."""
    run.stage("recovery-1", "a", 1.0, None)
    run.note(3.0, "execution_began", execution="other-1", scenario="recovery")
    run.lives["other-1"] = 0
    run.device(3.0, "other-1", "began", stages=[], holds=[])
    run.stage("other-1", "b", 4.0, None)
    run.cut(5.0, "recovery-1", "a", back_s=6.0)
    run.end(100.0)
    evidence = run.conclusion().evidence
    first, other = courses(evidence, Timeline(evidence))
    assert [short(body)[2:] for body in (*first.bodies, *other.bodies)] == [(1.0, 5.0, "killed"), (4.0, 5.0, "killed")]
    run.note(4.5, "execution_ended", execution="other-1", ending="limit", mirrored=3, chain="")
    evidence = run.conclusion().evidence
    assert short(courses(evidence, Timeline(evidence))[1].bodies[0])[2:] == (4.0, 4.5, "open")
