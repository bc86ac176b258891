"""One holder per device on this host: an flock, keyed by the device's identity, that dies with its holder.

The lock file names its holder, so that whoever is refused hears by whom. The kernel lets go when the holder
ends, however it ends; nothing has to be cleaned up.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType

from runner.errors import LabError


class Lease:
    """`with Lease(state, identity, run):` holds the device. Raises LabError, naming the holder, when it is taken."""

    def __init__(self, state: Path, identity: str, purpose: str) -> None:
        self._path = state / "leases" / f"{identity}.lock"
        self._holder = {"pid": os.getpid(), "for": purpose}
        self._fd = -1

    def __enter__(self) -> Lease:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise LabError(f"{self._path} cannot be opened: {error.strerror}", do="grant the place, or set RUNNER_STATE") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = self._read()
            os.close(self._fd)
            raise LabError(
                f"{self._path.stem} is in use by process {held.get('pid', '?')} for {held.get('for', '?')}",
                expected="a free device",
                do="wait until that run has ended, or choose another device",
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps(self._holder).encode(), 0)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.ftruncate(self._fd, 0)
        os.close(self._fd)

    def _read(self) -> dict[str, object]:
        try:
            value = json.loads(os.pread(self._fd, 4096, 0))
            return value if isinstance(value, dict) else {}
        except ValueError:
            return {}
