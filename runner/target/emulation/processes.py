"""Processes that must not outlive their owner, and how to recognise those that did.

A process of ours dies with the process that started it (the kernel sees to that). Should one survive all the same, the
next owner kills it, but only when pid, start time and token all match what was written down about it.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from runner.errors import LabError
from runner.target.emulation.image import SBIN

PIDS = "pids.json"
START_LIMIT_S, STOP_LIMIT_S = 20.0, 10.0
PR_SET_PDEATHSIG = 1

Process = subprocess.Popen[bytes]


def spawn(arguments: list[str], pass_fds: tuple[int, ...] = ()) -> Process:
    """Start a process that is killed when this one ends; only from the main thread: death signals follow threads."""
    mine, libc = os.getpid(), ctypes.CDLL(None)

    def die_with_the_owner() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != mine:  # the owner was killed between fork and prctl
            os._exit(1)

    return subprocess.Popen(arguments, env={**os.environ, "PATH": SBIN}, stdin=subprocess.DEVNULL,
                            pass_fds=pass_fds, preexec_fn=die_with_the_owner)  # fmt: skip


def write_down(folder: Path, token: str, processes: Iterable[Process | None]) -> None:
    """Store who runs, for `kill_leftovers`."""
    pids = sorted(each.pid for each in processes if each and each.poll() is None)
    rows = [{"pid": pid, "start": start_time(pid), "token": token} for pid in pids]
    fresh = folder / f"{PIDS}.new"
    fresh.write_text(json.dumps(rows))
    fresh.rename(folder / PIDS)


def kill_leftovers(folder: Path) -> list[int]:
    """Kill what a killed keeper left, and return the pids: only where pid, start time and token all match."""
    try:
        rows = json.loads((folder / PIDS).read_text())
    except (OSError, ValueError):
        return []
    killed = []
    for row in rows:
        pid = row["pid"]
        try:
            handle = os.pidfd_open(pid)  # from here on it cannot become another process
        except OSError:
            continue
        try:
            named = row["token"].encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
            if named and row["start"] is not None and start_time(pid) == row["start"]:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                killed.append(pid)
        except OSError:
            continue
        finally:
            os.close(handle)
    deadline = time.monotonic() + STOP_LIMIT_S
    while any(start_time(pid) is not None for pid in killed) and time.monotonic() < deadline:
        time.sleep(0.01)
    for socket in folder.glob("nbd-*.sock"):
        socket.unlink(missing_ok=True)
    return killed


def start_time(pid: int) -> int | None:
    """When a process started (field 22 of its stat, clock ticks since boot); None when it is gone, or a zombie."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if after_name[0] == "Z" else int(after_name[19])


async def until(ready: Callable[[], bool], process: Process, what: str) -> None:
    """Wait until `ready`; LabError when the process ends first, or after `START_LIMIT_S`."""
    deadline = time.monotonic() + START_LIMIT_S
    while not ready():
        if process.poll() is not None:
            raise LabError(f"{what} ended at once, {status_text(process)}")
        if time.monotonic() > deadline:
            raise LabError(f"{what} was not ready after {START_LIMIT_S:g} s")
        await asyncio.sleep(0.002)


async def ended(process: Process) -> int:
    """The wait status as Popen tells it (-9 is SIGKILL); LabError when it lives on for `STOP_LIMIT_S`."""
    deadline = time.monotonic() + STOP_LIMIT_S
    while (status := process.poll()) is None:
        if time.monotonic() > deadline:
            raise LabError(f"process {process.pid} is still there {STOP_LIMIT_S:g} s after it was told to end")
        await asyncio.sleep(0.005)
    return status


def stopped(pid: int) -> bool:
    """Whether every thread of our child has stopped (or it has ended); it stays waitable."""
    return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def status_text(process: Process | None) -> str:
    """How a process is, or how it ended."""
    status = process.poll() if process else None
    return "runs" if status is None else f"signal {-status}" if status < 0 else f"status {status}"
