"""What is concluded of damaged disks and of pipelines side by side, from folders made record by record.

each image   run ─► cut ─► damaged ─► power on ─► refused, by the device or by the coordinator
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.judgement.checks import GENERIC, damage_refused, ran_at_once
from runner.judgement.conclude import cut_rows
from runner.judgement.evidence import Evidence
from runner.judgement.findings import command_again, make_findings
from runner.judgement.judge import CheckResult
from runner.model.outcome import SEVERITIES, judge
from tests.judgement.made_run import MadeRun

ADVERSARIAL = {"pipeline": "adversarial", "profile": "journal-damage", "durability": "journaled", "judge": "must_hold"}
STRESS = {"pipeline": "stress", "profile": "power-cuts", "durability": "journaled", "judge": "must_hold"}
CHAOS = {"pipeline": "chaos", "profile": "power-cuts", "durability": "native", "judge": "observe"}


@pytest.fixture
def run(tmp_path: Path) -> MadeRun:
    made = MadeRun(tmp_path)
    made.plan["scenarios"].update(adversarial=ADVERSARIAL, stress=STRESS, chaos=CHAOS)
    return made


def image(
    run: MadeRun,
    number: int = 1,
    *,
    damaged: bool = True,
    by: str = "device",
    reason: str | None = "the journal is damaged at byte 8",
    ending: str = "refused",
    ran: tuple[str, ...] = (),
) -> str:
    """One execution of the adversarial scenario; `reason` None: nobody said that it was refused. Returns its hold."""
    name = f"adversarial-{number}"
    hold, at_s = f"{name}/1", 10.0 * number
    run.plan["executions"].append({"name": name, "scenario": "adversarial", "cuts": [{"hold": hold}]})
    run.begin(name, at_s, "adversarial")
    run.stage(name, "ingest", at_s, at_s + 1)
    cut = {"stage": "ingest", "point": "after_flush", "loss": "process_crash", "written": 3, "facts": {}, "damage": "bit_flip"}
    run.note(at_s + 2, "cut", execution=name, hold=hold, witness_lines=len(run.witnessed), **cut)
    if damaged:
        run.note(at_s + 2, "damaged", execution=name, hold=hold, damage="bit_flip")
    recovered = {"board_boot_s": 1.0, "host_wait_s": 0.0, "supervisor_started_ns": 10**9}
    run._boot(at_s + 3, "recovered", execution=name, hold=hold, power_on_boottime_ns=0, **recovered)
    for stage in ran:
        run.witness(at_s + 4, name, stage)
    if reason is not None:
        run.note(at_s + 5, "refused", execution=name, by=by, reason=reason)
    run.note(at_s + 6, "execution_ended", execution=name, ending=ending, mirrored=len(run.journals[name]), chain="")
    return hold


def problems(run: MadeRun) -> list[str]:
    run.end(1000.0)
    return [problem for problem, _ in damage_refused(run.conclusion().evidence, "adversarial")]


def test_images_that_were_refused_with_a_reason_hold(run: MadeRun) -> None:
    """The negative control: by the device before any stage, or by the coordinator, who may find out while stages run."""
    image(run, 1)
    image(run, 2, by="coordinator", reason="11 records were acknowledged, 9 are there", ran=("screen",))
    assert problems(run) == []


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"ending": "finished", "reason": None}, "adversarial-1/1: bit_flip was not refused: finished"),
        ({"ending": "finished"}, "adversarial-1/1: bit_flip was not refused: finished"),
        ({"ending": "failed", "reason": None}, "adversarial-1/1: bit_flip was not refused: failed"),
        ({"ending": "diverged", "reason": None}, "adversarial-1/1: bit_flip was not refused: diverged"),
        ({"reason": None}, "adversarial-1/1: bit_flip was not refused: refused"),
        ({"reason": ""}, "adversarial-1/1: bit_flip was not refused: refused"),
        ({"ran": ("screen", "aggregate")}, "adversarial-1/1: bit_flip was refused, but only after screen, aggregate began"),
        ({"damaged": False}, "adversarial-1/1: nothing was damaged"),
    ],
    ids=["accepted", "accepted after all", "fell over it", "went another way", "nobody said so", "no reason", "too late", "no damage"],
)
def test_one_image_that_was_not_refused_is_seen(run: MadeRun, wrong: dict[str, Any], problem: str) -> None:
    """Among others that were, and with the record of the cut that led to it."""
    image(run, 1, **wrong)
    image(run, 2)
    assert problems(run) == [problem]
    evidence = run.conclusion().evidence
    ((_, where),) = damage_refused(evidence, "adversarial")
    number = int(where.removeprefix("results/journal/coordinator.journal#"))
    assert (evidence.coordinator[number - 1].kind, evidence.coordinator[number - 1].payload["hold"]) == ("cut", "adversarial-1/1")


def test_images_that_were_never_made_are_seen(run: MadeRun) -> None:
    """Planned and never begun; begun and never cut."""
    image(run, 1)
    run.plan["executions"] += [{"name": f"adversarial-{number}", "scenario": "adversarial", "cuts": []} for number in (2, 3)]
    run.begin("adversarial-3", 50.0, "adversarial")
    assert problems(run) == ["adversarial-2 was planned and never ran", "adversarial-3: its disk was never damaged"]


# ---- what counts ------------------------------------------------------------------------------------------------------


def evidence_of_all(run: MadeRun) -> Evidence:
    """A recovery of two cuts, a chaos of one, and two damaged images."""
    for name, scenario, cuts in (("recovery-1", "recovery", 2), ("chaos-1", "chaos", 1)):
        run.begin(name, 1.0, scenario)
        for number in range(cuts):
            run.cut(2.0 + number, name, "ingest", back_s=2.5 + number)
        run.end(6.0, name)
    image(run, 1)
    image(run, 2)
    run.end(1000.0)
    return run.conclusion().evidence


def test_only_plain_cuts_where_something_must_hold_count(run: MadeRun) -> None:
    """Not those of what is only observed, and not those that show what is refused; all of them are told."""
    evidence = evidence_of_all(run)
    assert len(evidence.cuts) == 5
    assert [cut.hold for cut in evidence.counting] == ["recovery-1/1", "recovery-1/2"]
    assert [row["hold"] for row in cut_rows(evidence) if row["counted"]] == ["recovery-1/1", "recovery-1/2"]
    assert [cut.counted for cut in evidence.cuts if cut.damage] == [False, False]


def test_a_refusal_does_not_stop_a_run_and_a_recovery_that_failed_does(run: MadeRun) -> None:
    """Only what has to finish and did not makes further cuts pointless."""
    assert not evidence_of_all(run).stopped
    run.begin("recovery-2", 2000.0)
    run.note(2001.0, "execution_ended", execution="recovery-2", ending="refused", mirrored=1, chain="")
    assert run.conclusion().evidence.stopped


# ---- what is only observed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("severity", SEVERITIES)
def test_what_chaos_loses_is_found_and_never_fails_the_run(run: MadeRun, severity: str) -> None:
    """A finding with its evidence whatever its severity: a concern above low, and never a failure. The same from what must hold is one."""
    evidence = evidence_of_all(run)
    lost = CheckResult("chaos", "alarms_sent_once", "reliability", "Every alarm goes out once.", severity, "observe", (("2 again", "j#7"),))
    (finding,) = make_findings(evidence, [lost], "2026-01-31T12:00:00.000Z")
    assert (finding.severity, finding.evidence, finding.component) == (severity, ("j#7",), "stageflow-core 1.2.0")
    above_low = severity in ("critical", "high", "medium")
    assert judge([], [severity], 50, 50, power_failed=True) == ("held_with_concerns" if above_low else "all_held")
    assert judge([severity], [], 50, 50, power_failed=True).startswith("must_hold_failed")


def test_a_findings_command_names_its_scenario_and_as_many_cuts(run: MadeRun) -> None:
    """Of that scenario alone, with the seed; a scenario without cuts asks for none."""
    run.plan["executions"] = [
        {"name": "baseline-1", "scenario": "baseline", "cuts": []},
        {"name": "chaos-1", "scenario": "chaos", "cuts": [{}, {}]},
        {"name": "chaos-2", "scenario": "chaos", "cuts": [{}]},
    ]
    words = "runner exec EDGE-002 --device qemu-pi --seed 1 --stageflow 1.2.0 --scenario "
    assert command_again(run.plan, "chaos") == words + "chaos --cuts 3"
    assert command_again(run.plan, "baseline") == words + "baseline"


# ---- side by side -----------------------------------------------------------------------------------------------------


def at_once(run: MadeRun) -> list[str]:
    run.end(1000.0)
    found = ran_at_once(run.conclusion().evidence, "stress")
    assert all(where == "results/journal/device-stress-1.journal" for _, where in found)
    return [problem for problem, _ in found]


def test_pipelines_that_ran_at_once_hold(run: MadeRun) -> None:
    """Stages of both in turn; and one is there before the other's last."""
    run.begin("stress-1", scenario="stress")
    for number, stage in enumerate(("slice@1", "slice@2", "merge@1", "merge@2")):
        run.stage("stress-1", stage, 2.0 + number, 2.5 + number)
    assert at_once(run) == []


