"""Power for an emulated board: its keeper freezes the machine, kills the disk server, kills the machine.

The data disk lies behind a volatile write cache that dies with the disk server, so a cut is a real power loss:
what was not flushed is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from runner.errors import AskError
from runner.model.device import DeviceType, Loss
from runner.target.drivers import Request
from runner.target.emulation.board import Board
from runner.target.emulation.machine import MachineSpec
from runner.target.emulation.messages import DISK
from runner.target.growing import GrowingFile
from runner.target.storage import Storage
from runner.target.target import FileWitness, Home
from runner.target.transports.base import Endpoint

PYTHON, STATE, SOCKET, WITNESS = "/usr/bin/python3", "/data/runner", "/run/runner/supervisor", "/dev/witness"


def spec_of(name: str, type: DeviceType) -> MachineSpec:
    """Which computer QEMU makes of the type of that name. Raises AskError for one that has none."""
    emulation = type.emulation
    if emulation is None:
        raise AskError(f"device type {name!r} has no `emulation`", expected="machine, cpu, memory_mib …")
    return MachineSpec(
        arch=type.arch,
        machine=emulation.machine,
        cpu=emulation.cpu,
        cpus=emulation.cpus,
        memory_mib=emulation.memory_mib,
        accelerator="auto" if "kvm" in emulation.accelerators else "tcg",
        login=emulation.login,
    )


async def make(request: Request) -> tuple[QemuPower, Home]:
    """The board of this name, in this user's state folder; its keeper is started, its image built if need be."""
    spec, emulation = spec_of(request.line.type, request.type), request.type.emulation
    assert emulation
    folder = request.state / "boards" / request.name
    images, fence = request.cache / "images", request.holding.fence
    board = Board(request.name, folder, spec, images, disk_mib=emulation.data_disk_mib, fence=fence)
    home = Home(PYTHON, STATE, SOCKET, FileWitness(WITNESS, GrowingFile(board.witness)))
    return QemuPower(board, request.say), home


class QemuPower:
    loss: Loss = "power_loss"
    heats = True

    def __init__(self, board: Board, say: Callable[[str], None]) -> None:
        self._board, self._say = board, say
        self._endpoint: Endpoint | None = None
        self._started = False
        self._evidence = {
            name: GrowingFile(path)
            for name, path in (
                ("disk.log", board.disk_log),
                ("console.log", board.console),
                ("keeper.log", board.keeper_log),
                ("heat.jsonl", board.heat_log),
            )
        }

    async def on(self) -> None:
        if not self._started:
            await self._board.start(self._say)
            self._started = True
        found = await self._board.on()
        self._endpoint = Endpoint(found.host, found.port, found.user, found.host_public_key, found.client_key, found.line)

    async def cut(self) -> dict[str, Any]:
        """Freeze, kill the disk server, kill the machine; `writes_lost` is what the volatile cache took with it."""
        facts = asdict(await self._board.cut())
        self._forget_the_tty()
        lost = {"count": facts.pop("writes_lost_count"), "bytes": facts.pop("writes_lost_bytes"), "first": facts.pop("writes_lost")}
        return {"method": "SIGSTOP machine, SIGKILL disk server, SIGKILL machine", "writes_lost": lost, **facts}

    async def off(self) -> None:
        await self._board.off()
        self._forget_the_tty()

    def _forget_the_tty(self) -> None:
        """Its number is free from here on, and the next board on this machine may have it."""
        if self._endpoint is not None:
            self._endpoint = replace(self._endpoint, line="")

    async def renew(self, duration_s: float) -> None:
        await self._board.renew(duration_s)

    async def heat(self, told: dict[str, Any]) -> dict[str, Any]:
        return await self._board.heat(told)

    async def warm(self) -> dict[str, Any]:
        return await self._board.warm()

    async def cool(self) -> dict[str, Any]:
        return await self._board.cool()

    async def keep_on(self, duration_s: float) -> None:
        await self._board.keep_on(duration_s)

    async def disk(self) -> dict[str, Any]:
        log = await self._board.disk()
        return {"writes": log.writes, "flushes": log.flushes}

    async def facts(self) -> dict[str, Any]:
        """The keeper's, and whether somebody else holds the emulator stopped (SIGSTOP, a debugger)."""
        facts = await self._board.facts()
        stat = Path(f"/proc/{facts['pids'].get('qemu')}/stat")
        state = stat.read_text().rpartition(")")[2].split()[0] if stat.exists() else ""
        return {**facts, "frozen": state in ("T", "t")}

    async def waited_s(self) -> float | None:
        """By /proc/PID/task/*/schedstat of QEMU: the time that its hungriest thread was runnable and did not run, but for want of a
        quota, which is no wait for a processor: heat over the board is the fault itself."""
        facts = await self._board.facts()
        pid, held_s = facts["pids"].get("qemu"), (facts.get("heat") or {}).get("held_s", 0.0)
        delays = [int(path.read_text().split()[1]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        return round(max(0.0, max(delays) / 1e9 - held_s), 2) if delays else None

    def storage(self) -> Storage:
        return Storage(self._board.folder / DISK, extents=True)

    def endpoint(self) -> Endpoint | None:
        return self._endpoint

    def evidence(self) -> dict[str, GrowingFile]:
        return self._evidence
