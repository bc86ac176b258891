"""What every transport must do, executable: `await check_transport(make)`, in this tree or out of it.

`make` returns a new, unopened transport to a device that has `cat`, `printf`, `sleep`, `true`, `sh` and /dev/zero.
Each check is one function whose docstring is the promise; AssertionError names the promise that broke.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

from runner.target.transports.base import LinkLost, Transport

AWKWARD = ("two words", "it's", 'say "hi"', "$HOME `id` \\", "new\nline", "-n", "*", "", "grüße", ";rm -rf /nothing")


async def arguments_arrive_unchanged(transport: Transport) -> None:
    """Spaces, quotes, dollars, newlines, an empty word: each argument arrives as it was given."""
    done = await transport.run(["printf", r"%s\0", *AWKWARD])
    assert done.stdout == "".join(f"{word}\0" for word in AWKWARD).encode(), done.stdout


async def exit_status_is_told(transport: Transport) -> None:
    """The command's own exit status comes back, zero or not."""
    assert (await transport.run(["true"])).exit_status == 0
    assert (await transport.run(["sh", "-c", "exit 7"])).exit_status == 7


async def bytes_are_never_changed(transport: Transport) -> None:
    """A megabyte of every byte value goes in and comes back the same, end of input included."""
    data = bytes(range(256)) * 4096
    done = await transport.run(["cat"], input=data)
    assert done.stdout == data, f"{len(done.stdout)} of {len(data)} bytes came back, or changed"


async def streams_work_both_ways_at_once(transport: Transport) -> None:
    """What is written to a stream is answered while the stream stays open."""
    stream = await transport.stream(["cat"])
    for size in (1, 100, 70_000):
        data = os.urandom(size)
        await stream.write(data)
        back = b""
        while len(back) < size:
            piece = await asyncio.wait_for(stream.read(), 20)
            assert piece, "the stream ended early"
            back += piece
        assert back == data
    await stream.close()
    await stream.close()


async def an_ended_command_ends_its_stream(transport: Transport) -> None:
    """Reading from a command that has ended gives b"", soon, and not an error."""
    stream = await transport.stream(["true"])
    assert await asyncio.wait_for(stream.read(), 20) == b""
    await stream.close()


async def a_command_that_hangs_is_given_up(transport: Transport) -> None:
    """A command that outlives its time limit raises LinkLost, and the transport goes on working."""
    stream = await transport.stream(["cat"])  # something else is open meanwhile
    try:
        await transport.run(["sleep", "3"], timeout_s=0.5)
    except LinkLost:
        pass
    else:
        raise AssertionError("a command of 3 s ended within 0.5 s")
    assert (await transport.run(["true"])).exit_status == 0
    await stream.close()


async def a_stream_that_still_talks_is_closed(transport: Transport) -> None:
    """A stream is closed in the middle of its command's words, time and again: the next command answers right, and nothing of those."""
    for number in range(2):
        stream = await transport.stream(["cat", "/dev/zero"])
        assert await asyncio.wait_for(stream.read(), 20)
        await stream.close()
        done = await transport.run(["printf", r"%s\0", f"next {number}"])
        assert (done.exit_status, done.stdout) == (0, f"next {number}\0".encode()), done


async def many_commands_at_once(transport: Transport) -> None:
    """Ten commands side by side do not mix up their answers."""
    words = [f"word {number}" for number in range(10)]
    done = await asyncio.gather(*(transport.run(["printf", r"%s\0", word]) for word in words))
    assert [each.stdout.decode() for each in done] == [f"{word}\0" for word in words]


CHECKS: tuple[Callable[[Transport], Awaitable[None]], ...] = (
    arguments_arrive_unchanged,
    exit_status_is_told,
    bytes_are_never_changed,
    streams_work_both_ways_at_once,
    an_ended_command_ends_its_stream,
    a_command_that_hangs_is_given_up,
    a_stream_that_still_talks_is_closed,
    many_commands_at_once,
)


async def check_transport(make: Callable[[], Transport]) -> None:
    """Runs every check on a transport of its own, then: close is safe twice, and open works again after it."""
    for check in CHECKS:
        transport = make()
        await transport.open()
        try:
            await check(transport)
        except AssertionError as error:
            raise AssertionError(f"{check.__name__}: {check.__doc__} ({error})") from error
        finally:
            await transport.close()
            await transport.close()
    await transport.open()
    await transport.run(["true"])
    await transport.close()
