"""The small disk of an execution: spoilt each way that this machine can, mended, and nothing left of it but its image."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.ondevice import fingerprint, mapper, small_disk
from runner.ondevice.kernel_files import text
from runner.ondevice.small_disk import EXPECTED, IMAGE, SmallDisk, capabilities

pytestmark = pytest.mark.alone  # groups and mounts are the whole machine's: whoever compares fingerprints meanwhile sees them
HERE = capabilities(fingerprint._modules())
LOOP = pytest.mark.skipif("loop" not in HERE, reason="needs root, loop devices and mkfs.ext4")
MAPPED = pytest.mark.skipif("device-mapper" not in HERE, reason="needs a kernel with device-mapper")


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallDisk]:
    """One whose pipeline still runs, as far as it knows: so mending does not remove it."""
    monkeypatch.setattr(small_disk, "hosts_of", lambda state: [1])
    made = SmallDisk(str(tmp_path))
    yield made
    assert made.remove() == []
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    deadline = time.monotonic() + 30
    while any(str(tmp_path) in text(str(backing)) for backing in Path("/sys/block").glob("loop*/loop/backing_file")):
        assert time.monotonic() < deadline, "a loop device is still there"  # it goes when nobody has it open, who looks at it included
        time.sleep(0.05)


def make(disk: SmallDisk, few: bool = False) -> Path:
    return Path(disk.make(disk.state, 16, few, False))


def errors_of(place: Path) -> str:
    """What becomes of an application's file there."""
    try:
        with open(place / "application", "wb") as file:
            file.write(b"x" * 100_000)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


@LOOP
@pytest.mark.parametrize("what", ["full", "no_inodes", "read_only"])
def test_spoilt_and_mended(disk: SmallDisk, what: str) -> None:
    """An application meets the error that was asked, while it is spoilt; before and behind it nothing is wrong, and its files are there."""
    place = make(disk, few=what == "no_inodes")
    (place / "before").write_text("kept")
    assert (errors_of(place), disk.seen()) == ("", [])
    assert 100_000 <= disk.figures()["used_bytes"] < 150_000, "what is on it, and hardly more"
    (place / "application").unlink()
    assert disk.spoil(what) in EXPECTED[what]
    assert disk.seen() != []
    assert errors_of(place) in EXPECTED[what]
    figures = disk.figures()
    found = figures["free_bytes"] == 0, figures["free_inodes"] == 0, figures["read_only"]
    assert found == (what == "full", what == "no_inodes", what == "read_only")
    assert disk.mend() == []
    assert (errors_of(place), disk.seen(), disk.tried()) == ("", [], "")
    assert (place / "before").read_text() == "kept"


@LOOP
def test_spoiling_twice_and_mending_twice_is_no_error(disk: SmallDisk) -> None:
    """A guard that was killed does either again."""
    make(disk)
    for _ in range(2):
        assert disk.spoil("full") == "ENOSPC"
    for _ in range(2):
        assert disk.mend() == []


