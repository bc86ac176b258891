"""Groups of ours on a machine that are not those of the supervisor that asks: which are removed, and which never."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.ondevice.cgroup import TAG, capabilities, key_of, roots
from runner.ondevice.strays import clear_strays

pytestmark = pytest.mark.alone  # groups are the whole machine's: whoever compares fingerprints meanwhile sees them
OTHER, OWN = "/somewhere/else", "/here"
Clear = Callable[..., dict[str, list[str]]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A hierarchy of version 1, as its folders look, and a machine with one process."""
    place = tmp_path / "memory"
    for folder in (place, tmp_path / "proc" / "1"):
        folder.mkdir(parents=True)
    (tmp_path / "mountinfo").write_text(f"30 25 0:26 / {place} rw - cgroup cgroup rw,memory\n")
    (tmp_path / "proc" / "1" / "cmdline").write_bytes(b"/sbin/init\0")
    return place


@pytest.fixture
def clear(root: Path) -> Clear:
    def asked(*, idle: bool = True) -> dict[str, list[str]]:
        return clear_strays(OWN, idle=lambda: idle, mounts=str(root.parent / "mountinfo"), proc=str(root.parent / "proc"), again_s=0)

    return asked


def group(root: Path, state: str, members: str = "", suffix: str = "") -> Path:
    made = root / f"{TAG}{key_of(state)}{suffix}"
    made.mkdir()
    if members:
        (made / "cgroup.procs").write_text(members)
    return made


@pytest.mark.parametrize("suffix", ["", "-probe", "-work"])
def test_what_nobody_is_in_and_nobody_made_any_more_is_removed(root: Path, clear: Clear, suffix: str) -> None:
    """Also the groups beside it; nothing that only looks like it, and nothing of others."""
    left = group(root, OTHER, suffix=suffix)
    foreign = [root / name for name in (f"{TAG}{key_of(OTHER)}-mine", f"{TAG}short", "docker")]
    for each in foreign:
        each.mkdir()
    assert clear() == {"removed": [str(left)], "in_use": [], "left": []}
    assert all(each.is_dir() for each in foreign)


def test_what_a_living_supervisor_made_is_let_alone(root: Path, clear: Clear) -> None:
    """It is empty for a moment before a pipeline runs in it: its maker is known by the state folder that it was started with."""
    used = group(root, OTHER)
    (root.parent / "proc" / "1" / "cmdline").write_bytes(f"python\0x.zip\0start\0{OTHER}\0/run/s\0".encode())
    assert clear() == {"removed": [], "in_use": [str(used)], "left": []}
    assert used.is_dir()


def test_what_comes_back_after_a_crash_is_let_alone(root: Path, clear: Clear, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose power was just cut on this machine has no process for a moment: it is looked a second time."""
    used, cmdline = group(root, OTHER), root.parent / "proc" / "1" / "cmdline"
    monkeypatch.setattr("time.sleep", lambda _: cmdline.write_bytes(f"python\0start\0{OTHER}\0".encode()))
    assert clear() == {"removed": [], "in_use": [str(used)], "left": []}


def test_what_somebody_is_in_is_never_removed(root: Path, clear: Clear) -> None:
    """It is said who, and what is to be typed; a process of another container has the number 0 here, and that is nobody's to kill."""
    busy = group(root, OTHER, "7\n8\n")
    assert clear()["left"] == [f"{busy}: its maker is gone, and processes are in it; to remove it: kill 7 8 && rmdir {busy}"]
    (busy / "cgroup.procs").write_text("0\n")
    assert clear()["left"] == [f"{busy}: its maker is gone, and processes are in it; to remove it: rmdir {busy}"]
    assert busy.is_dir()


def test_one_with_groups_inside_of_it_is_told_with_all_of_them(root: Path, clear: Clear) -> None:
    """The kernel removes none that has others in it."""
    outer = group(root, OTHER)
    (outer / "inner").mkdir()
    (said,) = clear()["left"]
    assert said.endswith(f"; to remove it: rmdir {outer}/inner {outer}")


def test_a_group_of_its_own_is_nobodys_only_while_it_has_nothing_to_do(root: Path, clear: Clear) -> None:
    """The one that asks lives, and is no reason to keep what it knows nothing of: its state folder may have been thrown away."""
    own = group(root, OWN)
    (root.parent / "proc" / "1" / "cmdline").write_bytes(f"python\0start\0{OWN}\0".encode())
    assert clear(idle=False)["in_use"] == [str(own)]
    assert clear(idle=True)["removed"] == [str(own)]


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Path]:
    """A real group that a supervisor of nowhere left, below one of our own, so that those of this machine are not looked at."""
    version, folder = roots()["memory"]
    top = Path(folder) / f"runner-test-{os.getpid()}"
    made = top / f"{TAG}{key_of(OTHER)}"
    made.mkdir(parents=True)
    kind = ("cgroup", "memory") if version == 1 else ("cgroup2", "rw")
    (tmp_path / "mountinfo").write_text(f"30 25 0:26 / {top} rw - {kind[0]} {kind[0]} rw,{kind[1]}\n")
    yield made
    for each in (made, top):
        if each.is_dir():
            each.rmdir()


@pytest.mark.skipif("cgroup-memory" not in capabilities(), reason="needs root and a memory controller")
def test_a_real_group_goes_when_its_last_process_has_gone(real: Path, tmp_path: Path) -> None:
    """And not before: the process in it stays where it is."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as inside:
        (real / "cgroup.procs").write_text(str(inside.pid))
        said = clear_strays(OWN, idle=lambda: True, mounts=str(tmp_path / "mountinfo"), again_s=0)
        assert (said["removed"], f"kill {inside.pid} && rmdir {real}" in said["left"][0]) == ([], True)
        assert (real / "cgroup.procs").read_text().split() == [str(inside.pid)]
        inside.communicate(b"\n")
    assert clear_strays(OWN, idle=lambda: True, mounts=str(tmp_path / "mountinfo"), again_s=0)["removed"] == [str(real)]
    assert not real.exists()
