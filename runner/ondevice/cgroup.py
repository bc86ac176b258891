"""The control group that the pipeline's processes run in, and nobody else: neither supervisor nor guard.

    supervisor, before a host runs anything:   made, without a limit ─► the host's process enters it ─► Python, Stageflow, stages
    guard, at the profile's time:              @supervisor confine limit (JSON) ─► limits, read back ─► @supervisor confine remove

Version 1 (a hierarchy for each controller) or 2 (one for all), whichever has the controller here. The name holds a hash of the state
folder: two supervisors of one machine have two groups. What is said of a group are its own counters, so they begin with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from .kernel_files import put, raw, text
from .say import say
from .scarce_figures import PERIOD_US

TAG = "runner-scarce-"
PROBE, WORK = "-probe", "-work"  # groups beside it, for a moment: limits that are tried out, and work that is timed
CONTROLLERS = ("memory", "cpu", "pids")
_LIMIT = {"memory": "memory_limit_bytes", "cpu": "cpu_quota_us", "pids": "processes_limit"}
MOUNTS = "/proc/self/mountinfo"
SWITCHED_ON = f"/run/{TAG}switched-on"  # controllers that a group of ours needed and nobody else had on: of this boot, as groups are
NO_LIMIT_BYTES = 1 << 62
REMOVE_S = 5.0
FAILED, WRONG = 1, 64

_ENTER = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo 0 >"$1" || exit 71; shift; n=$((n - 1)); done; exec "$@"'


def key_of(state: str) -> str:
    """By what a state folder is known in the names of its groups."""
    return hashlib.sha256(os.fsencode(os.path.abspath(state))).hexdigest()[:8]


class Group:
    """The group of one state folder; nothing is made before `make`."""

    def __init__(self, state: str, suffix: str = "", mounts: str = MOUNTS) -> None:
        self.state = state
        self.name = TAG + key_of(state) + suffix
        self._roots = roots(mounts)

    @property
    def versions(self) -> dict[str, int]:
        """Controller → which version has it here; those that are not there are left out."""
        return {name: version for name, (version, _) in self._roots.items()}

    @property
    def folders(self) -> list[str]:
        return list(dict.fromkeys(os.path.join(root, self.name) for _, root in self._roots.values()))

    def exists(self) -> bool:
        return any(os.path.isdir(folder) for folder in self.folders)

    def make(self) -> None:
        """It is there, without a limit if it was not there before. Raises OSError where that is not possible."""
        for root in {root for version, root in self._roots.values() if version == 2}:
            said = [name for name, (version, _) in self._roots.items() if version == 2]
            missing = [name for name in said if name not in text(os.path.join(root, "cgroup.subtree_control")).split()]
            if missing:
                self._switch_on(root, missing)
        for folder in self.folders:
            os.makedirs(folder, exist_ok=True)

    def entering(self, argv: list[str]) -> list[str]:
        """`argv` as a process that is in the group before it is anything else: what it starts with is counted, too."""
        places = [os.path.join(folder, "cgroup.procs") for folder in self.folders]
        return ["/bin/sh", "-c", _ENTER, "sh", str(len(places)), *places, *argv]

    def take_in(self, pids: list[int]) -> None:
        """Processes that are there already. What memory they have by then is not counted."""
        for folder in self.folders:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    put(os.path.join(folder, "cgroup.procs"), str(pid))

    def limit(self, asked: dict[str, Any]) -> list[str]:
        """Limits it to `memory_bytes`, `quota_us` in each `period_us`, `processes`; what is not asked is not limited.

        Returns what is not as it was asked, read back from the kernel. Raises OSError where it refuses.
        """
        memory, quota, processes = asked.get("memory_bytes"), asked.get("quota_us"), asked.get("processes")
        if memory is not None:
            if self._roots["memory"][0] == 1:
                self._set("memory", "memory.swappiness", "0", optional=True)
                self._set("memory", "memory.limit_in_bytes", str(memory))
                self._set("memory", "memory.memsw.limit_in_bytes", str(memory), optional=True)
            else:
                self._set("memory", "memory.swap.max", "0", optional=True)
                self._set("memory", "memory.max", str(memory))
        if quota is not None:
            period = int(asked.get("period_us") or PERIOD_US)
            if self._roots["cpu"][0] == 1:
                self._set("cpu", "cpu.cfs_period_us", str(period))
                self._set("cpu", "cpu.cfs_quota_us", str(quota))
            else:
                self._set("cpu", "cpu.max", f"{quota} {period}")
        if processes is not None:
            self._set("pids", "pids.max", str(processes))
        now = self.figures()
        wanted = (("memory_limit_bytes", memory), ("cpu_quota_us", quota), ("processes_limit", processes))
        return [f"{name}: asked {value}, found {now.get(name)}" for name, value in wanted if value is not None and now.get(name) != value]

    def prefer(self, times: int) -> None:
        """Its processes go before others of this machine, so that what holds them up is their quota: as many times as usual."""
        file, usual = ("cpu.shares", 1024) if self._roots["cpu"][0] == 1 else ("cpu.weight", 100)
        self._set("cpu", file, str(usual * times), optional=True)

    def unlimit(self, controllers: Sequence[str] = CONTROLLERS) -> None:
        """No limit of these is in force when this returns, as far as the kernel lets us. A device that heats itself has heat's quota."""
        for controller, (version, _) in self._roots.items():
            for file, value in _FREE[controller, version] if controller in controllers else ():
                self._set(controller, file, value, optional=True)

    def remove(self) -> list[str]:
        """Free, empty (whoever is in it goes to the group above) and gone; what is left, in words. What is not there is no error."""
        if not self.exists():
            return []
        self.unlimit()
        deadline = time.monotonic() + REMOVE_S
        while time.monotonic() < deadline:
            for folder in self.folders:
                _empty(folder)
                with contextlib.suppress(OSError):  # gone already, or still busy: it is looked below
                    os.rmdir(folder)
            if not self.exists():
                self.stand_down()
                return []
            time.sleep(0.05)
        return [f"{folder} is still there" for folder in self.folders if os.path.isdir(folder)]

    def end(self) -> None:
        """Whoever is in it is killed, and nobody is in it when this returns, as far as the kernel lets us. For a group of our own alone."""
        deadline = time.monotonic() + REMOVE_S
        while (pids := [pid for folder in self.folders for pid in text(os.path.join(folder, "cgroup.procs")).split()]):
            for pid in pids:
                with contextlib.suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)

    def _switch_on(self, root: str, missing: list[str]) -> None:
        """In version 2 controllers are switched on for all groups below the root, others' too. Which of them were not on when we came is
        noted before it is done, for whichever process of ours goes last."""
        before = text(SWITCHED_ON)
        put(SWITCHED_ON, " ".join(dict.fromkeys([*before.split(), *missing])))
        try:
            put(os.path.join(root, "cgroup.subtree_control"), " ".join(f"+{name}" for name in missing))
        except OSError:
            _note_switched_on(before)
            raise

    def stand_down(self) -> None:
        """Where there is no group below the root any more, those that we switched on go off again, and no others."""
        ours = text(SWITCHED_ON).split()
        for root in {root for version, root in self._roots.values() if version == 2} if ours else ():
            try:
                if not any(entry.is_dir() for entry in os.scandir(root)):
                    on = text(os.path.join(root, "cgroup.subtree_control")).split()
                    put(os.path.join(root, "cgroup.subtree_control"), " ".join(f"-{name}" for name in on if name in ours))
                    _note_switched_on("")
            except OSError:
                pass

    def limits(self, controllers: Sequence[str] = CONTROLLERS) -> dict[str, int]:
        """Those of these that are in force, by the names of `figures`."""
        now = self.figures()
        return {name: now[name] for name in map(_LIMIT.__getitem__, controllers) if name in now}

    def figures(self) -> dict[str, Any]:
        """What the kernel says of the group: what it may have, what it has, the most that it had, and how often it was denied.

        {} where there is no group. What cannot be read is left out: a gap, never a zero.
        """
        found: dict[str, Any] = {}
        if not self.exists():
            return found
        for controller, (version, root) in self._roots.items():
            folder = os.path.join(root, self.name)
            for file, key, names in _READ[controller, version]:
                said = text(os.path.join(folder, file))
                words = dict(line.split(None, 1) for line in said.splitlines() if " " in line) if key else {}
                value = words.get(key, "") if key else said.split()[0] if said.split() else ""
                if value.isdigit() and int(value) < NO_LIMIT_BYTES:
                    found[names] = int(value)
        if "cpu" in self._roots:
            folder = os.path.join(self._roots["cpu"][1], self.name)
            if self._roots["cpu"][0] == 2:
                period = text(os.path.join(folder, "cpu.max")).split()[1:]
            else:
                period = text(os.path.join(folder, "cpu.cfs_period_us")).split()
            if "cpu_quota_us" in found and period[:1] and period[0].isdigit():
                found["cpu_period_us"] = int(period[0])
        found["members"] = len(text(os.path.join(self.folders[0], "cgroup.procs")).split())
        return found

    def _set(self, controller: str, file: str, value: str, optional: bool = False) -> None:
        try:
            put(os.path.join(self._roots[controller][1], self.name, file), value)
        except OSError:
            if not optional:
                raise


