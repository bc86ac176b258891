"""The pipeline's control group: of either version, as its files say; and a real one, where this machine has it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.ondevice import cgroup, scarcity
from runner.ondevice.cgroup import Group, capabilities, roots

pytestmark = pytest.mark.alone  # groups and mounts are the whole machine's: whoever compares fingerprints meanwhile sees them
REAL = pytest.mark.skipif("cgroup-memory" not in capabilities(), reason="needs root and a memory controller")
CAPS = {"memory_bytes": 64 << 20, "quota_us": 2500, "period_us": 10_000, "processes": 12}


def line(place: Path, kind: str, options: str) -> str:
    return f"30 25 0:26 / {place} rw,relatime - {kind} {kind} rw,{options}"


@pytest.fixture
def second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a hierarchy of version 2, as its files look; a plain folder keeps whatever is written into it."""
    root = tmp_path / "cgroup"
    root.mkdir()
    (root / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (root / "cgroup.subtree_control").write_text("")
    (root / "cgroup.procs").write_text("")
    (tmp_path / "mountinfo").write_text(line(root, "cgroup2", "nsdelegate") + "\n")
    monkeypatch.setattr(cgroup, "SWITCHED_ON", str(tmp_path / "switched-on"))
    return root


def test_version_one_goes_before_version_two(tmp_path: Path, second: Path) -> None:
    """A controller that has a hierarchy of its own is not in the one of version 2."""
    first = tmp_path / "memory"
    first.mkdir()
    (tmp_path / "mountinfo").write_text(f"{line(first, 'cgroup', 'memory')}\n{line(second, 'cgroup2', 'x')}\n")
    found = roots(str(tmp_path / "mountinfo"))
    assert {name: version for name, (version, _) in found.items()} == {"memory": 1, "cpu": 2, "pids": 2}
    assert roots(str(tmp_path / "nothing")) == {}


def test_version_two_is_told_and_asked_in_its_own_words(tmp_path: Path, second: Path) -> None:
    """Controllers are switched on for the groups below; limits are read back; there is no swap behind the memory."""
    group = Group(str(tmp_path / "state"), mounts=str(tmp_path / "mountinfo"))
    group.make()
    assert (second / "cgroup.subtree_control").read_text() == "+memory +cpu +pids"
    folder = second / group.name
    (folder / "cgroup.procs").write_text("7\n8\n")
    assert group.limit(CAPS) == []
    assert {name: (folder / name).read_text() for name in ("memory.max", "memory.swap.max", "cpu.max", "pids.max")} == {
        "memory.max": str(64 << 20),
        "memory.swap.max": "0",
        "cpu.max": "2500 10000",
        "pids.max": "12",
    }
    (folder / "memory.peak").write_text("50000000\n")
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 31\noom 2\noom_kill 1\noom_group_kill 0\n")
    (folder / "cpu.stat").write_text("usage_usec 9\nnr_periods 40\nnr_throttled 38\nthrottled_usec 12\n")
    said = group.figures()
    assert (said["memory_peak_bytes"], said["oom_kills"], said["memory_refused"]) == (50_000_000, 1, 31)
    assert (said["throttled_periods"], said["periods"], said["cpu_period_us"], said["members"]) == (38, 40, 10_000, 2)
    group.unlimit()
    assert group.limits() == {}
    (folder / "memory.max").write_text("max\n")
    assert "memory_limit_bytes" not in group.figures()


def test_only_what_we_switched_on_is_switched_off(tmp_path: Path, second: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the last of ours that goes, whichever switched it on, and in whichever process; what others had on before us stays on."""
    monkeypatch.setattr(Group, "unlimit", lambda self: None)
    control = second / "cgroup.subtree_control"
    control.write_text("memory cpu io")
    one, two = (Group(str(tmp_path / name), mounts=str(tmp_path / "mountinfo")) for name in ("a", "b"))
    one.make()
    assert control.read_text() == "+pids"
    control.write_text("memory cpu io pids")  # as the kernel then says it
    two.make()
    one.make()
    assert one.remove() == []
    assert control.read_text() == "memory cpu io pids", "another of ours is there"
    assert Group(str(tmp_path / "b"), mounts=str(tmp_path / "mountinfo")).remove() == []
    assert control.read_text() == "-pids"
    control.write_text("memory cpu io pids")  # by somebody else, since
    one.make()
    assert one.remove() == []
    assert control.read_text() == "memory cpu io pids", "that was none of ours any more"


def test_what_the_kernel_would_not_switch_on_is_not_ours(tmp_path: Path, second: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else may do so later."""
    control = second / "cgroup.subtree_control"
    control.unlink()
    control.mkdir()
    group = Group(str(tmp_path / "a"), mounts=str(tmp_path / "mountinfo"))
    with pytest.raises(OSError, match="directory"):
        group.make()
    assert not (tmp_path / "switched-on").exists()


def test_a_limit_that_is_not_in_force_is_said(tmp_path: Path, second: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel says counts, and not that it took the word."""
    group = Group(str(tmp_path / "state"), mounts=str(tmp_path / "mountinfo"))
    group.make()
    monkeypatch.setattr(cgroup, "put", lambda path, value: None)
    (second / group.name / "memory.max").write_text("max\n")
    assert group.limit({"memory_bytes": 64 << 20}) == [f"memory_limit_bytes: asked {64 << 20}, found None"]


def test_two_state_folders_have_two_groups(tmp_path: Path) -> None:
    """And each bears our tag."""
    one, two = (Group(str(tmp_path / name)).name for name in ("a", "b"))
    assert one != two
    assert one.startswith(cgroup.TAG)


# ---- a real one ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    group = Group(str(tmp_path))
    yield group
    assert group.remove() == []
    assert not group.exists()


@REAL
def test_who_wants_more_is_killed_and_nobody_else(group: Group) -> None:
    """From its very start it is in the group; its parent, which made it, never is. Both peak and kill are the kernel's own words."""
    group.make()
    assert group.limit(CAPS) == []
    assert set(group.limits()) == {"memory_limit_bytes", "cpu_quota_us", "processes_limit"}
    done = subprocess.run(group.entering([sys.executable, "-c", "b = bytearray(200 << 20)"]), check=False, timeout=60)
    said = group.figures()
    assert done.returncode == -signal.SIGKILL
    assert said["oom_kills"] == 1
    assert 60 << 20 <= said["memory_peak_bytes"] <= 64 << 20
    own = Path("/proc/self/cgroup").read_text()
    assert group.name not in own


@REAL
def test_what_is_freed_is_killed_no_more(group: Group) -> None:
    """The control: without the limit, the same process comes to its end."""
    group.make()
    group.limit(CAPS)
    group.unlimit()
    assert group.limits() == {}
    done = subprocess.run(group.entering([sys.executable, "-c", "b = bytearray(200 << 20)"]), check=False, timeout=60)
    assert (done.returncode, group.figures()["oom_kills"]) == (0, 0)


@REAL
def test_removed_with_somebody_in_it(group: Group) -> None:
    """Whoever is in it goes on outside; removing what is not there is no error."""
    group.make()
    sleeper = subprocess.Popen(group.entering(["sleep", "60"]))
    try:
        group.take_in([sleeper.pid])
        assert group.remove() == []
        assert sleeper.poll() is None
        assert group.name not in Path(f"/proc/{sleeper.pid}/cgroup").read_text()
        assert group.remove() == []
    finally:
        sleeper.kill()
        sleeper.wait()


@REAL
def test_the_acts_find_their_group_by_the_state_folder(tmp_path: Path, group: Group) -> None:
    """As the guard runs them: limit, shown, free, remove; without a state folder they do nothing."""

    def act(*words: str, text: str = "", state: str = str(tmp_path)) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "RUNNER_STATE": state}
        code = "import sys; from runner.ondevice.cgroup import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", code, *words]
        return subprocess.run(command, input=text, env=environment, capture_output=True, text=True, check=False)

    assert act("shown", "memory", "cpu").stdout == ""
    assert act("limit", text='{"memory_bytes": 67108864}').returncode == 0
    assert "limit memory_limit_bytes 67108864" in act("shown", "memory", "cpu").stdout
    assert act("shown", "pids").stdout == ""
    assert act("free", "memory").returncode == 0
    assert act("shown", "memory", "cpu").stdout == ""
    assert act("remove").returncode == 0
    assert not group.exists()
    assert act("limit", text="no JSON").returncode == cgroup.FAILED
    assert act("remove", state="").returncode == cgroup.WRONG
    for words in ((), ("free",), ("shown", "io"), ("limit", "cpu"), ("remove", "cpu"), ("thaw", "cpu")):
        assert act(*words).returncode == cgroup.WRONG, words


@REAL
def test_groups_that_a_killed_supervisor_tried_something_in_are_cleared(tmp_path: Path, group: Group) -> None:
    """One in which somebody works yet is not."""
    left, busy = Group(str(tmp_path), cgroup.PROBE), Group(str(tmp_path), cgroup.WORK)
    for each in (left, busy):
        each.make()
    sleeper = subprocess.Popen(busy.entering(["sleep", "60"]))
    try:
        busy.take_in([sleeper.pid])
        scarcity.clear_all(str(tmp_path))
        assert not left.exists()
        assert busy.figures()["members"] == 1
    finally:
        sleeper.kill()
        sleeper.wait()
    scarcity.clear_all(str(tmp_path))
    assert not busy.exists()


@REAL
def test_nobody_who_was_to_try_a_limit_out_sleeps_on(tmp_path: Path, group: Group) -> None:
    """A crowd whose first process was killed for want of memory, or because its time was over, ends with its group."""
    probe = Group(str(tmp_path), cgroup.PROBE)
    probe.make()
    held = scarcity._CROWD.replace("for pid in children", "signal.pause()\nfor pid in children", 1)
    with subprocess.Popen(probe.entering([sys.executable, "-S", "-c", held, "5"])) as crowd:
        deadline = time.monotonic() + 30
        while probe.figures()["members"] < 6 and time.monotonic() < deadline:
            time.sleep(0.02)
        crowd.kill()
    members = Path(probe.folders[0], "cgroup.procs").read_text().split()
    assert len(members) == 5
    scarcity.clear_all(str(tmp_path))
    assert not probe.exists()
    assert not any(Path(f"/proc/{pid}/exe").exists() for pid in members)


@REAL
def test_a_hog_is_not_let_loose_where_others_would_be_killed(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cap is more than is free: it is not tried, and said so."""
    monkeypatch.setattr(scarcity, "available_bytes", lambda: 60 << 20)
    assert scarcity.prove(group.state, {"memory_bytes": 64 << 20}) == {"memory": {"available_bytes": 60 << 20}}
    assert (scarcity.available_bytes() or 0) > 0


@REAL
def test_more_than_a_core_is_tried_by_as_many_as_there_are(group: Group) -> None:
    """Together they get what the group may have."""
    said = scarcity.prove(group.state, {"quota_us": 10_000, "period_us": 10_000})["cpu"]
    assert said["cores"] == len(os.sched_getaffinity(0))
    assert said["during"] <= 1.2 and said["throttled_periods"] > 0


@REAL
def test_the_quota_of_a_device_that_heats_itself_outlives_a_window(tmp_path: Path, group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heat holds the same group up by its quota: what memory alone was limited in is freed of that alone, and only that is a sign of it."""
    monkeypatch.setenv("RUNNER_STATE", str(tmp_path))
    group.make()
    group.limit({"quota_us": 4000, "period_us": 10_000})
    group.limit({"memory_bytes": 64 << 20})
    assert cgroup.main(["free", "memory"]) == 0
    assert group.limits() == {"cpu_quota_us": 4000}
    assert group.limits(["memory"]) == {}


def test_a_busy_process_is_timed_from_where_its_work_begins() -> None:
    """Starting Python takes a slow board longer than the work: it is no part of it."""
    slow_start = "import time\nwhile time.process_time() < 0.5: pass\n"
    done = subprocess.run([sys.executable, "-S", "-c", slow_start + scarcity._SPIN, "0.1"], capture_output=True, text=True, check=True)
    passed_s, used_s = map(float, done.stdout.split())
    assert 0.1 <= used_s <= passed_s * 1.05
