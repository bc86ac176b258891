"""Many processes that want few devices, while somebody kills and stops them: a program of its own, which prints what it found.

    nest ── forks ──► workers ── lent() ──► one lease file
     │ SIGKILL, SIGSTOP … SIGCONT     └──── act ──► a referee per device: its log, in one order, and the fence it has seen

A referee stands for the device: like a keeper it refuses a fence that is over, in the middle of an action, too. Everything is
judged afterwards from the referees' logs and from what the nest did to whom:

    no two act at once          an action may be cut into only MARGIN_S after its lease was confirmed, or when its actor is dead
    confirmed is held           whom a referee refuses had confirmed its lease longer than MARGIN_S before the next one acted
    each fence is granted once
    whoever is awake is served  in the order of asking: overtaken is only who did not try for TURN_S
    nobody starves              every ask of a process that was not killed was granted
    nothing is left             every device can be had at once, and after a sweep neither lease nor place nor file remains

`BROKEN` are leases that do not keep this, so that one sees that it is seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import random
import signal
import sqlite3
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.farm import lease
from runner.farm.lease import Lease, LeaseLost, Leases, Place, Taken, lent

lease.LEASE_S, lease.MARGIN_S, lease.TURN_S, lease.POLL_S = 2.0, 0.5, 1.2, 0.4
DRAIN_LIMIT_S = 120.0
STOPPED_AT_ONCE = 12
_asked: dict[str, tuple[int, int]] = {}  # when each ask of this process tried last, and its longest pause between two tries


def now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class JumpingClock:
    """The machine's clock; its wall hand is anywhere between 1970 and 2106 whenever somebody looks."""

    def boottime_ns(self) -> int:
        return now_ns()

    def wall_ns(self) -> int:
        return random.randrange(2**32) * 1_000_000_000  # noqa: S311

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(duration_s)


# ---- a device --------------------------------------------------------------------------------------------------


class Referee:
    """One device: a log in one order, and the highest fence that acted on it."""

    def __init__(self, folder: Path, device: str) -> None:
        self._path = folder / f"{device}.log"

    @contextlib.contextmanager
    def _alone(self) -> Iterator[int]:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield fd
        finally:
            os.close(fd)

    def note(self, kind: str, id: str, **facts: Any) -> None:
        with self._alone() as fd:
            self._append(fd, kind, id, facts)

    def act(self, kind: str, id: str, fence: int, confirmed_ns: int) -> bool:
        """`kind` of action, refused when its fence is over."""
        with self._alone() as fd:
            highest = int(os.pread(fd, 20, 0) or b"0")
            if fence > highest:
                with open(self._path.with_suffix(".fence"), "wb") as file:
                    file.write(b"%020d" % fence)
            self._append(fd, kind if fence >= highest else f"{kind} refused", id, {"fence": fence, "confirmed_ns": confirmed_ns})
            return fence >= highest

    def _append(self, fd: int, kind: str, id: str, facts: dict[str, Any]) -> None:
        os.write(fd, json.dumps({"ns": now_ns(), "kind": kind, "id": id, "pid": os.getpid(), **facts}).encode() + b"\n")

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._path.read_bytes().splitlines()] if self._path.exists() else []
