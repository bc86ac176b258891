"""The product's own transport: with_runner.py FOLDER COUNT COMMANDS: `true` on each device, so many times, all devices at once."""

import asyncio
import sys
from typing import Any

from runner_endpoint import endpoint
from told_devices import devices

from runner.target.transports.ssh import SshTransport


async def work(device: dict[str, Any], commands: int) -> None:
    transport = SshTransport(lambda: endpoint(device))
    await transport.open()
    for _ in range(commands):
        assert (await transport.run(["true"])).exit_status == 0
    await transport.close()


async def main(folder: str, count: str, commands: str) -> None:
    await asyncio.gather(*(work(device, int(commands)) for device in devices(folder, count)))


asyncio.run(main(*sys.argv[1:]))
