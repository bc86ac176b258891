"""What power is to us: on, cut, off, and the means to know what a cut really did.

A cut is never called more than it is: `loss` says whether it is a power loss or only a process crash,
and every report repeats that word.
"""

from __future__ import annotations

from typing import Any, Protocol

from runner.model.device import Loss
from runner.target.growing import GrowingFile
from runner.target.storage import Storage
from runner.target.transports.base import Endpoint


class Power(Protocol):
    loss: Loss

    async def on(self) -> None:
        """The device has power and is starting. Harmless when it is on. Raises LabError."""

    async def cut(self) -> dict[str, Any]:
        """Takes power away at once, with no chance to flush; returns the facts (how, when, writes lost).

        When this returns nothing of the device runs any more. Raises LabError if that is not certain.
        """

    async def off(self) -> None:
        """An orderly end: nothing of the device remains on the coordinator's side. Safe to call twice."""

    async def renew(self, duration_s: float) -> None:
        """Whatever acts for us stays alive at least this much longer without hearing from us."""

    async def keep_on(self, duration_s: float) -> None:
        """It stays alive exactly this much longer, unless somebody renews: a person's word, and it replaces an earlier one."""

    async def disk(self) -> dict[str, Any]:
        """Requests that the disk under test has seen since power-on ({"writes", "flushes"}); {} if unknown."""

    async def facts(self) -> dict[str, Any]:
        """What acts here, for environment.json: emulator, accelerator and why, image, relay."""

    async def waited_s(self) -> float | None:
        """Seconds since power-on that the device's processor was kept waiting for a processor of this host.

        None where there is no such thing (real boards), or where the host does not say.
        """

    def storage(self) -> Storage | None:
        """The device's files, for use while its power is off; None where nobody reaches them (real boards)."""

    def endpoint(self) -> Endpoint | None:
        """Where SSH listens, if it is power that learns it (emulated boards); else None."""

    def evidence(self) -> dict[str, GrowingFile]:
        """What belongs into results/journal/, by the name it gets there."""
