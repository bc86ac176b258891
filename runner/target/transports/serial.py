"""Serial: everything that SSH does, over a console's three wires.

    open     the port, the login, what must be there first, then a conversation       (runner/target/serial/)
    run      a channel of it, to its end
    stream   a channel of it

A device that was cut, or whose line is lost, is reached again by `close` and `open`: it begins at the port, and lives through
whatever a boot prints.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from runner.ondevice.channels import ERR, OUT
from runner.target.drivers import Request
from runner.target.power.base import Power
from runner.target.rate import Rate
from runner.target.serial.talk import NearChannel, Talk
from runner.target.transports.base import Completed, LinkLost, Stream, everything

SHARE = 0.95  # of a clean line's bytes that are ours
PIECE_BYTES = 65536  # of a command's input: so much of it is in memory twice


def make(request: Request, power: Power) -> SerialTransport:
    """The transport of an inventory line, whose address is the port, or of the tty that its power source offers once it is on.

    Raises AskError for an address that is none.
    """
    from runner.target.credentials import find_secret
    from runner.target.serial.console_log import ConsoleLog, console_folder
    from runner.target.serial.port import Address
    from runner.target.serial.reach import Reach

    address = None if request.type.emulation else Address.parse(request.line.address)

    def find() -> Address:
        endpoint = power.endpoint()
        return address or Address(endpoint.line if endpoint else "", paced=False)

    log = ConsoleLog(console_folder(request.state, request.name))
    password = find_secret(request.name, "serial_password")
    rate = Rate(address.baud / 10 * SHARE, f"{address.baud:,} baud") if address else None
    return SerialTransport(Reach(request.name, find, request.line.user, password, request.say, log, request.lasting), rate)


class SerialTransport:
    """`reach` leads from nothing to a conversation with the device's end; it is called at every `open`. `rate`: see rate.py."""

    def __init__(self, reach: Callable[[], Awaitable[Talk]], rate: Rate | None = None) -> None:
        self._reach, self.rate = reach, rate
        self._talk: Talk | None = None

    async def open(self) -> None:
        if self._talk is not None and self._talk.lost:
            await self.close()
        if self._talk is None:
            self._talk = await self._reach()

    async def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float = 60.0) -> Completed:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._run(argv, input)
        except asyncio.TimeoutError:
            raise LinkLost(f"{argv[0]} did not end within {timeout_s:g} s") from None

    async def _run(self, argv: Sequence[str], input: bytes) -> Completed:
        channel = await self._open().open(argv, errors=True)
        try:
            said, complained, _ = await asyncio.gather(
                everything(lambda _: channel.read(OUT), argv[0]),
                everything(lambda _: channel.read(ERR), argv[0]),
                _feed(channel, input),
            )
            await channel.until(lambda: channel.ended, f"{argv[0]} to end")
        finally:
            channel.close()
        assert channel.exit_status is not None
        return Completed(channel.exit_status, said, complained)

    async def stream(self, argv: Sequence[str]) -> Stream:
        return SerialStream(await self._open().open(argv, errors=False), self.rate)

    async def close(self) -> None:
        talk, self._talk = self._talk, None
        if talk is not None:
            await talk.close("the coordinator has let go")

    def _open(self) -> Talk:
        if self._talk is None:
            raise LinkLost("the serial line is closed")
        return self._talk


class SerialStream:
    def __init__(self, channel: NearChannel, rate: Rate | None = None) -> None:
        self._channel, self.rate = channel, rate

    async def read(self) -> bytes:
        return await self._channel.read()

    async def write(self, data: bytes) -> None:
        await self._channel.write(data)

    async def close(self) -> None:
        self._channel.close()


async def _feed(channel: NearChannel, data: bytes) -> None:
    """All of `data`, then the end; a command that does not want it has its reasons, and its exit status says them."""
    try:
        for start in range(0, len(data), PIECE_BYTES):
            await channel.write(data[start : start + PIECE_BYTES])
    except LinkLost:
        if not channel.ended:
            raise
    channel.end_input()
