"""Victims inside of an emulated board are reached as its coordinator reaches it: by SSH, with the board's own keys."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

from runner.errors import RunnerError
from runner.target.emulation.board import Board
from runner.target.emulation.machine import MachineSpec
from runner.target.transports.base import Endpoint
from runner.target.transports.ssh import SshTransport

if TYPE_CHECKING:
    from .chain import Chain

_BY_NAME = (
    "n=1; for p in $(pidof python3); do tr '\\0' ' ' < /proc/$p/cmdline | grep -q '__main__.py {} ' && kill -9 $p && n=0; done; exit $n"
)
IN_THE_GUEST = {
    "supervisor": "kill -9 $(cut -d' ' -f1 /data/runner/supervisor.lock)",
    "host": _BY_NAME.format("host"),
    "link": _BY_NAME.format("attach"),
}


def kill_on_a_board(chain: Chain, victim: str) -> bool:
    return asyncio.run(_kill(chain, victim))


async def _kill(chain: Chain, victim: str) -> bool:
    folder = chain.state / "boards" / chain.device
    board = Board(chain.device, folder, MachineSpec("aarch64", "virt", "cortex-a72", 1, 512, "tcg"), folder)
    try:
        facts = await board.facts()
    except RunnerError:
        return False
    if victim == "keeper":
        os.kill(facts["pids"]["keeper"], signal.SIGKILL)
        return True
    if not facts["on"]:
        return False
    public = " ".join((folder / "host_key.pub").read_text().split()[:2])
    transport = SshTransport(lambda: Endpoint("127.0.0.1", facts["port"], "root", public, folder / "client_key"))
    with contextlib.suppress(RunnerError):
        await transport.open()
        done = await transport.run(["sh", "-c", IN_THE_GUEST[victim]], timeout_s=30)
        await transport.close()
        return done.exit_status == 0
    return False
