"""A file that somebody else appends to, from the moment we began to care about it."""

from __future__ import annotations

from pathlib import Path


class GrowingFile:
    """What was appended to `path` since this was made. A file that was begun anew meanwhile is read whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode, self._from = self._now()

    @property
    def mark(self) -> list[int]:
        """From where on this reads: which file, and which byte. For `rewind`, by whoever goes on with our work."""
        return [self._inode, self._from]

    def rewind(self, mark: list[int]) -> None:
        """Reads from an earlier reader's beginning."""
        self._inode, self._from = mark

    def from_now(self) -> None:
        """What was appended until now is not ours."""
        self._inode, self._from = self._now()

    def new_bytes(self) -> bytes:
        inode, size = self._now()
        if size == 0:
            return b""
        before = b""
        aside = self.path.with_name(f"{self.path.name}.old")  # where a file goes that has become too large
        if inode != self._inode and aside.exists() and aside.stat().st_ino == self._inode:
            with aside.open("rb") as file:
                file.seek(self._from)
                before = file.read()
        with self.path.open("rb") as file:
            file.seek(self._from if inode == self._inode and size >= self._from else 0)
            return before + file.read()

    def _now(self) -> tuple[int, int]:
        """Which file stands at `path`, and its size; (0, 0) while there is none."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return 0, 0
        return status.st_ino, status.st_size
