"""Heat that a device makes for itself: a process of its own, the real quota of a real group, and what is left when it is taken back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.ondevice import own_heat, work
from runner.ondevice.cgroup import Group, capabilities
from runner.target.bundle import supervisor_zip

# Groups are the whole machine's: whoever compares fingerprints meanwhile sees them, so that each of these is `alone`, too.
for_real = pytest.mark.skipif("cgroup-cpu" not in capabilities(), reason="this machine lets nobody like us limit CPU time")

BODY = {"die_j_k": 3.0, "board_j_k": 40.0, "die_to_board_k_w": 4.0, "board_to_air_k_w": 6.0, "idle_w": 3.0, "busy_w": 3.0}
THROTTLE = {"full_mhz": 1500, "steps": [[70, 600, "throttled"]], "hysteresis_k": 2, "critical_c": 95}
HOT: dict[str, Any] = {"body": BODY, "throttle": THROTTLE, "timeline": [[0, 60]], "starts_at_c": 80.0, "renew_s": 300, "cap_s": 300}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[str]:
    """A supervisor's state folder; whatever a failed test left of its heat is gone afterwards."""
    yield str(tmp_path)
    assert own_heat.stop(str(tmp_path)) == 0
    Group(str(tmp_path)).remove()


@pytest.fixture
def heater(state: str, tmp_path: Path) -> Callable[..., int]:
    """`heater("start", told)`: as the guard calls it."""
    archive = tmp_path / "supervisor.zip"
    archive.write_bytes(supervisor_zip())

    def call(verb: str, heat: dict[str, Any] | None = None) -> int:
        folder = f"{state}/heater"
        told = {"sensor": f"{folder}/sensor/temp", "clock": f"{folder}/clock/scaling_cur_freq", "says": "by a model\n", "heat": heat}
        line, environment = [sys.executable, "-S", "-E", str(archive), "heater", verb], {**os.environ, "RUNNER_STATE": state}
        return subprocess.run(line, input=json.dumps(told), text=True, timeout=60, check=False, env=environment).returncode

    return call


def eventually(true: Callable[[], bool], limit_s: float = 30.0) -> bool:
    deadline = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@for_real
@pytest.mark.alone
def test_the_pipelines_group_is_slowed_down_until_it_is_taken_back(state: str, heater: Callable[..., int]) -> None:
    """Its quota is the clock's share of one core, its sensors say so, and afterwards there is neither; the evidence has an end."""
    assert heater("start", HOT) == 0
    try:
        assert eventually(lambda: Group(state).figures().get("cpu_quota_us") == 4000)
        assert eventually(lambda: Path(state, "heater/clock/scaling_cur_freq").read_text() == "600000\n")
        assert Path(state, "heater/throttled").read_text() == "throttled=0x40004\n"
        said = own_heat.said(state)
        assert said["on"] and said["warm"] and said["mhz"] == 600
        assert work.measure(state)["counted"]["held_s"] > 0, "what runs beside pipelines has their quota"
        assert "counted" not in work.measure(), "and what runs elsewhere has none"
    finally:
        assert heater("stop") == 0
    assert "cpu_quota_us" not in Group(state).figures()
    assert own_heat.said(state)["on"] is False
    lines = [json.loads(line) for line in Path(state, "heater/heat.jsonl").read_text().splitlines()]
    assert lines[0]["told"] == HOT and lines[-1]["ended"] == "asked"
    assert own_heat.holder(f"{state}/heater") is None


@for_real
@pytest.mark.alone
@pytest.mark.parametrize(("share", "quota_us", "period_us"), [(1.0, 10_000, 10_000), (0.4, 4000, 10_000), (0.05, 1000, 20_000)])
def test_a_share_is_a_quota_however_small(state: str, share: float, quota_us: int, period_us: int) -> None:
    """The kernel takes no quota below a millisecond: a smaller share has a longer period. At its full clock the board has one core."""
    own_heat.Confined(state).limit(share)
    figures = Group(state).figures()
    assert (figures["cpu_quota_us"], figures["cpu_period_us"]) == (quota_us, period_us)


@for_real
@pytest.mark.alone
def test_whoever_works_in_the_group_heats(state: str, heater: Callable[..., int]) -> None:
    """A burner in the pipelines' group is a load; without one there is none."""
    assert heater("start", {**HOT, "waits": True}) == 0
    assert eventually(lambda: own_heat.said(state).get("granted_s", 0) > 0)
    assert own_heat.said(state)["load"] == 0.0
    burning = work.Burning()
    burning.burn(60.0, state)
    try:
        assert eventually(lambda: own_heat.said(state)["load"] > 0.5)
        own_heat.warm(state)
        assert eventually(lambda: own_heat.said(state)["nr_throttled"] > 0)
    finally:
        burning.burn(0.0)


