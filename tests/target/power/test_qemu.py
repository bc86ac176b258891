"""The emulated board's power, as far as it can be asked without a board."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runner.target.emulation.messages import CutFacts, Moment
from runner.target.power.qemu import QemuPower

MOMENT = Moment.now()
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def power_of(pid: int, folder: Path, held_s: float = 0.0) -> QemuPower:
    async def facts() -> dict[str, Any]:
        return {"on": True, "pids": {"qemu": pid}, "heat": {"held_s": held_s}}

    logs = {name: folder / name for name in ("disk_log", "console", "keeper_log", "heat_log")}
    board = SimpleNamespace(facts=facts, **logs)
    return QemuPower(board, lambda text: None)  # type: ignore[arg-type]


def test_an_emulator_that_somebody_stopped_is_told_from_one_that_runs(tmp_path: Path) -> None:
    """SIGSTOP from outside is the lab's doing: without this a board that cannot answer would be judged for it."""
    process = subprocess.Popen(["sleep", "60"])
    try:
        power = power_of(process.pid, tmp_path)
        assert asyncio.run(power.facts())["frozen"] is False
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert asyncio.run(power.facts())["frozen"] is True
    finally:
        process.kill()
        process.wait()


def test_the_hosts_wait_is_a_figure_or_nothing(tmp_path: Path) -> None:
    """Seconds for a process that is there, None for one that is not; never a made-up zero."""
    assert (asyncio.run(power_of(os.getpid(), tmp_path).waited_s()) or 0.0) >= 0.0
    assert asyncio.run(power_of(2**22 + 1, tmp_path).waited_s()) is None


def test_what_heat_holds_up_is_no_wait_for_a_processor(tmp_path: Path) -> None:
    """A restart under heat is not excused by the heat."""
    assert asyncio.run(power_of(os.getpid(), tmp_path, held_s=1e6).waited_s()) == 0.0


def test_a_board_without_power_has_no_tty(tmp_path: Path) -> None:
    """The number of its tty is free then, and another board's next: nobody may type there for this one."""

    async def story(ended: str) -> list[str]:
        async def on() -> Any:
            return SimpleNamespace(host="127.0.0.1", port=0, user="root", host_public_key="", client_key=tmp_path, line="/dev/pts/7")

        async def nothing(*_: Any) -> Any:
            return CutFacts(MOMENT, MOMENT, MOMENT, 0, 0, 0, 0, 0, (), signal.SIGKILL, signal.SIGKILL)

        power = power_of(os.getpid(), tmp_path)
        power._board = cast(Any, SimpleNamespace(start=nothing, on=on, cut=nothing, off=nothing))
        await power.on()
        found = [power.endpoint()]
        await getattr(power, ended)()
        found.append(power.endpoint())
        return [endpoint.line for endpoint in found if endpoint]

    assert [asyncio.run(story(ended)) for ended in ("cut", "off")] == [["/dev/pts/7", ""]] * 2
