"""Places where a test may kill us: once, in the process and at the time that the plan says, and nowhere without one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.ondevice import failpoints


@pytest.fixture
def armed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[int, int]]]:
    """`armed("coordinator cut.before 1 kill")`: the plan is there, and no signal is really sent; the list of those that would be."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    monkeypatch.setattr(failpoints, "_counts", {})
    monkeypatch.setattr(failpoints, "role", "coordinator")

    def arm(plan: str) -> list[tuple[int, int]]:
        (tmp_path / "plan").write_text(plan)
        monkeypatch.setattr(failpoints, "_plan", str(tmp_path / "plan"))
        return sent

    return arm


@pytest.mark.parametrize(("action", "number"), [("kill", signal.SIGKILL), ("stop", signal.SIGSTOP)])
def test_it_fires_once_and_says_that_it_did(armed: Callable[..., Any], tmp_path: Path, action: str, number: int) -> None:
    """To this very process; then the plan is called fired, and the point is a point like any other."""
    sent = armed(f"coordinator cut.before 1 {action}")
    for _ in range(3):
        failpoints.reached("cut.before")
    assert sent == [(os.getpid(), number)]
    assert [path.name for path in tmp_path.iterdir()] == ["plan.fired"]


def test_it_fires_at_the_nth_time(armed: Callable[..., Any], tmp_path: Path) -> None:
    """Each point is counted for itself."""
    sent = armed("coordinator journal.half 3 kill")
    for point in ("journal.half", "journal.written", "journal.half", "journal.flushed", "journal.written"):
        failpoints.reached(point)
    assert (sent, (tmp_path / "plan").exists()) == ([], True)
    failpoints.reached("journal.half")
    assert sent == [(os.getpid(), signal.SIGKILL)]


def test_it_fires_only_in_its_role(armed: Callable[..., Any], tmp_path: Path) -> None:
    """All processes read the same plan; one of them is meant."""
    sent = armed("supervisor start.before 1 kill")
    failpoints.reached("start.before")
    failpoints.play("host")
    failpoints.reached("start.before")
    assert (sent, (tmp_path / "plan").exists()) == ([], True)
    armed("host start.before 3 kill")
    failpoints.reached("start.before")
    assert sent == [(os.getpid(), signal.SIGKILL)]


@pytest.mark.parametrize("plan", ["coordinator cut.after 1 kill", "coordinator cut 1 kill", "Coordinator cut.before 1 kill"])
def test_no_other_point_fires(armed: Callable[..., Any], tmp_path: Path, plan: str) -> None:
    """Names are matched whole."""
    sent = armed(plan)
    failpoints.reached("cut.before")
    assert (sent, [path.name for path in tmp_path.iterdir()]) == ([], ["plan"])


def test_of_two_that_reach_it_at_once_one_fires(armed: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever renames the plan is the one; the other finds it gone, and goes on."""
    sent = armed("coordinator cut.before 1 kill")
    rename = os.rename

    def another_was_first(old: str, new: str) -> None:
        rename(old, new)
        rename(old, new)

    monkeypatch.setattr(os, "rename", another_was_first)
    failpoints.reached("cut.before")
    assert sent == []


def test_without_the_variable_nothing_is_counted_and_no_file_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the product a point costs one comparison."""
    monkeypatch.setattr(failpoints, "_plan", "")
    monkeypatch.setattr(failpoints, "_counts", {})
    monkeypatch.setattr("builtins.open", lambda *words: pytest.fail("a file was opened"))
    failpoints.reached("cut.before")
    assert not failpoints.armed()
    assert failpoints._counts == {}


POINTS = """
import os, signal, sys
from runner.ondevice import failpoints
from runner.ondevice.journal import Journal
failpoints.play("keeper")
log = Journal.create(sys.argv[1], "began", {})
log.append("one", {})
log.append("two", {})
print(failpoints.armed())
"""


@pytest.mark.parametrize(
    ("plan", "left"),
    [
        ("keeper journal.append 2 kill", ["began", "one"]),
        ("keeper journal.half 3 kill", ["began", "one"]),
        ("keeper journal.written 2 kill", ["began", "one", "two"]),
        ("keeper journal.half 1 kill", None),
    ],
)
def test_a_real_process_dies_where_it_is_told_to(tmp_path: Path, run_python: Callable[..., Any], plan: str, left: list[str] | None) -> None:
    """In the middle of a journal's write: half a record is behind the last whole one, and a journal without its first is none."""
    from runner.ondevice import journal

    (tmp_path / "plan").write_text(plan)
    path = tmp_path / "journal"
    assert run_python(POINTS, str(path), RUNNER_FAILPOINT=str(tmp_path / "plan")).returncode == -signal.SIGKILL
    assert (tmp_path / "plan.fired").exists()
    assert path.exists() == (left is not None)
    if left is not None:
        assert [record.kind for record in journal.read_file(str(path))] == left
        again = journal.Journal.open(str(path))
        assert (again.tail_cut_bytes > 0) == ("half" in plan)
        again.close()


def test_a_real_process_without_a_plan_lives(tmp_path: Path, run_python: Callable[..., Any]) -> None:
    """The negative control: no variable, and one that names a file which is not there."""
    for number, env in enumerate(({"RUNNER_FAILPOINT": ""}, {"RUNNER_FAILPOINT": str(tmp_path / "none")})):
        done = run_python(POINTS, str(tmp_path / f"journal-{number}"), **env)
        assert (done.returncode, done.stdout.strip()) == (0, str(bool(number)))
