"""Five scenarios in one plan: how many cuts each makes, what of them counts, and that the plan's own command gives it again."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import shlex
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from runner.cli.exec import exec_
from runner.errors import AskError
from runner.faults.kernel import EVERY_CAPABILITY
from runner.judgement.findings import command_again
from runner.lab.where import Lab, builtin_root
from runner.model.plan import Plan
from runner.story.plan import Asked, make_plan, may_count, missing_cuts, more_cuts, refuse_unsupported, size_of

LAB = Lab(builtin_root(), Path("runs"), builtin=True)
SCENARIOS = ("baseline", "recovery", "stress", "chaos", "adversarial")
ASKED = [
    *(Asked("EDGE-002", quick=quick, seed=seed) for quick, seed in itertools.product((False, True), (1, -7))),
    *(Asked("EDGE-002", cuts=cuts) for cuts in (1, 5, 50)),
    *(Asked("EDGE-002", scenarios=(name,)) for name in SCENARIOS),
    *(Asked("EDGE-002", scenarios=(name,), cuts=cuts, seed=9) for name, cuts in itertools.product(SCENARIOS[2:], (1, 33))),
    *(Asked("EDGE-002", scenarios=pair, quick=True) for pair in itertools.combinations(SCENARIOS[2:], 2)),
    Asked("EDGE-002", scenarios=("stress", "stress"), cuts=6),
    Asked("EDGE-002", cuts=4, quick=True),
    Asked("EDGE-002", quick=True, fail_on="high"),
    Asked("EDGE-002", device="qemu-pi", stageflow="0.5.0"),
]


@functools.cache
def typed(command: str) -> Plan:
    """The plan of a whole command line, as the command line reads it."""
    program, verb, *words = shlex.split(command)
    assert (program, verb) == ("runner", "exec")
    said = exec_.make_context("exec", words).params
    assert said["dry_run"] is False
    return make_plan(Asked(**{field.name: said[field.name] for field in dataclasses.fields(Asked)}), LAB)


def cuts_of(plan: Plan) -> dict[str, int]:
    """How many cuts each scenario makes, those without any left out."""
    made = {name: sum(len(each.cuts) for each in plan.executions if each.scenario == name) for name in SCENARIOS}
    return {name: count for name, count in made.items() if count}


@pytest.fixture(scope="module")
def plans() -> dict[Asked, Plan]:
    return {asked: make_plan(asked, LAB) for asked in ASKED}


Plans = dict[Asked, Plan]


@pytest.mark.parametrize(
    ("words", "cuts", "counting"),
    [
        ({}, {"recovery": 12, "stress": 2, "chaos": 2, "adversarial": 12}, 14),
        ({"quick": True}, {"recovery": 3, "stress": 2, "chaos": 2, "adversarial": 3}, 5),
        ({"cuts": 1}, {"recovery": 1, "stress": 1, "chaos": 1, "adversarial": 1}, 2),
        ({"cuts": 50}, {"recovery": 50, "stress": 2, "chaos": 2, "adversarial": 12}, 52),
        ({"scenarios": ("stress",)}, {"stress": 2}, 2),
        ({"scenarios": ("stress",), "cuts": 20}, {"stress": 20}, 20),
        ({"scenarios": ("stress",), "quick": True}, {"stress": 2}, 2),
        ({"scenarios": ("chaos",), "cuts": 7}, {"chaos": 7}, 0),
        ({"scenarios": ("adversarial",), "cuts": 40}, {"adversarial": 40}, 0),
        ({"scenarios": ("recovery", "adversarial"), "cuts": 20}, {"recovery": 20, "adversarial": 20}, 20),
        ({"scenarios": ("baseline",), "cuts": 20}, {}, 0),
    ],
    ids=str,
)
def test_a_cap_holds_unless_the_scenario_is_asked_for_by_name_with_a_count(
    words: dict[str, Any], cuts: dict[str, int], counting: int
) -> None:
    """And only plain cuts of what must hold are asked to count: damaged disks and what is observed speak for nothing else."""
    plan = make_plan(Asked("EDGE-002", **words), LAB)
    assert (cuts_of(plan), plan.cuts_asked) == (cuts, counting)


def test_the_plans_command_gives_the_same_plan(plans: Plans) -> None:
    """Typed again as it stands, defaults or not: every execution, every cut, and the command itself."""
    for asked, plan in plans.items():
        again = typed(plan.command)
        assert again == plan, asked
        assert again.executions, asked
    assert len({str(plan.executions) for plan in plans.values()}) > len(plans) // 2  # the control: other words, other plans


def test_a_findings_command_gives_the_same_cuts_of_its_scenario(plans: Plans) -> None:
    """Its scenario alone, each cut at the same place with the same damage, whatever had capped them."""
    for asked, plan in plans.items():
        for name in plan.scenarios:
            again = typed(command_again(plan.model_dump(mode="json"), name))
            assert set(again.scenarios) == {"baseline", name}
            assert [e for e in again.executions if e.scenario == name] == [e for e in plan.executions if e.scenario == name], asked


def test_the_whole_command_line_says_the_same(runner: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the real program, once."""
    monkeypatch.chdir(tmp_path)
    plan = make_plan(Asked("EDGE-002", scenarios=("adversarial",), cuts=4), LAB)
    said = runner("--json", *shlex.split(plan.command)[1:], "--dry-run")
    assert said.json["plan"]["executions"] == plan.model_dump(mode="json")["executions"]


