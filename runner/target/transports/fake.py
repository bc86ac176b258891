"""A transport to a device that exists only in memory: for tests, ours and yours.

It knows the commands that the conformance suite speaks (`cat`, also of /dev/zero, `printf`, `sleep`, `true`, `sh -c "exit N"`), and any
others that it is given: `FakeTransport({"name": coroutine})`, where the coroutine gets the arguments, a
reader and a writer. `broken` makes the link fail from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from runner.target.transports.base import STALLED_S, Completed, LinkLost, NoSuchCommand, Stream, everything


class Pipe:
    """One direction of bytes in memory."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(maxsize=64)
        self._ended = False

    async def read(self) -> bytes:
        if self._ended:
            return b""
        data = await self._queue.get()
        self._ended = not data
        return data

    async def write(self, data: bytes) -> None:
        if data:
            await self._queue.put(data)

    async def end(self) -> None:
        await self._queue.put(b"")


Command = Callable[[Sequence[str], Pipe, Pipe], Awaitable[int]]


async def _cat(argv: Sequence[str], stdin: Pipe, stdout: Pipe) -> int:
    while argv[1:] == ["/dev/zero"]:
        await stdout.write(bytes(4096))
    while data := await stdin.read():
        await stdout.write(data)
    return 0


async def _printf(argv: Sequence[str], stdin: Pipe, stdout: Pipe) -> int:
    if argv[1] != r"%s\0":
        raise ValueError("the fake printf knows one format")
    await stdout.write("".join(f"{word}\0" for word in argv[2:]).encode())
    return 0


async def _sh(argv: Sequence[str], stdin: Pipe, stdout: Pipe) -> int:
    verb, _, number = argv[2].partition(" ")
    if verb != "exit":
        raise ValueError("the fake shell knows only `exit N`")
    return int(number)


async def _sleep(argv: Sequence[str], stdin: Pipe, stdout: Pipe) -> int:
    await asyncio.sleep(float(argv[1]))
    return 0


async def _true(argv: Sequence[str], stdin: Pipe, stdout: Pipe) -> int:
    return 0


class FakeTransport:
    def __init__(self, commands: dict[str, Command] | None = None) -> None:
        self._commands: dict[str, Command] = {"cat": _cat, "printf": _printf, "sh": _sh, "sleep": _sleep, "true": _true, **(commands or {})}
        self._tasks: set[asyncio.Task[int]] = set()
        self.broken = False

    async def open(self) -> None:
        self._check()

    async def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float = 60.0) -> Completed:
        stream = await self.stream(argv)
        assert isinstance(stream, FakeStream)

        async def talk() -> int:
            for start in range(0, len(input), 65536):
                await stream.write(input[start : start + 65536])
            await stream.stdin.end()
            return 0

        async def listen() -> tuple[bytes, int]:
            return await everything(lambda _: stream.read(), argv[0]), await stream.task

        try:
            async with asyncio.timeout(timeout_s):
                _, (said, status) = await asyncio.gather(talk(), listen())
        except asyncio.TimeoutError:
            raise LinkLost(f"{argv[0]} did not end within {timeout_s:g} s") from None
        finally:
            await stream.close()
        return Completed(status, said, b"")

    async def stream(self, argv: Sequence[str]) -> Stream:
        self._check()
        if argv[0] not in self._commands:
            raise NoSuchCommand(f"{argv[0]} cannot be started: no such command")
        stdin, stdout = Pipe(), Pipe()

        async def live() -> int:
            try:
                return await self._commands[argv[0]](argv, stdin, stdout)
            finally:
                await stdout.end()

        task = asyncio.ensure_future(live())
        self._tasks.add(task)
        return FakeStream(self, stdin, stdout, task)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    def _check(self) -> None:
        if self.broken:
            raise LinkLost("the fake link is broken")


class FakeStream:
    def __init__(self, transport: FakeTransport, stdin: Pipe, stdout: Pipe, task: asyncio.Task[int]) -> None:
        self.stdin, self.task = stdin, task
        self._transport, self._stdout = transport, stdout

    async def read(self) -> bytes:
        self._transport._check()
        return await self._stdout.read()

    async def write(self, data: bytes) -> None:
        self._transport._check()
        if self.task.done():
            raise LinkLost("the command at the other end of the stream has ended")
        try:
            async with asyncio.timeout(STALLED_S):
                await self.stdin.write(data)
        except asyncio.TimeoutError:
            raise LinkLost(f"the command at the other end of the stream took nothing for {STALLED_S:g} s") from None

    async def close(self) -> None:
        self.task.cancel()