def test_pipelines_that_ran_one_after_the_other_are_seen(run: MadeRun) -> None:
    """The second began when the first had come to its end."""
    run.begin("stress-1", scenario="stress")
    for number, stage in enumerate(("slice@1", "merge@1", "slice@2", "merge@2")):
        run.stage("stress-1", stage, 2.0 + number, 2.5 + number)
    assert at_once(run) == ["stress-1: its pipelines ran one after the other"]


def test_a_pipeline_that_never_ran_is_seen(run: MadeRun) -> None:
    """One lane alone is not several at once."""
    run.begin("stress-1", scenario="stress")
    run.stage("stress-1", "slice@1", 2.0, 2.5)
    assert at_once(run) == ["stress-1: only one pipeline ran"]


def test_what_is_left_after_a_restart_need_not_meet_again(run: MadeRun) -> None:
    """Each has only its last stage to do: whether these two overlap is chance, and says nothing."""
    run.begin("stress-1", scenario="stress")
    run.stage("stress-1", "slice@1", 2.0, 2.5)
    run.stage("stress-1", "slice@2", 2.2, 2.6)
    run.cut(3.0, "stress-1", "slice@2", back_s=3.5, replay=("slice@1", "slice@2"))
    run.stage("stress-1", "merge@1", 6.0, 6.1)
    run.stage("stress-1", "merge@2", 6.2, 6.3)
    assert at_once(run) == []


def test_both_checks_are_every_entrys() -> None:
    """An entry names them without having them."""
    assert {"damage_refused", "ran_at_once"} <= set(GENERIC)
