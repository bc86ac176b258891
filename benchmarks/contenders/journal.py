"""What a record costs: journal.py FOLDER WHO COUNT prints microseconds for one. WHO is one of `WAYS`."""

import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

from runner.ondevice.journal import Journal, encode, fsync_file

PAYLOAD = {"metrics": {f"system.made.up{{number={number:02}}}": number * 1.5 for number in range(12)}}  # as a sample is
RAW = encode(1, "0" * 32, 1, 1, "sample", PAYLOAD).raw


def ours(folder: Path, flushed: bool) -> Callable[[], object]:
    journal = Journal.create(str(folder / f"{time.time_ns()}.journal"), "began", {})
    return (lambda: journal.append("sample", PAYLOAD)) if flushed else (lambda: journal.write("sample", PAYLOAD))


def plain(folder: Path, flushed: bool) -> Callable[[], object]:
    """The same bytes, made already: what the disk takes."""
    fd = os.open(folder / f"{time.time_ns()}.raw", os.O_WRONLY | os.O_CREAT, 0o600)
    return (lambda: (os.write(fd, RAW), fsync_file(fd))) if flushed else (lambda: os.write(fd, RAW))


def lines(folder: Path) -> Callable[[], object]:
    """A line of JSON, written at once: no checksum, no order."""
    fd = os.open(folder / f"{time.time_ns()}.jsonl", os.O_WRONLY | os.O_CREAT, 0o600)
    return lambda: os.write(fd, json.dumps(PAYLOAD).encode() + b"\n")


def sqlite(folder: Path) -> Callable[[], object]:
    """A row and a commit, in SQLite's fastest way that survives a power cut."""
    database = sqlite3.connect(folder / f"{time.time_ns()}.db", isolation_level=None)
    database.execute("pragma journal_mode=wal")
    database.execute("pragma synchronous=full")
    database.execute("create table records (sequence integer primary key, kind text, payload text)")
    return lambda: database.execute("insert into records (kind, payload) values (?, ?)", ("sample", json.dumps(PAYLOAD)))


WAYS: dict[str, Callable[[Path], Callable[[], object]]] = {
    "ours-flushed": lambda folder: ours(folder, True),
    "ours-written": lambda folder: ours(folder, False),
    "plain-flushed": lambda folder: plain(folder, True),
    "plain-written": lambda folder: plain(folder, False),
    "lines": lines,
    "sqlite": sqlite,
}


def main(folder: str, who: str, count: str) -> None:
    one = WAYS[who](Path(folder))
    one()
    began = time.perf_counter()
    for _ in range(int(count)):
        one()
    print((time.perf_counter() - began) / int(count) * 1e6)


if __name__ == "__main__":
    main(*sys.argv[1:])
