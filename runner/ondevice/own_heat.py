"""Heat that a device makes for itself, where nobody outside of it can: a process of our own that the guard's program starts.

    @supervisor heater start ──► loop (heater.py) ──► quota of the group that pipelines run in (cgroup.py): a board of one core
                                   │              or, told "clocks", what its own clocks may be (frequency.py): a real board
                                   │             └──► files below STATE/heater, which the environment names; labelled, and over nobody's own
                                   └──► STATE/heater/heat.jsonl
    @supervisor heater stop  ──► the process ends, the group has no quota; whether it is renewed is the guard's business, and so is
                                 looking at a real board's own sensor (`Program.hot`)

Who holds the lock in the folder is the process. Killed, it leaves the quota as it was: the program's undo takes it off.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from typing import Any, Callable

from .background import started
from .cgroup import Group, roots
from .heater import TICK_S, Loop
from .journal import boottime_ns
from .kernel_files import put, text
from .quota import NOTHING, WEIGHT, Counted, Hierarchy, ran, throttled_in, used_in
from .say import say
from .scarce_figures import quota_of
from .sensors import Sensors
from .told import ASKED

FOLDER, LOCK, WARM, LOG = "heater", "lock", "warm", "heat.jsonl"
ONE_CORE = (0, [0])  # a board of one core, which always has power: this process would be gone without
TAIL_BYTES, STOP_S, FIRST_TICK_S = 8192, 10.0, 15.0
LOG_LIMIT_BYTES = 64 << 20
WRONG, NOT_HERE = 64, 1


class Members:
    """What is counted of everybody in one group. No figure ever falls.

    What ran is the group's own count, which has processes in it that came and went between two looks. Where it keeps none, threads are
    added up: of one that has ended, what it did behind the last look at it is not known. So is how long they waited, in either case.
    """

    def __init__(self, folder: str, proc: str = "/proc") -> None:
        self._folder, self._proc = folder, proc
        self._gone, self._last = NOTHING, dict[int, Counted]()
        self._counts = used_in(folder) is not None
        self._used_ns = self._seen_ns = 0

    def counted(self) -> Counted:
        now: dict[int, Counted] = {}
        for pid in map(int, text(os.path.join(self._folder, "cgroup.procs")).split()):
            try:
                tids = [int(name) for name in os.listdir(f"{self._proc}/{pid}/task")]
            except OSError:
                continue
            for tid in tids:  # one that ends in this moment says zeros
                now[tid] = Counted(*map(max, Counted(*ran(self._proc, pid, tid), 0, 0), self._last.get(tid, NOTHING)))
        for tid in [tid for tid in self._last if tid not in now]:
            self._gone = self._gone.plus(self._last[tid])
        self._last = now
        total = self._gone.plus(Counted(0, 0, *throttled_in(self._folder)))
        for each in now.values():
            total = total.plus(each)
        return total._replace(ran_ns=self._used()) if self._counts else total

    def _used(self) -> int:
        """By the group's own count, which begins anew with a group that was made again."""
        now_ns = used_in(self._folder)
        if now_ns is not None:
            self._used_ns += now_ns - self._seen_ns if now_ns >= self._seen_ns else now_ns
            self._seen_ns = now_ns
        return self._used_ns


class Confined:
    """Everybody in the pipelines' group, who together have a share of one core. As `quota.Groups`, which has threads each by itself."""

    def __init__(self, state: str, proc: str = "/proc") -> None:
        """Raises OSError where there is no control group for CPU time, or none to be made."""
        if "cpu" not in roots():
            raise OSError("no control group for CPU time is mounted")
        version, root = roots()["cpu"]
        self.hierarchy = Hierarchy(version, root)
        self._group = Group(state)
        self._folder = os.path.join(root, self._group.name)
        self._group.make()
        self._group.prefer(WEIGHT)
        self.limit(1.0)
        self._members = Members(self._folder, proc)

    def take_in(self, pid: int, tids: list[int]) -> None:
        """Whoever is in the group is: the supervisor sees to that before a pipeline runs."""

    def limit(self, share: float) -> None:
        quota_us, period_us = quota_of(min(1.0, share))
        self._group.limit({"quota_us": quota_us, "period_us": period_us})

    def counted(self) -> Counted:
        return self._members.counted()

    def held_ns(self) -> int:
        return throttled_in(self._folder)[1]

    def release(self) -> list[str]:
        """Nobody in the group is limited in time any more; the group itself is its supervisor's."""
        try:
            name, value = ("cpu.max", "max") if self.hierarchy.version == 2 else ("cpu.cfs_quota_us", "-1")
            if os.path.isdir(self._folder):
                put(os.path.join(self._folder, name), value)
            return []
        except OSError as error:
            return [f"{self._folder}: {error}"]