_FREE: dict[tuple[str, int], tuple[tuple[str, str], ...]] = {  # in the order in which the kernel takes them
    ("memory", 1): (("memory.memsw.limit_in_bytes", "-1"), ("memory.limit_in_bytes", "-1")),
    ("memory", 2): (("memory.max", "max"), ("memory.swap.max", "max")),
    ("cpu", 1): (("cpu.cfs_quota_us", "-1"),),
    ("cpu", 2): (("cpu.max", "max"),),
    ("pids", 1): (("pids.max", "max"),),
    ("pids", 2): (("pids.max", "max"),),
}
_PIDS = (
    ("pids.max", "", "processes_limit"),
    ("pids.current", "", "processes"),
    ("pids.peak", "", "processes_peak"),
    ("pids.events", "max", "processes_refused"),
)
_STAT = (("cpu.stat", "nr_periods", "periods"), ("cpu.stat", "nr_throttled", "throttled_periods"))
_READ: dict[tuple[str, int], tuple[tuple[str, str, str], ...]] = {  # file, the word in it ("" for its only one), what we call it
    ("memory", 1): (
        ("memory.limit_in_bytes", "", "memory_limit_bytes"),
        ("memory.usage_in_bytes", "", "memory_bytes"),
        ("memory.max_usage_in_bytes", "", "memory_peak_bytes"),
        ("memory.failcnt", "", "memory_refused"),
        ("memory.oom_control", "oom_kill", "oom_kills"),
    ),
    ("memory", 2): (
        ("memory.max", "", "memory_limit_bytes"),
        ("memory.current", "", "memory_bytes"),
        ("memory.peak", "", "memory_peak_bytes"),
        ("memory.events", "max", "memory_refused"),
        ("memory.events", "oom_kill", "oom_kills"),
    ),
    ("cpu", 1): (("cpu.cfs_quota_us", "", "cpu_quota_us"), *_STAT, ("cpu.stat", "throttled_time", "throttled_ns")),
    ("cpu", 2): (("cpu.max", "", "cpu_quota_us"), *_STAT, ("cpu.stat", "throttled_usec", "throttled_us")),
    ("pids", 1): _PIDS,
    ("pids", 2): _PIDS,
}


