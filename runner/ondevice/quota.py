"""A share of a core, and no more: each thread alone in a CPU control group of our own.

    before      …/wherever it was
    taken in    …/runner-heat-4711-99812-0/     period 10 ms, quota = share · period         one folder for each thread
    released    …/wherever it was               the folders are gone

Version 1 of the kernel's control groups limits threads as it does processes. Version 2 does so below one group that the process as a
whole moves into. Which of both a machine has, and whether this process may, is found out by making a group and limiting it. The names
of the folders say which process made them: what a dead one left is nobody's, and `sweep` takes it away.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from .cgroup import MOUNTS, hierarchies
from .kernel_files import put, text
from .scarce_figures import PERIOD_US
from .scarce_figures import quota_of as part_of

TAG = "runner-heat-"
WEIGHT = 8  # times everybody else's: what such a thread does not get is for want of quota, and not because this machine is busy
GOING_S = 2.0  # a thread that was killed may be in its group so long


class Impossible(Exception):
    """This process may limit nobody here; the message says why."""


class Hierarchy(NamedTuple):
    """Where CPU control groups are made: version 1 or 2, and the folder in which ours lie."""

    version: int
    folder: str


class Counted(NamedTuple):
    """What was counted of threads: of all that were taken in, since each began."""

    ran_ns: int
    waited_ns: int  # for so long they had work and did not run: for want of quota, or because others had the processor
    throttled: int  # periods in which a quota was used up
    throttled_ns: int  # for so long they had work and no quota

    def in_seconds(self) -> dict[str, float]:
        """For how long they ran, were held up for want of quota, and were kept waiting by others: {"ran_s", "held_s", "waited_s"}."""
        waited_ns = max(0, self.waited_ns - self.throttled_ns)
        seconds = (("ran_s", self.ran_ns), ("held_s", self.throttled_ns), ("waited_s", waited_ns))
        return {word: round(ns / 1e9, 4) for word, ns in seconds}

    def plus(self, other: Counted) -> Counted:
        return Counted(*(a + b for a, b in zip(self, other)))

    def minus(self, other: Counted) -> Counted:
        return Counted(*(a - b for a, b in zip(self, other)))


def find(mounts: str = MOUNTS) -> Hierarchy:
    """The hierarchy that limits CPU time here and lets us. Raises Impossible with what was found instead."""
    found = []
    for version, folder in _mounted(mounts):
        probe = os.path.join(folder, f"{_own_tag()}-probe")
        lent = False
        try:
            lent = version == 2 and _lend(folder)
            os.mkdir(probe)
        except OSError as error:
            found.append(f"{folder}: {error.strerror}")
            continue
        try:
            _set(Hierarchy(version, folder), probe, 0.5)
            return Hierarchy(version, folder)
        except OSError as error:
            found.append(f"{probe}: {error.strerror or error}")
        finally:
            _remove(probe)
            if lent:
                _take_back(folder)
    raise Impossible("; ".join(found) or "no control group for CPU time is mounted")


def _mounted(mounts: str) -> list[tuple[int, str]]:
    """Version and folder of each hierarchy that has CPU time; version 1 first: where it has the controller, 2 has not."""
    return [(version, folder) for version, folder, controllers in hierarchies(mounts) if "cpu" in controllers]


NOTHING = Counted(0, 0, 0, 0)


class Groups:
    """Threads of one process, each with the same share of a core. Nothing of it is left after `release`, or it says what."""

    def __init__(self, hierarchy: Hierarchy, proc: str = "/proc") -> None:
        self.hierarchy = hierarchy
        self._proc = proc
        self._share = 1.0
        self._tag = _own_tag()
        self._pid = 0
        self._home = ""  # where the process was before
        self._tids: dict[int, str] = {}  # by thread: its folder
        self._made = 0
        self._gone = NOTHING  # of threads that are no more
        self._last: dict[int, Counted] = {}
        self._lent = False  # we have given version 2's root its controller

    @property
    def folders(self) -> list[str]:
        """Those of ours that are there."""
        return _ours(self.hierarchy.folder, self._tag)

    def take_in(self, pid: int, tids: list[int]) -> None:
        """These threads of `pid` are the limited ones from here on; groups of threads that are no more are gone. Raises OSError."""
        if pid != self._pid:
            self._leave()
            self._pid, self._home = pid, _home(self._proc, pid, self.hierarchy)
        for tid in [known for known in self._tids if known not in tids]:
            self._gone = self._gone.plus(self._last.pop(tid, NOTHING))
            _remove(self._tids.pop(tid))
        new = [tid for tid in tids if tid not in self._tids]
        base = self._base() if new else ""
        for tid in new:
            folder = os.path.join(base, f"{self._tag}-{self._made}")
            self._made += 1
            os.mkdir(folder)
            self._tids[tid] = folder
            if self.hierarchy.version == 2:
                put(os.path.join(folder, "cgroup.type"), "threaded")
        if new and self.hierarchy.version == 2:
            put(os.path.join(base, "cgroup.subtree_control"), "+cpu")
            put(os.path.join(base, "cgroup.procs"), str(pid))  # all of its threads: those below it, too
        for tid, folder in self._tids.items() if new else ():
            _set(self.hierarchy, folder, self._share)
            put(os.path.join(folder, "tasks" if self.hierarchy.version == 1 else "cgroup.threads"), str(tid))

    def _base(self) -> str:
        """What the groups of threads lie in: with version 2 a group of ours that the process moves into."""
        root = self.hierarchy.folder
        if self.hierarchy.version == 1:
            return root
        base = os.path.join(root, f"{self._tag}-process")
        if not os.path.isdir(base):
            self._lent = _lend(root) or self._lent
            os.mkdir(base)
            put(os.path.join(base, "cpu.weight"), str(100 * WEIGHT))  # the threads compete within it, and it with everybody else
        return base

    def limit(self, share: float) -> None:
        """Each thread has this share of a core from here on; 1 or more is no limit. Raises OSError."""
        self._share = share
        for folder in self._tids.values():
            _set(self.hierarchy, folder, share)

    def counted(self) -> Counted:
        """Costs a few small reads. A thread that has ended counts with what was last seen of it."""
        total = self._gone
        for tid, folder in self._tids.items():
            now = Counted(*ran(self._proc, self._pid, tid), *throttled_in(folder))
            self._last[tid] = Counted(*map(max, now, self._last.get(tid, NOTHING)))
            total = total.plus(self._last[tid])
        return total

    def each(self) -> list[tuple[int, Counted]]:
        """What is counted of each of the threads at hand, right now."""
        return [(tid, Counted(*ran(self._proc, self._pid, tid), *throttled_in(folder))) for tid, folder in self._tids.items()]

    def held_ns(self) -> int:
        """For how long the one of the threads at hand that was held up most had work and no quota."""
        return max((throttled_in(folder)[1] for folder in self._tids.values()), default=0)

    def release(self) -> list[str]:
        """No thread is limited any more, and no group of ours is there; what is left all the same, a path each. Never raises."""
        self._leave()
        deadline = time.monotonic() + GOING_S
        while True:
            left = self.folders
            for folder in left:
                _remove(folder)
            left = self.folders
            if not left or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        if self._lent and not left:
            self._lent = not _take_back(self.hierarchy.folder)
        return left

    def _leave(self) -> None:
        """Every thread is where it was, or where everybody is if that place is gone."""
        whole = [str(self._pid)] if self.hierarchy.version == 2 else [str(tid) for tid in self._tids]
        name = "cgroup.procs" if self.hierarchy.version == 2 else "tasks"
        for task in whole if self._tids else []:
            for place in (self._home, self.hierarchy.folder):
                try:
                    put(os.path.join(place, name), task)
                    break
                except OSError:
                    continue
        for last in self._last.values():
            self._gone = self._gone.plus(last)
        self._last = {}
        for folder in self._tids.values():
            _remove(folder)
        self._tids = {}


def sweep(mounts: str = MOUNTS, proc: str = "/proc") -> list[str]:
    """Groups that a process made which is dead are taken away, if nobody is in them; their paths. Never raises.

    Threads that were killed with their maker may still be on their way out: they get `GOING_S` for it.
    """
    gone: list[str] = []
    deadline = time.monotonic() + GOING_S
    while True:
        left = [path for _, folder in _mounted(mounts) for path in _ours(folder, TAG) if _nobodys(path, proc)]
        gone += [path for path in left if _remove(path)]
        if len(left) == 0 or time.monotonic() > deadline:
            return gone
        time.sleep(0.02)


def _nobodys(path: str, proc: str) -> bool:
    """Whether the process that its name says made it is dead."""
    words = os.path.basename(path)[len(TAG) :].split("-")
    return len(words) >= 2 and words[0].isdigit() and born(int(words[0]), proc) != words[1]


def born(pid: int, proc: str = "/proc") -> str:
    """When a process started, in the kernel's ticks: with its pid a name that no later process has. "" when it is gone, also where
    whoever started it has not heard of that yet."""
    words = text(f"{proc}/{pid}/stat").rpartition(")")[2].split()
    return words[19] if len(words) > 19 and words[0] not in "ZX" else ""


# ---- the kernel's files -------------------------------------------------------------------------------------------------


def _own_tag() -> str:
    return f"{TAG}{os.getpid()}-{born(os.getpid())}"


def _ours(folder: str, tag: str) -> list[str]:
    """Folders that bear the tag, those that lie in others first."""
    try:
        here = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.startswith(tag)]
    except OSError:
        return []
    return [each for path in here if os.path.isdir(path) for each in (*_ours(path, tag), path)]


def _set(hierarchy: Hierarchy, folder: str, share: float) -> None:
    """A quota in one group. A group that had none gets its period first, because a quota must not be longer than what is above allows."""
    if hierarchy.version == 2:
        quota, period = quota_of(share)
        put(os.path.join(folder, "cpu.weight"), str(100 * WEIGHT))
        put(os.path.join(folder, "cpu.max"), f"{'max' if quota < 0 else quota} {period}")
        return
    quota, period = quota_of(share)
    put(os.path.join(folder, "cpu.shares"), str(1024 * WEIGHT))
    if quota >= 0 and text(os.path.join(folder, "cpu.cfs_period_us")).strip() != str(period):
        put(os.path.join(folder, "cpu.cfs_quota_us"), "-1")
        put(os.path.join(folder, "cpu.cfs_period_us"), str(period))
    put(os.path.join(folder, "cpu.cfs_quota_us"), str(quota))


def _lend(root: str) -> bool:
    """Groups right below version 2's root have the controller; True if it was us who gave it to them. Raises OSError."""
    if "cpu" in text(os.path.join(root, "cgroup.subtree_control")).split():
        return False
    put(os.path.join(root, "cgroup.subtree_control"), "+cpu")
    return True


