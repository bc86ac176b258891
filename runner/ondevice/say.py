"""What a process on the device has to say to people. A log that cannot be written costs the words, never what is done behind them.

On a full disk each write to the log fails, and whoever keeps faults off must not end because of that.
"""

from __future__ import annotations

import sys
from typing import Any


def say(words: object, to: Any = None) -> None:
    """One line, into the log (stderr) where nothing else is named. Never raises."""
    try:  # noqa: SIM105 - contextlib is not imported on a device for this
        print(words, file=sys.stderr if to is None else to, flush=True)
    except Exception:  # noqa: S110 - a full or dead disk, or nobody who reads: there is nobody to tell either
        pass


def say_what_was_raised() -> None:
    """The exception that is being handled, with the way that it came. Never raises."""
    try:
        import traceback

        words = traceback.format_exc().rstrip()
    except Exception:
        words = "what went wrong cannot be put into words"
    say(words)
