"""A serial line: how much of it is used, clean and noisy, beside zmodem; what a command costs over it, and what compression saves.

Everything goes through the line simulator at 115,200 baud, in real time. "The bytes alone" is what that line carries: written on one
side, counted on the other.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import CONTENDERS, Bench
from benchmarks.children import told
from benchmarks.values import Case, Contender, Goal

SIZE, QUICK_SIZE = 200_000, 50_000
NOISE = 1e-4
ALONE, ZMODEM = "the bytes alone", "zmodem, sz and rz"
LEAST_SHARE = 0.93  # of what a clean line carries


def cases(bench: Bench) -> Iterator[Case]:
    size = QUICK_SIZE if bench.quick else SIZE

    def carried(name: str, way: str, payload: str, flips: float, needs: tuple[str, ...] = ()) -> Contender:
        def sample() -> float:
            bench.peers.need(*needs)
            with tempfile.TemporaryDirectory(dir=bench.scratch) as folder:
                argv = [sys.executable, str(CONTENDERS / "over_a_line.py"), way, payload, str(size), str(flips), str(Path(folder))]
                return told(argv, {**bench.our_env, "HOME": str(bench.scratch)})

        return Contender(name, sample)

    lrzsz = ("sz", "rz")
    yield Case(
        f"{size // 1000} kB over a clean line",
        "s",
        [
            carried("runner", "runner", "random", 0),
            carried(ALONE, "bare", "random", 0),
            carried(ZMODEM, "zmodem", "random", 0, lrzsz),
        ],
        [Goal(round(1 / LEAST_SHARE, 3), ALONE)],
        note="incompressible, compression off, the start of the conversation and of the command included",
    )
    yield Case(
        f"{size // 1000} kB over a line with one error in 10,000 bytes",
        "s",
        [carried("runner", "runner", "random", NOISE), carried(ZMODEM, "zmodem", "random", NOISE, lrzsz)],
        [Goal(1.0, ZMODEM)],
        note="both ways; incompressible, compression off",
    )
    yield Case(
        "a command over a serial line",
        "ms",
        [carried("runner", "runner", "trips", 0), carried("a login shell, typed to", "shell", "trips", 0)],
        note="`true`, its exit status included; the median of forty",
    )
    yield Case(
        f"{size // 1000} kB of text over a clean line",
        "s",
        [carried("runner", "runner-deflate", "text", 0), carried("runner, compression off", "runner", "text", 0)],
        note="the supervisor's own sources",
    )
