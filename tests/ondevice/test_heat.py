"""How a board gets warm and what its firmware does then: against published figures, and as properties over made-up boards."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.model.device import DeviceType
from runner.ondevice import heat
from runner.ondevice.heat import Body, State, Throttle
from tests.conftest import REPOSITORY

BODIES = ("raspberry-pi-3b-plus", "raspberry-pi-4", "raspberry-pi-5", "jetson-nano")
every_type = pytest.mark.parametrize("name", BODIES)
ON_THE_CASE = 0.36  # of the way from board to die: where a thermocouple on the case of a Pi 4's processor lies


def board(name: str) -> tuple[Body, Throttle]:
    thermal = DeviceType.model_validate(yaml.safe_load((REPOSITORY / f"devices/{name}.yaml").read_text())).thermal
    assert thermal
    return heat.body_of(json.loads(json.dumps(thermal.body))), heat.throttle_of(json.loads(json.dumps(thermal.throttle)))


def after(state: State, body: Body, throttle: Throttle, load: float, ambient_c: float, *seconds: float) -> State:
    for dt_s in seconds:
        state = heat.step(state, body, throttle, load, ambient_c, dt_s)
    return state


def near(a: State, b: State) -> bool:
    return math.isclose(a.die_c, b.die_c, abs_tol=1e-6) and math.isclose(a.board_c, b.board_c, abs_tol=1e-6)


# ---- published figures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "case_c", "memory_c", "power_ic_c"), [(0.0, 54.7, 52.0, 48.9), (1.0, 65.8, 59.2, 55.8)], ids=["idle", "loaded"]
)
def test_a_pi_4_is_as_warm_as_was_published(load: float, case_c: float, memory_c: float, power_ic_c: float) -> None:
    """Air 27.3 °C: the case within 0.2 K of the thermocouple; the board lies between power IC and memory."""
    body, _ = board("raspberry-pi-4")
    die, behind = heat.steady_c(body, load, 1.0, 27.3)
    assert behind + ON_THE_CASE * (die - behind) == pytest.approx(case_c, abs=0.2)
    assert power_ic_c <= behind <= memory_c


def test_a_loaded_pi_4_reaches_its_first_step_where_one_was_seen_to() -> None:
    """The published board began to throttle under that load: its die is at 80 °C, within a kelvin."""
    body, throttle = board("raspberry-pi-4")
    assert heat.steady_c(body, 1.0, 1.0, 27.3)[0] == pytest.approx(throttle.steps[0][0], abs=1.0)


@pytest.mark.parametrize(("minutes", "published_c"), [(1, 55.4), (2, 58.2), (3, 59.8)])
def test_a_pi_5_with_its_cooler_warms_as_was_published(minutes: int, published_c: float) -> None:
    """Air 20 °C, 40 °C idle, four busy cores; within 2 K after each minute, and the fan has come on by itself."""
    body, throttle = board("raspberry-pi-5")
    idle = heat.begin(body, throttle, 20.0)
    busy = after(idle, body, throttle, 1.0, 20.0, 60.0 * minutes)
    assert idle.die_c == pytest.approx(40.0, abs=0.3)
    assert busy.die_c == pytest.approx(published_c, abs=2.0)
    assert busy.fan_level == 1


@pytest.mark.parametrize(
    "change", [{"idle_w": 3.0}, {"board_to_air_k_w": 7.0}, {"die_to_board_k_w": 6.0}], ids=lambda change: next(iter(change))
)
def test_another_board_is_not_as_warm(change: dict[str, float]) -> None:
    """The negative control: with another figure the published case temperature is missed by more than half a kelvin."""
    body = board("raspberry-pi-4")[0]._replace(**change)
    die, behind = heat.steady_c(body, 0.0, 1.0, 27.3)
    assert abs(behind + ON_THE_CASE * (die - behind) - 54.7) > 0.5


# ---- what each type does at its steps -------------------------------------------------------------------------------------


def warmed(name: str, *, back: bool = False) -> list[State]:
    """The states in which the clock changed: while the air warms until the last step is taken; with `back`, until all are given back."""
    body, throttle = board(name)
    state, changes, ambient_c, cooling = heat.begin(body, throttle, 0.0), [], 0.0, False
    while not cooling or state.level:
        ambient_c += -0.02 if cooling else 0.02
        then = heat.step(state, body, throttle, 1.0, ambient_c, 0.5)
        if then.mhz != state.mhz:
            changes.append(then)
        state = then
        cooling = cooling or (state.level == len(throttle.steps))
        if cooling and not back:
            break
        assert -100 < ambient_c < 150
    return changes


@every_type
def test_each_step_is_taken_at_its_temperature(name: str) -> None:
    """The first time that a clock is seen, the die has just come to that step's temperature: within half a kelvin."""
    _, throttle = board(name)
    first = {state.mhz: state.die_c for state in reversed(warmed(name))}
    assert [first[mhz] for _, mhz, _ in throttle.steps] == [pytest.approx(at_c, abs=0.5) for at_c, _, _ in throttle.steps]


