"""A device's files reached from outside, while its power is off: what damaging a disk means here.

on, at a hold   the device says where a file's bytes lie (`locate`)
off             those bytes are read and written where they lie, past the device's own file system
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from runner.errors import LabError

MAX_FILE_BYTES = 64 << 20


class Piece(NamedTuple):
    """A stretch of a file: where in the file, where on the medium, how long. All in bytes."""

    logical: int
    physical: int
    length: int


class Storage:
    """Files of one device. With `extents` true, `medium` is the raw disk that the device's extents are counted on; else it
    is the folder of ours that all of the device's files lie in. What a device says of its files is not trusted to lie there.
    """

    def __init__(self, medium: Path, *, extents: bool) -> None:
        self._medium, self._extents = medium, extents

    def read(self, place: dict[str, Any]) -> bytes:
        """The whole file as it lies there. Raises LabError when it cannot be found."""
        path, pieces = self._find(place)
        content = bytearray(place["size"])
        with _opened(path, os.O_RDONLY) as fd:
            for piece in pieces:
                content[piece.logical : piece.logical + piece.length] = os.pread(fd, piece.length, piece.physical)
        return bytes(content)

    def write(self, place: dict[str, Any], offset: int, data: bytes) -> None:
        """Overwrites part of the file where it lies; its length stays. Raises LabError when that place is not on the medium."""
        path, pieces = self._find(place)
        left = len(data)
        with _opened(path, os.O_WRONLY) as fd:
            for piece in pieces:
                begin, end = max(offset, piece.logical), min(offset + len(data), piece.logical + piece.length)
                if begin < end:
                    left -= os.pwrite(fd, data[begin - offset : end - offset], piece.physical + begin - piece.logical)
        if left:
            raise LabError(f"{left} of {len(data)} bytes at {offset} of {place['path']!r} lie nowhere on its disk")

    def _find(self, place: dict[str, Any]) -> tuple[Path, list[Piece]]:
        """The file to open, and its pieces in it."""
        size = place["size"]
        if not 0 <= size <= MAX_FILE_BYTES:
            raise LabError(f"the device says that {place['path']!r} has {size} bytes", expected=f"at most {MAX_FILE_BYTES}")
        if not self._extents:
            path = self._below(place["path"])
            return path, [Piece(0, 0, min(size, _size(path)))]
        try:
            pieces = [Piece(*(int(number) for number in extent)) for extent in place["extents"]]
        except (TypeError, ValueError, OverflowError) as error:
            raise LabError(f"where the device says that {place['path']!r} lies is no place: {error}") from error
        return self._medium, list(_inside(pieces, size, _size(self._medium)))

    def _below(self, said: str) -> Path:
        """The plain file of that path, links followed. Raises LabError when it is none, or does not lie in the folder."""
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # no such file, no name of a file, links in a circle
            path = Path(said).resolve(strict=True)
            if path.is_relative_to(self._medium.resolve()) and path.is_file():
                return path
        raise LabError(f"the device says that its file is {said!r}", expected=f"a file below {self._medium}")


def _inside(pieces: Iterable[Piece], size: int, medium_size: int) -> Iterator[Piece]:
    """The pieces that are really part of a file of `size` bytes on a medium of `medium_size`, cut to the file's end.

    In the file's order. Of those that claim the same bytes only the first, so that no work is larger than the file.
    """
    end = 0
    for piece in sorted(pieces):
        length = min(piece.length, size - piece.logical)
        if piece.logical >= end and length > 0 and 0 < piece.physical <= medium_size - length:
            yield piece._replace(length=length)
            end = piece.logical + length


def _size(path: Path) -> int:
    """In bytes. Raises LabError when there is no such file."""
    try:
        return path.stat().st_size
    except OSError as error:
        raise LabError(f"{path} cannot be opened: {error.strerror}") from error


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """A file descriptor. Raises LabError when the file cannot be opened."""
    try:
        fd = os.open(path, flags)
    except OSError as error:
        raise LabError(f"{path} cannot be opened: {error.strerror}") from error
    try:
        yield fd
    finally:
        os.close(fd)
