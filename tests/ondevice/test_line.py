"""The device's end of a line, turn by turn: what arrives in the same moment as a command's words, and how it lets go."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.ondevice import line
from runner.ondevice.channels import CLOSE, EXITED, OUT, Conversation, Message
from runner.ondevice.line import Far
from runner.ondevice.reliable import Reliable

pytestmark = pytest.mark.real
EPOCH = b"line"


class Ends:
    """The device's end, whose turns a test takes, and a coordinator's conversation in its hands."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near = Conversation(Reliable(EPOCH, True, time.monotonic_ns()))
        self.far = Far(far.fileno(), Conversation(Reliable(EPOCH, False, time.monotonic_ns())))
        self.messages: list[Message] = []
        self._line = near

    def say(self) -> None:
        while data := self.near.due(time.monotonic_ns()):
            self._line.send(data)

    def open(self, channel: int, *argv: str) -> None:
        self.near.channels.open(channel, json.dumps({"argv": argv, "errors": False}).encode())

    def until(self, reached: Callable[[], bool]) -> None:
        """Turns of both ends."""
        deadline = time.monotonic() + 20
        while not reached():
            assert time.monotonic() < deadline, self.messages
            self.say()
            self.far._turn()
            with contextlib.suppress(BlockingIOError):
                self.messages += self.near.receive(self._line.recv(65536), time.monotonic_ns())

    def heard(self, channel: int, kind: int) -> list[bytes]:
        return [message.payload for message in self.messages if message[:2] == (channel, kind)]


@pytest.fixture
def ends() -> Iterator[Ends]:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    with near, far:
        ends = Ends(near, far)
        yield ends
        ends.far._let_go()


@pytest.mark.parametrize("next_one", [False, True], ids=["alone", "with the next command"])
def test_a_command_that_is_closed_in_the_moment_in_which_it_speaks_harms_no_other(ends: Ends, next_one: bool) -> None:
    """Its words and the CLOSE are there at once, and its descriptor's number is free for the next command: that one's words and status
    arrive, under its own channel, and nothing of the first."""
    ends.open(1, "cat")
    ends.until(lambda: 1 in ends.far._children)
    os.write(ends.far._children[1].stdin, b"old")
    assert select.select(list(ends.far._children[1].outputs.values()), [], [], 20)[0]
    ends.near.channels.forget(1)
    ends.near.channels.tell(1, CLOSE)
    if next_one:
        ends.open(2, "printf", "new")
    ends.say()
    ends.far._turn()
    if not next_one:
        ends.open(2, "printf", "new")
    ends.until(lambda: bool(ends.heard(2, EXITED)))
    assert (ends.heard(1, OUT), b"".join(ends.heard(2, OUT))) == ([], b"new")
    assert 1 not in ends.far._children


def test_a_command_that_cannot_be_ended_is_left_behind(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in a system call that nothing interrupts: the terminal is given back a little after the grace all the same."""
    ends.open(1, "cat")
    ends.until(lambda: 1 in ends.far._children)
    monkeypatch.setattr(line.Child, "gone", lambda child: False)
    monkeypatch.setattr(line, "GRACE_S", 0.2)
    monkeypatch.setattr(line, "STUCK_LIMIT_S", 0.2)
    began = time.monotonic()
    child = ends.far._children[1]
    ends.far._let_go()
    assert 0.4 <= time.monotonic() - began < 20
    child.process.wait()


def test_what_a_command_started_is_ended_with_it(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command leads a session of its own, and SIGKILL goes to all of its group."""
    monkeypatch.setattr(line, "GRACE_S", 0.2)
    ends.open(1, "sh", "-c", "trap '' TERM; sleep 600 & echo $!; wait")
    ends.until(lambda: bool(ends.heard(1, OUT)))
    started = int(b"".join(ends.heard(1, OUT)))
    ends.far._let_go()
    deadline = time.monotonic() + 20
    while _runs(started):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    """Of a process that may wait to be reaped by somebody else."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
