"""Every fault of an execution together, with a device that keeps books: what is looked at and when, and who lets its pipelines go on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from runner.errors import LabError
from runner.farm import health
from runner.model.plan import ExecutionPlan
from runner.model.profile import Resources
from runner.story import faults, links, scarcity
from runner.story.ground import under_way
from tests.story.test_heat import Board, Power, lived
from tests.story.test_heat import execution as heated
from tests.story.test_heat import power as power
from tests.story.test_heat import run as heated_run  # noqa: F401 - a fixture
from tests.story.test_links import OFFLINE, Device, execution
from tests.story.test_links import device as device
from tests.story.test_links import run as run

SMALL = Resources(fault="resources", memory_mib=64)
GROUP = "/sys/fs/cgroup/memory/runner-scarce-0a1b2c3d"
DISK = "/data/runner/scarce / ext4 /dev/loop0 rw,nosuid,nodev rw"


@pytest.fixture
def small(run: Any, device: Device, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same run, whose device can have too little of something, and proves it."""

    async def proven(*_: Any) -> tuple[list[Any], dict[str, Any]]:
        return [], {}

    async def mirrored(*_: Any) -> None:
        return None

    monkeypatch.setattr(scarcity, "proof", proven)
    monkeypatch.setattr(scarcity, "mirror_guard", mirrored)
    monkeypatch.setattr(scarcity, "as_before", proven)
    run.session.hello = {"capabilities": ["nft", "cgroup-memory"], "boot_id": device.boot, "wall_ns": 2, "boottime_ns": 1}
    run.scarce_hello = run.heating = None
    return run


def scarce(*link_faults: Any) -> ExecutionPlan:
    return execution(*link_faults).model_copy(update={"scarcities": (SMALL,)})


def imposed(run: Any, plan: ExecutionPlan) -> None:
    run.imposed_in = run.session.hello["boot_id"]
    for impose in faults.IMPOSE:
        asyncio.run(impose(run, plan))


def booted(device: Device) -> None:
    """The device was started anew: its guard has taken everything back, and its supervisor has made group and disk again."""
    device.boot, device.begun = "c" * 32, []
    device.hello["boot_id"] = device.boot
    device.armed.clear()
    device.asked.clear()


def test_pipelines_stand_after_a_restart_until_the_faults_are_armed_again(small: Any, device: Device) -> None:
    """A fast device has begun its next stage long before a coordinator is back: the word that lets it go on is the last one, whichever
    kind of fault it is under."""
    for plan in (execution(OFFLINE), scarce(), scarce(OFFLINE)):
        imposed(small, plan)
        assert "under_faults" not in device.asked
        booted(device)
        asyncio.run(faults.impose_again(small, plan))
        assert device.asked[-3:] == ["arm", "start_program", "under_faults"]
        for lift in faults.LIFT:
            asyncio.run(lift(small, plan))
        device.asked.clear()


def test_under_heat_they_stand_until_the_sensors_are_there_again(heated_run: Any, power: Power) -> None:  # noqa: F811
    """The heat itself went on outside."""
    board: Board = heated_run.session
    heated_run.scarce_hello = None
    imposed(heated_run, heated())
    booted(board)
    asyncio.run(faults.impose_again(heated_run, heated()))
    assert board.asked[-1] == "under_faults" and list(board.armed) == ["stress-1.thermal-1"]


def test_without_a_fault_nothing_is_asked(small: Any, device: Device) -> None:
    """An entry without faults costs what it did before."""
    asyncio.run(faults.impose_again(small, execution()))
    asyncio.run(faults.still_imposed(small, execution()))
    assert device.asked == []


@pytest.mark.parametrize("plan", [execution(OFFLINE), scarce()], ids=["link", "scarcity"])
def test_behind_a_broken_link_it_goes_on_in_the_same_boot_alone(small: Any, device: Device, plan: ExecutionPlan) -> None:
    """A supervisor that was started anew stands; its guard has not, and the faults are on. In another boot they are off."""
    imposed(small, plan)
    for boot, said in (("b" * 32, True), ("c" * 32, False)):
        device.hello["boot_id"] = boot
        device.asked.clear()
        asyncio.run(faults.still_imposed(small, plan))
        assert ("under_faults" in device.asked) is said


