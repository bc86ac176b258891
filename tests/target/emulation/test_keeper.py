"""The keeper without a machine: when a lease is over, whose fence is, and whom clean-up may kill."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.target.emulation.image import Image
from runner.target.emulation.keeper import Keeper, lease_is_over, line_of
from runner.target.emulation.machine import Accelerator, MachineSpec
from runner.target.emulation.messages import Config, CutFacts, Moment
from runner.target.emulation.processes import kill_leftovers, start_time

CHARDEVS = [  # as QEMU 7.2 answers query-chardev
    {"frontend-open": True, "filename": "pty:/dev/pts/7", "label": "console"},
    {"frontend-open": True, "filename": "file", "label": "witness"},
    {"frontend-open": True, "filename": "unix:qmp.sock,server=on", "label": "compat_monitor0"},
]


@pytest.mark.parametrize(
    ("chardevs", "label", "line"),
    [(CHARDEVS, "console", "/dev/pts/7"), (CHARDEVS, "witness", ""), (CHARDEVS, "line", ""), (CHARDEVS, "", ""), ({}, "console", "")],
)
def test_the_tty_of_a_line_is_found_in_what_qemu_says(chardevs: object, label: str, line: str) -> None:
    """By its label; what is no tty, or is not there, is none."""
    assert line_of(chardevs, label) == line


SLEEPER = [sys.executable, "-c", "import sys; sys.stdin.read()", "token-T0"]


def test_a_lease_ends_exactly_when_its_seconds_are_over() -> None:
    """A board is never powered off early, nor a look too late."""
    assert not lease_is_over(now_s=219.9, ends_s=220.0)
    assert lease_is_over(now_s=220.0, ends_s=220.0)


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


# ---- the fence -------------------------------------------------------------------------------------------------------

HERE = Config("qemu-pi", MachineSpec(), Image("aarch64", Path("k"), Path("i"), Path("r"), "0" * 64, {}), Accelerator("tcg", "asked for"))


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board's folder, in which a keeper runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ask(keeper: Keeper, verb: str, **words: object) -> dict[str, object]:
    return asyncio.run(keeper._answer(json.dumps({"verb": verb, **words}).encode()))


def test_a_fence_that_is_over_is_refused_and_moves_nothing(board: Path) -> None:
    """Every verb that acts; the answer names both fences, and the file keeps the higher one."""
    keeper = Keeper(HERE, "T0", 120.0)
    assert ask(keeper, "renew", fence=7, seconds=60) == {"seconds": 60.0}
    for verb in ("on", "cut", "off", "renew", "keep_on"):
        said = ask(keeper, verb, fence=6, seconds=9999)
        assert said["error"].startswith("fence 6 is over: fence 7 was granted since, and this board is its holder's")
    assert (board / "fence").read_text() == "7"
    assert ask(keeper, "facts")["lease_s"] == 60.0
    assert ask(keeper, "renew", fence=7, seconds=90) == {"seconds": 90.0}  # neither of them ended it


def test_a_sign_of_life_never_shortens_what_a_person_was_promised(board: Path) -> None:
    """Renewed, a board stays on at least so long; only who says for how long by hand may say less than before."""
    keeper = Keeper(HERE, "T0", 120.0)

    def left_s(verb: str, seconds: float) -> float:
        ask(keeper, verb, fence=1, seconds=seconds)
        return round(float(str(ask(keeper, "facts")["lease_left_s"])))

    assert [left_s("keep_on", 3600), left_s("renew", 120), left_s("renew", 7200), left_s("keep_on", 60), left_s("renew", 120)] == [
        3600, 3600, 7200, 60, 120,
    ]  # fmt: skip


def test_a_higher_fence_is_durable_before_anything_is_done(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot be kept is an error, and its verb is not carried out; the fence before stays in force."""
    keeper = Keeper(HERE, "T0", 120.0)
    ask(keeper, "renew", fence=7, seconds=60)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert "No space left" in str(ask(keeper, "renew", fence=8, seconds=90)["error"])
    assert (board / "fence").read_text() == "7"
    assert ask(keeper, "facts")["lease_s"] == 60.0
    assert ask(keeper, "renew", fence=7, seconds=60) == {"seconds": 60.0}


def test_the_next_keeper_knows_the_fence_of_the_one_before(board: Path) -> None:
    """It outlives the process; a damaged file counts as none."""
    ask(Keeper(HERE, "T0", 120.0), "renew", fence=7, seconds=60)
    keeper = Keeper(HERE, "T1", 120.0)
    assert "fence 6 is over" in str(ask(keeper, "renew", fence=6, seconds=60)["error"])
    assert ask(keeper, "renew", fence=8, seconds=60) == {"seconds": 60.0}
    (board / "fence").write_text("eight")
    assert ask(Keeper(HERE, "T2", 120.0), "renew", fence=1, seconds=60) == {"seconds": 60.0}


def test_who_only_looks_needs_no_fence(board: Path) -> None:
    """Facts and disk answer anybody; looking raises no fence."""
    keeper = Keeper(HERE, "T0", 120.0)
    ask(keeper, "renew", fence=7, seconds=60)
    for words in ({}, {"fence": 1}, {"fence": 99}):
        assert ask(keeper, "facts", **words)["on"] is False
        assert "error" not in ask(keeper, "disk", **words)
    assert (board / "fence").read_text() == "7"


@pytest.mark.parametrize("words", [{}, {"fence": None}, {"fence": "seven"}, {"fence": []}, {"fence": -1}, {"fence": 0}], ids=str)
def test_whoever_acts_without_a_fence_is_refused(board: Path, words: dict[str, object]) -> None:
    """None, nonsense, or one that nobody was ever granted."""
    keeper = Keeper(HERE, "T0", 120.0)
    ask(keeper, "renew", fence=1, seconds=60)
    assert "error" in ask(keeper, "renew", seconds=9999, **words)
    assert ask(keeper, "facts")["lease_s"] == 60.0
