"""A target: a device made live. Transport (how to talk), power (how to act from outside), witness (who saw it).

    bring_up ─► session ─► … ─► cut ─► recover ─► session ─► … ─► shut_down

    look ─┬─ its supervisor runs ──► hello, the device taken ───────────────────► session     one process on the device
          └─ else ─► install it ─► start it, the device taken ─► attach, hello ─► session     up to five

The supervisor is installed here: one zip named by its hash. Started once, it leaves an `at-boot` hook, so that after a
cut the device starts working by itself, before anyone connects.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from runner.clock import Clock
from runner.errors import LabError
from runner.model.device import DeviceType, Loss
from runner.ondevice.claim import NOT_YOURS
from runner.target.bundle import sha256, supervisor_zip
from runner.target.growing import GrowingFile
from runner.target.holding import Alone, Holding
from runner.target.power.base import Power
from runner.target.preflight import busy, look_and_join
from runner.target.rate import duration_s, duration_words, rate_of, size_words
from runner.target.session import NotOurs, RemoteError, Session
from runner.target.transports.base import LinkLost, LinkRefused, Transport, words

RETRY_INTERVAL_S = 0.2
ATTACH_LIMIT_S = 20.0
INSTALL_LIMIT_S = 60.0  # of one file, beside what the line takes
INSTALL = """
import hashlib, os, sys
path, mode = sys.argv[1], int(sys.argv[2], 8)
data = sys.stdin.buffer.read()
if len(sys.argv) > 3 and hashlib.sha256(data).hexdigest() != sys.argv[3]:
    sys.exit("the bytes that arrived have another hash")
os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
os.write(fd, data) == len(data) or sys.exit("short write")
os.fchmod(fd, mode)
os.fsync(fd)
os.rename(path + ".new", path)
folder = os.open(os.path.dirname(path), os.O_RDONLY)
os.fsync(folder)
"""


class Witness(Protocol):
    """Where stages announce themselves, outside of the device's own disks."""

    @property
    def path_on_device(self) -> str: ...

    @property
    def file(self) -> GrowingFile:
        """The file on this machine in which the lines arrive."""

    def lines(self) -> bytes:
        """Everything announced since this target was made."""


@dataclass(frozen=True)
class FileWitness:
    """A file on this machine that the device (or QEMU, for it) appends to."""

    path_on_device: str
    file: GrowingFile

    def lines(self) -> bytes:
        return self.file.new_bytes()


@dataclass(frozen=True)
class Home:
    """Where the supervisor lives on the device; everything that must survive a cut lies below `state`."""

    python: str
    state: str
    socket: str
    witness: Witness