@pytest.mark.parametrize("plan", [scarce(), scarce(OFFLINE)], ids=["alone", "under a link fault"])
def test_what_a_restarted_device_made_for_its_pipelines_is_nobodys_leftover(small: Any, device: Device, plan: ExecutionPlan) -> None:
    """Their group and their small disk are there before anybody can look; gone at the end, the device is as it was."""
    imposed(small, plan)
    booted(device)
    device.lines = {"cgroups": [GROUP], "mounts": [DISK]}
    asyncio.run(faults.impose_again(small, plan))
    assert GROUP not in small.as_found["cgroups"] and DISK not in small.as_found["mounts"]
    device.lines = {}
    for lift in faults.LIFT:
        asyncio.run(lift(small, plan))
    assert small.lease.leases.quarantined("pi-04") is None and small.lease.leases.expected("pi-04") is None


@pytest.mark.parametrize("plan", [scarce(), scarce(OFFLINE)], ids=["alone", "under a link fault"])
@pytest.mark.parametrize("left", [{"cgroups": [GROUP]}, {"mounts": [DISK]}, {"mounts": ["/mnt / tmpfs none rw rw"]}], ids=str)
def test_what_stays_of_it_quarantines(small: Any, device: Device, plan: ExecutionPlan, left: dict[str, list[str]]) -> None:
    """Ours, or anybody's: each execution is compared with what was right before it."""
    imposed(small, plan)
    device.lines = left

    async def lifted() -> None:
        for lift in faults.LIFT:
            await lift(small, plan)

    with pytest.raises(LabError, match="quarantined"):
        asyncio.run(lifted())


def test_what_is_under_way_of_a_dead_run_is_no_difference(small: Any, device: Device) -> None:
    """Its pipeline may run on in its group, though the guard has taken the limits back: it is ended next, and the group with it."""
    imposed(small, scarce())
    device.lines = {"cgroups": [GROUP]}
    asyncio.run(links.clear(small))
    assert device.armed == {} and small.lease.leases.quarantined("pi-04") is None


def test_a_machine_of_others_answers_for_our_tags_alone(small: Any, device: Device) -> None:
    """Whatever else changes there while we are at work is not ours."""
    small.plan.type = SimpleNamespace(shared=True)
    imposed(small, scarce())
    device.lines = {"mounts": ["/mnt / tmpfs none rw rw"]}
    asyncio.run(scarcity.lift(small, scarce()))
    assert small.as_found is None


def test_whatever_ended_the_run_nothing_stays_on_a_machine_of_others(small: Any, device: Device) -> None:
    """There no fingerprint was taken; the programs are taken back all the same."""
    small.plan.type = SimpleNamespace(shared=True)
    imposed(small, scarce())
    asyncio.run(links.let_go(small))
    assert device.armed == {}


def test_a_heat_alone_is_compared_with_what_was_right_before_it(heated_run: Any, power: Power) -> None:  # noqa: F811
    """As a link is."""
    heated_run.session.lines = {}
    asyncio.run(lived(heated_run, heated()))
    heated_run.session.lines = {"mounts": ["/mnt / tmpfs none rw rw"]}
    asyncio.run(lived(heated_run, heated()))  # what was there before it is not ours

    async def planted() -> None:
        await faults.IMPOSE[2](heated_run, heated())
        heated_run.session.lines = {}
        await faults.LIFT[0](heated_run, heated())

    with pytest.raises(LabError, match=r"quarantined: - mounts: /mnt"):
        asyncio.run(planted())


@pytest.mark.parametrize(
    ("execution_said", "quarantined"),
    [({"run": "EDGE-005.x", "ended": False}, False), ({"run": "EDGE-005.x", "ended": True}, True), (None, True), ("?", True)],
)
def test_who_comes_by_hand_takes_what_is_under_way_for_no_leftover(
    small: Any, device: Device, execution_said: Any, quarantined: bool
) -> None:
    """A board that is put on goes on with what a dead run left, in its group: that is quarantined by nobody, or no resume could end it."""
    device.hello["execution"] = execution_said
    small.lease.leases.expect("pi-04", "a" * 32, {**small_fingerprint(device), "boot_id": "a" * 32})
    device.lines = {"cgroups": [GROUP]}
    ground = replace(small.ground, scarce=under_way(device.hello))
    if quarantined:
        with pytest.raises(LabError, match="quarantined"):
            asyncio.run(ground.clear())
    else:
        asyncio.run(ground.clear())


def small_fingerprint(device: Device) -> dict[str, Any]:
    return health.read(device._fingerprint()["fields"])
