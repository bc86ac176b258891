"""A real board's own clock, limited: what its kernel may ask of the processor at most, for each group of cores that share a clock.

    FOLDER/policy0/cpuinfo_max_freq, cpuinfo_min_freq, scaling_available_frequencies     what it can do, in kHz
    FOLDER/policy0/scaling_max_freq                                                      what it may: ours while heat is on
    /sys/…                                                                               the same, of its firmware

    @supervisor frequency back  FOLDER CLOCK=LIMIT …    each may again what it might before
    @supervisor frequency shown FOLDER CLOCK=LIMIT …    a line for each that may not

A clock is a policy by its name, or the file in which its firmware takes a limit, which the device's type declares. Each number is in its
file's own unit.

What it might before is read before anything is armed, and stands in the undo. Where the kernel's own cooling lowers the same limit at that
moment (a Jetson's does), it is shown, too: the guard tries again until the board is cool. Tried with folders that were made for the tests;
no hardware has been at hand.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from .kernel_files import put, text
from .quota import NOTHING, Counted, Hierarchy
from .say import say

FOLDER = "/sys/devices/system/cpu/cpufreq"
LIMIT, MOST, LEAST, STEPS = "scaling_max_freq", "cpuinfo_max_freq", "cpuinfo_min_freq", "scaling_available_frequencies"
KERNELS = "/sys/"  # whose files a firmware's may be
FAILED, WRONG = 1, 64


def read(folder: str = FOLDER, firmware: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """Clock → what it may now, what it can at most and at least, and its steps where it says them. Of those that say all of it.

    `firmware` is its `file`, and what that says at the full clock (`full`) and at the lowest (`least`).
    """
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        now, most, least = (_number(os.path.join(folder, name, file)) for file in (LIMIT, MOST, LEAST))
        if now and most and least:
            steps = [int(word) for word in text(os.path.join(folder, name, STEPS)).split() if word.isdigit()]
            found[name] = {"limit": now, "most": most, "least": least, "steps": sorted(steps)}
    now = _number(_file(folder, firmware["file"])) if firmware else None
    if firmware and now:
        found[firmware["file"]] = {"limit": now, "most": firmware["full"], "least": firmware["least"], "steps": []}
    return found


def capabilities(folder: str = FOLDER) -> list[str]:
    """"cpufreq", where each clock that there is here may be limited by us."""
    names = read(folder)
    ours = os.geteuid() == 0 and all(os.access(os.path.join(folder, name, LIMIT), os.W_OK) for name in names)
    return ["cpufreq"] if names and ours else []


def nearest(clock: dict[str, Any], share: float) -> int:
    """The step that is nearest to a share of a clock's most, never more than what it might before; without steps the very number."""
    wanted = share * clock["most"]
    steps = [each for each in clock["steps"] if clock["least"] <= each <= clock["limit"]]
    number = min(steps, key=lambda each: abs(each - wanted)) if steps else round(wanted)
    return int(min(clock["limit"], max(clock["least"], number)))


class Clocks:
    """All clocks of this board, as `quota.Groups` has threads: the same share for each. Load is that of all cores.

    A core whose clock is lower is busy for longer, so what it ran counts by its clock: as processor time at the full one.
    """

    def __init__(self, before: dict[str, dict[str, Any]], folder: str = FOLDER, proc: str = "/proc") -> None:
        """`before` is what `read` has said. Raises OSError where there is nothing to limit, ValueError for what is no clock."""
        if not before:
            raise OSError(f"no clock can be limited in {folder}")
        for name in before:
            _file(folder, name)
        self.hierarchy = Hierarchy(0, folder)
        self._before, self._folder, self._proc = before, folder, proc
        self._share, self._held = 1.0, 0
        self._ran_ns, self._busy_ns = 0, self._busy()

    def take_in(self, pid: int, tids: list[int]) -> None:
        """A clock is everybody's."""

    def limit(self, share: float) -> None:
        """Raises OSError where the kernel refuses, or does something else."""
        self._count()
        self._share = share
        for name, clock in self._before.items():
            limit = clock["limit"] if share >= 1 else nearest(clock, share)
            put(_file(self._folder, name), str(limit))
            found = _number(_file(self._folder, name))
            if found is None or found > limit:
                raise OSError(f"{name} may have {found}, though it was told {limit}")

    def counted(self) -> Counted:
        """`throttled` counts looks at which a limit of ours was in force: no clock was asked for more."""
        self._count()
        now = [(_number(_file(self._folder, name)) or 0, each["most"]) for name, each in self._before.items()]
        self._held += self._share < 1 and all(limit < most for limit, most in now)
        return NOTHING._replace(ran_ns=self._ran_ns, throttled=self._held)

    def held_ns(self) -> int:
        return 0

    def release(self) -> list[str]:
        """Each clock may again what it might before; what may not, in words. Never raises."""
        return back({name: each["limit"] for name, each in self._before.items()}, self._folder)

    def _count(self) -> None:
        busy_ns = self._busy()
        self._ran_ns += round(max(0, busy_ns - self._busy_ns) * self._share)
        self._busy_ns = busy_ns

    def _busy(self) -> int:
        """For how long the cores have worked since boot, all together: user, nice, system, interrupts; no waiting for a disk."""
        words = text(os.path.join(self._proc, "stat")).partition("\n")[0].split()[1:]
        ticks = [int(word) for word in words[:7]]
        return (sum(ticks) - sum(ticks[3:5])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def back(limits: dict[str, int], folder: str = FOLDER) -> list[str]:
    """Each clock may again what it might before; what may not, in words."""
    for name, limit in limits.items():
        try:
            put(_file(folder, name), str(limit))
        except OSError as error:
            say(f"{name}: {error}")
    return seen(limits, folder)


def seen(limits: dict[str, int], folder: str = FOLDER) -> list[str]:
    now = {name: _number(_file(folder, name)) for name in limits}
    return [f"limited {name} to {now[name]} instead of {limit}" for name, limit in limits.items() if now[name] != limit]


def _file(folder: str, name: str) -> str:
    """Where a clock's limit is. Raises ValueError for what is neither a policy's name nor a file of the kernel's."""
    if name.startswith(KERNELS) and ".." not in name:
        return name
    if not name or "/" in name:
        raise ValueError(f"{name!r} is no clock")
    return os.path.join(folder, name, LIMIT)


def _digits(word: str) -> int:
    if not word.isdecimal():
        raise ValueError(f"{word!r} is no limit")
    return int(word)


def _number(path: str) -> int | None:
    said = text(path).strip()
    return int(said) if said.isdigit() else None


def main(arguments: list[str]) -> int:
    """`frequency back|shown FOLDER CLOCK=LIMIT …`."""
    try:
        what, folder = arguments[0], arguments[1]
        limits = {name: _digits(limit) for name, _, limit in (word.rpartition("=") for word in arguments[2:]) if _file(folder, name)}
    except (IndexError, ValueError):
        what = ""
    if what not in ("back", "shown"):
        say("usage: frequency back | shown FOLDER CLOCK=LIMIT …")
        return WRONG
    if what == "shown":
        say("\n".join(seen(limits, folder)), sys.stdout)
        return 0
    wrong = back(limits, folder)
    for each in wrong:
        say(each)
    return FAILED if wrong else 0