def _take_back(root: str) -> bool:
    try:
        put(os.path.join(root, "cgroup.subtree_control"), "-cpu")
        return True
    except OSError:
        return False  # somebody else below it limits CPU time by now


def quota_of(share: float) -> tuple[int, int]:
    """(quota, period) in µs; a quota of -1 is none."""
    return (-1, PERIOD_US) if share >= 1 else part_of(share)


def _home(proc: str, pid: int, hierarchy: Hierarchy) -> str:
    """The folder of the group that a process is in; the hierarchy's own where that cannot be told."""
    for line in text(f"{proc}/{pid}/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if (hierarchy.version == 1 and "cpu" in controllers.split(",")) or (hierarchy.version == 2 and number == "0"):
            return hierarchy.folder + path.rstrip("/")
    return hierarchy.folder


def ran(proc: str, pid: int, tid: int) -> tuple[int, int]:
    """For how long a thread has run and waited; zeros when it is gone. Where the kernel does not count that: in ticks, and no waiting."""
    words = text(f"{proc}/{pid}/task/{tid}/schedstat").split()
    if len(words) > 1:
        return int(words[0]), int(words[1])
    fields = text(f"{proc}/{pid}/task/{tid}/stat").rpartition(")")[2].split()
    return ((int(fields[11]) + int(fields[12])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK") if len(fields) > 12 else 0), 0


def throttled_in(folder: str) -> tuple[int, int]:
    said = dict(line.split(" ", 1) for line in text(os.path.join(folder, "cpu.stat")).splitlines() if " " in line)
    waited_ns = int(said.get("throttled_time", 0)) or 1000 * int(said.get("throttled_usec", 0))
    return int(said.get("nr_throttled", 0)), waited_ns


def used_in(folder: str) -> int | None:
    """For how many ns all that was ever in a group has run, by the group's own count; None where it keeps none (version 1 counts it in
    a hierarchy that may be mounted elsewhere)."""
    said = dict(line.split(" ", 1) for line in text(os.path.join(folder, "cpu.stat")).splitlines() if " " in line)
    if said.get("usage_usec", "").isdigit():
        return 1000 * int(said["usage_usec"])
    used = text(os.path.join(folder, "cpuacct.usage")).strip()
    return int(used) if used.isdigit() else None


def _remove(folder: str) -> bool:
    try:
        os.rmdir(folder)
        return True
    except OSError:
        return False
