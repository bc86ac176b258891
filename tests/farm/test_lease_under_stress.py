"""Two hundred processes that want twenty devices for a minute, killed and stopped all the while: see `stress.py`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.farm.lease import MARGIN_S, TURN_S
from tests.farm.stress import BROKEN, judge

REPOSITORY = Path(__file__).resolve().parents[2]
SECOND = 1_000_000_000
Stress = Callable[..., dict[str, Any]]


@pytest.fixture
def stress(tmp_path: Path) -> Stress:
    """`stress(workers, devices, duration_s, shots_per_s, broken)`: what was wrong, and figures."""

    def run(*words: object) -> dict[str, Any]:
        memory = Path("/dev/shm")  # each transaction is flushed, and one disk would be what is measured
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as place:
            command = [sys.executable, "-m", "tests.farm.stress", place, *map(str, words)]
            done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


@pytest.mark.real
@pytest.mark.heavy
def test_two_hundred_processes_on_twenty_devices(stress: Stress) -> None:
    """Never two that act, nobody starves, everything is let go of; and enough was killed and stopped for that to mean something."""
    found = stress(200, 20, 60, 8)
    print(json.dumps(found["figures"], indent=1))
    assert found["wrong"] == []
    figures = found["figures"]
    assert figures["did not end"] == 0
    for what, least in {"killed": 100, "stopped": 100, "granted": 200, "cut into": 10, "end refused": 1, "lost": 1}.items():
        assert figures[what] >= least, what


@pytest.mark.real
@pytest.mark.heavy
@pytest.mark.parametrize(
    ("broken", "seen"),
    [
        ("lend_to_everybody", "no two act at once"),
        ("forget_the_fence", "each fence is granted once"),
        ("serve_the_last_first", "whoever is awake is served"),
    ],
)
def test_leases_that_are_none_are_seen_through(stress: Stress, broken: str, seen: str) -> None:
    """The same judge, and leases that ignore life and time, the fence, or the order."""
    assert broken in BROKEN
    assert any(seen in each for each in stress(16, 2, 3, 4, broken)["wrong"])


# ---- the judge, by what it reads ---------------------------------------------------------------------------------


def line(kind: str, id: str, at_s: float, *, fence: int = 0, confirmed_s: float = 0, **more: Any) -> dict[str, Any]:
    acts = {"confirmed_ns": int(confirmed_s * SECOND)} if confirmed_s else {}
    return {"ns": int(at_s * SECOND), "kind": kind, "id": id, "pid": ord(id), "fence": fence, **acts, **more}


def begins(id: str, fence: int, at_s: float) -> dict[str, Any]:
    return line("begin", id, at_s, fence=fence, confirmed_s=at_s)


def ends(id: str, fence: int, at_s: float, *, confirmed_s: float, refused: bool = False) -> dict[str, Any]:
    return line("end refused" if refused else "end", id, at_s, fence=fence, confirmed_s=confirmed_s)


LATER = 100 + MARGIN_S


@pytest.mark.parametrize(
    ("lines", "killed_s", "wrong"),
    [
        ([begins("a", 1, 100), ends("a", 1, 101, confirmed_s=100), begins("b", 2, 102)], {}, ""),
        ([begins("a", 1, 100), begins("b", 2, LATER - 1)], {}, "no two act at once"),
        ([begins("a", 1, 100), begins("b", 2, LATER - 1)], {"a": 101}, ""),  # cut into by its own death
        ([begins("a", 1, 100), begins("b", 2, 102)], {"a": 103}, "no two act at once"),  # … which came later
        ([begins("a", 1, 100), begins("b", 2, LATER), ends("a", 1, LATER + 1, confirmed_s=100, refused=True)], {}, ""),  # it was stopped
        ([begins("b", 2, 100), line("begin refused", "a", 102, fence=1, confirmed_s=101)], {}, "confirmed is held"),
        ([begins("b", 2, LATER), line("begin refused", "a", LATER + 1, fence=1, confirmed_s=100)], {}, ""),
        ([begins("b", 2, 100), ends("b", 2, 101, confirmed_s=100), begins("a", 1, 102)], {}, "the referee: fence 1 acted after fence 2"),
        ([line("asked", "a", 100, place=1)], {}, "nobody starves"),
        ([line("asked", "a", 100, place=1)], {"a": 101}, ""),
    ],
)
def test_the_judge_of_actions(lines: list[dict[str, Any]], killed_s: dict[str, float], wrong: str) -> None:
    """What must never be is seen, and what a kill or a stop may cause is not held against anybody."""
    found, _ = judge(lines, {ord(id): int(at_s * SECOND) for id, at_s in killed_s.items()})
    assert [each.startswith(wrong) for each in found] == ([True] if wrong else [])


@pytest.mark.parametrize(("pause_s", "wrong"), [(TURN_S - 0.1, 1), (TURN_S, 0)], ids=["awake", "asleep"])
def test_the_judge_of_the_queue(pause_s: float, wrong: int) -> None:
    """To overtake is wrong where the other one tried all the while."""
    lines = [
        line("asked", "a", 100, place=1), line("asked", "b", 101, place=2),
        line("granted", "b", 110, fence=1, pause_ns=0), line("granted", "a", 120, fence=2, pause_ns=int(pause_s * SECOND)),
    ]  # fmt: skip
    found, figures = judge(lines, {})
    assert len(found) == wrong
    assert (figures["overtaken"], figures["longest queue"]) == (1, 2)