def test_what_may_count_is_asked_and_holds_are_unique(plans: Plans) -> None:
    """The sum that decides whether cuts are made up for is that of `may_count`; no two cuts of a run have one name."""
    for plan in plans.values():
        cuts = [(execution, cut) for execution in plan.executions for cut in execution.cuts]
        assert plan.cuts_asked == sum(may_count(*each, plan.scenarios) for each in cuts)
        assert all((cut.tamper is not None) == (execution.scenario == "adversarial") for execution, cut in cuts)
        assert len({cut.hold for _, cut in cuts}) == len(cuts)


def test_lanes_are_stages_of_their_own(plans: Plans) -> None:
    """Each stage once for each lane, the lanes side by side, and cuts over all of them; other scenarios have none."""
    for plan in plans.values():
        for execution in plan.executions:
            scenario = plan.scenarios[execution.scenario]
            assert execution.lanes == scenario.lanes == (2 if execution.scenario == "stress" else 1)
            lanes = [""] if scenario.lanes == 1 else ["@1", "@2"]
            assert list(execution.stages) == [stage + lane for stage in scenario.stages for lane in lanes]
            assert {cut.stage for cut in execution.cuts if cut.stage} <= set(execution.stages)


def test_missing_cuts_are_made_up_for_with_plain_ones_only(plans: Plans) -> None:
    """Never by observed executions, and never by damaging more disks."""
    for plan in plans.values():
        missing = missing_cuts(plan, {"recovery": 1})
        assert set(missing) <= {"recovery", "stress"} & set(plan.scenarios)
        extra = more_cuts(plan, missing, 1)
        for scenario, count in missing.items():
            assert sum(len(execution.cuts) for execution in extra if execution.scenario == scenario) == count
        assert all(may_count(execution, cut, plan.scenarios) for execution in extra for cut in execution.cuts)
        assert not {execution.name for execution in extra} & {execution.name for execution in plan.executions}


def test_a_fault_that_the_very_device_cannot_have_is_refused_by_the_profiles_line() -> None:
    """Nobody knows before the device is asked; then it is said as any other complaint about a profile, all of them at once."""
    plan = make_plan(Asked("EDGE-003", device="qemu-pi"), LAB)
    refuse_unsupported(plan, LAB, EVERY_CAPABILITY)
    with pytest.raises(AskError) as refused:
        refuse_unsupported(plan, LAB, ())
    files = {Path(each.where.partition(":")[0]).name for each in refused.value.complaints}
    assert files >= {"edge-003-away.yaml", "edge-003-gone.yaml"}
    assert all(each.where.rpartition(":")[2].isdigit() for each in refused.value.complaints)
    assert all(each.found.startswith("the device has no nft") for each in refused.value.complaints)


