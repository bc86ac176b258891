"""The store says "have it" only for what would survive a power cut, whole and unchanged."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.ondevice import store as module
from runner.ondevice.store import WHOLE, Store, whole

Push = Callable[[dict[str, bytes]], str]
DATA = b"a wheel, or a pipeline" * 1000
NAME = hashlib.sha256(DATA).hexdigest()


def test_a_blob_is_there_once_its_bytes_and_its_name_are_durable(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File flushed, renamed, folder flushed, in this order; before that it is missing."""
    seen: list[tuple[str, bool]] = []

    def watch(owner: Any, name: str) -> None:
        action = getattr(owner, name)

        def watched(*words: Any) -> None:
            action(*words)
            seen.append((name, store._have(NAME)))

        monkeypatch.setattr(owner, name, watched)

    for owner, name in ((module, "fsync_file"), (module, "fsync_folder"), (os, "rename")):
        watch(owner, name)
    for start in range(0, len(DATA), 7000):
        store.piece(NAME, DATA[start : start + 7000])
        assert not store._have(NAME)
    store.keep(NAME)
    assert seen == [("fsync_file", False), ("rename", True), ("fsync_folder", True)]
    assert store.missing([NAME]) == []
    assert (tmp_path / "blobs" / NAME).read_bytes() == DATA


def test_a_blob_that_arrived_wrong_is_forgotten(store: Store) -> None:
    """Another hash is refused, and the blob can be sent again from its first byte."""
    store.piece(NAME, DATA[:-1])
    with pytest.raises(ValueError, match="arrived with hash"):
        store.keep(NAME)
    assert store.missing([NAME]) == [NAME]
    store.piece(NAME, DATA)
    store.keep(NAME)
    assert store.missing([NAME]) == []


def test_half_a_blob_from_before_a_restart_is_begun_anew(store: Store, tmp_path: Path) -> None:
    """Pieces that an earlier life of the supervisor took are not continued."""
    store.piece(NAME, DATA[:100])
    restarted = Store(str(tmp_path))
    restarted.piece(NAME, DATA)
    restarted.keep(NAME)
    assert restarted.missing([NAME]) == []


def test_a_damaged_blob_is_missing_and_removed(store: Store, push: Push, tmp_path: Path) -> None:
    """A blob whose bytes rotted is asked for again."""
    blob = push({"a": b"1"})
    path = tmp_path / "blobs" / blob
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert store.missing([blob]) == [blob]
    assert not path.exists()


@pytest.mark.parametrize("name", ["", "../" + "0" * 61, "0" * 63, "G" * 64, "0" * 63 + "/"])
def test_a_blob_is_named_by_a_plain_hash(store: Store, name: str) -> None:
    """Nothing else ever becomes part of a path."""
    for action in (lambda: store.piece(name, b""), lambda: store.keep(name), lambda: store.missing([name]), lambda: store.tree(name)):
        with pytest.raises(ValueError, match="64 hex digits"):
            action()


@pytest.mark.parametrize("name", ["/etc/cron.d/x", "../x", "a/../../x", "a/..", "a\\..\\x"])
def test_an_archive_that_leaves_its_folder_is_refused(store: Store, push: Push, tmp_path: Path, name: str) -> None:
    """Nothing of it is unpacked, and the tree does not count as there."""
    blob = push({name: b"evil"})
    before = {path for path in tmp_path.rglob("*") if "trees" not in path.parts}
    with pytest.raises(ValueError, match="outside its folder"):
        store.unpack(blob, [blob], compile=False)
    assert not (tmp_path / "trees" / blob / WHOLE).exists()
    assert {path for path in tmp_path.rglob("*") if "trees" not in path.parts} == before


def test_unpacking_twice_unpacks_once(store: Store, push: Push) -> None:
    """A whole tree is left alone; so a run that was cut off in between loses no time."""
    blob = push({"pipe/__init__.py": b"X = 1"})
    tree = Path(store.unpack(blob, [blob], compile=True))
    first = stat.S_IMODE(tree.stat().st_mode), (tree / "pipe/__init__.py").stat().st_mtime_ns
    assert Path(store.unpack(blob, [blob], compile=True)) == tree
    assert (stat.S_IMODE(tree.stat().st_mode), (tree / "pipe/__init__.py").stat().st_mtime_ns) == first
    assert list((tree / "pipe" / "__pycache__").glob("*.pyc"))


def test_a_tree_whose_wheel_ships_compiled_files_is_whole(store: Store, push: Push) -> None:
    """They are compiled anew, as all are; so the tree is what its last file says, and is not unpacked again by each run."""
    import importlib.util

    compiled = importlib.util.cache_from_source("pipe/__init__.py")
    blob = push({"pipe/__init__.py": b"X = 1", compiled: b"somebody's"})
    tree = Path(store.unpack(blob, [blob], compile=True))
    assert whole(str(tree)) and (tree / compiled).read_bytes() != b"somebody's"


