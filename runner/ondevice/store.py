"""What the coordinator pushed, kept by its hash: blobs, and the folder trees unpacked from them.

blobs/<sha256>      said to be here only after fsync of the file and of the folder
trees/<sha256>/     unpacked once; `.whole` is its last, fsynced file, so a half-unpacked tree is no tree;
                    it holds every file's hash, compiled ones too, and is checked before a tree is used again

What arrives is looked at as a whole before a byte of it is unpacked: only ordinary files, inside their folder, so many
and so large at most. Unpacking never writes more of a file than its archive declared. Bytes are hashed as they pass, on
their way in and on their way out of an archive, and all of a tree is flushed at once: a flush for each of its files
would be most of what a push takes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
import struct
import sys
from collections.abc import Iterable
from typing import IO, Any

from .journal import fsync_file, fsync_folder

WHOLE = ".whole"
PIECE_BYTES = 128 * 1024
MAX_BLOB_BYTES = 1 << 30
MAX_TREE_BYTES, MAX_TREE_FILES = 2 << 30, 100_000  # of all that one tree unpacks to
FS_IOC_FIEMAP = 0xC020660B  # include/uapi/linux/fiemap.h
FIEMAP_EXTENTS, FIEMAP_NOT_ON_DISK = 32, 0x2


class Store:
    """Content-addressed storage below `folder`."""

    def __init__(self, folder: str) -> None:
        self._blobs = os.path.join(folder, "blobs")
        self._trees = os.path.join(folder, "trees")
        self._partial: dict[str, tuple[int, Any]] = {}  # of a blob that is arriving: its bytes so far, and their hash
        for path in (self._blobs, self._trees):
            os.makedirs(path, mode=0o700, exist_ok=True)

    def missing(self, hashes: list[str]) -> list[str]:
        """Those of `hashes` that are not here whole; a damaged blob is removed, a half-sent one forgotten."""
        self._partial.clear()
        return [sha256 for sha256 in hashes if not self._have(sha256)]

    def piece(self, sha256: str, data: bytes) -> None:
        """Takes the next piece of a blob. Pieces of one blob come in order. Raises ValueError (and forgets them) past MAX_BLOB_BYTES."""
        part = self._blob(sha256) + ".part"
        before, digest = self._partial.get(sha256) or (0, hashlib.sha256())
        if before + len(data) > MAX_BLOB_BYTES:
            if self._partial.pop(sha256, None):
                os.unlink(part)
            raise ValueError(f"blob {sha256[:12]} is larger than {MAX_BLOB_BYTES} bytes")
        with open(part, "ab" if before else "wb") as file:
            file.write(data)
        digest.update(data)
        self._partial[sha256] = (before + len(data), digest)

    def keep(self, sha256: str) -> None:
        """Ends a blob. Durable when this returns; raises ValueError (and forgets the pieces) if the hash differs."""
        part = self._blob(sha256) + ".part"
        found = self._partial.pop(sha256, (0, hashlib.sha256()))[1].hexdigest()
        with open(part, "rb") as file:
            if found != sha256:
                os.unlink(part)
                raise ValueError(f"blob arrived with hash {found[:12]}, expected {sha256[:12]}")
            fsync_file(file.fileno())
        os.rename(part, self._blob(sha256))
        fsync_folder(self._blobs)

    def unpack(self, tree: str, blobs: list[str], compile: bool) -> str:
        """The folder of tree `tree`, made from the zip or wheel `blobs` if it is not whole yet.

        Every blob is verified against its name again before a byte of it is unpacked; ValueError for one that is missing,
        damaged, or holds what no bundle holds. `compile` makes .pyc files with unchecked hashes, so that a slow board
        never compiles while it should be recovering; a package's own tests are left as they are, which are half of some.
        """
        path = self.tree(tree)
        if whole(path):
            return path
        bad = self.missing(blobs)
        if bad:
            raise ValueError(f"blobs missing or damaged: {', '.join(sha256[:12] for sha256 in bad)}")
        shutil.rmtree(path, ignore_errors=True)
        entries: list[Any] = []
        for sha256 in blobs:
            with _archive(self._blob(sha256)) as archive:
                entries += archive.infolist()
        refuse(entries)
        hashes: dict[str, str] = {}
        for sha256 in blobs:
            with _archive(self._blob(sha256)) as archive:
                try:
                    hashes.update(_extract(archive, path))
                except Exception as error:
                    shutil.rmtree(path, ignore_errors=True)
                    if isinstance(error, OSError):
                        raise
                    raise ValueError(f"archive {sha256[:12]} cannot be unpacked: {error}") from error
        if compile and any(name.endswith(".py") for name in hashes):
            import compileall  # here and not above, because a supervisor that restores must not wait for them
            import py_compile
            import re

            tests = re.compile(re.escape(path) + ".*/tests/")
            how = py_compile.PycInvalidationMode.UNCHECKED_HASH
            compileall.compile_dir(path, quiet=2, rx=tests, invalidation_mode=how)
            hashes = {name: sha256 for name, sha256 in hashes.items() if not name.endswith(".pyc")}  # a shipped one is another now
        hashes = _hashes(path, hashes)
        flush_tree(path)
        with open(os.path.join(path, WHOLE), "w") as file:
            json.dump(hashes, file)
            file.flush()
            fsync_file(file.fileno())
        fsync_folder(path)
        fsync_folder(self._trees)
        return path

    def tree(self, tree: str) -> str:
        """The path of a tree. Raises ValueError for anything that is not a plain hash."""
        return os.path.join(self._trees, _plain(tree))

    def _blob(self, sha256: str) -> str:
        return os.path.join(self._blobs, _plain(sha256))

    def _have(self, sha256: str) -> bool:
        try:
            with open(self._blob(sha256), "rb") as file:
                if _sha256(file) == sha256:
                    return True
            os.unlink(self._blob(sha256))
        except FileNotFoundError:
            pass
        return False


def locate(path: str) -> dict[str, Any]:
    """Where a file's bytes lie on its disk: [[offset in the file, offset on the disk, length], …], [] where nobody can say.

    Asks the file system (FIEMAP, Linux) without a sync, so that what is not flushed stays so.
    """
    head = struct.Struct("=QQLLLL")
    each = struct.Struct("=QQQQQLLLL")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        request = bytearray(head.pack(0, 2**64 - 1, 0, 0, FIEMAP_EXTENTS, 0) + bytes(each.size * FIEMAP_EXTENTS))
        try:
            fcntl.ioctl(file.fileno(), FS_IOC_FIEMAP, request)
        except OSError:
            return {"path": path, "size": size, "extents": []}
    count = head.unpack_from(request)[3]
    found = [each.unpack_from(request, head.size + number * each.size) for number in range(count)]
    return {
        "path": path,
        "size": size,
        "extents": [[logical, physical, length] for logical, physical, length, _, _, flags, *_ in found if not flags & FIEMAP_NOT_ON_DISK],
    }


def whole(path: str) -> bool:
    """Whether the tree at `path` is exactly what was unpacked and compiled there."""
    try:
        with open(os.path.join(path, WHOLE)) as file:
            return bool(json.load(file) == _hashes(path))
    except (OSError, ValueError):
        return False


def flush_tree(path: str) -> None:
    """Every file and every name below `path` is durable when this returns. Raises OSError.

    With one syncfs where the system has one that reports what could not be written (Linux 5.8): it writes all that is dirty on
    this file system, commits once, and has the device flush its cache once. A flush of each file and folder does the same to
    each of them in turn, and is what other systems get.
    """
    syncfs = _syncfs()
    if syncfs is not None:
        folder = os.open(path, os.O_RDONLY)
        try:
            if syncfs(folder) == 0:
                return
        finally:
            os.close(folder)
    for folder_path, _, files in os.walk(path, topdown=False):
        for name in files:
            with open(os.path.join(folder_path, name), "rb") as file:
                fsync_file(file.fileno())
        fsync_folder(folder_path)


def _syncfs() -> Any:
    """The C library's syncfs, or None where there is none or the kernel's tells of no error."""
    try:
        import ctypes

        version = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
        return ctypes.CDLL(None).syncfs if sys.platform == "linux" and version >= (5, 8) else None
    except (ImportError, AttributeError, OSError, ValueError):
        return None


def _extract(archive: Any, path: str) -> dict[str, str]:
    """Writes each entry of an archive that was not refused below `path`; returns each file's hash, as it was written."""
    hashes, there = {}, set()
    for entry in archive.infolist():
        name = os.path.normpath(entry.filename)
        target = os.path.join(path, name)
        folder = target if entry.is_dir() else os.path.dirname(target)
        if folder not in there:
            os.makedirs(folder, exist_ok=True)
            there.add(folder)
        if entry.is_dir():
            continue
        digest = hashlib.sha256()
        with archive.open(entry) as source, open(target, "wb", buffering=0) as file:
            for piece in iter(lambda: source.read(PIECE_BYTES), b""):
                digest.update(piece)
                if file.write(piece) != len(piece):
                    raise OSError(f"short write to {name}")
        hashes[name] = digest.hexdigest()
    return hashes


