"""What a command prints on a terminal, as a picture: `terminal_svg.py PICTURE.svg COMMAND …` runs it in a pseudo-terminal.

    $ runner exec …          the command as it was typed
    lab: built-in …          and every line that it printed; a line that begins with a word of COLOURS has its colour

SVG text in whatever monospaced font the reader has: no font, script or style from elsewhere, dark as terminals are.
Ends with the command's own status.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import sys
from html import escape
from pathlib import Path

COLUMNS, LINE, CHARACTER, MARGIN = 88, 20, 8.4, 16  # of a font of 14
FIXED = "\N{NO-BREAK SPACE}"  # several of the other one are drawn as one
PAPER, INK, SOFT = "#14171a", "#e1e5e8", "#9aa5af"
COLOURS = (
    (r"\$ ", "#74b3f0"),
    (r"PASS WITH CONCERNS", "#e3b341"),
    (r"PASS", "#6fcf8b"),
    (r"FAIL|NEEDS WORK|BLOCKED", "#ff7a6e"),
    (r"  |lab:|next:", SOFT),
)


def recorded(command: list[str]) -> tuple[str, int]:
    """Everything that a command prints on a terminal, and its exit status."""
    heard = bytearray()

    def listen(fd: int) -> bytes:
        said = os.read(fd, 65536)
        heard.extend(said)
        return said

    status = os.waitstatus_to_exitcode(pty.spawn(command, listen))
    return heard.decode("utf-8", "replace"), status


def lines_of(command: list[str], printed: str) -> list[str]:
    """The typed command and its output as lines of text, without what would steer a terminal; a long one goes on below."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|[^\S\n ]", "", printed)
    whole = [f"$ {shlex.join(command)}", *text.rstrip("\n").split("\n")]
    return [line[at : at + COLUMNS] for line in whole for at in range(0, max(1, len(line)), COLUMNS)]


def svg(lines: list[str]) -> str:
    """The picture, as high as there are lines."""
    width, height = 2 * MARGIN + COLUMNS * CHARACTER, 2 * MARGIN + len(lines) * LINE
    text = [
        f'  <text x="{MARGIN}" y="{MARGIN + number * LINE - 6}" fill="{_colour(line)}">{escape(line).replace(" ", FIXED)}</text>'
        for number, line in enumerate(lines, start=1)
    ]
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height}" viewBox="0 0 {width:g} {height}" role="img"',
        '     font-family="ui-monospace, \'DejaVu Sans Mono\', Menlo, Consolas, monospace" font-size="14">',
        f"  <title>{escape(lines[0])}</title>",
        f'  <rect width="100%" height="100%" rx="6" fill="{PAPER}"/>',
    ]
    return "\n".join([*head, *text, "</svg>", ""])


def _colour(line: str) -> str:
    return next((colour for begins, colour in COLOURS if re.match(begins, line)), INK)


def main(picture: str, command: list[str]) -> int:
    printed, status = recorded(command)
    if status == 0:
        Path(picture).write_text(svg(lines_of(command, printed)), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
