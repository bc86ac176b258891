"""Asked and measured of a device's speed, from numbers alone: what is as slow as its clock, what is not, and what excuses it."""

from __future__ import annotations

from typing import Any

import pytest

from runner.judgement import slowed

BODY = {"die_j_k": 3.0, "board_j_k": 40.0, "die_to_board_k_w": 4.0, "board_to_air_k_w": 6.0, "idle_w": 3.0, "busy_w": 3.0}
THROTTLE = {"full_mhz": 1500, "steps": [[70, 1000, "capped"], [75, 600, "throttled"]], "hysteresis_k": 2, "critical_c": 90}
HOT: dict[str, Any] = {"body": BODY, "throttle": THROTTLE, "timeline": [[0, 45]]}
COLD: dict[str, Any] = {**HOT, "timeline": [[0, -10]]}
SAID = {"die_c": 76.0, "mhz": 600.0, "flags": 0x60006, "model_s": 60.0}
READ = {"temperature": "76100", "clock": "600000", "throttled": "throttled=0x60006"}


def sample(mhz: float, took_s: float, own_s: float = 0.1, **more: Any) -> dict[str, Any]:
    said = {**SAID, "mhz": mhz}
    found = {"mhz": mhz, "steady": True, "nr_throttled": 500, "device": {"cpu_s": took_s, "duration_s": 2 * took_s}}
    read = {**READ, "clock": f"{mhz * 1000:.0f}"}
    counted = {"ran_s": 2.0 * mhz / 1500, "held_s": 2.0 * (1 - mhz / 1500), "waited_s": 0.0}
    found |= {"own": {"duration_s": own_s, "cpu_s": 0.1}, "counted": counted}
    return {**found, "sensed": read, "said": [said, {**said, "die_c": 76.2}], **more}


FULL = sample(1500, 0.2)


def within(rows: list[dict[str, Any]]) -> dict[str, bool]:
    return {row["what"]: row["within"] for row in rows}


def test_as_slow_as_the_clock_is_reached() -> None:
    """At each clock the best counts, of those that were held all the while."""
    samples = [sample(600, 0.9), sample(600, 0.52), sample(1000, 0.29), sample(600, 0.1, steady=False)]
    rows = slowed.compare(HOT, FULL, samples, "cpu_s")
    assert within(rows) == {
        "speed at 1000 MHz": True,
        "time granted at 1000 MHz": True,
        "speed at 600 MHz": True,
        "time granted at 600 MHz": True,
        "periods in which the quota was used up": True,
        "sensors": True,
    }
    assert next(row for row in rows if row["what"] == "speed at 600 MHz")["measured"] == "0.38"


@pytest.mark.parametrize("took_s", [0.2, 0.38, 0.7])
def test_another_speed_is_not(took_s: float) -> None:
    """As fast as ever, not slow enough, or held up by something else."""
    assert not within(slowed.compare(HOT, FULL, [sample(600, took_s)], "cpu_s"))["speed at 600 MHz"]


def test_a_busy_machine_is_said() -> None:
    """It may be why."""
    rows = slowed.compare(HOT, FULL, [sample(600, 0.9, own_s=0.25)], "cpu_s")
    assert "its own work took 2.5 times as long as before" in rows[0]["measured"]


@pytest.mark.parametrize(("own_cpu_s", "reached"), [(0.1, False), (0.15, True), (0.25, False)])
def test_a_machine_whose_own_speed_comes_and_goes_is_held_to_less(own_cpu_s: float, reached: bool) -> None:
    """By as much as it does, which is said; and one that does so by too much measures nothing."""
    slow = sample(600, 0.68)
    rows = slowed.compare(HOT, FULL, [{**slow, "own": {"duration_s": own_cpu_s, "cpu_s": own_cpu_s}}], "cpu_s")
    assert within(rows)["speed at 600 MHz"] == reached
    assert ("came and went" in rows[0]["tolerance"]) == (own_cpu_s > 0.1)


@pytest.mark.parametrize("counted", [None, *({"ran_s": 0.8, "held_s": held_s, "waited_s": 0.0} for held_s in (0.0, 0.8, 2.4))])
def test_what_was_granted_is_exact_on_any_machine(counted: dict[str, float] | None) -> None:
    """A core that was held up by more or less than its clock stands for, never, or by nobody's count, is not as slow as that, however the
    work was timed."""
    rows = slowed.compare(HOT, FULL, [sample(600, 0.5, counted=counted)], "cpu_s")
    assert within(rows)["speed at 600 MHz"] and not within(rows)["time granted at 600 MHz"]


@pytest.mark.parametrize(("held_s", "waited_s", "reached"), [(0.8, 0.4, True), (0.8, 0.0, False), (0.1, 1.1, False), (1.2, 2.0, True)])
def test_who_takes_the_processor_is_not_who_grants_it(held_s: float, waited_s: float, reached: bool) -> None:
    """A core that waits uses up no quota: asked lies between its share with that and without. Others alone do not make it reached."""
    counted = {"ran_s": 0.8, "held_s": held_s, "waited_s": waited_s}
    rows = slowed.compare(HOT, FULL, [sample(600, 0.5, counted=counted)], "cpu_s")
    assert within(rows)["time granted at 600 MHz"] == reached


def test_a_clock_that_is_nearly_the_full_one_is_told_from_it() -> None:
    """A core that is never held up is not as slow as seven eighths of its clock."""
    told = {**HOT, "throttle": {**THROTTLE, "steps": [[70, 1312.5, "capped"]]}}
    slow = within(slowed.compare(told, FULL, [sample(1312.5, 0.2286)], "cpu_s"))
    never = within(slowed.compare(told, FULL, [sample(1312.5, 0.2, counted={"ran_s": 2.0, "held_s": 0.0, "waited_s": 0.0})], "cpu_s"))
    assert slow["time granted at 1312.5 MHz"] and not never["time granted at 1312.5 MHz"]