def start(told: dict[str, Any], state: str) -> int:
    """The loop runs, and its sensors say something, when this returns 0; else nothing of it is there."""
    folder = os.path.join(state, FOLDER)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    _unlink(os.path.join(folder, WARM))
    log = os.path.join(folder, LOG)
    if os.path.exists(log) and os.path.getsize(log) > LOG_LIMIT_BYTES:
        os.replace(log, log + ".old")
    if started("heat", lambda ready: _run(told, state, folder, ready), FIRST_TICK_S):
        return 0
    stop(state)
    return NOT_HERE


def _run(told: dict[str, Any], state: str, folder: str, ready: Callable[[], None]) -> None:
    """Ticks until it is told to end, or its heat is over; then nobody is limited any more."""
    lock = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    why: list[str] = []
    signal.signal(signal.SIGTERM, lambda number, frame: why.append(ASKED))
    sensors = Sensors(folder, {"sensor": told["sensor"], "clock": told["clock"]}, told["says"])
    sensors.make()
    with open(os.path.join(folder, LOG), "a") as log:

        def write(line: dict[str, Any]) -> None:
            log.write(json.dumps(line) + "\n")
            log.flush()

        groups, cores = _limited(told, state)
        loop, first = Loop(told["heat"], groups, write, boottime_ns()), True
        try:
            while not why:
                sensors.show(loop.tick(boottime_ns(), cores))
                if first:
                    ready()
                first = False
                time.sleep(TICK_S)
                if os.path.exists(os.path.join(folder, WARM)):
                    loop.warm(boottime_ns())
                over = loop.over(boottime_ns())
                why += [over] if over else []
        except OSError as error:
            why.append(f"a failure: {error}")
        finally:
            loop.end((why or ["a failure"])[0], boottime_ns())


def _limited(told: dict[str, Any], state: str) -> tuple[Any, tuple[int, list[int]]]:
    """What is limited, and of how many cores: the pipelines' group, or where it is told the clocks of this board themselves."""
    if told.get("clocks") is None:
        return Confined(state), ONE_CORE
    from .frequency import Clocks

    return Clocks(told["clocks"]["before"], told["clocks"]["folder"]), (0, list(range(os.cpu_count() or 1)))


def stop(state: str) -> int:
    """No heat, and no quota, when this returns 0. What was noted of it stays."""
    folder, deadline, asked = os.path.join(state, FOLDER), time.monotonic() + STOP_S, 0
    while time.monotonic() < deadline:
        pid = holder(folder)
        if pid is None:
            break
        if pid > 1:
            try:  # noqa: SIM105 - contextlib is not imported on a device for this
                os.kill(pid, signal.SIGTERM if asked < 100 else signal.SIGKILL)
            except OSError:
                pass
        asked += 1
        time.sleep(0.02)
    left = [] if holder(folder) is None else ["the heater still runs"]
    try:
        left += Confined(state).release() if Group(state).exists() else []
    except OSError as error:
        left.append(str(error))
    for each in left:
        say(f"left: {each}")
    return NOT_HERE if left else 0


def holder(folder: str) -> int | None:
    """The pid of the process that heats; None where there is none. It holds its lock at that moment, so it is no other process."""
    try:
        lock = os.open(os.path.join(folder, LOCK), os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None
    except OSError:
        said = os.read(lock, 32).strip()
        return int(said) if said.isdigit() else 0
    finally:
        os.close(lock)


def shown(state: str) -> int:
    """A line while there is heat, or a quota that it left."""
    if holder(os.path.join(state, FOLDER)) is not None:
        say("heater runs", sys.stdout)
    elif "cpu_quota_us" in Group(state).figures():
        say("heater left a quota, or somebody else has one there", sys.stdout)
    return 0


def said(state: str) -> dict[str, Any]:
    """The last tick, "on" only while somebody heats; as a keeper says it of a board."""
    folder = os.path.join(state, FOLDER)
    line: dict[str, Any] = {}
    try:
        with open(os.path.join(folder, LOG), "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            for each in reversed(file.read().split(b"\n")[:-1]):
                line = json.loads(each)
                if "mhz" in line or "ended" in line:
                    break
    except (OSError, ValueError):
        line = {}
    runs = holder(folder) is not None and "mhz" in line
    ended = str(line.get("ended", "")) or ("" if runs else "nobody heats")
    return {**line, "warm": line.get("on", False), "on": runs, "ended": ended}


def warm(state: str) -> None:
    """The time of a heat that waits begins, within a tick."""
    with open(os.path.join(state, FOLDER, WARM), "w"):
        pass


def _unlink(path: str) -> None:
    try:  # noqa: SIM105
        os.unlink(path)
    except OSError:
        pass


def main(arguments: list[str]) -> int:
    state = os.environ.get("RUNNER_STATE", "")
    if not state:
        say("RUNNER_STATE does not say whose heat")
        return WRONG
    if arguments == ["start"]:
        try:
            return start(json.loads(sys.stdin.read()), state)
        except (OSError, ValueError, KeyError, TypeError) as error:
            say(f"no heat: {type(error).__name__}: {error}")
            return NOT_HERE
    if arguments == ["stop"]:
        return stop(state)
    if arguments == ["shown"]:
        return shown(state)
    say("usage: heater start | stop | shown")
    return WRONG
