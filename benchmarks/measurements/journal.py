"""A journal record's cost, flushed and only written, beside the bytes alone, a line of JSON, and SQLite."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from benchmarks.bench import CONTENDERS, Bench
from benchmarks.children import told
from benchmarks.values import Case, Contender

FLUSHED, WRITTEN = 500, 20_000


def cases(bench: Bench) -> Iterator[Case]:
    place = bench.scratch / "journals"
    place.mkdir()

    def cost(name: str, way: str, count: int) -> Contender:
        argv = [sys.executable, str(CONTENDERS / "journal.py"), str(place), way, str(count // 10 if bench.quick else count)]
        return Contender(name, lambda: told(argv, bench.our_env))

    yield Case(
        "a journal record, flushed",
        "µs",
        [
            cost("runner", "ours-flushed", FLUSHED),
            cost("SQLite, WAL, synchronous=full", "sqlite", FLUSHED),
            cost("the same bytes, write and fsync", "plain-flushed", FLUSHED),
        ],
        note="mostly the disk's own flush",
    )
    yield Case(
        "a journal record, written",
        "µs",
        [
            cost("runner", "ours-written", WRITTEN),
            cost("a line of JSON", "lines", WRITTEN),
            cost("the same bytes, write", "plain-written", WRITTEN),
        ],
    )
