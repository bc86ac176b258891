"""Boards that really boot. They need QEMU, nbdkit, mmdebstrap and, the first time, a Debian mirror; about two minutes.

Images are kept in the cache that runs use, too (RUNNER_CACHE).
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.errors import LabError
from runner.lab.where import cache_root
from runner.target.emulation.board import Board, Endpoint
from runner.target.emulation.image import missing_tools
from runner.target.emulation.machine import ARM64, X86_64, MachineSpec
from runner.target.emulation.processes import STOP_LIMIT_S

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(bool(missing_tools(["aarch64", "x86_64"])), reason="needs the tools of an emulated board"),
]
CACHE = cache_root() / "images"
ROOT = Path(__file__).parents[3]
UNRENEWED_S = 600.0  # nobody renews a board here: longer than two boots and a restart may take beside another board
RESTART_LIMIT_S = 180.0  # beside another board a guest takes a minute to come up, and some of that to go down
CLOSE_LIMIT_S = 4 * STOP_LIMIT_S  # of an orderly close: so long may each step of it take

COORDINATOR = """
import asyncio, sys
from pathlib import Path
from runner.target.emulation.board import Board
from runner.target.emulation.machine import ARM64
async def main():
    board = Board("killed", Path(sys.argv[1]), ARM64, Path(sys.argv[2]), disk_mib=64)
    await board.start(lambda line: None)
    await board.on()
    print("on", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A board's folder, too deep for a socket's path; whatever a failed test left running in it is powered off."""
    place = tmp_path / ("deep" * 30) / "board,1"
    yield place
    asyncio.run(Board("any", place, ARM64, CACHE).off())


def a_board(folder: Path, spec: MachineSpec = ARM64, lease_s: float = UNRENEWED_S) -> Board:
    return Board("board-1", folder, spec, CACHE, lease_s=lease_s, disk_mib=64)


def ssh(endpoint: Endpoint, command: str) -> str:
    """What `command` prints in the guest; the host key must be the board's own."""
    known = endpoint.client_key.with_name("known_hosts")
    known.write_text(f"[{endpoint.host}]:{endpoint.port} {endpoint.host_public_key}\n")
    options = ["-F", "none", "-i", str(endpoint.client_key), "-p", str(endpoint.port), "-o", "BatchMode=yes"]
    options += ["-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes", "-o", "LogLevel=ERROR"]
    line = ["ssh", *options, f"{endpoint.user}@{endpoint.host}", command]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=True).stdout