def test_a_packages_own_tests_are_not_compiled(store: Store, push: Push) -> None:
    """Nobody imports them, and a slow board needs minutes for those of a large package. They are there as they were shipped."""
    blob = push({"pipe/__init__.py": b"X = 1", "pipe/tests/__init__.py": b"", "pipe/tests/test_x.py": b"X = 2"})
    tree = Path(store.unpack(blob, [blob], compile=True))
    assert [path.parent.parent.name for path in tree.rglob("*.pyc")] == ["pipe"]
    assert (tree / "pipe/tests/test_x.py").read_bytes() == b"X = 2"


def test_a_tree_that_was_cut_off_is_made_again(store: Store, push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its last file a tree is no tree, whatever lies in it."""
    blob = push({"pipe/__init__.py": b"X = 1"})

    def cut(*words: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("compileall.compile_dir", cut)
    with pytest.raises(KeyboardInterrupt):
        store.unpack(blob, [blob], compile=True)
    monkeypatch.undo()
    tree = Path(store.tree(blob))
    (tree / "pipe/__init__.py").write_bytes(b"half")
    store.unpack(blob, [blob], compile=True)
    assert (tree / "pipe/__init__.py").read_bytes() == b"X = 1"


def test_a_tree_needs_all_its_blobs(store: Store, push: Push) -> None:
    """A missing blob is named, and nothing is unpacked."""
    with pytest.raises(ValueError, match=NAME[:12]):
        store.unpack(NAME, [push({"a": b"1"}), NAME], compile=False)
    assert not Path(store.tree(NAME)).exists()


def test_a_push_that_broke_off_is_begun_again(store: Store) -> None:
    """Asking what is missing forgets half-sent blobs: the next pieces begin a new one."""
    store.piece(NAME, DATA[:7000])
    assert store.missing([NAME]) == [NAME]
    store.piece(NAME, DATA)
    store.keep(NAME)
    assert store.missing([NAME]) == []


@pytest.mark.parametrize("at_once", [True, False])
def test_whole_is_written_last(
    store: Store, push: Callable[[dict[str, bytes]], str], monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """A power cut while unpacking never leaves `.whole` beside files that are still empty: all is flushed before, at once or in turn."""
    blob = push({"pipe/a.py": b"1"})
    tree = store.tree(blob)
    whole = os.path.join(tree, WHOLE)
    seen: list[tuple[str, bool]] = []

    def flushed(fd: int) -> int:
        seen.append((os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), tree), os.path.exists(whole)))
        return 0

    monkeypatch.setattr(module, "fsync_file", flushed)
    monkeypatch.setattr(module, "fsync_folder", lambda path: flushed(os.open(path, os.O_RDONLY)))
    monkeypatch.setattr(module, "_syncfs", lambda: flushed if at_once else None)
    store.unpack(blob, [blob], compile=False)
    before = [(".", False)] if at_once else [("pipe/a.py", False), ("pipe", False), (".", False)]
    assert seen == [*before, (WHOLE, True), (".", True), ("..", True)]


def test_a_flush_at_once_that_fails_is_made_in_turn(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk's error is then that of the file that has it, and never passed over."""
    (tmp_path / "a").write_bytes(b"1")

    def fails(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(module, "_syncfs", lambda: lambda fd: -1)
    monkeypatch.setattr(module, "fsync_file", fails)
    with pytest.raises(OSError, match="Input/output error"):
        module.flush_tree(str(tmp_path))


@pytest.mark.parametrize("release", ["5.7.19-arm64", "4.19.0", "linux"])
def test_an_old_kernel_tells_of_no_error_and_is_not_relied_on(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 5.8 syncfs succeeds whatever the disk says."""
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "x", release, "x", "x")))
    assert module._syncfs() is None


@pytest.mark.parametrize("name", ["pipe/a.py", "compiled"])
def test_a_tree_that_was_changed_is_unpacked_again(store: Store, push: Callable[[dict[str, bytes]], str], name: str) -> None:
    """Sources and compiled files alike: what is used again is what was pushed."""
    blob = push({"pipe/a.py": b"VALUE = 1\n"})
    path = Path(store.unpack(blob, [blob], compile=True))
    changed = path / name if name != "compiled" else next(path.rglob("*.pyc"))
    before = changed.read_bytes()
    changed.write_bytes(before + b"#")
    store.unpack(blob, [blob], compile=True)
    assert changed.read_bytes() == before


# ---- hostile blobs --------------------------------------------------------------------------------------------------------


def kept(store: Store, data: bytes) -> str:
    """The name of `data`, pushed and kept as it is: a hash says that it arrived, not that it means well."""
    name = hashlib.sha256(data).hexdigest()
    store.piece(name, data)
    store.keep(name)
    return name


def archive(entries: list[tuple[str | zipfile.ZipInfo, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        for name, data in entries:
            made.writestr(name, data)
    return buffer.getvalue()


def special(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    return info


def test_a_wrong_hash_in_the_middle_of_a_push_costs_that_blob_alone(store: Store) -> None:
    """The blobs before and behind it stay, nothing is unpacked, and sending it again mends all."""
    blobs = [archive([(f"part{number}.py", b"X = 1")]) for number in range(3)]
    names = [hashlib.sha256(data).hexdigest() for data in blobs]
    for name, data in zip(names, (blobs[0], blobs[1][:-1] + b"?", blobs[2]), strict=True):
        store.piece(name, data)
        if name == names[1]:
            with pytest.raises(ValueError, match="arrived with hash"):
                store.keep(name)
        else:
            store.keep(name)
    with pytest.raises(ValueError, match=names[1][:12]):
        store.unpack(names[0], names, compile=False)
    assert not Path(store.tree(names[0])).exists()
    assert store.missing(names) == [names[1]]
    assert kept(store, blobs[1]) == names[1]
    assert sorted(os.listdir(store.unpack(names[0], names, compile=False))) == [WHOLE, "part0.py", "part1.py", "part2.py"]


def test_a_blob_that_never_ends_is_cut_off(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a blob may have is refused at the piece that is too much; what came before is gone from the disk."""
    monkeypatch.setattr(module, "MAX_BLOB_BYTES", 10_000)
    store.piece(NAME, DATA[:7000])
    with pytest.raises(ValueError, match="larger than 10000 bytes"):
        store.piece(NAME, DATA[7000:14000])
    assert list((tmp_path / "blobs").iterdir()) == []
    with pytest.raises(ValueError, match="larger"):
        store.piece(NAME, DATA)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_an_archive_with_what_is_no_file_is_refused(store: Store, kind: int, tmp_path: Path) -> None:
    """A link would lead what is written after it out of the tree."""
    blob = kept(store, archive([("pipe/__init__.py", b""), (special("pipe/way_out", kind), b"/etc")]))
    with pytest.raises(ValueError, match="no ordinary file: 'pipe/way_out'"):
        store.unpack(blob, [blob], compile=False)
    assert list((tmp_path / "trees").iterdir()) == []


@pytest.mark.parametrize("name", [WHOLE, "./" + WHOLE, "pipe//../" + WHOLE])
def test_an_archive_cannot_say_that_its_tree_is_whole(store: Store, name: str) -> None:
    """That word is the store's, written last: a cut in between would leave half a tree that counts as whole."""
    blob = kept(store, archive([(name, b"{}"), ("pipe/__init__.py", b"")]))
    with pytest.raises(ValueError, match="archive"):
        store.unpack(blob, [blob], compile=False)
    assert not Path(store.tree(blob)).exists()


def test_a_bomb_is_refused_before_a_byte_of_it_is_written(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sizes that all archives of a tree declare are summed up first."""
    monkeypatch.setattr(module, "MAX_TREE_BYTES", 1_000_000)
    blobs = [kept(store, archive([(name, bytes(600_000))], zipfile.ZIP_DEFLATED)) for name in ("a", "b")]
    with pytest.raises(ValueError, match=r"more than .* 1000000 bytes"):
        store.unpack(blobs[0], blobs, compile=False)
    assert list((tmp_path / "trees").iterdir()) == []
    assert store.unpack(blobs[0], blobs[:1], compile=False)  # one alone is within the limit


def test_a_bomb_of_files_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty files fill a disk with names."""
    monkeypatch.setattr(module, "MAX_TREE_FILES", 100)
    blob = kept(store, archive([(f"{number}", b"") for number in range(101)]))
    with pytest.raises(ValueError, match="more than 100 files"):
        store.unpack(blob, [blob], compile=False)


def test_a_bomb_that_lies_about_its_size_writes_no_more_than_it_declared(store: Store, tmp_path: Path) -> None:
    """An archive that declares ten bytes and holds a megabyte is cut off there, and leaves nothing."""
    data = archive([("a", bytes(1_000_000))], zipfile.ZIP_DEFLATED)
    true, lie = struct.pack("<L", 1_000_000), struct.pack("<L", 10)
    blob = kept(store, data.replace(true, lie))
    with pytest.raises(ValueError, match="cannot be unpacked"):
        store.unpack(blob, [blob], compile=False)
    assert list((tmp_path / "trees").iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"no archive", archive([("a", b"1")])[:-30]], ids=["empty", "words", "cut short"])
def test_what_is_no_archive_is_refused_by_name(store: Store, data: bytes) -> None:
    """Whole and of the right hash, and nothing that could be unpacked."""
    blob = kept(store, data)
    with pytest.raises(ValueError, match=f"blob {blob[:12]} is no archive"):
        store.unpack(blob, [blob], compile=False)
