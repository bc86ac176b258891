"""A coordinator that is there to be killed: a process of its own with a session to the board, which arms, begins and renews.

    python -m tests.matrix.coordinator        first line: which board; then one JSON line for each order, and one for each answer

It renews by itself every RENEW_EVERY_S as long as it may. It ends when its input does, so nobody has to clean up behind whoever was
killed before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from runner.clock import SystemClock
from runner.errors import LabError, RunnerError
from runner.model.device import DeviceType
from runner.target.growing import GrowingFile
from runner.target.power.qemu import PYTHON, SOCKET, STATE, WITNESS
from runner.target.session import Session
from runner.target.target import FileWitness, Home, Target
from runner.target.transports.base import Endpoint
from runner.target.transports.ssh import SshTransport

RENEW_EVERY_S = 1.0


class OnAlready:
    """The power of a board that somebody else switches."""

    loss = "power_loss"

    async def on(self) -> None:
        return None


class Coordinator:
    """Orders are the methods named `do_*`."""

    def __init__(self, said: dict[str, Any]) -> None:
        self._type = DeviceType.model_validate(said["type"])
        self._archive = Path(said["archive"]).read_bytes()
        self._witness = Path(said["witness"])
        self._target: Target | None = None
        self._session: Session | None = None
        self._renewing = False

    async def do_connect(self, endpoint: dict[str, Any]) -> dict[str, Any]:
        """Attached to the supervisor, which is installed and started where it is not."""
        await self.do_cut()
        found = Endpoint(**{**endpoint, "client_key": Path(endpoint["client_key"])})
        home = Home(PYTHON, STATE, SOCKET, FileWitness(WITNESS, GrowingFile(self._witness)))
        transport, power = SshTransport(lambda: found), OnAlready()
        self._target = Target("qemu-pi", self._type, transport, power, home, SystemClock(), supervisor=self._archive)  # type: ignore[arg-type]
        self._session = await self._target.bring_up(lambda text: None)
        hello = {key: self._session.hello[key] for key in ("boot_id", "wall_ns", "boottime_ns")}
        return {**hello, "capabilities": self._session.hello.get("capabilities"), "tree": str(Path(self._target._script).parent)}

    async def do_arm(self, **words: Any) -> dict[str, Any]:
        answer = await self._ask("arm", **words)
        self._renewing = True
        return answer

    async def do_prepare_scarcity(self, run: str, scarcity: dict[str, Any]) -> dict[str, Any]:
        return await self._ask("prepare_scarcity", run=run, execution="matrix", scarcity=scarcity)

    async def do_start_program(self, name: str) -> dict[str, Any]:
        return await self._ask("start_program", name=name)

    async def do_revert(self) -> dict[str, Any]:
        return await self._ask("revert", name="")

    async def do_programs(self) -> dict[str, Any]:
        return await self._ask("programs")

    async def do_forget(self, run: str) -> dict[str, Any]:
        return await self._ask("forget", run=run)

    async def do_renew(self) -> dict[str, Any]:
        return await self._ask("renew")

    async def do_let_go(self) -> dict[str, Any]:
        """Still there, and silent."""
        self._renewing = False
        return {}

    async def do_cut(self) -> dict[str, Any]:
        """The connection is gone, without a word to the other side."""
        self._renewing = False
        session, target, self._session, self._target = self._session, self._target, None, None
        if target is not None:
            await target.transport.close()
        if session is not None:
            await session.close()
        return {}

    async def _ask(self, do: str, **words: Any) -> dict[str, Any]:
        if self._session is None:
            raise LabError("not connected")
        return await self._session.ask(do, timeout_s=120, **words)

    async def renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            if self._renewing:
                with contextlib.suppress(RunnerError):
                    await self._ask("renew")


async def main() -> None:
    reader = asyncio.StreamReader(limit=64 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    coordinator = Coordinator(json.loads(await reader.readline()))
    tasks = {asyncio.ensure_future(coordinator.renew_for_ever())}

    async def answer(order: dict[str, Any]) -> None:
        number, do = order.pop("id"), order.pop("do")
        try:
            said = {"id": number, "ok": await getattr(coordinator, f"do_{do}")(**order)}
        except Exception as error:
            said = {"id": number, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), flush=True)

    while line := await reader.readline():
        tasks.add(asyncio.ensure_future(answer(json.loads(line))))
    for task in tasks:
        task.cancel()
    await coordinator.do_cut()


if __name__ == "__main__":
    asyncio.run(main())
