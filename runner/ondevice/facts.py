"""What this device is and can prove about itself: identity, clocks, speed, and the honesty of its disk."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from typing import Any

from .frames import PROTOCOL_VERSION
from .journal import boot_id, boottime_ns

_BLOCK = 4096
_OLD, _FLUSHED, _UNFLUSHED = b"old canary ", b"flushed canary ", b"unflushed canary "


def hello(state: str, supervisor_sha256: str, started_ns: int) -> dict[str, Any]:
    """The first answer on every connection: versions first, then who and when."""
    import platform  # not above: a supervisor that restores must not wait for it

    from .fingerprint import capabilities

    usage = os.statvfs(state)
    return {
        "protocol": PROTOCOL_VERSION,
        "supervisor_sha256": supervisor_sha256,
        "python_version": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": sys.platform,
        "machine": platform.machine(),
        "libc": platform.libc_ver()[0],
        "os": platform.platform(),
        "cpu_count": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "disk_free_bytes": usage.f_bavail * usage.f_frsize,
        "boot_id": boot_id(),
        "boottime_ns": boottime_ns(),
        "wall_ns": time.time_ns(),
        "supervisor_started_ns": started_ns,
        "capabilities": capabilities(),
    }


def process_started_ns() -> int:
    """When this process started, on the boot-time clock: /proc/self/stat field 22, elsewhere now.

    The kernel counts that field in clock ticks, so it may lie up to one tick (10 ms) in the past.
    """
    try:
        with open("/proc/self/stat") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        return ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    except OSError:
        return boottime_ns()


_before_the_fork_s = 0.0


def about_to_fork() -> None:
    """What this process has waited is part of its child's wait, too: who is forked goes on with a life that began here."""
    global _before_the_fork_s
    _before_the_fork_s = waited_s() or 0.0


def waited_s() -> float | None:
    """Seconds for which this process, and whoever forked it, could have run and got no processor, by its hungriest thread; None where
    the kernel does not say.

    Source: /proc/PID/task/TID/schedstat, second field, in nanoseconds.
    """
    try:
        delays = []
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/schedstat") as file:
                delays.append(int(file.read().split()[1]))
        return round(_before_the_fork_s + max(delays) / 1e9, 3)
    except (OSError, ValueError, IndexError):
        return None


def benchmark() -> dict[str, float]:
    """Seconds that a fixed piece of work takes here: hashing and interpreted Python, the best of three."""

    def once() -> float:
        began = time.perf_counter()
        digest = b""
        for _ in range(20):
            digest = hashlib.sha256(digest + bytes(100_000)).digest()
        total = 0
        for number in range(100_000):
            total = (total * 31 + number) % 1_000_003
        return time.perf_counter() - began

    return {"duration_s": round(min(once() for _ in range(3)), 4)}


def write_cache(state: str) -> str:
    """What the kernel says of the disk under `state`: "write back", "write through" or "unknown"."""
    device = os.stat(state).st_dev
    link = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"
    for path in (f"{link}/queue/write_cache", f"{link}/../queue/write_cache"):
        try:
            with open(path) as file:
                return file.read().strip()
        except OSError:
            continue
    return "unknown"


class Canary:
    """Two blocks of one file: one overwritten and flushed, one overwritten past the page cache and not flushed.

    After a real power cut behind a volatile write cache the first reads new and the second old. It calls fsync
    itself and not through the journal: it is the disk that is on trial here, not the supervisor.
    """

    def __init__(self, state: str) -> None:
        self._state, self._path = state, os.path.join(state, "canary")

    def prepare(self) -> dict[str, Any]:
        """Both blocks hold old content, durably and already allocated."""
        with open(self._path, "wb") as file:
            file.write(_block(_OLD) * 2)
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(self._state, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        return {"write_cache": write_cache(self._state)}

    def flush_once(self) -> dict[str, Any]:
        """One write and one fsync: the disk server must see a flush for it."""
        with open(self._path, "r+b") as file:
            file.write(_block(_OLD))
            file.flush()
            os.fsync(file.fileno())
        return {}

    def write(self) -> dict[str, Any]:
        """The flushed block, then the unflushed one. Raises OSError where O_DIRECT is not to be had."""
        fd = os.open(self._path, os.O_RDWR | getattr(os, "O_DIRECT", 0))
        try:
            os.pwrite(fd, _aligned(_FLUSHED), 0)
            os.fsync(fd)
            os.pwrite(fd, _aligned(_UNFLUSHED), _BLOCK)
        finally:
            os.close(fd)
        return {}

    def read(self) -> dict[str, Any]:
        with open(self._path, "rb") as file:
            blocks = [file.read(_BLOCK), file.read(_BLOCK)]
        names = {_block(_OLD): "old", _block(_FLUSHED): "new", _block(_UNFLUSHED): "new"}
        return {"flushed": names.get(blocks[0], "garbage"), "unflushed": names.get(blocks[1], "garbage")}


def _block(text: bytes) -> bytes:
    return (text * (_BLOCK // len(text) + 1))[:_BLOCK]


def _aligned(text: bytes) -> Any:
    import mmap

    page = mmap.mmap(-1, _BLOCK)
    page.write(_block(text))
    return page
