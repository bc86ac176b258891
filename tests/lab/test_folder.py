"""Run folders: numbered without a collision, found by what a person types, and files that are whole or not there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import AskError, LabError
from runner.lab.folder import RunFolder, read_json, write_json, write_text

NOON = 1_795_262_400_000_000_000  # 2026-11-21T12:00:00Z
DAY_NS = 86_400_000_000_000


def test_runs_are_numbered_by_day(tmp_path: Path) -> None:
    """001, 002, … and from 001 again on the next day (UTC), each with the folders that a run needs."""
    names = [RunFolder.create(tmp_path, "EDGE-002", NOON + days * DAY_NS).run_id for days in (0, 0, 1)]
    assert names == ["run-2026-11-21-001", "run-2026-11-21-002", "run-2026-11-22-001"]
    folder = next(iter(RunFolder.every(tmp_path)))
    made = sorted(str(path.relative_to(folder.root)) for path in folder.root.rglob("*") if path.is_dir())
    assert made == ["config", "dx_evaluation", "results", "results/journal", "results/logs", "results/metrics"]


def test_the_number_goes_on_behind_the_highest(tmp_path: Path) -> None:
    """A run that was removed is not replaced by another one of the same name."""
    for name in ("run-2026-11-21-007", "run-2026-11-21-notanumber", "run-2026-11-20-009"):
        (tmp_path / "EDGE-002" / name).mkdir(parents=True)
    assert RunFolder.create(tmp_path, "EDGE-002", NOON).run_id == "run-2026-11-21-008"


def test_two_coordinators_at_once_get_two_folders(tmp_path: Path) -> None:
    """Eight creators, all let go at the same moment, never share a folder."""
    gate = threading.Barrier(8)
    made: list[str] = []

    def create() -> None:
        gate.wait()
        made.extend(RunFolder.create(tmp_path, "EDGE-002", NOON).run_id for _ in range(5))

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [f"run-2026-11-21-{number:03}" for number in range(1, 41)]


def test_a_run_gets_its_name_when_it_is_filled(tmp_path: Path) -> None:
    """While it is filled nothing looks like a run; its paths are those of a folder in the making, its id is the one that it will have."""
    seen: list[object] = []

    def fill(folder: RunFolder) -> None:
        seen.extend([folder.run_id, folder.root.exists(), list(RunFolder.every(tmp_path))])
        folder.run_config.write_text("{}")

    made = RunFolder.create(tmp_path, "EDGE-002", NOON, fill)
    assert seen == ["run-2026-11-21-001", True, []]
    assert (made.root, made.run_id) == (tmp_path / "EDGE-002" / "run-2026-11-21-001", "run-2026-11-21-001")
    assert [run.root for run in RunFolder.every(tmp_path)] == [made.root]
    assert made.run_config.read_text() == "{}"


@pytest.mark.parametrize("error", [LabError("the device is gone"), OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_what_cannot_be_filled_is_no_run(tmp_path: Path, error: BaseException) -> None:
    """Nothing of it is found, no number is used up, and the next creator removes what is left of it."""

    def fails(folder: RunFolder) -> None:
        folder.run_config.write_text("{}")
        raise error

    with pytest.raises(LabError if isinstance(error, OSError) else type(error)):
        RunFolder.create(tmp_path, "EDGE-002", NOON, fails)
    assert list(RunFolder.every(tmp_path)) == []
    with pytest.raises(AskError, match="there is none yet"):
        RunFolder.find(tmp_path, "run-2026-11-21-001")
    assert RunFolder.create(tmp_path, "EDGE-002", NOON).run_id == "run-2026-11-21-001"
    assert sorted(path.name for path in (tmp_path / "EDGE-002").iterdir()) == [".making.lock", "run-2026-11-21-001"]


KILLED_WHILE_FILLING = """
import os, signal, sys
from pathlib import Path
from runner.lab.folder import RunFolder

def fill(folder):
    folder.run_config.write_text("{}")
    os.kill(os.getpid(), signal.SIGKILL)

