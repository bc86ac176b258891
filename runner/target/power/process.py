"""Power for the `local` device: the supervisor's process group stands for the board.

A cut is SIGKILL to all of it. The kernel and its page cache live on, so unflushed writes survive: this is a
process crash, never a power cut, and `loss` says so.

Its socket lies in the temp folder, where names must be short and others write, too: `on` makes the socket's folder, or
refuses one that a stranger made before us.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from runner.clock import Clock
from runner.errors import LabError
from runner.lab.private import private_folder
from runner.model.device import Loss
from runner.target.drivers import Request
from runner.target.growing import GrowingFile
from runner.target.storage import Storage
from runner.target.target import FileWitness, Home
from runner.target.transports.local import environment

STARTING_LIMIT_S = 5.0
SOCKET_NAME_BYTES = 100  # a socket's name may have 103 to 107, by the system


async def make(request: Request) -> tuple[ProcessPower, Home]:
    """The local device's power, and its home: a folder in this user's state, and a socket with a short name."""
    state = private_folder(request.state, "local", request.name)
    short = hashlib.sha256(str(state).encode()).hexdigest()[:12]
    places = [Path(place) / f"runner-{os.getuid()}-{short}" / "supervisor" for place in (tempfile.gettempdir(), "/tmp")]  # noqa: S108 - made private
    socket = next((place for place in places if len(os.fsencode(place)) <= SOCKET_NAME_BYTES), places[-1])
    request.witness.touch()
    witness = FileWitness(str(request.witness), GrowingFile(request.witness))
    return ProcessPower(state, socket, request.clock), Home(sys.executable, str(state), str(socket), witness)


class ProcessPower:
    loss: Loss = "process_crash"

    def __init__(self, state: Path, socket: Path, clock: Clock) -> None:
        self._state, self._socket, self._clock = state, socket, clock

    async def on(self) -> None:
        """Runs the `at-boot` hook, as a board would. A hook that fails leaves a device that is on and does not answer."""
        private_folder(self._socket.parent)
        hook = self._state / "at-boot"
        if hook.exists() and self._running() is None:
            nothing = asyncio.subprocess.DEVNULL
            process = await asyncio.create_subprocess_exec(
                str(hook), stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True, env=environment()
            )
            try:
                await process.wait()
            except asyncio.CancelledError:  # what it may have started by now holds the lock, and `off` finds it
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise

    async def cut(self) -> dict[str, Any]:
        pid = self._running()
        if pid is None:
            raise LabError("no supervisor is running that could be cut off", where=str(self._state))
        at = self._clock.boottime_ns()
        os.killpg(pid, signal.SIGKILL)
        await self._wait_until_gone()
        return {"method": "SIGKILL to the supervisor's process group", "killed_pid": pid, "cut_boottime_ns": at}

    async def off(self) -> None:
        pid = self._running()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            await self._wait_until_gone()
        shutil.rmtree(self._socket.parent, ignore_errors=True)

    async def waited_s(self) -> None:
        return None

    async def renew(self, duration_s: float) -> None:
        return None

    async def keep_on(self, duration_s: float) -> None:
        return None

    async def disk(self) -> dict[str, Any]:
        return {}

    async def facts(self) -> dict[str, Any]:
        return {"power": "process group of the supervisor", "state": "this machine's own file system"}

    def storage(self) -> Storage:
        return Storage(self._state, extents=False)

    def endpoint(self) -> None:
        return None

    def evidence(self) -> dict[str, GrowingFile]:
        return {"supervisor.log": GrowingFile(self._state / "supervisor.log")}

    def _running(self) -> int | None:
        """The pid that holds the supervisor's lock. A free lock means that there is none, whatever the file says."""
        deadline = time.monotonic() + STARTING_LIMIT_S
        while time.monotonic() < deadline:
            try:
                with open(self._state / "supervisor.lock", "rb") as lock:
                    try:
                        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                        return None
                    except BlockingIOError:
                        said = lock.read().split()
            except FileNotFoundError:
                return None
            if said:
                return int(said[0])
            time.sleep(0.005)  # it has the lock and is about to say who it is
        return None

    async def _wait_until_gone(self) -> None:
        deadline = self._clock.boottime_ns() + 10_000_000_000
        while self._running() is not None:
            if self._clock.boottime_ns() > deadline:
                raise LabError("the supervisor survived SIGKILL for 10 s", where=str(self._state))
            await self._clock.sleep(0.01)