@for_real
@pytest.mark.alone
def test_one_that_is_killed_leaves_a_quota_that_its_undo_takes_off(
    state: str, heater: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """The guard knows by its sign or by its undo; nobody is slowed down behind that."""
    assert heater("start", HOT) == 0
    pid = own_heat.holder(f"{state}/heater")
    assert pid
    os.kill(pid, 9)
    assert eventually(lambda: own_heat.holder(f"{state}/heater") is None)
    assert own_heat.said(state)["ended"] == "nobody heats"
    assert own_heat.shown(state) == 0
    assert "heater left a quota" in capsys.readouterr().out
    assert heater("stop") == 0
    assert own_heat.shown(state) == 0 and capsys.readouterr().out == ""
    assert "cpu_quota_us" not in Group(state).figures()


@for_real
@pytest.mark.alone
def test_it_ends_by_itself_at_its_cap(state: str, heater: Callable[..., int]) -> None:
    """Whoever should have taken it back."""
    assert heater("start", {**HOT, "cap_s": 0.5}) == 0
    assert eventually(lambda: own_heat.said(state)["ended"] == "hard cap")
    assert "cpu_quota_us" not in Group(state).figures()


@for_real
@pytest.mark.alone
def test_what_is_no_heat_does_not_start(state: str, heater: Callable[..., int]) -> None:
    """A failed step, with nothing left of it."""
    assert heater("start", {**HOT, "timeline": []}) == 1
    assert own_heat.holder(f"{state}/heater") is None
    assert "cpu_quota_us" not in Group(state).figures()


# ---- what is counted, on paper ------------------------------------------------------------------------------------------


class PaperGroup:
    """A group's folder, and a /proc with its processes: one thread each, which ran and waited for so many ns."""

    def __init__(self, root: Path) -> None:
        self.folder, self.proc = root / "group", root / "proc"
        self.folder.mkdir()
        self.proc.mkdir()

    def write(self, threads: dict[int, tuple[int, int]], ended: tuple[int, ...] = (), counts: tuple[str, str] | None = None) -> None:
        """`ended` are those that are still listed, and whose figures are gone; `counts` a file of the group's own, and what it says."""
        for name, said in (("cgroup.procs", "".join(f"{pid}\n" for pid in (*threads, *ended))), *([counts] if counts else [])):
            (self.folder / name).write_text(said)
        for pid, (ran_ns, waited_ns) in threads.items():
            (self.proc / f"{pid}/task/{pid}").mkdir(parents=True, exist_ok=True)
            (self.proc / f"{pid}/task/{pid}/schedstat").write_text(f"{ran_ns} {waited_ns} 7\n")
        for pid in ended:
            (self.proc / f"{pid}/task/{pid}/schedstat").unlink()

    def members(self) -> own_heat.Members:
        return own_heat.Members(str(self.folder), str(self.proc))


@pytest.fixture
def paper(tmp_path: Path) -> PaperGroup:
    return PaperGroup(tmp_path)


@pytest.mark.parametrize(
    ("file", "first", "then"), [("cpu.stat", "usage_usec 5\n", "usage_usec 9005\n"), ("cpuacct.usage", "5000\n", "9005000\n")]
)
def test_processes_that_come_and_go_between_two_looks_heat(paper: PaperGroup, file: str, first: str, then: str) -> None:
    """A pipeline that is nothing but short commands: the group has counted them, with either version of groups; threads tell nothing."""
    paper.write({7: (1000, 300)}, counts=(file, first))
    members = paper.members()
    before = members.counted()
    paper.write({7: (1000, 300)}, counts=(file, then))
    assert members.counted().minus(before) == (9_000_000, 0, 0, 0)
    paper.write({}, counts=(file, first))
    assert members.counted().minus(before) == (9_005_000, 0, 0, 0), "a group that was made again counts from nothing"


def test_a_thread_that_ends_while_it_is_looked_at_takes_nothing_away(paper: PaperGroup) -> None:
    """Where a group keeps no count of its own. It is listed, and says nothing any more: the sum stays, in that look and behind it."""
    paper.write({7: (1000, 300), 8: (50_000, 700)})
    members = paper.members()
    assert members.counted() == (51_000, 1000, 0, 0)
    paper.write({7: (1500, 300)}, ended=(8,))
    assert members.counted() == (51_500, 1000, 0, 0)
    paper.write({7: (2000, 300)})
    assert members.counted() == (52_000, 1000, 0, 0)
