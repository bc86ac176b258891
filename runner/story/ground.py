"""A device before and after something was done to it or its link: what stands on it, what it was, and what becomes of one that is not.

    clear ─► found: whose is the link? ─► … a fault, armed and taken back … ─► compare: as it was?
      │            └► expected, in the lease file, should we be killed              └► not: quarantined, with the difference
      └► what a dead run left, taken back, and compared with what was before *that* run

Runs, `profile try`, `device revert` and `device check` all go by this one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runner.errors import LabError
from runner.farm import health
from runner.farm.lease import Leases
from runner.target.session import Session
from runner.target.transports.base import words

Row = dict[str, Any]
REVERT_LIMIT_S = 180.0
MOST_WORDS = 100  # of a device, for one answer


@dataclass(frozen=True)
class Strays:
    """Control groups of ours on a device that are not those of its supervisor."""

    removed: list[str]  # folders
    in_use: list[str]  # folders: of runs that are under way
    left: list[str]  # a sentence for each: its folder, and what removes it

    def without(self, fingerprint: Row) -> Row:
        """A fingerprint without what is in use, and without what has a sentence of its own."""
        known = {*self.in_use, *(each.partition(": ")[0] for each in self.left)}
        return {**fingerprint, "cgroups": [line for line in fingerprint["cgroups"] if line.split(" ")[0] not in known]}


@dataclass(frozen=True)
class Ground:
    """One device at hand, under our lease. `run` is the token of whoever is at work on it."""

    name: str
    identity: str
    session: Session
    leases: Leases
    run: str
    say: Callable[[str], None]
    scarce: bool = False  # an execution is under way, and what its supervisor made for it (a group, a small disk) is nobody's leftover

    async def fingerprint(self) -> Row:
        now = health.read((await self.session.ask("fingerprint", timeout_s=120))["fields"])
        return health.without_scarcity(now) if self.scarce else now

    async def standing(self) -> list[Row]:
        """What is armed on the device, by its own word; what is no program is not shown, and is taken back with the rest."""
        return [each for each in (await self.session.ask("programs"))["programs"] if isinstance(each, dict)]

    async def revert(self) -> tuple[list[str], list[str]]:
        """Whatever is armed is taken back: the names of what was, and a sentence for each thing that stays."""
        said = await self.session.ask("revert", name="", timeout_s=REVERT_LIMIT_S)
        reverted, left = (_few(said.get(key)) for key in ("reverted", "left"))
        return reverted, left

    async def clear_strays(self) -> Strays:
        """Control groups that runs of other state folders left, and of whom no process is left, are removed."""
        said = await self.session.ask("clear_strays")
        return Strays(*(_few(said.get(key)) for key in ("removed", "in_use", "left")))

    async def take_back(self) -> list[str]:
        """The same, where nothing may stay: quarantines, and raises LabError."""
        reverted, left = await self.revert()
        if left:
            self.quarantine(left)
        return reverted

    async def clear(self) -> list[Row]:
        """What somebody who is dead left on the link is taken back, and told; the device must be then what it was before him.

        Returns the programs that stood there. Raises LabError, and quarantines, where it is not.
        """
        standing = await self.standing()
        for each in standing:
            self.say(f"taken back: {_left_behind(each)}")
        await self.settle()
        return standing

    async def settle(self) -> None:
        """Nothing is armed, and the device is what it was before the last fault, whoever put it there; else LabError, and quarantine."""
        await self.take_back()
        expected = self.leases.expected(self.identity)
        if expected is not None:
            await self.compare(health.read(expected[1]))

    async def found(self, interface: str = "") -> Row:
        """The fingerprint before a fault over `interface` ("" where it is none of the link's), kept where whoever comes next finds it,
        should we be killed.

        Raises LabError where somebody else has the link, or something of ours is left; nothing was touched then, and nothing is expected
        of the device.
        """
        now = await self.fingerprint()
        foreign = health.foreign(now, interface) if interface else []
        left = health.left_of_ours(now)
        if foreign or left:
            found = f"somebody else has the data link of {self.name}" if interface else f"{self.name} is not as it should be"
            do = "take it away there, or choose another device; nothing was touched"
            raise LabError(f"{found}: {[*foreign, *left][0]}", do=do)
        self.expect(now)
        return now

    def expect(self, fingerprint: Row) -> None:
        self.leases.expect(self.identity, fingerprint["boot_id"], fingerprint)

    async def compare(self, before: Row) -> None:
        """Nothing more is expected of a device that is what it was; else it is quarantined, and LabError raised.

        A device that was started since may have another state of its own; it only must not bear our tags.
        """
        now = await self.fingerprint()
        changed = health.differences(before, now) if now["boot_id"] == before["boot_id"] else health.left_of_ours(now)
        if changed:
            self.quarantine(changed)
        self.leases.forget_expected(self.identity)

    def quarantine(self, found: list[str]) -> None:
        """Raises LabError: the device is lent to nobody until a check finds it in order."""
        self.leases.quarantine(self.identity, self.run, found)
        more = f" (+{len(found) - 1})" if found[1:] else ""
        said = f"{self.name} is not as it was before, and quarantined: {found[0]}{more}"
        raise LabError(said, do=f"runner device check {self.name}")


def under_way(hello: Row) -> bool:
    """Whether a device that has just said so goes on with somebody's execution, whose group and small disk are then its own."""
    said = hello.get("execution")
    return isinstance(said, dict) and not said.get("ended")


def _left_behind(program: Row) -> str:
    """A program that stands on a device, as a person is told of it."""
    said = words(str(program.get("word") or program.get("state")), 80)
    return f"{words(str(program.get('name')), 80)} ({said}), left by {words(str(program.get('holder') or 'nobody known'))}"


def _few(said: Any) -> list[str]:
    return [words(str(each)) for each in said[:MOST_WORDS]] if isinstance(said, list) else []
