"""On an emulated board: whoever is struck, and whenever, it is as it was; and what would be wrong is found."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from runner.target.emulation.processes import STOP_LIMIT_S

from . import bench
from .bench import Bench
from .cells import ARMING, CAP, COORDINATOR, HOLDING, REVERTING, SUPERVISOR, Cell, ci_cells
from .plants import undetected
from .results import covered, figures, wrong
from .trial import Found, try_cell
from .without_guard import never_reverting

pytestmark = pytest.mark.qemu

FIRST_CELL_S = 600.0  # boot, installation, a coordinator and a cell: minutes beside another board, and again where a phase was missed
UNGUARDED = [
    Cell("gprs", COORDINATOR, HOLDING),
    Cell("drop", SUPERVISOR, ARMING),
    Cell("jam reactive", CAP, REVERTING),
]


async def cells_on(state: Path, cells: list[Cell], archive: bytes | None = None) -> list[Found]:
    async with Bench.open(state, archive) as made:
        return [await try_cell(made, cell) for cell in cells]


def test_whoever_is_struck_in_whatever_phase_the_board_is_as_it_was(tmp_path: Path) -> None:
    """Every victim with every phase, and every fault at least once; `scripts/matrix` has all cells."""
    found = asyncio.run(cells_on(tmp_path, ci_cells()))
    print(covered(ci_cells()), *figures(found), sep="\n")
    assert wrong(found, without_guard=False) == []


def test_with_the_guard_disabled_the_same_cells_fail(tmp_path: Path) -> None:
    """The negative control: what is armed or in effect stays, and the very same look finds it. `scripts/matrix --without-guard` has all."""
    found = asyncio.run(cells_on(tmp_path, UNGUARDED, never_reverting()))
    assert wrong(found, without_guard=True) == []


def test_one_change_of_each_kind_is_seen(tmp_path: Path) -> None:
    """The fingerprint's own control: planted on the board, named by its field, and gone again."""

    async def scenario() -> list[str]:
        async with Bench.open(tmp_path) as made:
            return await undetected(made)

    assert asyncio.run(scenario()) == []


# ---- what remains -----------------------------------------------------------------------------------------------------


def processes_of(state: Path) -> list[str]:
    """Keeper, emulator, disk server, far end and coordinators of one bench: they have its state folder in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("RUNNER_STATE") == str(state) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {' '.join(process.cmdline())[:80]}")
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("how", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL])
def test_nothing_is_left_when_the_script_is_ended(tmp_path: Path, how: signal.Signals) -> None:
    """In the middle of a cell: told to end it switches the board off; killed, all that it had started goes by itself."""
    state = tmp_path / "state"
    words = ["-m", "tests.matrix.campaign", "--state", str(tmp_path), "--only", "drop", COORDINATOR]
    with (tmp_path / "output").open("wb") as output:
        script = subprocess.Popen([sys.executable, *words], cwd=bench.REPOSITORY, stdout=output, stderr=output)
    try:
        _until(lambda: (tmp_path / "results.json").exists() or script.poll() is not None, FIRST_CELL_S)
        assert script.poll() is None, (tmp_path / "output").read_text()  # the first cell is over, the second has begun
        assert any("qemu-system" in line for line in processes_of(state))
        os.kill(script.pid, how)
        script.wait(60)
        _until(lambda: not processes_of(state), 5 if how == signal.SIGTERM else bench.KEPT_S + 4 * STOP_LIMIT_S)
    finally:
        script.kill()
        script.wait()


def _until(holds: object, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"this did not come to hold within {limit_s:g} s"
        time.sleep(0.2)
