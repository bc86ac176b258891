"""The coordinator's copy: each record once, in order, durable; anything else is a divergence and changes nothing."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.errors import LabError
from runner.ondevice import journal
from runner.ondevice.journal import Record
from runner.story.left import catch_up, noting
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


def test_what_was_taken_is_durable_when_it_is_flushed(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """One fsync behind all of the bytes; taking alone promises nothing (who acknowledges flushes first: tests/target/test_session.py)."""
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: sizes.append(os.fstat(fd).st_size))
    mirror.take(ONE.raw)
    mirror.take(TWO.raw)
    assert sizes == []
    mirror.flush()
    assert sizes == [len(journal.FILE_HEADER) + len(ONE.raw) + len(TWO.raw)]


def test_what_a_killed_coordinator_never_flushed_is_durable_when_the_next_one_reads_it(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks the device only for what comes behind it, so all of it is flushed before that."""
    mirror.take(ONE.raw)
    mirror.close()
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: sizes.append(os.fstat(fd).st_size))
    assert Mirror(mirror.path).sequence == 1
    assert len(journal.FILE_HEADER) + len(ONE.raw) in sizes


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
        (record(0).raw, "record 0 arrived after 2"),
        (THREE.raw[:-1], "a record arrived after 2 that is not whole"),
        (THREE.raw[:-1] + b"?", "a record arrived after 2 that is not whole"),
        (b"", "a record arrived after 2 that is not whole"),
    ],
    ids=["conflict", "gap", "before the first", "cut", "flipped", "empty"],
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

    def fails(*words: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(LabError, match="No space left on device"):
            mirror.flush()
    monkeypatch.setattr(mirror, "_file", SimpleNamespace(write=fails))
    with pytest.raises(LabError, match="No space left on device"):
        mirror.take(TWO.raw)
    assert mirror.sequence == 1
    assert journal.read_file(str(mirror.path)) == [ONE]


def test_a_journal_without_an_end_is_bounded(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that never stops cannot fill the coordinator's disk; what was mirrored stays, over a reopening, too."""
    monkeypatch.setattr("runner.target.mirror.MAX_BYTES", len(ONE.raw) + len(TWO.raw))
    for each in (ONE, TWO):
        mirror.take(each.raw)
    mirror.close()
    for again in (mirror, Mirror(mirror.path)):
        with pytest.raises(LabError, match="the device sends more than"):
            again.take(THREE.raw)
    assert journal.read_file(str(mirror.path)) == [ONE, TWO]


# ---- begun by a coordinator that was killed ---------------------------------------------------------------------------

HEAD = len(journal.FILE_HEADER)
TORN = {
    "nothing": b"",
    "half a record": THREE.raw[: len(THREE.raw) // 2],
    "zeros": bytes(40),
    "a gap": record(4).raw,
    "garbage": b"\xff" * 40,
}


@pytest.mark.parametrize("tail", TORN)
def test_an_existing_journal_is_gone_on_with_and_never_written_over(mirror: Mirror, tail: str) -> None:
    """From its last whole record: what is behind it is cut off, what is whole stays byte for byte, and the next record follows it."""
    for each in (ONE, TWO):
        mirror.take(each.raw)
    whole, chain = mirror.path.read_bytes(), mirror.chain
    mirror.close()
    mirror.path.write_bytes(whole + TORN[tail])
    again = Mirror(mirror.path)
    assert (again.records, again.chain, again.path.read_bytes()) == ([ONE, TWO], chain, whole)
    assert [again.take(each.raw) for each in (TWO, THREE)] == [None, THREE]
    assert journal.read_file(str(mirror.path)) == [ONE, TWO, THREE]


@pytest.mark.parametrize("left", [b"", journal.FILE_HEADER[:3], journal.FILE_HEADER, journal.FILE_HEADER + ONE.raw[:9], b"not a journal"])
def test_one_without_a_whole_record_begins_anew(tmp_path: Path, left: bytes) -> None:
    """Killed before anything was mirrored: an empty file, half a header, a header alone; the first record is taken as in a new one."""
    path = tmp_path / "device.journal"
    path.write_bytes(left)
    again = Mirror(path)
    assert (again.sequence, again.chain, path.read_bytes()) == (0, journal.GENESIS, journal.FILE_HEADER)
    assert again.take(ONE.raw) == ONE
    assert journal.read_file(str(path)) == [ONE]


def test_what_one_coordinator_begins_another_ends_whatever_byte_the_first_one_died_at(tmp_path: Path) -> None:
    """Cut at every byte, reopened, and given all that the device has, from the first record the mirror lacks: the same file every time."""
    path = tmp_path / "device.journal"
    data = journal.FILE_HEADER + b"".join(each.raw for each in (ONE, TWO, THREE))
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        again = Mirror(path)
        assert again.path.read_bytes() == data[: max(HEAD, len(again.path.read_bytes()))]
        for each in (ONE, TWO, THREE)[again.sequence :]:
            again.take(each.raw)
        again.close()
        assert path.read_bytes() == data, size


def test_a_reopened_mirror_diverges_as_any_other(mirror: Mirror) -> None:
    """It knows what it holds: another first record is a conflict, and one too far ahead a gap."""
    mirror.take(ONE.raw)
    mirror.close()
    again = Mirror(mirror.path)
    for raw, problem in ((record(1, stage="another").raw, "differs from the one"), (THREE.raw, "record 3 arrived after 1")):
        with pytest.raises(Diverged, match=problem):
            again.take(raw)


def test_what_was_mirrored_and_not_noted_is_noted_once(mirror: Mirror, tmp_path: Path) -> None:
    """Killed between the record and its note: whoever goes on makes up for the note, in order, samples apart; and does so once."""
    log = journal.Journal.create(str(tmp_path / "coordinator.journal"), "run_began", {})
    noting(log, "recovery-1")(ONE)
    noting(log, "baseline-1")(record(9))  # of another execution: says nothing about this one
    sample = journal.encode(2, "ab" * 16, 1, 2, "sample", {"metrics": {}})
    for each in (ONE, sample, THREE):
        mirror.take(each.raw)
    for _ in range(2):
        catch_up(log, "recovery-1", mirror)
    noted = [said.payload["sequence"] for said in log.records if said.payload.get("execution") == "recovery-1"]
    assert noted == [1, 3]


def test_a_mirror_that_cannot_be_opened_is_an_error_of_the_lab(tmp_path: Path) -> None:
    """With the reason; not of the device, and no traceback."""
    (tmp_path / "device.journal").mkdir()
    with pytest.raises(LabError, match="cannot be written: Is a directory"):
        Mirror(tmp_path / "device.journal")


def test_a_disk_that_takes_only_a_part_has_not_taken_the_record(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk may take half of a record without an error: it is not mirrored before the rest of it is there."""

    class Full:
        """Takes ten bytes, and then no more."""

        def __init__(self, file: Any) -> None:
            self.file, self.left = file, 10

        def write(self, data: bytes) -> int:
            if not self.left:
                raise OSError(28, "No space left on device")
            taken, self.left = data[: self.left], max(0, self.left - len(data))
            return int(self.file.write(taken))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    mirror.take(ONE.raw)
    monkeypatch.setattr(mirror, "_file", Full(mirror._file))
    with pytest.raises(LabError, match="No space left on device"):
        mirror.take(TWO.raw)
    assert mirror.sequence == 1


def test_a_record_without_what_its_kind_must_hold_is_a_divergence(tmp_path: Path) -> None:
    """A hostile device cannot make a judgement stumble: a whole record of a wrong shape is never mirrored."""
    mirror = Mirror(tmp_path / "device.journal")
    for payload in ({}, {"stage": "a", "status": "ok", "data": [], "files": {}, "duration_ns": 1}):
        with pytest.raises(Diverged, match="not whole"):
            mirror.take(journal.encode(1, "ab" * 16, 1, 2, "stage_finished", payload).raw)
    assert mirror.sequence == 0
