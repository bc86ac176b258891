"""Files reached where they lie: extents on a raw disk, a folder of ours; and whatever else a device says of its files."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from runner.errors import LabError
from runner.target.storage import MAX_FILE_BYTES, Storage

SIZE = 10_000  # of the file that is looked at
DISK = random.Random(1).randbytes(64 * 1024)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(DISK)
    return path


@pytest.fixture
def raw(disk: Path) -> Storage:
    return Storage(disk, extents=True)


def place(*extents: Any, size: Any = SIZE, path: Any = "/data/journal") -> dict[str, Any]:
    return {"path": path, "size": size, "extents": list(extents)}


# ---- on a raw disk ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "extents",
    [
        ([0, 4096, 12288],),
        ([0, 4096, 4096], [4096, 32768, 8192]),
        ([8192, 4096, 4096], [0, 40960, 4096], [4096, 20480, 4096]),
    ],
    ids=["one", "two", "three, in no order"],
)
def test_a_file_is_read_and_written_where_its_extents_lie(raw: Storage, disk: Path, extents: Any) -> None:
    """Each byte comes from its own place; a write over the seams changes exactly those bytes of the disk, and none behind the file."""
    where = {logical + step: physical + step for logical, physical, length in extents for step in range(length)}
    assert raw.read(place(*extents)) == bytes(DISK[where[offset]] for offset in range(SIZE))
    data = bytes(byte ^ 255 for byte in raw.read(place(*extents))[3000:])
    raw.write(place(*extents), 3000, data)
    expected = bytearray(DISK)
    for offset in range(3000, SIZE):
        expected[where[offset]] ^= 255
    assert disk.read_bytes() == bytes(expected)
    assert raw.read(place(*extents))[3000:] == data


def test_a_hole_is_zeros_and_nothing_can_be_written_there(raw: Storage) -> None:
    """What has no place on the disk reads as a file system reads it, and is no place to write to."""
    holed = place([0, 4096, 4096], [8192, 16384, 4096])
    assert raw.read(holed) == DISK[4096:8192] + bytes(4096) + DISK[16384 : 16384 + SIZE - 8192]
    raw.write(holed, 8192, b"here")
    for offset, data in ((4096, b"x"), (4000, bytes(200)), (8190, b"four")):
        with pytest.raises(LabError, match=r"lie nowhere on its disk"):
            raw.write(holed, offset, data)


def test_what_was_written_last_and_has_no_place_yet_is_not_there(raw: Storage, disk: Path) -> None:
    """A journal that begins a block while it is located: as much of it is read as a power loss leaves, and all of that can be written."""
    growing = place([0, 4096, 8192])  # of a file that is said to be longer
    assert raw.read(growing) == DISK[4096 : 4096 + 8192]
    raw.write(growing, 0, bytes(len(raw.read(growing))))
    assert disk.read_bytes() == DISK[:4096] + bytes(8192) + DISK[4096 + 8192 :]
    assert raw.read(place()) == b""


@pytest.mark.parametrize(
    ("offset", "length", "nowhere"),
    [(SIZE, 1, 1), (SIZE - 1, 3, 2), (10**12, 5, 5), (-3, 5, 3)],
    ids=["at its end", "over its end", "far behind", "before it"],
)
def test_what_lies_beyond_the_file_is_not_written(raw: Storage, disk: Path, offset: int, length: int, nowhere: int) -> None:
    """The extent goes on behind the file's end; the file does not."""
    with pytest.raises(LabError, match=f"{nowhere} of {length} bytes at {offset} of '/data/journal'"):
        raw.write(place([0, 4096, 12288]), offset, b"x" * length)
    assert disk.read_bytes()[4096 + SIZE :] == DISK[4096 + SIZE :]
    assert disk.read_bytes()[:4096] == DISK[:4096]