def roots(mounts: str = MOUNTS) -> dict[str, tuple[int, str]]:
    """Controller → its version and where its hierarchy is mounted. Version 1 goes first, where it has a controller: then 2 has not."""
    found: dict[str, tuple[int, str]] = {}
    for version, folder, controllers in hierarchies(mounts):
        for name in controllers:
            found.setdefault(name, (version, folder))
    return found


def hierarchies(mounts: str = MOUNTS) -> list[tuple[int, str, list[str]]]:
    """Version, folder and controllers of each that is mounted, version 1 first; of the controllers only those by which we limit."""
    found = []
    for line in text(mounts).splitlines():
        words = line.split(" ")
        kind, folder, options = words[words.index("-") + 1], words[4], words[-1].split(",")
        if kind == "cgroup":
            found.append((1, folder, [name for name in CONTROLLERS if name in options]))
        elif kind == "cgroup2":
            has = text(os.path.join(folder, "cgroup.controllers")).split()
            found.append((2, folder, [name for name in CONTROLLERS if name in has]))
    return sorted(found, key=lambda each: each[0])


def capabilities() -> list[str]:
    """Which controllers are there, and ours to use: "cgroup-memory" and so on."""
    return [f"cgroup-{name}" for name, (_, root) in roots().items() if os.access(root, os.W_OK) and os.geteuid() == 0]


