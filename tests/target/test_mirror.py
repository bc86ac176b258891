"""The coordinator's copy: each record once, in order, durable; anything else is a divergence and changes nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from runner.errors import LabError
from runner.ondevice import journal
from runner.ondevice.journal import Record
from runner.target.mirror import Diverged, Mirror


def record(sequence: int, **payload: Any) -> Record:
    return journal.encode(sequence, "ab" * 16, 1, 2, "stage_raised", payload)


ONE, TWO, THREE = record(1, stage="ingest"), record(2, stage="train"), record(3, stage="seal")


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "device-recovery-1.journal")


def test_what_is_taken_is_a_journal(mirror: Mirror) -> None:
    """The file reads as the device's own, and the chain is the device's own."""
    assert mirror.take(ONE.raw) == ONE
    assert mirror.take(TWO.raw) == TWO
    assert (mirror.sequence, mirror.chain) == (2, journal.chain_on(journal.chain_on(journal.GENESIS, ONE.raw), TWO.raw))
    assert journal.read_file(str(mirror.path)) == [ONE, TWO]


def test_a_record_is_durable_before_it_is_given_out(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """An fsync lies between the bytes and whoever acknowledges them."""
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: sizes.append(os.fstat(fd).st_size))
    mirror.take(ONE.raw)
    assert sizes == [len(journal.FILE_HEADER) + len(ONE.raw)]


def test_merging_again_changes_nothing(mirror: Mirror) -> None:
    """After a reconnect the same records may come again: they are skipped, and the file stays as it is."""
    for each in (ONE, TWO):
        mirror.take(each.raw)
    before = mirror.path.read_bytes()
    assert [mirror.take(each.raw) for each in (ONE, TWO, ONE)] == [None, None, None]
    assert mirror.path.read_bytes() == before
    assert mirror.take(THREE.raw) == THREE


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (record(1, stage="another").raw, "record 1 differs from the one mirrored before"),
        (record(4).raw, "record 4 arrived after 2"),
        (THREE.raw[:-1], "a record arrived after 2 that is not whole"),
        (THREE.raw[:-1] + b"?", "a record arrived after 2 that is not whole"),
        (b"", "a record arrived after 2 that is not whole"),
    ],
    ids=["conflict", "gap", "cut", "flipped", "empty"],
)
def test_what_does_not_continue_the_copy_is_a_divergence(mirror: Mirror, raw: bytes, problem: str) -> None:
    """It is told, never written; and what fits is still taken afterwards."""
    for each in (ONE, TWO):
        mirror.take(each.raw)
    before = mirror.path.read_bytes()
    with pytest.raises(Diverged, match=problem):
        mirror.take(raw)
    assert (mirror.path.read_bytes(), mirror.sequence) == (before, 2)
    assert mirror.take(THREE.raw) == THREE


def test_a_full_disk_here_is_an_error_of_the_lab(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of the device; what was mirrored before stays readable."""
    mirror.take(ONE.raw)

    def fails(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(LabError, match="No space left on device"):
        mirror.take(TWO.raw)
    assert mirror.sequence == 1
    assert journal.read_file(str(mirror.path))[0] == ONE


def test_an_existing_journal_is_never_written_over(mirror: Mirror) -> None:
    """Another mirror of the same name is refused."""
    with pytest.raises(FileExistsError):
        Mirror(mirror.path)


def test_a_record_without_what_its_kind_must_hold_is_a_divergence(tmp_path: Path) -> None:
    """A hostile device cannot make a judgement stumble: a whole record of a wrong shape is never mirrored."""
    mirror = Mirror(tmp_path / "device.journal")
    for payload in ({}, {"stage": "a", "status": "ok", "data": [], "files": {}, "duration_ns": 1}):
        with pytest.raises(Diverged, match="not whole"):
            mirror.take(journal.encode(1, "ab" * 16, 1, 2, "stage_finished", payload).raw)
    assert mirror.sequence == 0
