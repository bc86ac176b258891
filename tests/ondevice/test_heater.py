"""The loop of heat on threads that exist only on paper: what is told, what a tick does, and that its evidence computes again."""

from __future__ import annotations

from typing import Any

import pytest

from runner.ondevice import heat
from runner.ondevice.heater import Loop
from runner.ondevice.quota import Counted, Hierarchy
from runner.ondevice.told import HARD_CAP, ITS_END, NOT_RENEWED, told_of

BODY = {"die_j_k": 3.0, "board_j_k": 40.0, "die_to_board_k_w": 4.0, "board_to_air_k_w": 6.0, "idle_w": 3.0, "busy_w": 3.0}
THROTTLE = {"full_mhz": 1500, "steps": [[70, 1000, "capped"], [75, 600, "throttled"]], "hysteresis_k": 2, "critical_c": 90}
SAID: dict[str, Any] = {"body": BODY, "throttle": THROTTLE, "timeline": [[0, 45]], "starts_at_c": 60.0, "renew_s": 60, "cap_s": 900}
SECOND = 1_000_000_000


class Paper:
    """Two threads that run as much as they may, `busy` of it; others keep them `waiting` for a share of their time."""

    hierarchy = Hierarchy(1, "/paper")

    def __init__(self) -> None:
        self.share, self.busy, self.waiting, self.cores = 1.0, 1.0, 0.0, 0
        self.now = Counted(0, 0, 0, 0)
        self.limits: list[float] = []

    def take_in(self, pid: int, tids: list[int]) -> None:
        self.cores = len(tids)

    def limit(self, share: float) -> None:
        self.share = share
        self.limits.append(share)

    def run(self, for_s: float) -> None:
        granted = for_s * self.share * self.cores
        ran, held = granted * self.busy * (1 - self.waiting), for_s * (1 - self.share) * self.cores
        waited = granted * self.busy * self.waiting
        self.now = self.now.plus(Counted(int(ran * 1e9), int((waited + held) * 1e9), int(held > 0) * 25, int(held * 1e9)))

    def counted(self) -> Counted:
        return self.now

    def held_ns(self) -> int:
        return self.now.throttled_ns

    def release(self) -> list[str]:
        self.limits.append(1.0)
        return []


def looped(said: dict[str, Any], paper: Paper, seconds: float, lines: list[dict[str, Any]], *, powered: bool = True) -> Loop:
    loop = Loop(said, paper, lines.append, 0)  # type: ignore[arg-type]
    loop.tick(0, (7, [8, 9]) if powered else None)
    go_on(loop, paper, 0, seconds, powered=powered)
    return loop


def go_on(loop: Loop, paper: Paper, from_s: float, to_s: float, *, powered: bool = True) -> None:
    for number in range(int(from_s * 4), int(to_s * 4)):
        paper.run(0.25)
        loop.tick(int((number + 1) * SECOND / 4), (7, [8, 9]) if powered else None)


def again(lines: list[dict[str, Any]]) -> float:
    """How far the lines are from what the model makes of their loads: the most, in kelvin."""
    told = told_of(lines[0]["told"])
    state = heat.begin(told.body, told.throttle, heat.ambient_at(told.timeline, 0.0), told.starts_at_c)
    worst = before = 0.0
    for line in lines[1:]:
        if "ended" in line:
            break
        if line["on"]:
            state = heat.step(state, told.body, told.throttle, line["load"], line["ambient_c"], line["model_s"] - before, line["powered"])
            worst = max(worst, abs(state.die_c - line["die_c"]), abs(state.board_c - line["board_c"]))
            assert state.mhz == line["mhz"] and state.flags == line["flags"]
        before = line["model_s"]
    return worst


def test_work_heats_heat_throttles_and_what_is_throttled_has_less() -> None:
    """The loop is closed: the quota is the clock's share, and the board stays where its steps hold it."""
    paper, lines = Paper(), list[dict[str, Any]]()
    loop = looped(SAID, paper, 600, lines)
    assert 0.4 in paper.limits, "600 of 1500 MHz"
    assert loop.line["flags"] & heat.THROTTLED << heat.SINCE_BOOT
    assert 65 < loop.line["die_c"] < 80
    assert loop.line["load"] == 1.0, "busy is busy at each clock"
    assert loop.line["nr_throttled"] > 0


