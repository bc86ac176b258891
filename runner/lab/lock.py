"""A file held alone for a moment, so that two writers never read, number and write at once.

with locked(path):        the second writer waits here
    read, number, write
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runner.errors import LabError


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Holds an flock on `path`, made when it is not there, and gives its descriptor, open for reading and appending.

    Waits for whoever holds it; the kernel lets go when the holder ends, however it ends. Raises LabError when it cannot be opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise LabError(f"{path} cannot be opened: {error.strerror}", do="free or grant the place") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)