@every_type
def test_each_step_is_given_back_below_its_hysteresis(name: str) -> None:
    """Whoever gives a step back is colder than it by the hysteresis, and by little more: within half a second, half a kelvin."""
    _, throttle = board(name)
    changes = warmed(name, back=True)
    given_back = {then.level: then.die_c for before, then in pairwise(changes) if then.level < before.level}
    assert set(given_back) >= set(range(len(throttle.steps) - 1))
    for level, die_c in given_back.items():
        assert die_c == pytest.approx(throttle.steps[level][0] - throttle.hysteresis_k, abs=0.5)


@every_type
def test_flags_say_now_and_since_boot(name: str) -> None:
    """At the last step every word of the way is said, in both halves; cold again, only the upper one is left; never under-voltage."""
    body, throttle = board(name)
    hot = warmed(name)[-1]
    cold = after(hot, body, throttle, 0.0, -40.0, 2400.0)
    now = 0
    for _, _, word in throttle.steps:
        now |= heat.WORDS[word]
    assert (hot.flags, cold.flags) == (now << heat.SINCE_BOOT | now, now << heat.SINCE_BOOT)
    assert not hot.flags & (heat.UNDER_VOLTAGE | heat.UNDER_VOLTAGE << heat.SINCE_BOOT)
    assert (cold.mhz, cold.level, heat.words(cold.flags)) == (throttle.full_mhz, 0, ())


def test_a_pi_4_says_what_pis_say() -> None:
    """0x20002 above 80 °C, 0x60006 above 85 °C, as `vcgencmd` prints them; a Pi 3B+ 0x80008 above 60 °C."""
    said = {state.mhz: heat.throttled_text(state.flags) for state in reversed(warmed("raspberry-pi-4"))}
    assert (said[1000], said[600]) == ("throttled=0x20002", "throttled=0x60006")
    assert heat.throttled_text(warmed("raspberry-pi-3b-plus")[0].flags) == "throttled=0x80008"
    assert heat.words(0xA000A) == ("capped", "soft limit")


def test_a_power_cut_cools_the_board_and_clears_what_it_remembered() -> None:
    """Without power no clock and no flag; it cools towards the air; what it boots into is as warm as it was, with no flag since boot."""
    body, throttle = board("raspberry-pi-4")
    hot = after(heat.begin(body, throttle, 45.0), body, throttle, 1.0, 45.0, 900.0)
    off = heat.step(hot, body, throttle, 1.0, 45.0, 30.0, powered=False)
    assert (off.mhz, off.flags, off.powered) == (0.0, 0, False)
    assert 45.0 < off.board_c < hot.board_c
    assert off.die_c < hot.die_c
    on = heat.step(off, body, throttle, 0.0, 45.0, 0.05)
    assert (on.mhz, on.flags, on.powered) == (1500, 0, True)
    assert on.die_c == pytest.approx(off.die_c, abs=1.0)
    cold = heat.step(hot, body, throttle, 1.0, 45.0, 1e6, powered=False)
    assert (cold.die_c, cold.board_c) == (pytest.approx(45.0), pytest.approx(45.0))


