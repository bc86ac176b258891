"""The coordinator's end of a conversation over a serial line: commands and streams, on the event loop.

    port's descriptor ◄─► Conversation (pure) ◄─► NearChannel, one per command: `SerialTransport` makes run and stream of them

Every wait ends when the line is lost, and says why. There is one reader and one writer of the descriptor: this.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable, Sequence

from runner.errors import LabError
from runner.ondevice.channels import CLOSE, END, ERR, EXITED, IN, OUT, REFUSED, STARTED, Conversation, Message
from runner.target.serial.port import unsent
from runner.target.transports.base import READ_BYTES, STALLED_S, LinkLost, NoSuchCommand, words

START_LIMIT_S = 30.0
AHEAD_BYTES = 16384  # written and not yet taken by the line, until a writer waits
MAX_OPEN_BYTES = 60_000  # of an argument list
MAX_CHANNELS = 0xFFFF
GOODBYE_LIMIT_S = 5.0  # 4096 bytes, which a port may hold before it, take 4.3 s at 9600 baud
LOOK_S = 0.02  # at whether the port has sent all


class Talk:
    """`beside` is given whatever is heard that is no packet: a console's words. `let_go` is called once, when it is over."""

    def __init__(
        self, fd: int, conversation: Conversation, beside: Callable[[bytes], None], let_go: Callable[[], None] = lambda: None
    ) -> None:
        self.conversation = conversation
        self._fd, self._beside, self._let_go = fd, beside, let_go
        self._loop = asyncio.get_running_loop()
        self._channels: dict[int, NearChannel] = {}
        self._last = 0
        self._pending = b""
        self._timer: asyncio.TimerHandle | None = None
        self._turning = self._leaving = False
        self._over = asyncio.Event()
        self._loop.add_reader(fd, self._readable)
        self.turn()

    @property
    def lost(self) -> str:
        return self.conversation.lost

    async def open(self, argv: Sequence[str], errors: bool) -> NearChannel:
        """A running command. Raises NoSuchCommand when the device has none of that name, LinkLost, LabError for too long a list."""
        asked = json.dumps({"argv": list(argv), "errors": errors}).encode()
        if len(asked) > MAX_OPEN_BYTES:
            raise LabError(f"{argv[0]} has {len(asked)} bytes of arguments", expected=f"at most {MAX_OPEN_BYTES} over a serial line")
        number = self._next()
        channel = self._channels[number] = NearChannel(self, number, argv[0], errors)
        self.conversation.channels.open(number, asked)
        self.turn()
        try:
            await channel.until(lambda: channel.started or channel.ended, f"{argv[0]} to begin", START_LIMIT_S)
        except BaseException:  # whoever gave it up has no channel to close
            channel.close()
            raise
        if channel.refused:
            channel.close()
            raise NoSuchCommand(f"{argv[0]} cannot be started: {channel.refused}")
        return channel

    async def close(self, why: str) -> None:
        """Says goodbye, so that the login shell is there again at once, and lets go of the descriptor's events once it is sent, or after
        GOODBYE_LIMIT_S; also when it is cancelled. Raises nothing else."""
        try:
            if not self.lost:
                self._leaving = True
                self.conversation.reliable.bye(why)
                self.turn()
                with contextlib.suppress(asyncio.TimeoutError):
                    async with asyncio.timeout(GOODBYE_LIMIT_S):
                        await self._over.wait()
        finally:
            self._end()

    def forget(self, number: int) -> None:
        self._channels.pop(number, None)
        self.conversation.channels.forget(number)

    def turn(self) -> None:
        """Writes what is due and as the line takes it, and sees to it that this is called again in time."""
        if self._turning or self._over.is_set():
            return
        self._turning = True
        try:
            written = self._write()
        finally:
            self._turning = False
        if written:  # then there may be room for more
            self._wake()
        if self.lost and not self._pending:
            if self._leaving and unsent(self._fd):
                self._timer = self._loop.call_later(LOOK_S, self.turn)
            else:
                self._end()

    def _write(self) -> bool:
        """Whether anything was."""
        written = False
        if not self.lost and self.conversation.reliable.silent(time.monotonic_ns()):
            self._pending = b""  # a line that takes nothing is noticed, too
        while True:
            self._pending = self._pending or self.conversation.due(time.monotonic_ns())
            if not self._pending:
                self._loop.remove_writer(self._fd)
                break
            try:
                self._pending = self._pending[os.write(self._fd, self._pending) :]
                written = True
            except BlockingIOError:
                self._loop.add_writer(self._fd, self.turn)
                break
            except OSError as error:
                self._fail(f"the port is gone: {error.strerror}")
                break
        if self._timer:
            self._timer.cancel()
        if not self.lost:
            now = time.monotonic_ns()
            wait_s = max(0.0, (self.conversation.deadline_ns(now, bool(self._pending)) - now) / 1e9)
            self._timer = self._loop.call_later(wait_s + 0.001, self.turn)
        return written

    def _wake(self) -> None:
        for channel in self._channels.values():
            channel.changed.set()

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            data = b""
            self._fail(f"the port is gone: {error.strerror}")
        if not data and not self.lost:
            self._fail("the port is gone")
        was_lost = self.lost
        messages = self.conversation.receive(data, time.monotonic_ns())
        if self.lost and not was_lost:
            self._pending = b""  # nobody is there to hear it, and the line may never take it
        for message in messages:
            channel = self._channels.get(message.channel)
            if channel is not None:  # else it was closed here, while this was under way
                channel.heard(message)
                channel.changed.set()
        beside = self.conversation.reliable.beside
        if beside:
            self._beside(bytes(beside))
            beside.clear()
        self.turn()

    def _fail(self, why: str) -> None:
        self._pending = b""
        self.conversation.reliable.lost = self.lost or why

    def _end(self) -> None:
        if self._over.is_set():
            return
        self._fail("it was closed")
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        if self._timer:
            self._timer.cancel()
        self._over.set()
        self._wake()
        self._beside(self.conversation.reliable.rest())
        self._let_go()

    def _next(self) -> int:
        """A number that no open channel has."""
        if len(self._channels) > MAX_CHANNELS // 2:
            raise LabError(f"{len(self._channels)} commands run over one serial line")
        self._last = (self._last + 1) & MAX_CHANNELS
        while self._last in self._channels:
            self._last = (self._last + 1) & MAX_CHANNELS
        return self._last


