"""Victims inside of an emulated board are reached as its coordinator reaches it: by SSH, with the board's own keys."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import RunnerError
from runner.target.emulation.board import Board
from runner.target.emulation.image import SBIN
from runner.target.emulation.machine import MachineSpec
from runner.target.emulation.messages import DISK
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


# ---- what lies on its disk ------------------------------------------------------------------------------------


def on_the_disk(chain: Chain) -> set[str]:
    """The runs of which something lies on the disk of a board that is off."""
    return runs_on(chain.state / "boards" / chain.device / DISK)


def runs_on(disk: Path) -> set[str]:
    """The folders below `runner/runs` of a data disk, as the next boot will find them: its journal is replayed, in a copy."""
    tools = {**os.environ, "PATH": SBIN}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / DISK
        subprocess.run(["cp", "--sparse=always", str(disk), str(copy)], check=True, timeout=120)
        subprocess.run(["e2fsck", "-fy", str(copy)], env=tools, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
        said = subprocess.run(["debugfs", "-R", "ls -p /runner/runs", str(copy)], env=tools, capture_output=True, timeout=120, check=True)
    rows = [line.split("/") for line in said.stdout.decode().splitlines() if line.startswith("/")]  # /inode/mode/uid/gid/name/size/
    return {row[5] for row in rows if row[2].startswith("04")} - {".", ".."}  # folders; a file of one word says which run is current