def test_a_board_that_came_to_its_critical_temperature_says_so_until_it_boots() -> None:
    """The clock stays at its lowest; the model does not switch off by itself."""
    body, throttle = board("raspberry-pi-4")
    state = after(heat.begin(body, throttle, 70.0), body, throttle, 1.0, 70.0, 900.0)
    assert (state.critical, state.mhz) == (True, 600)
    assert after(state, body, throttle, 0.0, 0.0, 1800.0).critical
    off = heat.step(state, body, throttle, 0.0, 0.0, 7200.0, powered=False)
    assert not heat.step(off, body, throttle, 0.0, 0.0, 1.0).critical


def test_a_fan_that_stands_still_leaves_the_heat_sink() -> None:
    """A Pi 5 in 40 °C: with its fan it never throttles, without it does."""
    body, throttle = board("raspberry-pi-5")
    failed = heat.in_air(body, 1.0, fan_works=False)
    assert after(heat.begin(body, throttle, 40.0), body, throttle, 1.0, 40.0, 900.0).flags == 0
    assert after(heat.begin(failed, throttle, 40.0), failed, throttle, 1.0, 40.0, 3600.0).flags & heat.SOFT_LIMIT << heat.SINCE_BOOT


def test_a_closed_box_resists_by_its_factor() -> None:
    """1.6 times the way to the air: the board is 1.6 times as far above it, and the die as far above the board as ever."""
    body, _ = board("raspberry-pi-4")
    (die, behind), (die_boxed, boxed) = (heat.steady_c(each, 1.0, 1.0, 20.0) for each in (body, heat.in_air(body, 1.6)))
    assert boxed - 20 == pytest.approx(1.6 * (behind - 20))
    assert die_boxed - boxed == pytest.approx(die - behind)


def test_a_board_begins_as_it_was_left() -> None:
    """Idle for long, or with its die where it is said to be; one that starts at the air's temperature is that cold everywhere."""
    body, throttle = board("raspberry-pi-4")
    idle, soaked, frozen = (heat.begin(body, throttle, 20.0, at_c) for at_c in (None, 79.0, 20.0))
    assert (idle.die_c, idle.board_c) == heat.steady_c(body, 0.0, 1.0, 20.0)
    assert soaked.die_c == 79.0
    assert 20.0 < soaked.board_c < 79.0
    assert (frozen.die_c, frozen.board_c) == (20.0, 20.0)
    assert {state.mhz for state in (idle, soaked, frozen)} == {1500}


@pytest.mark.parametrize(("at_s", "c"), [(-1, 10), (0, 10), (50, 15), (100, 20), (150, 20), (200, 20), (250, 10), (300, 0), (999, 0)])
def test_the_air_goes_in_straight_lines(at_s: float, c: float) -> None:
    """Between the points of a timeline; before and behind it as at its ends."""
    assert heat.ambient_at(((0, 10), (100, 20), (200, 20), (300, 0)), at_s) == pytest.approx(c)
    assert heat.ambient_at(((0, 7.5),), at_s) == 7.5


@pytest.mark.parametrize(("mhz", "share"), [(1500, 1.0), (750, 0.5), (600, 0.4), (1, heat.LEAST_SHARE), (9999, 1.0)])
def test_a_clock_is_a_share_of_a_core(mhz: float, share: float) -> None:
    """In proportion; never nothing, and never more than the core."""
    assert heat.quota(mhz, 1500) == pytest.approx(share)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("die_j_k", 0), ("board_to_air_k_w", -1), ("idle_w", float("nan")), ("busy_w", "1"), ("exponent", -1), ("colour", 1),
        ("fan_steps", [[50, 2.0]]), ("fan_steps", [50]), ("fan_steps", [[60, 0.3], [50, 0.5]]),
    ],
)  # fmt: skip
def test_what_is_no_body_is_refused(key: str, value: Any) -> None:
    """As a ValueError, and nothing else, whatever a file or a coordinator says."""
    said = board("raspberry-pi-5")[0]._asdict()
    assert heat.body_of(said) == board("raspberry-pi-5")[0]
    with pytest.raises(ValueError, match="this is no body"):
        heat.body_of({**said, key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("full_mhz", 0), ("full_mhz", 900), ("critical_c", 80), ("hysteresis_k", -1), ("steps", [[80, 1000, "warm"]]),
        ("steps", [[80, 1000]]),
        ("steps", [[80, 1000, "capped"], [79, 600, "capped"]]), ("steps", 7), ("colour", 1),
    ],
)  # fmt: skip
def test_what_is_no_throttle_is_refused(key: str, value: Any) -> None:
    """The same."""
    said = board("raspberry-pi-4")[1]._asdict()
    assert heat.throttle_of(said) == board("raspberry-pi-4")[1]
    with pytest.raises(ValueError, match="this is no throttle"):
        heat.throttle_of({**said, key: value})


