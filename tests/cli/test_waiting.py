"""What takes more than a second on a folder says what is waited for, on a terminal; nothing of it is left there."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.cli.waiting import CLEAR, STATUS
from runner.lab.folder import write_json, write_text
from tests.judgement.made_run import MadeRun

Runner = Callable[..., Any]
RUN = "run-2026-01-31-001"


class Terminal(io.StringIO):
    """A stream that says that it is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def lab(make_lab: Callable[..., Path]) -> Path:
    """A lab with a run of which nothing was asked, and that came to its end."""
    root = make_lab({})
    made = MadeRun(root / "runs")
    made.plan |= {"scenarios": {}}
    made.end(4.0)
    made.conclusion()
    about = {"status": "completed", "started_at": "2020-01-01T11:00:00.000Z", "completed_at": "2020-01-01T12:00:00.000Z"}
    write_json(made.folder.findings, {"metadata": about, "findings": []})
    write_text(made.folder.final_report, "# Final report\n")
    write_text(made.folder.root / "results/logs/run_recovery-1_20200101_120000.log", "hello\n")
    return root


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("report", RUN), f"{RUN} to be judged, and its report to be written"),
        (("run", "show", RUN), f"{RUN} to be judged"),
        (("run", "verify", RUN), f"{RUN} to be held against every rule"),
        (("run", "export", RUN, "--format", "ctrf"), f"{RUN} to be judged"),
        (("run", "export", RUN, "--format", "ctrf", "--output", "made.json"), "made.json to be written"),
        (("run", "archive"), f"EDGE-002/{RUN} to be archived"),
        (("run", "prune"), "the runs to be looked at"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_what_may_take_its_time_says_what_is_waited_for(
    runner: Runner, lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], what: str
) -> None:
    """In one line, taken away before the answer is printed; a pipe is told nothing that is over by then."""
    monkeypatch.chdir(tmp_path)
    runner("--lab", str(lab), *words)
    quiet = runner("--lab", str(lab), *words)
    assert "waiting for" not in quiet.err
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.stderr", terminal)
    if words == ("run", "archive"):
        runner("--lab", str(lab), "run", "archive", RUN, "--restore")
    runner("--lab", str(lab), *words)
    said = terminal.getvalue()
    assert f"waiting for {what}, 0 s" in said
    assert said.rindex(CLEAR) > said.rindex("waiting for")
    assert STATUS.show(None) is None


def test_a_restore_says_what_is_waited_for(runner: Runner, lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run by run: an archive may be large."""
    assert runner("--lab", str(lab), "run", "archive").exit_code == 0
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.stderr", terminal)
    assert runner("--lab", str(lab), "run", "archive", RUN, "--restore").exit_code == 0
    assert f"waiting for EDGE-002/{RUN} to be restored, 0 s" in terminal.getvalue()
