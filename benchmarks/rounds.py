"""Measuring a case: its contenders in turn, round after round, so that a busy moment of the machine hits all of them."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.values import Case, Contender, Missing, Result, Row

MAX_WHY = 120


def measure(measurement: str, case: Case, rounds: int, say: Callable[[str], None]) -> Result:
    """The case with `rounds` samples of each contender. Who fails once is out, and the row says why; nobody is left out silently."""
    samples: dict[str, list[float]] = {contender.name: [] for contender in case.contenders}
    out: dict[str, str] = {}
    for number in range(case.rounds or rounds):
        for contender in turned(list(case.contenders), number):
            if contender.name in out:
                continue
            try:
                contender.before()
                try:
                    samples[contender.name].append(contender.sample())
                finally:
                    contender.after()
            except Missing as missing:
                out[contender.name] = f"missing: {missing}"
            except Exception as error:
                out[contender.name] = f"failed: {one_line(error)}"
        say(f"{case.title}: round {number + 1}")
    rows = [Row(name, [] if name in out else found, out.get(name, "")) for name, found in samples.items()]
    return Result(measurement, case.title, case.unit, rows, list(case.goals), case.note)


def turned(contenders: list[Contender], number: int) -> list[Contender]:
    """Another one begins in every round: who runs first pays for cold caches."""
    start = number % len(contenders)
    return contenders[start:] + contenders[:start]


def one_line(error: Exception) -> str:
    """The last line of what went wrong, without anything that could break a table."""
    last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return "".join(c if c.isprintable() and c != "|" else " " for c in last)[:MAX_WHY]
