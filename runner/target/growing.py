"""A file that somebody else appends to, from the moment we began to care about it."""

from __future__ import annotations

from pathlib import Path


class GrowingFile:
    """What was appended to `path` since this was made. A file that shrank was begun anew, and is read whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._from = path.stat().st_size if path.exists() else 0

    def new_bytes(self) -> bytes:
        if not self.path.exists():
            return b""
        with self.path.open("rb") as file:
            size = self.path.stat().st_size
            file.seek(self._from if size >= self._from else 0)
            return file.read()