def own(cpu_s: float, at_s: float | None = None) -> dict[str, Any]:
    return {"cpu_s": cpu_s, "duration_s": cpu_s} | ({} if at_s is None else {"at_ns": int(at_s * 1e9)})


def test_one_slow_measurement_widens_nothing_but_what_ran_beside_it() -> None:
    """Of ten and more; of fewer nobody knows what is rare, and where none has a time, it is beside nothing."""
    works = [own(0.1 + number / 1000, 10.0 * number) for number in range(11)] + [own(0.19, 120.0)]
    assert slowed.unsteady([{"own": each} for each in works]) == pytest.approx(1.9)
    usual = slowed.slower_beside(works, None, None)
    assert usual == pytest.approx(0.11 / 0.101)
    assert slowed.slower_beside(works, int(50e9), int(60e9)) == usual
    assert slowed.slower_beside(works, int(115e9), int(118e9)) == pytest.approx(0.19 / 0.101)
    assert slowed.slower_beside([own(each["cpu_s"]) for each in works], int(115e9), int(118e9)) == usual
    assert slowed.slower_beside(works[-9:], None, None) == pytest.approx(0.19 / 0.103)
    assert slowed.slower_beside([], None, None) == 1.0


@pytest.mark.parametrize("said", [None, 5, [], [5], [[1]], [["a", 2]], [[1, 2, 3]]])
def test_what_is_no_look_is_none(said: Any) -> None:
    """Of an older run, or forged."""
    assert slowed.looks({"looks": said}) == [] == slowed.looks({})
    assert slowed.looks({"looks": [[1, 2]]}) == [(1, 2)]


def test_a_device_that_is_not_this_machine_has_no_excuse_in_it() -> None:
    """Nobody looks at this machine's own speed then: what is timed is held to the tolerance alone."""
    full, slow, same = ({**sample(mhz, took_s), "own": None} for mhz, took_s in ((1500, 0.2), (600, 0.5), (1500, 0.21)))
    assert within(slowed.compare(HOT, full, [slow], "cpu_s"))["speed at 600 MHz"]
    assert all(within(slowed.restored(full, same, [], "cpu_s")).values())
    assert not within(slowed.restored(full, slow, [], "cpu_s"))["speed"]


def test_never_throttled_is_not_reached_where_it_had_to_be() -> None:
    """The model itself says whether a busy board would have been."""
    assert slowed.must_throttle(HOT) and not slowed.must_throttle(COLD)
    assert not within(slowed.compare(HOT, FULL, [sample(1500, 0.2)], "cpu_s"))["throttled"]
    assert within(slowed.compare(COLD, FULL, [sample(1500, 0.2)], "cpu_s"))["throttled"]


def test_a_clock_that_lasts_long_enough_is_to_be_timed() -> None:
    """By the model itself, of a board that works all the time: what is held for too short a time, or not within what was tried, is not
    asked; nor is the full clock."""
    air = {**HOT, "timeline": [[0, 30], [30, 35], [200, 35], [230, 47], [400, 47]], "pace": 2.0}
    held = slowed.held(air, 200.0)
    assert held[1000.0] > 60 and held[600.0] > 60
    assert slowed.not_timed(air, 200.0, [sample(1000, 0.3), sample(600, 0.5)]) == []
    (missing,) = slowed.not_timed(air, 200.0, [sample(1000, 0.3), sample(600, 0.5, steady=False)])
    assert (missing["what"], missing["measured"], missing["within"]) == ("timed at 600 MHz", "not seen", False)
    assert slowed.not_timed(air, 100.0, [sample(1000, 0.3)]) == []
    assert slowed.held({**air, "for_s": 20.0, "at_s": 150.0}, 155.0).keys() <= {1500.0, 1000.0}
    assert slowed.not_timed({**air, "for_s": 9.0}, 200.0, []) == []


def test_a_quota_that_was_never_used_up_is_not_reached() -> None:
    """A clock on paper holds nobody up."""
    rows = slowed.compare(HOT, FULL, [sample(600, 0.5, nr_throttled=0)], "cpu_s")
    assert not within(rows)["periods in which the quota was used up"]


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": "70000"}, {"temperature": None}, {"clock": "1500000"}, {"throttled": "throttled=0x0"}],
)
def test_sensors_that_say_something_else_are_found(wrong: dict[str, Any]) -> None:
    """Temperature, clock and flags; or nothing at all."""
    bad = sample(600, 0.5)
    assert not within(slowed.sensors([{**bad, "sensed": {**bad["sensed"], **wrong}}]))["sensors"]
    assert not within(slowed.sensors([]))["sensors"]


def test_afterwards_it_is_as_fast_as_before() -> None:
    """Slower is not as before, unless this machine is as much busier; and what is left is left."""
    rest = sample(1500, 0.2)
    assert all(within(slowed.restored(rest, sample(1500, 0.21), [], "cpu_s")).values())
    assert not within(slowed.restored(rest, sample(1500, 0.5), [], "cpu_s"))["speed"]
    assert within(slowed.restored(rest, sample(1500, 0.4, own_s=0.2), [], "cpu_s"))["speed"]
    assert not within(slowed.restored(rest, rest, ["/sys/fs/cgroup/cpu/runner-heat-1-2-0"], "cpu_s"))["what slows it down"]