class NearChannel:
    """One command: its input, its output, its errors, its end."""

    def __init__(self, talk: Talk, number: int, name: str, errors: bool) -> None:
        self.changed = asyncio.Event()
        self.started, self.refused = False, ""
        self.exit_status: int | None = None
        self._talk, self._number, self._name = talk, number, name
        self._heard = {stream: bytearray() for stream in ((OUT, ERR) if errors else (OUT,))}  # what else comes is read by nobody
        self._ends: set[int] = set()
        self._closed = False

    @property
    def ended(self) -> bool:
        return self.exit_status is not None or bool(self.refused)

    async def until(self, reached: Callable[[], bool], what: str, limit_s: float | None = None) -> None:
        """Returns when it is `reached`. Raises LinkLost when the line is lost before, or `limit_s` have passed: it waited for `what`."""
        try:
            async with asyncio.timeout(limit_s):
                while not reached():
                    self._check(what)
                    self.changed.clear()
                    await self.changed.wait()
        except asyncio.TimeoutError:
            raise LinkLost(f"waited {limit_s:g} s for {what}") from None

    def _check(self, what: str) -> None:
        """Raises LinkLost when nothing more can come of it."""
        if self._talk.lost:
            raise LinkLost(f"the serial line is lost, while waiting for {what}: {words(self._talk.lost)}")
        if self._closed:
            raise LinkLost(f"the channel was closed, while waiting for {what}")

    async def read(self, stream: int = OUT) -> bytes:
        """Some bytes, or b"" at the end."""
        heard = self._heard[stream]
        await self.until(lambda: bool(heard) or stream in self._ends or self.ended, f"what {self._name} says")
        data = bytes(heard)
        heard.clear()
        if data:
            self._talk.conversation.channels.grant(self._number, stream, len(data))
            self._talk.turn()
        return data

    async def write(self, data: bytes) -> None:
        """Returns when most bytes are on their way. Raises LinkLost, also when none is taken for STALLED_S.

        What two callers write at once is not mixed: each one's bytes stand together.
        """
        if self.ended:
            raise LinkLost("the command at the other end of the stream has ended")
        channels, what = self._talk.conversation.channels, f"{self._name} to take what is written"
        self._check(what)
        channels.write(self._number, IN, data)
        self._talk.turn()
        self._check(what)
        while (left := channels.waiting(self._number, IN)) > AHEAD_BYTES:
            await self.until(
                lambda left=left: channels.waiting(self._number, IN) < left or self.ended,  # type: ignore[misc]
                what,
                STALLED_S,
            )
            if self.ended:
                raise LinkLost("the command at the other end of the stream has ended")

    def end_input(self) -> None:
        """No more of it comes. Of a command that has ended or was let go of there is no input left to end."""
        if self.ended or self._closed or self._talk.lost:
            return
        self._talk.conversation.channels.end(self._number, IN)
        self._talk.turn()

    def close(self) -> None:
        """Lets go of the command, which is ended at the other end if it has not ended. Safe to call twice."""
        self._closed = True
        self.changed.set()
        if self._talk._channels.get(self._number) is self:
            self._talk.forget(self._number)
            if not self.ended and not self._talk.lost:
                self._talk.conversation.channels.tell(self._number, CLOSE)
                self._talk.turn()

    def heard(self, message: Message) -> None:
        if message.kind == STARTED:
            self.started = True
        elif message.kind in self._heard:
            self._heard[message.kind] += message.payload
        elif message.kind == END:
            self._ends.add(message.stream)
        elif message.kind == EXITED:
            self.exit_status = message.status
        elif message.kind == REFUSED:
            self.refused = _refusal(message.payload)


def _refusal(payload: bytes) -> str:
    """Why a command was not started, in the device's words; never empty."""
    with contextlib.suppress(ValueError, RecursionError, TypeError):
        _, why = json.loads(payload)
        return words(str(why)) or "for a reason that it does not say"
    return "for a reason that it does not say"
