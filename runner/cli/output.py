"""Where words go: results to standard output, everything else to standard error; with --json exactly one object.

What is allowed on a terminal, colour and width, is decided in `terminal.py`; how waiting looks, in `waiting.py`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, TextIO, TypeVar

from runner.cli.terminal import cells, line_of, painted, painted_complaint, plain, shortened, wants_colour, width
from runner.cli.waiting import STATUS
from runner.errors import LabError, RunnerError
from runner.lab.where import Lab, find_lab

SCHEMA = "stageflow-runner/1"
LEAST_CELLS = 8  # of a column that is shortened
Result = TypeVar("Result")
_lost: list[OSError] = []  # why standard output took no more, a reader who has gone apart

__all__ = ["Output", "columns", "file_text", "lose", "plain", "settled"]


class Output:
    """One command's way of speaking."""

    def __init__(self, as_json: bool, lab: str | None) -> None:
        self.as_json, self._chosen = as_json, lab

    def lab(self, *, quiet: bool = False) -> Lab:
        """The lab, announced in the first line."""
        lab = find_lab(self._chosen)
        if not quiet:
            self.say(str(lab))
        return lab

    def say(self, text: str) -> None:
        """Something a person may want to know on the way."""
        _speak(text, sys.stderr if self.as_json else sys.stdout)

    @contextmanager
    def waiting(self, what: str, limit_s: float | None = None) -> Iterator[None]:
        """While its body runs, a terminal says "waiting for `what`, 12 s of 60" once it takes longer than a second.

        May be used in coroutines, and inside of one another: the inner one is shown. Nothing of it is left on a terminal.
        """
        before = STATUS.begin(what, limit_s)
        try:
            yield
        finally:
            STATUS.show(before)

    async def awaited(self, what: str, work: Awaitable[Result], limit_s: float | None = None) -> Result:
        """What `work` gives, waited for as `what`. In the event loop: begun outside of it, the line would never be drawn again."""
        with self.waiting(what, limit_s):
            return await work

    def wait(self, what: str = "", limit_s: float | None = None, *, at_once: bool = False) -> None:
        """The same for faces of events: from now on `what` is waited for instead of anything else; without a word, nothing is.

        A terminal says it `at_once` where whatever is waited for holds the event loop, so that nobody would draw it later.
        """
        STATUS.begin(what, limit_s) if what else STATUS.show(None)
        if at_once:
            STATUS.redraw()

    def note(self, text: str) -> None:
        """What must not stand among a command's own output, whoever reads that: a sentence on standard error."""
        _speak(text, sys.stderr)

    def write(self, text: str) -> None:
        """A piece of a stream of words, which may end in the middle of a line."""
        _write(plain(text), sys.stdout, end="")

    def result(self, value: dict[str, Any], text: str, exit_code: int = 0) -> int:
        """The answer: `value` for a program, `text` for a person. Returns the exit status."""
        if self.as_json:
            _write(json.dumps({"schema": SCHEMA, "exit_code": exit_code, **value}), sys.stdout)
        elif text:
            _speak(text, sys.stdout)
        return exit_code

    def fail(self, error: RunnerError) -> None:
        """A failure: a sentence on standard error, what is to be done about several complaints once; with --json the one object on
        standard output."""
        STATUS.show(None)
        if not self.as_json:
            dos = [complaint.do for complaint in error.complaints]
            once = [replace(each, do="" if each.do in dos[:place] else each.do) for place, each in enumerate(error.complaints)]
            said_plainly = [plain(str(complaint)) for complaint in once]
            _write("\n".join(map(painted_complaint, said_plainly) if wants_colour(sys.stderr) else said_plainly), sys.stderr)
            return
        first = error.complaints[0]
        said = [{"found": c.found, "expected": c.expected, "where": c.where, "do": c.do} for c in error.complaints]
        body = {"kind": error.kind, **said[0], "all": said}
        _write(json.dumps({"schema": SCHEMA, "exit_code": error.exit_code, "error": body}), sys.stdout)
        _write(plain(first.found), sys.stderr)


def _speak(text: str, stream: TextIO | None) -> None:
    """Words for a person, from anywhere: made plain, then coloured where that is wanted, above the line that says what is waited for."""
    text = plain(text)
    drawn = STATUS.clear()
    _write(painted(text) if wants_colour(stream) else text, stream)
    if drawn:
        STATUS.redraw()


def _write(text: str, stream: TextIO | None, end: str = "\n") -> None:
    """A line, if anybody still listens: `runner exec … | head` must neither stop a run nor change its exit status. What a full
    disk does not take stops no run either: `settled` tells of it at the end."""
    if stream is None:  # closed before we began; print() would take standard output in its place
        return
    try:
        print(text, end=end, file=stream, flush=True)
    except OSError as error:
        lose(error, stream)


def lose(error: OSError, stream: TextIO) -> None:
    """From now on nothing that is written to `stream` goes anywhere, what waits in its buffer included; `settled` knows why."""
    if not isinstance(error, BrokenPipeError) and stream is sys.stdout:
        _lost.append(error)
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def settled() -> None:
    """What is buffered is written, so that the interpreter finds nothing to write when it ends: there it could only exit with 120.
    Raises LabError when something of standard output could not be written; a reader who has gone is no error."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            lose(error, stream)
        except ValueError:  # it was closed
            continue
    if _lost:
        why = _lost[0]
        _lost.clear()
        found = f"standard output cannot be written: {why.strerror}"
        raise LabError(found, expected="a place that takes what is printed", do="free some space, or print elsewhere") from why


def columns(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows as aligned columns under a head. On a terminal columns with words in them are shortened until lines fit, the widest first.

    Names and numbers, which have no blanks in them, are never shortened: they are there to be copied.
    """
    table = [[line_of(str(cell)) for cell in row] for row in (head, *rows)]
    widths = [max(cells(row[place]) for row in table) for place in range(len(head))]
    limit = width(sys.stdout)
    wordy = [place for place in range(len(head)) if any(" " in row[place] for row in table)]
    over = 0 if limit is None else sum(widths) + 2 * (len(widths) - 1) - limit
    for _ in range(over):
        widest = max(wordy, key=lambda place: widths[place], default=None)
        if widest is None or widths[widest] <= LEAST_CELLS:
            break
        widths[widest] -= 1
    return "\n".join("  ".join(_cell(*pair) for pair in zip(row, widths, strict=True)).rstrip() for row in table)


def _cell(text: str, size: int) -> str:
    text = shortened(text, size)
    return text + " " * (size - cells(text))


def file_text(lab: Lab, relative: str) -> str:
    path = lab.file(relative)
    assert path
    return f"{lab.shown(path)}\n\n{path.read_text(encoding='utf-8').rstrip()}"
