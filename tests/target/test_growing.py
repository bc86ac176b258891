"""Only what is new: lines from before we began to look are not ours."""

from __future__ import annotations

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
