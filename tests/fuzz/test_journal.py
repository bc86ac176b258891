"""A journal cut at any byte and with any flipped bit is read up to the last whole record, and never beyond.

    whole     RJNL… │ 1 │ 2 │ 3 │ 4 │
    damaged   RJNL… │ 1 │ 2 │ 3✗│ 4 │        read: 1 2      after opening, the next record is 3

Every length and every bit of a small journal; cuts, several flips and a tail for larger ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from runner.ondevice import journal
from runner.ondevice.journal import FILE_HEADER, Record
from tests.fuzz.made_up import JUNK, budgets, holds
from tests.fuzz.targets import check_journal

WRITTEN: list[tuple[str, Any]] = [("began", {}), ("stage_finished", {"stage": "a"}), ("finished", {})]


def file_of(written: list[tuple[str, Any]]) -> bytes:
    records = [journal.encode(number, "b0" * 16, number, -number, *said) for number, said in enumerate(written, 1)]
    return FILE_HEADER + b"".join(record.raw for record in records)


def check_read(read: Callable[[bytes], list[Record]], whole: bytes, damaged: bytes) -> None:
    """Exactly those records are read that lie wholly before the first byte that is gone or changed."""
    records = journal.read(whole)
    first = next((place for place, (was, now) in enumerate(zip(whole, damaged, strict=False)) if was != now), min(len(whole), len(damaged)))
    assert read(damaged) == [record for record, (_, end) in zip(records, journal.spans(records), strict=True) if end <= first]


def check_damage(whole: bytes, damaged: bytes) -> None:
    """And when it is opened it is cut there, and goes on from there."""
    check_read(journal.read, whole, damaged)
    check_journal(damaged)


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_a_small_journal_cut_at_every_byte() -> None:
    """Every length that the file can have left."""
    whole = file_of(WRITTEN)
    assert len(journal.read(whole)) == len(WRITTEN)
    for length in range(len(whole) + 1):
        check_damage(whole, whole[:length])


@pytest.mark.parametrize("bit", range(8))
def test_a_small_journal_with_every_bit_flipped(bit: int) -> None:
    """This bit of every byte: of the header, of lengths, sums, numbers, clocks, kinds and payloads."""
    whole = file_of(WRITTEN)
    for place in range(len(whole)):
        check_damage(whole, flipped(whole, place * 8 + bit))


@budgets(quick=30, long=400)
def test_larger_journals_cut_and_flipped_and_grown(examples: int) -> None:
    """Up to twenty records of any payload; a cut or none, up to three flips, and whatever a disk may hold behind the end."""
    payload = st.dictionaries(st.text(max_size=8), JUNK, max_size=3).filter(encodable)
    written = st.lists(st.tuples(st.text("abc_", max_size=12), payload), min_size=1, max_size=20)

    def check(said: list[tuple[str, Any]], cut: float, flips: list[float], tail: bytes) -> None:
        whole = file_of(said)
        damaged = whole[: round(len(whole) * cut)]
        for flip in flips if damaged else []:
            damaged = flipped(damaged, round(flip * (len(damaged) * 8 - 1)))
        check_damage(whole, damaged + tail if damaged == whole else damaged)

    part = st.just(1.0) | st.floats(0, 1)
    holds(check, written, part, st.lists(st.floats(0, 1), max_size=3), st.binary(max_size=60), examples=examples)


def encodable(payload: Any) -> bool:
    """Whether a journal takes it: no infinity, and equal to itself when it is read again."""
    try:
        return bool(json.loads(json.dumps(payload, allow_nan=False)) == payload)
    except ValueError:
        return False


# ---- negative controls ------------------------------------------------------------------------------------------------------


def believing(data: bytes) -> list[Record]:
    """Believes each length, and never adds anything up."""
    records: list[Record] = []
    place = len(FILE_HEADER)
    while 41 <= (length := int.from_bytes(data[place : place + 4], "big")) <= len(data) - place - 8:
        raw = data[place : place + 8 + length]
        sequence, boot, boottime_ns, wall_ns, kind = journal._BODY.unpack_from(raw, 8)
        try:
            said = raw[49 : 49 + kind].decode(), json.loads(raw[49 + kind :])
        except ValueError:
            break
        records.append(Record(sequence, boot.hex(), boottime_ns, wall_ns, *said, raw))
        place += len(raw)
    return records


def going_on(data: bytes) -> list[Record]:
    """Looks for the next whole record where one is broken."""
    records = journal.read(data)
    while record := journal.find_record(data, journal.spans(records)[-1][1] if records else 8, len(records) + 1):
        records.append(record)
    return records


def one_short(data: bytes) -> list[Record]:
    """Takes the last record for torn, always."""
    return journal.read(data)[:-1]


@pytest.mark.parametrize("broken", [believing, going_on, one_short])
def test_a_broken_reader_is_caught(broken: Callable[[bytes], list[Record]]) -> None:
    """One that reads a flipped bit, one that reads beyond it, and one that reads too little: each fails the same check."""
    check_each_bit(journal.read)
    with pytest.raises(AssertionError):
        check_each_bit(broken)


def check_each_bit(read: Callable[[bytes], list[Record]]) -> None:
    whole = file_of(WRITTEN)
    for bit in range(len(whole) * 8):
        check_read(read, whole, flipped(whole, bit))
