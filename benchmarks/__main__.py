"""scripts/benchmark [NAME…] [--quick]: measures, prints the table, and after a whole run writes results, page and chart.

A run of some measurements, or a quick one, only prints: what stands in docs/performance.md was taken in one run.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks import chart, page
from benchmarks.bench import ROOT, Bench
from benchmarks.machine import describe
from benchmarks.measurements import TABLE, cases_of
from benchmarks.peers import PYTHON_PEERS, find_peers
from benchmarks.rounds import measure, one_line
from benchmarks.values import OURS, Missing, Result, Row
from runner.lab.where import cache_root

RESULTS, PAGE, CHART = ROOT / "benchmarks" / "results.json", ROOT / "docs" / "performance.md", ROOT / "docs" / "images" / "performance.svg"
NO_PYTHON_PEERS = {"serial"}  # measurements for which none is installed
NOT_MEASURED = (("crash states a minute", "≥ 8 × cold boots", "there is no sweep over crash states yet"),)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(TABLE)), metavar="[NAME]…")
@click.option("--quick", is_flag=True, help="One round, at most 10 servers; only printed.")
@click.option("--rounds", type=click.IntRange(1, 100), help="Samples of each contender (default: 3; with --quick 1).")
@click.option("--boards", is_flag=True, help="`exec` on the emulated board, too.")
@click.option("--write", is_flag=True, help="Write results, page and chart whatever was measured.")
@click.option("--beside", is_flag=True, help="Put the NAMEs beside what results.json holds, marked as measured apart; page and chart.")
@click.option("--page", "only_page", is_flag=True, help="Make page and chart again from results.json; measure nothing.")
def main(names: tuple[str, ...], quick: bool, rounds: int | None, boards: bool, write: bool, beside: bool, only_page: bool) -> None:
    """Measure the product beside other tools. NAMEs: see benchmarks/README.md; default: all."""
    if only_page:
        write_page(json.loads(RESULTS.read_text(encoding="utf-8")))
        return
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))).resolve()
        alone = bool(names) and not set(names) - NO_PYTHON_PEERS
        peers = find_peers(cache_root() / "benchmark-venv", say, () if alone else PYTHON_PEERS)
        for name, why in peers.why_not.items():
            say(f"missing: {name}: {why}")
        about: dict[str, Any] = {
            "machine": describe(scratch),
            "versions": peers.versions,
            "rounds": rounds or (1 if quick else 3),
            "quick": quick,
            "not_measured": [list(row) for row in NOT_MEASURED],
        }
        bench = Bench(scratch, peers, quick, boards, stack)
        results = [result for name in names or TABLE for result in measured(name, bench, about["rounds"])]
    kept = {**about, "cases": [result.as_json() for result in results]}
    click.echo(page.markdown(results, about))
    if beside:
        kept = put_beside(json.loads(RESULTS.read_text(encoding="utf-8")), names, kept)
    if write or beside or not (names or quick):
        RESULTS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        write_page(kept)
    sys.exit(1 if any(not result.rows[0].samples for result in results) else 0)


def measured(name: str, bench: Bench, rounds: int) -> list[Result]:
    """All cases of a measurement. One that cannot even begin stands in the table as a case that failed."""
    results: list[Result] = []
    try:
        for case in cases_of(name)(bench):
            results.append(measure(name, case, rounds, say))
    except Exception as error:
        why = f"missing: {error}" if isinstance(error, Missing) else f"failed: {one_line(error)}"
        results.append(Result(name, TABLE[name], "", [Row(OURS, why_not=why)], []))
    return results


def put_beside(before: dict[str, Any], names: Sequence[str], apart: dict[str, Any]) -> dict[str, Any]:
    """What was kept before, with the measurements `names` of another run in their places, and that run's own circumstances."""
    order, cases = list(TABLE), [case for case in before["cases"] if case["measurement"] not in names] + apart["cases"]
    about = {name: {key: apart[key] for key in ("machine", "versions", "rounds")} for name in names}
    cases.sort(key=lambda case: order.index(case["measurement"]))
    return {**before, "apart": {**before.get("apart", {}), **about}, "cases": cases}


def write_page(kept: dict[str, Any]) -> None:
    results = [Result.from_json(value) for value in kept["cases"]]
    PAGE.write_text(page.into(PAGE.read_text(encoding="utf-8"), page.markdown(results, kept)), encoding="utf-8")
    CHART.write_text(chart.svg(results), encoding="utf-8")
    say(f"written: {', '.join(str(path.relative_to(ROOT)) for path in (RESULTS, PAGE, CHART))}")


def say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main(prog_name="scripts/benchmark")
