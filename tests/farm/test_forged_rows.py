"""A lease file that somebody else wrote to, or that a disk spoilt: one clear sentence, exit 3, and the file stays as it was found."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.errors import LabError
from runner.farm.lease import MAX_FENCE, Lease, Leases
from runner.farm.rows import an_id, parsed, text, whole
from runner.lab.where import state_root
from runner.model.device import DeviceLine
from runner.ondevice.journal import boot_id
from runner.target.drivers import Request

Runner = Callable[..., Any]
Spoil = Callable[[Path], object]
IDENTITY = DeviceLine(type="local-process").identity("local")
FAR_NS = 2**62
COMMANDS = [
    ("device", "list"),
    ("device", "show", "local"),
    ("device", "power", "local", "off"),
    ("device", "check", "local"),
    ("device", "revert", "local"),
    ("exec", "EDGE-002", "--no-wait"),
]


def row(table: str, *cells: Any) -> Spoil:
    """One row more, put in by another program."""

    def spoil(path: Path) -> None:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(cells))})", cells)

    return spoil


def sql(statement: str) -> Spoil:
    def spoil(path: Path) -> None:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(statement)

    return spoil


def lease(**cells: Any) -> Spoil:
    """A lease of the device whose holder lives, good but for what is given."""
    good = {"id": "theirs", "identity": IDENTITY, "fence": 1, "holder": "{}", "boot_id": boot_id(), "expires_ns": FAR_NS}
    return row("lease", *{**good, **cells}.values())


def written(change: Callable[[bytes], bytes]) -> Spoil:
    return lambda path: path.write_bytes(change(path.read_bytes()))


ROWS: dict[str, tuple[Spoil, str]] = {
    "holder no JSON": (lease(holder="nope"), "a lease's holder is 'nope', and no JSON"),
    "holder a list": (lease(holder="[1]"), "a lease's holder is '[1]', and no object"),
    "holder of bytes": (lease(holder=b"\xff"), "a lease's holder is b'\\xff', and no JSON"),
    "holder without an end": (lease(holder="[" * 100_000), "a lease's holder is '[[["),
    "fence of a lease a word": (lease(fence="high"), "a lease's fence is 'high', and no whole number"),
    "end a word": (lease(expires_ns="soon"), "a lease's end is 'soon', and no whole number"),
    "boot of bytes": (lease(boot_id=b"\xff"), "a boot id is b'\\xff', and no text"),
    "id a path": (lease(id="../../etc/passwd"), "'../../etc/passwd' is no id of an asker"),
    "id with a zero": (lease(id="a\0b"), "is no id of an asker"),
    "id of any length": (lease(id="a" * 5000), "is no id of an asker"),
    "fence of the device a word": (row("device", IDENTITY, "high", 0), f"the fence of {IDENTITY} is 'high', and no whole number"),
    "fence of the device the highest": (row("device", IDENTITY, MAX_FENCE, 0), "no lease was ever granted so often"),
    "fence of the device negative": (row("device", IDENTITY, -7, 0), "no lease was ever granted so often"),
    "free since a word": (row("device", IDENTITY, 3, "noon"), "since when a device is free is 'noon', and no whole number"),
    "place in the queue of bytes": (row("queue", -1, b"\xff", IDENTITY, 1), "is no id of an asker"),
    "quarantined for no JSON": (row("quarantine", IDENTITY, "noon", "t", "nope"), "quarantined for is 'nope', and no JSON"),
    "quarantined for an object": (row("quarantine", IDENTITY, "noon", "t", "{}"), "quarantined for is '{}', and no list"),
    "quarantined for a number": (row("quarantine", IDENTITY, "noon", "t", "[7]"), "a difference is 7, and no text"),
    "quarantined since bytes": (row("quarantine", IDENTITY, b"\xff", "t", "[]"), "since when a device is quarantined is b'\\xff'"),
}
TABLES: dict[str, tuple[Spoil, str]] = {
    **{f"no table {name}": (sql(f"DROP TABLE {name}"), f"no such table: {name}") for name in ("lease", "queue", "device", "quarantine")},
    "another table": (sql("ALTER TABLE lease RENAME COLUMN holder TO owner"), "no such column: holder"),
    "empty": (written(lambda data: b""), "no such table"),
    "cut off": (written(lambda data: data[:5000]), "malformed"),
    "no database": (written(lambda data: b"hello\n" * 1000), "file is not a database"),
    "a page overwritten": (written(lambda data: data[:4096] + os.urandom(4096) + data[8192:]), "malformed"),
}
SPOILT = {**ROWS, **TABLES}


def kept(path: Path) -> set[object]:
    """What a file still says: its rows but those of the queue, or where it is no whole database, the page that is spoilt."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return {line for line in db.iterdump() if "sqlite_sequence" not in line and 'INTO "queue"' not in line}
    except (sqlite3.Error, AssertionError):
        return {path.read_bytes()[4096:8192]}


