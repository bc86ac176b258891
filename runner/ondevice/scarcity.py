"""What an execution has too little of, as its supervisor sees to it: a group to run in, a small disk, and what both say of themselves.

    spec["scarcity"] = {"confined": bool, "disk": {"size_mib", "few_inodes", "mapped"} | None}

Made here, without any limit, before a host runs; limited and spoilt by the guard's programs (`cgroup.py`, `small_disk.py`). Where the
execution is over, or its guard has nothing more to take back, it is removed here. A cut takes every limit away: after a restart it is made
again, without a limit, and no stage runs before a coordinator says that the limits are there again (`execution.py`).
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Callable

from .kernel_files import text
from .say import say

PROBE_S, WORK_S = 60.0, 0.4
SPARE_BYTES = 8 << 20  # that a device has free beyond a cap that is tried out, so that nobody else is killed
LOOKS = 5  # at two clocks at once: a device may be busy between the one and the other
NOT_ENTERED = 71  # a host ended so: the kernel would not have it in its group, and it was nothing that a pipeline did
_HOG = "import sys\nheld = []\nfor _ in range(int(sys.argv[1])):\n    held.append(bytearray(1 << 20))\n"
_SPIN = (  # starting Python may take longer than all of it
    "import sys, time\nbegan, used = time.perf_counter(), time.process_time()\nuntil = used + float(sys.argv[1])\n"
    "while time.process_time() < until:\n    sum(range(1000))\nprint(time.perf_counter() - began, time.process_time() - used)\n"
)
_CROWD = (
    "import os, signal, sys\nfound = 1\nchildren = []\nwhile found <= int(sys.argv[1]):\n    try:\n        pid = os.fork()\n"
    "    except OSError:\n        break\n    if not pid:\n        signal.pause()\n    children.append(pid)\n    found += 1\n"
    "for pid in children:\n    os.kill(pid, signal.SIGKILL)\nfor pid in children:\n    os.waitpid(pid, 0)\nprint(found)\n"
)


def capabilities(has: Callable[[str, str], bool]) -> list[str]:
    """Those of cgroup-memory, cgroup-cpu, cgroup-pids, loop, device-mapper and clock that are here, and ours to use.

    `has`: whether the kernel has a module, by its name and its configuration's.
    """
    from . import cgroup, small_disk, wrong_clock

    return [*cgroup.capabilities(), *small_disk.capabilities(has), *wrong_clock.capabilities()]


class Scarce:
    """That of one execution; nothing is asked, and nothing made, where its spec says nothing."""

    def __init__(self, state: str, folder: str, spec: dict[str, Any]) -> None:
        asked: dict[str, Any] = spec.get("scarcity") or {}
        self._folder, self._asked = folder, asked
        self.group: Any = None
        self.disk: Any = None
        if asked:  # most executions have all they want, and a slow board pays for each import
            from .cgroup import Group
            from .small_disk import SmallDisk

            self.group = Group(state) if asked.get("confined") else None
            self.disk = SmallDisk(state) if asked.get("disk") else None

    def prepare(self) -> None:
        """Group and disk are there. Raises OSError."""
        if self.group is not None:
            self.group.make()
        if self.disk is not None:
            said = self._asked["disk"]
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            self.disk.make(self._folder, int(said["size_mib"]), bool(said.get("few_inodes")), bool(said.get("mapped")))

    def command(self, argv: list[str]) -> list[str]:
        return argv if self.group is None else list(self.group.entering(argv))

    def settings(self) -> dict[str, str]:
        return {} if self.disk is None else {"SCARCE_FOLDER": self.disk.place}

    def figures(self) -> dict[str, Any]:
        """What group and disk say right now; {} where there is neither."""
        found: dict[str, Any] = {}
        try:
            if self.group is not None:
                found["confined"] = self.group.figures()
            if self.disk is not None:
                found["disk"] = self.disk.figures()
        except OSError:
            pass
        return {key: value for key, value in found.items() if value}

    def killed_for_memory(self) -> str:
        """In words, if the kernel has killed somebody in the group for want of memory."""
        said = self.group.figures() if self.group is not None else {}
        if not said.get("oom_kills"):
            return ""
        return f", killed for want of memory: it may have {said.get('memory_limit_bytes', 0) >> 20} MiB"

    def clear(self) -> None:
        """Removes what no program of the guard's is limiting or spoiling any more; the program's own undo removes it otherwise."""
        try:
            if self.disk is not None and not self.disk.seen():
                self.disk.remove()
            if self.group is not None and not self.group.limits():
                self.group.remove()
        except OSError as error:
            say(f"what an execution had too little of: {error}")


def clear_all(state: str) -> dict[str, Any]:
    """Whatever an execution had too little of is removed, when no program limits or spoils it; how things stand then.

    So is a group in which a supervisor that was killed tried something out, with whomever that left; and one in which nobody works.
    """
    from .cgroup import PROBE, WORK, Group

    Scarce(state, "", {"scarcity": {"confined": True, "disk": {"size_mib": 0}}}).clear()
    _end(Group(state, PROBE))
    if not Group(state, WORK).figures().get("members"):
        Group(state, WORK).remove()
    return state_now(state)


def sectors_written(folder: str) -> int | None:
    """Sectors of 512 bytes that the disk below a folder was given since boot; None where the kernel does not say."""
    try:
        device = os.stat(folder).st_dev
        with open(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat") as file:
            return int(file.read().split()[6])
    except (OSError, ValueError, IndexError):
        return None


def state_now(state: str) -> dict[str, Any]:
    """What limits are in force here, and how the small disk and the clock stand: read from the kernel, for whoever proves a fault."""
    from .cgroup import Group
    from .small_disk import SmallDisk

    group, disk = Group(state), SmallDisk(state)
    clock = both_clocks()
    found: dict[str, Any] = {"confined": group.figures(), "versions": group.versions, "disk": disk.figures()}
    if found["disk"]:
        found["disk"]["tried"] = disk.tried()
    found["clock"] = clock
    return found


def both_clocks() -> dict[str, int]:
    """The wall clock, and the boot-time clock at the same moment: the one of a few looks during which the least time passed."""
    from .journal import boottime_ns

    looks = []
    for _ in range(LOOKS):
        began = boottime_ns()
        wall = time.time_ns()
        looks.append((boottime_ns() - began, began, wall))
    took, began, wall = min(looks)
    return {"wall_ns": wall, "boottime_ns": began + took // 2}


def prove(state: str, limits: dict[str, Any]) -> dict[str, Any]:
    """Limits tried out in a group of their own beside the pipeline's, which is left alone: a hog, fixed work, a crowd.

    memory: a process that wants more must be killed. cpu: how many cores busy processes get, with and without the limit, one right
    behind the other. processes: how many can be started. Raises OSError where there is no such group.
    """
    from .cgroup import PROBE, Group, capabilities

    if not capabilities():
        raise OSError("no control group can be made here")
    found: dict[str, Any] = {}
    group = Group(state, PROBE)
    _end(group)
    try:
        group.make()
        wrong = group.limit(limits)
        if wrong:
            raise OSError("; ".join(wrong))
        if limits.get("processes") is not None:
            said = _run(group.entering([sys.executable, "-S", "-E", "-c", _CROWD, str(limits["processes"] + 8)]))[1].split()
            found["processes"] = {"started": int(said[0]) if said else 0, "refused": group.figures().get("processes_refused", 0)}
        if limits.get("quota_us") is not None:
            found["cpu"] = _speed(group, limits["quota_us"] / limits["period_us"])
        if limits.get("memory_bytes") is not None:
            found["memory"] = _hungry(group, limits["memory_bytes"])
    finally:
        _end(group)
    return found


def _end(group: Any) -> None:
    """Nobody is in the group, and it is gone: whoever was in it was ours, and would sleep for ever where nobody looks."""
    group.end()
    group.remove()


def _hungry(group: Any, limit_bytes: int) -> dict[str, Any]:
    """A process that wants more than the group may have. Where the device itself has no more, others would be killed: it is not tried."""
    import signal

    free = available_bytes()
    if free is not None and free < limit_bytes + SPARE_BYTES:
        return {"available_bytes": free}
    status, _ = _run(group.entering([sys.executable, "-S", "-E", "-c", _HOG, str((limit_bytes >> 20) + 64)]))
    said = group.figures()
    kept = ("memory_limit_bytes", "memory_peak_bytes", "memory_refused", "oom_kills")
    return {**{key: said[key] for key in kept if key in said}, "killed": status == -signal.SIGKILL}


def available_bytes() -> int | None:
    """What the kernel reckons that programs can have before anybody is killed or swapped out; None where it does not say."""
    for line in text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return None


def _speed(group: Any, share: float) -> dict[str, Any]:
    """Cores that busy processes get, one for a share of one core and one for each core for more: their processor time in the time that
    passed, before, in the group, and after."""
    argv, cores = [sys.executable, "-S", "-E", "-c", _SPIN, str(WORK_S)], len(os.sched_getaffinity(0))
    count = 1 if share < 1 else cores
    shares = [round(_busy(command, count), 4) for command in (argv, group.entering(argv), argv)]
    throttled = group.figures().get("throttled_periods", 0)
    return {"before": shares[0], "during": shares[1], "after": shares[2], "cores": cores, "throttled_periods": throttled}


def _busy(argv: list[str], count: int) -> float:
    """What so many of them get together; 0 where one did not come to its end."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(count) as pool:
        said = [words.split() for _, words in pool.map(_run, [argv] * count)]
    return sum(float(used) / float(took) for took, used in said) if all(len(each) == 2 for each in said) else 0.0


def _run(argv: list[str]) -> tuple[int, str]:
    """Exit status, and what was printed."""
    import subprocess

    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=PROBE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return 0, ""
    return done.returncode, done.stdout.decode("ascii", "replace")
