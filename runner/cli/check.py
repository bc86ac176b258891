"""`device check`: is a device as it was before its last fault, and may it be lent again?

    lease, for a check ─► up ─► what a dead run left is taken back ─► fingerprint ─► as expected: the quarantine is lifted, exit 0
                                                                                 └─► not: it says what differs, exit 3

What is expected is the fingerprint from before the first fault of the run that did not come to its end. A device that was started
since is not compared with it: then nothing of ours may be left, and nothing of others' be where our faults act. What stays of ours
quarantines a device, whatever it was compared with; that somebody else is there, too, does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from runner.cli.known_device import KnownDevice, known_device
from runner.cli.output import Output
from runner.errors import LabError

if TYPE_CHECKING:
    from runner.farm.lease import Lease, Quarantine
    from runner.target.session import Session


@click.command("check")
@click.argument("name")
@click.option("--accept", is_flag=True, help="Take device NAME as it is now, whatever differs: your word that it is good.")
@click.pass_obj
def device_check(output: Output, name: str, accept: bool) -> int:
    """Compare device NAME with what it was before its last fault; where nothing is wrong it may be lent again."""
    import asyncio

    value, text = asyncio.run(_check(output, known_device(output, name), accept))
    return output.result({"device": name, **value}, text, 0 if value["passed"] or value["accepted"] else LabError.exit_code)


def shown(found: Quarantine | None) -> dict[str, Any] | None:
    """A quarantine for a program that reads JSON."""
    return {"since": found.since, "run": found.token, "differences": list(found.differences)} if found else None


async def _check(output: Output, device: KnownDevice, accept: bool) -> tuple[dict[str, Any], str]:
    """Does it under the lease; the answer for a program, and for a person. Raises LabError, naming the holder of a taken device."""
    from runner.cli.power import is_on
    from runner.farm.lease import Taken
    from runner.story.trial import at_hand

    request, purpose = device.request(output.say), f"device check {device.name}"
    held = at_hand(request, device.identity, purpose, wait=False, for_check=True, is_on=partial(is_on, device))
    try:
        with output.waiting(f"{device.name} to answer"):
            async with held as (_, session, lease):
                with output.waiting(f"{device.name} to be looked at"):
                    looked = await _looked(output, device, session, lease)
                return _concluded(device, lease, looked, accept)
    except Taken as error:
        do = f"wait until that has ended; to look: runner device power {device.name}"
        raise LabError(error.complaints[0].found, expected="a free device", do=do) from error


@dataclass(frozen=True)
class Looked:
    """What was seen of a device."""

    taken_back: list[str]  # of a dead run's
    compared: str  # with what: a key of _COMPARED
    ours: list[str]  # that stays of a fault of ours
    otherwise: list[str]  # that is not as it was, or is somebody else's

    @property
    def found(self) -> list[str]:
        """Everything that is wrong, a sentence each."""
        return [*self.ours, *self.otherwise]


async def _looked(output: Output, device: KnownDevice, session: Session, lease: Lease) -> Looked:
    from runner.farm import health
    from runner.story.ground import Ground, under_way

    ground = Ground(device.name, device.identity, session, lease.leases, "a check", output.say, scarce=under_way(session.hello))
    taken_back, stays = await ground.revert()
    strays = await ground.clear_strays()
    taken_back += strays.removed
    left = [f"a fault could not be taken back, its guard still sees: {each}" for each in stays]
    left += [f"left by a fault of ours: {each}" for each in strays.left]
    now = strays.without(await ground.fingerprint())
    expected = lease.leases.expected(device.identity)
    if expected is not None and expected[0] == now["boot_id"]:
        return Looked(taken_back, "fingerprint", left, health.differences(strays.without(health.read(expected[1])), now))
    quarantine = lease.leases.quarantined(device.identity)
    otherwise = health.still(quarantine.differences if quarantine else (), now)
    otherwise += health.foreign(now, device.data_link.interface) if device.data_link else []
    return Looked(taken_back, "another boot" if expected else "nothing", [*left, *health.left_of_ours(now)], otherwise)


_COMPARED = {
    "fingerprint": "it is as it was before its last fault",
    "another boot": "it was started since its last fault; nothing of ours is left on it",
    "nothing": "no fault is outstanding; nothing of ours is left on it",
}


def _concluded(device: KnownDevice, lease: Lease, looked: Looked, accept: bool) -> tuple[dict[str, Any], str]:
    """Lifts the quarantine, or says why not; a device of which more is known to be wrong than that somebody else is there, too, is
    quarantined from here on."""
    leases, found, compared, taken_back = lease.leases, looked.found, looked.compared, looked.taken_back
    before = leases.quarantined(device.identity)
    if not found or accept:
        leases.absolve(device.identity)
    elif before or looked.ours or compared == "fingerprint":
        leases.quarantine(device.identity, "", found)
    after = leases.quarantined(device.identity)
    value = {
        "passed": not found, "accepted": accept and bool(found), "found": found, "compared": compared, "taken_back": taken_back,
        "was_quarantined": shown(before), "quarantine": shown(after),
    }  # fmt: skip
    lifted = "\nit may be lent again" if before and not after else ""
    said = [f"taken back: {each}, left by a run that did not come to its end" for each in taken_back]
    if not found:
        said.append(f"{device.name}: {_COMPARED[compared]}{lifted}")
    elif accept:
        said += [f"{device.name}: accepted as it is now, by your word", *(f"  {each}" for each in found)]
    else:
        verdict = "quarantined" if after else "not as it should be"
        said += [f"{device.name}: {verdict}", *(f"  {each}" for each in found), f"  do: {_mending(device)}"]
    return value, "\n".join(said)


def _mending(device: KnownDevice) -> str:
    """How one gets at a device that is not as it should be: a check leaves one that was off switched off again."""
    on = "" if device.is_this_machine else f"runner device power {device.name} on, "
    return f"look at it ({on}{device.shell}), put it right, check again; or take it as it is: runner device check {device.name} --accept"
