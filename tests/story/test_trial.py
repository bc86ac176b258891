"""Profiles tried one after another on one bench: each is off again, and proven to be, before the next. No device and no packet here."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.errors import LabError
from runner.farm.lease import Leases
from runner.model.device import DataLink
from runner.model.profile import Bandwidth, Direction, Link, Offline
from runner.ondevice.journal import Record
from runner.story import links, trial
from runner.story.ground import Ground
from runner.story.trial import Bench, Tried, hold_one
from tests.story.test_links import GOOD, Device

LINK = DataLink(interface="data0", far_end="10.77.0.1")
NARROW = Bandwidth(fault="bandwidth", up=Direction(rate_kbit_s=26.8), down=Direction(rate_kbit_s=53.6))
AWAY = Offline(fault="offline", at_s=5.0, for_s=5.0)
AS_ASKED: dict[str, Any] = {**GOOD, "up": {**GOOD["up"], "rate_kbit_s": 26.0}, "down": {**GOOD["up"], "rate_kbit_s": 53.0}}  # type: ignore[dict-item]


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def at(device: Device, tmp_path: Path, clock: Any, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench whose link is as asked exactly while the device has something on it that was begun."""
    device.measured = []  # type: ignore[attr-defined]

    async def measured(*_: Any) -> dict[str, Any]:
        on = bool(device.begun and device.armed and device.obeys)
        device.measured.append(on)  # type: ignore[attr-defined]
        return AS_ASKED if on else GOOD

    async def guards(at: Bench, token: str) -> list[Record]:
        step = {"program": "try.offline-1", "word": "offline", "on": True}
        back = {"program": "try.offline-1", "why": "asked"}
        times = ((5, "step", step), (10, "reverting", back))
        return [Record(number, "b" * 32, at_s * 10**9, 0, kind, said, b"") for number, (at_s, kind, said) in enumerate(times, 1)]

    monkeypatch.setattr(trial, "measure", measured)
    monkeypatch.setattr(links, "at_rest", measured)
    monkeypatch.setattr(trial, "_guard_journal", guards)
    renewed: list[float] = []

    async def renew(for_s: float) -> None:
        renewed.append(for_s)

    leases = Leases(tmp_path / "state")
    lease = SimpleNamespace(leases=leases, identity="pi-04", renew=lambda: None)
    target = SimpleNamespace(power=SimpleNamespace(renew=renew))
    request = SimpleNamespace(name="pi-04", clock=clock, say=lambda text: None)
    ground = Ground("pi-04", "pi-04", device, leases, "a trial", request.say)  # type: ignore[arg-type]
    found = asyncio.run(ground.fingerprint())
    (tmp_path / "link.jsonl").write_text("")
    return Bench(request, LINK, target, device, lease, SimpleNamespace(), tmp_path, ground, found, GOOD)  # type: ignore[arg-type]


def tried(at: Bench, *asked: Link, for_s: float = 0.0) -> Tried:
    return asyncio.run(hold_one(at, asked, for_s, 1, lambda phase, rows: None))


def test_one_after_another_each_is_off_before_the_next(at: Bench, device: Device) -> None:
    """Armed, begun, measured while it is on, reverted, measured when it is off; twice, in the one session."""
    for _ in range(2):
        found = tried(at, NARROW)
        assert found.reached and found.reverted
        assert not device.armed
        device.begun.clear()
    assert device.measured == [True, False, True, False]  # type: ignore[attr-defined]
    assert [word for word in device.asked if word in ("arm", "start_program", "revert")] == ["arm", "start_program", "revert"] * 2
    assert at.ground.leases.expected("pi-04") is None


def test_a_fault_that_does_nothing_is_not_reached(at: Bench, device: Device) -> None:
    """The negative control: it is reverted all the same."""
    device.obeys = False
    found = tried(at, NARROW)
    assert not found.reached and found.reverted


def test_what_comes_and_goes_is_read_from_the_log(at: Bench) -> None:
    """It is not measured while it is held; without a packet in the log nothing is known, and that is not reached."""
    found = tried(at, AWAY, for_s=60.0)
    assert "during" not in found.measured
    assert next(row["what"] for row in found.rows["during"]) == "try.offline-1, while it was on"
    assert not found.reached


def test_what_was_not_measured_is_not_reached() -> None:
    """Nor is an empty list of rows a proof."""
    assert not Tried(rows={"during": []}).reached


def test_a_measurement_that_fails_takes_the_fault_back(at: Bench, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens while something is on, it comes off."""

    async def breaks(*_: Any) -> dict[str, Any]:
        raise LabError("the far end is gone")

    monkeypatch.setattr(trial, "measure", breaks)
    with pytest.raises(LabError, match="the far end is gone"):
        tried(at, NARROW)
    assert not device.armed


def test_what_stays_on_quarantines_the_device(at: Bench, device: Device) -> None:
    """Nothing follows on that bench: the next one is refused with the lease."""
    device.lets_go = False
    with pytest.raises(LabError, match="not as it was before, and quarantined"):
        tried(at, NARROW)
    assert at.ground.leases.quarantined("pi-04")


def test_a_link_that_was_busy_for_a_moment_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two in a row are no moment: then it is not as it was."""
    slow = {**GOOD, "rtt_p50_ms": 900.0}
    for measured, within in (([slow, GOOD], True), ([slow, slow], False), ([GOOD], True)):
        left = list(measured)

        async def rested(_: Any, left: list[Any] = left) -> dict[str, Any]:
            return dict(left.pop(0))

        monkeypatch.setattr(links, "at_rest", rested)
        rows, _ = asyncio.run(links.as_before(SimpleNamespace(), GOOD))  # type: ignore[arg-type]
        assert all(row["within"] for row in rows) is within
        assert left == []
