"""The wall clock, made wrong and put right again by the boot-time clock, which nothing here touches.

    before:  wall = boot time + offset      BOOT and OFFSET_NS stand in every undo: in another boot there is nothing to put back

    @supervisor clock set BOOT OFFSET_NS (JSON: jump_s | to_s, drift_ppm)      a drift is a process of ours that takes small steps
    @supervisor clock back BOOT OFFSET_NS                                     wall = boot time + offset again, no process of ours
    @supervisor clock shown BOOT OFFSET_NS                                    a line for what is wrong

The kernel's own frequency stays as it is: the boot-time clock follows that one, too, and every deadline is kept by the boot-time clock.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import struct
import sys
import time
from typing import Any, Callable

from .background import started
from .journal import boot_id, boottime_ns
from .say import say

STEP_S = 0.1  # how often a drifting clock is moved
TOLERANCE_NS = 500_000_000  # less is nobody's jump: a time server may have slewed meanwhile
EARLIEST_NS = 200_000_000  # behind the boot-time clock when it is asked for: by the time the kernel looks it must not be behind its own
START_S, STOP_S = 15.0, 5.0
FAILED, WRONG = 1, 64
_CAP_SYS_TIME = 25


def offset_ns() -> int:
    """How far the wall clock is ahead of the boot-time clock."""
    before = boottime_ns()
    wall = time.time_ns()
    return wall - (before + boottime_ns()) // 2


def set_offset(offset: int) -> None:
    """Raises OSError where the kernel refuses: no right to. The moment of its start is had within EARLIEST_NS, an earlier one is not."""
    wall = boottime_ns() + max(offset, EARLIEST_NS)
    time.clock_settime_ns(time.CLOCK_REALTIME, wall)


def wrong_offset(asked: dict[str, Any], offset: int) -> int:
    """What the offset is to be, for a clock that jumps. A moment before the boot is the boot: the kernel takes no earlier one."""
    if asked.get("to_s") is not None:
        return max(0, int(asked["to_s"] * 1_000_000_000) - boottime_ns())
    return max(0, offset + int((asked.get("jump_s") or 0.0) * 1_000_000_000))


def make_wrong(offset: int, asked: dict[str, Any]) -> str:
    """What is wrong with it from here on, in words. Raises OSError or ValueError where it is not."""
    stop_drift()
    wrong = wrong_offset(asked, offset)
    if asked.get("to_s") is not None or asked.get("jump_s"):
        set_offset(wrong)
        if abs(offset_ns() - wrong) > TOLERANCE_NS:
            raise ValueError(f"the clock was set, and is {(offset_ns() - wrong) / 1e9:.1f} s off: somebody sets it, too")
    if asked.get("drift_ppm"):
        start_drift(wrong, float(asked["drift_ppm"]))
    return f"{(wrong - offset) / 1e9:.3f} s off, {asked.get('drift_ppm') or 0:g} ppm"


def put_right(offset: int) -> list[str]:
    """The offset is what it was, and nothing drifts; what is wrong, in words."""
    if not stop_drift():
        return ["the process that lets the clock drift does not end"]
    set_offset(offset)
    return seen(offset)


def seen(offset: int) -> list[str]:
    off_ns = offset_ns() - offset
    found = [f"wrong: the clock is {off_ns / 1e9:.1f} s off"] if abs(off_ns) > TOLERANCE_NS else []
    return found + ([f"wrong: the clock drifts, by process {pid}"] if (pid := drifting()) else [])


def start_drift(offset: int, ppm: float) -> None:
    """A process of our own, nobody's child, moves the clock from here on. Returns when it does."""
    if not started("the drift", lambda ready: _drift(offset, ppm, ready), START_S):
        raise OSError("the process that lets the clock drift did not start")


def _drift(offset: int, ppm: float, ready: Callable[[], None]) -> None:
    holder = socket.socket(socket.AF_UNIX)
    holder.bind(_name())
    holder.listen(8)
    holder.settimeout(STEP_S)
    began = boottime_ns()
    ready()
    while True:
        set_offset(offset + int((boottime_ns() - began) * ppm / 1e6))
        with contextlib.suppress(OSError):  # somebody looks whether we are there; nobody, within the time of a step
            holder.accept()[0].close()


def drifting() -> int:
    """The process that lets the clock drift, by the name that only one can hold; 0 for none. Raises OSError where that cannot be told."""
    deadline = time.monotonic() + START_S
    while True:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            try:
                connection.connect(_name())
                return int(struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
            except ConnectionRefusedError:
                return 0
            except OSError:  # so many look at once that it has no room for another one
                if time.monotonic() > deadline:
                    raise
        time.sleep(STEP_S / 2)


def stop_drift() -> bool:
    """Whether nothing of ours lets the clock drift when this returns."""
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline:
        pid = drifting()
        if not pid:
            return True
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    return False


def _name() -> str:
    return "\0runner-clock-" + hashlib.sha256(os.environ.get("RUNNER_STATE", "").encode()).hexdigest()[:12]


def capabilities() -> list[str]:
    """"clock", where this process may set it. Whether it should is the device type's to say: a clock may be others', too."""
    try:
        with open("/proc/self/status") as file:
            effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    except (OSError, StopIteration, ValueError):
        return []
    return ["clock"] if effective >> _CAP_SYS_TIME & 1 else []


def main(arguments: list[str]) -> int:
    """`clock set|back|shown BOOT OFFSET_NS`."""
    if len(arguments) != 3 or arguments[0] not in ("set", "back", "shown") or not arguments[2].lstrip("-").isdigit():
        say("usage: clock set | back | shown BOOT OFFSET_NS")
        return WRONG
    command, boot, offset = arguments[0], arguments[1], int(arguments[2])
    wrong: list[str] = []
    try:
        if boot != boot_id():
            wrong = ["it was started since, and its clock with it"] if command == "set" else []
        elif command == "set":
            say(make_wrong(offset, json.loads(sys.stdin.read())), sys.stdout)
        elif command == "back":
            wrong = put_right(offset)
        else:
            say("\n".join(seen(offset)), sys.stdout)
    except (OSError, ValueError, KeyError) as error:
        wrong = [f"{type(error).__name__}: {error}"]
    for each in wrong:
        say(each)
    return FAILED if wrong else 0
