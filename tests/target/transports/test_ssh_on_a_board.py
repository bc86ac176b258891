"""The SSH transport against the dropbear of an emulated board, and its power driver."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runner.clock import SystemClock
from runner.lab.load import Reader
from runner.lab.where import Lab, builtin_root, cache_root
from runner.story.plan import Asked, find_device
from runner.target.conformance import check_transport
from runner.target.drivers import Request, make_target

pytestmark = pytest.mark.qemu
UNRENEWED_S = 600.0  # nobody renews the board here: longer than a boot and every check may take beside another board


def test_it_conforms_towards_dropbear(tmp_path: Path) -> None:
    """SSH keeps every promise of a transport towards a board's dropbear, and the board is gone afterwards."""
    found = find_device(Asked(entry="", device="qemu-pi"), Reader(Lab(builtin_root(), tmp_path, builtin=True)))
    assert found
    line, device_type = found
    request = Request("qemu-pi", line, device_type, tmp_path / "state", cache_root(), tmp_path / "w", SystemClock(), lambda text: None)

    async def scenario() -> dict[str, object]:
        target = await make_target(request)
        try:
            await target.power.on()
            await target.power.keep_on(UNRENEWED_S)
            await (await target.bring_up(lambda text: None)).close()
            await target.transport.close()
            await check_transport(lambda: target.transport)
            return await target.power.facts()
        finally:
            await target.shut_down()

    facts = asyncio.run(scenario())
    assert facts["accelerator"] == "tcg"
    pids = facts["pids"]
    assert isinstance(pids, dict)
    assert not [pid for pid in pids.values() if Path(f"/proc/{pid}").exists()]
