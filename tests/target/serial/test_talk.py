"""Commands over a simulated serial line, towards the device's end in a process and on a terminal of its own."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import sys
import termios
import time
import tty
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from runner.ondevice.channels import CLOSE, ERR, OPEN, OUT, REFUSED, STARTED, Conversation, Message
from runner.ondevice.line import STOP, ready_words
from runner.ondevice.reliable import Reliable
from runner.target.bundle import supervisor_zip
from runner.target.conformance import check_transport
from runner.target.line_simulator import LineSimulator, Noise
from runner.target.serial.talk import Talk
from runner.target.transports.base import LinkLost, NoSuchCommand
from runner.target.transports.serial import SerialTransport

pytestmark = pytest.mark.real
EPOCH = b"talk"
TTY_HOLDS = 4095  # bytes that a raw terminal of Linux keeps for its reader (N_TTY_BUF_SIZE less one)


@contextlib.contextmanager
def far_end(zip_file: Path, noise: Noise | None = None, **settings: int) -> Iterator[LineSimulator]:
    """The device's end behind a line; it is started again whenever it has ended."""
    zip_file.write_bytes(supervisor_zip())
    with LineSimulator([sys.executable, str(zip_file), "line", EPOCH.hex()], noise, **settings) as line:
        listening = os.open(line.path, os.O_RDWR | os.O_NOCTTY)  # what it says as it starts is kept for whoever comes
        tty.setraw(listening)
        yield line
        os.close(listening)


