"""Every ending of every command: a sentence or exactly one JSON object, and the exit status that the table says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from runner.cli import main as module
from runner.cli.main import COMMANDS
from runner.cli.output import SCHEMA
from runner.errors import LabError

Runner = Callable[..., Any]
DEVICES = "inventory.yaml"


@pytest.fixture
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which nobody has worked yet: the built-in lab."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


pytestmark = pytest.mark.usefixtures("in_empty_folder")

# the words, what is wrong, what may stand there, where, what to do
WRONG: dict[str, tuple[tuple[str, ...], str, str, str, str]] = {
    "unknown entry": (("exec", "EDGE-02"), "no entry is called 'EDGE-02' (did you mean 'EDGE-002'?)", "EDGE-002", "runner exec", ""),
    "unknown device": (
        ("exec", "EDGE-002", "--device", "qemu-pie"),
        "no device is called 'qemu-pie' (did you mean 'qemu-pi'?)",
        "one of local, qemu-pi, qemu-serial, qemu-serial-uart, qemu-x86",
        "--device",
        "",
    ),
    "no cuts": (("exec", "EDGE-002", "--cuts", "0"), "0 cuts", "1 to 1000", "--cuts", ""),
    "too many cuts": (("exec", "EDGE-002", "--cuts", "1001"), "1001 cuts", "1 to 1000", "--cuts", ""),
    "no number": (("exec", "EDGE-002", "--cuts", "many"), "Invalid value for '--cuts'", "", "", "runner exec --help"),
    "unknown scenario": (
        ("exec", "EDGE-002", "--scenario", "recover"),
        "no scenario is called 'recover' (did you mean 'recovery'?)",
        "adversarial, baseline, chaos, recovery, stress",
        "--scenario",
        "",
    ),
    "unknown stageflow": (("exec", "EDGE-002", "--stageflow", "9.9.9"), "Stageflow 9.9.9 is not pinned here", "1.2.0", "--stageflow", ""),
    "unknown command": (("exce", "EDGE-002"), "no command is called 'exce' (did you mean 'exec'?)", "exec", "", ""),
    "unknown option": (("exec", "EDGE-002", "--devise", "local"), "No such option", "", "", "runner exec --help"),
    "nothing to run": (("exec",), "Missing argument 'ENTRY'", "", "", "runner exec --help"),
    "no verb": (("entry",), "Missing command.", "", "", "runner entry --help"),
    "run for exec": (("run", "EDGE-002", "--device", "local"), "`runner run` has no command", "list or show", "", "runner exec EDGE-002"),
    "not a lab": (("--lab", ".", "device", "list"), "is not a lab", "inventory.yaml", "--lab", "runner init"),
    "no run yet": (("report", "run-2026-11-21-001"), "no run is called", "there is none yet", "", ""),
    "unknown profile": (("profile", "show", "power-cut"), "did you mean 'power-cuts'?", "one of power-cuts, ", "runner profile show", ""),
    "unknown schema": (("schema", "inventroy"), "Invalid value", "", "", "runner schema --help"),
    "a key of a board made here": (("device", "trust", "qemu-pi"), "qemu-pi has no `address`", "reached over a network", "", ""),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_asked_wrongly_is_answered_in_json_by_exactly_one_object(runner: Runner, name: str, in_empty_folder: Path) -> None:
    """Kind, what was found, what is allowed, where, and what to do; exit status 2, and nothing was made."""
    words, found, expected, where, do = WRONG[name]
    said = runner("--json", *words)
    error = said.json["error"]
    assert (said.exit_code, error["kind"], said.json["schema"]) == (2, "ask", SCHEMA)
    assert found in error["found"]
    assert expected in error["expected"]
    assert where in error["where"]
    assert do in error["do"]
    assert error["all"][0] == {key: error[key] for key in ("found", "expected", "where", "do")}
    assert list(in_empty_folder.iterdir()) == []


@pytest.mark.parametrize("name", WRONG)
def test_a_person_gets_a_sentence_on_standard_error(runner: Runner, name: str) -> None:
    """The same facts as text; standard output has nothing but the lab's line."""
    words, found, *_ = WRONG[name]
    said = runner(*words)
    assert said.exit_code == 2
    assert found in said.err
    assert [line for line in said.out.splitlines() if not line.startswith("lab: ")] == []


RIGHT = (
    ("run", "list"),
    ("entry", "list"),
    ("entry", "show", "EDGE-002"),
    ("device", "list"),
    ("device", "show", "qemu-pi"),
    ("profile", "list"),
    ("profile", "show", "steady"),
    ("schema", "profile"),
    ("doctor",),
    ("exec", "EDGE-002", "--dry-run"),
)


