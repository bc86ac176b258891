"""Rows that were made from a lab's files, kept until one of those changes: a list must not wait for parsers that say the same again.

    names that the patterns find, their bytes, our own code ──SHA-256──► key
    cache/remembered/<name>.json: key, sum, rows ── same key, whole? ──► the rows, without pydantic or PyYAML
                                                 └─ else ──────────────► made anew by a Reader, and kept

Never wrong: bytes are hashed and not dates; the key is taken again after making, so that a file saved in between is not kept
under a name that it does not have; rows beside which there was a complaint are never kept. One file for each list, the last
lab's. A cache that is damaged, full or somebody else's costs the time of making the rows, and nothing is said of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import __version__
from runner.errors import Complaint, RunnerError
from runner.lab.private import private_folder, private_text
from runner.lab.where import Lab, cache_root

if TYPE_CHECKING:
    from runner.lab.load import Reader

Rows = list[dict[str, Any]]
MAX_BYTES = 4 << 20  # of what is kept, and of a lab's file that is hashed
_PACKAGE = Path(__file__).resolve().parent.parent
_MAKERS = ("cli", "faults", "lab", "model", "target")  # whose code says what the rows are


def remembered(lab: Lab, name: str, patterns: Sequence[str], make: Callable[[Reader], Rows]) -> tuple[Rows, list[Complaint]]:
    """What `make` makes of the lab's files that `patterns` ("devices/*.yaml") find, here and built in, and the complaints about them.

    `make` must read no other file, and give rows that JSON can say. Raises what `make` raises.
    """
    key = _key(lab, patterns)
    kept = _kept(name, key)
    if kept is not None:
        return kept, []
    from runner.lab.load import Reader

    reader = Reader(lab)
    rows: Rows = json.loads(json.dumps(make(reader)))  # the same values as when they are read again
    if key and not reader.complaints and _key(lab, patterns) == key:
        _keep(name, key, rows)
    return rows, reader.complaints


def _key(lab: Lab, patterns: Sequence[str]) -> str:
    """What the rows are made from, as one hash; "" where a file cannot be read: then there is something to complain about."""
    try:
        said = [[__version__], *_code(), *_files(lab, patterns)]
    except (OSError, ValueError, RunnerError):
        return ""
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _files(lab: Lab, patterns: Sequence[str]) -> Iterator[list[Any]]:
    for pattern in patterns:
        folder, _, below = pattern.partition("/")
        for name in [f"{folder}/{found}" for found in lab.names(folder, below)] if "*" in pattern else [pattern]:
            yield [name, hashlib.sha256(_bytes(lab.file(name) or lab.root / name)).hexdigest()]


def _code() -> Iterator[list[Any]]:
    """Whoever works on a checkout changes what is computed, and not the version."""
    for folder in _MAKERS:
        with os.scandir(_PACKAGE / folder) as entries:
            for entry in sorted((e for e in entries if e.name.endswith(".py")), key=lambda e: e.name):
                about = entry.stat()
                yield [folder, entry.name, about.st_size, about.st_mtime_ns]


def _bytes(path: Path) -> bytes:
    """An ordinary file of bounded size. Raises OSError or ValueError, and never waits: a pipe is not opened."""
    about = path.stat()
    if not stat.S_ISREG(about.st_mode) or about.st_size > MAX_BYTES:
        raise ValueError("nothing that a list is made from")
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _place(name: str) -> Path:
    return private_folder(cache_root() / "remembered") / f"{name}.json"


def _kept(name: str, key: str) -> Rows | None:
    """The rows under this very key, whole; None without them."""
    try:
        said = json.loads(_bytes(_place(name))) if key else {}
        rows: Rows = json.loads(said["rows"])
        return rows if said["key"] == key and said["sum"] == _sum(said["rows"]) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, RunnerError):
        return None


def _keep(name: str, key: str, rows: Rows) -> None:
    text = json.dumps(rows)
    whole = json.dumps({"key": key, "sum": _sum(text), "rows": text})
    try:
        if len(whole) <= MAX_BYTES:
            private_text(_place(name), whole)
    except (OSError, RunnerError):
        return


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
