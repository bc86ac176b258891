"""The `local` transport: this very machine, through ordinary child processes. No network, no root.

A board knows nothing of its coordinator's environment, so neither does what runs here: pipelines are strangers' code, and
an environment holds passwords and tokens. Only what `GIVEN` names is passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence

from runner.target.drivers import Request
from runner.target.power.base import Power
from runner.target.transports.base import READ_BYTES, STALLED_S, Completed, LinkLost, NoSuchCommand, Stream, everything

# What programs need to find themselves and their language, and our own words; never RUNNER_SECRET_… or RUNNER_SECRETS.
GIVEN = re.compile(r"PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|TZ|LANG|LC_\w+|LD_LIBRARY_PATH|PYTHON\w+|VIRTUAL_ENV|RUNNER_(?!SECRET)\w+")


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of every process of a device that is this machine."""
    return {name: value for name, value in environ.items() if GIVEN.fullmatch(name)}


END_LIMIT_S = 2.0  # for a command whose input has ended, before it is killed


def make(request: Request, power: Power) -> LocalTransport:
    return LocalTransport()


class LocalTransport:
    def __init__(self) -> None:
        self._streams: list[LocalStream] = []

    async def open(self) -> None:
        return None

    async def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float = 60.0) -> Completed:
        process = await _spawn(argv, PIPE)
        assert process.stdin and process.stdout and process.stderr
        stdout, stderr = everything(process.stdout.read, argv[0]), everything(process.stderr.read, argv[0])
        try:
            async with asyncio.timeout(timeout_s):
                said, complained, status, _ = await asyncio.gather(stdout, stderr, process.wait(), _feed(process.stdin, input))
        except asyncio.TimeoutError:
            raise LinkLost(f"{argv[0]} did not end within {timeout_s:g} s") from None
        finally:
            await _end(process)
        return Completed(status, said, complained)

    async def stream(self, argv: Sequence[str]) -> Stream:
        stream = LocalStream(await _spawn(argv, DEVNULL))
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
        return await self._out.read(READ_BYTES)

    async def write(self, data: bytes) -> None:
        try:
            self._in.write(data)
            async with asyncio.timeout(STALLED_S):
                await self._in.drain()
        except asyncio.TimeoutError:
            raise LinkLost(f"the command at the other end of the stream took nothing for {STALLED_S:g} s") from None
        except (BrokenPipeError, ConnectionResetError) as error:
            raise LinkLost("the command at the other end of the stream has ended") from error

    async def close(self) -> None:
        self._in.close()
        with contextlib.suppress(asyncio.TimeoutError):
            async with asyncio.timeout(END_LIMIT_S):
                await self._process.wait()
        await _end(self._process)


async def _feed(stdin: asyncio.StreamWriter, data: bytes) -> None:
    """All of `data`, then the end; a command that does not want it has its reasons, and its exit status says them."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stdin.write(data)
        await stdin.drain()
    stdin.close()


async def _end(process: Process) -> None:
    """Not one of ours is left behind; its own children may hold its pipes for longer, and are not waited for."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        rests = [_rest(pipe) for pipe in (process.stdout, process.stderr) if pipe]
        with contextlib.suppress(asyncio.TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.gather(process.wait(), *rests)


async def _rest(pipe: asyncio.StreamReader) -> None:
    """What it said and nobody read: before that is taken, asyncio does not know it to have ended."""
    with contextlib.suppress(RuntimeError):  # somebody else reads it
        while await pipe.read(READ_BYTES):
            pass


async def _spawn(argv: Sequence[str], stderr: int) -> Process:
    """In a session of its own: ^C at a terminal is for the coordinator, which ends what it started, and never for the device."""
    try:
        return await asyncio.create_subprocess_exec(
            *argv, stdin=PIPE, stdout=PIPE, stderr=stderr, limit=1 << 20, env=environment(), start_new_session=True
        )
    except OSError as error:
        raise NoSuchCommand(f"{argv[0]} cannot be started: {error.strerror}") from error
