"""What can be said of the matrix without a board: which cells there are, how their programs are made, and what is read off a look."""

from __future__ import annotations

import itertools
import json
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from runner.faults import table
from runner.faults.kernel import Before
from runner.model.device import DataLink
from runner.target.bundle import make_zip, supervisor_sources

from . import without_guard
from .cells import (
    APPLYING,
    ARMING,
    CAP,
    FAULTS,
    GUARD,
    HOLDING,
    LEAST_ON_S,
    PHASES,
    POWER,
    REVERTING,
    VICTIMS,
    WAYS,
    Cell,
    ci_cells,
    every_cell,
    pairs,
    pairwise,
    pairwise_cells,
    program_of,
)
from .on_the_board import BOTH_GUARDS, SUPERVISOR
from .plants import PLANTS
from .results import CONTROL, MATRIX, PAGE, Results, control, covered, figures, fill, tables, wrong
from .trial import BROKEN, GREEN, NOT_AS_BEFORE, Found, phase_of, shows

ONE_NIC = DataLink(interface="data0", far_end="10.77.0.1")
EVERYTHING = ("netem", "tbf", "htb", "ifb", "nft", "ethtool")
BEFORE = Before(offloads=("gro",))


# ---- which cells ------------------------------------------------------------------------------------------------------


def test_every_kind_of_link_fault_has_cells_of_each_victim_and_phase() -> None:
    """Ten faults of all kinds that the product has, six who are struck, four phases; and guard and twin at one moment."""
    cells = every_cell()
    assert len(set(cells)) == len(cells) == 10 * 6 * 4 + 4
    made = [program_of(Cell(fault, GUARD, HOLDING), ONE_NIC, EVERYTHING, BEFORE) for fault in FAULTS]
    assert {program.fault for program in made} == set(table.FAULTS)
    reboots = [cell.reboots for cell in cells]
    assert reboots == sorted(reboots)


@pytest.mark.parametrize("lists", [(FAULTS, VICTIMS, PHASES), ("ab", "cd", "ef"), ("abc", "d", "ef"), ("ab", "cdef")])
def test_a_pairwise_set_has_every_pair(lists: tuple[Any, ...]) -> None:
    """Each two words of two lists stand together somewhere; and no set that has them all is very much smaller."""
    chosen = pairwise(lists)
    wanted = set().union(*(pairs(words) for words in itertools.product(*lists)))
    assert set().union(*map(pairs, chosen)) == wanted
    assert pairwise(lists) == chosen
    least = max(len(a) * len(b) for a, b in itertools.combinations(lists, 2))
    assert least <= len(chosen) <= 1.5 * least
    assert set().union(*map(pairs, chosen[1:])) != wanted  # the negative control: the first one is there for something


def test_what_ci_runs_is_pairwise_over_the_ways_in_which_the_kernel_is_told() -> None:
    """Every pair of its own faults, and what it leaves out is said by how much it covers."""
    assert {cell[1:] for cell in ci_cells()} == set(itertools.product(VICTIMS, PHASES))
    assert {cell[:2] for cell in ci_cells()} >= set(itertools.product(WAYS, VICTIMS))
    assert {cell.fault for cell in ci_cells()} == set(FAULTS)
    assert covered(pairwise_cells()).startswith("60 cells: 60 of 60 pairs of fault and victim, 40 of 40 of fault and phase, 24 of 24 ")
    assert covered(ci_cells()).startswith("30 cells: 30 of 60 pairs of fault and victim, ")


