"""Traffic over a serial line, and its faults, at once and in real time: nothing hangs, nothing arrives wrong, and all comes back.

    one thread of work      open ─► run, stream, close … ─► LinkLost? close, open again    each with a limit of its own
    one of misfortune       noise · silence · another boot · the adapter pulled and put back · a kernel that talks · values eaten

The far end is a login shell of this machine behind the line simulator, as tests/target/serial has it. A limit that a wait does not
keep is a hang, and ends it with what was waited for.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from runner.errors import LabError
from runner.target.line_simulator import LineSimulator, Noise
from runner.target.serial.port import Address
from runner.target.serial.reach import Reach
from runner.target.transports.base import LinkLost, Stream
from runner.target.transports.serial import SerialTransport

BAUD = 115_200
RUN_LIMIT_S = 60.0
OPEN_LIMIT_S = 200.0  # a login gives up after 180 s
SLACK_S = 15.0  # of a busy machine, beyond a limit
SILENT = Noise(drops=1 - 1e-9)
KERNEL = b"\r\n[   12.345678] usb 1-1: new high-speed device\r\n"
BOOT = b"\r\nU-Boot 2024.01\r\n[    0.000000] Linux version 6.1.0\r\n" + 40 * b"[    1.234567] a driver says something\r\n"


@dataclass
class Story:
    """What happened."""

    done: int = 0
    carried_bytes: int = 0  # that came back right
    wrong: int = 0
    opened: int = 0
    closed: int = 0  # commands that still talked
    lost: Counter[str] = field(default_factory=Counter)  # by its words
    faults: Counter[str] = field(default_factory=Counter)
    longest_s: float = 0.0  # of one wait
    hang: str = ""  # what was waited for in vain

    def __str__(self) -> str:
        lost = ", ".join(f"{count} × {why}" for why, count in self.lost.most_common())
        faults = ", ".join(f"{count} × {name}" for name, count in sorted(self.faults.items()))
        return (
            f"{self.done} commands, {self.carried_bytes / 1e6:.2f} MB there and back, {self.wrong} wrong, {self.opened} times opened, "
            f"{self.closed} closed while they talked, longest wait {self.longest_s:.0f} s\n"
            f"  faults: {faults}\n  lost: {lost or 'never'}\n  " + (self.hang or "nothing hung")
        )


class Hang(AssertionError):
    """A wait that did not keep its limit."""


class Bench:
    """A port that stays under one name, whatever is plugged in behind it."""

    def __init__(self, folder: Path, seed: int, environment: dict[str, str], baud: int = BAUD) -> None:
        self.chance, self.story, self.port = random.Random(seed), Story(), folder / "port"
        self._environment, self._baud, self._log = environment, baud, bytearray()
        self.line = self._plugged()

    def _plugged(self) -> LineSimulator:
        line = LineSimulator(["sh", "-i"], environment=self._environment, baud=self._baud)
        line.__enter__()
        self.port.unlink(missing_ok=True)
        self.port.symlink_to(line.path)
        return line

    def transport(self) -> SerialTransport:
        return SerialTransport(Reach("board", lambda: Address(str(self.port), BAUD), "", None, lambda text: None, lambda data: None))

    def unplug(self) -> None:
        self.line.__exit__(None, None, None)
        self.port.unlink(missing_ok=True)

    # ---- misfortune --------------------------------------------------------------------------------------------------

    async def misfortune(self, until: float, pause_s: float) -> None:
        """One fault after the other, each for a while; the line is good again afterwards, and at the end."""
        number = 0
        while time.monotonic() < until:
            await asyncio.sleep(self.chance.uniform(0.3, 1) * pause_s)
            fault = self.faults[number] if number < len(self.faults) else self.chance.choice(self.faults)
            self.story.faults[fault.__name__] += 1
            number += 1
            await fault()
            self.line.become(Noise(seed=number))

    @property
    def faults(self) -> list[Callable[[], Awaitable[None]]]:
        """In the order in which each is met once."""
        return [self.noise, self.silence, self.boot, self.pulled, self.eaten, self.chatter]

    async def noise(self) -> None:
        rate = 10 ** self.chance.uniform(-5, -2.5)
        self.line.become(Noise(self.chance.randrange(1 << 30), flips=rate, drops=rate / 2, inserts=rate / 2, repeats=0.01))
        await asyncio.sleep(self.chance.uniform(1, 8))

    async def silence(self) -> None:
        self.line.become(SILENT)
        await asyncio.sleep(self.chance.choice([1, 4, 45]) * self.silence_scale)

    async def boot(self) -> None:
        self.line.reboot(BOOT)

    async def pulled(self) -> None:
        self.unplug()
        await asyncio.sleep(self.chance.uniform(0.1, 2))
        self.line = self._plugged()

    async def eaten(self) -> None:
        self.line.become(Noise(1, changes={0xFF: b"", 0x03: b"", 0x0D: b"\n"}))
        await asyncio.sleep(self.chance.uniform(1, 4))

    async def chatter(self) -> None:
        """Between the packets, and into the next fault."""
        self.line.chat(KERNEL, self.chance.uniform(0.02, 0.5))
        await asyncio.sleep(self.chance.uniform(1, 8))
        self.line.chat(b"")

    silence_scale = 1.0

    # ---- work --------------------------------------------------------------------------------------------------------

    async def work(self, until: float) -> None:
        """Commands until then; after each loss a new conversation. The last one is over a good line, and must be done."""
        transport = self.transport()
        try:
            while True:
                last = time.monotonic() >= until
                try:
                    self.story.opened += transport._talk is None or bool(transport._talk.lost)
                    await self._kept("to be reached", OPEN_LIMIT_S, transport.open())
                    await self._one(transport)
                    if last:
                        return
                except LabError as error:
                    self.story.lost[_kind(error)] += 1
                    await self._kept("to let go", 10, transport.close())
                    await asyncio.sleep(0.3)
                    if time.monotonic() > until + OPEN_LIMIT_S:
                        raise Hang(f"the device was not reached again: {error}") from error
        finally:
            await transport.close()

    async def _one(self, transport: SerialTransport) -> None:
        data = self.chance.randbytes(self.chance.choice([0, 1, 100, 5_000, 40_000]))
        kind = self.chance.randrange(4)
        if kind == 0:
            done = await self._kept("a command", RUN_LIMIT_S, transport.run(["cat"], input=data, timeout_s=RUN_LIMIT_S))
            back = done.stdout
        elif kind == 1:
            two = asyncio.gather(*(transport.run(["cat"], input=data, timeout_s=RUN_LIMIT_S) for _ in range(2)))
            one, back = (done.stdout for done in await self._kept("two commands at once", RUN_LIMIT_S, two))
            self.story.wrong += one != data
        elif kind == 2:
            back = await self._kept("a stream", RUN_LIMIT_S, _there_and_back(transport, data))
        else:
            await self._kept("a command that talks to be closed", RUN_LIMIT_S, _closed_while_it_talks(transport))
            self.story.closed += 1
            done = await self._kept("the command behind it", RUN_LIMIT_S, transport.run(["cat"], input=data, timeout_s=RUN_LIMIT_S))
            back = done.stdout
        self.story.wrong += back != data
        self.story.done += 1
        self.story.carried_bytes += len(data)

    async def _kept(self, what: str, limit_s: float, work: Awaitable[object]) -> object:
        """`work`, which ends by itself, one way or the other, within the limit that it has. Raises Hang."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(limit_s + SLACK_S):
                return await work
        except TimeoutError:
            raise Hang(f"waited more than {limit_s + SLACK_S:g} s for {what}") from None
        finally:
            self.story.longest_s = max(self.story.longest_s, time.monotonic() - began)


