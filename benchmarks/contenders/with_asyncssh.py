"""asyncssh with its default arguments: with_asyncssh.py FOLDER COUNT COMMANDS."""

import asyncio
import sys
from typing import Any

import asyncssh
from told_devices import devices


async def work(device: dict[str, Any], commands: int) -> None:
    async with asyncssh.connect("127.0.0.1", device["port"], username=device["user"]) as connection:
        for _ in range(commands):
            await connection.run("true", check=True)


async def main(folder: str, count: str, commands: str) -> None:
    await asyncio.gather(*(work(device, int(commands)) for device in devices(folder, count)))


asyncio.run(main(*sys.argv[1:]))
