"""Link faults over an execution, with a device that keeps books instead of a link: what is asked of it, in which order, and
what becomes of the run where it does not obey."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.errors import LabError
from runner.farm import health
from runner.farm.lease import Leases
from runner.faults.kernel import NeighbourTimers
from runner.model.device import DataLink
from runner.model.plan import ExecutionPlan
from runner.model.profile import Bandwidth, Direction, Jamming, Link, Offline
from runner.ondevice.fingerprint import FIELDS
from runner.ondevice.journal import Journal
from runner.story import arming, links
from runner.story.measure import Expected
from runner.story.run import Run

LINK = DataLink(interface="data0", far_end="10.77.0.1")
GOOD = {"up": {"sent": 200, "received": 200, "bursts": {}, "rate_kbit_s": None}, "echoes": 200, "rtt_p50_ms": 3.0, "rtt_p95_ms": 4.0}
GOOD["down"] = dict(GOOD["up"])  # type: ignore[call-overload]
SILENT = {**GOOD, "up": {**GOOD["up"], "received": 0}, "down": {**GOOD["up"], "sent": 0, "received": 0}, "echoes": 0}  # type: ignore[dict-item]
OFFLINE = Offline(fault="offline")
GPRS = Bandwidth(fault="bandwidth", up=Direction(rate_kbit_s=26.8, delay_ms=500), down=Direction(rate_kbit_s=53.6, delay_ms=500))


class FakeRun(SimpleNamespace):
    """A run that is no more than what a test says, and stands on its device's ground as one does."""

    ground = Run.ground


