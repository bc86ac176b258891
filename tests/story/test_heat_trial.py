"""A profile of heat tried on a board that keeps books instead of getting warm: told, warmed, timed, cooled, whatever ends it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.errors import LabError
from runner.farm.lease import Leases
from runner.model.device import ThrottleStep
from runner.model.plan import HeatPlan
from runner.story import heat, heat_trial
from runner.story.heat_trial import day_s, try_heat
from runner.story.trial import IsOn, Tried
from tests.story.test_heat import BODY, HOT, Board, Power

PLAN = HeatPlan(asked=HOT, body=BODY)


@pytest.fixture
def power() -> Power:
    return Power()


@pytest.fixture
def board(power: Power) -> Board:
    return Board(power)


@pytest.fixture
def leases(tmp_path: Path) -> Leases:
    return Leases(tmp_path / "state")


@pytest.fixture
def request_(clock: Any, power: Power, board: Board, leases: Leases, monkeypatch: pytest.MonkeyPatch) -> Any:
    @contextlib.asynccontextmanager
    async def at_hand(request: Any, identity: str, purpose: str, *, wait: bool, is_on: IsOn) -> AsyncIterator[Any]:
        await is_on()
        yield SimpleNamespace(power=power, home=SimpleNamespace(state="/data/runner")), board, SimpleNamespace(leases=leases)

    monkeypatch.setattr(heat_trial, "at_hand", at_hand)
    monkeypatch.setattr(heat.work, "measure", lambda: {"duration_s": 0.1, "cpu_s": 0.1})
    return SimpleNamespace(name="pi-04", clock=clock, say=lambda text: None, type=SimpleNamespace(shared=False))


def tried(request: Any, told: list[str] | None = None) -> Tried:
    return asyncio.run(try_heat(request, "pi-04", PLAN, 10.0, lambda phase, rows: (told if told is not None else []).append(phase)))


def test_told_worked_warmed_timed_and_cooled(request_: Any, power: Power, board: Board, leases: Leases) -> None:
    """At each clock; the work begins before the heat does, and ends before the board is compared with what it was."""
    told: list[str] = []
    found = tried(request_, told)
    assert found.reached and found.reverted
    assert power.done == ["cool", "heat", "warm", "cool"]
    assert told == ["before", "at 1 s of the model", "at 1 s of the model", "at 1 s of the model", "during", "after"]
    assert [word for word in board.asked if word in ("arm", "burn", "revert", "fingerprint")] == [
        "revert", "revert", "fingerprint", "arm", "burn", "burn", "burn", "burn", "revert", "fingerprint",
    ]  # fmt: skip
    assert board.armed == {} and leases.expected("pi-04") is None


def test_a_clock_that_is_only_said_to_fall_is_not_reached(request_: Any, power: Power) -> None:
    """The negative control: it is taken back all the same."""
    power.slows = False
    found = tried(request_)
    assert not found.reached and found.reverted


def test_a_clock_that_nobody_timed_is_not_reached(request_: Any) -> None:
    """The model has a busy board there for long enough: a profile of steps without one of them has not been tried."""
    steps = (ThrottleStep(at_c=70, mhz=600, word="throttled"), ThrottleStep(at_c=72, mhz=500, word="throttled"))
    plan = PLAN.model_copy(update={"body": BODY.model_copy(update={"steps": steps})})
    found = asyncio.run(try_heat(request_, "pi-04", plan, 20.0, lambda phase, rows: None))
    assert [row["what"] for row in found.rows["during"] if not row["within"]] == ["timed at 500 MHz"]
    assert not found.reached and found.reverted


def test_a_session_that_ends_keeps_nobody_warm(request_: Any, power: Power, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever heats from outside is told to cool, though the device can be told nothing any more. That it cannot is what is raised."""

    async def gone(do: str, **_: Any) -> dict[str, Any]:
        raise LabError(f"no answer to {do}")

    async def looked(_: heat.Heating) -> None:
        monkeypatch.setattr(board, "ask", gone)
        raise LabError("the session ended")

    monkeypatch.setattr(heat.Heating, "look", looked)
    with pytest.raises(LabError) as raised:
        tried(request_)
    assert "the session ended" in str(raised.value.__context__), "why it ended stays with it"
    assert power.done == ["cool", "heat", "warm", "cool"]


def test_what_stays_quarantines(request_: Any, power: Power, leases: Leases) -> None:
    """A control group that nobody could remove."""

    async def stays() -> dict[str, Any]:
        power.done.append("cool")
        power.warmed = False
        return {"left": ["/sys/fs/cgroup/cpu/runner-heat-1-2-0"] if power.done.count("cool") > 1 else []}

    power.cool = stays  # type: ignore[method-assign]
    with pytest.raises(LabError, match="quarantined: it is slowed down by"):
        tried(request_)
    assert leases.quarantined("pi-04")


@pytest.mark.parametrize(
    ("changes", "lasts_s"),
    [
        ({}, 60.0),
        ({"for_s": 5.0}, 5.0),
        ({"ambient_c": ({"at_s": 0.0, "c": 20.0}, {"at_s": 600.0, "c": 50.0}), "pace": 10.0}, 60.0),
    ],
)
def test_a_day_is_as_long_as_its_pace_says(changes: dict[str, Any], lasts_s: float) -> None:
    """In real seconds; a minute where the air stays as it is."""
    asked = type(HOT).model_validate({**HOT.model_dump(), **changes})
    assert day_s(HeatPlan(asked=asked, body=BODY)) == lasts_s
