"""The journal under every cut and every flipped bit: whole records are read, and never anything beyond them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.ondevice import journal
from runner.ondevice.journal import FILE_HEADER, GENESIS, Journal, Record, chain_on, read

WRITTEN: list[tuple[str, dict[str, Any]]] = [
    ("began", {"run": "EDGE-002.run-2026-11-21-001.966baafa", "stages": ["ingest", "seal"]}),
    ("stage_started", {"stage": "ingest", "life": 0}),
    ("stage_finished", {"stage": "ingest", "status": "ok", "data": {"grüße": 1}, "files": {}}),
    ("sample", {}),
    ("finished", {"state_sha256": "0" * 64}),
]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal")


@pytest.fixture
def whole(path: str) -> bytes:
    """The bytes of a small journal that a real Journal wrote."""
    written = Journal.create(path, *WRITTEN[0])
    for kind, payload in WRITTEN[1:]:
        written.append(kind, payload)
    written.close()
    return Path(path).read_bytes()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done to the disk, in order: every fsync, truncation and rename, still carried out."""
    seen: list[str] = []

    def watched(name: str, action: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any) -> Any:
            seen.append(name)
            return action(*words)

        return call

    for owner, name in ((journal, "fsync_file"), (journal, "fsync_folder"), (os, "ftruncate"), (os, "rename")):
        monkeypatch.setattr(owner, name, watched(name, getattr(owner, name)))
    return seen


def ends_of(records: list[Record]) -> list[int]:
    """Where in the file each record ends, the header counted as record 0."""
    ends = [len(FILE_HEADER)]
    for record in records:
        ends.append(ends[-1] + len(record.raw))
    return ends


def test_what_was_written_is_read(whole: bytes) -> None:
    """Kinds, payloads and numbers 1, 2, 3 … come back as they were appended."""
    assert [(record.kind, record.payload) for record in read(whole)] == WRITTEN
    assert [record.sequence for record in read(whole)] == [1, 2, 3, 4, 5]


def test_cut_anywhere_exactly_the_whole_records_are_read(whole: bytes) -> None:
    """Whatever length the file has left, every record that is whole is read and none that is not."""
    records = read(whole)
    ends = ends_of(records)
    for length in range(len(whole) + 1):
        assert read(whole[:length]) == records[: max(0, sum(end <= length for end in ends) - 1)]


