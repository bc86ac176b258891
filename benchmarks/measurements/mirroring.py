"""Mirroring: what the coordinator needs for one record of a device that has many, durable before each is acknowledged."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from benchmarks.bench import CONTENDERS, Bench
from benchmarks.children import told
from benchmarks.values import Case, Contender

RECORDS = 3000


def cases(bench: Bench) -> Iterator[Case]:
    place = bench.scratch / "mirrors"
    place.mkdir()
    count = RECORDS // 10 if bench.quick else RECORDS

    def cost(name: str, way: str) -> Contender:
        argv = [sys.executable, str(CONTENDERS / "mirroring.py"), str(place), way, str(count)]
        return Contender(name, lambda: told(argv, bench.our_env))

    yield Case(
        "a mirrored record",
        "µs",
        [
            cost("runner", "session"),
            cost("the same bytes, a flush for each", "plain"),
            cost("the same bytes, a flush for 256 KiB", "grouped"),
        ],
        note=f"{count} records that wait on the device",
    )
