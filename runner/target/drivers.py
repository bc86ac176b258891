"""Which code makes which kind of device live: two literal tables, imported only when used.

A power maker takes a Request and gives the power and the supervisor's home; a transport maker takes both the
Request and that power, because an emulated board learns its address only by being switched on. The rest of
the product knows no driver by name. Outsiders add theirs through the entry point groups
`stageflow_runner.power` and `stageflow_runner.transports`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.clock import Clock
from runner.errors import AskError, Complaint
from runner.target.holding import Alone, Holding

if TYPE_CHECKING:
    from runner.lab.load import Reader
    from runner.lab.yaml_source import Source
    from runner.model.device import DeviceLine, DeviceType
    from runner.target.target import Target

POWER: dict[str, str] = {
    "process": "runner.target.power.process:make",
    "qemu": "runner.target.power.qemu:make",
}
TRANSPORTS: dict[str, str] = {
    "local": "runner.target.transports.local:make",
    "serial": "runner.target.transports.serial:make",
    "ssh": "runner.target.transports.ssh:make",
}


@dataclass(frozen=True)
class Request:
    """What a maker is given."""

    name: str
    line: DeviceLine
    type: DeviceType
    state: Path  # this user's state folder
    cache: Path
    witness: Path  # where witness lines go when the device can write to this machine's disk
    clock: Clock
    say: Callable[[str], None]
    holding: Holding = field(default_factory=Alone)  # the lease under which the device is used
    lasting: str = ""  # for a transport: the folder on the device that outlives a cut, by its power's word


async def make_target(request: Request) -> Target:
    """The live target for an inventory line, not yet powered. Raises AskError for an unknown driver, or LabError."""
    from runner.target.power.fenced import Fenced
    from runner.target.target import Target

    power, home = await _maker(POWER, "power", request.type.power)(request)
    if power.loss != request.type.loss:  # a crash must never be sold as a power loss, not even by mistake
        raise AskError(
            f"device type {request.line.type!r} says that a cut is a {request.type.loss}; its power driver makes a {power.loss}",
            expected=f"loss: {power.loss}",
            where=f"devices/{request.line.type}.yaml",
        )
    transport = _maker(TRANSPORTS, "transports", request.type.transport)(replace(request, lasting=home.state), power)
    return Target(request.name, request.type, transport, Fenced(power, request.holding), home, request.clock, request.holding)


def known(kind: str) -> list[str]:
    """Names of every driver of a kind ("power" or "transports"), ours and outsiders'."""
    table = POWER if kind == "power" else TRANSPORTS
    return sorted({*table, *(point.name for point in entry_points(group=f"stageflow_runner.{kind}"))})


def known_line(reader: Reader, source: Source, name: str, line: DeviceLine) -> DeviceType | None:
    """The type of the inventory's line `name`, or None; what is wrong with either, an address that nobody would ever go to among it,
    is noted in `reader`. A driver that nobody has is no mistake of theirs: see `lacking`."""
    found = reader.device_type(line.type, source.where(("devices", name, "type")))
    if found and found.transport == "local" and line.address:
        do = "take it out, or a type with another transport"
        where = source.where(("devices", name, "address"))
        reader.complain(f"{name} has an address, and its type {line.type!r} is this machine", "no address", where, do)
    if line.network and not line.over_serial:
        do = "say it as `address`" if not line.address else "take it out"
        where = source.where(("devices", name, "network"))
        reader.complain(f"{name} has a `network` and no serial line", "a `network` beside an `address: serial:///…` alone", where, do)
    return found


def lacking(reader: Reader, name: str, line: DeviceLine, found: DeviceType) -> list[Complaint]:
    """Why the device `name` cannot be used: each driver of its type that nobody has. It keeps no other device from being used.
    No driver is imported."""
    from runner.lab.yaml_source import nearest, one_of

    said = []
    for kind, key, driver in (("power", "power", found.power), ("transports", "transport", found.transport)):
        if driver not in known(kind):
            wrong = f"{name} cannot be used: no {key} driver is called {driver!r}{nearest(driver, known(kind))}"
            named = reader.inventory_source().where(("devices", name, "type"))
            do = f"{named} names that type: take another one, or add such a driver (CONTRIBUTING.md)"
            said.append(Complaint(wrong, one_of(known(kind)), reader.device_source(line.type).where((key,)), do))
    return said


def ours(found: DeviceType) -> bool:
    """Whether both drivers of a type are of this package: those of others may be gone tomorrow, and no file of the lab says so."""
    return found.power in POWER and found.transport in TRANSPORTS


def _maker(table: dict[str, str], kind: str, name: str) -> Any:
    place = table.get(name)
    for point in entry_points(group=f"stageflow_runner.{kind}"):
        if point.name == name:
            place = place or point.value
    if place is None:
        raise AskError(f"no {kind.removesuffix('s')} driver is called {name!r}", expected="one of " + ", ".join(known(kind)))
    module, _, function = place.partition(":")
    return getattr(import_module(module), function)