# ---- properties -----------------------------------------------------------------------------------------------------------

loads = st.floats(0, 1)
air = st.floats(-40, 70)
fans = st.sampled_from([(), ((40.0, 0.3), (60.0, 1.0))])
bodies = st.builds(
    lambda *figures, fan: Body(*figures, fan_steps=fan, fan_k_w=figures[3] / 3, fan_hysteresis_k=5.0),
    st.floats(0.5, 20), st.floats(10, 500), st.floats(0.2, 10), st.floats(0.5, 20), st.floats(0, 8), st.floats(0, 15), st.floats(0, 3),
    fan=fans,
)  # fmt: skip
throttles = st.builds(
    lambda first_c, apart_k, hysteresis_k, words: Throttle(
        1500, tuple((first_c + apart_k * n, 1200 - 250 * n, word) for n, word in enumerate(words)), hysteresis_k, first_c + apart_k * 8
    ),
    first_c=st.floats(40, 90), apart_k=st.floats(0.5, 8), hysteresis_k=st.floats(0.2, 6),
    words=st.lists(st.sampled_from(sorted(heat.WORDS)), min_size=1, max_size=4),
)  # fmt: skip
NEVER = Throttle(1500, (), 0.0, 1000.0)
works = st.lists(st.tuples(loads, air, st.floats(0.01, 40)), min_size=1, max_size=6)


@given(bodies, throttles, works)
@settings(max_examples=60, deadline=None)
def test_a_clock_never_moves_within_the_hysteresis(body: Body, throttle: Throttle, work: list[tuple[float, float, float]]) -> None:
    """At every look: a step is taken only at or above its temperature, and given back only below it by more than the hysteresis."""
    state = heat.begin(body, throttle, 20.0)
    for load, ambient_c, for_s in work:
        for _ in range(max(1, min(60, int(for_s / heat.LOOK_S)))):
            then = heat.step(state, body, throttle, load, ambient_c, heat.LOOK_S)
            for number in range(state.level, then.level):
                assert then.die_c >= throttle.steps[number][0]
            for number in range(then.level, state.level):
                assert then.die_c < throttle.steps[number][0] - throttle.hysteresis_k
            state = then


@given(bodies, throttles, loads, air)
@settings(max_examples=50, deadline=None)
def test_a_steady_board_whose_clock_holds_it_does_not_oscillate(body: Body, throttle: Throttle, load: float, ambient_c: float) -> None:
    """Whoever rests at a clock between its step and the hysteresis stays there, as long as no fan comes on."""
    body = body._replace(fan_steps=())
    for level in range(len(throttle.steps) + 1):
        mhz = throttle.steps[level - 1][1] if level else throttle.full_mhz
        die, behind = heat.steady_c(body, load, mhz / throttle.full_mhz, ambient_c)
        below = level == len(throttle.steps) or die < throttle.steps[level][0] - 1e-6
        above = level == 0 or die > throttle.steps[level - 1][0] - throttle.hysteresis_k + 1e-6
        if below and above:
            rest = State(die, behind, mhz, level=level)
            assert after(rest, body, throttle, load, ambient_c, 60.0).mhz == mhz