HOSTILE: dict[str, Any] = {
    "beyond the disk": [0, len(DISK), 4096],
    "over the end of the disk": [0, len(DISK) - 100, 4096],
    "far beyond": [0, 2**70, 4096],
    "before the disk": [0, -4096, 4096],
    "at its very beginning, where no file lies": [0, 0, 4096],
    "before the file": [-4096, 8192, 4096],
    "behind the file": [SIZE, 8192, 4096],
    "of no length": [0, 8192, 0],
    "of negative length": [0, 8192, -1],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_extent_that_cannot_be_is_none(raw: Storage, disk: Path, name: str) -> None:
    """It is left out: nothing is read there, and nothing written."""
    assert raw.read(place(HOSTILE[name])) == b""
    with pytest.raises(LabError, match="lie nowhere"):
        raw.write(place(HOSTILE[name]), 0, b"data")
    assert disk.read_bytes() == DISK


@pytest.mark.parametrize(
    "extent",
    [[0, 4096], [0, 4096, 1, 1], [], "abc", 7, None, {"a": 1}, [0, "here", 1], [0, None, 1], [0, float("inf"), 1], [0, float("nan"), 1]],
    ids=repr,
)
def test_an_extent_that_is_none_at_all_is_the_devices_fault(raw: Storage, extent: Any) -> None:
    """Said as what it is, and not as a bug of ours."""
    for act in (lambda: raw.read(place(extent)), lambda: raw.write(place(extent), 0, b"x")):
        with pytest.raises(LabError, match="is no place"):
            act()


def test_bytes_that_two_extents_claim_are_the_first_ones(raw: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many extents a device names, no more is read than the file is large, and a write is counted once."""
    many = place(*([0, 4096, SIZE] for _ in range(1000)), [500, 20480, SIZE])
    asked: list[int] = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: asked.append(length) or real(fd, length, offset))
    assert raw.read(many) == DISK[4096 : 4096 + SIZE]
    assert sum(asked) == SIZE
    raw.write(many, 0, b"once")
    assert raw.read(many)[:4] == b"once"


@pytest.mark.parametrize("extents", [True, False], ids=["disk", "folder"])
@pytest.mark.parametrize("size", [-1, MAX_FILE_BYTES + 1, 2**70])
def test_a_size_that_cannot_be_takes_no_memory(disk: Path, extents: bool, size: int) -> None:
    """It is refused before anything is read."""
    storage = Storage(disk if extents else disk.parent, extents=extents)
    with pytest.raises(LabError, match=f"has {size} bytes"):
        storage.read(place([0, 4096, 4096], size=size, path=str(disk)))


def test_a_disk_that_is_not_there_is_the_labs_trouble(tmp_path: Path) -> None:
    """A LabError, whichever way it is missed."""
    with pytest.raises(LabError, match="cannot be opened: No such file"):
        Storage(tmp_path / "none.raw", extents=True).read(place([0, 4096, 4096]))


def test_a_raw_disks_files_have_names_of_the_device(raw: Storage) -> None:
    """Whatever path the device says: nothing of that name is looked for here."""
    for path in ("/nonexistent/journal", "no\0name", "\ud800", "../.."):
        assert raw.read(place([0, 4096, 12288], path=path)) == DISK[4096 : 4096 + SIZE]


# ---- in a folder of ours ----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "state/runs").mkdir(parents=True)
    (tmp_path / "state/runs/journal").write_bytes(DISK[:SIZE])
    (tmp_path / "secret").write_bytes(b"not the device's")
    return tmp_path / "state"


@pytest.fixture
def local(folder: Path) -> Storage:
    return Storage(folder, extents=False)


def test_a_file_of_the_folder_is_read_and_written_in_place(local: Storage, folder: Path) -> None:
    """It keeps its length and every byte that was not meant, whatever extents the device may name."""
    here = place([0, 0, 1], path=str(folder / "runs/journal"))
    assert local.read(here) == DISK[:SIZE]
    local.write(here, 9_998, b"!!")
    assert (folder / "runs/journal").read_bytes() == DISK[:9_998] + b"!!"


@pytest.mark.parametrize(("said", "found"), [(SIZE + 5, DISK[:SIZE]), (100, DISK[:100]), (0, b"")], ids=["more", "less", "none"])
def test_what_the_device_says_of_its_size_is_only_the_limit(local: Storage, folder: Path, said: int, found: bytes) -> None:
    """Bytes that are not there are neither read nor written."""
    here = place(size=said, path=str(folder / "runs/journal"))
    assert local.read(here) == found
    with pytest.raises(LabError, match="lie nowhere"):
        local.write(here, min(said, SIZE), b"x")
    assert (folder / "runs/journal").read_bytes() == DISK[:SIZE]


@pytest.mark.parametrize(
    "way", ["absolute", "dots", "link to a file", "link to a folder", "the folder itself", "none", "pipe", "nul", "half a letter", "loop"]
)
def test_no_other_file_is_reached(local: Storage, folder: Path, way: str) -> None:
    """Neither by its path, nor by way of `..` or of a symbolic link; and nothing that is no plain file."""
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "out").symlink_to(folder.parent)
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    path = {
        "absolute": folder.parent / "secret",
        "dots": folder / "runs/../../secret",
        "link to a file": folder / "link",
        "link to a folder": folder / "out/secret",
        "the folder itself": folder,
        "none": folder / "runs/gone",
        "pipe": folder / "pipe",
        "nul": "runs/jour\0nal",
        "half a letter": "\ud800",
        "loop": folder / "loop",
    }[way]
    for act in (lambda: local.read(place(path=str(path))), lambda: local.write(place(path=str(path)), 0, b"x")):
        with pytest.raises(LabError, match="the device says that its file is"):
            act()
    assert (folder.parent / "secret").read_bytes() == b"not the device's"


def test_a_link_that_stays_inside_is_followed(local: Storage, folder: Path, tmp_path: Path) -> None:
    """The negative control; and a folder that is itself reached by a link is the folder."""
    (folder / "current").symlink_to(folder / "runs/journal")
    (tmp_path / "linked").symlink_to(folder)
    assert local.read(place(path=str(folder / "current"))) == DISK[:SIZE]
    assert Storage(tmp_path / "linked", extents=False).read(place(path=str(folder / "runs/journal"))) == DISK[:SIZE]


def test_a_folder_that_changes_meanwhile_reaches_nothing_else(local: Storage, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that is put there between the look and the opening is refused, at the file's name and on the way to it."""
    monkeypatch.setattr(Path, "resolve", lambda path, strict=False: path)  # what was looked at is gone by now
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "out").symlink_to(folder.parent)
    for path in (folder / "link", folder / "out/secret", folder / "runs/../../secret"):
        for act in (lambda path=path: local.read(place(path=str(path))), lambda path=path: local.write(place(path=str(path)), 0, b"x")):
            with pytest.raises(LabError, match="the device says that its file is"):
                act()
    assert (folder.parent / "secret").read_bytes() == b"not the device's"
    assert local.read(place(path=str(folder / "runs/journal"))) == DISK[:SIZE]  # the negative control


def test_a_name_without_an_end_makes_no_long_sentence(local: Storage) -> None:
    """What the device calls its file is shown as one short line."""
    for path in ("x" * 1_000_000, "\x1b[2J\n::error::" * 100):
        with pytest.raises(LabError) as error:
            local.read(place(path=path))
        assert len(str(error.value)) < 600 and "\x1b" not in str(error.value)