async def _there_and_back(transport: SerialTransport, data: bytes) -> bytes:
    """Over a stream, as a session uses it: what is missing in the end is waited for no longer than a command."""
    stream = await transport.stream(["cat"])
    try:
        async with asyncio.timeout(RUN_LIMIT_S):
            _, back = await asyncio.gather(stream.write(data), _all_of(stream, len(data)))
            return back
    except TimeoutError:
        raise LinkLost("the stream did not give everything back in time") from None
    finally:
        await stream.close()


async def _closed_while_it_talks(transport: SerialTransport) -> None:
    stream = await transport.stream(["cat", "/dev/urandom"])
    try:
        await stream.read()
    finally:
        await stream.close()


async def _all_of(stream: Stream, count: int) -> bytes:
    back = b""
    while len(back) < count and (piece := await stream.read()):
        back += piece
    return back


def _kind(error: LabError) -> str:
    """Its words without the figures and names of this one."""
    text = str(error).splitlines()[0].partition(";")[0]
    return "".join("#" if c.isdigit() else c for c in text)[:90]


def hours(folder: Path, duration_s: float, seed: int, *, pause_s: float = 20.0, baud: int = BAUD) -> Story:
    """So much real time of it. A hang is in the story, and ends it."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PS1": "# "}
    bench = Bench(folder, seed, environment, baud)

    async def life() -> None:
        until = time.monotonic() + duration_s
        misfortune = asyncio.ensure_future(bench.misfortune(until, pause_s))
        try:
            await bench.work(until)
        except Hang as hang:
            bench.story.hang = str(hang)
        finally:
            misfortune.cancel()
            await asyncio.gather(misfortune, return_exceptions=True)

    try:
        asyncio.run(life())
    finally:
        bench.unplug()
    return bench.story
