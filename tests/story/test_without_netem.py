"""Narrow and lossy links on an emulated board whose kernel really has no netem: our own shaper, asked against measured.

    power on ─► the modules of the board without netem ─► a bench, which finds no netem ─► a link held ─► as it was

The board's root is read-only. Its modules are seen through a layer in the board's memory, in which netem is missing: gone with the
power, and no other board is like that.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from runner.clock import SystemClock
from runner.errors import LabError
from runner.farm import health
from runner.farm.lease import LEASE_S
from runner.lab.load import Reader
from runner.lab.where import Lab, builtin_root, cache_root, state_root
from runner.model.device import DataLink
from runner.model.profile import Bandwidth, Link
from runner.story.plan import Asked, find_device
from runner.story.trial import Bench, Tried, bench, faults_of, hold_one
from runner.target.drivers import Request, make_target

pytestmark = [pytest.mark.qemu, pytest.mark.alone, pytest.mark.long]
BOOT_LIMIT_S = 120.0
ATTEMPTS = 3
NO_NETEM = """
set -e
modules=/lib/modules/$(uname -r)
mkdir -p /run/modules/upper /run/modules/work
mount -t overlay -o lowerdir=/lib/modules,upperdir=/run/modules/upper,workdir=/run/modules/work overlay /lib/modules
rm $modules/kernel/net/sched/sch_netem.ko
depmod
if modprobe -q sch_netem || tc qdisc add dev lo root netem delay 1ms 2>/dev/null; then echo netem is still there; exit 1; fi
"""
LOSSY = {  # each direction another kind of loss
    "fault": "bandwidth",
    "up": {"rate_kbit_s": 256, "delay_ms": 200, "jitter_ms": 40, "loss_percent": 15},
    "down": {"delay_ms": 300, "burst": {"p_percent": 5, "r_percent": 25}},
}
NOW_AND_THEN = {  # begun, taken away and begun again by the guard, at its times
    "fault": "bandwidth", "at_s": 5, "for_s": 15, "every_s": 25, "times": 2,
    "up": {"delay_ms": 250, "loss_percent": 50}, "down": {"delay_ms": 250},
}  # fmt: skip


@pytest.fixture
def board(tmp_path: Path) -> tuple[Request, DataLink]:
    """The built-in one, in a state folder of this test's own."""
    found = find_device(Asked(entry="", device="qemu-pi"), Reader(Lab(builtin_root(), tmp_path, builtin=True)))
    assert found
    line, device_type = found
    assert device_type.data_link
    witness = tmp_path / "witness"
    request = Request("qemu-pi", line, device_type, state_root(), cache_root(), witness, SystemClock(), lambda text: None)
    return request, device_type.data_link


@contextlib.asynccontextmanager
async def without_netem(request: Request) -> AsyncIterator[None]:
    """The board is on, and its kernel has no netem any more; no supervisor has looked yet. Off afterwards, whatever happened."""
    target = await make_target(request)
    try:
        await target.power.on()
        deadline = time.monotonic() + BOOT_LIMIT_S
        while True:
            try:
                await target.transport.open()
                break
            except LabError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)
        done = await target.transport.run(["/bin/sh", "-c", NO_NETEM], timeout_s=120)
        assert done.exit_status == 0, (done.stdout, done.stderr)
        await target.transport.close()
        await target.power.renew(LEASE_S)
        yield
    finally:
        await target.shut_down()


async def held(at: Bench, asked: Sequence[Link], for_s: float, seed: int) -> Tried:
    """Held by the product's own path, again where a busy host spoils a measurement; each time the board is what it was before."""
    for _ in range(ATTEMPTS):
        tried = await hold_one(at, asked, for_s, seed, lambda phase, rows: None)
        assert health.differences(at.found, await at.ground.fingerprint()) == []
        assert [word for word in tried.words if not word.startswith("our shaper: ")] == []
        if tried.reached and tried.reverted:
            break
    assert tried.reached, tried.rows["during"]
    assert tried.reverted, tried.rows["after"]
    return tried


def on_a_board_without_netem(board: tuple[Request, DataLink], links: Sequence[Link], for_s: float = 0.0, seed: int = 1) -> Tried:
    request, link = board

    async def story() -> Tried:
        identity = request.line.identity(request.name)
        async with without_netem(request), bench(request, identity, link, lambda phase, rows: None) as at:
            capabilities = set(at.session.hello["capabilities"])
            assert {"tbf", "ifb", "nft", "tun"} <= capabilities
            assert "netem" not in capabilities
            return await held(at, links, for_s, seed)

    return asyncio.run(story())


def test_a_shipped_profile_on_a_board_without_netem(board: tuple[Request, DataLink], tmp_path: Path) -> None:
    """Rates of both directions and the round trip are what GPRS has, by our own shaper, and it is off again."""
    gprs = faults_of(("gprs",), Reader(Lab(builtin_root(), tmp_path, builtin=True)), *board).links
    narrow = on_a_board_without_netem(board, gprs)
    assert narrow.words == ["our shaper: 53.6/26.8 kbit/s, 500 ms (down/up)"]
    assert {"rate up", "rate down", "round trip"} <= {row["what"] for row in narrow.rows["during"]}


def test_losses_by_a_seed_on_a_board_without_netem(board: tuple[Request, DataLink]) -> None:
    """One by one upwards, in bursts downwards."""
    lossy = on_a_board_without_netem(board, (Bandwidth.model_validate(LOSSY),), seed=7)
    assert {"rate up", "loss up", "loss down", "round trip"} <= {row["what"] for row in lossy.rows["during"]}


def test_what_comes_and_goes_on_a_board_without_netem(board: tuple[Request, DataLink]) -> None:
    """The guard begins the shaper for each window and ends it behind it; the packets of the light probe say the same."""
    windows = on_a_board_without_netem(board, (Bandwidth.model_validate(NOW_AND_THEN),), for_s=48.0)
    assert [change["word"] for change in windows.faults if change["on"]] == windows.words * 2
