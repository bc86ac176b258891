"""A device's files reached from outside, while its power is off: what damaging a disk means here.

on, at a hold   the device says where a file's bytes lie (`locate`)
off             those bytes are read and written where they lie, past the device's own file system

What a device says of its files is a stranger's word. On a disk of ours its extents are cut to the disk. In a folder of
ours its path is resolved, must lie inside, and is then opened name by name from the folder on, links refused: so that
what was looked at is what is opened, whoever changes the folder meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from runner.errors import LabError
from runner.target.transports.base import words

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
        """The file as far as it lies there, a hole in it as zeros. Raises LabError when it cannot be found.

        The last bytes of a journal that was written to when it was located may have had no place yet: a power loss left nothing of
        them, and they are not part of what is read.
        """
        content = bytearray()
        with self._opened(place, os.O_RDONLY) as (fd, pieces):
            for piece in pieces:
                content += bytes(piece.logical - len(content)) + os.pread(fd, piece.length, piece.physical)
        return bytes(content)

    def write(self, place: dict[str, Any], offset: int, data: bytes) -> None:
        """Overwrites part of the file where it lies; its length stays. Raises LabError when that place is not on the medium."""
        left = len(data)
        with self._opened(place, os.O_WRONLY) as (fd, pieces):
            for piece in pieces:
                begin, end = max(offset, piece.logical), min(offset + len(data), piece.logical + piece.length)
                if begin < end:
                    left -= os.pwrite(fd, data[begin - offset : end - offset], piece.physical + begin - piece.logical)
        if left:
            raise LabError(f"{left} of {len(data)} bytes at {offset} of {_name(place)} lie nowhere on its disk")

    @contextlib.contextmanager
    def _opened(self, place: dict[str, Any], flags: int) -> Iterator[tuple[int, list[Piece]]]:
        """What to read from or write to, and where in it the file's pieces lie."""
        size = _said_size(place)
        if self._extents:
            pieces = _extents(place)
            fd = _open(self._medium, flags)
        else:
            fd = self._below(place, flags)
        try:
            there = os.fstat(fd).st_size
            yield fd, list(_inside(pieces, size, there)) if self._extents else [Piece(0, 0, min(size, there))]
        finally:
            os.close(fd)

    def _below(self, place: dict[str, Any], flags: int) -> int:
        """A descriptor of the plain file of that path. Raises LabError when it is none, or does not lie in the folder."""
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # no such file, no name of a file, links in a circle
            path = Path(place["path"]).resolve(strict=True)
            fd = _open_inside(self._medium.resolve(), path, flags)
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return fd
            os.close(fd)
        raise LabError(f"the device says that its file is {_name(place)}", expected=f"a file below {self._medium}")


def _open_inside(folder: Path, path: Path, flags: int) -> int:
    """Opens `path`, name by name from `folder` on, no name of them a link. Raises OSError, ValueError when it lies elsewhere."""
    *parents, name = path.relative_to(folder).parts or ("",)
    if ".." in (*parents, name):
        raise ValueError(f"{path} goes back")
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for inner in parents:
        outer = at
        try:
            at = os.open(inner, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=outer)
        finally:
            os.close(outer)
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)  # a pipe must not make us wait
    finally:
        os.close(at)


def _said_size(place: dict[str, Any]) -> int:
    """The size that the device names, in bytes. Raises LabError for one that would fill our memory."""
    size: int = place["size"]
    if not 0 <= size <= MAX_FILE_BYTES:
        raise LabError(f"the device says that {_name(place)} has {words(str(size), 40)} bytes", expected=f"at most {MAX_FILE_BYTES}")
    return size


def _extents(place: dict[str, Any]) -> list[Piece]:
    """The pieces that the device names, as yet unbelieved. Raises LabError where they are no numbers."""
    try:
        return [Piece(*(int(number) for number in extent)) for extent in place["extents"]]
    except (TypeError, ValueError, OverflowError) as error:
        raise LabError(f"where the device says that {_name(place)} lies is no place: {words(str(error))}") from error


def _name(place: dict[str, Any]) -> str:
    return words(repr(place["path"]))


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


def _open(path: Path, flags: int) -> int:
    """A file descriptor. Raises LabError when the file cannot be opened."""
    try:
        return os.open(path, flags)
    except OSError as error:
        raise LabError(f"{path} cannot be opened: {error.strerror}") from error
