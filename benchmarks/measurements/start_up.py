"""Start-up: what a person feels first. A bare click program in the same Python is the least that it can be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import CONTENDERS, ROOT, Bench
from benchmarks.children import timed
from benchmarks.values import Case, Contender, Goal

BARE = "bare click program"
WORDS = (("--help",), ("device", "list"), ("entry", "list"), ("run", "list"))
ROUNDS = 11  # short ones scatter


def cases(bench: Bench) -> Iterator[Case]:
    command = str(Path(sys.executable).parent / "runner")
    for words in WORDS:
        bare = [sys.executable, str(CONTENDERS / "bare_click.py"), "--help" if words == ("--help",) else "list"]
        yield Case(
            title=f"runner {' '.join(words)}",
            unit="ms",
            contenders=[_process("runner", bench, [command, "--lab", str(ROOT), *words]), _process(BARE, bench, bare)],
            goals=[Goal(2, BARE)],
            rounds=3 if bench.quick else ROUNDS,
        )


def _process(name: str, bench: Bench, argv: list[str]) -> Contender:
    return Contender(name, lambda: timed(argv, bench.our_env, bench.log) * 1e3)
