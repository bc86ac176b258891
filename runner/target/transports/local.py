"""The `local` transport: this very machine, through ordinary child processes. No network, no root."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence

from runner.target.drivers import Request
from runner.target.power.base import Power
from runner.target.transports.base import Completed, LinkLost, Stream


def make(request: Request, power: Power) -> LocalTransport:
    return LocalTransport()


class LocalTransport:
    def __init__(self) -> None:
        self._streams: list[LocalStream] = []

    async def open(self) -> None:
        return None

    async def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float = 60.0) -> Completed:
        process = await _spawn(argv)
        try:
            stdout, stderr = await asyncio.wait_for(process.communicate(input), timeout_s)
        except asyncio.CancelledError:
            process.kill()
            raise
        except asyncio.TimeoutError:
            process.kill()
            await process.wait()
            raise LinkLost(f"{argv[0]} did not end within {timeout_s:g} s") from None
        return Completed(process.returncode or 0, stdout, stderr)

    async def stream(self, argv: Sequence[str]) -> Stream:
        stream = LocalStream(await _spawn(argv))
        self._streams.append(stream)
        return stream

    async def close(self) -> None:
        streams, self._streams = self._streams, []
        for stream in streams:
            await stream.close()


class LocalStream:
    def __init__(self, process: Process) -> None:
        assert process.stdin and process.stdout
        self._process, self._in, self._out = process, process.stdin, process.stdout

    async def read(self) -> bytes:
        return await self._out.read(262144)

    async def write(self, data: bytes) -> None:
        try:
            self._in.write(data)
            await self._in.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise LinkLost("the command at the other end of the stream has ended") from error

    async def close(self) -> None:
        self._in.close()
        if self._process.returncode is None:
            try:
                await asyncio.wait_for(self._process.wait(), 2.0)
            except asyncio.TimeoutError:
                self._process.kill()
                await self._process.wait()


async def _spawn(argv: Sequence[str]) -> Process:
    try:
        return await asyncio.create_subprocess_exec(*argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=1 << 20)
    except OSError as error:
        raise LinkLost(f"{argv[0]} cannot be started: {error.strerror}") from error