def processes_with(token: str) -> list[str]:
    """Command lines of living processes that carry a token; a zombie has none."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if token in line:
            found.append(line)
    return found


def eventually(true: Callable[[], bool], limit_s: float) -> bool:
    """Whether something became true within `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


async def _booted(board: Board) -> tuple[Endpoint, str]:
    """A board on which SSH answers, and its token."""
    await board.start(print)
    endpoint = await board.on()
    await board.reachable()
    return endpoint, (await board.facts())["token"]


@pytest.mark.parametrize("spec", [ARM64, X86_64], ids=["aarch64", "x86_64"])
def test_a_board_boots(folder: Path, spec: MachineSpec) -> None:
    """SSH answers with the board's own key; root is read-only, /data is not; witness, name and NICs are there."""

    async def story() -> None:
        board = a_board(folder, spec)
        endpoint, token = await _booted(board)
        said = ssh(endpoint, "uname -m; hostname; cat /proc/mounts; echo hello >/dev/witness; ip -br address")
        assert said.startswith(f"{spec.arch}\nboard-1\n")
        assert " / ext4 ro," in said
        assert " /data ext4 rw,noatime" in said
        assert "10.77.0.2/24" in said
        assert await board.on() == endpoint, "on again changes nothing"
        facts = await board.facts()
        assert (facts["on"], facts["power_ons"]) == (True, 1)
        assert facts["accelerator_reason"]
        assert "BOARD-READY" in board.console.read_text()
        await board.off()
        assert board.witness.read_text() == "hello\n"
        assert processes_with(token) == []

    asyncio.run(story())


def test_a_cut_takes_what_was_not_flushed_and_leaves_what_was(folder: Path) -> None:
    """A synced file is whole after a cut, another is empty or gone; writes were lost; ext4 recovers by itself."""

    async def story() -> None:
        board = a_board(folder)
        endpoint, _ = await _booted(board)
        ssh(endpoint, "mount -o remount,commit=300 /data")  # no flush of ext4's own accord while we look
        ssh(endpoint, "cd /data && echo kept >flushed && sync && echo lost >unflushed")
        await asyncio.to_thread(ssh, endpoint, "dd if=/dev/zero of=/data/direct bs=4096 count=50 oflag=direct 2>&1")
        before = await board.disk()
        assert before.flushes > 0
        facts = await board.cut()
        assert (facts.disk_signal, facts.machine_signal) == (9, 9)
        assert facts.writes >= before.writes
        assert facts.writes_lost_count > 0
        assert facts.writes_lost_bytes >= 50 * 4096
        assert facts.frozen_at.boottime_s <= facts.disk_killed_at.boottime_s <= facts.machine_killed_at.boottime_s
        assert not (await board.facts())["on"]
        with pytest.raises(LabError, match="not on"):
            await board.cut()

        console_before = len(board.console.read_text())
        endpoint = await board.on()
        await board.reachable()
        assert ssh(endpoint, "cat /data/flushed") == "kept\n"
        assert "lost" not in ssh(endpoint, "cat /data/unflushed 2>/dev/null || true")
        assert "EXT4-fs (vdb): recovery complete" in board.console.read_text()[console_before:]

    asyncio.run(story())


def test_at_boot_runs_before_the_ssh_server(folder: Path) -> None:
    """What stands in /data/runner/at-boot has run when SSH answers, with its output on the console; reboot works."""

    async def story() -> None:
        board = a_board(folder)
        endpoint, _ = await _booted(board)
        script = "#!/bin/sh\\ntouch /run/was-here\\necho AT-BOOT-SPEAKS\\n"
        ssh(endpoint, f"mkdir /data/runner; printf '{script}' >/data/runner/at-boot; chmod +x /data/runner/at-boot")
        ssh(endpoint, "(sleep 0.2; reboot) >/dev/null 2>&1 </dev/null &")
        assert eventually(lambda: "AT-BOOT-SPEAKS" in board.console.read_text(), RESTART_LIMIT_S)
        await board.reachable()
        assert "was-here" in ssh(endpoint, "ls /run")
        assert (await board.facts())["power_ons"] == 1

    asyncio.run(story())


def test_a_guest_that_powers_off_is_noticed(folder: Path) -> None:
    """The keeper says that the machine ended by itself; the board can be switched on again."""

    async def story() -> None:
        board = a_board(folder)
        endpoint, _ = await _booted(board)
        ssh(endpoint, "(sleep 0.2; poweroff) >/dev/null 2>&1 </dev/null &")
        deadline = time.monotonic() + RESTART_LIMIT_S
        while (await board.facts())["on"] and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        assert (await board.facts())["last_end"].startswith("ended by itself")
        await board.on()
        assert (await board.facts())["power_ons"] == 2

    asyncio.run(story())


def test_a_killed_keeper_takes_everything_with_it(folder: Path) -> None:
    """SIGKILL of the keeper leaves no process, and the next start works."""

    async def story() -> None:
        board = a_board(folder)
        await board.start(print)
        await board.on()
        facts = await board.facts()
        assert len(processes_with(facts["token"])) == 3
        os.kill(facts["pids"]["keeper"], signal.SIGKILL)
        assert eventually(lambda: processes_with(facts["token"]) == [], 10)
        await board.start(print)
        await board.on()
        assert (await board.facts())["token"] != facts["token"]

    asyncio.run(story())


def test_an_expired_lease_leaves_no_process(folder: Path) -> None:
    """Nobody renews: the board goes off and its keeper ends."""

    async def story() -> None:
        board = a_board(folder, lease_s=30)
        await board.start(print)
        await board.on()
        token = (await board.facts())["token"]
        assert len(processes_with(token)) == 3
        await board.keep_on(1.0)
        assert eventually(lambda: processes_with(token) == [], 1.0 + CLOSE_LIMIT_S)
        assert "nobody renewed the lease" in board.keeper_log.read_text()

    asyncio.run(story())


def test_a_killed_coordinator_leaves_the_board_on(folder: Path) -> None:
    """SIGKILL of the coordinator's whole process group: the next one finds the same machine, still running."""
    arguments = [sys.executable, "-c", COORDINATOR, str(folder), str(CACHE)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, start_new_session=True) as coordinator:
        assert coordinator.stdout is not None
        assert coordinator.stdout.readline() == b"on\n"
        os.killpg(coordinator.pid, signal.SIGKILL)

    async def story() -> None:
        board = a_board(folder)
        facts = await board.facts()
        assert facts["on"]
        await board.start(print)
        assert (await board.facts())["pids"] == facts["pids"]
        await board.reachable()
        await board.off()
        assert processes_with(facts["token"]) == []

    asyncio.run(story())