def hosts_of(state: str) -> list[int]:
    """The processes that run a pipeline for the supervisor of a state folder, and whatever those have started."""
    try:
        with open(os.path.join(state, "supervisor.lock")) as file:
            supervisor = int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return []
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            parent = text(f"/proc/{name}/stat").rpartition(")")[2].split()[1:2]
            children.setdefault(int(parent[0]) if parent else 0, []).append(int(name))
    found = [pid for pid in children.get(supervisor, []) if b"host" in raw(f"/proc/{pid}/cmdline").split(b"\0")]
    for pid in found:  # it grows as it goes
        found += children.get(pid, [])
    return found


def _note_switched_on(words: str) -> None:
    with contextlib.suppress(OSError):
        if words:
            put(SWITCHED_ON, words)
        else:
            os.unlink(SWITCHED_ON)


def _empty(folder: str) -> None:
    """Whoever is in it goes to the group above."""
    for pid in text(os.path.join(folder, "cgroup.procs")).split():
        with contextlib.suppress(OSError):
            put(os.path.join(os.path.dirname(folder), "cgroup.procs"), pid)


def main(arguments: list[str]) -> int:
    """`confine limit` (JSON from standard input), `confine free CONTROLLER…`, `confine remove`, `confine shown CONTROLLER…`."""
    group = Group(os.environ.get("RUNNER_STATE", ""))
    if not group.state:
        say("RUNNER_STATE does not say whose group")
        return WRONG
    do, controllers = "".join(arguments[:1]), arguments[1:]
    some = {"limit": False, "free": True, "remove": False, "shown": True}
    if some.get(do) != bool(controllers) or not {*controllers} <= {*CONTROLLERS}:
        say(f"usage: confine limit | free CONTROLLER… | remove | shown CONTROLLER…, of {', '.join(CONTROLLERS)}")
        return WRONG
    wrong: list[str] = []
    try:
        if do == "limit":
            asked = json.loads(sys.stdin.read())
            group.make()
            group.take_in(hosts_of(group.state))
            wrong = group.limit(asked)
        elif do == "free":
            group.unlimit(controllers)
            wrong = [f"{name} is still {value}" for name, value in group.limits(controllers).items()]
        elif do == "remove":
            wrong = group.remove()
        else:
            for name, value in group.limits(controllers).items():
                say(f"limit {name} {value} of {group.name}", sys.stdout)
    except (OSError, ValueError, KeyError) as error:
        wrong = [f"{type(error).__name__}: {error}"]
    for each in wrong:
        say(each)
    return FAILED if wrong else 0
