"""The judge of heat: a made run in which all is as it says, and each thing that can be otherwise in it, found."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.faults import thermal
from runner.judgement import heat, heat_log, integrity
from runner.judgement.judge import verdict
from runner.lab.where import builtin_root
from runner.model.plan import HeatPlan
from tests.judgement.made_heat import BODY, HOT, STRAIGHT, Bent, MadeHeatRun

STAGES = [
    ("look_1", 2.0),
    ("flow_1", 3.0),
    ("look_2", 2.0),
    ("flow_2", 3.0),
    ("look_3", 2.0),
    ("flow_3", 3.0),
    ("look_4", 2.0),
    ("flow_4", 3.0),
]
PROGRAM = heat.program("recovery-1")
Line = dict[str, Any]


def made(root: Path, planned: Line = HOT, bent: Bent = STRAIGHT, *, cut_in: str = "") -> MadeHeatRun:
    run = MadeHeatRun(root)
    run.begin("recovery-1")
    run.end(run.heated(2.0, "recovery-1", STAGES, planned, bent, cut_in=cut_in))
    return run


def contradicted(run: MadeHeatRun) -> list[str]:
    return [said for said, _ in integrity.heat_recomputed(run.folder, run.conclusion().evidence)]


def missed(run: MadeHeatRun) -> list[str]:
    return [said for said, _ in heat.not_reached(run.conclusion().evidence)]


def row(run: MadeHeatRun, what: str) -> Line:
    evidence = run.conclusion().evidence
    (found,) = [each for each in heat.rows(evidence, evidence.executions[0]) if each["what"].startswith(what)]
    return found


# ---- where all is as it says ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut_in", ["", "look_2"])
def test_a_heat_that_was_as_it_says_is_believed(tmp_path: Path, cut_in: str) -> None:
    """Through throttling and back, with the power gone in between or not: no contradiction, and everything reached."""
    run = made(tmp_path, cut_in=cut_in)
    ticks = [line for line in run.lines if "die_c" in line]
    assert {1500.0, 1000.0} <= {line["mhz"] for line in ticks} and ticks[-1]["mhz"] == 1500.0
    assert (contradicted(run), missed(run)) == ([], [])


def test_an_execution_without_heat_has_no_rows(tmp_path: Path) -> None:
    """Nor does anybody ask about it."""
    run = MadeHeatRun(tmp_path)
    run.begin("recovery-1")
    run.cool(2.0, "recovery-1", STAGES)
    evidence = run.conclusion().evidence
    assert heat.rows(evidence, evidence.executions[0]) == [] and heat.contradictions(evidence) == []
    assert "heat_recomputed" not in integrity.questions(evidence)


def test_the_plan_and_the_judge_tell_the_same() -> None:
    """Two readings of one plan, held against each other for a board with a fan and one without, and air of both kinds."""
    fan = {"board_to_air_k_w": 3.0, "steps": [{"at_c": 60.0, "percent": 30.0}, {"at_c": 75.0, "percent": 100.0}], "hysteresis_k": 5.0}
    for body in (BODY, {**BODY, "fan": fan}):
        for air in (30.0, [{"at_s": 0.0, "c": 20.0}, {"at_s": 60.0, "c": 50.0}]):
            plan = HeatPlan.model_validate({"asked": {**HOT["asked"], "ambient_c": air}, "body": body})
            assert heat.to_be_told(plan.model_dump(mode="json")) == plan.told


# ---- what cannot be so ------------------------------------------------------------------------------------------------------


def warmer(line: Line) -> Line:
    return {**line, "die_c": line["die_c"] + 0.3}


FORGED: dict[str, tuple[Callable[[Line], Line], str]] = {
    "a die": (warmer, "the die is"),
    "a board": (lambda line: {**line, "board_c": line["board_c"] - 0.3}, "the board is"),
    "a clock": (lambda line: {**line, "mhz": 750.0}, "750 MHz, flags"),
    "a flag": (lambda line: {**line, "flags": line["flags"] | 1}, "MHz, flags"),
    "a critical board": (lambda line: {**line, "critical": True}, "critical, and from the load alone"),
    "a quota": (lambda line: {**line, "quota": 0.9}, "a quota of 0.9"),
    "a load": (lambda line: {**line, "load": line["load"] / 2}, "a load of"),
    "the air": (lambda line: {**line, "ambient_c": line["ambient_c"] + 1}, "the air is"),
    "what was granted": (lambda line: {**line, "granted_s": 1.3 * line["granted_s"], "cpu_s": 1.3 * line["cpu_s"]}, "were granted"),
    "the model's time": (lambda line: {**line, "model_s": line["model_s"] + 4}, "s of the model"),
    "that it was on": (lambda line: {**line, "on": False}, "the heat is off at"),
    "the count": (lambda line: {**line, "nr_throttled": 0}, "what is counted of the quota fell"),
}


@pytest.mark.parametrize("name", FORGED)
def test_one_line_that_was_forged_is_found(tmp_path: Path, name: str) -> None:
    """Each figure of a tick, in the middle of the throttling, on one line of the file; with that line's number."""
    run = made(tmp_path)
    change, said = FORGED[name]
    slow = [number for number, line in enumerate(run.lines) if line.get("quota", 1) < 1 and line.get("load", 0) > 0.4]
    place = slow[len(slow) // 2]
    run.lines[place] = change(run.lines[place])
    problems = integrity.heat_recomputed(run.folder, run.conclusion().evidence)
    assert any(said in problem and where == f"results/journal/heat.jsonl:{place + 1}" for problem, where in problems), problems


def test_a_heat_that_was_made_up_as_a_whole_is_found(tmp_path: Path) -> None:
    """Every temperature two kelvin lower, and all else as it was: the loads beside them tell."""
    run = made(tmp_path)
    run.lines = [{**line, "die_c": line["die_c"] - 2} if "die_c" in line else line for line in run.lines]
    assert contradicted(run)[0].startswith("recovery-1: the die is")


def test_a_board_that_never_felt_its_load_is_found(tmp_path: Path) -> None:
    """Loads and what they are counted from taken down alike: then the temperatures are too high."""
    run = made(tmp_path)
    run.lines = [{**line, "load": line["load"] / 2, "cpu_s": line["cpu_s"] / 2} if "die_c" in line else line for line in run.lines]
    assert any("from the load alone" in said for said in contradicted(run))


@pytest.mark.parametrize(
    ("key", "value"), [("pace", 1.0), ("timeline", [[0.0, 20.0]]), ("starts_at_c", 40.0), ("fan", "failed"), ("air", 2.0)]
)
def test_a_heat_that_was_told_otherwise_than_planned_is_found(tmp_path: Path, key: str, value: Any) -> None:
    """What the profile asks, and what the keeper was told, beside each other."""
    run = made(tmp_path)
    run.lines[0]["told"] = {**run.lines[0]["told"], key: value}
    assert f"recovery-1: what was told is not what was planned: {key}" in contradicted(run)


def test_another_body_than_the_devices_is_found(tmp_path: Path) -> None:
    """A body that never gets warm, told to the keeper, makes a heat without a contradiction in itself."""
    run = MadeHeatRun(tmp_path)
    run.begin("recovery-1")
    run.end(run.heated(2.0, "recovery-1", STAGES, {**HOT, "body": {**BODY, "board_to_air_k_w": 1.0}}))
    run.plan["executions"][0]["heat"]["body"] = BODY
    assert contradicted(run) == ["recovery-1: what was told is not what was planned: body"]


def test_a_heat_of_nobody_and_of_another_run_are_found(tmp_path: Path) -> None:
    """Planned for no execution, or told by another run."""
    run = made(tmp_path)
    run.plan["executions"][0]["heat"] = None
    assert "recovery-1 was heated, and no heat was planned" in contradicted(run)
    other = made(tmp_path / "other")
    other.lines[0]["told"] = {**other.lines[0]["told"], "run": "EDGE-001.another"}
    assert contradicted(other) == ["this heat is another run's"]


def test_a_heat_that_is_not_in_the_file_is_found(tmp_path: Path) -> None:
    """The coordinator noted it; the file that shows it was emptied."""
    run = made(tmp_path)
    run.lines = []
    assert contradicted(run) == ["recovery-1: heat began, and nothing shows any"]


@pytest.mark.parametrize(
    "line", ["x", "[]", "{}", '{"boottime_ns": 5, "die_c": "hot"}', "[" * 60_000], ids=["text", "list", "empty", "shape", "deep"]
)
def test_a_line_that_nobody_writes_is_found(tmp_path: Path, line: str) -> None:
    """With its number; and half a line at the end is what a killed writer leaves."""
    run = made(tmp_path)
    run.conclusion()
    lines = run.folder.heat_log.read_text().splitlines()
    run.folder.heat_log.write_text("\n".join([*lines[:5], line, *lines[5:], '{"boott']))
    assert heat_log.read(run.folder.heat_log).strange == [6]


@pytest.mark.parametrize("told", [{}, {"body": 5}, {"pace": "fast"}, {"timeline": []}])
def test_what_nobody_can_be_told_is_found(tmp_path: Path, told: Line) -> None:
    """Nothing is computed from it then, and nothing breaks on it."""
    run = made(tmp_path)
    kept = {} if told == {} else run.lines[0]["told"]
    run.lines[0]["told"] = {**{key: kept[key] for key in kept}, "run": run.lines[0]["told"]["run"], "execution": "recovery-1", **told}
    assert any("this is no" in said or "expected" in said for said in contradicted(run))


NO_PLANS: list[Any] = ["hot", {"asked": 5, "body": {}}, {"asked": {}, "body": {}}, {"asked": HOT["asked"], "body": {"steps": 5}}]
NO_PLANS += [{"asked": {"at_s": "soon", "for_s": [5], "stage": 7, "edge": {}}, "body": {}}]


@pytest.mark.parametrize("planned", NO_PLANS)
def test_a_plan_of_heat_that_was_forged_breaks_nothing(tmp_path: Path, planned: Any) -> None:
    """It is no plan, or one that nobody can be told; either contradicts the heat that there was."""
    run = made(tmp_path)
    run.plan["executions"][0]["heat"] = planned
    assert any("no heat was planned" in said or "nobody can be told" in said for said in contradicted(run))
    assert isinstance(missed(run), list)


def test_time_that_runs_backwards_is_found(tmp_path: Path) -> None:
    """Two lines that were exchanged."""
    run = made(tmp_path)
    run.lines[40], run.lines[41] = run.lines[41], run.lines[40]
    assert any("time runs backwards" in said for said in contradicted(run))


# ---- what was not reached ---------------------------------------------------------------------------------------------------


def test_a_board_that_was_not_as_slow_as_its_clock_is_not_reached(tmp_path: Path) -> None:
    """Asked for two thirds, and measured nearly all of it: 20 % are allowed."""
    assert missed(made(tmp_path, bent=Bent(work_ratio=lambda asked: asked**0.9))) == []
    (said, *_) = missed(made(tmp_path / "fast", bent=Bent(work_ratio=lambda asked: asked**0.3)))
    assert said.startswith("recovery-1: speed at 1000 MHz: asked 0.67 of the full clock's, measured 0.89")


def test_a_board_that_was_never_held_up_is_not_reached(tmp_path: Path) -> None:
    """Whatever was noted of measurements: its ticks say that its cores ran for longer than they might."""
    run = made(tmp_path)
    for line in (line for line in run.lines if line.get("quota", 1.0) < 1):
        line["cpu_s"] = 0.5
    assert not row(run, "ran, of what was granted")["within"]


def test_a_machine_whose_own_speed_comes_and_goes_by_too_much_proves_nothing(tmp_path: Path) -> None:
    """Neither how slow the board was nor whether its pipeline was slower than that."""
    assert row(made(tmp_path / "some", bent=Bent(own=1.9)), "this machine's own speed")["within"]
    assert not row(made(tmp_path / "much", bent=Bent(own=2.1)), "this machine's own speed")["within"]


def test_a_heat_that_went_on_unseen_to_its_end_is_not_reached(tmp_path: Path) -> None:
    """Whoever heats died in the middle, and noted the end when it was asked to cool: no tick between."""
    run = made(tmp_path)
    run.lines = [*run.lines[: len(run.lines) // 2], run.lines[-1]]
    assert not row(run, "heat, on")["within"] and not row(run, "longest time")["within"]


def test_a_heat_that_never_throttled_though_it_must_is_not_reached(tmp_path: Path) -> None:
    """The board had too little to do for it: that says nothing about work in heat."""
    run = MadeHeatRun(tmp_path)
    run.begin("recovery-1")
    cooler = {**HOT, "asked": {**HOT["asked"], "starts_at_c": 50.0}}
    run.end(run.heated(2.0, "recovery-1", [("look_1", 2.0)], cooler))
    assert [said for said in missed(run) if "throttled: asked a clock below 1500 MHz" in said]


def test_air_in_which_no_board_is_throttled_asks_for_none(tmp_path: Path) -> None:
    """A cold start is reached without any throttling."""
    cold = {**HOT, "asked": {**HOT["asked"], "ambient_c": -10.0, "starts_at_c": -10.0}}
    assert missed(made(tmp_path, cold)) == []


@pytest.mark.parametrize(
    ("key", "value"), [("milli_c", 40_000), ("khz", 600_001), ("throttled", 0x50000), ("milli_c", None), ("milli_c", "hot")]
)
def test_stages_that_read_something_else_are_found(tmp_path: Path, key: str, value: Any) -> None:
    """Each of the three sensors; what was read is beside what was told then."""
    found = row(made(tmp_path, bent=Bent(lies=lambda reading: {**reading, key: value})), "what stages read")
    assert not found["within"]


def sampled(root: Path, bent: Callable[[Line], Line] = lambda said: said) -> MadeHeatRun:
    """A whole run whose telemetry reads the sensors with each stage that begins, as they were told last, or as `bent` says."""
    run = MadeHeatRun(root)
    run.begin("recovery-1")
    run.at_each_stage = lambda at_s, read: run.device(at_s, "recovery-1", "sample", metrics={}, sensors=bent(read))
    run.end(run.heated(2.0, "recovery-1", STAGES, HOT, cut_in="look_2"))
    return run


def test_what_telemetry_read_of_the_heat_was_told(tmp_path: Path) -> None:
    """Temperature, clock and flags of each sample; what could not be read is a gap, and telemetry without sensors is not asked."""
    run = sampled(tmp_path / "all")
    assert row(run, "what telemetry read")["within"] and missed(run) == []
    assert row(sampled(tmp_path / "some", lambda said: {"khz": said["khz"]}), "what telemetry read")["within"]
    evidence = made(tmp_path / "none").conclusion().evidence
    assert not any(each["what"].startswith("what telemetry") for each in heat.rows(evidence, evidence.executions[0]))


@pytest.mark.parametrize(
    ("key", "value"),
    [("milli_c", 40_000), ("khz", 600_001), ("throttled", 0x50000), ("milli_c", "hot"), ("khz", [1]), ("throttled", {})],
)
def test_telemetry_that_read_something_else_is_found(tmp_path: Path, key: str, value: Any) -> None:
    """The machine's own zone in place of the model's, say; and what is no figure."""
    assert not row(sampled(tmp_path, lambda said: {**said, key: value}), "what telemetry read")["within"]


def test_a_pipeline_that_reads_no_sensor_is_not_asked(tmp_path: Path) -> None:
    """Most read none."""
    run = made(tmp_path, bent=Bent(outputs=lambda stage, data, hot: {}))
    assert missed(run) == []


def test_a_heat_that_nobody_renewed_is_not_reached(tmp_path: Path) -> None:
    """It ended by itself, in the middle or not."""
    run = made(tmp_path)
    run.lines[-1]["ended"] = "nobody renewed it"
    assert "then nobody renewed it" in row(run, "heat, on")["measured"] and not row(run, "heat, on")["within"]


def test_a_heat_that_ended_before_the_last_stage_is_not_reached(tmp_path: Path) -> None:
    """It was planned to be on to the end."""
    run = made(tmp_path)
    run.lines = [*run.lines[: len(run.lines) // 2], {**run.lines[-1], "boottime_ns": run.lines[len(run.lines) // 2]["boottime_ns"]}]
    assert not row(run, "heat, on")["within"]


@pytest.mark.parametrize("when", [{"stage": "flow_1"}, {"at_s": 3.0}, {"for_s": 20.0}, {"stage": "flow_1", "edge": "end", "at_s": 1.0}])
def test_a_heat_of_its_time_is_on_for_all_of_it(tmp_path: Path, when: Line) -> None:
    """From its stage and its seconds on; one that was taken back in the middle, came late, or whose stage never came, is not reached."""
    timed = {**HOT, "asked": {**HOT["asked"], **when}}
    run = made(tmp_path / "whole", timed)
    assert row(run, "heat, on")["within"], row(run, "heat, on")
    cut = made(tmp_path / "cut", timed)
    first = next(number for number, line in enumerate(cut.lines) if line.get("on"))
    cut.lines = [*cut.lines[: first + 16], {**cut.lines[-1], "boottime_ns": cut.lines[first + 16]["boottime_ns"]}]
    assert cut.lines[-1]["ended"] in ("asked", "its end") and not row(cut, "heat, on")["within"]
    late = made(tmp_path / "late", timed)
    late.lines = [{**line, "on": line["on"] and number > first + 84} if "on" in line else line for number, line in enumerate(late.lines)]
    assert not row(late, "heat, on")["within"] and "s late" in row(late, "heat, on")["measured"]
    if "stage" in when:
        run.plan["executions"][0]["heat"]["asked"]["stage"] = "nobody"
        assert not row(run, "heat, on")["within"]


def by_itself(root: Path, planned: Line = HOT) -> MadeHeatRun:
    """The device heats itself: its guard's program was armed and begun before the first stage."""
    run = MadeHeatRun(root)
    run.begin("recovery-1")
    run.programs = [thermal.own_program(HeatPlan.model_validate(planned), PROGRAM, "/state", {}).model_dump(mode="json")]
    run.guard(1.5, "armed", program=PROGRAM, fault="thermal", holder="ada", renew_s=60.0, cap_s=900.0, undo=[])
    run.guard(1.6, "step", program=PROGRAM, number=1, at_s=0.0, word="air of 55 °C", on=True, took_s=0.1, failed=[])
    run.over_s = run.heated(2.0, "recovery-1", STAGES, planned)
    run.end(run.over_s + 2)
    return run


def taken_back(run: MadeHeatRun, at_s: float, why: str) -> None:
    run.guard(at_s, "reverting", program=PROGRAM, why=why)
    run.guard(at_s + 0.2, "reverted", program=PROGRAM, why=why, took_s=0.2, tries=1)


def test_a_device_that_heats_itself_is_held_to_its_guards_word(tmp_path: Path) -> None:
    """Armed before the first stage, and taken back behind the last: nothing is missed. Where nobody heard of the guard, it is."""
    run = by_itself(tmp_path)
    taken_back(run, run.over_s + 1, "asked")
    assert (contradicted(run), missed(run)) == ([], [])
    run.journals["guard"] = []
    assert any(f"{PROGRAM}, on" in said and "the guard knows nothing of it" in said for said in missed(run))


@pytest.mark.parametrize("why", ["too hot: 86.0 °C, and 85.0 °C are too many", "hard cap", "nobody renewed it"])
@pytest.mark.parametrize("when", [{}, {"stage": "flow_1"}, {"for_s": 60.0}])
def test_what_the_guard_took_back_in_the_middle_is_not_reached(tmp_path: Path, why: str, when: Line) -> None:
    """Its undo asks the loop to end, whose own log says "asked" then, whatever was the matter."""
    run = by_itself(tmp_path, {**HOT, "asked": {**HOT["asked"], **when}})
    taken_back(run, run.over_s - 4, why)
    assert any(f"{PROGRAM}, taken back" in said and why in said for said in missed(run))


def test_a_loop_that_slept_is_not_reached(tmp_path: Path) -> None:
    """For six seconds nobody looked, and the clock was what it was: the lines of that time are left out, and the rest is no heat either."""
    run = made(tmp_path)
    run.lines = [*run.lines[:30], *run.lines[54:]]
    assert not row(run, "longest time")["within"]


@pytest.mark.parametrize("kind", ["heat_full", "heat_proof", "heat_lifted", "heat_began"])
def test_what_nobody_measured_is_not_reached(tmp_path: Path, kind: str) -> None:
    """One note of the four is missing."""
    run = made(tmp_path)
    without(run, kind)
    assert any("nobody did" in said for said in missed(run))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("heat_full", {"sample": {}}), ("heat_full", {"sample": {"device": {"cpu_s": "fast"}}}), ("heat_proof", {"samples": [5]}),
        ("heat_proof", {"samples": [{"mhz": 5}]}), ("heat_lifted", {"after": {"device": {"cpu_s": 0}}}), ("heat_began", {"told": {}}),
        ("heat_began", {"by": "eye"}),
    ],
)  # fmt: skip
def test_what_is_no_measurement_is_not_reached(tmp_path: Path, kind: str, change: Line) -> None:
    """It says so, and nothing breaks on it."""
    run = made(tmp_path)
    without(run, kind, change)
    assert any("what was noted is no measurement" in said for said in missed(run))


def without(run: MadeHeatRun, kind: str, change: Line | None = None) -> None:
    """Each note of this kind is left out, or changed."""
    from runner.ondevice import journal

    written = journal.read(journal.FILE_HEADER + b"".join(run.journals["coordinator"]))
    run.journals["coordinator"] = []
    for record in written:
        if record.kind != kind:
            run._write("coordinator", record.boot_id, record.boottime_ns / 1e9, record.kind, record.payload)
        elif change is not None:
            payload = {**record.payload, **change}
            run._write("coordinator", record.boot_id, record.boottime_ns / 1e9, record.kind, payload)


def test_the_verdict_is_blocked_and_says_why(tmp_path: Path) -> None:
    """Neither a pass nor a failure of the software: a heat that was not reached, and one that contradicts itself."""
    run = made(tmp_path, bent=Bent(work_ratio=lambda asked: asked**0.3))
    conclusion = run.conclusion()
    problems = heat.not_reached(conclusion.evidence)
    assert problems and heat.contradictions(conclusion.evidence) == []
    row_name, reason = verdict(run.folder, conclusion.evidence, [])
    assert row_name == "lab" and reason


def test_the_ticks_are_told_by_the_devices_own_clock(tmp_path: Path) -> None:
    """Each in its boot: for checks of entries, which compare them with records of the device."""
    run = made(tmp_path, cut_in="look_2")
    evidence = run.conclusion().evidence
    ticks = evidence.heat("recovery-1")
    assert {tick["boot_id"] for tick in ticks} == {f"{number:032x}" for number in (1, 2)}
    assert all(tick["boottime_ns"] >= 0 for tick in ticks) and evidence.heat("baseline-1") == []
    assert copy.deepcopy(ticks) == ticks


@pytest.mark.parametrize("name", ["raspberry-pi-3b-plus", "raspberry-pi-4", "raspberry-pi-5", "jetson-nano"])
def test_every_shipped_body_makes_a_heat_that_is_believed(tmp_path: Path, name: str) -> None:
    """With its fan, where it has one; air in which it must be throttled."""
    import yaml

    body = yaml.safe_load((builtin_root() / "devices" / f"{name}.yaml").read_text())["thermal"]
    asked = {**HOT["asked"], "ambient_c": 70.0, "starts_at_c": None, "fan": "failed", "pace": 60.0, "air": 1.2}
    assert contradicted(made(tmp_path, {"asked": asked, "body": body})) == []
