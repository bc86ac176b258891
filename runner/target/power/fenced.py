"""Power, acted upon only by whoever holds the device: the lease is confirmed right before each action.

A relay or a process group cannot check a fence; so it is checked here, at the action, with a margin that every action's
own limit stays below. Looking needs no lease.
"""

from __future__ import annotations

from typing import Any

from runner.target.holding import Holding
from runner.target.power.base import Power


class Fenced:
    """`power`, for as long as `holding` holds. Every method raises LabError when it does not, and has done nothing then."""

    def __init__(self, power: Power, holding: Holding) -> None:
        self._power, self._holding = power, holding

    async def on(self) -> None:
        self._holding.confirm()
        await self._power.on()

    async def cut(self) -> dict[str, Any]:
        self._holding.confirm()
        return await self._power.cut()

    async def off(self) -> None:
        self._holding.confirm()
        await self._power.off()

    async def renew(self, duration_s: float) -> None:
        self._holding.confirm()
        await self._power.renew(duration_s)

    async def keep_on(self, duration_s: float) -> None:
        self._holding.confirm()
        await self._power.keep_on(duration_s)

    def __getattr__(self, name: str) -> Any:
        """What only looks: loss, disk, facts, waited_s, storage, endpoint, evidence."""
        return getattr(self._power, name)
