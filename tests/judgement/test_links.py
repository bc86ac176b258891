"""Whether each planned link fault was there: made runs in which it was, and in which it was not, each in its own way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runner.judgement.evidence import Evidence
from runner.judgement.links import not_reached, rows
from tests.judgement.test_link_reports import AWAY, BEFORE, DURING, NARROW, MadeLinkRun

AWAY_ONCE = {**AWAY, "at_s": 10.0, "for_s": 10.0, "every_s": None, "times": 1}
NAME = "recovery-1"


class Lived(MadeLinkRun):
    """recovery-1 with one link fault, begun at 2 s; its one stage runs from 5 to 45 s, and it is lifted at 50."""

    def __init__(self, root: Path, fault: dict[str, Any], proof: bool = False) -> None:
        super().__init__(root)
        self.program = f"{NAME}.{fault.get('name', fault['fault'])}-1"
        self.begin(NAME)
        self.plan["executions"].append({"name": NAME, "scenario": "recovery", "stages": ["send"], "cuts": [], "links": [fault]})
        self.note(2, "link_began", execution=NAME, who=self.who(NAME), programs=[{"name": self.program}], before=BEFORE)
        if proof:
            self.note(3, "link_proof", execution=NAME, rows=[], during=DURING)

    def ended(self, stages: tuple[tuple[float, float], ...] = ((5, 45),), silent: tuple[float, float] | None = None) -> Evidence:
        """The execution over its stages, its light packets but for those of the silence, and its end."""
        for from_s, to_s in stages:
            self.stage(NAME, "send", from_s, to_s)
        self.device(stages[-1][1] + 0.5, NAME, "finished", state_sha256="", stages=["send"])
        began_s = self.boot_s[-1] + 2
        self.probe(NAME, began_s, 50, came=lambda at_s: silent is None or not silent[0] <= at_s < silent[1])
        self.note(51, "link_lifted", execution=NAME, rows=[], after=BEFORE, light={})
        self.end(52, NAME)
        self.end(53)
        return self.conclusion().evidence

    def armed(self, at_s: float) -> None:
        self.guard(at_s, "armed", program=self.program, fault="offline", holder="ada", renew_s=60.0, cap_s=900.0, undo=[])

    def step(self, at_s: float, on: bool = True, **more: Any) -> None:
        self.guard(at_s, "step", program=self.program, number=1, at_s=0.0, word="offline", on=on, took_s=0.1, **{"failed": [], **more})

    def reverted(self, at_s: float, why: str, done: bool = True) -> None:
        self.guard(at_s, "reverting", program=self.program, why=why)
        if done:
            self.guard(at_s, "reverted", program=self.program, why=why, took_s=0.1, tries=1)


def wrong(evidence: Evidence) -> dict[str, str]:
    """What is not as asked, and what is said of it; `not_reached` says the same of it."""
    (execution,) = evidence.executions
    found = {row["what"]: row["measured"] for row in rows(evidence, execution) if not row["within"]}
    assert len(not_reached(evidence)) == len(found)
    return found


def test_an_outage_that_was_there_is_reached(tmp_path: Path) -> None:
    """The negative control of all below: on in the middle of a stage, silent meanwhile, off at its end."""
    run = Lived(tmp_path, AWAY_ONCE)
    run.armed(3)
    run.step(15)
    run.reverted(25, "its end")
    assert wrong(run.ended(silent=(15, 25))) == {}


@pytest.mark.parametrize("guard", ["empty", "armed and taken back"])
def test_a_fault_that_never_came_on_is_not_reached(guard: str, tmp_path: Path) -> None:
    """By the plan's own names: a journal of the guard that is empty proves nothing, nor one without a step."""
    run = Lived(tmp_path, AWAY_ONCE)
    if guard != "empty":
        run.armed(3)
        run.reverted(49, "asked")
    said = {"empty": "never: the guard knows nothing of it", "armed and taken back": "never: it was armed, and no step put it on"}
    assert wrong(run.ended()) == {f"{run.program}, on": said[guard]}


