"""The contract of transports: ours keep it, and the suite catches each way of breaking it by name."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence

import pytest

from runner.target.conformance import CHECKS, check_transport
from runner.target.transports.base import Completed, LinkLost, Stream, Transport
from runner.target.transports.fake import FakeTransport
from runner.target.transports.local import LocalTransport


@pytest.mark.parametrize("make", [LocalTransport, FakeTransport])
def test_our_transports_keep_every_promise(make: Callable[[], Transport]) -> None:
    """Real child processes, and the device in memory, through the same checks."""
    asyncio.run(check_transport(make))


def test_what_a_terminal_sends_is_for_the_coordinator_alone() -> None:
    """^C goes to every process of the terminal's group: on this machine the device's are in none of those."""

    async def group() -> bytes:
        return (await LocalTransport().run([sys.executable, "-c", "import os; print(os.getpgrp(), os.getsid(0))"])).stdout

    assert {int(word) for word in asyncio.run(group()).split()}.isdisjoint({os.getpgrp(), os.getsid(0)})


def test_every_check_says_what_it_promises() -> None:
    """Its docstring is what a failure shows to whoever writes a transport."""
    assert all((check.__doc__ or "").endswith(".") for check in CHECKS)


class DropsAByte(LocalTransport):
    """A line that loses the last byte of what a command said."""

    async def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float = 60.0) -> Completed:
        done = await super().run(argv, input=input, timeout_s=timeout_s)
        return Completed(done.exit_status, done.stdout[:-1] if input else done.stdout, done.stderr)


class GoesThroughAShell(LocalTransport):
    """Joins the arguments with spaces, as SSH does, and lets a shell take them apart."""

    async def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float = 60.0) -> Completed:
        return await super().run(["sh", "-c", " ".join(argv)], input=input, timeout_s=timeout_s)


class SwallowsTheStatus(LocalTransport):
    """Every command succeeds."""

    async def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float = 60.0) -> Completed:
        done = await super().run(argv, input=input, timeout_s=timeout_s)
        return Completed(0, done.stdout, done.stderr)


class TextLine(LocalTransport):
    """A terminal in between: a carriage return for each line feed."""

    async def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float = 60.0) -> Completed:
        done = await super().run(argv, input=input, timeout_s=timeout_s)
        return Completed(done.exit_status, done.stdout.replace(b"\n", b"\r\n") if input else done.stdout, done.stderr)


class NeverGivesUp(LocalTransport):
    """Takes a time limit and ignores it; the command that should hang is cut short so that this test is not."""

    async def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float = 60.0) -> Completed:
        return await super().run(["true"] if "exec sleep 30" in argv else argv, input=input)


class MixesAnswersUp(LocalTransport):
    """Two commands side by side get each other's answers."""

    def __init__(self) -> None:
        super().__init__()
        self._before: Completed | None = None

    async def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float = 60.0) -> Completed:
        done = await super().run(argv, input=input, timeout_s=timeout_s)
        if len(argv) == 3 and argv[2].startswith("word"):
            done, self._before = self._before or done, done
        return done


class LosesWhatComesNext(LocalTransport):
    """The command after a stream that was closed while it talked says nothing, and succeeds."""

    talked = False

    async def stream(self, argv: Sequence[str]) -> Stream:
        self.talked = argv[1:] == ["/dev/zero"]
        return await super().stream(argv)

    async def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float = 60.0) -> Completed:
        done = await super().run(argv, input=input, timeout_s=timeout_s)
        return Completed(done.exit_status, b"", b"") if self.talked else done


class Wrapped:
    """A stream around another one."""

    def __init__(self, inner: Stream) -> None:
        self.inner = inner

    async def read(self) -> bytes:
        return await self.inner.read()

    async def write(self, data: bytes) -> None:
        await self.inner.write(data)

    async def close(self) -> None:
        await self.inner.close()


class EndsWithAnError(LocalTransport):
    """The end of a command is an error to whoever reads."""

    async def stream(self, argv: Sequence[str]) -> Stream:
        class Failing(Wrapped):
            async def read(self) -> bytes:
                data = await self.inner.read()
                assert data, "the channel is closed"
                return data

        return Failing(await super().stream(argv))


class ChangesAStream(LocalTransport):
    """A stream that is not clean for eight bits."""

    async def stream(self, argv: Sequence[str]) -> Stream:
        class SevenBits(Wrapped):
            async def read(self) -> bytes:
                return bytes(byte & 0x7F for byte in await self.inner.read())

        return SevenBits(await super().stream(argv))


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (GoesThroughAShell, "arguments_arrive_unchanged"),
        (SwallowsTheStatus, "exit_status_is_told"),
        (DropsAByte, "bytes_are_never_changed"),
        (TextLine, "bytes_are_never_changed"),
        (ChangesAStream, "streams_work_both_ways_at_once"),
        (EndsWithAnError, "an_ended_command_ends_its_stream"),
        (NeverGivesUp, "a_command_that_hangs_is_given_up"),
        (LosesWhatComesNext, "a_stream_that_still_talks_is_closed"),
        (MixesAnswersUp, "many_commands_at_once"),
    ],
)
def test_a_broken_transport_is_caught_by_name(broken: Callable[[], Transport], promise: str) -> None:
    """The negative control of each check: the failure begins with the promise that was broken."""
    with pytest.raises(AssertionError, match=f"^{promise}: "):
        asyncio.run(check_transport(broken))


def test_a_broken_link_is_linklost_and_nothing_else() -> None:
    """Every verb of a fake whose link is broken raises the one error that means it; close never raises."""

    async def story() -> None:
        transport = FakeTransport()
        stream = await transport.stream(["cat"])
        transport.broken = True
        for verb in (transport.open(), transport.run(["true"]), transport.stream(["cat"]), stream.read(), stream.write(b"x")):
            with pytest.raises(LinkLost, match="broken"):
                await verb
        await stream.close()
        await transport.close()

    asyncio.run(story())


@pytest.mark.parametrize("make", [LocalTransport, FakeTransport])
def test_a_command_that_is_not_there_is_an_error_of_the_lab(make: Callable[[], Transport]) -> None:
    """LinkLost with the command's name, from `run` and from `stream`."""

    async def story() -> None:
        for verb in (make().run(["no-such-command"]), make().stream(["no-such-command"])):
            with pytest.raises(LinkLost, match="no-such-command cannot be started"):
                await verb

    asyncio.run(story())
