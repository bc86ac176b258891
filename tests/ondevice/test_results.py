"""One state, one hash: what a stage left, whatever the order, the attempts and the time that it took."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from runner.ondevice.journal import Record
from runner.ondevice.results import damage, finished_stages, hash_files, state_hash

INGEST = {"status": "ok", "data": {"readings": 3, "files": ["a"]}, "files": {"a": "00"}, "error": None, "version": None}
SEAL = {"status": "skip", "data": {}, "files": {}, "error": None, "version": "2"}


def end(stage: str, result: dict[str, Any], **more: Any) -> Record:
    return Record(1, "00" * 16, 0, 0, "stage_finished", {"stage": stage, **result, **more}, b"")


def test_the_state_does_not_depend_on_order_or_attempt() -> None:
    """Stages in another order, keys in another order, another version or error text: the same state."""
    one = {"ingest": INGEST, "seal": SEAL}
    other = {"seal": {**SEAL, "version": "3"}, "ingest": dict(reversed(INGEST.items()))}
    assert state_hash(one) == state_hash(other)


@pytest.mark.parametrize(
    "change", [{"status": "skip"}, {"data": {"readings": 4, "files": ["a"]}}, {"files": {"a": "01"}}, {"files": {}}], ids=str
)
def test_any_other_result_is_another_state(change: dict[str, Any]) -> None:
    """Status, data and file hashes all count; so does a stage that is not there."""
    assert state_hash({"ingest": {**INGEST, **change}}) != state_hash({"ingest": INGEST})
    assert state_hash({}) != state_hash({"ingest": INGEST})


def test_the_last_end_of_a_stage_is_its_result() -> None:
    """A stage whose file was lost ran again: the later record counts, and nothing but the result is kept."""
    records = [end("ingest", SEAL), end("seal", SEAL), end("ingest", INGEST, duration_ns=5)]
    assert finished_stages(records) == {"ingest": INGEST, "seal": SEAL}


def test_files_are_hashed_by_content(tmp_path: Path) -> None:
    """SHA-256 by the name that the output used; a missing one is an OSError."""
    (tmp_path / "a").write_bytes(b"1")
    assert hash_files(str(tmp_path), ["a"]) == {"a": hashlib.sha256(b"1").hexdigest()}
    with pytest.raises(FileNotFoundError):
        hash_files(str(tmp_path), ["a", "b"])


def test_damage_says_which_file_and_how(tmp_path: Path) -> None:
    """Nothing for files that are as they were; else the file, and whether it is gone or changed."""
    (tmp_path / "a").write_bytes(b"1")
    result = {"files": hash_files(str(tmp_path), ["a"])}
    assert damage(str(tmp_path), result) == ""
    (tmp_path / "a").write_bytes(b"")
    assert damage(str(tmp_path), result) == "a: hash e3b0c44298fc, journaled 6b86b273ff34"
    (tmp_path / "a").unlink()
    assert damage(str(tmp_path), result) == "a: No such file or directory"
