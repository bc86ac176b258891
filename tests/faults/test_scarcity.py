"""What a device has too little of, as programs: what it is told, what takes it back, and what is refused before anything moves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runner.errors import AskError
from runner.faults import table
from runner.faults.compose import ANYWHERE, compose, programs_of
from runner.faults.kernel import EVERY_CAPABILITY, Before
from runner.faults.resources import quota, sized
from runner.model.device import Size
from runner.model.profile import Disk, Profile, Resources, WrongClock
from runner.model.program import Program

BEFORE = Before(boot_id="b" * 32, clock_ns=1_790_000_000_000_000_000)


def program(fault: Any, capabilities: frozenset[str] = EVERY_CAPABILITY) -> Program:
    (made,) = programs_of([fault], ANYWHERE, "stress-1", 1, capabilities, BEFORE)
    return made


def test_a_cap_is_told_in_the_kernels_units() -> None:
    """Bytes, microseconds in each period, tasks; on from the beginning, without an end of its own."""
    made = program(Resources(fault="resources", memory_mib=64, cpu_share=0.25, processes=24))
    (step,) = made.steps
    assert json.loads(step.acts[0].input) == {"memory_bytes": 64 << 20, "quota_us": 2500, "period_us": 10_000, "processes": 24}
    assert (made.name, step.at_s, step.on, made.lasts_s) == ("stress-1.resources-1", 0, True, None)
    assert step.word == "64 MiB, 0.25 of a core, 24 processes"
    assert made.needs == ("cgroup-memory", "cgroup-cpu", "cgroup-pids")
    assert not made.severs_data
    assert not made.severs_management


def test_a_window_frees_and_only_the_undo_removes() -> None:
    """Between two windows the pipeline's processes stay in their group: what they have is counted on."""
    made = program(Resources(fault="resources", cpu_share=0.5, at_s=1, for_s=2, every_s=5, times=2))
    assert [(step.at_s, step.on, step.acts[0].argv[1:]) for step in made.steps] == [
        (1, True, ("confine", "limit")),
        (3, False, ("confine", "free", "cpu")),
        (6, True, ("confine", "limit")),
    ]
    assert [act.argv[1:] for act in made.undo] == [("confine", "remove")]
    assert [sign.argv[1:] for sign in made.signs] == [("confine", "shown", "cpu")], "by what it limits, and by nothing of heat's"


@pytest.mark.parametrize(
    ("share", "told"), [(0.25, (2500, 10_000)), (4, (40_000, 10_000)), (0.05, (1000, 20_000)), (0.01, (1000, 100_000))]
)
def test_no_quota_is_below_what_a_kernel_takes(share: float, told: tuple[int, int]) -> None:
    """A millisecond at least: a smaller share has a longer period."""
    assert quota(share) == told


def test_another_boards_size_stands_for_what_is_not_said() -> None:
    """And only for that."""
    small = Size(memory_mib=512, cpus=4)
    assert sized(Resources(fault="resources", like="zero"), small).memory_mib == 512
    said = sized(Resources(fault="resources", like="zero", memory_mib=384, cpu_share=0.5), small)
    assert (said.memory_mib, said.cpu_share) == (384, 0.5)


@pytest.mark.parametrize("what", ["full", "no_inodes", "read_only", "io_errors"])
def test_a_disk_is_spoilt_and_mended(what: Any) -> None:
    """By one act each; only one that fails needs device-mapper."""
    made = program(Disk(fault="disk", what=what))
    assert json.loads(made.steps[0].acts[0].input) == {"what": what, "fails": "writes"}
    assert [act.argv for act in made.undo] == [("@supervisor", "disk", "mend")]
    assert ("device-mapper" in made.needs) == (what == "io_errors")


def test_the_undo_of_a_clock_says_in_which_boot_and_what_it_was() -> None:
    """In another boot it does nothing, and it asks nobody for the time."""
    made = program(WrongClock(fault="clock", to="2106-02-07T06:28:15Z"))
    assert made.undo[0].argv == ("@supervisor", "clock", "back", "b" * 32, "1790000000000000000")
    assert json.loads(made.steps[0].acts[0].input) == {"jump_s": None, "to_s": 4294967295.0, "drift_ppm": 0.0}
    assert made.signs[0].argv[:3] == ("@supervisor", "clock", "shown")


@pytest.mark.parametrize(
    ("fault", "missing"),
    [
        (Resources(fault="resources", memory_mib=64), "cgroup-memory"),
        (Resources(fault="resources", cpu_share=1.0), "cgroup-cpu"),
        (Disk(fault="disk", what="full"), "loop"),
        (Disk(fault="disk", what="io_errors"), "device-mapper"),
        (WrongClock(fault="clock", jump_s=5.0), "clock"),
    ],
)
def test_a_device_that_cannot_is_refused(fault: Any, missing: str) -> None:
    """Nothing is faked where a kernel has no such thing."""
    with pytest.raises(AskError, match=missing):
        program(fault, EVERY_CAPABILITY - {missing})


@pytest.mark.parametrize(
    "wrong",
    [
        {"fault": "resources"},
        {"fault": "resources", "memory_mib": 1},
        {"fault": "resources", "memory_mib": "64"},
        {"fault": "disk", "what": "slow"},
        {"fault": "disk", "what": "full", "fails": "everything"},
        {"fault": "clock"},
        {"fault": "clock", "jump_s": 1.0, "to": "1970-01-01T00:00:00Z"},
        {"fault": "clock", "to": "yesterday"},
        {"fault": "clock", "jump_s": -4.9},
    ],
)
def test_what_says_nothing_or_two_things_is_no_fault(wrong: dict[str, Any]) -> None:
    """A profile is refused as a whole."""
    with pytest.raises(ValueError, match=r"fault|Input|value|match|says|not both"):
        Profile(title="t", faults=(wrong,))


def test_a_moment_that_no_calendar_has_is_refused() -> None:
    """The thirtieth of February among them."""
    with pytest.raises(AskError, match="no clock shows"):
        program(WrongClock(fault="clock", to="2026-02-30T00:00:00Z"))


def test_scarcity_needs_no_data_link_and_two_caps_have_no_owner() -> None:
    """It acts on the device; two faults that want the same group are told."""
    one = Profile(title="a", faults=(Resources(fault="resources", memory_mib=64),))
    two = Profile(title="b", faults=(Resources(fault="resources", cpu_share=0.25), Disk(fault="disk", what="full")))
    composed, problems = compose([("a", one)], None, ())
    assert (len(composed.scarcities), composed.links, problems) == (1, (), ())
    _, problems = compose([("a", one), ("b", two)], None, ())
    assert [problem.profile for problem in problems] == ["b"]
    assert "confinement" in problems[0].found


def test_a_scarcity_waits_for_a_stage_that_is_there() -> None:
    """As a link fault does."""
    late = Profile(title="a", faults=(Disk(fault="disk", what="full", stage="keep"),))
    assert compose([("a", late)], None, ("keep",))[1] == ()
    assert [problem.path for problem in compose([("a", late)], None, ("sort",))[1]] == [("faults", 0, "stage")]


def test_each_says_its_figures() -> None:
    """For lists and charts."""
    assert table.figures(Resources(fault="resources", like="raspberry-pi-4")) == "as raspberry-pi-4"
    assert table.figures(Disk(fault="disk", what="no_inodes", for_s=3)) == "no inodes left, of 16 MiB, for 3 s"
    assert table.figures(WrongClock(fault="clock", jump_s=-3600.0, drift_ppm=50.0)) == "clock -3600 s, drifting by +50 ppm"
