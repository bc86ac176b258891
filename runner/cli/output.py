"""Where words go: results to standard output, everything else to standard error; with --json exactly one object."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from runner.errors import RunnerError
from runner.lab.where import Lab, find_lab

SCHEMA = "stageflow-runner/1"


def plain(text: str) -> str:
    """`text` without anything that could move a terminal's cursor: devices are not trusted with ours."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


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
        _write(plain(text), sys.stderr if self.as_json else sys.stdout)

    def result(self, value: dict[str, Any], text: str, exit_code: int = 0) -> int:
        """The answer: `value` for a program, `text` for a person. Returns the exit status."""
        if self.as_json:
            _write(json.dumps({"schema": SCHEMA, "exit_code": exit_code, **value}), sys.stdout)
        elif text:
            _write(plain(text), sys.stdout)
        return exit_code

    def fail(self, error: RunnerError) -> None:
        """A failure: a sentence on standard error, and with --json the one object on standard output."""
        if not self.as_json:
            _write(plain(f"{error}"), sys.stderr)
            return
        first = error.complaints[0]
        said = [{"found": c.found, "expected": c.expected, "where": c.where, "do": c.do} for c in error.complaints]
        body = {"kind": error.kind, **said[0], "all": said}
        _write(json.dumps({"schema": SCHEMA, "exit_code": error.exit_code, "error": body}), sys.stdout)
        _write(plain(first.found), sys.stderr)


def _write(text: str, stream: TextIO | None) -> None:
    """A line, if anybody still listens: `runner exec … | head` must neither stop a run nor change its exit status."""
    if stream is None:  # closed before we began; print() would take standard output in its place
        return
    try:
        print(text, file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def columns(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows as aligned columns under a head; nothing more than text."""
    table = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[place]) for row in table) for place in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table)


def file_text(lab: Lab, relative: str) -> str:
    path = lab.file(relative)
    assert path
    return f"{lab.shown(path)}\n\n{path.read_text(encoding='utf-8').rstrip()}"
