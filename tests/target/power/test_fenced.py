"""Power behind a lease: whoever acts still holds it, and whoever does not has moved nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from runner.errors import LabError
from runner.farm.lease import LeaseLost
from runner.target.holding import Alone
from runner.target.power.base import Power
from runner.target.power.fenced import Fenced

ACTS: dict[str, Callable[[Fenced], Awaitable[Any]]] = {
    "on": lambda power: power.on(),
    "cut": lambda power: power.cut(),
    "off": lambda power: power.off(),
    "renew": lambda power: power.renew(60.0),
    "keep_on": lambda power: power.keep_on(60.0),
}


class Relay:
    """Power that writes down what was done, in one list with who was asked first."""

    loss = "power_loss"

    def __init__(self, happened: list[str]) -> None:
        self._happened = happened

    async def on(self) -> None:
        self._happened.append("on")

    async def cut(self) -> dict[str, Any]:
        self._happened.append("cut")
        return {"method": "relay"}

    async def off(self) -> None:
        self._happened.append("off")

    async def renew(self, duration_s: float) -> None:
        self._happened.append("renew")

    async def keep_on(self, duration_s: float) -> None:
        self._happened.append("keep_on")

    async def facts(self) -> dict[str, Any]:
        return {"power": "relay"}

    async def disk(self) -> dict[str, Any]:
        return {}

    async def waited_s(self) -> None:
        return None

    def storage(self) -> None:
        return None

    def endpoint(self) -> None:
        return None

    def evidence(self) -> dict[str, Any]:
        return {}


class Holding(Alone):
    """A lease that is asked, and is lost when the test says so."""

    def __init__(self, happened: list[str]) -> None:
        self._happened, self.lost = happened, False

    def confirm(self) -> None:
        if self.lost:
            raise LeaseLost("the lease of pi-04 was lost: ben@lab holds it now")
        self._happened.append("confirmed")


@pytest.mark.parametrize("verb", ACTS)
def test_the_lease_is_confirmed_right_before_each_action(verb: str) -> None:
    """Before every one of them, not once for all; what the power answers comes back."""
    happened: list[str] = []
    power = Fenced(Relay(happened), Holding(happened))
    answers = [asyncio.run(_act(power, verb)) for _ in range(2)]
    assert happened == ["confirmed", verb] * 2
    assert answers == [{"method": "relay"} if verb == "cut" else None] * 2


@pytest.mark.parametrize("verb", ACTS)
def test_without_the_lease_nothing_is_done(verb: str) -> None:
    """An error of the lab, with the new holder's name; not even renewing, and not even switching off."""
    happened: list[str] = []
    holding = Holding(happened)
    power = Fenced(Relay(happened), holding)
    holding.lost = True
    with pytest.raises(LabError, match="ben@lab holds it now"):
        asyncio.run(_act(power, verb))
    assert happened == []


def test_looking_needs_no_lease() -> None:
    """What is not an action is the power's own."""
    happened: list[str] = []
    holding = Holding(happened)
    holding.lost = True
    power = Fenced(Relay(happened), holding)
    assert asyncio.run(power.facts()) == {"power": "relay"}
    assert (power.loss, power.storage(), power.endpoint(), power.evidence()) == ("power_loss", None, None, {})
    assert happened == []


def test_everything_that_power_can_do_is_either_an_action_or_a_look() -> None:
    """A new verb of power is fenced, or named here as one that only looks."""
    looks = {"loss", "disk", "facts", "waited_s", "storage", "endpoint", "evidence"}
    verbs = {name for name in {*vars(Power), *Power.__annotations__} if not name.startswith("_")}
    assert verbs - looks == set(ACTS)
    assert {name for name in vars(Fenced) if not name.startswith("_")} == set(ACTS)


async def _act(power: Fenced, verb: str) -> Any:
    return await ACTS[verb](power)
