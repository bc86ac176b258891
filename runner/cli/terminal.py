"""What a terminal is, and what may reach it: words without a device's escapes, colour where it is wanted, lines that fit.

    is it one?       a tty, and TERM is not `dumb`
    colour?          NO_COLOR: never · CLICOLOR_FORCE, FORCE_COLOR: always · CLICOLOR=0: no · else on a terminal
    how wide?        COLUMNS, else what the terminal says, else 80; a pipe or a file has no width: nothing is shortened there

Colour is put on last, onto text that is plain already, and only onto words of our own.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from typing import TextIO

import click

VERDICTS = {"PASS": "green", "PASS WITH CONCERNS": "yellow", "NEEDS WORK": "red", "FAIL": "red", "FAILED": "red", "BLOCKED": "magenta"}
SEVERITIES = {"critical": "bright_red", "high": "red", "medium": "yellow", "low": "cyan"}
COLOURS = {**VERDICTS, **SEVERITIES, **{word.replace(" ", "_"): colour for word, colour in VERDICTS.items()}}
# A word that stands alone: at a line's begin or in a column of its own, never one in the middle of a sentence.
ALONE = re.compile(rf"(?:^|(?<=  ))({'|'.join(sorted(COLOURS, key=len, reverse=True))})(?=$|  | · |: )", re.MULTILINE)
DO = re.compile(r"^(  do: )(.+)$", re.MULTILINE)


def plain(text: str) -> str:
    """`text` without anything that could move a terminal's cursor: devices are not trusted with ours."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def line_of(text: str) -> str:
    """`plain` text in one line."""
    return plain(" ".join(text.split("\n"))).replace("\t", " ")


def is_terminal(stream: TextIO | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a line that was written to `stream` can be written over."""
    try:
        return stream is not None and stream.isatty() and environment.get("TERM") != "dumb"
    except ValueError:  # it was closed
        return False


def wants_colour(stream: TextIO | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether colour goes to `stream`."""
    if environment.get("NO_COLOR"):
        return False
    if any(environment.get(name, "0") not in ("", "0") for name in ("CLICOLOR_FORCE", "FORCE_COLOR")):
        return True
    return environment.get("CLICOLOR") != "0" and is_terminal(stream, environment)


def width(stream: TextIO | None, environment: Mapping[str, str] = os.environ) -> int | None:
    """Cells in a line of the terminal behind `stream`; None where there is none, and text has no width to keep to."""
    if not is_terminal(stream, environment):
        return None
    assert stream is not None
    chosen = environment.get("COLUMNS", "")
    try:
        return (int(chosen) if chosen.isdecimal() else 0) or os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def cells(text: str) -> int:
    """How many of a terminal's cells `text` takes: East Asian letters take two, accents that combine take none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def shortened(text: str, limit: int) -> str:
    """`text` in at most `limit` cells, with … where something is left out."""
    if cells(text) <= limit:
        return text
    kept = ""
    for c in text:
        if cells(kept + c) >= limit:
            break
        kept += c
    return kept.rstrip() + "…"


def painted(text: str) -> str:
    """Plain text with verdicts and severities in colour."""
    return ALONE.sub(lambda found: click.style(found[1], fg=COLOURS[found[1]], bold=found[1] in VERDICTS or found[1] == "critical"), text)


def painted_complaint(text: str) -> str:
    """A complaint's plain text: what is wrong in red, the command to type in bold."""
    first, newline, rest = text.partition("\n")
    return click.style(first, fg="red") + newline + DO.sub(lambda found: found[1] + click.style(found[2], bold=True), rest)
