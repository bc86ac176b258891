"""What was found: kept from one piece to the next, as figures for people, and as the tables of docs/matrix.md."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .cells import BOTH_GUARDS, FAULTS, PHASES, POWER, VICTIMS, Cell
from .trial import BROKEN, GREEN, NOT_AS_BEFORE, Found

PAGE = Path(__file__).resolve().parents[2] / "docs" / "matrix.md"
MATRIX, CONTROL = "matrix", "control"  # what stands between `<!-- matrix -->` and `<!-- /matrix -->` on the page, and so on
GUESS_S, GUESS_OF_A_BOOT_S = 12.0, 35.0


class Results:
    """Cells by name, in a JSON file that is written anew after each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        said = json.loads(path.read_text()) if path.exists() else []
        self.found: dict[Cell, Found] = {}
        for row in said:
            self.take(Found(**row))

    def take(self, found: Found) -> None:
        self.found[Cell(found.fault, found.victim, found.phase)] = found

    def keep(self) -> None:
        text = json.dumps([each.as_json() for each in self.found.values()], indent=1)
        whole = self._path.with_name(self._path.name + ".new")
        whole.write_text(text)
        whole.replace(self._path)

    def missing(self, cells: Iterable[Cell]) -> list[Cell]:
        """Those that were not tried, or of which the try has shown nothing."""
        return [cell for cell in cells if cell not in self.found or self.found[cell].outcome == BROKEN]

    def guess_s(self, cell: Cell) -> float:
        """How long a cell takes: as those like it took, or a guess."""
        like = [each.took_s for other, each in self.found.items() if other.reboots == cell.reboots and each.outcome == GREEN]
        return statistics.median(like) if like else GUESS_OF_A_BOOT_S if cell.reboots else GUESS_S


def wrong(found: Iterable[Found], *, without_guard: bool) -> list[str]:
    """The cells that are not as they must be: green with the guard, and not as it was before without."""
    wanted = NOT_AS_BEFORE if without_guard else GREEN
    return [f"{each.fault}, {each.victim}, {each.phase}: {each.outcome}: {each.wrong}" for each in found if each.outcome != wanted]


def figures(found: Sequence[Found]) -> list[dict[str, Any]]:
    """For each victim: how many, how many green, and seconds until clean."""
    rows = []
    for victim in (*VICTIMS, BOTH_GUARDS):
        mine = [each for each in found if each.victim == victim]
        times = [each.clean_s for each in mine if each.outcome == GREEN and each.clean_s is not None]
        if mine:
            row: dict[str, Any] = {"victim": victim, "cells": len(mine), "green": len(times)}
            rows.append({**row, "median_s": round(statistics.median(times), 1) if times else None, "max_s": max(times, default=None)})
    return rows


def covered(cells: Sequence[Cell]) -> str:
    """What a set of cells covers, in words."""
    two = {(a, b): len({(cell[a], cell[b]) for cell in cells}) for a, b in ((0, 1), (0, 2), (1, 2))}
    return (
        f"{len(cells)} cells: {two[0, 1]} of {len(FAULTS) * len(VICTIMS)} pairs of fault and victim, {two[0, 2]} of"
        f" {len(FAULTS) * len(PHASES)} of fault and phase, {two[1, 2]} of {len(VICTIMS) * len(PHASES)} of victim and phase"
    )


def tables(found: dict[Cell, Found]) -> str:
    """Two tables in Markdown: figures by victim, and seconds until clean for each cell."""
    head = "| struck | cells | green | median s | max s |\n|---|---|---|---|---|"
    rows = figures(list(found.values()))
    said = [[row["victim"], row["cells"], row["green"], _or_dash(row["median_s"]), _or_dash(row["max_s"])] for row in rows]
    first = "\n".join([head, *map(_row, said)])
    head = f"| fault | struck | {' | '.join(PHASES)} |\n|---|---|{'---|' * len(PHASES)}"
    lines = [
        [fault, victim, *(_shown(found.get(Cell(fault, victim, phase))) for phase in PHASES)]
        for fault in FAULTS
        for victim in (*VICTIMS, BOTH_GUARDS)
        if victim != BOTH_GUARDS or any(Cell(fault, victim, phase) in found for phase in PHASES)
    ]
    return f"{first}\n\n" + "\n".join([head, *map(_row, lines)])


def _row(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _or_dash(value: Any) -> str:
    return "–" if value is None else f"{value:.1f}"


def _shown(found: Found | None) -> str:
    return "–" if found is None else f"{found.clean_s:.1f}" if found.outcome == GREEN else "**red**"


def control(found: dict[Cell, Found]) -> str:
    """What became of the cells whose guard never reverts, as a table in Markdown: all of them must be `NOT_AS_BEFORE`."""
    head = f"| struck | cells | {NOT_AS_BEFORE} | anything else |\n|---|---|---|---|"
    rows = []
    for victim in (*VICTIMS, BOTH_GUARDS):
        outcomes = [each.outcome for each in found.values() if each.victim == victim]
        if outcomes:
            stayed = outcomes.count(NOT_AS_BEFORE)
            rows.append(_row([victim, len(outcomes), stayed, len(outcomes) - stayed]))
    return "\n".join([head, *rows])


def fill(page: Path, name: str, text: str) -> None:
    """The text between the page's markers of that name."""
    begins, ends = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = page.read_text().partition(begins)
    _, _, after = rest.partition(ends)
    page.write_text(f"{before}{begins}\n{text}\n{ends}{after}")


def needs_no_boot(cells: Iterable[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.victim != POWER]
