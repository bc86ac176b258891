"""Quotas of CPU time: on a real process where this machine lets us, and the reading of what kernels say everywhere."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.ondevice import quota
from runner.ondevice.quota import Counted, Groups, Hierarchy, Impossible, born, find, quota_of, sweep


def hierarchy() -> Hierarchy | None:
    try:
        return find()
    except Impossible:
        return None


# Groups are the whole machine's: whoever compares fingerprints meanwhile sees them, so that each of these is `alone`, too.
for_real = pytest.mark.skipif(hierarchy() is None, reason="this machine lets nobody like us limit CPU time")


@pytest.fixture
def busy() -> Iterator[int]:
    """A process that works without end."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        yield process.pid
        process.kill()


def eventually(true: Callable[[], bool], limit_s: float = 20.0) -> bool:
    deadline = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_share_becomes_a_quota_in_a_short_period() -> None:
    """Ten milliseconds, so that nobody is held up for long; only what the kernel does not take so short has a longer one."""
    assert quota_of(0.4) == (4000, 10_000)
    assert quota_of(0.1) == (1000, 10_000)
    assert quota_of(0.05) == (1000, 20_000)
    assert quota_of(1.0)[0] == -1, "a whole core is no limit"


def test_what_is_mounted_is_read_as_the_kernel_writes_it(tmp_path: Path) -> None:
    """Version 1 by its options, version 2 by its controllers; others are none."""
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "cgroup.controllers").write_text("cpuset cpu io memory\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "cgroup.controllers").write_text("\n")
    lines = [
        f"30 25 0:26 / {tmp_path}/two rw,nosuid - cgroup2 cgroup2 rw",
        f"31 25 0:27 / {tmp_path}/empty rw,nosuid shared:9 - cgroup2 cgroup2 rw",
        "32 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
        "33 25 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset",
    ]
    (tmp_path / "mountinfo").write_text("\n".join(lines) + "\n")
    assert quota._mounted(str(tmp_path / "mountinfo")) == [(1, "/sys/fs/cgroup/cpu,cpuacct"), (2, f"{tmp_path}/two")]


def test_version_2_lends_its_controller_and_takes_back_what_was_lent(tmp_path: Path) -> None:
    """A root that lends CPU time to its groups already keeps doing so; one that does not does it for us, and no longer than for us."""
    control = tmp_path / "cgroup.subtree_control"
    control.write_text("memory cpu\n")
    assert not quota._lend(str(tmp_path))
    assert control.read_text() == "memory cpu\n"
    control.write_text("memory\n")
    assert quota._lend(str(tmp_path))
    assert control.read_text().strip() == "+cpu"
    assert quota._take_back(str(tmp_path))
    assert control.read_text().strip() == "-cpu"


def test_where_nothing_is_mounted_nobody_is_limited(tmp_path: Path) -> None:
    """It is said, and never pretended."""
    (tmp_path / "mountinfo").write_text("22 1 0:21 / / rw - ext4 /dev/vda rw\n")
    with pytest.raises(Impossible, match="no control group for CPU time is mounted"):
        find(str(tmp_path / "mountinfo"))


@for_real
@pytest.mark.alone
def test_a_limited_thread_is_held_up_and_let_go_again(busy: int) -> None:
    """Its quota runs out in period after period; released, it is where it was, and nothing of ours is there."""
    found = hierarchy()
    assert found
    groups = Groups(found)
    home = Path(f"/proc/{busy}/cgroup").read_text()
    groups.take_in(busy, [busy])
    groups.limit(0.2)
    try:
        assert len(groups.folders) == (1 if found.version == 1 else 2)
        assert Path(f"/proc/{busy}/cgroup").read_text() != home
        assert eventually(lambda: groups.counted().throttled >= 10)
        said = groups.counted()
        assert said.throttled_ns > 0 and said.ran_ns > 0
    finally:
        assert groups.release() == []
    assert Path(f"/proc/{busy}/cgroup").read_text() == home
    assert groups.folders == []
    before = groups.counted().throttled
    assert groups.counted().throttled == before >= 10, "what was counted is kept"


@for_real
@pytest.mark.alone
def test_one_that_is_not_limited_is_never_held_up(busy: int) -> None:
    """The negative control: in a group, at its full clock, no period is one without quota."""
    found = hierarchy()
    assert found
    groups = Groups(found)
    groups.take_in(busy, [busy])
    try:
        ran = groups.counted().ran_ns
        assert eventually(lambda: groups.counted().ran_ns - ran > 300_000_000)
        assert groups.counted().throttled == 0
    finally:
        assert groups.release() == []


@for_real
@pytest.mark.alone
def test_a_thread_that_is_killed_leaves_no_group(busy: int) -> None:
    """A power cut takes all threads at once; the groups go as soon as the kernel has seen it."""
    found = hierarchy()
    assert found
    groups = Groups(found)
    groups.take_in(busy, [busy])
    os.kill(busy, 9)
    groups.take_in(0, [])
    assert groups.release() == []


@for_real
@pytest.mark.alone
def test_what_a_dead_process_left_is_swept_and_a_living_ones_is_not(run_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """The name says who made it."""
    found = hierarchy()
    assert found
    made = run_python("import os; from runner.ondevice.quota import *; from runner.ondevice.quota import _own_tag\n"
                      f"path = os.path.join({found.folder!r}, _own_tag() + '-0'); os.mkdir(path); print(path)")  # fmt: skip
    left = made.stdout.strip()
    ours = os.path.join(found.folder, f"{quota.TAG}{os.getpid()}-{born(os.getpid())}-0")
    os.mkdir(ours)
    try:
        assert os.path.isdir(left)
        assert left in sweep()
        assert not os.path.isdir(left)
        assert os.path.isdir(ours)
    finally:
        os.rmdir(ours)


def test_a_process_that_nobody_has_heard_the_end_of_is_gone() -> None:
    """A zombie limits nobody, and what it made is nobody's."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert born(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{process.pid}/stat").exists() and born(process.pid) == ""


@for_real
@pytest.mark.alone
@pytest.mark.parametrize("ends", [True, False], ids=["which ends", "which stays"])
def test_what_a_dead_process_left_waits_for_who_is_still_on_the_way_out(busy: int, ends: bool) -> None:
    """A thread that was killed is in its group for a moment longer; one that lives on keeps it, and nobody waits for ever."""
    found = hierarchy()
    assert found
    left = os.path.join(found.folder, f"{quota.TAG}{2**22 + 1}-1-0")  # no process has this number
    os.mkdir(left)
    try:
        with open(os.path.join(left, "cgroup.procs"), "w") as file:
            file.write(str(busy))
        if ends:
            threading.Timer(0.3, os.kill, (busy, signal.SIGKILL)).start()
        assert (left in sweep(), os.path.isdir(left)) == (ends, not ends)
    finally:
        os.kill(busy, signal.SIGKILL)
        assert eventually(lambda: _removed(left))


def _removed(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except OSError:
        return not os.path.isdir(folder)
    return True


def test_counts_are_summed_and_subtracted_field_by_field() -> None:
    """Nothing else is done with them."""
    assert Counted(5, 4, 3, 2).minus(Counted(1, 1, 1, 1)).plus(Counted(1, 0, 0, 0)) == Counted(5, 3, 2, 1)


# ---- version 2, as its files look: a made tree, which keeps whatever is written into it ------------------------------------------


class Second:
    """A made hierarchy of version 2 with a made process of three threads, and what was written to it, in order."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.proc, self.written = root / "cgroup", root / "proc", list[tuple[str, str]]()
        (self.root / "home.slice").mkdir(parents=True)
        (self.root / "cgroup.subtree_control").write_text("")
        for tid in (70, 71, 72):
            (self.proc / "70" / "task" / str(tid)).mkdir(parents=True)
        (self.proc / "70" / "cgroup").write_text("1:name=systemd:/x\n0::/home.slice\n")
        self.runs(1)
        real = quota.put

        def put(path: str, value: str) -> None:
            self.written.append((os.path.relpath(path, self.root), value))
            real(path, value)

        monkeypatch.setattr(quota, "put", put)
        monkeypatch.setattr(quota, "_remove", self._remove)
        self.tag = quota._own_tag()
        self.groups = Groups(Hierarchy(2, str(self.root)), str(self.proc))

    def runs(self, seconds: int) -> None:
        """So long each thread has run, and half as long waited."""
        for path in (self.proc / "70" / "task").iterdir():
            (path / "schedstat").write_text(f"{seconds * 10**9} {seconds * 5 * 10**8} 7\n")

    def _remove(self, folder: str) -> bool:
        """A kernel removes a group though it has files, if no group lies in it."""
        if not os.path.isdir(folder) or any(entry.is_dir() for entry in os.scandir(folder)):
            return False
        shutil.rmtree(folder)
        return True

    def said(self, name: str) -> list[str]:
        return [value for path, value in self.written if path.endswith(name)]


@pytest.fixture
def second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Second:
    return Second(tmp_path, monkeypatch)


def test_version_two_limits_threads_below_a_group_that_their_process_moves_into(second: Second) -> None:
    """Each group of a thread is threaded before any thread is in it, and limited before its thread is; the process goes in as a whole."""
    second.groups.take_in(70, [71, 72])
    base = f"{second.tag}-process"
    assert second.said("cgroup.type") == ["threaded", "threaded"]
    assert second.said("cgroup.threads") == ["71", "72"]
    assert second.said(f"{base}/cgroup.procs") == ["70"] and second.said(f"{base}/cgroup.subtree_control") == ["+cpu"]
    assert second.written[0] == ("cgroup.subtree_control", "+cpu"), "nobody had given it to the groups of the root"
    order = [path for path, _ in second.written]
    assert order.index(f"{base}/{second.tag}-0/cgroup.type") < order.index(f"{base}/cgroup.procs")
    one = f"{base}/{second.tag}-0"
    assert order.index(f"{base}/cgroup.procs") < order.index(f"{one}/cpu.max") < order.index(f"{one}/cgroup.threads")
    second.groups.limit(0.4)
    assert second.said("cpu.max") == ["max 10000"] * 2 + ["4000 10000"] * 2
    assert set(second.said("cpu.weight")) == {"800"}


def test_version_two_is_counted_in_its_own_words(second: Second) -> None:
    """In microseconds, and without a second for whoever has not run since."""
    second.groups.take_in(70, [71, 72])
    for number in range(2):
        folder = second.root / f"{second.tag}-process" / f"{second.tag}-{number}"
        (folder / "cpu.stat").write_text("usage_usec 9\nnr_periods 40\nnr_throttled 30\nthrottled_usec 250000\n")
    assert second.groups.counted() == (2 * 10**9, 10**9, 60, 500_000_000)
    assert second.groups.held_ns() == 250_000_000
    second.runs(3)
    assert second.groups.counted().ran_ns == 6 * 10**9


def test_version_two_is_left_as_it_was(second: Second) -> None:
    """The process is where it was before, no group of ours is there, and the root's controller, which was lent, is taken back."""
    second.groups.take_in(70, [71, 72])
    assert second.groups.release() == []
    assert (second.root / "home.slice" / "cgroup.procs").read_text() == "70"
    assert [path.name for path in second.root.iterdir() if path.is_dir()] == ["home.slice"]
    assert second.said("cgroup.subtree_control")[-1] == "-cpu"
    assert second.groups.folders == []


def test_a_thread_that_is_new_is_taken_in_and_one_that_is_gone_counts_with_what_it_did(second: Second) -> None:
    """As a board's threads are, which was powered anew. Moving the process moves all threads, so each goes to its group again."""
    second.groups.take_in(70, [71])
    second.groups.counted()
    second.groups.take_in(70, [72])
    assert second.said("cgroup.threads") == ["71", "72"]
    assert second.groups.counted().ran_ns == 2 * 10**9
    assert len(second.groups.folders) == 2, "the base, and the group of one thread"