def _hashes(path: str, known: dict[str, str] | None = None) -> dict[str, str]:
    """The hash of every file below `path` but WHOLE, by name; those that are `known` are not read again."""
    found = {}
    for folder, _, files in os.walk(path):
        inside = folder[len(path) :].lstrip(os.sep)
        for name in (os.path.join(inside, file) for file in files):
            if known and name in known:
                found[name] = known[name]
            elif name != WHOLE:
                with open(os.path.join(path, name), "rb", buffering=0) as file:
                    found[name] = _sha256(file)
    return found


def refuse(entries: Iterable[Any]) -> None:
    """Raises ValueError for entries (ZipInfo) of one tree that may not be unpacked: by their names, their kinds, or their sum."""
    count = size = 0
    for entry in entries:
        name, count, size = entry.filename, count + 1, size + entry.file_size
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise ValueError(f"archive names a path outside its folder: {name!r}")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"archive holds what is no ordinary file: {name!r}")
        if os.path.normpath(name) == WHOLE:
            raise ValueError(f"archive holds {name!r}, which says that its tree is whole")
        if count > MAX_TREE_FILES or size > MAX_TREE_BYTES:
            raise ValueError(f"archives unpack to more than {MAX_TREE_FILES} files or {MAX_TREE_BYTES} bytes")


def _archive(path: str) -> Any:
    """The zip at `path`, opened. Raises ValueError when it is none."""
    import zipfile

    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"blob {os.path.basename(path)[:12]} is no archive: {error}") from error


def _sha256(file: IO[bytes]) -> str:
    """Of the rest of a file, a piece at a time: a small board has less memory than a blob may have bytes."""
    digest = hashlib.sha256()
    while True:
        piece = file.read(PIECE_BYTES)
        if not piece:
            return digest.hexdigest()
        digest.update(piece)


def _plain(sha256: str) -> str:
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ValueError(f"expected a SHA-256 in 64 hex digits, found {sha256!r}")
    return sha256
