"""Where words go, that a device's words cannot reach the terminal as anything but words, and how these look there."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import Callable, Iterator

import pytest

from runner.cli import waiting
from runner.cli.output import Output, columns, plain
from runner.cli.terminal import cells, is_terminal, painted, shortened, wants_colour, width
from runner.cli.waiting import CLEAR, StatusLine, next_due_s
from runner.errors import AskError, Complaint, LabError

SHOW_COLOURS = ("NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "TERM", "COLUMNS")


class Terminal(io.StringIO):
    """A stream that says that it is one."""

    def isatty(self) -> bool:
        return not super().isatty()  # which raises once it is closed


@pytest.fixture(autouse=True)
def _a_plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the terminal is in which these tests run."""
    for name in SHOW_COLOURS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Terminal, Terminal]]]:
    """`terminal(40)`: standard output and standard error are a terminal of so many columns."""

    def make(columns: int = 80) -> tuple[Terminal, Terminal]:
        out, err = Terminal(), Terminal()
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setattr("sys.stderr", err)
        return out, err

    yield make
    waiting.STATUS.show(None)


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


# ---- colour ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "on_a_terminal", "in_a_pipe"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}, False, False),
        ({"CLICOLOR_FORCE": "1"}, True, True),
        ({"FORCE_COLOR": "3"}, True, True),
        ({"CLICOLOR_FORCE": "0", "FORCE_COLOR": ""}, True, False),
        ({"CLICOLOR": "0"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "xterm"}, True, False),
    ],
    ids=str,
)
def test_colour_is_where_it_is_wanted(environment: dict[str, str], on_a_terminal: bool, in_a_pipe: bool) -> None:
    """NO_COLOR before all, then the two that force it, then what the stream is."""
    assert wants_colour(Terminal(), environment) == on_a_terminal
    assert wants_colour(io.StringIO(), environment) == in_a_pipe
    assert wants_colour(None, {}) is False


def test_a_closed_stream_is_no_terminal() -> None:
    """Nor has it a width."""
    stream = Terminal()
    stream.close()
    assert not is_terminal(stream, {})
    assert width(stream, {}) is None


@pytest.mark.parametrize(
    "line",
    [
        "PASS WITH CONCERNS · 3 cuts",
        "  critical: chaos: not kept",
        "high      bug   open",
        "run-1  EDGE-002  completed  NEEDS_WORK",
        "FAIL",
    ],
)
def test_verdicts_and_severities_are_coloured(line: str) -> None:
    """At a line's begin or in a column of their own; the words stay what they are."""
    shown = painted(line)
    assert shown.count("\x1b[0m") == 1
    assert click_unstyle(shown) == line


@pytest.mark.parametrize("line", ["a high price", "it did not PASS", "PASSENGER", "highly", "::error title=high::FAIL", "the lowest: low"])
def test_words_in_a_sentence_are_not(line: str) -> None:
    """Also not in what GitHub reads."""
    assert painted(line) == line


def click_unstyle(text: str) -> str:
    import click

    return click.unstyle(text)


def test_an_error_is_red_and_its_command_bold(terminal: Callable[..., tuple[Terminal, Terminal]]) -> None:
    """Of each complaint the first line, and what to type; what a device said in between stays plain."""
    _, err = terminal()
    Output(False, None).fail(AskError.of([Complaint("no \x1b[2J device", "one of a, b", do="runner device list"), Complaint("two")]))
    assert err.getvalue() == (
        "\x1b[31mno �[2J device\x1b[0m\n  expected: one of a, b\n  do: \x1b[1mrunner device list\x1b[0m\n\x1b[31mtwo\x1b[0m\n"
    )