def reaching(line: LineSimulator, heard: list[bytes] | None = None) -> Callable[[], Awaitable[Talk]]:
    """What leads to a conversation: the port, and the far end's first words."""

    async def reach() -> Talk:
        fd = os.open(line.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        said, deadline = b"", time.monotonic() + 30
        while ready_words(EPOCH) not in said:
            assert time.monotonic() < deadline, said
            with contextlib.suppress(BlockingIOError):
                said += os.read(fd, 4096)
            await asyncio.sleep(0.01)
        beside = heard.append if heard is not None else lambda words: None
        return Talk(fd, Conversation(Reliable(EPOCH, True, time.monotonic_ns())), beside)

    return reach


def test_it_conforms_over_a_clean_line(tmp_path: Path) -> None:
    """A serial line without damage keeps every promise of a transport."""
    with far_end(tmp_path / "line.zip") as line:
        asyncio.run(check_transport(lambda: SerialTransport(reaching(line))))


def test_it_conforms_over_a_line_that_flips_drops_and_inserts(tmp_path: Path) -> None:
    """So does one that damages every packet of twenty, in both directions."""
    with far_end(tmp_path / "line.zip", Noise(seed=1, flips=5e-5, drops=5e-5, inserts=2e-5)) as line:
        asyncio.run(check_transport(lambda: SerialTransport(reaching(line))))


def with_transport(line: LineSimulator, story: Callable[[SerialTransport], Awaitable[None]], heard: list[bytes] | None = None) -> None:
    """Opens a transport over the line, tells the story, closes it."""

    async def life() -> None:
        transport = SerialTransport(reaching(line, heard))
        async with asyncio.timeout(120):
            await transport.open()
            await story(transport)
            await transport.close()

    asyncio.run(life())


def test_a_command_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    """NoSuchCommand with the name and the device's own words, from run and from stream; what follows works."""

    async def story(transport: SerialTransport) -> None:
        for verb in (transport.run(["no-such-command"]), transport.stream(["no-such-command"])):
            with pytest.raises(NoSuchCommand, match="no-such-command cannot be started: No such file"):
                await verb
        with pytest.raises(NoSuchCommand, match="Permission denied"):
            await transport.run(["/etc/passwd"])
        assert (await transport.run(["true"])).exit_status == 0

    with far_end(tmp_path / "line.zip") as line:
        with_transport(line, story)


def test_errors_and_output_are_kept_apart_and_a_killed_command_says_how(tmp_path: Path) -> None:
    """Both arrive whole, larger than their credit; SIGKILL is status -9, as of a process of this machine."""

    async def story(transport: SerialTransport) -> None:
        done = await transport.run(["sh", "-c", "yes out | head -c 100000; yes err | head -c 100000 >&2; kill -9 $$"])
        assert (done.stdout[:4], len(done.stdout), done.stderr[:4], len(done.stderr)) == (b"out\n", 100_000, b"err\n", 100_000)
        assert done.exit_status == -9

    with far_end(tmp_path / "line.zip") as line:
        with_transport(line, story)


def test_a_command_that_does_not_want_its_input_is_told_by_its_status(tmp_path: Path) -> None:
    """Half a megabyte for a command that reads nothing: its status comes, and nobody waits."""

    async def story(transport: SerialTransport) -> None:
        assert (await transport.run(["sh", "-c", "exec <&-; exit 3"], input=os.urandom(500_000))).exit_status == 3
        assert (await transport.run(["true"])).exit_status == 0

    with far_end(tmp_path / "line.zip") as line:
        with_transport(line, story)


def test_what_two_write_at_once_is_not_mixed(tmp_path: Path) -> None:
    """A coordinator sends a large blob and answers something else meanwhile, on one stream: each one's bytes stand together."""

    async def story(transport: SerialTransport) -> None:
        stream, large, small = await transport.stream(["cat"]), b"a" * 300_000, b"b" * 1000
        writing = asyncio.gather(stream.write(large), stream.write(small), stream.write(large))
        back = b""
        while len(back) < 2 * len(large) + len(small):
            back += await stream.read()
        await writing
        assert back == large + small + large
        await stream.close()

    with far_end(tmp_path / "line.zip") as line:
        with_transport(line, story)


def test_an_adapter_that_is_pulled_out_is_a_lost_line_for_everybody(tmp_path: Path) -> None:
    """Whoever reads, and whoever asks afterwards, hears at once what happened."""

    async def story(transport: SerialTransport) -> None:
        stream = await transport.stream(["cat"])
        reading = asyncio.ensure_future(stream.read())
        line.hang_up()
        with pytest.raises(LinkLost, match=r"the serial line is lost, while waiting for what cat says: the port is gone"):
            await reading
        with pytest.raises(LinkLost, match="the port is gone"):
            await transport.run(["true"])
        await stream.close()

    with far_end(tmp_path / "line.zip") as line:
        with_transport(line, story)


def test_a_line_that_takes_nothing_is_a_lost_line_and_costs_no_processor() -> None:
    """Something holds it (XOFF, an adapter that hangs): whoever reads hears so when the silence is over, and meanwhile nothing spins."""
    turns = []

    async def story() -> None:
        near, far = os.openpty()
        tty.setraw(far)
        os.set_blocking(near, False)
        fill(near, far)
        talk = Talk(near, Conversation(Reliable(EPOCH, True, time.monotonic_ns(), silence_limit_s=1.5)), lambda words: None)
        turn, talk.turn = talk.turn, lambda: (turns.append(1), turn())[1]  # type: ignore[func-returns-value, method-assign]
        with pytest.raises(LinkLost, match=r"acknowledged nothing for 1\.5 s"):
            await talk.open(["cat"], errors=False)
        await talk.close("it is over")
        os.close(near)
        os.close(far)

    asyncio.run(asyncio.wait_for(story(), 20))
    assert len(turns) < 20


def fill(near: int, far: int) -> None:
    """Until the kernel takes nothing more: once what `far` can hold has moved there, nothing makes room behind our back."""
    for size in (4096, 4096, 16):  # where much has no room, little may
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(near, bytes(size))
        deadline = time.monotonic() + 20
        while waiting(far) < TTY_HOLDS:
            assert time.monotonic() < deadline
            time.sleep(0.001)


def waiting(far: int) -> int:
    """Bytes that can be read at this end now."""
    return int(struct.unpack("i", fcntl.ioctl(far, termios.FIONREAD, bytes(4)))[0])


class Pair:
    """A talk, and the other end's conversation in the hands of a test."""

    def __init__(self) -> None:
        self.near, self.far = os.openpty()
        tty.setraw(self.far)
        for fd in (self.near, self.far):
            os.set_blocking(fd, False)
        self.over = 0
        self.talk = Talk(self.near, Conversation(Reliable(EPOCH, True, time.monotonic_ns())), lambda words: None, self._let_go)
        self.other = Conversation(Reliable(EPOCH, False, time.monotonic_ns()))

    def _let_go(self) -> None:
        self.over += 1

    async def heard(self, kind: int) -> list[Message]:
        """What the other end hears up to a message of that kind; it acknowledges meanwhile."""
        messages: list[Message] = []
        while kind not in [message.kind for message in messages]:
            with contextlib.suppress(BlockingIOError):
                messages += self.other.receive(os.read(self.far, 65536), time.monotonic_ns())
            self.say()
            await asyncio.sleep(0.01)
        return messages

    def say(self) -> None:
        while data := self.other.due(time.monotonic_ns()):
            os.write(self.far, data)

    def fill(self) -> None:
        """The line takes nothing more of ours."""
        fill(self.near, self.far)


def paired(story: Callable[[Pair], Awaitable[None]]) -> None:
    async def life() -> None:
        pair = Pair()
        try:
            async with asyncio.timeout(60):
                await story(pair)
        finally:
            pair.talk._end()
            os.close(pair.near)
            os.close(pair.far)

    asyncio.run(life())


def test_a_goodbye_that_is_heard_while_the_line_takes_nothing_is_the_end() -> None:
    """What was to be written is not waited for: whoever waits hears why it is over, and the port is let go of."""

    async def story(pair: Pair) -> None:
        pair.fill()
        opening = asyncio.ensure_future(pair.talk.open(["cat"], errors=False))
        await asyncio.sleep(0)
        pair.other.reliable.bye("it has had enough")
        pair.say()
        with pytest.raises(LinkLost, match="the other end has ended: it has had enough"):
            await opening
        assert pair.over == 1

    paired(story)


def test_a_command_whose_opening_is_given_up_is_closed() -> None:
    """Cancelled before it is known to run: the other end is told, and the channel's number is free."""

    async def story(pair: Pair) -> None:
        opening = asyncio.ensure_future(pair.talk.open(["cat"], errors=False))
        await pair.heard(OPEN)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert not pair.talk._channels
        await pair.heard(CLOSE)

    paired(story)


def test_a_command_that_is_refused_keeps_no_channel() -> None:
    """However often one asks for it."""

    async def story(pair: Pair) -> None:
        for _ in range(3):
            opening = asyncio.ensure_future(pair.talk.open(["nothing"], errors=False))
            (asked,) = await pair.heard(OPEN)
            pair.other.channels.tell(asked.channel, REFUSED, b'[2, "No such file"]')
            pair.say()
            with pytest.raises(NoSuchCommand, match="No such file"):
                await opening
        assert not pair.talk._channels

    paired(story)


def test_errors_that_nobody_asked_for_are_kept_nowhere() -> None:
    """A device that sends the errors of a stream, which has none, has sent them in vain."""

    async def story(pair: Pair) -> None:
        opening = asyncio.ensure_future(pair.talk.open(["cat"], errors=False))
        (asked,) = await pair.heard(OPEN)
        pair.other.channels.tell(asked.channel, STARTED)
        pair.other.channels.write(asked.channel, ERR, bytes(30_000))
        pair.other.channels.write(asked.channel, OUT, b"words")
        pair.other.channels.end(asked.channel, ERR)
        pair.say()
        channel = await opening
        assert await channel.read() == b"words"
        while ERR not in channel._ends:
            pair.say()
            await asyncio.sleep(0.01)
        assert sum(len(kept) for kept in channel._heard.values()) == 0

    paired(story)


def test_a_close_that_is_cancelled_lets_go_of_the_port_all_the_same() -> None:
    """While the line takes no goodbye."""

    async def story(pair: Pair) -> None:
        pair.fill()
        closing = asyncio.ensure_future(pair.talk.close("it is over"))
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert pair.over == 1 and pair.talk.lost

    paired(story)


@pytest.mark.parametrize("sends", [True, False], ids=["is sent", "is never sent"])
def test_a_port_is_let_go_of_once_the_goodbye_is_sent(monkeypatch: pytest.MonkeyPatch, sends: bool) -> None:
    """What stands in the port's buffer is waited for on the event loop, and within a limit: letting go drops it."""
    left = [3, 2, 1, 0, 0] if sends else []
    monkeypatch.setattr("runner.target.serial.talk.unsent", lambda fd: left.pop(0) if sends else 1)
    monkeypatch.setattr("runner.target.serial.talk.GOODBYE_LIMIT_S", 20 if sends else 0.2)

    async def story(pair: Pair) -> None:
        await pair.talk.close("it is over")
        assert pair.over == 1 and pair.talk.lost == "we have ended: it is over"
        assert len(left) == (1 if sends else 0)

    paired(story)


@pytest.mark.parametrize("how", ["closed", "lost"])
def test_what_is_written_to_a_command_that_is_gone_is_an_error(how: str) -> None:
    """LinkLost, and not a success that nobody sees fail; its input needs no end any more, and nothing is kept for it."""

    async def story(pair: Pair) -> None:
        opening = asyncio.ensure_future(pair.talk.open(["cat"], errors=False))
        (asked,) = await pair.heard(OPEN)
        pair.other.channels.tell(asked.channel, STARTED)
        pair.say()
        channel = await opening
        if how == "closed":
            channel.close()
        else:
            await pair.talk.close("it is over")
        with pytest.raises(LinkLost, match="closed" if how == "closed" else "the serial line is lost"):
            await channel.write(b"words")
        channel.end_input()
        assert not pair.talk.conversation.channels._turns

    paired(story)


def test_what_a_kernel_prints_in_between_is_kept_and_harms_nothing(tmp_path: Path) -> None:
    """A second talker, twenty times a second: a transfer arrives, and the words are heard beside it."""
    heard: list[bytes] = []

    async def story(transport: SerialTransport) -> None:
        data = os.urandom(100_000)
        assert (await transport.run(["cat"], input=data)).stdout == data

    words = b"\r\n[   12.345678] usb 1-1: new high-speed device\r\n"
    (tmp_path / "line.zip").write_bytes(supervisor_zip())
    far = [sys.executable, str(tmp_path / "line.zip"), "line", EPOCH.hex()]
    with LineSimulator(far, chatter=words, chatter_interval_s=0.05) as line:
        tty.setraw(os.open(line.path, os.O_RDWR | os.O_NOCTTY))
        with_transport(line, story, heard)
    assert b"new high-speed device" in b"".join(heard)


def test_a_device_that_restarts_is_a_lost_line_and_is_reached_again(tmp_path: Path) -> None:
    """The old conversation ends within its limit, in words; close and open begin a new one."""

    async def story(transport: SerialTransport) -> None:
        stream = await transport.stream(["cat"])
        assert transport._talk
        transport._talk.conversation.reliable._silence_ns = 2 * 10**9
        line.reboot(b"\r\nU-Boot 2024.01\r\nStarting kernel ...\r\n")
        with pytest.raises(LinkLost, match="acknowledged nothing for 2 s"):
            await stream.read()

    async def again(transport: SerialTransport) -> None:
        await transport.close()
        await transport.open()
        assert (await transport.run(["printf", "back"])).stdout == b"back"

    async def both(transport: SerialTransport) -> None:
        await story(transport)
        line.reboot()  # the far end of this test begins by itself, and once per epoch
        await again(transport)

    with far_end(tmp_path / "line.zip") as line:
        with_transport(line, both)


def test_a_command_whose_channel_is_closed_does_not_stay(tmp_path: Path) -> None:
    """One that was given up is ended on the device, also if it does not care for its pipes."""

    async def story(transport: SerialTransport) -> None:
        stream = await transport.stream([sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"])
        pid = int(await stream.read())
        await stream.close()
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.05)

    with far_end(tmp_path / "line.zip") as line:
        with_transport(line, story)


def shell_prompt(line: LineSimulator, fd: int, until: bytes) -> bytes:
    said, deadline = b"", time.monotonic() + 30
    while until not in said:
        assert time.monotonic() < deadline, (until, said)
        with contextlib.suppress(BlockingIOError):
            said += os.read(fd, 4096)
        time.sleep(0.01)
    return said


def test_what_noise_types_into_a_shell_falls_into_its_home(tmp_path: Path) -> None:
    """A far end begins where its HOME is, as after a login: `> FILE` made of damaged bytes makes no file in a checkout."""
    with LineSimulator(["sh", "-i"], environment={"PATH": os.environ["PATH"], "PS1": "ready> ", "HOME": str(tmp_path)}) as line:
        fd = os.open(line.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(fd)
        os.write(fd, b"> damaged; echo do''ne\n")
        shell_prompt(line, fd, b"done\r\n")
        os.close(fd)
    assert (tmp_path / "damaged").exists()


@pytest.mark.parametrize("how", ["goodbye", "stop", "silence"])
def test_the_shell_is_there_again_afterwards(tmp_path: Path, how: str) -> None:
    """After a goodbye, after somebody else's STOP, and after silence the terminal echoes and edits as it did before, and has its own XOFF
    again, which it had not meanwhile."""
    zip_file = tmp_path / "line.zip"
    zip_file.write_bytes(supervisor_zip())
    with LineSimulator(["sh", "-i"], environment={"PATH": os.environ["PATH"], "PS1": "ready> "}) as line:
        fd = os.open(line.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(fd)
        os.write(fd, b"stty ixoff; echo be''gun\n")
        shell_prompt(line, fd, b"begun\r\nready> ")
        os.write(fd, f"{sys.executable} {zip_file} line {EPOCH.hex()} {2 if how == 'silence' else 120}\n".encode())
        if how == "goodbye":
            with_transport(line, lambda transport: transport.run(["true"]))  # type: ignore[arg-type, return-value]
        else:
            shell_prompt(line, fd, ready_words(EPOCH))
            assert not termios.tcgetattr(line._far_tty)[0] & termios.IXOFF
            os.write(fd, STOP if how == "stop" else b"")
        said = shell_prompt(line, fd, b"\nready> ")
        assert {"goodbye": b"has let go", "stop": b"somebody else wants", "silence": b"acknowledged nothing for 2 s"}[how] in said
        os.write(fd, b"echo $((6 * 7))x\n")
        assert b"echo $((6 * 7))x" in shell_prompt(line, fd, b"42x")
        assert termios.tcgetattr(line._far_tty)[0] & termios.IXOFF
        os.close(fd)
