"""Where words go, and that a device's words cannot reach the terminal as anything but words."""

from __future__ import annotations

import json

import pytest

from runner.cli.output import Output, columns, plain
from runner.errors import LabError


@pytest.mark.parametrize(
    "text",
    ["\x1b[2J\x1b[H", "\x1b]0;owned\x07", "\x9b31m", "\rgone", "\x08\x08\x08", "\x00", "a\u202eb", "\u2028", "\ud800", "\x7f", "\v\f"],
    ids=ascii,
)
def test_nothing_a_device_says_moves_the_cursor(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences, carriage returns, backspaces, direction marks: none of them is printed, by any way out."""
    assert plain(text).isprintable()
    output = Output(False, None)
    output.say(text)
    output.result({}, text)
    output.fail(LabError(text, do=text))
    out, err = capsys.readouterr()
    assert (out + err).replace("\n", "").isprintable()


def test_words_of_every_language_are_printed() -> None:
    """Only what could move a cursor is replaced."""
    assert plain("grüße 世界 → ✓ – 5 µs\nnext line") == "grüße 世界 → ✓ – 5 µs\nnext line"


def test_json_output_is_one_line_without_a_raw_escape(capsys: pytest.CaptureFixture[str]) -> None:
    """In JSON the device's words are kept, escaped."""
    assert Output(True, None).result({"said": "\x1b[2J\n"}, "text", 1) == 1
    out, err = capsys.readouterr()
    assert (out.count("\n"), "\x1b" in out, err) == (1, False, "")
    assert json.loads(out) == {"schema": "stageflow-runner/1", "exit_code": 1, "said": "\x1b[2J\n"}


def test_what_is_said_on_the_way_does_not_disturb_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json it goes to standard error; without, to standard output."""
    Output(True, None).say("pushing")
    Output(False, None).say("pushing")
    assert capsys.readouterr() == ("pushing\n", "pushing\n")


def test_columns_line_up() -> None:
    """Each as wide as its widest cell, and no blanks at the end of a line."""
    assert columns(("name", "n"), [("a", 1), ("longer", 22)]) == "name    n\na       1\nlonger  22"
    assert columns(("name",), []) == "name"


def test_a_closed_standard_error_never_becomes_standard_output(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`runner --json … 2>&-` still prints exactly one object."""
    monkeypatch.setattr("sys.stderr", None)
    output = Output(True, None)
    output.say("on the way")
    assert output.result({"a": 1}, "") == 0
    assert json.loads(capsys.readouterr().out)["a"] == 1