@pytest.fixture
def file() -> Path:
    """A lease file as it is made, all of it in one file."""
    leases = Leases(state_root())
    leases.every()
    with contextlib.closing(sqlite3.connect(leases.path)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    return leases.path


@pytest.fixture
def theirs(file: Path) -> Iterator[None]:
    """A process lives that calls itself `theirs`."""
    with (file.parent / "theirs.alive").open("wb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        yield


@pytest.fixture
def no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a device is touched, whoever gets a lease of it."""

    async def none(request: Request) -> None:
        raise LabError("a lease was granted")

    for module in ("runner.story.trial", "runner.story.live", "runner.target.drivers"):
        monkeypatch.setattr(f"{module}.make_target", none)


@pytest.mark.parametrize("name", SPOILT)
@pytest.mark.usefixtures("theirs", "no_device")
def test_every_command_ends_with_a_sentence_and_the_file_stays(
    runner: Runner, make_lab: Callable[..., Path], file: Path, name: str
) -> None:
    """Exit 3 where it has to do with what is spoilt, which is named, as is the way out; never our bug. Nothing that it says is lost."""
    spoil, said = SPOILT[name]
    spoil(file)
    before, lab, heard = kept(file), str(make_lab({})), []
    for words in COMMANDS:
        done = runner("--lab", lab, *words)
        assert done.exit_code in (0, 3), (words, done.err)
        assert "Traceback" not in done.err
        if "cannot be used" in done.err:
            heard.append(words[:2])
            assert (str(file) in done.err, said in done.err) == (True, True), done.err
            assert "do: move that file away once nothing is under way" in done.err
    assert heard
    assert kept(file) >= before


@pytest.mark.usefixtures("no_device")
def test_a_good_file_is_used(runner: Runner, make_lab: Callable[..., Path], file: Path) -> None:
    """The negative control: every command gets as far as the device."""
    lab = str(make_lab({}))
    for words in COMMANDS:
        done = runner("--lab", lab, *words)
        assert "cannot be used" not in done.err
        assert (done.exit_code, "a lease was granted" in done.err + done.out) == (
            0 if words[1] in ("list", "show") else 3,
            words[1] not in ("list", "show"),
        )


def test_a_forged_fence_lowers_none(file: Path) -> None:
    """SQLite would count on from a word at one: nobody gets a lease instead, and the next one after it is mended is higher."""
    leases = Leases(state_root())
    with leases.living("ours"):
        leases.enqueue("pi-04", "ours")
        granted = leases.attempt("pi-04", "ours", {})
        assert isinstance(granted, Lease)
        leases.leave("ours")
        sql("UPDATE device SET fence = 'one'")(file)
        leases.enqueue("pi-04", "ours")
        with pytest.raises(LabError, match="'one', and no whole number"):
            leases.attempt("pi-04", "ours", {})
        sql("UPDATE device SET fence = 7")(file)
        again = leases.attempt("pi-04", "ours", {})
        assert isinstance(again, Lease)
        assert again.fence == 8


def test_what_is_kept_for_a_check_is_read_as_carefully(file: Path) -> None:
    """A fingerprint that is no JSON or no object, a run's folder of bytes."""
    row("expected", "pi-04", "b1", "nope")(file)
    row("expected", "pi-05", "b1", "[]")(file)
    row("unfinished", "t", "pi-04", b"\xff", "l")(file)
    leases = Leases(state_root())
    with pytest.raises(LabError, match="the fingerprint of pi-04 is 'nope', and no JSON"):
        leases.expected("pi-04")
    with pytest.raises(LabError, match=r"the fingerprint of pi-05 is '\[\]', and no object"):
        leases.expected("pi-05")
    with pytest.raises(LabError, match=r"a run's folder is b'.xff', and no text"):
        leases.unfinished("pi-04")


def test_cells_are_what_they_must_be_or_are_refused() -> None:
    """True is no number, bytes are no text; what is good comes back as it is."""
    assert (text("a", "it"), whole(3, "it"), an_id("a1-b")) == ("a", 3, "a1-b")
    assert (parsed("[1]", "it", list), parsed('{"a": 1}', "it", dict)) == ([1], {"a": 1})
    for act, cell in ((text, b"a"), (text, 3), (whole, "3"), (whole, True), (whole, 1.0)):
        with pytest.raises(ValueError, match="it is"):
            act(cell, "it")
    for kind, other in ((dict, "[]"), (list, "{}")):
        for cell in ("{", 3, "null", "7", '"a"', other):
            with pytest.raises(ValueError, match="it is"):
                parsed(cell, "it", kind)
    for cell in ("", "a/b", "..", "a" * 65, 3, None):
        with pytest.raises(ValueError, match="no id of an asker"):
            an_id(cell)


def test_a_file_that_is_nobodys_disturbs_no_sweep(file: Path) -> None:
    """What some file system or desktop puts beside stays; what a dead asker left goes."""
    odd, dead = file.parent / "._x.alive", file.parent / "dead.alive"
    odd.touch()
    dead.touch()
    Leases(state_root()).sweep()
    assert (odd.exists(), dead.exists()) == (True, False)