# ---- their programs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [Cell(fault, GUARD, phase) for fault in FAULTS for phase in PHASES], ids=str)
def test_the_phase_is_made_wide_and_nothing_else(cell: Cell) -> None:
    """One act sleeps, in the first step or in the undo; without it the program is the fault's own."""
    program, plain = (program_of(cell._replace(phase=phase), ONE_NIC, EVERYTHING, BEFORE) for phase in (cell.phase, HOLDING))
    acts = {APPLYING: program.steps[0].acts, REVERTING: program.undo}
    asleep = {phase: [act for act in acts[phase] if act.argv[0] == "sleep"] for phase in acts}
    assert {phase: len(asleep[phase]) for phase in acts} == {phase: int(phase == cell.phase) for phase in acts}
    assert tuple(act for act in program.undo if act.argv[0] != "sleep") == plain.undo
    assert tuple(act for act in program.steps[0].acts if act.argv[0] != "sleep") == plain.steps[0].acts
    assert (program.steps[1:], program.signs, program.lasts_s) == (plain.steps[1:], plain.signs, plain.lasts_s)
    assert len(program.steps) == 1 or cell.fault == "trace" or program.steps[1].at_s >= LEAST_ON_S


def test_the_one_that_cuts_the_only_path_ends_itself() -> None:
    program = program_of(Cell("only path", GUARD, HOLDING), ONE_NIC, EVERYTHING, BEFORE)
    assert (program.severs_management, program.lasts_s) == (True, 12.0)


def test_where_the_cap_must_strike_nothing_strikes_before_it() -> None:
    """The cap is short and the renewal long, and the other way round everywhere else."""
    for cell in every_cell():
        assert (cell.cap_s(2.0) < cell.renew_s(2.0)) == (cell.victim == CAP)


# ---- what is read off a look ------------------------------------------------------------------------------------------


def look(seen: str = "", **mark: Any) -> dict[str, Any]:
    return {
        "armed": ["x.json"],
        "seen": seen.split(" + ") if seen else [],
        "marks": {"matrix.offline-1.json": {"asked": "", "done": 0, "doing": False, **mark}},
    }


def test_phases_are_told_apart() -> None:
    """By the guard's own marks, and by what the kernel shows."""
    program = program_of(Cell("drop", GUARD, HOLDING), ONE_NIC, EVERYTHING, BEFORE)
    assert phase_of(look(state="armed"), program) == ARMING
    assert phase_of(look(state="begun", doing=True), program) == APPLYING
    assert phase_of(look(state="begun"), program) == ""  # between begun and its first step
    assert phase_of(look(state="begun", done=1), program) == HOLDING
    assert phase_of(look(state="begun", done=1, asked="asked"), program) == ""
    assert phase_of(look(state="reverting", done=1), program) == REVERTING
    assert phase_of({**look(state="armed"), "armed": []}, program) == ""
    assert phase_of({**look(), "marks": {}}, program) == ""


def test_what_the_kernel_must_show_depends_on_the_phase() -> None:
    """Nothing while it is only armed, all of it while it is held, and something of it in between. Of two signs that exclude one
    another (the two ways in which `ip` says that an interface is down) one is all."""
    drop, down, gprs = (program_of(Cell(fault, GUARD, HOLDING), ONE_NIC, EVERYTHING, BEFORE) for fault in ("drop", "link down", "gprs"))
    table, ifb, queue = "table inet runner_offline", "qdisc ingress ffff: + runner-ifb0:", " 5f10: root"
    assert [shows(look(table), phase, drop) for phase in PHASES] == [False, True, True, True]
    assert [shows(look(), phase, drop) for phase in PHASES] == [True, False, False, False]
    assert [shows(look("NOARP> mtu"), phase, down) for phase in PHASES] == [False, True, True, True]
    assert [shows(look(ifb), phase, gprs) for phase in PHASES] == [False, True, False, True]
    assert shows(look(f"{ifb} + {queue} + generic-receive-offload: off"), HOLDING, gprs)


# ---- results ----------------------------------------------------------------------------------------------------------


def found(victim: str = GUARD, outcome: str = GREEN, clean_s: float | None = 6.0) -> Found:
    return Found("drop", victim, HOLDING, outcome, clean_s, 12.0, wrong="" if outcome == GREEN else "seen: a table")


def by_cell(rows: list[Found]) -> dict[Cell, Found]:
    return {Cell(each.fault, each.victim, each.phase): each for each in rows}