RunFolder.create(Path(sys.argv[1]), "EDGE-002", int(sys.argv[2]), fill)
"""


def test_a_creator_that_was_killed_leaves_no_run_and_holds_up_nobody(tmp_path: Path, run_python: Callable[..., Any]) -> None:
    """What it left half made is no run, and gone after the next one was made; so is its lock."""
    assert run_python(KILLED_WHILE_FILLING, str(tmp_path), str(NOON)).returncode == -9
    assert [path.name for path in (tmp_path / "EDGE-002").glob(".making-*")] == [".making-run-2026-11-21-001"]
    assert list(RunFolder.every(tmp_path)) == []
    assert RunFolder.create(tmp_path, "EDGE-002", NOON).run_id == "run-2026-11-21-001"
    assert list((tmp_path / "EDGE-002").glob(".making-*")) == []


def test_nobody_removes_what_another_is_filling(tmp_path: Path) -> None:
    """Of two creators the second waits until the first is done: half made means that its maker is gone."""
    filling, made = threading.Event(), dict[str, RunFolder]()
    go_on = threading.Event()

    def slowly(folder: RunFolder) -> None:
        folder.run_config.write_text("the first")
        filling.set()
        assert go_on.wait(10)

    def at_once(folder: RunFolder) -> None:
        assert go_on.is_set()  # not before the first one was done
        folder.run_config.write_text("the second")

    first = threading.Thread(target=lambda: made.update(first=RunFolder.create(tmp_path, "EDGE-002", NOON, slowly)))
    second = threading.Thread(target=lambda: made.update(second=RunFolder.create(tmp_path, "EDGE-002", NOON, at_once)))
    first.start()
    assert filling.wait(10)
    second.start()
    go_on.set()
    for thread in (first, second):
        thread.join(10)
    assert [(made[name].run_id[-3:], made[name].run_config.read_text()) for name in ("first", "second")] == [
        ("001", "the first"),
        ("002", "the second"),
    ]


def test_a_day_has_999_runs(tmp_path: Path) -> None:
    """The thousandth is an error of the lab that says what to do."""
    (tmp_path / "EDGE-002" / "run-2026-11-21-999").mkdir(parents=True)
    with pytest.raises(LabError, match="999 runs"):
        RunFolder.create(tmp_path, "EDGE-002", NOON)


def test_a_place_that_cannot_be_written_is_an_error_of_the_lab(tmp_path: Path) -> None:
    """With the reason that the system gave."""
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(LabError, match=r"no run folder can be made in .*: Not a directory"):
        RunFolder.create(tmp_path / "runs", "EDGE-002", NOON)


def test_a_run_is_found_by_id_by_entry_and_id_and_by_path(tmp_path: Path) -> None:
    """What a person copies from a screen works, whichever of the three it is."""
    run = RunFolder.create(tmp_path, "EDGE-002", NOON)
    write_json(run.run_config, {})
    for name in (run.run_id, f"EDGE-002/{run.run_id}", str(run.root)):
        assert RunFolder.find(tmp_path, name).root == run.root


def test_an_unknown_or_ambiguous_run_is_answered_with_what_there_is(tmp_path: Path) -> None:
    """No run yet, another name, two runs of one name: each is told apart."""
    with pytest.raises(AskError, match=r"no run is called 'x'\n.*there is none yet"):
        RunFolder.find(tmp_path, "x")
    RunFolder.create(tmp_path, "EDGE-001", NOON)
    with pytest.raises(AskError, match=r"no run is called 'x'\n.*one of EDGE-001/run-2026-11-21-001"):
        RunFolder.find(tmp_path, "x")
    RunFolder.create(tmp_path, "EDGE-002", NOON)
    with pytest.raises(AskError, match=r"2 runs are called .*\n.*EDGE-001/run-2026-11-21-001, EDGE-002/run-2026-11-21-001"):
        RunFolder.find(tmp_path, "run-2026-11-21-001")


def test_runs_are_listed_oldest_first(tmp_path: Path) -> None:
    """By day and number, over all entries; other folders are not runs."""
    for entry, days in (("EDGE-002", 1), ("EDGE-001", 2), ("EDGE-002", 0)):
        RunFolder.create(tmp_path, entry, NOON + days * DAY_NS)
    (tmp_path / "EDGE-002" / "run-notes").mkdir()
    (tmp_path / "EDGE-002" / "run-2026-11-24-001").touch()
    assert [run.run_id[4:14] for run in RunFolder.every(tmp_path)] == ["2026-11-21", "2026-11-22", "2026-11-23"]
    assert list(RunFolder.every(tmp_path / "none")) == []


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails in the middle leaves the old file as it was, and is an error of the lab."""
    path = tmp_path / "findings.json"
    write_json(path, {"grüße": [1]})
    assert read_json(path) == {"grüße": [1]}

    def fails(*words: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", fails)
        with pytest.raises(LabError, match="No space left on device"):
            write_text(path, "new")
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", fails)
        with pytest.raises(LabError, match="cannot be written"):
            write_text(path, "new")
    assert read_json(path) == {"grüße": [1]}


@pytest.mark.parametrize("content", [None, "{", "\udcff"])
def test_a_file_that_is_missing_or_damaged_is_named(tmp_path: Path, content: str | None) -> None:
    """The reader's complaint has the path in it."""
    path = tmp_path / "run_config.json"
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(AskError, match=r"run_config\.json cannot be read"):
        read_json(path)