@pytest.mark.parametrize("words", RIGHT, ids=" ".join)
def test_what_is_asked_rightly_is_answered_by_exactly_one_object(runner: Runner, words: tuple[str, ...], in_empty_folder: Path) -> None:
    """Wherever --json stands; the lab's line goes to standard error; looking makes no file."""
    said = runner(*words, "--json")
    assert (said.exit_code, said.json["schema"]) == (0, SCHEMA)
    assert runner("--json", *words).json == said.json
    assert runner(*words).exit_code == 0
    assert list(in_empty_folder.iterdir()) == []


def test_every_command_of_the_table_exists_and_helps(runner: Runner) -> None:
    """Each name leads to a command with a help text of its own; the list shows them all."""
    listed = runner("--help")
    assert listed.exit_code == 0
    for name in COMMANDS:
        assert f"  {name} " in listed.out
        helped = runner(name, "--help")
        assert helped.exit_code == 0
        assert helped.out.startswith(f"Usage: runner {name}")


def test_without_words_help_is_shown(runner: Runner) -> None:
    """The first thing that a person types."""
    assert runner() == runner("--help")


def test_several_complaints_come_in_one_answer(runner: Runner) -> None:
    """A wrong device, a wrong scenario and a wrong count are told together."""
    said = runner("--json", "exec", "EDGE-002", "--scenario", "x", "--cuts", "0", "--stageflow", "0")
    assert [complaint["where"] for complaint in said.json["error"]["all"]] == ["--scenario", "--stageflow", "--cuts"]


def test_a_broken_file_is_answered_with_its_line(runner: Runner, make_lab: Callable[..., Path]) -> None:
    """file:line, in JSON and in text."""
    root = make_lab({DEVICES: "devices:\n  local:\n    typ: local-process\n"})
    said = runner("--json", "--lab", str(root), "device", "list")
    assert said.exit_code == 2
    assert {complaint["where"].rpartition("/")[2] for complaint in said.json["error"]["all"]} == {"inventory.yaml:2", "inventory.yaml:3"}
    assert "inventory.yaml:3: unknown key 'typ' (did you mean 'type'?)" in runner("--lab", str(root), "device", "list").err


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (LabError("pi-04 did not answer", do="look at its power"), 3, "lab"),
        (RuntimeError("oh no"), 4, "bug"),
        (AssertionError(), 4, "bug"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.Abort(), 130, "interrupted"),
    ],
    ids=["lab", "bug", "assert", "^C", "abort"],
)
def test_every_failure_has_its_exit_status_and_its_object(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, kind: str
) -> None:
    """Whatever is raised, standard output is one object; only our own bug shows a traceback."""

    def fails() -> None:
        raise error

    monkeypatch.setattr(module, "import_module", lambda name: fails())
    said = runner("--json", "run", "list")
    assert (said.exit_code, said.json["error"]["kind"]) == (code, kind)
    assert ("Traceback" in said.err) == (kind == "bug")
    assert runner("run", "list").out == ""


def test_a_bug_in_a_devices_words_moves_no_cursor(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The traceback is shown whole, its escapes made plain, as everything else is."""

    def fails(name: str) -> None:
        raise RuntimeError("the device said \x1b[2J\x1b]0;owned\x07")

    monkeypatch.setattr(module, "import_module", fails)
    said = runner("run", "list")
    assert (said.exit_code, "Traceback (most recent call last):\n" in said.err) == (4, True)
    assert "RuntimeError: the device said �[2J�]0;owned�\n" in said.err
    assert said.err.replace("\n", "").isprintable()


def test_a_reader_that_went_away_is_no_error(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """`runner … | head` ends quietly."""

    def fails(name: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(module, "import_module", fails)
    monkeypatch.setattr(module.os, "dup2", lambda *fds: None)
    monkeypatch.setattr("sys.stdout.fileno", lambda: 1, raising=False)
    assert runner("run", "list").exit_code == 0


def test_the_version_is_ours(runner: Runner) -> None:
    """Name and number."""
    from runner import __version__

    assert runner("--version").out == f"runner, version {__version__}\n"


def test_in_a_process_of_its_own_it_is_the_same(runner_process: Callable[..., Any], in_empty_folder: Path) -> None:
    """The console script: one object on standard output and the exit status, to a program that calls it."""
    done = runner_process("exec", "EDGE-02", "--json", cwd=in_empty_folder)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["kind"] == "ask"