@LOOP
def test_what_takes_a_file_is_not_spoilt(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: an act that did nothing fails, and so the program is taken back."""
    make(disk)
    monkeypatch.setattr(disk, "_fill", lambda: None)
    with pytest.raises(ValueError, match="found that it takes a file"):
        disk.spoil("full")


def test_nothing_is_spoilt_where_no_small_disk_is(tmp_path: Path) -> None:
    """Least of all the disk that its folder lies on."""
    (tmp_path / "scarce").mkdir()
    with pytest.raises(ValueError, match="no small disk is mounted"):
        SmallDisk(str(tmp_path)).spoil("full")
    assert SmallDisk(str(tmp_path)).seen() == []


@LOOP
def test_it_is_there_again_with_what_was_on_it(disk: SmallDisk) -> None:
    """A supervisor that comes back, in the same boot or behind a cut, finds what was flushed; and a boot has mended it."""
    place = make(disk)
    (place / "kept").write_text("flushed")
    disk.spoil("full")
    assert make(disk) == place
    assert disk.seen() == ["spoilt: filled"], "it was mounted, and the guard holds it spoilt"
    assert disk.remove() == []
    assert not place.exists()
    assert (Path(disk.state) / IMAGE).exists()
    make(disk)
    assert ((place / "kept").read_text(), disk.seen()) == ("flushed", [])


@LOOP
def test_it_is_removed_when_nobody_runs_on_it_any_more(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the undo leaves nothing mounted, even with a file open on it."""
    place = make(disk)
    disk.spoil("full")
    monkeypatch.setattr(small_disk, "hosts_of", lambda state: [])
    assert disk.mend(keep=True) == [] and disk.spoil("full") == "ENOSPC", "a window's end leaves it there for the next"
    assert disk.mend() == []
    assert not place.exists()


@LOOP
def test_the_acts_find_it_by_the_state_folder(disk: SmallDisk) -> None:
    """As the guard runs them."""
    make(disk)

    def act(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "RUNNER_STATE": disk.state}
        code = "import sys; from runner.ondevice.small_disk import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", code, *words]
        return subprocess.run(command, input=text, env=environment, capture_output=True, text=True, check=False)

    assert act("shown").stdout.strip() == ""
    assert act("spoil", text='{"what": "full"}').stdout == "ENOSPC\n"
    assert act("shown").stdout == "spoilt: filled\n"
    assert act("mend").returncode == 0
    assert disk.source() == "", "no pipeline runs in that process's eyes"
    assert act("spoil", text='{"what": "full"}').returncode == small_disk.FAILED


@MAPPED
@pytest.mark.parametrize("fails", ["writes", "everything"])
def test_a_medium_that_fails(disk: SmallDisk, fails: str) -> None:
    """EIO reaches whoever flushes; mended, it takes files again."""
    place = Path(disk.make(disk.state, 16, False, True))
    assert disk.spoil("io_errors", fails) == "EIO"
    assert errors_of(place) in ("EIO", "EROFS")
    assert disk.tried() == "EIO", "the medium is asked, and no file"
    assert disk.mend() == []
    assert errors_of(place) == ""


def test_where_there_is_no_mapper_nothing_is_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking and removing say so by what they find; making is an error."""
    monkeypatch.setattr(mapper, "CONTROL", str(tmp_path / "control"))
    monkeypatch.setattr(mapper, "_load_modules", lambda: None)
    assert mapper.target("runner-x") == ""
    mapper.remove("runner-x")
    with pytest.raises(OSError, match="control"):
        mapper.make("runner-x", "/dev/loop0")


@pytest.mark.parametrize(("kind", "fails"), [("linear", False), ("flakey", True), ("", False)])
def test_its_figures_say_whether_the_medium_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, fails: bool) -> None:
    """By the table that is really loaded; it is in every sample, and nobody takes the guard's word for it."""
    disk = SmallDisk(str(tmp_path))
    (tmp_path / "scarce").mkdir()
    monkeypatch.setattr(SmallDisk, "source", lambda self: "/dev/dm-7")
    monkeypatch.setattr(mapper, "target", lambda name: kind)
    assert disk.figures()["fails"] is fails


# ---- with device-mapper, and a kernel that is made up ----------------------------------------------------------------------


