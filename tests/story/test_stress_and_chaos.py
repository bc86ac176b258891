"""Several pipelines at once under crashes, and a side effect that cannot be taken back: with a journal, and as plain Stageflow runs it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from runner.judgement.conclude import Conclusion, conclude
from runner.lab.folder import RunFolder
from runner.lab.where import Lab, builtin_root
from runner.story.execute import execute
from runner.story.plan import Asked, make_plan
from tests.story.conftest import cut

pytestmark = pytest.mark.real


def of(conclusion: Conclusion, scenario: str) -> dict[str, bool]:
    """Each check of a scenario, and whether it held."""
    return {result.check: result.held for result in conclusion.results if result.scenario == scenario}


# ---- chaos ------------------------------------------------------------------------------------------------------------


def chaos(tmp_path: Path, durability: str) -> Conclusion:
    """Two crashes behind the alarms: one right behind their promise, one in the costly stage."""
    lab = Lab(builtin_root(), tmp_path / "runs", builtin=True)
    plan = make_plan(Asked("EDGE-002", scenarios=("chaos",)), lab)
    baseline, planned = plan.executions
    cuts = (cut("chaos-1", 1, "dispatch", "after_flush"), cut("chaos-1", 2, "train", "started"))
    update = {
        "executions": (baseline, planned.model_copy(update={"cuts": cuts, "durability": durability})),
        "scenarios": {**plan.scenarios, "chaos": plan.scenarios["chaos"].model_copy(update={"durability": durability})},
    }
    return asyncio.run(execute(plan.model_copy(update=update), lab, lambda event, **facts: None))


def test_plain_stageflow_sends_every_alarm_again_and_the_run_does_not_fail(tmp_path: Path) -> None:
    """After each crash from the beginning: found, with evidence and severity, the pipeline itself content; the run passes with concerns."""
    conclusion = chaos(tmp_path, "native")
    assert of(conclusion, "chaos") == {"finished": True, "nothing_repeated": False, "alarms_sent_once": False}
    assert (conclusion.outcome.verdict, conclusion.outcome.exit_code) == ("PASS_WITH_CONCERNS", 0)
    assert all(of(conclusion, "baseline").values())
    tally = conclusion.evidence.of("chaos")[0].outputs["tally"]["data"]
    assert tally["gone_out"] == 3 * tally["distinct"] > 0
    findings = {finding.fingerprint: finding for finding in conclusion.findings}
    assert sorted(finding.severity for finding in findings.values()) == ["critical", "high"]
    for finding in findings.values():
        assert finding.component == "stageflow-core 1.2.0"
        assert "--scenario chaos --cuts 2" in finding.reproduction.steps[0]
        assert finding.evidence


def test_the_same_chaos_with_a_journal_sends_every_alarm_once(tmp_path: Path) -> None:
    """The negative control of that finding: same pipeline, same crashes, and nothing to find."""
    conclusion = chaos(tmp_path, "journaled")
    assert of(conclusion, "chaos") == {"finished": True, "nothing_repeated": True, "alarms_sent_once": True}
    tally = conclusion.evidence.of("chaos")[0].outputs["tally"]["data"]
    assert tally["gone_out"] == tally["distinct"] > 0
    assert [cut.damage for cut in conclusion.evidence.of("chaos")[0].cuts] == ["", ""]
    assert conclusion.findings == []


def test_in_a_run_of_all_five_what_is_observed_is_told_and_nothing_else_is_found(whole_run: RunFolder) -> None:
    """Everything that must hold does; every finding is chaos', and its cuts are not counted towards the bar."""
    conclusion = conclude(whole_run, "now")
    assert (conclusion.outcome.verdict, conclusion.outcome.exit_code) == ("PASS_WITH_CONCERNS", 0)
    assert "all only observed" in conclusion.reason
    assert {result.scenario for result in conclusion.results if not result.held} == {"chaos"}
    assert {finding.tags[0] for finding in conclusion.findings} == {"observe"}
    assert {cut.hold.partition("-")[0] for cut in conclusion.evidence.counting} == {"recovery", "stress"}
    assert conclusion.cuts["asked"] == 14 <= conclusion.cuts["counted"]


# ---- stress -----------------------------------------------------------------------------------------------------------


def test_two_pipelines_at_once_survive_crashes(whole_run: RunFolder) -> None:
    """Ten stages of each, cut in some of them, and both merge the same total; whatever one repeats, it is only what was in flight."""
    conclusion = conclude(whole_run, "now")
    held = of(conclusion, "stress")
    assert all(held.values())
    assert {"ran_at_once", "shards_add_up", "restored_state_true"} <= set(held)
    execution = conclusion.evidence.of("stress")[0]
    assert len(execution.cuts) == 2
    assert all("@" in stage for stage in execution.outputs)
    merged = [execution.outputs[f"merge@{lane}"]["data"] for lane in (1, 2)]
    assert merged[0] == merged[1]
    assert [sorted(execution.outputs[f"merge@{lane}"]["files"]) for lane in (1, 2)] == [["1/merged.json"], ["2/merged.json"]]


def test_a_stage_of_either_lane_that_is_seen_again_is_found(whole_run: RunFolder) -> None:
    """The negative control: the lanes are judged apart, and one line more of the witness is enough."""
    lines = whole_run.witness.read_text().splitlines()
    first = next(json.loads(line) for line in lines if json.loads(line)["stage"] == "slice@2")
    whole_run.witness.write_text("\n".join([*lines, json.dumps({**first, "life": 9})]) + "\n")
    assert of(conclude(whole_run, "now"), "stress")["nothing_repeated"] is False