def test_every_planned_fault_has_a_name_of_its_own(tmp_path: Path) -> None:
    """Two of one kind are two programs: that the one was on says nothing of the other."""
    run = Lived(tmp_path, AWAY_ONCE)
    run.plan["executions"][0]["links"].append({**AWAY_ONCE, "how": "link_down"})
    run.armed(3)
    run.step(15)
    run.reverted(25, "its end")
    assert wrong(run.ended(silent=(15, 25))) == {f"{NAME}.offline-2, on": "never: the guard knows nothing of it"}


def test_a_step_that_failed_puts_nothing_on(tmp_path: Path) -> None:
    """The guard says itself that it did not work."""
    run = Lived(tmp_path, AWAY_ONCE)
    run.armed(3)
    run.step(15, failed=["nft: no such thing"])
    run.reverted(15.1, "a step failed")
    assert set(wrong(run.ended())) == {f"{run.program}, on", f"{run.program}, taken back"}


@pytest.mark.parametrize("window", [(3.0, 4.5), (46.0, 49.0)], ids=["before the first stage", "behind the last one"])
def test_a_fault_beside_every_stage_hits_nothing(window: tuple[float, float], tmp_path: Path) -> None:
    """It was there, and no stage ran meanwhile."""
    run = Lived(tmp_path, AWAY_ONCE)
    run.armed(2.5)
    run.step(window[0])
    run.reverted(window[1], "its end")
    found = wrong(run.ended(silent=window))
    assert "never while a stage ran" in found[f"{run.program}, on"]


TAKEN = ["nobody renewed it", "hard cap", "guard restarted", "a step failed", "asked", "the supervisor asked"]


@pytest.mark.parametrize("why", TAKEN)
@pytest.mark.parametrize("fault", [AWAY_ONCE, NARROW], ids=["timed", "constant"])
def test_a_fault_that_is_taken_away_in_the_middle_is_not_reached(fault: dict[str, Any], why: str, tmp_path: Path) -> None:
    """For whatever reason but its own end, while the execution goes on: the reason is said, and when it was."""
    run = Lived(tmp_path, fault, proof=fault is NARROW)
    run.armed(2.5)
    run.step(3 if fault is NARROW else 15)
    run.reverted(30, why)
    found = wrong(run.ended(silent=(15, 30) if fault is AWAY_ONCE else None))
    assert found[f"{run.program}, taken back"] == f"{why}, 15.5 s before the last that the execution notes in that boot"
    assert (f"{run.program}, on" in found) is (fault is NARROW)


@pytest.mark.parametrize("why", ["asked", "the supervisor asked", "nobody renewed it"])
def test_behind_the_execution_anything_may_take_it_away(why: str, tmp_path: Path) -> None:
    """It was there for all of it. The negative control of the above."""
    run = Lived(tmp_path, NARROW, proof=True)
    run.armed(2.5)
    run.step(3)
    run.reverted(48, why)
    assert wrong(run.ended()) == {}


def test_a_revert_that_is_done_twice_is_one(tmp_path: Path) -> None:
    """The guard was killed within it: another one begins it again, and finishes it."""
    run = Lived(tmp_path, NARROW, proof=True)
    run.armed(2.5)
    run.step(3)
    run.reverted(48, "asked", done=False)
    run.reverted(49, "guard restarted")
    assert wrong(run.ended()) == {}


def test_a_revert_without_an_end_is_told(tmp_path: Path) -> None:
    """Begun, and nothing says that nothing of it is left."""
    run = Lived(tmp_path, NARROW, proof=True)
    run.armed(2.5)
    run.step(3)
    run.reverted(48, "asked", done=False)
    assert wrong(run.ended()) == {f"{run.program}, taken back": "nothing says that it was"}


@pytest.mark.parametrize("back", [True, False], ids=["taken back", "left on"])
def test_what_a_boot_took_back_before_says_nothing_of_the_last_arming(back: bool, tmp_path: Path) -> None:
    """Behind the last arming, and the last step, the guard has to say that it is taken back."""
    run = Lived(tmp_path, NARROW, proof=True)
    run.armed(2.5)
    run.step(3)
    run.stage(NAME, "send", 5, None)
    run.cut(10, NAME, "send", back_s=20)
    run.reverted(22, "another boot")
    run.armed(23)
    run.step(24, replayed=True)
    if back:
        run.reverted(48, "asked")
    assert wrong(run.ended(stages=((30, 45),))) == ({} if back else {f"{run.program}, taken back": "nothing says that it was"})


