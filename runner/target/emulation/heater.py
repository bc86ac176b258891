"""Heat over a board: its processor threads get what the model's clock leaves of a core, and its sensors say what the model says.

    keeper ── every tick ──► loop (runner/ondevice/heater.py) ──► quota of each processor thread      the board really is slower
                               │                             └──► sensors.sock ──► virtio port        what it reads of itself
                               └──► heat.jsonl                                                        the evidence

It ends when it is told to, when nobody renewed it, at its cap, and with the keeper. What a killed keeper left are empty groups:
QEMU dies with its keeper, and the next keeper, whichever board's, takes them away.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from runner.errors import LabError
from runner.ondevice.heater import TICK_S, Loop, Threads
from runner.ondevice.journal import boottime_ns
from runner.ondevice.quota import Groups, Hierarchy, Impossible, find
from runner.ondevice.told import ASKED

HEAT, SENSORS = "heat.jsonl", "sensors.sock"
LOG_LIMIT_BYTES = 64 << 20  # a longer file is put aside when a heat begins


class Heater:
    """The heat of one board, or none. `threads` says which threads are its processors; None while it has no power."""

    def __init__(self, threads: Callable[[], Awaitable[Threads | None]], say: Callable[[str], None]) -> None:
        self._threads, self._say = threads, say
        self._loop: Loop | None = None
        self._task: asyncio.Task[None] | None = None
        self._one_end = asyncio.Lock()
        self._sensors = SensorPort()
        self._ended = ""  # why the last heat did
        self._left: list[str] = []
        self._hierarchy: Hierarchy | None = None

    @property
    def on(self) -> bool:
        return self._loop is not None

    async def begin(self, told: dict[str, Any]) -> dict[str, Any]:
        """The heat comes on, in place of another one. Raises LabError where this host cannot slow a board down; nothing is slower then."""
        await self.end("another heat was told")
        try:
            self._hierarchy = self._hierarchy or find()
        except (Impossible, OSError) as error:
            expected = "control groups for CPU time, of either version, in which groups may be made"
            raise LabError(f"no board can be slowed down on this host: {error}", expected=expected, do="run it as root") from None
        path = Path(HEAT)
        if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
            path.replace(path.with_name(f"{HEAT}.old"))
        try:
            self._loop = Loop(told, Groups(self._hierarchy), _write, boottime_ns())
        except ValueError as error:
            raise LabError(str(error), expected="a heat as runner/ondevice/told.py reads it") from None
        self._ended = ""
        await self._tick(self._loop)  # a board that cannot be slowed down is known now
        if self._loop is None:
            raise LabError(f"this board cannot be slowed down: {self._ended}", expected="a control group for each of its processors")
        self._task = asyncio.create_task(self._go_on(self._loop))
        self._say(f"heat: version {self._hierarchy.version} of control groups, in {self._hierarchy.folder}")
        return self.facts()

    def warm(self) -> dict[str, Any]:
        """The time of a heat that waits begins. Raises LabError where there is no heat."""
        if self._loop is None:
            raise LabError(f"there is no heat: {self._ended or 'none was told'}", expected="one that waits for its time to begin")
        self._loop.warm(boottime_ns())
        return self.facts()

    def renew(self) -> None:
        if self._loop is not None:
            self._loop.renew(boottime_ns())

    async def end(self, why: str = ASKED) -> list[str]:
        """No thread is limited any more when this returns, or it says which groups are left. Never raises."""
        async with self._one_end:
            loop = self._loop
            if loop is not None:
                self._left = await asyncio.to_thread(_end, loop, why)
                self._loop, self._ended = None, why
                self._sensors.close()
                self._say(f"heat ends: {why}" + (f"; left: {', '.join(self._left)}" if self._left else ""))
            self._left = [path for path in self._left if Path(path).is_dir()]  # somebody may have removed it meanwhile, as was asked
            return self._left

    def facts(self) -> dict[str, Any]:
        """Whether there is heat, what is known of it, and which of our groups are there."""
        loop, hierarchy = self._loop, self._hierarchy
        found: dict[str, Any] = {"groups": Groups(hierarchy).folders if hierarchy else []}
        if hierarchy:
            found |= {"cgroup_version": hierarchy.version, "cgroup_folder": hierarchy.folder}
        if loop:
            more = {"pace": loop.told.pace, "warm": loop.line.get("on", False), "held_s": round(loop.held_s, 3), "cores": loop.cores}
            found |= {**loop.line, **more}
        return {**found, "on": self.on, "ended": self._ended}

    async def _go_on(self, loop: Loop) -> None:
        while self._loop is loop:
            await asyncio.sleep(TICK_S)
            why = loop.over(boottime_ns())
            if why and self._loop is loop:
                await self.end(why)
            elif self._loop is loop:
                await self._tick(loop)

    async def _tick(self, loop: Loop) -> None:
        """One step; a board that cannot be slowed down any more ends its heat, because what it says would not be so."""
        try:
            threads = await self._threads()
            if self._loop is not loop or self._one_end.locked():  # it has ended, or does at this moment: nobody is taken in any more
                return
            line = loop.tick(boottime_ns(), threads)
        except ProcessLookupError:
            return  # it lost its power just now
        except (OSError, LabError) as error:
            await self.end(f"a failure: {error}")
            return
        if line["powered"]:
            self._sensors.send({name: line[name] for name in ("die_c", "mhz", "flags", "boottime_ns")})
        else:
            self._sensors.close()


class SensorPort:
    """The host's end of the port that the board's sensors are read from. A board that does not listen misses what was said."""

    def __init__(self, path: str = SENSORS) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def send(self, said: dict[str, Any]) -> None:
        """One line, if it can be taken at once. Never waits, and never raises."""
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX)
                self._socket.setblocking(False)
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # what waits here is old when it is read
                self._socket.connect(self._path)
            self._socket.send(json.dumps(said).encode() + b"\n")
        except BlockingIOError:
            pass
        except OSError:  # another machine, or none
            self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _end(loop: Loop, why: str) -> list[str]:
    return loop.end(why, boottime_ns())


def _write(line: dict[str, Any]) -> None:
    with open(HEAT, "a") as file:
        file.write(json.dumps(line) + "\n")
