"""Time, passed in: nothing above this file asks the machine what time it is.

A `Clock` has two hands. `boottime_ns` never jumps and counts while the machine sleeps (where the
system offers that): durations, deadlines and leases use it. `wall_ns` is what a person reads, and
may jump; no decision is made from it.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the story needs of time; a test passes one that it turns by hand."""

    def boottime_ns(self) -> int: ...
    def wall_ns(self) -> int: ...
    async def sleep(self, duration_s: float) -> None: ...


class SystemClock:
    """The machine's own clock."""

    def boottime_ns(self) -> int:
        return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    def wall_ns(self) -> int:
        return time.time_ns()

    async def sleep(self, duration_s: float) -> None:
        import asyncio  # not above: who lists devices does not wait

        await asyncio.sleep(duration_s)


def iso(wall_ns: int) -> str:
    """A wall-clock reading as ISO 8601 in UTC, to the millisecond."""
    stamp = datetime.fromtimestamp(wall_ns / 1e9, tz=UTC)
    return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")
