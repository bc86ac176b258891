"""Had it as little as was asked? Each kind of evidence that says so, and each that does not: then a run is blocked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.errors import AskError
from runner.faults import resources
from runner.judgement import scarcity
from runner.judgement.windows import NEVER_NS, Window
from runner.ondevice.journal import Record
from runner.ondevice.scarce_figures import quota_of
from tests.judgement.made_run import MadeRun

S, MIB = 1_000_000_000, 1 << 20
BOOT = "b" * 32
SMALL = {"fault": "resources", "memory_mib": 64, "cpu_share": 0.25, "processes": 12}
BEFORE: dict[str, Any] = {"boot_id": BOOT, "confined": {}, "disk": {}, "clock": {"wall_ns": 1_790_000_100 * S, "boottime_ns": 100 * S}}
LIMITS = {"memory_limit_bytes": 64 * MIB, "cpu_quota_us": 2500, "cpu_period_us": 10_000, "processes_limit": 12}
TRIED: dict[str, Any] = {
    "memory": {"memory_limit_bytes": 64 * MIB, "memory_peak_bytes": 64 * MIB, "oom_kills": 1, "killed": True},
    "cpu": {"before": 0.96, "during": 0.251, "after": 0.93, "throttled_periods": 150},
    "processes": {"started": 12, "refused": 1},
}


def outside(rows: list[dict[str, Any]]) -> list[str]:
    return [row["what"] for row in rows if not row["within"]]


def during(**changes: Any) -> dict[str, Any]:
    return {**BEFORE, "confined": LIMITS, "tried": TRIED, **changes}


def tried(what: str, **changes: Any) -> dict[str, Any]:
    return during(tried={**TRIED, what: {**TRIED[what], **changes}})


def test_caps_that_are_in_force_are_reached() -> None:
    """Each has two rows: the kernel's word for the pipeline's own group, and what became of somebody who tried."""
    rows = scarcity.compare([SMALL], BEFORE, during())
    assert outside(rows) == []
    assert len(rows) == 6


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (during(confined={**LIMITS, "memory_limit_bytes": 128 * MIB}), "limit of memory"),
        (during(confined={}), "limit of memory"),
        (during(confined={**LIMITS, "cpu_quota_us": 5000}), "limit of processor time"),
        (during(confined={**LIMITS, "cpu_period_us": 20_000}), "limit of processor time"),
        (during(confined={**LIMITS, "cpu_period_us": None}), "limit of processor time"),
        (tried("memory", oom_kills=0, killed=False), "who wants more memory"),
        (tried("memory", killed=False), "who wants more memory"),
        (tried("memory", memory_peak_bytes=90 * MIB), "who wants more memory"),
        (tried("memory", memory_peak_bytes=40 * MIB), "who wants more memory"),  # the device itself had no more
        (tried("memory", memory_peak_bytes=None), "who wants more memory"),
        (tried("memory", available_bytes=60 * MIB), "who wants more memory"),
        (tried("cpu", during=0.9), "a busy process gets"),
        (tried("cpu", during=0.1), "a busy process gets"),
        (tried("cpu", throttled_periods=0), "a busy process gets"),
        (tried("cpu", before=0.26), "a busy process gets"),  # it might have got no more without any limit
        (tried("processes", started=20, refused=0), "processes at once"),
        (tried("processes", refused=0), "processes at once"),
        (during(tried={}), "who wants more memory"),
    ],
)
def test_what_is_not_in_force_is_not_reached(said: dict[str, Any], what: str) -> None:
    """Nor what nobody tried, nor what a busy machine cannot tell."""
    assert what in outside(scarcity.compare([SMALL], BEFORE, said))


def test_a_kernel_that_keeps_no_peak_says_that_its_cap_was_met() -> None:
    """Version 2 before 5.19: what was denied is counted there, too; and of the pipeline the highest reading stands for the peak."""
    assert outside(scarcity.compare([SMALL], BEFORE, tried("memory", memory_peak_bytes=None, memory_refused=3))) == []
    assert figures(reading(12, memory_peak_bytes=None, memory_bytes=40 * MIB)) == []
    told = ["stress-1.resources-1, peak of memory"]
    assert figures(reading(12, memory_peak_bytes=None, memory_bytes=90 * MIB)) == told
    assert figures(reading(12, memory_peak_bytes=None)) == told


TWO = {"before": 3.9, "during": 2.02, "after": 3.8, "cores": 4, "throttled_periods": 40}


@pytest.mark.parametrize(
    ("said", "outside_of_it"),
    [
        (TWO, []),
        ({**TWO, "during": 3.9}, ["busy processes get"]),
        ({**TWO, "before": 2.1}, ["busy processes get"]),
        ({**TWO, "throttled_periods": 0}, ["busy processes get"]),
        ({**TWO, "cores": 2, "throttled_periods": 0}, []),  # it has no more, and so nobody can have more
        ({}, ["busy processes get"]),
    ],
)
def test_a_share_of_more_than_a_core_is_tried_by_all_cores(said: dict[str, Any], outside_of_it: list[str]) -> None:
    """One busy process never gets more than one, whatever its group may have."""
    limits = {"cpu_quota_us": 20_000, "cpu_period_us": 10_000}
    rows = scarcity.compare([{"fault": "resources", "cpu_share": 2.0}], BEFORE, during(confined=limits, tried={"cpu": said}))
    assert outside(rows) == outside_of_it


def test_a_busy_machine_is_named() -> None:
    """Whoever reads it knows what to do."""
    (row,) = [row for row in scarcity.compare([SMALL], BEFORE, tried("cpu", before=0.2)) if row["what"] == "a busy process gets"]
    assert "too busy to tell" in row["measured"]


@pytest.mark.parametrize(
    ("what", "disk", "reached"),
    [
        ("full", {"tried": "ENOSPC", "free_bytes": 0, "free_inodes": 9}, True),
        ("full", {"tried": "", "free_bytes": 0, "free_inodes": 9}, False),
        ("full", {"tried": "ENOSPC", "free_bytes": 4096, "free_inodes": 9}, False),
        ("no_inodes", {"tried": "ENOSPC", "free_bytes": 9, "free_inodes": 0}, True),
        ("no_inodes", {"tried": "ENOSPC", "free_bytes": 0, "free_inodes": 9}, False),
        ("read_only", {"tried": "EROFS", "free_bytes": 9, "free_inodes": 9}, True),
        ("io_errors", {"tried": "EIO", "free_bytes": 9, "free_inodes": 9}, True),
        ("io_errors", {"tried": "ENOSPC", "free_bytes": 9, "free_inodes": 9}, False),
        ("full", {}, False),
    ],
)
def test_a_disk_is_what_a_file_of_ours_meets(what: str, disk: dict[str, Any], reached: bool) -> None:
    """With the free blocks and inodes that belong to it."""
    assert (outside(scarcity.compare([{"fault": "disk", "what": what}], BEFORE, during(disk=disk))) == []) is reached


def at(boottime_s: float, offset_s: float) -> dict[str, Any]:
    return {"wall_ns": int((boottime_s + offset_s) * S), "boottime_ns": int(boottime_s * S)}


@pytest.mark.parametrize(
    ("fault", "clock", "reached"),
    [
        ({"jump_s": -3600.0}, at(110, 1_790_000_000 - 3600), True),
        ({"jump_s": -3600.0}, at(110, 1_790_000_000), False),
        ({"jump_s": -3600.0}, at(110, 1_790_000_000 - 3500), False),
        ({"to": "1970-01-01T00:00:00Z"}, at(110, 0), True),
        ({"to": "1970-01-01T00:00:00Z"}, at(110, 50), False),
        ({"to": "2106-02-07T06:28:15Z"}, at(110, 4294967295 - 105), True),
        ({"to": "2106-02-07T06:28:15Z"}, at(110, 4294967295 + 500), False),
        ({"jump_s": 5.0}, {}, False),
    ],
)
def test_a_clock_is_off_by_what_was_asked(fault: dict[str, Any], clock: dict[str, Any], reached: bool) -> None:
    """Against the boot-time clock; one that should stand before the boot stands at the boot."""
    rows = scarcity.compare([{"fault": "clock", **fault}], BEFORE, during(clock=clock))
    assert (outside(rows) == []) is reached


@pytest.mark.parametrize(("later_s", "reached"), [(0.5, True), (0.0, False), (1.0, False)])
def test_a_drift_needs_two_looks(later_s: float, reached: bool) -> None:
    """Five percent in ten seconds is half a second."""
    fault = {"fault": "clock", "drift_ppm": 50_000.0}
    said = during(clock=at(110, 1_790_000_000.5), clock_later=at(120, 1_790_000_000.5 + later_s))
    assert (outside(scarcity.compare([fault], BEFORE, said)) == []) is reached
    assert outside(scarcity.compare([fault], BEFORE, during(clock=at(110, 1_790_000_000.5)))) == ["the clock drifts"]


@pytest.mark.parametrize("drift_ppm", [-500_000.0, -20_000.0, 20_000.0, 5000.0, 500.0, 100.0])
@pytest.mark.parametrize("span_s", [1.5, 5.0, 60.0])
def test_a_clock_that_does_not_drift_is_never_one_that_does(drift_ppm: float, span_s: float) -> None:
    """However short the two looks are apart; nor is one that drifts the other way. One that is a step behind and misread by 5 ms is
    within, as far as that can be told from none."""
    fault = {"fault": "clock", "drift_ppm": drift_ppm}

    def reached(ppm: float, more_s: float = 0.0) -> bool:
        later = at(110 + span_s, 1_790_000_000.5 + ppm / 1e6 * span_s + more_s)
        return outside(scarcity.compare([fault], BEFORE, during(clock=at(110, 1_790_000_000.5), clock_later=later))) == []

    assert reached(drift_ppm) and not reached(0.0) and not reached(-drift_ppm)
    step_s = drift_ppm / 1e6 * 0.1
    assert reached(drift_ppm, -step_s - 0.005) or abs(drift_ppm) * span_s < 30_000


# ---- the device's own figures -------------------------------------------------------------------------------------------

ON = [Window(BOOT, 10 * S, 11 * S, 20 * S, 21 * S)]


def reading(at_s: float, offset_s: float = 1_790_000_000, **figures: Any) -> Record:
    payload = {"metrics": {}, "confined": {**LIMITS, "memory_peak_bytes": 50 * MIB, "oom_kills": 0, **figures}}
    return Record(1, BOOT, int(at_s * S), int((at_s + offset_s) * S), "sample", payload, b"")


def figures(*records: Record, spans: list[Window] = ON, fault: dict[str, Any] | None = None) -> list[str]:
    return outside(scarcity.in_figures("stress-1.resources-1", fault or SMALL, list(records), spans, BEFORE))


def test_readings_in_the_window_show_the_caps() -> None:
    """Those outside of it say nothing; the peak stays under the cap, and is more than nothing: somebody was in there."""
    none = {"memory_limit_bytes": None, "cpu_quota_us": None, "processes_limit": None}
    assert figures(reading(5, **none), reading(12), reading(19), reading(30, **none)) == []
    assert figures(reading(12), reading(15, **none)) != []
    assert figures(reading(12, memory_peak_bytes=65 * MIB)) == ["stress-1.resources-1, peak of memory"]
    assert figures(reading(12, memory_peak_bytes=0)) == ["stress-1.resources-1, peak of memory"]


def test_a_period_that_the_kernel_made_longer_is_the_same_share() -> None:
    """It does so by itself where a slow device cannot keep up with many short ones, with the quota by the same factor."""
    assert figures(reading(12), reading(15, cpu_quota_us=5000, cpu_period_us=20_000)) == []
    assert figures(reading(12), reading(15, cpu_quota_us=5000)) == ["stress-1.resources-1, limit of processor time"]


def test_what_was_read_before_the_window_is_no_reading_in_it() -> None:
    """A record's time is that of its writing: what stands at a window's very beginning was read before."""
    none = {"memory_limit_bytes": None, "cpu_quota_us": None, "processes_limit": None}
    assert figures(reading(11.01, **none), reading(12)) == []
    assert figures(reading(11.3, **none), reading(12)) != []


def test_no_reading_at_all_is_not_reached() -> None:
    """What was on all along, and what came and went: a window that falls between two readings was seen by nobody but the guard."""
    assert figures(reading(5)) == ["stress-1.resources-1, readings"]
    assert figures(reading(5), fault={**SMALL, "for_s": 0.5}) == ["stress-1.resources-1, readings"]
    assert figures(reading(12), spans=[ON[0]._replace(boot="c" * 32)]) == ["stress-1.resources-1, readings"]


ROOM: dict[str, Any] = {"bytes": 15 * MIB, "free_bytes": 14 * MIB, "free_inodes": 200, "read_only": False, "fails": False}


def of_disk(at_s: float, **figures: Any) -> Record:
    return reading(at_s)._replace(payload={"metrics": {}, "disk": {**ROOM, **figures}})


@pytest.mark.parametrize("timed", [{}, {"at_s": 0.0, "for_s": 3.0, "every_s": 8.0, "times": 100}], ids=["all along", "comes and goes"])
@pytest.mark.parametrize(
    ("what", "shown", "other"),
    [
        ("full", {"free_bytes": 4096}, {"free_bytes": 100 << 10}),
        ("no_inodes", {"free_inodes": 0}, {"free_inodes": 1}),
        ("read_only", {"read_only": True}, {"read_only": None}),
        ("io_errors", {"fails": True}, {"fails": None}),
    ],
)
def test_readings_of_the_disk_show_what_is_wrong_with_it(what: str, shown: Any, other: Any, timed: dict[str, Any]) -> None:
    """Whatever the guard says: a disk with room in every reading was not full. What an application removed is room again, so of room one
    reading is enough; a disk is closed, or fails, in each."""
    fault = {"fault": "disk", "what": what, **timed}
    told = ["stress-1.resources-1, the small disk"]
    assert figures(of_disk(5), of_disk(12, **shown), of_disk(19, **shown), of_disk(30), fault=fault) == []
    assert figures(of_disk(5, **shown), of_disk(12), of_disk(19), of_disk(30, **shown), fault=fault) == told
    assert figures(of_disk(12, **other), fault=fault) == told
    assert (figures(of_disk(12, **shown), of_disk(15), fault=fault) == []) is (what in ("full", "no_inodes"))
    assert figures(of_disk(5, **shown), fault=fault) == ["stress-1.resources-1, readings"]
    assert figures(of_disk(12, free_bytes="0", free_inodes="0", read_only="yes", fails=1), fault=fault) == told


def test_every_record_is_a_look_at_the_clock() -> None:
    """Each bears both clocks."""
    fault = {"fault": "clock", "jump_s": -3600.0}
    assert figures(reading(12, 1_790_000_000 - 3600), reading(15, 1_790_000_000 - 3600), fault=fault) == []
    assert figures(reading(12, 1_790_000_000 - 3600), reading(15), fault=fault) != []
    open_end = [ON[0]._replace(to_ns=NEVER_NS, until_ns=NEVER_NS)]
    assert figures(reading(5), reading(500), spans=open_end, fault=fault) != []


def test_a_clock_that_was_cut_is_held_to_what_it_is_in_its_new_boot() -> None:
    """A board's start makes of its clock what it will; it is off by what was asked from there, and whether it was is in its records. Of
    a boot whose first record bears the wrong clock nobody knows what it was, and where no other one tells it was not reached."""
    other = "c" * 32
    spans = [*ON, Window(other, 3 * S, int(3.5 * S), NEVER_NS, NEVER_NS)]

    def rebooted(*offsets: float, first_s: float = 2.0) -> list[Record]:
        return [reading(first_s + at_s, offset_s)._replace(boot_id=other) for at_s, offset_s in zip((0, 2, 4), offsets, strict=True)]

    back: dict[str, Any] = {"fault": "clock", "jump_s": -3600.0}
    told = ["stress-1.resources-1, the clock is off"]
    before = reading(12, 1_790_000_000 - 3600)
    anew = 1_790_000_500
    assert figures(before, *rebooted(anew, anew - 3600, anew - 3600), spans=spans, fault=back) == []
    assert figures(before, *rebooted(anew, anew, anew - 3600), spans=spans, fault=back) == told
    assert figures(before, *rebooted(anew - 3600, anew - 3600, anew - 3600, first_s=4), spans=spans, fault=back) == []
    assert figures(*rebooted(anew - 3600, anew - 3600, anew - 3600, first_s=4), spans=spans[1:], fault=back) == told
    to_2106 = {"fault": "clock", "to": "2106-02-07T06:28:00Z"}
    there = 4_294_967_280 - 3.2
    assert figures(*rebooted(there, there, there, first_s=4), spans=spans[1:], fault=to_2106) == []
    assert figures(*rebooted(there, there - 60, there, first_s=4), spans=spans[1:], fault=to_2106) == told


DRIFTS = {"fault": "clock", "drift_ppm": 20_000.0}


def drifting(ppm: float, *at_s: float, jump_s: float = 0.0) -> list[Record]:
    """Records of a clock that drifts from 10.5 s on, by steps of a tenth of a second."""
    return [reading(each, 1_790_000_000 + jump_s + ppm / 1e6 * (int((each - 10.5) * 10) / 10)) for each in at_s]


def test_the_records_show_how_a_clock_drifts() -> None:
    """A line through them is near what was asked; one that stood still all the time, or for half of it, is not."""
    whole = (11.2, 12.25, 13.31, 15, 16.77, 18.4, 19.9)
    what = ["stress-1.resources-1, the clock drifts"]
    assert figures(*drifting(20_000, *whole), fault=DRIFTS) == []
    assert figures(*drifting(0, *whole), fault=DRIFTS) == what
    assert figures(*drifting(-20_000, *whole), fault=DRIFTS) == what
    assert figures(*drifting(20_000, *whole[:3]), *drifting(0, *whole[3:]), fault=DRIFTS) == what
    assert figures(*drifting(0, 5, 6, 7), *drifting(20_000, *whole), fault=DRIFTS) == [], "what was before says nothing"


def test_a_drift_that_comes_again_is_looked_at_each_time() -> None:
    """Each begins where the clock is then; one in which it stood still is one too many."""
    spans = [*ON, ON[0]._replace(since_ns=30 * S, from_ns=31 * S, to_ns=40 * S, until_ns=41 * S)]
    second = [reading(each, 1_790_000_000 + 0.02 * (each - 31)) for each in (32, 34, 36, 38)]
    assert figures(*drifting(20_000, 12, 14, 16, 18), *second, spans=spans, fault=DRIFTS) == []
    assert figures(*drifting(0, 12, 14, 16, 18), *second, spans=spans, fault=DRIFTS) != []


def test_too_few_records_of_a_drift_say_nothing() -> None:
    """What is on all along was looked at twice at its beginning; of what comes and goes nobody knows, and so it was not reached."""
    few = drifting(0, 12, 12.5)
    assert figures(*few, fault=DRIFTS) == []
    assert figures(*few, fault={**DRIFTS, "at_s": 3.0}) == ["stress-1.resources-1, the clock drifts"]
    assert figures(fault={**DRIFTS, "for_s": 3.0}) == ["stress-1.resources-1, readings"]


def test_a_clock_that_jumps_and_drifts_is_held_to_both() -> None:
    """To the jump, and as much more as it has drifted since."""
    both = {"fault": "clock", "jump_s": 3600.0, "drift_ppm": 400_000.0}
    whole = (11.2, 13, 15, 17, 19)
    assert figures(*drifting(400_000, *whole, jump_s=3600), fault=both) == []
    assert figures(*drifting(400_000, *whole), fault=both) == ["stress-1.resources-1, the clock is off"]
    assert len(figures(*drifting(0, *whole, jump_s=3600), fault=both)) == 2


# ---- afterwards ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "left"),
    [
        ({**BEFORE, "clock": at(200, 1_790_000_000.4)}, []),
        ({**BEFORE, "confined": LIMITS}, ["the group"]),
        ({**BEFORE, "disk": {"free_bytes": 0}}, ["the small disk"]),
        ({**BEFORE, "clock": at(200, 1_790_000_060)}, ["the clock"]),
        ({**BEFORE, "clock": at(9, 1_790_000_060), "boot_id": "c" * 32}, []),
        ({"boot_id": BOOT}, ["the group", "the small disk", "the clock"]),
    ],
)
def test_nothing_is_left_afterwards(after: dict[str, Any], left: list[str]) -> None:
    """What the device does not say is not gone; a clock that began anew with the boot is the board's own affair."""
    assert outside(scarcity.restored(BEFORE, after, [])) == left


