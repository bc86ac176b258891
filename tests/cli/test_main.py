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
        "one of local, qemu-pi, qemu-raspi3b, qemu-serial, qemu-serial-uart, qemu-x86",
        "--device",
        "runner device list",
    ),
    "no cuts": (("exec", "EDGE-002", "--cuts", "0"), "0 cuts", "1 to 1000", "--cuts", ""),
    "too many cuts": (("exec", "EDGE-002", "--cuts", "1001"), "1001 cuts", "1 to 1000", "--cuts", ""),
    "no number": (("exec", "EDGE-002", "--cuts", "many"), "'many' is no whole number", "a whole number", "--cuts", "runner exec --help"),
    "fewer than none": (("exec", "EDGE-002", "--cuts", "-3"), "-3 cuts", "1 to 1000", "--cuts", "leave --cuts out"),
    "no tier": (("entry", "list", "--tier", "x"), "'x' is no whole number", "from 1 to 10", "--tier", "runner entry list --help"),
    "no such tier": (("entry", "list", "--tier", "99"), "99 is out of range", "from 1 to 10", "--tier", "runner entry list --help"),
    "no device to show": (("device", "show", "nope"), "no device is called 'nope'", "one of local", "", "runner device list"),
    "a far command": (("nosuch",), "no command is called 'nosuch'", "one of completion, ", "", "runner --help"),
    "a near verb": (("entry", "lst"), "no command is called 'lst' (did you mean 'list'?)", "one of brief, ", "", "runner entry --help"),
    "a near verb of run": (("run", "lst"), "no command is called 'lst' (did you mean 'list'?)", "list", "", "runner run --help"),
    "a far entry": (("entry", "check", "NOPE"), "no entry is called 'NOPE'", "one of the 308 ids", "entry check", "runner entry list"),
    "nothing to make": (("entry", "new", "NOPE-1"), "no entry is called 'NOPE-1'", "one of the", "runner entry new", "runner entry list"),
    "two for standard output": (
        ("--json", "run", "export", "R", "--format", "ctrf"),
        "--json and the export both want standard output",
        "--output FILE",
        "--output",
        "run export R --format ctrf --output FILE",
    ),
    "no format": (("run", "export", "R"), "--format is missing", "one of ctrf, openmetrics, otlp, parquet", "", "runner run export --help"),
    "unknown scenario": (
        ("exec", "EDGE-002", "--scenario", "recover"),
        "no scenario is called 'recover' (did you mean 'recovery'?)",
        "adversarial, baseline, chaos, recovery, stress",
        "--scenario",
        "runner entry show EDGE-002",
    ),
    "unknown stageflow": (("exec", "EDGE-002", "--stageflow", "9.9.9"), "Stageflow '9.9.9' is not", "1.2.0", "--stageflow", "take one"),
    "unknown command": (("exce", "EDGE-002"), "no command is called 'exce' (did you mean 'exec'?)", "exec", "", "runner --help"),
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
    assert "--json" in words or [line for line in said.out.splitlines() if not line.startswith("lab: ")] == []


@pytest.mark.parametrize("words", [("nosuch",), ("entry", "new", "NOPE-1"), ("entry", "check", "NOPE")], ids=" ".join)
def test_a_name_that_is_far_from_all_has_no_nearest(runner: Runner, words: tuple[str, ...]) -> None:
    """To offer one that nobody can have meant is worse than to offer none."""
    assert "did you mean" not in runner(*words).err


def test_what_is_to_be_done_about_several_complaints_is_said_once(runner: Runner) -> None:
    """EDGE-003 on a device without a data link: five complaints; the devices that have one are seen in the list that is named."""
    said = runner("exec", "EDGE-003")
    assert said.err.count("acts on a data link") > 1
    assert said.err.count("do: runner device list") == 1
    assert {error["do"] for error in runner("--json", "exec", "EDGE-003").json["error"]["all"]} >= {"runner device list"}
    assert {row["name"]: row["link"] for row in runner("--json", "device", "list").json["devices"]} == {
        "local": None,
        "qemu-pi": "data0",
        "qemu-serial": None,
        "qemu-serial-uart": None,
        "qemu-x86": "data0",
        "qemu-raspi3b": None,
    }


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
    assert runner("--json", "--version").json == {"schema": SCHEMA, "exit_code": 0, "version": __version__}
    assert "help" in runner("--json", "--help").json


def test_in_a_process_of_its_own_it_is_the_same(runner_process: Callable[..., Any], in_empty_folder: Path) -> None:
    """The console script: one object on standard output and the exit status, to a program that calls it."""
    done = runner_process("exec", "EDGE-02", "--json", cwd=in_empty_folder)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["kind"] == "ask"


# ---- standard output that takes no more ------------------------------------------------------------------------------------

AFTER = "import sys; from runner.cli.main import main; {before}; main()"


@pytest.mark.parametrize(
    "words",
    [("doctor",), ("--json", "doctor"), ("--json", "run", "list"), ("--help",), ("schema", "entry"), ("--json", "--help")],
    ids=" ".join,
)
def test_an_answer_that_cannot_be_written_is_an_error_of_the_lab(run_python: Callable[..., Any], words: tuple[str, ...]) -> None:
    """Exit 3 and a sentence on standard error, once; never 0, and never the 120 of an interpreter that could not flush."""
    done = run_python(AFTER.format(before='import os; os.dup2(os.open("/dev/full", os.O_WRONLY), 1)'), *words, PYTHONUNBUFFERED="")
    assert done.returncode == 3
    assert done.stderr.count("standard output cannot be written: No space left on device") == 1
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_a_failure_stays_what_it_is_where_nothing_can_be_written(run_python: Callable[..., Any]) -> None:
    """What was asked wrongly is exit 2 on a full disk, too."""
    full = AFTER.format(before='import os; os.dup2(os.open("/dev/full", os.O_WRONLY), 1)')
    done = run_python(full, "--json", "exec", "EDGE-02")
    assert done.returncode == 2
    assert "no entry is called 'EDGE-02'" in done.stderr


NOBODY = "import os; r, w = os.pipe(); os.close(r); os.dup2(w, 1); os.dup2(w, 2)"


@pytest.mark.parametrize("words", [("doctor",), ("--help",), ("schema", "entry"), ("--json", "--version")], ids=" ".join)
def test_a_reader_that_has_gone_changes_no_exit_status(run_python: Callable[..., Any], words: tuple[str, ...]) -> None:
    """Neither click's 1 nor the interpreter's 120: with both streams in a pipe that nobody reads, it is 0."""
    assert run_python(AFTER.format(before=NOBODY), *words).returncode == 0


ENDS_WHILE_IT_WAITS = f"""
{NOBODY}
import click
import runner.cli.main as m
from runner.cli.waiting import _write

def ends(name):
    _write("waiting for a device")
    raise click.exceptions.Exit(130)

m.import_module = ends
m.main()
"""


def test_interrupted_is_130_also_where_nobody_reads(run_python: Callable[..., Any]) -> None:
    """The line that says what is waited for lies in the buffer of standard error when the interpreter ends, and stops nothing."""
    assert run_python(ENDS_WHILE_IT_WAITS, "run", "list", PYTHONUNBUFFERED="").returncode == 130
