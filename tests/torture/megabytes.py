"""Damaged megabytes through the reliable stream, both ways at once, in virtual time; every byte is compared with what was sent.

    stream of chance ─► Reliable ─► line: flips, drops, inserts, repeats, another mix every megabyte ─► Reliable ─► the same stream?
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runner.ondevice.reliable import Reliable
from runner.target.line_simulator import Noise
from tests.ondevice.virtual_line import Line

BAUD = 1_000_000_000  # as fast as it goes
# Shares of the bytes that are flipped, lost, and followed by one that nobody sent; and of the packets that come twice.
MIXES = ((1e-4, 0, 0, 0.0), (1e-3, 0, 0, 0.0), (0, 5e-4, 0, 0.0), (0, 0, 5e-4, 0.0), (3e-4, 3e-4, 3e-4, 0.1), (2e-3, 0, 0, 0.3))
PER_MIX_BYTES = 1_000_000
PIECE_BYTES = 65536


@dataclass
class Tally:
    """Of both directions together."""

    arrived_bytes: int = 0
    wrong_bytes: int = 0
    carried_bytes: int = 0  # by the line, heads, escapes and repetitions included
    damaged_packets: int = 0  # pieces that were no packet, and were not taken for one
    repeated_packets: int = 0
    conversations: int = 0
    lost: int = 0  # of these: said to be lost, which is honest

    def __str__(self) -> str:
        return (
            f"{self.arrived_bytes / 1e6:.1f} MB arrived over {self.carried_bytes / 1e6:.1f} MB, {self.conversations} conversations: "
            f"{self.damaged_packets} damaged packets thrown away, {self.repeated_packets} sent again, "
            f"{self.lost} conversations given up, {self.wrong_bytes} wrong bytes"
        )


class Stream:
    """Bytes of chance that both sides can make."""

    def __init__(self, seed: int) -> None:
        self._chance, self._ahead = random.Random(seed), b""

    def take(self, count: int) -> bytes:
        while len(self._ahead) < count:
            self._ahead += self._chance.randbytes(PIECE_BYTES)
        taken, self._ahead = self._ahead[:count], self._ahead[count:]
        return taken


def torture(wanted_bytes: int, seed: int, *, make: Callable[..., Any] = Reliable, until: float = float("inf")) -> Tally:
    """Until so many bytes have arrived, or a wrong one has; one conversation per mix. Or until the monotonic clock says so."""
    tally, number = Tally(), 0
    while tally.arrived_bytes < wanted_bytes and not tally.wrong_bytes and time.monotonic() < until:
        mix = MIXES[number % len(MIXES)]
        _converse(tally, mix, seed * 1_000_003 + number, min(PER_MIX_BYTES, wanted_bytes - tally.arrived_bytes), make, until)
        number += 1
    return tally


def _converse(
    tally: Tally, mix: tuple[float, float, float, float], seed: int, wanted_bytes: int, make: Callable[..., Any], until: float
) -> None:
    flips, drops, inserts, repeats = mix
    noises = [Noise(2 * seed + way, flips=flips, drops=drops, inserts=inserts, repeats=repeats) for way in (0, 1)]
    epoch = seed.to_bytes(8, "big", signed=False)
    line = Line(make(epoch, True, 0), make(epoch, False, 0), BAUD, *noises, delay_ns=2_000_000, buffer_bytes=1 << 20)
    said = {"near": Stream(seed), "far": Stream(seed + 1)}
    expected = {"far": Stream(seed), "near": Stream(seed + 1)}
    arrived = 0

    def enough() -> bool:
        nonlocal arrived
        for name, end in (("near", line.near), ("far", line.far)):
            if end.room:
                end.send(said[name].take(end.room))
            if heard := bytes(line.heard[name]):
                right = expected[name].take(len(heard))
                if heard != right:
                    tally.wrong_bytes += sum(a != b for a, b in zip(heard, right, strict=True))
                arrived += len(heard)
                line.heard[name].clear()
        return arrived >= wanted_bytes or bool(tally.wrong_bytes) or time.monotonic() >= until

    line.run_until(enough, limit_s=1000)
    tally.arrived_bytes += arrived
    tally.carried_bytes += sum(line.written.values())
    tally.damaged_packets += line.near.damaged + line.far.damaged
    tally.repeated_packets += line.near.lost_packets + line.far.lost_packets
    tally.conversations += 1
    tally.lost += bool(line.near.lost or line.far.lost)