def test_a_board_that_kept_the_wrong_time_over_a_restart_is_not_as_it_was() -> None:
    """By the coordinator's clock beside it: one that is off by what was asked, or was until it was stored last. Any other time is its own
    affair, as is that of a board beside which nobody's clock stood."""

    def beside(boot: str, wall_s: float, here_s: float | None) -> dict[str, Any]:
        clock = {"wall_ns": int(wall_s * S), "boottime_ns": 9 * S, "here_ns": None if here_s is None else int(here_s * S)}
        return {"boot_id": boot, "confined": {}, "disk": {}, "clock": clock}

    before, other, here = beside(BOOT, 1_790_000_000, 1_790_000_003), "c" * 32, 1_790_000_600.0
    back: list[dict[str, Any]] = [{"fault": "clock", "jump_s": -3600.0}]
    to_2106: list[dict[str, Any]] = [{"fault": "clock", "to": "2106-02-07T06:28:00Z"}]
    for faults, wall_s, kept in (
        (back, here, False),
        (back, here - 3590, True),
        (back, here - 3900, True),
        (back, here - 90_000, False),
        (to_2106, 4_294_967_280 - 500, True),
        (to_2106, here - 3600, False),
        ([], here - 3600, False),
        ([{"fault": "disk", "what": "full"}], here - 3600, False),
    ):
        assert outside(scarcity.restored(before, beside(other, wall_s, here), faults)) == (["the clock"] if kept else []), wall_s
    assert outside(scarcity.restored(before, beside(other, here - 3600, None), back)) == []


