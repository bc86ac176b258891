"""Heat over a board that really boots: it is held up, it reads its sensors, it loses its power in the middle, and its keeper is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.ondevice.quota import TAG, Impossible, find
from runner.target.bundle import supervisor_zip
from runner.target.emulation.board import Board, Endpoint
from runner.target.emulation.image import missing_tools
from runner.target.emulation.machine import ARM64
from tests.target.emulation.test_board_for_real import CACHE, eventually, ssh


def can_limit() -> bool:
    """Whether this machine lets us hold a board's processors up."""
    try:
        return bool(find())
    except Impossible:
        return False


pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(bool(missing_tools(["aarch64"])) or not can_limit(), reason="needs the tools of an emulated board, and a quota"),
]

BODY = {"die_j_k": 3.0, "board_j_k": 40.0, "die_to_board_k_w": 4.0, "board_to_air_k_w": 6.0, "idle_w": 3.0, "busy_w": 3.0}
THROTTLE = {"full_mhz": 1500, "steps": [[70, 600, "throttled"]], "hysteresis_k": 2, "critical_c": 99}
HOT: dict[str, Any] = {"body": BODY, "throttle": THROTTLE, "timeline": [[0, 65]], "starts_at_c": 85.0, "renew_s": 300, "cap_s": 900}
SENSOR, CLOCK = "/sys/class/thermal/thermal_zone0/temp", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
TOLD = json.dumps({"port": "sensors", "sensor": SENSOR, "clock": CLOCK, "says": "by a model\n"})


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A board's folder; whatever a failed test left running in it is powered off."""
    yield tmp_path / "board"
    asyncio.run(Board("any", tmp_path / "board", ARM64, CACHE).off())


def groups_of(pid: int) -> list[str]:
    """Control groups that a keeper made."""
    folder = Path(find().folder)
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(f"{TAG}{pid}-"))


def sensors(endpoint: Endpoint, verb: str) -> str:
    """The guard's act by hand; what it prints, and its status."""
    return ssh(endpoint, f"cd /tmp && printf %s '{TOLD}' | python3 -S -E supervisor.zip sensors {verb} 2>&1; echo status $?")


def send_supervisor(endpoint: Endpoint, folder: Path) -> None:
    known = endpoint.client_key.with_name("known_hosts")
    options = ["-F", "none", "-i", str(endpoint.client_key), "-p", str(endpoint.port), "-o", "BatchMode=yes"]
    options += ["-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes", "-o", "LogLevel=ERROR"]
    line = ["ssh", *options, f"{endpoint.user}@{endpoint.host}", "cat >/tmp/supervisor.zip"]
    subprocess.run(line, input=supervisor_zip(), timeout=120, check=True)


def test_a_board_under_heat(folder: Path) -> None:
    """Its processors are held up, its files say so over nothing and over a folder that was there; a cut clears the flags of its boot, and
    the body stays warm; a killed keeper's groups are the next one's to remove; cooled, nothing is left there or here."""

    async def story() -> None:
        board = Board("hot", folder, ARM64, CACHE, lease_s=600.0, disk_mib=64)
        await board.start(print)
        endpoint = await board.on()
        await board.reachable(300.0)
        before = ssh(endpoint, "cat /proc/self/mounts; ls /sys/devices/system/cpu/cpu0 /sys/class/thermal /run")
        facts = await board.heat(HOT)
        keeper = (await board.facts())["pids"]["keeper"]
        assert facts["on"] and len(groups_of(keeper)) >= ARM64.cpus
        ssh(endpoint, "(timeout 600 sh -c 'while :; do :; done' >/dev/null 2>&1 &)")
        await _until(board, lambda said: said["nr_throttled"] > 20)

        send_supervisor(endpoint, folder)
        assert sensors(endpoint, "start") == "status 0\n"
        files = f"{SENSOR} {CLOCK} /run/runner-sensors/throttled $(dirname {SENSOR})/emulated"
        read = ssh(endpoint, f"cat {files}; ls -d /sys/devices/system/cpu/cpu0/topology")
        degrees, clock, flags, says, beside = read.splitlines()
        assert 65_000 < int(degrees) < 100_000
        assert (clock, flags, says) == ("600000", "throttled=0x40004", "by a model")
        assert beside == "/sys/devices/system/cpu/cpu0/topology", "what lies beside them is seen as before"
        assert sensors(endpoint, "stop") == "status 0\n"
        assert ssh(endpoint, "cat /proc/self/mounts; ls /sys/devices/system/cpu/cpu0 /sys/class/thermal /run") == before

        await board.cut()
        said = await _until(board, lambda said: not said["powered"])
        assert (said["flags"], said["mhz"]) == (0, 0.0) and said["die_c"] > 65
        assert groups_of(keeper) == []
        endpoint = await board.on()
        await _until(board, lambda said: said["powered"] and said["flags"] == 0x40004)
        assert len(groups_of(keeper)) >= ARM64.cpus

        os.kill(keeper, signal.SIGKILL)
        assert eventually(lambda: not Path(f"/proc/{keeper}/cmdline").exists() or not Path(f"/proc/{keeper}/cmdline").read_bytes(), 20)
        left = groups_of(keeper)
        assert left, "nobody has removed them yet"
        again = Board("hot", folder, ARM64, CACHE, lease_s=600.0, disk_mib=64)
        await again.start(print)
        assert groups_of(keeper) == []
        await again.on()
        await again.heat({**HOT, "renew_s": 1.0})
        await _until(again, lambda said: not said["on"])
        facts = (await again.facts())["heat"]
        assert (facts["ended"], facts["groups"]) == ("nobody renewed it", [])
        assert (await again.cool())["left"] == []
        await again.off()

    asyncio.run(story())


async def _until(board: Board, true: Any, limit_s: float = 300.0) -> dict[str, Any]:
    async with asyncio.timeout(limit_s):
        while not true(said := (await board.facts())["heat"]):
            await asyncio.sleep(0.2)
    found: dict[str, Any] = said
    return found