def test_an_idle_board_stays_cool_and_fast() -> None:
    """The negative control: no load, no limit."""
    paper, lines = Paper(), list[dict[str, Any]]()
    paper.busy = 0.05
    loop = looped({**SAID, "timeline": [[0, 25]]}, paper, 300, lines)
    assert paper.limits == []
    assert loop.line["die_c"] < 60 and loop.line["flags"] == 0


def test_a_busy_host_does_not_cool_a_board() -> None:
    """A thread that has work and waits for others' has a board that would be at work."""
    paper, lines = Paper(), list[dict[str, Any]]()
    paper.waiting = 0.5
    loop = looped(SAID, paper, 30, lines)
    assert loop.line["load"] == 1.0
    assert loop.line["cpu_s"] == pytest.approx(loop.line["waited_s"], abs=0.01)


@pytest.mark.parametrize("pace", [1.0, 20.0])
def test_the_evidence_computes_again(pace: float) -> None:
    """From the loads in the lines alone, through a cut of the power in the middle, to a fifth of a kelvin."""
    paper, lines = Paper(), list[dict[str, Any]]()
    said = {**SAID, "pace": pace, "timeline": [[0, 25], [300, 50], [900, 20]]}
    loop = looped(said, paper, 60, lines)
    go_on(loop, paper, 60, 70, powered=False)
    assert (loop.line["mhz"], loop.line["flags"]) == (0.0, 0)
    go_on(loop, paper, 70, 100)
    assert loop.line["mhz"] > 0
    assert again(lines) < 0.2


def test_a_forged_temperature_does_not() -> None:
    """The negative control: one line that says a kelvin less."""
    paper, lines = Paper(), list[dict[str, Any]]()
    looped(SAID, paper, 30, lines)
    lines[50] = {**lines[50], "die_c": lines[50]["die_c"] - 1.0}
    assert again(lines) > 0.9


def test_a_heat_that_waits_begins_when_it_is_told() -> None:
    """Until then the board has its full clock, and its temperature stands."""
    paper, lines = Paper(), list[dict[str, Any]]()
    loop = looped({**SAID, "waits": True, "starts_at_c": 80.0}, paper, 5, lines)
    assert paper.limits == [] and loop.line["die_c"] == 80.0 and not loop.line["on"]
    loop.warm(5 * SECOND)
    go_on(loop, paper, 5, 6)
    assert loop.line["on"] and paper.limits == [0.4]
    assert again(lines) < 0.2


def test_it_is_over_for_want_of_renewal_at_its_end_and_at_its_cap() -> None:
    """The earliest counts; renewing moves only the first."""
    loop = Loop({**SAID, "for_s": 100, "at_s": 20, "cap_s": 200}, Paper(), lambda line: None, 0)  # type: ignore[arg-type]
    assert loop.over(59 * SECOND) == ""
    assert loop.over(60 * SECOND) == NOT_RENEWED
    loop.renew(70 * SECOND)
    assert loop.over(119 * SECOND) == ""
    assert loop.over(120 * SECOND) == ITS_END
    endless = Loop({**SAID, "cap_s": 200}, Paper(), lambda line: None, 0)  # type: ignore[arg-type]
    endless.renew(199 * SECOND)
    assert endless.over(200 * SECOND) == HARD_CAP


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"body": {}}, "no body"),
        ({"throttle": {**THROTTLE, "steps": [[75, 600, "hot"]]}}, "no throttle"),
        ({"timeline": []}, "timeline"),
        ({"timeline": [[0, 20], [0, 30]]}, "timeline"),
        ({"pace": 0}, "pace"),
        ({"cap_s": "long"}, "cap_s"),
    ],
)
def test_what_no_loop_can_go_by_is_refused(wrong: dict[str, Any], said: str) -> None:
    """Before anything is limited."""
    with pytest.raises(ValueError, match=said):
        Loop({**SAID, **wrong}, Paper(), lambda line: None, 0)  # type: ignore[arg-type]