def test_json_is_never_coloured(terminal: Callable[..., tuple[Terminal, Terminal]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where colour is forced."""
    out, _ = terminal()
    monkeypatch.setenv("FORCE_COLOR", "1")
    Output(True, None).result({"verdict": "FAIL"}, "FAIL")
    Output(True, None).fail(LabError("high"))
    assert "\x1b" not in out.getvalue()


# ---- width ----------------------------------------------------------------------------------------------------------------

HEAD, ROWS = ("id", "title", "n"), [("EDGE-002-REL-001", "chaos: not kept: alarms sent once", 1), ("EDGE-002-BUG-001", "kurz", 22)]


def test_on_a_terminal_the_widest_words_are_shortened(terminal: Callable[..., tuple[Terminal, Terminal]]) -> None:
    """Until the lines fit; what has no blanks in it is there to be copied, and stays whole."""
    terminal(40)
    lines = columns(HEAD, ROWS).splitlines()
    assert lines[1] == "EDGE-002-REL-001  chaos: not kept:…   1"
    assert max(map(cells, lines)) == 40
    terminal(10)
    assert columns(HEAD, ROWS).splitlines()[2].split() == ["EDGE-002-BUG-001", "kurz", "22"]


def test_where_one_column_is_not_enough_others_give_way_too(terminal: Callable[..., tuple[Terminal, Terminal]]) -> None:
    """No column of words is cut to nothing beside one that is whole."""
    terminal(40)
    rows = [("a-name", "words " * 20, "other words " * 10)]
    lines = columns(("name", "does", "title"), rows).splitlines()
    assert max(map(cells, lines)) == 40
    assert lines[1] == "a-name  words words wo…  other words ot…"


def test_in_a_pipe_everything_is_there(terminal: Callable[..., tuple[Terminal, Terminal]], monkeypatch: pytest.MonkeyPatch) -> None:
    """COLUMNS does not shorten what a program reads."""
    monkeypatch.setenv("COLUMNS", "20")
    assert ROWS[0][1] in columns(HEAD, ROWS)


def test_wide_letters_take_two_cells(terminal: Callable[..., tuple[Terminal, Terminal]]) -> None:
    """Columns line up on a terminal, whatever the language; accents that combine take none."""
    assert (cells("世界"), cells("gru\u0308n"), cells("abc")) == (4, 4, 3)
    assert shortened("世界世界", 5) == "世界…"
    terminal(80)
    assert columns(("a", "b"), [("世界", 1), ("x", 2)]) == "a     b\n世界  1\nx     2"


def test_a_cell_is_one_line() -> None:
    """A newline in a title must not break the table."""
    assert columns(("a", "b"), [("x\ny\tz", 1)]) == "a      b\nx y z  1"


@pytest.mark.parametrize(
    ("said", "columns"), [("132", 132), ("0", 80), ("many", 80), ("-5", 80), ("9" * 5000, 80)], ids=lambda v: str(v)[:8]
)
def test_a_terminal_has_the_width_that_it_says(said: str, columns: int) -> None:
    """COLUMNS where it makes sense; a stream without a terminal behind it counts as 80."""
    assert width(Terminal(), {"COLUMNS": said}) == columns
    assert width(io.StringIO(), {"COLUMNS": said}) is None


# ---- waiting --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in `now[0]`, turned by hand, and a status line that goes by it."""
    time = [100.0]
    line = StatusLine(lambda: time[0])
    monkeypatch.setattr(waiting, "STATUS", line)
    monkeypatch.setattr("runner.cli.output.STATUS", line)
    return time


def ticks(now: list[float], seconds: int) -> None:
    for _ in range(seconds):
        now[0] += 1
        waiting.STATUS.tick()


def test_a_terminal_has_one_line_that_is_written_over(terminal: Callable[..., tuple[Terminal, Terminal]], now: list[float]) -> None:
    """What is waited for, how long already and how long at most; nothing of it stays, and standard output has none of it."""
    out, err = terminal(40)
    with Output(False, None).waiting("pi-04 to answer", 60):
        ticks(now, 12)
        assert err.getvalue().split(CLEAR)[-1] == "waiting for pi-04 to answer, 12 s of 60"
        os.environ["COLUMNS"] = "30"
        ticks(now, 1)
        assert err.getvalue().split(CLEAR)[-1] == "waiting for pi-04 to answer,…"
    assert err.getvalue().endswith(CLEAR)
    assert (err.getvalue().count("\n"), out.getvalue()) == (0, "")


def test_what_is_said_meanwhile_stands_above_the_line(terminal: Callable[..., tuple[Terminal, Terminal]], now: list[float]) -> None:
    """The line is taken away, the words are written, the line comes back."""
    out, err = terminal()
    output = Output(False, None)
    with output.waiting("pi-04"):
        ticks(now, 1)
        before = err.getvalue()
        output.say("a cut")
        assert out.getvalue() == "a cut\n"
        assert err.getvalue() == f"{before}{CLEAR}{CLEAR}waiting for pi-04, 1 s"
    assert err.getvalue().endswith(CLEAR)


def test_in_a_pipe_lines_come_ever_more_rarely(capsys: pytest.CaptureFixture[str], now: list[float]) -> None:
    """After 2, 4, 8 … seconds, plain, on standard error; nothing for what takes no time."""
    with Output(False, None).waiting("pi-04", 60):
        ticks(now, 20)
    with Output(False, None).waiting("nothing long"):
        ticks(now, 1)
    assert capsys.readouterr() == ("", "".join(f"waiting for pi-04, {n} s of 60\n" for n in (2, 4, 8, 16)))


@pytest.mark.parametrize("as_json", [False, True])
def test_a_dumb_terminal_is_written_to_like_a_pipe(
    terminal: Callable[..., tuple[Terminal, Terminal]], now: list[float], monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    """No line is written over; with --json it is the same, and standard output is left alone."""
    out, err = terminal()
    monkeypatch.setenv("TERM", "dumb")
    with Output(as_json, None).waiting("pi-04"):
        ticks(now, 2)
    assert (err.getvalue(), out.getvalue()) == ("waiting for pi-04, 2 s\n", "")


def test_waits_stand_inside_of_one_another(capsys: pytest.CaptureFixture[str], now: list[float]) -> None:
    """The inner one is shown; afterwards the outer one again, counted from its own beginning."""
    output = Output(False, None)
    with output.waiting("the run"):
        ticks(now, 1)
        with output.waiting("pi-04"):
            ticks(now, 2)
        ticks(now, 1)
    ticks(now, 30)
    assert capsys.readouterr().err == "waiting for pi-04, 2 s\nwaiting for the run, 4 s\n"


def test_events_say_what_is_waited_for_now(capsys: pytest.CaptureFixture[str], now: list[float]) -> None:
    """Each takes the place of the one before; no word ends it."""
    output = Output(False, None)
    for what in ("pi-04 to boot", "its supervisor", ""):
        output.wait(what)
        ticks(now, 3)
    assert capsys.readouterr().err == "waiting for pi-04 to boot, 2 s\nwaiting for its supervisor, 2 s\n"


def test_an_event_loop_ticks_by_itself(capsys: pytest.CaptureFixture[str], now: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the loop's own timer, without a thread; what is over has no timer any more."""

    class Timer:
        cancelled = False

        def cancel(self) -> None:
            self.cancelled = True

    async def waits() -> None:
        timers: list[tuple[float, Callable[[], None], Timer]] = []

        def call_later(delay_s: float, tick: Callable[[], None]) -> Timer:
            timers.append((delay_s, tick, Timer()))
            return timers[-1][2]

        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", call_later)
        with Output(False, None).waiting("pi-04"):
            for _ in range(3):
                delay_s, tick, _ = timers[-1]
                now[0] += delay_s
                tick()
        assert [delay_s for delay_s, *_ in timers] == [2, 2, 4, 8]
        assert timers[-1][2].cancelled

    asyncio.run(waits())
    assert capsys.readouterr().err == "".join(f"waiting for pi-04, {n} s\n" for n in (2, 4, 8))


@pytest.mark.parametrize("at_once", [True, False])
def test_what_holds_the_event_loop_is_said_before_it_does(
    terminal: Callable[..., tuple[Terminal, Terminal]], now: list[float], at_once: bool
) -> None:
    """No timer ticks then: the line of what was waited for before would stand there until the end."""
    _, err = terminal()

    async def judges() -> None:
        output = Output(False, None)
        output.wait("pi-04")
        output.wait("the run to be judged", at_once=at_once)

    asyncio.run(judges())
    assert ("waiting for the run to be judged, 0 s" in err.getvalue()) == at_once


def test_a_failure_takes_the_line_away(terminal: Callable[..., tuple[Terminal, Terminal]], now: list[float]) -> None:
    """Whoever waited and however: the sentence stands alone."""
    _, err = terminal()
    output = Output(False, None)
    output.wait("pi-04")
    ticks(now, 1)
    Output(False, None).fail(LabError("it is gone"))
    assert err.getvalue().endswith(f"{CLEAR}\x1b[31mit is gone\x1b[0m\n")
    ticks(now, 9)
    assert err.getvalue().endswith("it is gone\x1b[0m\n")


def test_what_is_waited_for_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str], now: list[float]) -> None:
    """A device's name is a device's word."""
    with Output(False, None).waiting("pi\x1b[2J\n04"):
        ticks(now, 2)
    assert capsys.readouterr().err == "waiting for pi�[2J 04, 2 s\n"


def test_waiting_survives_a_reader_that_went_away(terminal: Callable[..., tuple[Terminal, Terminal]], now: list[float]) -> None:
    """A closed standard error stops nothing."""
    _, err = terminal()
    with Output(False, None).waiting("pi-04"):
        err.close()
        ticks(now, 3)


@pytest.mark.parametrize(
    ("elapsed_s", "rewritten", "due_s"), [(0, True, 1), (0.5, True, 1), (1, True, 2), (0, False, 2), (2, False, 4), (1000, False, 1024)]
)
def test_when_the_next_line_is_due(elapsed_s: float, rewritten: bool, due_s: float) -> None:
    """Each second where it is written over; else after powers of two."""
    assert next_due_s(elapsed_s, rewritten=rewritten) == due_s


def test_the_status_line_imports_no_event_loop() -> None:
    """`--help` would pay for it."""
    assert "asyncio" not in waiting.__dict__


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs ptys")
def test_a_real_terminal_is_one() -> None:
    """Its width is the one it was given; a pipe has none."""
    import fcntl
    import struct
    import termios

    leader, follower = os.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 57, 0, 0))
    with open(follower, "w") as stream:
        assert (is_terminal(stream, {}), width(stream, {})) == (True, 57)
    os.close(leader)
