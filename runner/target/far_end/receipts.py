"""Receipts: one line for each thing that arrived at the far end, on the disk before the device is answered.

    note(receipt) ──► written, in order ──► await flushed() ──► on the disk; one fsync for all that waited meanwhile

The log is only ever appended to, and read again by a far end that is started anew: a coordinator that was killed and
resumed goes on with what had arrived.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runner.ondevice.journal import boottime_ns

MAX_RECEIPTS, MAX_RECEIPT_BYTES = 500_000, 4_096
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def plain(name: str) -> bool:
    """Whether a name is one word that can be part of a path: no separator, and none that leads upwards."""
    return PLAIN.fullmatch(name) is not None


class Full(Exception):
    """So much has arrived that no more is taken."""


class Receipts:
    """One open log. After an OSError nothing is ever noted again: whoever waits for `flushed` hears of it and answers nobody."""

    def __init__(self, path: Path) -> None:
        """Opens the log and takes up what it holds; a line that a kill left half-written is cut off. Raises OSError."""
        self.broken: OSError | None = None
        self.every: list[dict[str, Any]] = []
        data = path.read_bytes() if path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines():
            said = json.loads(line)
            self.every.append(said if isinstance(said, dict) else {})
        self._count = len(self.every)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.ftruncate(self._fd, len(whole))
        os.fsync(self._fd)
        self._written = self._durable = self._count
        self._flushing = asyncio.Lock()

    def of(self, *services: str) -> Iterable[dict[str, Any]]:
        """What had arrived for these services before this far end was started."""
        return (receipt for receipt in self.every if receipt.get("service") in services)

    def note(self, **receipt: Any) -> None:
        """Writes one line; it is a promise only after `flushed`. Raises OSError, Full."""
        if self.broken is not None:
            raise self.broken
        line = json.dumps({**receipt, "boottime_ns": boottime_ns()}, separators=(",", ":")).encode() + b"\n"  # all of it ASCII
        if self._count >= MAX_RECEIPTS or len(line) > MAX_RECEIPT_BYTES:
            raise Full(f"{self._count} receipts, and one of {len(line)} bytes")
        try:
            view = memoryview(line)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            self.broken = error
            raise
        self._count += 1
        self._written += 1

    async def flushed(self) -> None:
        """Returns when all that was noted so far is on the disk. Raises OSError."""
        wanted = self._written
        async with self._flushing:
            if self.broken is not None:
                raise self.broken
            if self._durable < wanted:
                written = self._written
                try:
                    await asyncio.to_thread(os.fsync, self._fd)
                except OSError as error:
                    self.broken = error
                    raise
                self._durable = written

    @property
    def count(self) -> int:
        return self._count

    def close(self) -> None:
        self.broken = self.broken or OSError("the receipts are closed")
        os.close(self._fd)
