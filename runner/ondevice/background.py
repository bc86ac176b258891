"""A process of our own that is nobody's child: it lives on when whoever started it has ended, and holds nothing that was open there.

    started(work, …) ──► fork, a session of its own, fork ──► work(ready) ──ready()──► started returns True; work goes on

A guard waits for whoever holds the lock of its acts, and for the ends of their output: neither may live on in here.
"""

from __future__ import annotations

import os
import select
from typing import Callable

from .say import say


def started(what: str, work: Callable[[Callable[[], None]], None], limit_s: float) -> bool:
    """Runs `work` there; whether it called what it was given within the limit. What it raises is said as the end of `what`."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _close_others(tell)
                work(lambda: _ready(tell))
        except BaseException as error:
            say(f"{what} ends: {type(error).__name__}: {error}")
        finally:
            os._exit(0)
    os.close(tell)
    os.waitpid(pid, 0)
    came, _, _ = select.select([ready], [], [], limit_s)
    good = bool(came) and os.read(ready, 1) == b"+"
    os.close(ready)
    return good


def _close_others(kept: int) -> None:
    for handle in map(int, os.listdir("/proc/self/fd")):
        if handle > 2 and handle != kept:
            try:  # noqa: SIM105 - contextlib is not imported on a device for this
                os.close(handle)
            except OSError:
                pass


def _ready(tell: int) -> None:
    """Whoever started us goes on, and is not kept waiting for the ends of our output."""
    os.write(tell, b"+")
    os.close(tell)
    nothing = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(nothing, handle)
    os.close(nothing)
