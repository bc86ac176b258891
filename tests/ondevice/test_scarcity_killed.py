"""Caps and a full disk as a real guard holds them: whoever is killed, nothing of them stays, and the guard is never in the group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.faults.compose import ANYWHERE, programs_of
from runner.model.profile import Disk, Resources, Scarcity
from runner.ondevice import fingerprint
from runner.ondevice.cgroup import Group
from runner.ondevice.small_disk import SmallDisk
from tests.ondevice.test_guard_killed import RENEW_S, RUN, VICTIMS, Coordinator, Device, device, script, until

__all__ = ["device", "script"]
HERE = set(fingerprint.capabilities())
pytestmark = [
    pytest.mark.real,
    pytest.mark.alone,  # groups and mounts are the whole machine's: whoever compares fingerprints meanwhile sees them
    pytest.mark.skipif(not {"cgroup-memory", "loop"} <= HERE, reason="needs root, a memory controller and loop devices"),
]
SMALL = Resources(fault="resources", memory_mib=64, cpu_share=0.5, processes=50)


def hold(coordinator: Coordinator, device: Device, fault: Scarcity) -> str:
    """In effect; the name of its program."""
    (program,) = programs_of([fault], ANYWHERE, "try", 1)
    asked = {"confined": isinstance(fault, Resources), "disk": {"size_mib": 16} if isinstance(fault, Disk) else None}
    coordinator.ask("prepare_scarcity", run=RUN, execution="try", scarcity=asked)
    words: dict[str, Any] = {"renew_s": RENEW_S, "cap_s": 600.0}
    coordinator.ask("arm", program=program.model_dump(mode="json"), run=RUN, **words)
    coordinator.ask("start_program", name=program.name)
    until(lambda: device.twin)
    return program.name


def nothing_is_left(device: Device) -> bool:
    group, disk = Group(str(device.state)), SmallDisk(str(device.state))
    return not group.exists() and not disk.source() and not list((device.state / "guard").glob("*.json"))


def test_neither_guard_nor_supervisor_is_in_the_group(device: Device) -> None:
    """They could be killed by it; and what they need would be taken from the pipeline."""
    coordinator = device.start()
    hold(coordinator, device, SMALL)
    group = Group(str(device.state))
    assert group.limits() == {"memory_limit_bytes": 64 << 20, "cpu_quota_us": 5000, "processes_limit": 50}
    for pid in (*device.supervisor, *device.both):
        assert group.name not in Path(f"/proc/{pid}/cgroup").read_text()
    said = coordinator.ask("scarcity")
    assert said["confined"]["memory_limit_bytes"] == 64 << 20
    coordinator.ask("revert", name="")
    assert nothing_is_left(device)


@pytest.mark.parametrize("victims", VICTIMS)
@pytest.mark.parametrize("fault", [SMALL, Disk(fault="disk", what="full")], ids=["caps", "disk"])
def test_whoever_is_killed_nothing_stays(device: Device, fault: Scarcity, victims: str) -> None:
    """Nobody renews any more; the guard, its twin, or one that a supervisor starts, takes it back."""
    coordinator = device.start()
    name = hold(coordinator, device, fault)
    assert not nothing_is_left(device)
    device.kill(*VICTIMS[victims])
    if "all three" in victims:
        device.start()
    until(lambda: nothing_is_left(device), 60.0)
    assert {said["program"] for said in device.said("reverted")} == {name}
    assert device.said("revert_failed") == []


def test_one_limit_that_the_kernel_refuses_takes_all_back(device: Device) -> None:
    """The control: a step that fails is no fault in effect, whoever asked is told, and nothing stays."""
    coordinator = device.start()
    (program,) = programs_of([SMALL], ANYWHERE, "try", 1)
    wrong = program.model_dump(mode="json")
    wrong["steps"][0]["acts"][0]["input"] = '{"processes": -7}'
    coordinator.ask("arm", program=wrong, run=RUN, renew_s=RENEW_S, cap_s=600.0)
    with pytest.raises(ValueError, match="a step failed"):
        coordinator.ask("start_program", name=program.name)
    until(lambda: nothing_is_left(device), 60.0)
