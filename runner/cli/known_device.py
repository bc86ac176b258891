"""One device of the inventory, found by name: what it is, where its things lie, and how its makers are asked for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.cli.output import Output

if TYPE_CHECKING:
    from runner.errors import Complaint
    from runner.model.device import DataLink, DeviceLine, DeviceType
    from runner.target.drivers import Request


@dataclass(frozen=True)
class KnownDevice:
    name: str
    line: DeviceLine
    type: DeviceType
    unusable: tuple[Complaint, ...] = ()  # why it can only be looked at in the lab's files

    @property
    def identity(self) -> str:
        """What a lease of it is keyed by: the same as a plan's."""
        return self.line.identity(self.name)

    @property
    def emulated(self) -> bool:
        return self.type.power == "qemu"

    @property
    def is_this_machine(self) -> bool:
        return self.type.transport == "local"

    @property
    def networked(self) -> bool:
        """Whether it is known to have an SSH server somewhere: an emulated board that has NICs, a device that says its name."""
        if not self.emulated:
            return bool(self.line.host)
        from runner.target.power.qemu import spec_of

        return spec_of(self.line.type, self.type).networked

    @property
    def over_serial(self) -> bool:
        """Whether its runs go over a serial line: its own port, or an emulated board's tty."""
        return self.type.transport == "serial"

    @property
    def transports(self) -> tuple[str, ...]:
        """The ways to it: its type's own, and SSH beside a serial line where it has that."""
        return (self.type.transport, "ssh") if self.over_serial and self.networked else (self.type.transport,)

    @property
    def shell(self) -> str:
        """What is typed to be on it: over a serial line alone one command at a time."""
        return f"runner device shell {self.name}" + (" -- COMMAND" if self.over_serial and not self.networked else "")

    def over(self, transport: str) -> KnownDevice:
        """The same device, reached over another of its `transports`: its lease, its power and its home are what they are."""
        return replace(self, type=self.type.model_copy(update={"transport": transport}))

    @property
    def data_link(self) -> DataLink | None:
        """Where link faults act on it: its line's own, else its type's."""
        return self.line.data_link or self.type.data_link

    @property
    def folder(self) -> Path:
        """Its things in this user's state: disk, keys, logs. It may not be there yet."""
        from runner.lab.where import state_root

        return state_root() / ("boards" if self.emulated else "local") / self.name

    @property
    def console_log(self) -> Path:
        """What it said on its console, where it is over a serial line what was heard there. It may not be there yet."""
        from runner.lab.where import state_root
        from runner.target.serial.console_log import console_path

        return console_path(state_root(), self.name) if self.over_serial else self.folder / "console.log"

    def request(self, say: Callable[[str], None], **more: Any) -> Request:
        """What the makers of `target/drivers.py` want to know."""
        from runner.clock import SystemClock
        from runner.lab.where import cache_root, state_root
        from runner.target.drivers import Request

        return Request(self.name, self.line, self.type, state_root(), cache_root(), self.folder / "witness", SystemClock(), say, **more)

    async def board_facts(self) -> dict[str, Any] | None:
        """What the keeper of an emulated board says, its `port` while it is on; None when there is no keeper: the board is off."""
        from runner.target.emulation.board import KeeperGone
        from runner.target.power.qemu import make

        power, _ = await make(self.request(lambda text: None))
        try:
            return await power.facts()
        except KeeperGone:
            return None


def known_device(output: Output, name: str, *, quiet: bool = False, for_use: bool = True) -> KnownDevice:
    """The device that is called `name` in the lab at hand. Raises AskError, with the nearest name, for one that is not, and `for_use`
    also for one that cannot be used."""
    from runner.lab.load import Reader
    from runner.story.plan import Asked, find_device
    from runner.target.drivers import lacking

    reader = Reader(output.lab(quiet=quiet))
    found = find_device(Asked(entry="", device=name), reader, where="", for_use=for_use)
    reader.finish()
    assert found
    return KnownDevice(name, *found, tuple(lacking(reader, name, *found)))


def device_names(output: Output) -> list[str]:
    """The devices of the inventory of the lab at hand. Raises AskError where it is none."""
    from runner.lab.load import Reader

    reader = Reader(output.lab(quiet=True))
    inventory = reader.inventory()
    reader.finish()
    assert inventory
    return list(inventory[0].devices)
