"""Every measurement by name: one file each, with `cases(bench)`. The order is that of the table in docs/performance.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module

from benchmarks.bench import Bench
from benchmarks.values import Case

TABLE: dict[str, str] = {
    "start-up": "help and lists, beside a bare click program",
    "fan-out": "one command on 10, 50 and 100 servers, from a cold process",
    "commands": "twenty commands on one server",
    "deploy": "a bundle of 5 MB to 10 servers, run, fetch; and the unchanged bundle again",
    "exec": "from `runner exec` to the first stage, and the restart clocks",
    "supervisor": "what the supervisor costs while a pipeline sleeps and it samples once a second",
    "journal": "what a journal record costs",
    "mirroring": "what a mirrored record costs",
    "serial": "a serial line of 115,200 baud, clean and noisy",
}


def cases_of(name: str) -> Callable[[Bench], Iterable[Case]]:
    made: Callable[[Bench], Iterable[Case]] = import_module(f"benchmarks.measurements.{name.replace('-', '_')}").cases
    return made
