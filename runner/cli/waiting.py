"""Progress on anything over a second: what is waited for, how long already, and how long at most.

    a terminal       one line, written over each second and gone when it is over
                         waiting for pi-04 to answer, 12 s of 60
    a pipe, a file   the same as a plain line after 2, 4, 8, 16 … seconds; nothing is ever written over

It goes to standard error. There are no threads: inside an event loop the loop's timer ticks; elsewhere whoever waits
may call `tick`, and on a terminal the line is drawn at once, because nobody else will.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.cli.terminal import is_terminal, line_of, shortened, width

if TYPE_CHECKING:
    import asyncio

CLEAR = "\r\x1b[K"


@dataclass(frozen=True)
class Wait:
    """Something that is waited for, since a moment of a monotonic clock."""

    what: str
    limit_s: float | None
    since_s: float

    def text(self, now_s: float) -> str:
        limit = f" of {self.limit_s:g}" if self.limit_s is not None else ""
        return f"waiting for {line_of(self.what)}, {now_s - self.since_s:.0f} s{limit}"


def next_due_s(elapsed_s: float, *, rewritten: bool) -> float:
    """After how many seconds of waiting the next line is due: each second where it is written over, else ever more rarely."""
    if rewritten:
        return int(elapsed_s) + 1.0
    due_s = 2.0
    while due_s <= elapsed_s:
        due_s *= 2
    return due_s


class StatusLine:
    """The last line of this process's terminal. There is one terminal, and so one of these: `STATUS`."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._wait: Wait | None = None
        self._due_s = 0.0
        self._drawn = False
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, what: str, limit_s: float | None = None) -> Wait | None:
        """From now on `what` is waited for; returns what was waited for until now, for `show`."""
        return self.show(Wait(what, limit_s, self._now_s()))

    def show(self, wait: Wait | None) -> Wait | None:
        """Puts `wait`, which may have begun long ago, in the place of what it returns. None: nothing is waited for."""
        before, self._wait = self._wait, wait
        self.clear()
        self._due_s = 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if wait is not None and not self._schedule(wait) and is_terminal(sys.stderr):
            self._draw()
        return before

    def tick(self) -> None:
        """Draws if it is time to; costs next to nothing if it is not."""
        if self._wait is None:
            return
        if self._now_s() - self._wait.since_s >= self._due_s:
            self._draw()
            self._schedule(self._wait)

    def clear(self) -> bool:
        """Takes the line away, so that something else can be written; returns whether there was one."""
        drawn, self._drawn = self._drawn, False
        if drawn:
            _write(CLEAR)
        return drawn

    def redraw(self) -> None:
        """Puts back what `clear` took away."""
        if self._wait is not None and is_terminal(sys.stderr):
            self._draw()

    def _draw(self) -> None:
        assert self._wait is not None
        text = self._wait.text(self._now_s())
        columns = width(sys.stderr)
        self._drawn = columns is not None
        _write(f"{text}\n" if columns is None else CLEAR + shortened(text, columns - 1))

    def _schedule(self, wait: Wait) -> bool:
        """Notes when the next line is due, and has the event loop tick then; False where none runs."""
        elapsed_s = self._now_s() - wait.since_s
        self._due_s = next_due_s(elapsed_s, rewritten=is_terminal(sys.stderr))
        asyncio = sys.modules.get("asyncio")  # not imported by anybody: then no loop runs
        with contextlib.suppress(RuntimeError, AttributeError):
            self._timer = asyncio.get_running_loop().call_later(self._due_s - elapsed_s, self.tick)  # type: ignore[union-attr]
            return True
        return False


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody looks any more
        sys.stderr.write(text)
        sys.stderr.flush()


STATUS = StatusLine()