@dataclass
class Target:
    name: str
    type: DeviceType
    transport: Transport
    power: Power
    home: Home
    clock: Clock
    holding: Holding = field(default_factory=Alone)
    supervisor: bytes = field(default_factory=functools.cache(supervisor_zip))
    installed_bytes: int = 0  # of a supervisor that had to be sent

    @property
    def loss(self) -> Loss:
        return self.power.loss

    @property
    def _script(self) -> str:
        """The installed supervisor: unpacked from the zip of this hash, and compiled, on the device."""
        return f"{self.home.state}/trees/{sha256(self.supervisor)}/__main__.py"

    @property
    def _start(self) -> list[str]:
        return [self.home.python, self._script, "start", self.home.state, self.home.socket]

    async def bring_up(self, say: Callable[[str], None]) -> Session:
        """Power on, supervisor installed and running, session open. Raises LabError."""
        await self.power.on()
        await self._within(self.type.boot_limit_s, self.transport.open)
        found, stream = await look_and_join(self.transport, self.name, self.home.python, self.home.state, self._script, self.home.socket)
        if stream is not None:
            with contextlib.suppress(LinkLost, RemoteError, NotOurs):  # then the ordinary way says what is wrong
                return await Session.over(stream, self.clock, self.holding.claim, take=True, limit_s=ATTACH_LIMIT_S)
        if not found.installed:
            say(f"installing the supervisor{self.takes(self.supervisor)}")
            archive = f"{self.home.state}/{sha256(self.supervisor)}.zip"
            await self.install(archive, self.supervisor, 0o600)
            self.installed_bytes = len(self.supervisor)
            done = await self.transport.run([self.home.python, archive, "install", self.home.state, archive], timeout_s=90)
            if done.exit_status:
                raise LabError(f"the supervisor cannot be installed on {self.name}: {_tail(done.stderr)}")
        await self.start()

        async def attach() -> Session:
            try:
                return await self._attach()
            except LinkLost:  # what it had at hand may have ended it meanwhile
                await self.start()
                raise

        session: Session = await self._within(ATTACH_LIMIT_S, attach)
        return session

    async def start(self) -> None:
        """The device taken for us, and its supervisor running. Raises NotOurs when somebody else holds it; nothing has changed then."""
        done = await self.transport.run([*self._start, json.dumps(self.holding.claim)], timeout_s=90)
        if done.exit_status == NOT_YOURS:
            raise NotOurs(f"{self.name} is not to be had: {_tail(done.stderr)}", do="wait for that holder, or choose another device")
        if done.exit_status:
            raise LabError(
                f"the supervisor does not start on {self.name}: {_tail(done.stderr)}", do=f"read {self.home.state}/supervisor.log"
            )

    async def recover(self, limit_s: float, *, by_itself: bool = True) -> Session:
        """After a cut: power on and wait for the supervisor, which the device starts `by_itself`, or else we do.

        Raises LinkLost when it has not answered within `limit_s`: a result of the run, not an error of the lab.
        """
        await self.transport.close()
        await self.power.on()

        async def once() -> Session:
            await self.transport.open()
            try:
                if not by_itself:
                    await self.start()
                return await self._attach()
            except LabError:
                await self.transport.close()
                raise

        session: Session = await self._within(limit_s, once)
        return session

    async def install(self, path: str, data: bytes, mode: int) -> None:
        """A whole file on the device, durable when this returns. Raises LabError."""
        limit_s = INSTALL_LIMIT_S + 2 * duration_s(self.transport, [data])
        argv = [self.home.python, "-c", INSTALL, path, oct(mode), sha256(data)]
        done = await self.transport.run(argv, input=data, timeout_s=limit_s)
        if done.exit_status:
            raise LabError(f"{path} cannot be written on {self.name}: {_tail(done.stderr)}")

    def takes(self, data: bytes) -> str:
        """Behind what is to be sent: its size and its time, where the transport is slow enough for that to matter."""
        rate = rate_of(self.transport)
        return f": {size_words(len(data))}, about {duration_words(duration_s(self.transport, [data]))} at {rate.words}" if rate else ""

    async def shut_down(self) -> None:
        """Nothing of ours runs afterwards, here or on the device; what it stored stays, for all of it was flushed."""
        await self.transport.close()
        await self.power.off()

    async def _attach(self) -> Session:
        argv = [self.home.python, self._script, "attach", self.home.socket]
        return await Session.open(self.transport, argv, self.clock, self.holding.claim)

    async def _within(self, limit_s: float, attempt: Callable[[], Any]) -> Any:
        deadline = self.clock.boottime_ns() + int(limit_s * 1e9)
        while True:
            try:
                return await attempt()
            except LinkRefused:
                raise
            except LabError as error:
                if self.clock.boottime_ns() > deadline:
                    raise LinkLost(f"{self.name} did not answer within {limit_s:g} s: {error}", do=busy(self.name)) from error
            await self.clock.sleep(RETRY_INTERVAL_S)


def _tail(text: bytes) -> str:
    """The last line that a device printed, as words of a sentence."""
    return words((text[-2000:].strip().splitlines() or [b"(it said nothing)"])[-1])
