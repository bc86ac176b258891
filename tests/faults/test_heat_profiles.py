"""Every shipped profile of heat: what its title says happens to the body that it names, computed with a busy board."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from runner.errors import AskError
from runner.faults.compose import compose
from runner.judgement import slowed
from runner.lab.load import Reader
from runner.lab.where import Lab
from runner.model.device import DeviceType
from runner.model.device import Thermal as Body
from runner.model.plan import HeatPlan
from runner.model.profile import Profile, Thermal
from runner.ondevice import heat
from tests.conftest import REPOSITORY
from tests.faults.conftest import PROFILES

LAB = Lab(REPOSITORY, REPOSITORY / "runs", builtin=True)
HEAT = {path.stem: Profile.model_validate(yaml.safe_load(path.read_text())) for path in PROFILES if "fault: thermal" in path.read_text()}
ALL = ("heat-ramp", "heat-soak", "summer-noon-closed-box", "fan-failure", "cold-start")
STEPS = tuple(f"heat-steps-{name}" for name in ("raspberry-pi-3b-plus", "raspberry-pi-4", "raspberry-pi-5", "jetson-nano"))
TICK_S = 1.0


def body_of(fault: Thermal) -> Body:
    reader = Reader(LAB)
    found = reader.thermal(fault.like or "raspberry-pi-4", "here")
    reader.finish()
    assert found
    return found


@cache
def course(name: str) -> list[heat.State]:
    """A busy board through the whole of a profile, and twenty minutes more."""
    fault = HEAT[name].heat
    assert fault
    thermal = body_of(fault)
    body = heat.in_air(heat.body_of(thermal.body), fault.air, fault.fan == "works")
    throttle = heat.throttle_of(thermal.throttle)
    states = [heat.begin(body, throttle, fault.timeline[0][1], fault.starts_at_c)]
    for number in range(int((fault.timeline[-1][0] + 1200) / TICK_S)):
        states.append(heat.step(states[-1], body, throttle, 1.0, heat.ambient_at(fault.timeline, number * TICK_S), TICK_S))
    return states


def test_all_of_them_are_there() -> None:
    """Ramp, soak, noon, fan, cold, and the steps of four boards."""
    assert {*ALL, *STEPS} <= set(HEAT)


@pytest.mark.parametrize("name", [*ALL, *STEPS])
def test_each_has_sources_and_a_body(name: str) -> None:
    """In words; and no busy board is driven to where it would switch itself off."""
    assert HEAT[name].sources
    assert not course(name)[-1].critical


@pytest.mark.parametrize("name", STEPS)
def test_a_busy_board_goes_through_all_of_its_steps_and_back(name: str) -> None:
    """Each clock of the type is seen, the first one last again; every word of the steps stays in the flags since boot."""
    fault = HEAT[name].heat
    assert fault
    thermal = body_of(fault)
    clocks = [state.mhz for state in course(name)]
    assert set(clocks) == {thermal.full_mhz, *(step.mhz for step in thermal.steps)}
    assert (clocks[0], max(clocks[-600:])) == (thermal.full_mhz, thermal.full_mhz)
    held = slowed.held(HeatPlan(asked=fault, body=thermal).told, fault.timeline[-1][0] / fault.pace)
    assert min(held[step.mhz] for step in thermal.steps) > 2 * slowed.HELD_S, "each is to be timed, on a slow board, too"
    for step in thermal.steps:
        assert course(name)[-1].flags >> heat.SINCE_BOOT & heat.WORDS[step.word]


@pytest.mark.parametrize(
    ("name", "throttles"),
    [("heat-ramp", True), ("heat-soak", True), ("summer-noon-closed-box", True), ("fan-failure", True), ("cold-start", False)],
)
def test_the_others_throttle_a_busy_board_or_do_not(name: str, throttles: bool) -> None:
    """Frost never does. The ramp lets go again."""
    assert any(state.level for state in course(name)) is throttles
    if name == "heat-ramp":
        assert min(state.level for state in course(name)[1800:]) == 0


def test_the_fan_is_what_fails() -> None:
    """The negative control: the same board in the same air with its fan does not throttle."""
    fault = HEAT["fan-failure"].heat
    assert fault
    body, throttle = heat.body_of(body_of(fault).body), heat.throttle_of(body_of(fault).throttle)
    state = heat.begin(body, throttle, fault.timeline[0][1])
    assert heat.step(state, body, throttle, 1.0, fault.timeline[0][1], 1200.0).flags == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"ambient_c": "warm"}, {"ambient_c": []}, {"ambient_c": [{"at_s": 5, "c": 20}]},
        {"ambient_c": [{"at_s": 0, "c": 1}, {"at_s": 0, "c": 2}]},
        {"ambient_c": 500}, {"ambient_c": 20, "fan": "slow"}, {"ambient_c": 20, "air": 0}, {"ambient_c": 20, "pace": 0},
        {"ambient_c": 20, "pace": "2"}, {"ambient_c": 20, "degrees": 3}, {},
    ],
)  # fmt: skip
def test_a_profile_that_is_no_heat_is_refused(wrong: dict[str, Any]) -> None:
    """Each by the field that is wrong; nothing is guessed."""
    assert Profile.model_validate({"title": "t", "faults": [{"fault": "thermal", "ambient_c": 20}]}).heat
    with pytest.raises(ValidationError):
        Profile.model_validate({"title": "t", "faults": [{"fault": "thermal", **wrong}]})


THERMAL = yaml.safe_load((REPOSITORY / "devices/raspberry-pi-5.yaml").read_text())["thermal"]
STEP = {"at_c": 80, "mhz": 2100, "word": "capped"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"die_j_k": 0}, {"board_to_air_k_w": -1}, {"critical_c": 84}, {"full_mhz": 1000}, {"steps": [STEP, STEP]}, {"hysteresis_k": -1},
        {"steps": [{**STEP, "word": "warm"}]}, {"fan": {**THERMAL["fan"], "board_to_air_k_w": 9}}, {"fan": {**THERMAL["fan"], "steps": []}},
        {"fan": {**THERMAL["fan"], "steps": [{"at_c": 60, "percent": 30}, {"at_c": 50, "percent": 50}]}}, {"colour": 1},
    ],
)  # fmt: skip
def test_figures_that_are_no_board_are_refused(wrong: dict[str, Any]) -> None:
    """Steps that do not get warmer and slower, a fan that warms, resistances that are none."""
    assert Body.model_validate(THERMAL)
    with pytest.raises(ValidationError):
        Body.model_validate({**THERMAL, **wrong})


def test_a_type_takes_the_heat_of_another(make_lab: Any) -> None:
    """By its name; a name of nobody, and of a type that has none, are complaints with their lines; both at once is refused."""
    base = (REPOSITORY / "devices/local-process.yaml").read_text()
    root: Path = make_lab(
        {
            "devices/mine.yaml": base + "thermal_like: raspberry-pi-5\n",
            "devices/nobody.yaml": base + "thermal_like: raspberry-pi-6\n",
            "devices/cold.yaml": base + "thermal_like: stone\n",
            "devices/stone.yaml": "title: t\narch: native\ntransport: local\npower: process\nloss: process_crash\n",
        }
    )
    reader = Reader(Lab(root, root / "runs", builtin=False))
    mine = reader.device_type("mine", "here")
    reader.finish()
    assert mine
    assert (mine.thermal, mine.thermal_like) == (Body.model_validate(THERMAL), None)
    assert DeviceType.model_validate_json(mine.model_dump_json()) == mine
    for name, said in (("nobody", "no device type is called 'raspberry-pi-6'"), ("cold", "'stone' does not say how it gets warm")):
        reader.device_type(name, "here")
        with pytest.raises(AskError, match=said) as refused:
            reader.finish()
        assert f"devices/{name}.yaml:" in refused.value.complaints[0].where
        reader.complaints.clear()
    with pytest.raises(ValidationError, match="not both"):
        DeviceType.model_validate({**yaml.safe_load(base), "thermal": THERMAL, "thermal_like": "raspberry-pi-5"})


def test_a_board_has_one_temperature() -> None:
    """Two of them at once are refused, whichever they are; one beside a link fault is not."""
    profiles = [(name, HEAT[name]) for name in ("heat-ramp", "cold-start")]
    _, problems = compose(profiles, None, ())
    assert any(each.found == "thermal beside thermal of heat-ramp" for each in problems)
    composed, problems = compose(profiles[:1], None, ())
    assert (composed.heat, problems) == (HEAT["heat-ramp"].heat, ())