class Device:
    """A device that does what it is told, and writes down what that was. `obeys`: whether a fault silences its link, and comes off."""

    def __init__(self, boot: str = "b" * 32) -> None:
        self.asked: list[str] = []
        self.armed: dict[str, dict[str, Any]] = {}
        self.begun: list[str] = []
        self.elapsed: dict[str, float] = {}
        self.hello: dict[str, Any] = {"capabilities": ["netem", "tbf", "ifb", "nft"]}
        self.firewall: list[str] = []
        self.lines: dict[str, list[str]] = {}  # of its fingerprint, by field
        self.qdiscs: list[str] = []
        self.boot, self.obeys, self.lets_go, self.mirror = boot, True, True, None

    async def ask(self, do: str, *, timeout_s: float = 60.0, **words: Any) -> dict[str, Any]:
        self.asked.append(do)
        answer = getattr(self, f"_{do}", lambda **_: {})(**words)
        assert isinstance(answer, dict)
        return answer

    def _fingerprint(self) -> dict[str, Any]:
        lines: dict[str, Any] = {**{name: [] for name in FIELDS}, **self.lines}
        return {"fields": {**lines, "firewall": self.firewall, "qdiscs": self.qdiscs, "clock": 0, "boottime_s": 1, "boot_id": self.boot}}

    def _arm(self, program: dict[str, Any], elapsed_s: float, **_: Any) -> dict[str, Any]:
        self.armed[program["name"]] = program
        self.elapsed[program["name"]] = elapsed_s
        return {"armed": program["name"]}

    def _start_program(self, name: str) -> dict[str, Any]:
        assert name in self.armed
        self.begun.append(name)
        return {}

    def _revert(self, name: str) -> dict[str, Any]:
        gone = list(self.armed)
        if not self.lets_go and gone:
            return {"reverted": [], "left": [f"{gone[0]}: table inet runner_offline"]}
        self.armed.clear()
        return {"reverted": gone, "left": []}

    def _programs(self) -> dict[str, Any]:
        standing = [{"name": name, "state": "begun", "word": "offline", "holder": "ada@lab for EDGE-003"} for name in self.armed]
        return {"programs": standing, "guard": {"pid": 1, "alive": True}}

    def _probe_stop(self) -> dict[str, Any]:
        return {"sent": 9, "echoes": 9}


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def run(device: Device, tmp_path: Path, clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run under way, whose link is measured as silent exactly while the device has something on it."""

    async def measured(probe: Any, expected: Expected, *_: Any) -> dict[str, Any]:
        device.asked.append("measure")
        return SILENT if device.begun and device.armed and device.obeys else GOOD

    async def mirrored(*_: Any) -> None:
        device.asked.append("mirror the guard's journal")

    async def rested(probe: Any) -> dict[str, Any]:
        return await measured(probe, Expected())

    monkeypatch.setattr(links, "measure", measured)
    monkeypatch.setattr(links, "at_rest", rested)
    monkeypatch.setattr(links, "mirror_guard", mirrored)
    log = Journal.create(str(tmp_path / "coordinator.journal"), "run_began", {})
    lease = SimpleNamespace(leases=Leases(tmp_path / "state"))
    plan = SimpleNamespace(data_link=LINK, device="pi-04", seed=1, identity="pi-04", type=SimpleNamespace(shared=False))
    folder = SimpleNamespace(device_journal=lambda name: tmp_path / f"device-{name}.journal")
    said: list[str] = []
    return FakeRun(
        session=device, plan=plan, token="EDGE-003.x", far_end=object(), as_found=None, imposed_in="", clock=clock, lease=lease,
        log=log, folder=folder,
        said=said, say=said.append, emit=lambda *_, **__: None, note=lambda kind, /, **facts: log.append(kind, facts),
    )  # fmt: skip


def execution(*held: Link, **more: Any) -> ExecutionPlan:
    values: dict[str, Any] = {"durability": "journaled", "stages": ("a", "forward"), "cuts": (), "limit_s": 60.0, "links": held, **more}
    return ExecutionPlan(name="recovery-1", scenario="recovery", module="recovery", **values)


def notes(run: Any, kind: str) -> list[dict[str, Any]]:
    return [record.payload for record in run.log.records if record.kind == kind]


def test_nothing_is_asked_of_a_device_whose_execution_has_no_link_fault(run: Any, device: Device) -> None:
    """No fingerprint, no probe: an entry that leaves the link alone costs what it did before."""
    for act in (links.impose, links.lift, links.impose_again):
        asyncio.run(act(run, execution()))
    assert device.asked == []


def test_a_fault_is_imposed_proven_and_lifted_in_this_order(run: Any, device: Device) -> None:
    """Looked at and measured before anything; armed before it begins; measured while it is on, and when it is off again."""
    asyncio.run(links.impose(run, execution(OFFLINE)))
    order = ["revert", "fingerprint", "measure", "probe_start", "arm", "start_program", "measure"]
    assert device.asked == order
    rows = notes(run, "link_proof")[0]["rows"]
    assert rows and all(row["within"] for row in rows)
    device.asked.clear()
    asyncio.run(links.lift(run, execution(OFFLINE)))
    assert device.asked == ["probe_stop", "revert", "mirror the guard's journal", "measure", "fingerprint"]
    assert device.armed == {}
    assert all(row["within"] for row in notes(run, "link_lifted")[0]["rows"])
    assert run.lease.leases.expected("pi-04") is None and run.lease.leases.quarantined("pi-04") is None


def test_a_fault_that_does_nothing_blocks_the_run(run: Any, device: Device) -> None:
    """The negative control of the proof: packets go on passing, so it was not reached, and nobody passes for having survived it."""
    device.obeys = False
    with pytest.raises(LabError, match="fault not reached"):
        asyncio.run(links.impose(run, execution(OFFLINE)))
    assert notes(run, "link_proof")[0]["rows"][0]["within"] is False


@pytest.mark.parametrize(
    ("qdiscs", "firewall", "found"),
    [
        (["qdisc htb 1: dev data0 root"], [], "qdisc htb"),
        ([], ["table inet filter"], "table inet filter"),
        ([], ["table inet runner_offline"], "left by a fault of ours"),
    ],
)
def test_what_is_somebody_elses_is_refused_untouched(run: Any, device: Device, qdiscs: list[str], firewall: list[str], found: str) -> None:
    """Nothing was armed, and nothing is expected of the device: it is as it was."""
    device.qdiscs, device.firewall = qdiscs, firewall
    with pytest.raises(LabError, match=found):
        asyncio.run(links.impose(run, execution(OFFLINE)))
    assert "arm" not in device.asked and run.lease.leases.expected("pi-04") is None


def test_a_link_that_carries_nothing_by_itself_is_no_fault_of_ours(run: Any, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without that, a dead cable would be a fault that was reached."""

    async def dead(*_: Any) -> dict[str, Any]:
        return SILENT

    monkeypatch.setattr(links, "at_rest", dead)
    with pytest.raises(LabError, match="carries nothing, without any fault"):
        asyncio.run(links.impose(run, execution(OFFLINE)))
    assert device.armed == {}


def test_what_stays_quarantines_the_device(run: Any, device: Device) -> None:
    """By the guard's word, and by the fingerprint's: the device is lent to nobody, and the sentence says what to do."""
    asyncio.run(links.impose(run, execution(OFFLINE)))
    device.lets_go = False
    with pytest.raises(LabError, match=r"quarantined: recovery-1\.offline-1") as said:
        asyncio.run(links.lift(run, execution(OFFLINE)))
    assert said.value.complaints[0].do == "runner device check pi-04"
    device.lets_go, device.begun = True, []
    device.firewall = ["table inet planted"]
    with pytest.raises(LabError, match=r"quarantined: \+ firewall: table inet planted"):
        asyncio.run(links.lift(run, execution(OFFLINE)))
    assert run.lease.leases.quarantined("pi-04").differences == ("+ firewall: table inet planted",)
    assert run.lease.leases.expected("pi-04") is not None


def test_what_comes_and_goes_is_not_measured_at_once_but_by_its_packets(run: Any, device: Device) -> None:
    """A flapping link has no moment at which it could be measured; the guard's windows and the light probe tell."""
    flapping = Offline(fault="offline", at_s=5, for_s=2, every_s=10, times=3)
    asyncio.run(links.impose(run, execution(flapping)))
    assert notes(run, "link_proof") == [] and device.begun == []
    assert device.armed["recovery-1.offline-1"]["stage"] == "a"  # its time begins with the first stage, however slow the board is


def test_after_a_power_cut_what_is_left_of_each_is_armed_again(
    run: Any, device: Device, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time that has passed is taken off; what is over stays over; what waits for its stage waits again."""

    async def proven(*_: Any) -> tuple[list[Any], dict[str, Any]]:
        return [], {}

    monkeypatch.setattr(links, "proof", proven)
    over, going = Offline(fault="offline", for_s=5), Jamming(fault="jamming", jammer="constant", for_s=50)
    waiting = Bandwidth(fault="bandwidth", up=Direction(rate_kbit_s=64), down=Direction(), stage="forward")
    plan = execution(over, going, GPRS, waiting)
    asyncio.run(links.impose(run, execution(over, going, GPRS)))
    mirrored = Journal.create(str(run.folder.device_journal("recovery-1")), "began", {"stages": [], "holds": []})
    mirrored.append("stage_started", {"stage": "a@1"})
    run.note("mirrored", execution="recovery-1", sequence=2, kind="stage_started")
    clock.now_ns = run.log.records[-1].boottime_ns + int(20e9)
    device.begun.clear()
    device.boot = "c" * 32
    asyncio.run(links.impose_again(run, plan))
    assert sorted(device.armed) == ["recovery-1.bandwidth-1", "recovery-1.bandwidth-2", "recovery-1.jamming-1"]
    assert device.begun == ["recovery-1.jamming-1", "recovery-1.bandwidth-1"]
    assert run.as_found["boot_id"] == "c" * 32  # what it was before is looked at anew in each boot
    assert device.elapsed["recovery-1.jamming-1"] == pytest.approx(20, abs=2) and device.elapsed["recovery-1.bandwidth-2"] == 0


def test_what_a_killed_run_left_is_taken_back_and_told(run: Any, device: Device) -> None:
    """Whose it was is said; and the device is compared with what it was before *that* run."""
    device.armed["recovery-1.offline-1"] = {"name": "recovery-1.offline-1"}
    asyncio.run(links.clear(run))
    assert device.armed == {} and "left by ada@lab for EDGE-003" in run.said[0]
    before = health.read(device._fingerprint()["fields"])
    run.lease.leases.expect("pi-04", device.boot, before)
    device.firewall = ["table inet planted"]
    with pytest.raises(LabError, match="not as it was before"):
        asyncio.run(links.clear(run))


@pytest.mark.parametrize("booted", [False, True])
def test_each_execution_is_compared_with_what_was_right_before_it(run: Any, device: Device, booted: bool) -> None:
    """The second of a run as the first, also where a power cut of one without link faults came between: what was there before is
    refused, what is left behind it quarantines, and whoever comes next knows of it meanwhile."""
    asyncio.run(links.impose(run, execution(OFFLINE)))
    asyncio.run(links.lift(run, execution(OFFLINE)))
    device.boot = "c" * 32 if booted else device.boot
    device.firewall = ["table inet somebody_elses"]
    with pytest.raises(LabError, match="somebody else has the data link"):
        asyncio.run(links.impose(run, execution(OFFLINE)))
    device.firewall = []
    asyncio.run(links.impose(run, execution(OFFLINE)))
    expected = run.lease.leases.expected("pi-04")
    assert expected is not None
    assert expected[0] == device.boot
    device.firewall = ["table inet planted"]
    with pytest.raises(LabError, match=r"quarantined: \+ firewall: table inet planted"):
        asyncio.run(links.lift(run, execution(OFFLINE)))


def test_what_a_link_that_broke_while_a_fault_was_imposed_has_left_is_compared_with_what_was_before_it(run: Any, device: Device) -> None:
    """Imposed again, the look is anew; a change from in between is not taken for what was before."""
    asyncio.run(links.impose(run, execution(OFFLINE)))
    device.firewall = ["table inet planted"]
    with pytest.raises(LabError, match=r"quarantined: \+ firewall: table inet planted"):
        asyncio.run(links.impose(run, execution(OFFLINE)))


def test_a_device_that_was_booted_since_must_only_not_bear_our_tags(run: Any, device: Device) -> None:
    """Its own state may be another one after a boot; ours may not be there at all."""
    run.lease.leases.expect("pi-04", "a" * 32, {**health.read(device._fingerprint()["fields"]), "boot_id": "a" * 32})
    device.firewall = ["table inet its_own"]
    asyncio.run(links.clear(run))
    assert run.lease.leases.expected("pi-04") is None


@pytest.mark.parametrize(
    ("held", "measured_at_once"),
    [
        (OFFLINE, True),
        (GPRS, True),
        (Jamming(fault="jamming", jammer="constant"), True),
        (Jamming(fault="jamming", jammer="random", mean_on_s=1, mean_off_s=1), False),
        (Offline(fault="offline", for_s=5), False),
        (Offline(fault="offline", at_s=5), False),
        (GPRS.model_copy(update={"stage": "forward"}), False),
    ],
)
def test_what_can_be_measured_at_once(held: Link, measured_at_once: bool) -> None:
    """Only what is on from the beginning to the end."""
    assert arming.constant([held]) is measured_at_once


def test_what_is_expected_of_several_faults_is_the_slowest_of_them() -> None:
    """Whoever measures must neither fill the link nor wait too short."""
    small = Bandwidth(fault="bandwidth", up=Direction(payload_bytes=51, delay_ms=10), down=Direction(rate_kbit_s=9.6))
    expected = arming.expected_of([GPRS, small, OFFLINE])
    assert (expected.up_kbit_s, expected.down_kbit_s, expected.round_trip_ms, expected.largest_bytes) == (26.8, 9.6, 1010, 93)


def test_what_an_undo_must_put_back_is_read_from_the_fingerprint() -> None:
    """Routes that the kernel drops with the interface, its offloads, IPv6 addresses; what the kernel brings by itself is left out."""
    found = {
        "offloads": ["data0 rx-gro", "data0 tx-tcp-segmentation", "mgmt0 tx-generic-segmentation"],
        "neighbours": [
            "lo ipv4 base_reachable 3 retrans 4",
            "data0 ipv4 base_reachable 30000 retrans 1500",
            "data0 ipv6 base_reachable 1 retrans 2",
        ],
        "routes": [
            "10.77.0.0/24 dev data0 proto kernel scope link src 10.77.0.2",
            "10.9.0.0/16 via 10.77.0.1 dev data0",
            "local 10.77.0.2 dev data0 table local proto kernel",
            "default via 10.0.2.2 dev mgmt0",
        ],
        "addresses": ["data0 inet 10.77.0.2/24 scope global data0", "data0 inet6 fd00::2/64 scope global"],
    }
    before = arming.before_of(found, DataLink(interface="data0", far_end="10.77.0.1"))
    assert before.offloads == ("tso", "gro")
    assert before.routes == ("10.9.0.0/16 via 10.77.0.1 dev data0",)
    assert before.addresses == ("fd00::2/64",)
    assert before.neighbours == NeighbourTimers(base_reachable_ms=30000, retrans_ms=1500)
    six = DataLink(interface="data0", far_end="fd00::1")
    assert arming.before_of(found, six).neighbours == NeighbourTimers(base_reachable_ms=1, retrans_ms=2)
    unknown = {**found, "neighbours": ["unknown: the kernel does not say"]}
    assert arming.before_of(unknown, six).neighbours is None