@pytest.mark.parametrize(("fails", "freezes"), [("writes", True), ("everything", True), ("", False)])
def test_what_fails_is_not_frozen_before_it_works_again(monkeypatch: pytest.MonkeyPatch, fails: str, freezes: bool) -> None:
    """To freeze a dirty file system is to write it out, and that fails for as long as its medium does."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(mapper, "_ask", lambda command, name, flags=0, **more: asked.append((command, flags)) or b"")
    monkeypatch.setattr(mapper, "text", lambda path: "32768\n")
    mapper._put("runner-x", fails, "/dev/loop7")
    suspended = [flags for command, flags in asked if command == mapper._SUSPEND and flags & mapper._SUSPENDED]
    assert [bool(flags & 1 << 10) for flags in suspended] == [not freezes]


class Machine:
    """A mapped disk whose medium fails, and an application that has a file open on it: it cannot be mounted again until that is closed."""

    def __init__(self, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.target, self.there, self.mounted, self.open, self.hosts = disk.place, "flakey", True, True, True, [1]
        os.makedirs(self.place, exist_ok=True)
        monkeypatch.setattr(small_disk, "BUSY_S", 0.0)
        monkeypatch.setattr(small_disk, "hosts_of", lambda state: self.hosts)
        monkeypatch.setattr(small_disk, "_mounted", lambda: [["/dev/dm-7", self.place]] if self.mounted else [])
        monkeypatch.setattr(small_disk, "_mount", self._mount)
        monkeypatch.setattr(small_disk, "_umount", self._umount)
        monkeypatch.setattr(small_disk, "_remount", lambda place, flags: None)
        monkeypatch.setattr(small_disk, "_tool", lambda *words, **more: None)
        monkeypatch.setattr(mapper, "load", self._load)
        monkeypatch.setattr(mapper, "target", lambda name: self.target if self.there else "")
        monkeypatch.setattr(mapper, "there", lambda name: self.there)
        monkeypatch.setattr(mapper, "node", lambda name: "/dev/dm-7")
        monkeypatch.setattr(mapper, "remove", self._remove)

    def _mount(self, source: str, place: str, flags: int) -> None:
        assert (source, self.target) == ("/dev/dm-7", "linear")
        if self.open:
            raise OSError(errno.EBUSY, "mount /dev/dm-7: Device or resource busy")
        self.mounted = True

    def _umount(self, place: str, flags: int) -> bool:
        self.mounted = False
        return True

    def _load(self, name: str, fails: str) -> None:
        self.target = "flakey" if fails else "linear"

    def _remove(self, name: str) -> None:
        self.there = self.there and self.open


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(SmallDisk(str(tmp_path)), monkeypatch)


def test_what_cannot_be_mounted_again_is_not_mended(machine: Machine, tmp_path: Path) -> None:
    """However often it is asked: nothing is mounted, and a pipeline runs that should have its disk. When the file is closed it has."""
    disk = SmallDisk(str(tmp_path))
    for _ in range(2):
        assert any("busy" in each for each in disk.mend())
        assert not machine.mounted and machine.there
        assert any(each.startswith("spoilt: ") for each in disk.seen()), "that is the program's sign"
    machine.open = False
    assert disk.mend() == []
    assert machine.mounted and disk.seen() == []


def test_a_mapped_device_that_stays_is_said(machine: Machine, tmp_path: Path) -> None:
    """Unmounted is not gone, as long as somebody has a file open on it; when nobody has, removing again removes it."""
    disk = SmallDisk(str(tmp_path))
    disk.mend()
    machine.hosts = []
    (said,) = disk.mend()
    assert said == f"{disk._mapped} is still there"
    machine.open = False
    assert (disk.remove(), machine.there) == ([], False)


def test_what_was_never_spoilt_is_not_mounted_anew(machine: Machine, tmp_path: Path) -> None:
    """Mending twice is mending once, and where there is no disk nothing is mounted."""
    disk = SmallDisk(str(tmp_path))
    machine.target = "linear"
    assert disk.mend() == [] and machine.mounted
    machine.mounted = machine.open = machine.there = False
    assert disk.mend() == []
    assert not machine.mounted and not Path(disk.place).exists()


def test_a_guard_that_was_killed_between_medium_and_mount_goes_on(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The medium works, and the file system on it has given up: it is mounted anew all the same."""
    disk = SmallDisk(str(tmp_path))
    seen: list[bool] = []
    monkeypatch.setattr(SmallDisk, "figures", lambda self: {"read_only": machine.target == "linear" and not seen} if self.source() else {})
    monkeypatch.setattr(small_disk, "_mount", lambda *words: (seen.append(True), machine._mount(*words)))
    machine.target, machine.open = "linear", False
    assert disk.mend() == []
    assert machine.mounted and seen == [True]
