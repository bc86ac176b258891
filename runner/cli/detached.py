"""What a detached run says before it has a folder, and beside it: one log each, removed when nobody needs it any more.

    exec --detach ─► state/detached/<pid>-<time>.log, locked ─► the run's process writes, and holds the lock by its open output
    the next one  ─► those that nobody holds, and that were not written to for KEPT_DAYS, are removed

The lock goes by the open file, so it ends with the last process that can still write there, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

KEPT_DAYS = 30.0


@contextlib.contextmanager
def new_log(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A log of its own in `folder`, to be given to a process as its output: whoever inherits it keeps it from being removed."""
    path = folder / f"{os.getpid()}-{time.time_ns()}.log"
    with path.open("xb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield path, file


def remove_old(folder: Path, now_s: float) -> list[Path]:
    """Removes the logs that nobody writes to and that are older than KEPT_DAYS; says which. What cannot be removed stays, in silence."""
    gone = []
    for path in sorted(folder.glob("*.log")):
        with contextlib.suppress(OSError), path.open("rb") as file:  # BlockingIOError: its run is under way
            if now_s - os.fstat(file.fileno()).st_mtime > KEPT_DAYS * 86400:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                gone.append(path)
    return gone
