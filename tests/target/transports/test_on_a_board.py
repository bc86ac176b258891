"""Each transport against emulated boards: SSH towards a dropbear, a serial line towards a login on the console or a second UART."""

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
UNRENEWED_S = 1800.0  # nobody renews a board here, and one of four processors boots for minutes beside others


@pytest.mark.parametrize("name", ["qemu-pi", "qemu-serial", "qemu-serial-uart", "qemu-raspi3b"])
def test_it_conforms_and_survives_a_cut(tmp_path: Path, name: str) -> None:
    """Every promise of a transport, and nothing beside it; after a power cut the supervisor is found again; then the board is gone."""
    found = find_device(Asked(entry="", device=name), Reader(Lab(builtin_root(), tmp_path, builtin=True)))
    assert found
    line, device_type = found
    request = Request(name, line, device_type, tmp_path / "state", cache_root(), tmp_path / "w", SystemClock(), lambda text: None)

    async def scenario() -> dict[str, object]:
        target = await make_target(request)
        try:
            await target.power.on()
            await target.power.keep_on(UNRENEWED_S)
            await (await target.bring_up(lambda text: None)).close()
            await target.transport.close()
            await check_transport(lambda: target.transport)
            facts = await target.power.facts()
            await target.power.cut()
            session = await target.recover(device_type.boot_limit_s)
            assert session.hello["boot_id"]
            await session.close()
            return facts
        finally:
            await target.shut_down()

    facts = asyncio.run(scenario())
    assert facts["accelerator"] == "tcg" or name != "qemu-pi"
    pids = facts["pids"]
    assert isinstance(pids, dict)
    assert not [pid for pid in pids.values() if Path(f"/proc/{pid}").exists()]
