"""The coordinator's copy of a device's journal: record by record, durable before any is acknowledged.

Merging is idempotent: a record that is here already is skipped. One that was begun by a coordinator that was killed is gone
on with, from its last whole record. A record that does not continue the copy is
never written: it raises Diverged, because the device no longer holds what it had promised.
"""

from __future__ import annotations

import os
from pathlib import Path

from runner.errors import LabError, RunnerError
from runner.ondevice import failpoints, journal
from runner.ondevice.journal import Record
from runner.ondevice.results import well_formed

MAX_BYTES = 128 << 20  # of one execution's journal; a day of telemetry at 1 Hz is about half of it


class Diverged(RunnerError):
    """The device's journal is no continuation of its mirror: a result about the device, not an error of the lab."""


class Mirror:
    def __init__(self, path: Path) -> None:
        """The mirror at `path`, new or as far as it got. Raises LabError when the coordinator's own disk fails."""
        self.path = path
        self._broken: LabError | None = None  # what could not be flushed once is never said to be: a second fsync may "succeed"
        try:
            data = path.read_bytes() if path.exists() else b""
            self.records = journal.read(data)
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - lives as long as the execution
            self._file.truncate(len(journal.FILE_HEADER) + sum(len(record.raw) for record in self.records) if self.records else 0)
            if not self.records:
                self._write(journal.FILE_HEADER)
            os.fsync(self._file.fileno())
            journal.fsync_folder(str(path.parent))
        except OSError as error:
            raise self._full(error) from error
        self._bytes = sum(len(record.raw) for record in self.records)
        self.chain = journal.GENESIS
        for record in self.records:
            self.chain = journal.chain_on(self.chain, record.raw)

    @property
    def sequence(self) -> int:
        """Everything up to here is on this disk."""
        return len(self.records)

    def take(self, raw: bytes) -> Record | None:
        """The record if it is new, None if it was here already; it is durable here once `flush` has returned.

        Raises Diverged for anything else, and LabError when the coordinator's own disk fails or there is no end to it. Either way what was
        mirrored before stays readable.
        """
        if self._broken is not None:
            raise self._broken
        record = journal.decode(raw)
        if record is None or not well_formed(record):
            raise Diverged(f"a record arrived after {self.sequence} that is not whole")
        if 0 < record.sequence <= self.sequence:
            if self.records[record.sequence - 1].raw != raw:
                raise Diverged(f"record {record.sequence} differs from the one mirrored before")
            return None
        if record.sequence != self.sequence + 1:
            raise Diverged(f"record {record.sequence} arrived after {self.sequence}")
        self._bytes += len(raw)
        if self._bytes > MAX_BYTES:
            raise LabError(f"the device sends more than {MAX_BYTES >> 20} MiB of journal for one execution", do="look at what it samples")
        self._write(raw)
        self.records.append(record)
        self.chain = journal.chain_on(self.chain, raw)
        return record

    def flush(self) -> None:
        """Makes durable what was taken, and only then may anybody be told of it. Raises LabError when the coordinator's disk fails."""
        if self._broken is not None:
            raise self._broken
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            self._broken = self._full(error)
            raise self._broken from error

    def close(self) -> None:
        self._file.close()

    def _write(self, data: bytes) -> None:
        try:
            if failpoints.armed():  # a test may kill us between the halves
                data = data[self._file.write(data[: len(data) // 2]) :]
                failpoints.reached("mirror.half")
            while data:  # a disk that is filling up may take a part, and say so by its count alone
                data = data[self._file.write(data) :]
            failpoints.reached("mirror.written")
        except OSError as error:
            self._broken = self._full(error)
            raise self._broken from error

    def _full(self, error: OSError) -> LabError:
        return LabError(f"{self.path} cannot be written: {error.strerror}", do="free some space; what was mirrored is kept")
