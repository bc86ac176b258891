"""The journal: append-only, checksummed, fsynced before anybody acts on a promise.

    file    "RJNL" version 0 0 0 │ record │ record │ …
    record  length u32 │ crc32 u32 │ sequence u64 │ boot id 16 │ boot-time ns │ wall ns │ kind │ payload (JSON)
                          └ covers length and everything behind it

A journal is read up to its last whole record and never beyond: a short tail, a flipped bit, a
sequence number out of order and zeros all end it. `Journal.open` cuts such a tail off, so nothing
written later can ever follow garbage. The *chain* is SHA-256 over the raw records, each hashed onto
the one before: two journals agree up to a record when, and only when, their chains agree there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import threading
import time
import zlib
from typing import Any, Callable, NamedTuple

from . import failpoints

MAX_RECORD_BYTES = 1024 * 1024
FILE_HEADER = b"RJNL\x01\x00\x00\x00"
GENESIS = "0" * 64  # the chain before the first record

_PREFIX = struct.Struct(">II")
_BODY = struct.Struct(">Q16sqqB")
_LIKE_A_RECORD = re.compile(
    rb"(?!\x00{4})(?=\x00[\x00-\x10].{6}\x00{4})", re.DOTALL
)  # a length to 1 MiB and not 0, a CRC, a number below 2**32


class Record(NamedTuple):
    """One thing that happened: where in the order, when by both clocks, in which boot, and what."""

    sequence: int
    boot_id: str
    boottime_ns: int
    wall_ns: int
    kind: str
    payload: dict[str, Any]
    raw: bytes

    def __repr__(self) -> str:
        return f"<{self.sequence} {self.kind} {self.payload}>"


def fsync_file(fd: int) -> None:
    """Returns when the device says that the bytes are on its medium (F_FULLFSYNC where fsync is not enough)."""
    try:
        import fcntl

        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        os.fsync(fd)


def fsync_folder(path: str) -> None:
    """Makes names created in, renamed into or removed from `path` durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        fsync_file(fd)
    finally:
        os.close(fd)


def boottime_ns() -> int:
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_id() -> str:
    """The kernel's boot id as 32 hex digits; elsewhere one derived from the moment of boot, to the minute.

    RUNNER_BOOT_ID names another file to read: tests boot a device by writing into it.
    """
    try:
        with open(os.environ.get("RUNNER_BOOT_ID", "/proc/sys/kernel/random/boot_id")) as file:
            return file.read().strip().replace("-", "")
    except OSError:
        minute = int((time.time_ns() - boottime_ns()) / 60e9)
        return hashlib.sha256(f"boot {minute}".encode()).hexdigest()[:32]


def chain_on(chain: str, raw: bytes) -> str:
    """The chain after one more record."""
    return hashlib.sha256(bytes.fromhex(chain) + raw).hexdigest()


def encode(sequence: int, boot: str, boottime: int, wall: int, kind: str, payload: dict[str, Any]) -> Record:
    """A record and its bytes. Raises ValueError when it would be larger than MAX_RECORD_BYTES."""
    name = kind.encode("ascii")
    data = json.dumps(payload, separators=(",", ":"), sort_keys=True, allow_nan=False).encode("utf-8")
    body = _BODY.pack(sequence, bytes.fromhex(boot), boottime, wall, len(name)) + name + data
    if len(body) > MAX_RECORD_BYTES:
        raise ValueError(f"a journal record holds at most {MAX_RECORD_BYTES} bytes, {kind} has {len(body)}")
    length = len(body).to_bytes(4, "big")
    raw = _PREFIX.pack(len(body), zlib.crc32(body, zlib.crc32(length))) + body
    return Record(sequence, boot, boottime, wall, kind, payload, raw)


def decode(data: bytes, offset: int = 0) -> Record | None:
    """The record at `offset`, or None if no whole and intact record stands there."""
    if len(data) - offset < _PREFIX.size:
        return None
    length, crc = _PREFIX.unpack_from(data, offset)
    end = offset + _PREFIX.size + length
    if not _BODY.size <= length <= MAX_RECORD_BYTES or end > len(data):
        return None
    body = data[offset + _PREFIX.size : end]
    if zlib.crc32(body, zlib.crc32(data[offset : offset + 4])) != crc:
        return None
    sequence, boot, boottime, wall, kind_length = _BODY.unpack_from(body)
    kind = body[_BODY.size : _BODY.size + kind_length]
    try:
        payload = json.loads(body[_BODY.size + kind_length :].decode("utf-8"))
        if not isinstance(payload, dict):
            return None
        return Record(sequence, boot.hex(), boottime, wall, kind.decode("ascii"), payload, bytes(data[offset:end]))
    except (ValueError, RecursionError):
        return None


def read(data: bytes) -> list[Record]:
    """Every record up to the last whole one, numbered 1, 2, 3 …; nothing beyond the first that is not."""
    records: list[Record] = []
    offset = len(FILE_HEADER)
    if data[:offset] != FILE_HEADER:
        return records
    while True:
        record = decode(data, offset)
        if record is None or record.sequence != len(records) + 1:
            return records
        records.append(record)
        offset += len(record.raw)


