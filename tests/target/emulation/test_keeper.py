"""The keeper without a machine: when a lease is over, and whom clean-up may kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from runner.target.emulation.keeper import lease_is_over
from runner.target.emulation.messages import CutFacts, Moment
from runner.target.emulation.processes import kill_leftovers, start_time

SLEEPER = [sys.executable, "-c", "import sys; sys.stdin.read()", "token-T0"]


def test_a_lease_ends_exactly_when_its_seconds_are_over() -> None:
    """A board is never powered off early, nor a look too late."""
    assert not lease_is_over(now_s=219.9, renewed_s=100.0, seconds=120.0)
    assert lease_is_over(now_s=220.0, renewed_s=100.0, seconds=120.0)


def test_cleaning_up_kills_only_an_exact_match(tmp_path: Path) -> None:
    """Another start time or another token means another process: it lives on."""
    with subprocess.Popen(SLEEPER, stdin=subprocess.PIPE) as process:
        born = start_time(process.pid)
        assert born is not None
        for row in (
            {"pid": process.pid, "start": born + 1, "token": "token-T0"},
            {"pid": process.pid, "start": born, "token": "token-T1"},
            {"pid": process.pid, "start": None, "token": "token-T0"},
        ):
            (tmp_path / "pids.json").write_text(json.dumps([row]))
            assert kill_leftovers(tmp_path) == []
            assert process.poll() is None
        (tmp_path / "pids.json").write_text(json.dumps([{"pid": process.pid, "start": born, "token": "token-T0"}]))
        assert kill_leftovers(tmp_path) == [process.pid]
        assert process.wait(10) == -9


def test_nothing_to_clean_up_is_fine(tmp_path: Path) -> None:
    """No file, or half a file, means that nothing is killed."""
    assert kill_leftovers(tmp_path) == []
    (tmp_path / "pids.json").write_text('[{"pid": 1')
    assert kill_leftovers(tmp_path) == []


def test_our_own_start_time_is_known_and_nobodys_is_not() -> None:
    """A pid that cannot exist has no start time."""
    assert start_time(os.getpid()) is not None
    assert start_time(2**30) is None


def test_cut_facts_come_back_from_json() -> None:
    """What crosses the socket is equal to what was sent."""
    moment = {"boottime_s": 1.0, "wall_s": 2.0}
    reply = {
        "frozen_at": moment, "disk_killed_at": moment, "machine_killed_at": moment, "writes": 3, "flushes": 1,
        "flushes_unanswered": 0, "writes_lost_count": 1, "writes_lost_bytes": 512, "disk_signal": 9,
        "machine_signal": 9, "writes_lost": [{"offset": 0, "length": 512, "at": 1.5}],
    }  # fmt: skip
    facts = CutFacts.from_json(json.loads(json.dumps(reply)))
    assert facts.frozen_at == Moment(1.0, 2.0)
    assert facts.writes_lost[0].length == 512