def test_a_constant_fault_is_on_before_the_first_stage(tmp_path: Path) -> None:
    """Ten seconds late is not from the beginning on."""
    run = Lived(tmp_path, NARROW, proof=True)
    run.armed(2.5)
    run.step(15)
    run.reverted(48, "asked")
    assert wrong(run.ended()) == {f"{run.program}, on": "not from stage_started send to finished, 40.5 s of one boot"}


@pytest.mark.parametrize(("noted", "again_s", "expected"), [(True, 24.0, []), (True, 40.0, ["on"]), (False, 24.0, ["taken back"])])
def test_after_a_cut_a_constant_fault_comes_back_before_anything_runs(
    noted: bool, again_s: float, expected: list[str], tmp_path: Path
) -> None:
    """A boot takes it back: if the power was cut, and that is noted, nothing is asked until a stage runs again. A boot that nobody
    noted is a fault that was taken away."""
    run = Lived(tmp_path, NARROW, proof=True)
    run.armed(2.5)
    run.step(3)
    run.stage(NAME, "send", 5, None)
    if noted:
        run.cut(10, NAME, "send", back_s=20)
    else:
        run.restart(20, NAME)
    run.reverted(22, "another boot")
    run.armed(23)
    run.step(again_s, replayed=True)
    run.reverted(48, "asked")
    assert sorted(wrong(run.ended(stages=((30, 45),)))) == [f"{run.program}, {what}" for what in expected]


def test_a_constant_fault_that_nobody_measured_is_not_reached(tmp_path: Path) -> None:
    """Whatever the guard says: the proof is missing."""
    run = Lived(tmp_path, NARROW)
    run.armed(2.5)
    run.step(3)
    run.reverted(48, "asked")
    assert wrong(run.ended()) == {f"{run.program}, measured at once": "nobody did"}


def test_somebody_elses_fault_must_have_been_on(tmp_path: Path) -> None:
    """Nobody can measure it, and so that is all that is asked."""
    run = Lived(tmp_path / "on", {"fault": "external", "name": "fog", "settings": {}})
    run.armed(2.5)
    run.step(6)
    run.reverted(48, "asked")
    assert wrong(run.ended()) == {}
    run = Lived(tmp_path / "off", {"fault": "external", "name": "fog", "settings": {}})
    assert set(wrong(run.ended())) == {f"{run.program}, on", f"{run.program}, while it was on"}


def test_what_was_not_logged_is_kept_with_its_name(tmp_path: Path) -> None:
    """Of this execution's name, or of no name: then it may have been its packets. Another's says nothing of it."""
    run = Lived(tmp_path, AWAY_ONCE)
    run.armed(3)
    run.step(15)
    run.reverted(25, "its end")
    run.light += [{"not_logged": 5, "who": who, "from_ns": 1018 * 10**9, "received_ns": 1020 * 10**9} for who in ("ff" * 8, run.who(NAME))]
    evidence = run.ended(silent=(15, 25))
    assert [line["who"] for line in evidence.not_logged(NAME)] == [run.who(NAME)]
    assert wrong(evidence)[f"{run.program}, while it was on"] == "not measured: packets came and were not logged"


def test_steps_that_are_made_up_for_are_no_new_changes(tmp_path: Path) -> None:
    """Behind a boot a program goes on with what is left of it: of the steps that it repeats for that, only the last one counts."""
    run = Lived(tmp_path, {**AWAY, "at_s": 0.0})
    run.armed(3)
    for at_s, on in ((20.0, True), (20.1, False), (20.2, True)):
        run.step(at_s, on, replayed=True)
    run.step(30, on=False)
    run.step(40)
    run.reverted(44, "its end")
    evidence = run.ended(silent=(20, 30))
    said = [(change["on"], change["replayed"]) for change in evidence.faults(NAME)]
    assert said == [(True, True), (False, False), (True, False), (False, False)]
    assert json.dumps(evidence.faults(NAME))


def test_a_run_without_link_faults_has_no_rows(tmp_path: Path) -> None:
    """Nothing was asked."""
    run = Lived(tmp_path, AWAY_ONCE)
    run.plan["executions"][0]["links"] = []
    assert wrong(run.ended()) == {}