def spans(records: list[Record]) -> list[tuple[int, int]]:
    """Where each record lies in its file: first byte, and first byte behind it."""
    found, begin = [], len(FILE_HEADER)
    for record in records:
        found.append((begin, begin + len(record.raw)))
        begin += len(record.raw)
    return found


def find_record(data: bytes, offset: int, least: int) -> Record | None:
    """The first whole record that begins at or after `offset` and is numbered `least` or higher; None if there is none."""
    for match in _LIKE_A_RECORD.finditer(data, offset):
        record = decode(data, match.start())
        if record is not None and record.sequence >= least:
            return record
    return None


def read_file(path: str) -> list[Record]:
    with open(path, "rb") as file:
        return read(file.read())


class Journal:
    """One open journal. Safe to append to from several threads.

    After an OSError from any method the journal is *broken*: every later call raises it again, because
    nothing can be promised any more (the run must stop loudly).
    """

    def __init__(self, path: str, fd: int, records: list[Record], tail_cut_bytes: int) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.tail_cut_bytes = tail_cut_bytes
        self.records = records
        self.chains = [GENESIS]
        for record in records:
            self.chains.append(chain_on(self.chains[-1], record.raw))
        self.flushed_sequence = len(records)
        self._fd = fd
        self._boot = boot_id()
        self._broken: OSError | None = None

    @classmethod
    def create(cls, path: str, kind: str, payload: dict[str, Any]) -> Journal:
        """A new journal that begins with one record; both, and its *name*, are durable when this returns.

        No journal ever exists without its first record. Raises FileExistsError if there is one already.
        """
        if os.path.exists(path):
            raise FileExistsError(path)
        first = encode(1, boot_id(), boottime_ns(), time.time_ns(), kind, payload)
        fd = os.open(path + ".new", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        _write_all(fd, FILE_HEADER + first.raw)
        fsync_file(fd)
        os.rename(path + ".new", path)
        fsync_folder(os.path.dirname(path) or ".")
        return cls(path, fd, [first], 0)

    @classmethod
    def open(cls, path: str, refuse: Callable[[bytes, list[Record]], None] = lambda data, records: None) -> Journal:
        """An existing journal, its torn tail cut off (durably) and the number of bytes cut remembered.

        Every record that it holds is durable when this returns. Raises OSError when it is no journal, and what `refuse`
        raises on its bytes and whole records; the file is then left as it was found.
        """
        with open(path, "rb") as file:
            data = file.read()
        records = read(data)
        refuse(data, records)
        if data[: len(FILE_HEADER)] != FILE_HEADER:
            raise OSError(f"{path} does not begin with the journal header")
        fd = os.open(path, os.O_RDWR)
        whole = len(FILE_HEADER) + sum(len(record.raw) for record in records)
        if len(data) > whole:
            os.ftruncate(fd, whole)
        fsync_file(fd)  # records that a crashed process wrote and never flushed become promises here
        os.lseek(fd, whole, os.SEEK_SET)
        return cls(path, fd, records, len(data) - whole)

    @property
    def written_sequence(self) -> int:
        return len(self.records)

    def write(self, kind: str, payload: dict[str, Any]) -> Record:
        """Appends without a flush: a power cut may take the record. For telemetry, and for held records."""
        with self.lock:
            record = encode(len(self.records) + 1, self._boot, boottime_ns(), time.time_ns(), kind, payload)
            self._guarded(lambda: _write_all(self._fd, record.raw))
            self.records.append(record)
            self.chains.append(chain_on(self.chains[-1], record.raw))
            return record

    def append(self, kind: str, payload: dict[str, Any]) -> Record:
        """Appends and flushes: when this returns, the record survives a power cut."""
        with self.lock:
            failpoints.reached("journal.append")
            record = self.write(kind, payload)
            failpoints.reached("journal.written")
            self.flush()
            failpoints.reached("journal.flushed")
            return record

    def flush(self) -> None:
        with self.lock:
            self._guarded(lambda: fsync_file(self._fd))
            self.flushed_sequence = len(self.records)

    def start_writeback(self) -> bool:
        """Sends written bytes to the disk *without* a flush, where the system can (Linux). True if it did.

        So a record held before its flush lies in the disk's own cache, where a missing flush is punished,
        and not only in the memory of a kernel that is about to die.
        """
        try:
            import ctypes

            libc = ctypes.CDLL(None, use_errno=True)
            both = 1 | 2  # SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE
            after = 4  # SYNC_FILE_RANGE_WAIT_AFTER
            return int(libc.sync_file_range(self._fd, ctypes.c_int64(0), ctypes.c_int64(0), both | after)) == 0
        except (AttributeError, OSError):
            return False

    def close(self) -> None:
        with self.lock:
            os.close(self._fd)
            self._broken = self._broken or OSError(f"{self.path} is closed")

    def _guarded(self, action: Any) -> None:
        if self._broken is not None:
            raise self._broken
        try:
            action()
        except OSError as error:
            self._broken = error
            raise


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    if failpoints.armed():  # a test may kill us between the halves
        view = view[os.write(fd, view[: len(view) // 2]) :]
        failpoints.reached("journal.half")
    while view:
        view = view[os.write(fd, view) :]
