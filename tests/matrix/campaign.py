"""The cells of the matrix one after the other, in pieces if need be; then the table in docs/matrix.md.

python -m tests.matrix.campaign [--pairwise] [--without-guard] [--only WORD …] [--minutes M] [--again]
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

from runner.lab.where import state_root

from .bench import Bench
from .cells import Cell, every_cell, pairwise_cells
from .plants import undetected
from .results import CONTROL, MATRIX, PAGE, Results, control, covered, figures, fill, needs_no_boot, tables, wrong
from .trial import try_cell
from .without_guard import never_reverting

OPENING_S = 40.0


def chosen(asked: argparse.Namespace) -> list[Cell]:
    cells = pairwise_cells() if asked.pairwise else every_cell()
    cells = needs_no_boot(cells) if asked.without_guard else cells
    return [cell for cell in cells if all(word in cell for word in asked.only or ())]


async def carry_out(cells: list[Cell], results: Results, state: Path, *, without_guard: bool, until: float) -> None:
    """Each cell, until the time is up; the results are on the disk after each. The board is off afterwards."""
    archive = never_reverting() if without_guard else None
    async with Bench.open(state, archive) as bench:
        for number, cell in enumerate(cells, 1):
            if time.monotonic() + results.guess_s(cell) * 1.5 > until:
                return
            found = await try_cell(bench, cell)
            results.take(found)
            results.keep()
            clean = "" if found.clean_s is None else f", clean after {found.clean_s:g} s ({found.why})"
            _say(f"{number} of {len(cells)}: {cell}: {found.outcome}{clean}, took {found.took_s:g} s {found.wrong}")


async def planted(state: Path) -> list[str]:
    async with Bench.open(state) as bench:
        return await undetected(bench)


async def _ended_in_order(work: asyncio.Task[None]) -> None:
    """SIGTERM and SIGINT end the work in order: the board is switched off. Nothing else ends it silently."""
    came: list[str] = []

    def end(number: signal.Signals) -> None:
        came.append(number.name)
        work.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    try:
        await work
    except asyncio.CancelledError:
        if not came:
            raise
        _say(f"ended early: {came[0]}")


async def _carry_out(cells: list[Cell], results: Results, state: Path, asked: argparse.Namespace, until: float) -> None:
    work = carry_out(cells, results, state, without_guard=asked.without_guard, until=until)
    await _ended_in_order(asyncio.ensure_future(work))


def main() -> int:
    parser = argparse.ArgumentParser(description="Strikes in every phase of every fault, and looks whether the board is as it was.")
    parser.add_argument("--pairwise", action="store_true", help="only so many cells that every two words meet once")
    parser.add_argument("--without-guard", action="store_true", help="with a guard that never reverts: every cell must fail")
    parser.add_argument("--only", nargs="*", metavar="WORD", help="only cells with these words: a fault, whoever is struck, a phase")
    parser.add_argument("--minutes", type=float, default=24 * 60.0, help="begin no cell that would end later; the next call goes on")
    parser.add_argument("--again", action="store_true", help="forget what was found before")
    parser.add_argument("--planted", action="store_true", help="no cells: does the comparison see one change of each kind?")
    parser.add_argument("--state", type=Path, default=state_root() / "matrix", help="board, logs and results")
    asked = parser.parse_args()
    asked.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (asked.state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"another one is at work in {asked.state}")
            return 2
        os.environ["RUNNER_STATE"] = str(asked.state / "state")
        return _planted(asked) if asked.planted else _cells(asked)


def _planted(asked: argparse.Namespace) -> int:
    found = asyncio.run(planted(asked.state / "state"))
    print("\n".join(found) or "one change of each kind was seen, and seen gone")
    return 1 if found else 0


def _cells(asked: argparse.Namespace) -> int:
    began = time.monotonic()
    path = asked.state / ("without-guard.json" if asked.without_guard else "results.json")
    if asked.again:
        path.unlink(missing_ok=True)
    results, cells = Results(path), chosen(asked)
    missing = results.missing(cells)
    _say(covered(cells))
    _say(f"{len(missing)} of them to do, about {(OPENING_S + sum(map(results.guess_s, missing))) / 60:.0f} minutes")
    if missing:
        asyncio.run(_carry_out(missing, results, asked.state / "state", asked, began + asked.minutes * 60))
    mine = [results.found[cell] for cell in cells if cell in results.found]
    for row in figures(mine):
        print(json.dumps(row))
    problems = wrong(mine, without_guard=asked.without_guard)
    print("\n".join(problems), end="\n" if problems else "")
    left = len([cell for cell in cells if cell not in results.found])
    print(f"{len(mine) - len(problems)} of {len(cells)} as they must be, {len(problems)} not, {left} to do: the same call goes on; {path}")
    if PAGE.exists():
        fill(PAGE, CONTROL, control(results.found)) if asked.without_guard else fill(PAGE, MATRIX, tables(results.found))
    return 1 if problems else 3 if left else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
