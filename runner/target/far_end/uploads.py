"""Uploads that go on where they stopped: pieces with a checksum each, and one over the whole.

    begin (length, sha256) ──► piece at the offset that is there ──► … ──► complete: the whole has the sha256 that was said

A piece is taken whole or not at all. The offset that was last answered is in a receipt, so a part file that is longer is
cut back to it when the far end is started again: nothing counts that was not acknowledged.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

MAX_UPLOADS, MAX_UPLOAD_BYTES, MAX_STORE_BYTES = 1_000, 256 << 20, 1 << 30


@dataclass
class Upload:
    """One file that is being sent, or was. `offset` is what the sender may rely on."""

    path: Path
    length: int
    sha256: str
    offset: int = 0

    @property
    def complete(self) -> bool:
        return self.offset == self.length

    def restore(self) -> None:
        """Cuts the file back to what was acknowledged; from the beginning, if it has less. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            if os.fstat(fd).st_size < self.offset:
                self.offset = 0
            os.ftruncate(fd, self.offset)
            os.fsync(fd)
        finally:
            os.close(fd)
        folder = os.open(self.path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def append(self, piece: bytes) -> bool:
        """Writes a piece behind the offset, durably. Raises OSError.

        False, and back at the beginning, when the whole is not what was said."""
        fd = os.open(self.path, os.O_WRONLY)
        try:
            view, at = memoryview(piece), self.offset
            while view:
                written = os.pwrite(fd, view, at)
                view, at = view[written:], at + written
            os.fsync(fd)
        finally:
            os.close(fd)
        if at == self.length:
            with self.path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != self.sha256:
                    self.offset = 0
                    return False
        self.offset = at
        return True