def test_a_cell_that_is_not_green_is_wrong_and_without_a_guard_one_that_is() -> None:
    """A cell that could not be tried is wrong in both."""
    assert wrong([found()], without_guard=False) == []
    assert wrong([found(outcome=NOT_AS_BEFORE)], without_guard=False) == ["drop, guard, holding: not as it was before: seen: a table"]
    assert wrong([found(outcome=NOT_AS_BEFORE)], without_guard=True) == []
    assert len(wrong([found()], without_guard=True)) == 1
    assert all(wrong([found(outcome=BROKEN)], without_guard=without) for without in (True, False))


def test_results_are_kept_and_the_next_call_goes_on(tmp_path: Path) -> None:
    """What was found is not tried again."""
    results = Results(tmp_path / "results.json")
    results.take(found())
    results.keep()
    again = Results(tmp_path / "results.json")
    assert again.found == results.found
    assert len(again.missing(every_cell())) == len(every_cell()) - 1
    again.take(found(outcome=BROKEN))
    assert again.missing(every_cell()) == every_cell()  # … unless nothing was found
    assert json.loads((tmp_path / "results.json").read_text())[0]["clean_s"] == 6.0


def test_the_page_is_filled_between_its_markers(tmp_path: Path) -> None:
    """What stands around them stays; a cell that is not green is red, and one that was not tried a dash."""
    page = tmp_path / "matrix.md"
    page.write_text("before\n<!-- matrix -->\nstale\n<!-- /matrix -->\nafter\n")
    rows = [found(), found(POWER, clean_s=20.04), found(CAP, NOT_AS_BEFORE, None)]
    fill(page, MATRIX, tables(by_cell(rows)))
    text = page.read_text()
    assert text.startswith("before\n<!-- matrix -->\n|") and text.endswith("|\n<!-- /matrix -->\nafter\n") and "stale" not in text
    assert "| drop | guard | – | – | 6.0 | – |" in text
    assert "| drop | hard cap | – | – | **red** | – |" in text
    assert figures(rows)[1] == {"victim": POWER, "cells": 1, "green": 1, "median_s": 20.0, "max_s": 20.04}


def test_the_control_is_counted_by_whoever_is_struck() -> None:
    """What stayed as it must, and every other outcome; the page has a place for it."""
    rows = [found(outcome=NOT_AS_BEFORE), replace(found(), phase=ARMING), found(CAP, BROKEN, None)]
    assert control(by_cell(rows)).splitlines()[2:] == ["| guard | 2 | 1 | 1 |", "| hard cap | 1 | 0 | 1 |"]
    assert all(f"<!-- {name} -->" in PAGE.read_text() and f"<!-- /{name} -->" in PAGE.read_text() for name in (MATRIX, CONTROL))


# ---- controls ---------------------------------------------------------------------------------------------------------


def test_the_disabled_guard_is_the_real_one_but_for_one_line() -> None:
    """One file differs, in one line; so a cell fails for no other reason."""
    real, broken = (zipfile.ZipFile(BytesIO(data)) for data in (make_zip(supervisor_sources()), without_guard.never_reverting()))
    differing = [name for name in real.namelist() if real.read(name) != broken.read(name)]
    assert (real.namelist(), differing) == (broken.namelist(), [without_guard.FILE])
    lines = zip(real.read(differing[0]).splitlines(), broken.read(differing[0]).splitlines(), strict=True)
    assert sum(a != b for a, b in lines) == 1


def test_every_field_of_the_fingerprint_has_a_change_that_is_planted() -> None:
    """The clock is turned; everything else has its commands."""
    from runner.ondevice.fingerprint import FIELDS

    assert set(PLANTS) == set(FIELDS)


def test_the_eye_calls_whom_it_kills_as_the_matrix_does() -> None:
    """It runs on the board and imports nothing of ours, so the words stand there once more."""
    from . import cells

    assert (SUPERVISOR, BOTH_GUARDS) == (cells.SUPERVISOR, cells.BOTH_GUARDS)
