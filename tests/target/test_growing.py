"""Only what is new: lines from before we began to look are not ours."""

from __future__ import annotations

import json
from pathlib import Path

from runner.target.growing import GrowingFile


def test_only_what_was_appended_is_new(tmp_path: Path) -> None:
    """A file that is not there yet, one that grows, and one that was begun anew."""
    path = tmp_path / "witness"
    late = GrowingFile(path)
    assert late.new_bytes() == b""
    path.write_bytes(b"old\n")
    growing = GrowingFile(path)
    assert (late.new_bytes(), growing.new_bytes()) == (b"old\n", b"")
    path.write_bytes(b"old\nnew\n")
    assert growing.new_bytes() == b"new\n"
    path.write_bytes(b"x\n")
    assert growing.new_bytes() == b"x\n"


def test_who_goes_on_with_our_work_reads_from_where_we_began(tmp_path: Path) -> None:
    """A mark is plain JSON; a reader that is made later and rewound to it sees what the first one would, and no older line."""
    path = tmp_path / "witness"
    path.write_bytes(b"of another run\n")
    mark = json.loads(json.dumps(GrowingFile(path).mark))
    path.write_bytes(b"of another run\nours\n")
    later = GrowingFile(path)
    assert later.new_bytes() == b""
    later.rewind(mark)
    assert (later.new_bytes(), later.mark) == (b"ours\n", mark)
    path.write_bytes(path.read_bytes() + b"more\n")
    assert later.new_bytes() == b"ours\nmore\n"


def test_a_mark_of_no_file_reads_all_of_the_one_that_came(tmp_path: Path) -> None:
    """It was ours from its first byte on."""
    path = tmp_path / "disk.log"
    mark = GrowingFile(path).mark
    path.write_bytes(b"ours\n")
    later = GrowingFile(path)
    later.rewind(mark)
    assert later.new_bytes() == b"ours\n"


def test_a_mark_of_a_file_that_was_begun_anew_reads_all_of_the_new_one(tmp_path: Path) -> None:
    """The old one's bytes are gone, and none of the new one's is from before the mark."""
    path = tmp_path / "console.log"
    path.write_bytes(b"a long old console\n")
    mark = GrowingFile(path).mark
    fresh = tmp_path / "fresh"
    fresh.write_bytes(b"a new console that is longer than the old one\n")
    fresh.replace(path)
    later = GrowingFile(path)
    later.rewind(mark)
    assert later.new_bytes() == b"a new console that is longer than the old one\n"