@given(bodies, st.floats(0, 1), st.floats(0, 1), air, st.floats(0.01, 200))
@settings(max_examples=60, deadline=None)
def test_more_work_is_never_colder(body: Body, a: float, b: float, ambient_c: float, for_s: float) -> None:
    """At any moment, as long as clock and fan are what they were; at rest, too."""
    body = body._replace(fan_steps=())
    start = heat.begin(body, NEVER, ambient_c)
    less, more = (after(start, body, NEVER, load, ambient_c, for_s) for load in sorted((a, b)))
    assert more.die_c >= less.die_c - 1e-9
    assert more.board_c >= less.board_c - 1e-9
    assert heat.steady_c(body, max(a, b), 1.0, ambient_c) >= heat.steady_c(body, min(a, b), 1.0, ambient_c)


@given(bodies, loads, air, st.floats(-20, 100), st.floats(0.5, 300))
@settings(max_examples=25, deadline=None)
def test_no_energy_comes_or_goes(body: Body, load: float, ambient_c: float, starts_at_c: float, for_s: float) -> None:
    """What the board took is what its nodes gained and what went into the air, counted by Simpson's rule over short steps."""
    body, many = body._replace(fan_steps=()), 400
    state = first = heat.begin(body, NEVER, ambient_c, starts_at_c)
    fine = for_s / many
    outside = 0.0
    for _ in range(many):
        middle = heat.step(state, body, NEVER, load, ambient_c, fine / 2)
        then = heat.step(middle, body, NEVER, load, ambient_c, fine / 2)
        outside += (state.board_c + 4 * middle.board_c + then.board_c - 6 * ambient_c) / 6 / body.board_to_air_k_w * fine
        state = then
    stored = body.die_j_k * (state.die_c - first.die_c) + body.board_j_k * (state.board_c - first.board_c)
    came = heat.power_w(body, load, 1.0) * for_s
    scale = 1 + abs(stored) + abs(outside) + came
    assert abs(came - stored - outside) < 1e-3 * scale


@given(bodies, throttles, works, st.integers(2, 7))
@settings(max_examples=50, deadline=None)
def test_many_short_steps_are_one_long_step(body: Body, throttle: Throttle, work: list[tuple[float, float, float]], parts: int) -> None:
    """However the time is cut up, and whatever the clock and the fan do in it."""
    long = short = heat.begin(body, throttle, 20.0)
    for load, ambient_c, for_s in work:
        for_s = round(for_s, 2)
        long = after(long, body, throttle, load, ambient_c, for_s)
        short = after(short, body, throttle, load, ambient_c, *[for_s / parts] * parts)
        assert near(long, short)
        assert (long.mhz, long.flags, long.fan_level) == (short.mhz, short.flags, short.fan_level)


@given(bodies, throttles, loads, air, st.floats(0, 1e7))
@settings(max_examples=60, deadline=None)
def test_it_is_stable_for_any_step(body: Body, throttle: Throttle, load: float, ambient_c: float, for_s: float) -> None:
    """Temperatures stay between the coldest and the warmest that this board can have, also while it is off for a month."""
    state = heat.begin(body, throttle, ambient_c)
    warmest = max(state.die_c, heat.steady_c(body, 1.0, 1.0, ambient_c)[0])
    on = heat.step(state, body, throttle, load, ambient_c, min(for_s, 60.0))
    off = heat.step(state, body, throttle, load, ambient_c, for_s, powered=False)
    for each in (on, off):
        assert ambient_c - 1e-6 <= each.board_c <= warmest + 1e-6
        assert ambient_c - 1e-6 <= each.die_c <= warmest + 1e-6


def test_the_model_without_a_hysteresis_is_found_to_oscillate() -> None:
    """The negative control of the property: with no hysteresis the clock of a board at its step moves at every second look."""
    body, throttle = board("raspberry-pi-4")
    bare = throttle._replace(hysteresis_k=0.0)
    counts: dict[str, int] = {}
    for name, each in (("with", throttle), ("without", bare)):
        state, moves = heat.begin(body, each, 30.0, 79.0), 0
        for _ in range(3000):
            then = heat.step(state, body, each, 1.0, 30.0, heat.LOOK_S)
            moves, state = moves + (then.mhz != state.mhz), then
        counts[name] = moves
    assert counts["without"] > 10 * max(1, counts["with"])
