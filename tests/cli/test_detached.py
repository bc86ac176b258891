"""Logs of detached runs: kept while somebody can write to them and for a time behind that, and then removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from runner.cli.detached import KEPT_DAYS, new_log, remove_old

NOW_S = 2_000_000_000.0
OLD_S = NOW_S - KEPT_DAYS * 86400 - 1


def aged(path: Path, changed_s: float) -> Path:
    path.touch()
    os.utime(path, (changed_s, changed_s))
    return path


def test_an_old_log_that_nobody_writes_to_is_removed(tmp_path: Path) -> None:
    """Beside it a young one, and whatever is no log, stay."""
    old = aged(tmp_path / "1-1.log", OLD_S)
    kept = {aged(tmp_path / "2-2.log", OLD_S + 2), aged(tmp_path / "notes.txt", OLD_S)}
    assert remove_old(tmp_path, NOW_S) == [old]
    assert set(tmp_path.iterdir()) == kept
    assert remove_old(tmp_path, NOW_S) == []


def test_a_log_of_a_run_under_way_stays_however_old_it_is(tmp_path: Path) -> None:
    """Its process holds it by its output alone, whoever began it is gone; once it has ended, the log goes."""
    with new_log(tmp_path) as (path, file):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=file)
    assert child.stdin
    aged(path, OLD_S)
    assert remove_old(tmp_path, NOW_S) == []
    child.communicate(b"\n", timeout=60)
    assert remove_old(tmp_path, NOW_S) == [path]


def test_what_cannot_be_removed_is_nobodys_trouble(tmp_path: Path) -> None:
    """A folder that is not there, and a link to nothing."""
    (tmp_path / "3-3.log").symlink_to(tmp_path / "nothing")
    assert remove_old(tmp_path, NOW_S) == []
    assert remove_old(tmp_path / "nowhere", NOW_S) == []