def test_flipped_anywhere_nothing_is_read_from_there_on(whole: bytes) -> None:
    """Each bit of the file, flipped: the records before the damage are read, and not one at or behind it."""
    records = read(whole)
    ends = ends_of(records)
    for bit in range(len(whole) * 8):
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        assert read(bytes(broken)) == records[: max(0, sum(end <= bit // 8 for end in ends) - 1)]


@pytest.mark.parametrize("tail", [bytes(4096), b"\xff" * 4096, b"RJNL", b"\x00\x00\x00\x22"], ids=["zeros", "ones", "header", "length"])
def test_a_tail_that_is_no_record_ends_the_journal(path: str, whole: bytes, tail: bytes) -> None:
    """Zeros (a file that grew before its data arrived) or garbage behind the last record are not read, and are cut off."""
    Path(path).write_bytes(whole + tail)
    assert read(whole + tail) == read(whole)
    assert Journal.open(path).tail_cut_bytes == len(tail)
    assert Path(path).read_bytes() == whole


def test_a_gap_in_the_numbers_ends_the_journal(whole: bytes) -> None:
    """Intact records behind a missing, doubled or exchanged one are not read."""
    one, two, three, *_ = (record.raw for record in read(whole))
    assert len(read(FILE_HEADER + one + three)) == 1
    assert len(read(FILE_HEADER + one + one + two)) == 1
    assert read(FILE_HEADER + two + one) == []


def test_opening_cuts_a_torn_tail_durably_and_goes_on_behind_it(path: str, whole: bytes, calls: list[str]) -> None:
    """The cut is flushed before anything is appended, and the next record continues the numbers."""
    Path(path).write_bytes(whole[:-3])
    opened = Journal.open(path)
    last = len(read(whole)[-1].raw)
    assert opened.tail_cut_bytes == last - 3
    assert calls[-2:] == ["ftruncate", "fsync_file"]
    assert opened.append("finished", {}).sequence == 5
    assert len(journal.read_file(path)) == 5


def test_opening_a_whole_journal_changes_nothing(path: str, whole: bytes, calls: list[str]) -> None:
    """No byte is cut, and what was there is flushed before it counts as flushed."""
    calls.clear()
    opened = Journal.open(path)
    assert (opened.tail_cut_bytes, opened.flushed_sequence, calls) == (0, 5, ["fsync_file"])


def test_a_file_without_the_header_is_no_journal(path: str) -> None:
    """It is refused, and left as it is."""
    Path(path).write_bytes(b"something else")
    with pytest.raises(OSError, match="header"):
        Journal.open(path)
    assert Path(path).read_bytes() == b"something else"


def test_a_new_journal_has_its_first_record_and_a_durable_name(path: str, calls: list[str]) -> None:
    """It is flushed before the file gets its name, and the folder after it; an existing one is refused."""
    created = Journal.create(path, *WRITTEN[0])
    assert calls == ["fsync_file", "rename", "fsync_folder", "fsync_file"]
    assert (created.written_sequence, created.flushed_sequence) == (1, 1)
    assert [record.kind for record in journal.read_file(path)] == ["began"]
    with pytest.raises(FileExistsError):
        Journal.create(path, *WRITTEN[0])


def test_append_flushes_before_it_returns_and_write_does_not(path: str, calls: list[str]) -> None:
    """`append` is a promise; `write` is not, and says so in `flushed_sequence`."""
    opened = Journal.create(path, "began", {})
    calls.clear()
    opened.write("sample", {})
    assert (calls, opened.written_sequence, opened.flushed_sequence) == ([], 2, 1)
    opened.append("finished", {})
    assert (calls, opened.written_sequence, opened.flushed_sequence) == (["fsync_file"], 3, 3)


def test_after_one_failed_flush_nothing_is_promised_any_more(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel may drop dirty pages after EIO and report success the next time, so the first error is the last word."""
    opened = Journal.create(path, "began", {})

    def fails(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(journal, "fsync_file", fails)
    with pytest.raises(OSError, match="Input/output error"):
        opened.append("stage_finished", {})
    monkeypatch.undo()
    for action in (opened.flush, lambda: opened.write("sample", {}), lambda: opened.append("finished", {})):
        with pytest.raises(OSError, match="Input/output error"):
            action()
    assert opened.flushed_sequence == 1


def test_a_full_disk_leaves_whole_records(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that stops half way breaks the journal; what was appended before it is still read."""
    opened = Journal.create(path, "began", {})
    real_write = os.write

    def half(fd: int, data: Any) -> int:
        real_write(fd, bytes(data)[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="No space left"):
        opened.append("stage_finished", {})
    monkeypatch.undo()
    assert [record.kind for record in journal.read_file(path)] == ["began"]
    assert Journal.open(path).tail_cut_bytes > 0


def test_a_closed_journal_takes_nothing(path: str) -> None:
    """Appending to it is an OSError, never a write to whatever has that descriptor now."""
    opened = Journal.create(path, "began", {})
    opened.close()
    with pytest.raises(OSError, match="closed"):
        opened.append("finished", {})


def test_the_chain_names_one_history(whole: bytes) -> None:
    """Equal records give equal chains; a changed record changes its chain and every later one, and no earlier one."""

    def chains(raws: list[bytes]) -> list[str]:
        found = [GENESIS]
        for raw in raws:
            found.append(chain_on(found[-1], raw))
        return found

    raws = [record.raw for record in read(whole)]
    changed = [*raws[:2], raws[2][:-1] + b"!", *raws[3:]]
    assert chains(raws) == chains(list(raws))
    assert [mine == other for mine, other in zip(chains(raws), chains(changed), strict=True)] == [True] * 3 + [False] * 3
    assert chains(raws[::-1])[-1] != chains(raws)[-1]


def test_an_open_journal_knows_its_chains(path: str, whole: bytes) -> None:
    """Reading a journal again gives the chains that writing it gave."""
    opened = Journal.open(path)
    assert opened.chains[-1] == chain_on(opened.chains[-2], read(whole)[-1].raw)
    assert len(opened.chains) == len(WRITTEN) + 1


@pytest.mark.parametrize(
    ("data", "problem"), [("x" * journal.MAX_RECORD_BYTES, "at most"), (float("nan"), "JSON compliant")], ids=["large", "nan"]
)
def test_what_cannot_be_read_back_is_not_written(path: str, data: Any, problem: str) -> None:
    """A record that is too large or no JSON is refused, and the journal stays usable."""
    opened = Journal.create(path, "began", {})
    with pytest.raises(ValueError, match=problem):
        opened.append("stage_finished", {"data": data})
    assert opened.append("failed", {}).sequence == 2


def test_written_bytes_can_be_sent_on_without_a_flush(path: str) -> None:
    """`start_writeback` promises nothing: the flushed sequence stays where it was."""
    opened = Journal.create(path, "began", {})
    opened.write("stage_finished", {})
    assert opened.start_writeback() in (True, False)
    assert (opened.written_sequence, opened.flushed_sequence) == (2, 1)


@pytest.mark.parametrize("payload", [[1], "x", None], ids=repr)
def test_a_record_holds_an_object(payload: object) -> None:
    """Anything else is no record: every reader of a journal asks its payload for keys."""
    raw = journal.encode(1, "ab" * 16, 1, 2, "finished", payload).raw  # type: ignore[arg-type]
    assert journal.decode(raw) is None