# ---- what a plan may ask ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 0.25, 0.333, 1.0, 4.0])
def test_the_fault_and_the_judge_mean_the_same_quota(share: float) -> None:
    """Two reckonings, because the judge takes nothing from the fault that it judges, nor that from what runs on the device."""
    quota_us, period_us = resources.quota(share)
    assert (quota_us, period_us) == quota_of(share)
    said = {"cpu_quota_us": quota_us, "cpu_period_us": period_us}
    assert scarcity._as_made(share) == round(quota_us / period_us, 4) == scarcity._granted(said)


@pytest.mark.parametrize(
    "fault",
    [
        5, {}, {"fault": "thermal"}, {"fault": "disk"}, {"fault": "disk", "what": 5},
        {**SMALL, "memory_mib": 64.5}, {**SMALL, "memory_mib": 0}, {**SMALL, "cpu_share": 2000.0}, {**SMALL, "cpu_share": 1e-300},
        {**SMALL, "processes": True}, {"fault": "clock", "jump_s": "back"}, {"fault": "clock", "drift_ppm": 1e30},
    ],
    ids=str,
)  # fmt: skip
def test_a_scarcity_that_nobody_can_judge_is_named(tmp_path: Path, fault: Any) -> None:
    """In the plan, or in the note of an execution that came later: what no profile may ask is no plan of ours."""
    run = MadeRun(tmp_path)
    run.begin("recovery-1")
    run.end(20)
    back = {"fault": "clock", "jump_s": -3600.0, "to": None, "drift_ppm": None}
    good = [SMALL, {"fault": "disk", "what": "full"}, back]
    planned: dict[str, Any] = {"name": "recovery-1", "scenario": "recovery", "cuts": [], "scarcities": good}
    run.plan["executions"].append(planned)
    assert run.conclusion().evidence.planned("recovery-1")["scarcities"] == planned["scarcities"]
    planned["scarcities"] = [fault]
    with pytest.raises(AskError, match="too little of something, and nobody can judge of what"):
        run.conclusion()
    del planned["scarcities"]
    run.note(21, "execution_began", execution="recovery-extra1-1", scenario="recovery", plan={"scarcities": [fault]})
    with pytest.raises(AskError, match="an execution began that has too little of something"):
        run.conclusion()