@pytest.mark.parametrize(
    ("entry", "heats", "capabilities", "found"),
    [
        ("EDGE-001", False, (), "nobody outside can slow this device down"),
        ("EDGE-001", False, ("cgroup-cpu",), ""),
        ("EDGE-001", False, ("cpufreq",), ""),
        ("EDGE-001", True, (), ""),
        ("EDGE-005", True, ("loop", "device-mapper"), "the device has no cgroup-memory"),
        ("EDGE-005", False, EVERY_CAPABILITY, ""),
    ],
)
def test_so_is_heat_where_nobody_can_slow_it_down_and_scarcity_without_its_means(
    entry: str, heats: bool, capabilities: Collection[str], found: str
) -> None:
    """By the profile's line, before anything of the run is on the device."""
    plan = make_plan(Asked(entry, device="qemu-pi"), LAB)
    if not found:
        refuse_unsupported(plan, LAB, capabilities, heats=heats)
        return
    with pytest.raises(AskError, match=found) as refused:
        refuse_unsupported(plan, LAB, capabilities, heats=heats)
    assert all(each.where.rpartition(":")[2].isdigit() for each in refused.value.complaints)


def test_a_device_that_has_no_more_than_the_cap_is_refused_by_its_own_word() -> None:
    """At the profile's line; one that does not say how large it is has nothing to be held against."""
    plan = make_plan(Asked("EDGE-002", device="qemu-pi", scenarios=("stress",), profiles=("memory-256m",)), LAB)
    refuse_unsupported(plan, LAB, EVERY_CAPABILITY, has=size_of({"memory_bytes": 467 << 20, "cpu_count": 2}))
    refuse_unsupported(plan, LAB, EVERY_CAPABILITY, has=size_of({"memory_bytes": "much", "cpu_count": None}))
    with pytest.raises(AskError, match="256 MiB of memory, of a device that has no more") as refused:
        refuse_unsupported(plan, LAB, EVERY_CAPABILITY, has=size_of({"memory_bytes": 240 << 20, "cpu_count": 1}))
    assert "memory-256m.yaml:" in refused.value.complaints[0].where


def test_heat_beside_a_share_of_the_processor_needs_two_quotas() -> None:
    """A machine that heats itself has one, and both would set it: told when the plan is made, at both profiles' places. So it is by the
    device's own word where only that says it; a board that is heated from outside, or by its own clocks, has both."""
    for small in ("quarter-core", "as-raspberry-pi-zero-2"):
        with pytest.raises(AskError) as refused:
            make_plan(Asked("EDGE-002", scenarios=("stress",), profiles=("fan-failure", small)), LAB)
        files = [Path(each.where.partition(":")[0]).name for each in refused.value.complaints]
        assert files == ["fan-failure.yaml", f"{small}.yaml"]
        assert all(each.where.rpartition(":")[2].isdigit() for each in refused.value.complaints)
        plan = make_plan(Asked("EDGE-002", device="qemu-pi", scenarios=("stress",), profiles=("fan-failure", small)), LAB)
        words = ("cgroup-cpu", "cgroup-memory")
        refuse_unsupported(plan, LAB, words, heats=True)
        refuse_unsupported(plan, LAB, (*words, "cpufreq"), heats=False)
        with pytest.raises(AskError, match="thermal beside a share of the processor"):
            refuse_unsupported(plan, LAB, words, heats=False)
    make_plan(Asked("EDGE-002", scenarios=("stress",), profiles=("heat-steps-raspberry-pi-4", "memory-128m")), LAB)


def test_what_leaves_the_link_alone_is_supported_by_every_device() -> None:
    """A device that says nothing of its kernel runs everything else."""
    refuse_unsupported(make_plan(Asked("EDGE-002"), LAB), LAB, ())
