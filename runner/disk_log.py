"""What a disk server says of itself: every request in order, and so what a power cut at any moment takes away.

The keeper reads this log while it grows; a judge reads the same file again when all is over, and counts for himself.

Measured with nbdkit 1.32 (and pasted into the tests):

- a write or zero request stays in the volatile cache until a flush; SIGKILL of nbdkit loses it;
- a flush makes durable what was *answered* before it came;
- FUA makes durable exactly the request that carries it, nothing that came before;
- a trim goes straight to the file, past the cache: it is never lost, and a cached block still reads as before;
- the log file is line buffered and each line is one write(): SIGKILL loses no line. Its times are UTC.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Write:
    """One request that changes the disk, at `at` (wall clock, seconds since 1970, UTC)."""

    offset: int
    length: int
    at: float


@dataclass(frozen=True)
class DiskLog:
    """What a disk server was asked since it was started last. Requests that failed count in `failed` only."""

    writes: int = 0  # write and zero requests, answered or not
    flushes: int = 0  # flushes that were answered with success
    trims: int = 0
    fua: int = 0  # writes that carried FUA
    reads: int = 0
    failed: int = 0
    flushes_unanswered: int = 0
    uncovered: tuple[Write, ...] = ()


def read_disk_log(path: Path, offset: int = 0) -> DiskLog:
    """The log from byte `offset` on; a log that does not exist yet is an empty one."""
    return DiskLogReader(path, offset).read()


def unflushed(log: DiskLog) -> list[Write]:
    """Writes that no completed flush (and not their own FUA) had covered: what a cut at that moment takes away."""
    return list(log.uncovered)


@dataclass
class DiskLogReader:
    """Reads a growing log piece by piece: each `read` costs only what was appended since the last one.

    A server's "Ready" line starts everything afresh, so one file can hold many power-ons and its tail tells the last.
    """

    path: Path
    offset: int = 0
    _torn: bytes = b""
    _state: _State = field(default_factory=lambda: _State())

    def read(self) -> DiskLog:
        """Everything up to now. A line that is only half there is kept for the next time."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                new = file.read()
        except FileNotFoundError:
            new = b""
        self.offset += len(new)
        *lines, self._torn = (self._torn + new).split(b"\n")
        self._state.follow(line.decode("ascii", "replace") for line in lines)
        return self._state.summary()


def read_power_ons(data: bytes) -> list[DiskLog]:
    """What was asked in each power-on that `data` tells from its "Ready" line on, in order.

    What stands before the first "Ready" belongs to a power-on whose beginning nobody wrote down, and is left out; so is a
    server that no machine ever connected to, because then the power was not on.
    """
    found: list[DiskLog] = []
    state: _State | None = None
    connected = False
    for line in data.split(b"\n")[:-1]:
        text = line.decode("ascii", "replace")
        if (match := _LINE.search(text)) and match[4] == "Ready":
            if state is not None and connected:
                found.append(state.summary())
            state, connected = _State(), False
        connected = connected or bool(match and match[4] == "Connect")
        if state is not None:
            state.follow([text])
    return [*found, state.summary()] if state is not None and connected else found


_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) (?:connection=(\d+) )?(\.\.\.)?(\w+)(.*)")
_FIELD = re.compile(r"(\w+)=(-?\w+)")
_CHANGES = ("Write", "Zero")


@dataclass
class _Request:
    verb: str
    write: Write
    fua: bool
    asked: int  # position among all lines
    answered: int | None = None


@dataclass
class _State:
    """The fold over the lines. `open` are requests without an answer, `volatile` changes that are not yet durable."""

    line: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    open: dict[tuple[str, str], _Request] = field(default_factory=dict)
    volatile: dict[int, _Request] = field(default_factory=dict)

    def follow(self, lines: Iterable[str]) -> None:
        for text in lines:
            self.line += 1
            if not (match := _LINE.search(text)):
                continue
            at, connection, answer, verb, rest = match.groups()
            fields = dict(_FIELD.findall(rest))
            if verb == "Ready":
                self.counts, self.open, self.volatile = {}, {}, {}
            elif answer and (request := self.open.pop((connection, fields.get("id", "")), None)):
                self._answered(request, succeeded=fields.get("return") == "0")
            elif not answer and "id" in fields and connection is not None:
                self._asked(verb, connection, fields, at)

    def _asked(self, verb: str, connection: str, fields: dict[str, str], at: str) -> None:
        when = datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()
        write = Write(int(fields.get("offset", "0"), 0), int(fields.get("count", "0"), 0), when)
        request = _Request(verb, write, fields.get("fua") == "1", self.line)
        self.open[connection, fields["id"]] = request
        if verb in _CHANGES:
            self.volatile[self.line] = request
        self._count(verb)

    def _answered(self, request: _Request, succeeded: bool) -> None:
        request.answered = self.line
        if not succeeded:
            self._count("failed")
            self._count(request.verb, -1)
            self.volatile.pop(request.asked, None)
        elif request.verb == "Flush":
            covered = [key for key, each in self.volatile.items() if each.answered and each.answered < request.asked]
            for key in covered:
                del self.volatile[key]
        elif request.fua:
            self._count("fua")
            self.volatile.pop(request.asked, None)

    def _count(self, what: str, by: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + by

    def summary(self) -> DiskLog:
        count = self.counts.get
        pending = sum(request.verb == "Flush" for request in self.open.values())
        return DiskLog(
            writes=sum(count(verb, 0) for verb in _CHANGES), flushes=count("Flush", 0) - pending,
            trims=count("Trim", 0), fua=count("fua", 0), reads=count("Read", 0), failed=count("failed", 0),
            flushes_unanswered=pending, uncovered=tuple(each.write for each in self.volatile.values()),
        )  # fmt: skip
