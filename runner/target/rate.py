"""How long something takes over a slow line: said before it is sent, with its size, and with what spares it.

    lacking(transport, "pump-07", {"wheels": […]}, advice)   ─►   "pump-07 lacks 2.9 MB of wheels: about 4 min at 115,200 baud; …"

A transport that is slow enough for that to matter has a `rate`; the others say nothing. Both ends of a serial line compress, so the
time is that of what deflate makes of the bytes: nothing of a wheel, most of a pipeline's text.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from runner.target.transports.base import Stream, Transport

PIECE_S, MIN_PIECE_BYTES = 2.0, 4096  # of a stream's bytes at once: so long a question waits behind them, and a renewal


class Rate(NamedTuple):
    bytes_per_s: float  # of ours, on a clean line
    words: str  # "115,200 baud"


def rate_of(way: Transport | Stream) -> Rate | None:
    """None where time is no matter: nobody waits for a few megabytes over a network."""
    rate: Rate | None = getattr(way, "rate", None)
    return rate


def piece_bytes(stream: Stream, most: int) -> int:
    """How much of something large is written to a stream at once, so that something small is not late behind it."""
    rate = rate_of(stream)
    return max(MIN_PIECE_BYTES, min(most, int(rate.bytes_per_s * PIECE_S))) if rate else most


def duration_s(transport: Transport, data: Iterable[bytes]) -> float:
    """How long so many bytes are on the way, each piece compressed by itself; 0 where time is no matter."""
    rate = rate_of(transport)
    return sum(len(zlib.compress(piece, 6)) for piece in data) / rate.bytes_per_s if rate else 0.0


def lacking(transport: Transport, name: str, kinds: Mapping[str, Sequence[bytes]], advice: str) -> str:
    """What device `name` lacks, by kinds ("wheels", "pipelines"), and how long that takes; "" where nothing is lacking, or time is no
    matter."""
    rate, lacks = rate_of(transport), {kind: data for kind, data in kinds.items() if data}
    if not lacks or not rate:
        return ""
    sizes = " and ".join(f"{size_words(sum(map(len, data)))} of {kind}" for kind, data in lacks.items())
    takes_s = sum(duration_s(transport, data) for data in lacks.values())
    return f"{name} lacks {sizes}: about {duration_words(takes_s)} at {rate.words}; {advice}"


def size_words(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{-(-size // 1000)} kB"


def duration_words(took_s: float) -> str:
    return f"{took_s / 60:.0f} min" if took_s >= 90 else f"{max(1.0, took_s):.0f} s"
