"""Work for its own sake: a fixed piece of it that is timed, as much as there is that heats, and what the sensors say meanwhile.

The timed piece runs in a process of its own, so that whatever this supervisor does meanwhile does not count. Its processor time tells how
fast the machine is, even beside others that work there: a machine that is held up from outside does not know, and counts on.
"""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

SENSOR_LIMIT_BYTES = 200
TIMES, ROUND_S = 3, 0.25


def measure(state: str = "") -> dict[str, Any]:
    """The best of three: {"duration_s", "cpu_s"}, by the clock and in processor time. Raises OSError.

    With `state` it has the quota that pipelines of that state folder have at this moment, in a group beside theirs, and `counted` says
    for how long it ran, had work and no quota, by that group, and waited for others: {"ran_s", "held_s", "waited_s"}.
    """
    from .quota import Counted, ran

    group = _beside(state) if state else None
    read, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if group is not None:
                group.take_in([os.getpid()])
            timed = _timed()
            os.write(told, json.dumps([timed, *ran("/proc", os.getpid(), os.getpid())]).encode())
        finally:
            os._exit(0)
    os.close(told)
    with os.fdopen(read, "rb") as said:
        data = said.read()
    os.waitpid(pid, 0)
    if not data:
        if group is not None:
            group.remove()
        raise OSError("the fixed work was ended by somebody")
    found: dict[str, Any]
    found, ran_ns, waited_ns = json.loads(data)
    if group is not None:
        figures = group.figures()
        group.remove()
        held_ns = figures.get("throttled_ns") or 1000 * figures.get("throttled_us", 0)
        found["counted"] = Counted(ran_ns, waited_ns, 0, held_ns).in_seconds()
    return found


def _beside(state: str) -> Any:
    """A group with the quota of the pipelines' group; None where that has none."""
    from .cgroup import WORK, Group
    from .quota import WEIGHT

    figures = Group(state).figures()
    if "cpu_quota_us" not in figures:
        return None
    group = Group(state, WORK)
    group.make()
    group.limit({"quota_us": figures["cpu_quota_us"], "period_us": figures.get("cpu_period_us")})
    group.prefer(WEIGHT)
    return group


def _enter(state: str) -> None:
    if state:
        from .cgroup import Group

        if Group(state).exists():
            Group(state).take_in([os.getpid()])


def _timed() -> dict[str, float]:
    """Seconds of one piece. It is done again and again for ROUND_S: a quota has a period, and a piece may be shorter than that."""
    from .facts import fixed_work

    found = []
    for _ in range(TIMES):
        began, used, pieces = time.perf_counter(), time.thread_time(), 0
        while pieces == 0 or time.perf_counter() - began < ROUND_S:
            fixed_work()
            pieces += 1
        found.append(((time.perf_counter() - began) / pieces, (time.thread_time() - used) / pieces))
    duration_s, cpu_s = (round(min(each[which] for each in found), 5) for which in (0, 1))
    return {"duration_s": duration_s, "cpu_s": cpu_s}


class Burning:
    """Work on every core, of the lowest priority, for a while. It ends with its time, when it is told, and with this process."""

    def __init__(self) -> None:
        self._pids: list[int] = []

    def burn(self, for_s: float, state: str = "") -> int:
        """For so long from now on; 0 ends it at once. How many cores work."""
        for pid in self._pids:
            try:  # noqa: SIM105 - contextlib is not imported on a device for this
                os.kill(pid, signal.SIGKILL)  # our own child: nobody else can have its pid before we have waited for it
            except OSError:
                pass
            os.waitpid(pid, 0)
        self._pids = [_burner(for_s, state) for _ in range(os.cpu_count() or 1)] if for_s > 0 else []
        return len(self._pids)


def _burner(for_s: float, state: str) -> int:
    owner = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        _enter(state)
        os.nice(19)
        deadline = time.monotonic() + for_s
        while time.monotonic() < deadline and os.getppid() == owner:
            total = 0
            for number in range(20_000):
                total = (total * 31 + number) % 1_000_003
    finally:
        os._exit(0)


def sensed(paths: dict[str, Any]) -> dict[str, Any]:
    """What each of these files says, without its last newline; None for one that cannot be read."""
    found: dict[str, Any] = {}
    for word, path in paths.items():
        try:
            with open(str(path), encoding="utf-8", errors="replace") as file:
                found[str(word)] = file.read(SENSOR_LIMIT_BYTES).strip()
        except (OSError, ValueError):
            found[str(word)] = None
    return found
