"""Channels over a line in virtual time: bytes of each stream arrive once and in order, and no stream starves another."""

from __future__ import annotations

import contextlib
import random
import struct
from typing import Any

import pytest
from hypothesis import strategies as st

from runner.ondevice import channels
from runner.ondevice.channels import CLOSE, CREDIT, CREDIT_BYTES, END, ERR, EXITED, IN, OPEN, OUT, REFUSED, Channels, Conversation, Message
from runner.ondevice.reliable import Reliable
from runner.target.line_simulator import Noise
from tests.fuzz.made_up import budgets, holds
from tests.ondevice.virtual_line import Line


class End:
    """A conversation with the verbs of a line's end, that reads everything at once unless it is told not to."""

    def __init__(self, near: bool, compression: bool = True, reads: bool = True) -> None:
        self.conversation = Conversation(Reliable(b"epoch", near, 0), compression)
        self.messages: list[Message] = []
        self.reads = reads

    @property
    def lost(self) -> str:
        return self.conversation.lost

    @property
    def channels(self) -> Channels:
        return self.conversation.channels

    def receive(self, data: bytes, now_ns: int) -> bytes:
        for message in self.conversation.receive(data, now_ns):
            self.messages.append(message)
            if self.reads and message.kind in channels.STREAMS:
                self.channels.grant(message.channel, message.kind, len(message.payload))
        return b""

    def due(self, now_ns: int) -> bytes:
        return self.conversation.due(now_ns)

    def deadline_ns(self, now_ns: int) -> int:
        return self.conversation.deadline_ns(now_ns)

    def heard(self, channel: int, stream: int) -> bytes:
        return b"".join(message.payload for message in self.messages if message[:2] == (channel, stream))


def joined(**settings: Any) -> Line:
    noise = settings.pop("noise", bytes)
    return Line(End(True, **settings), End(False, **settings), to_far=noise, to_near=noise)


def check_streams(streams: dict[tuple[int, int], int], seed: int, flips: float) -> None:
    """Every stream written in random pieces in turn, over a noisy line; all is there, ends included, and nothing else."""
    chance, line = random.Random(seed), joined(noise=Noise(seed, flips=flips))
    whole = {key: random.Random(number).randbytes(size) for number, (key, size) in enumerate(streams.items())}
    left = {key: bytearray(data) for key, data in whole.items()}
    while left:
        key = chance.choice(list(left))
        size = chance.randrange(1, 20_000)
        line.far.channels.write(*key, bytes(left[key][:size]))
        del left[key][:size]
        if not left[key]:
            line.far.channels.end(*key)
            del left[key]
        line.step()
    line.run_until(lambda: sum(message.kind == END for message in line.near.messages) == len(whole))
    assert {key: line.near.heard(*key) for key in whole} == whole
    ended = [(message.channel, message.stream) for message in line.near.messages if message.kind == END]
    assert sorted(ended) == sorted(whole)
    assert all(message.kind in (OUT, ERR, END) for message in line.near.messages)


STREAMS = st.dictionaries(st.tuples(st.integers(0, 0xFFFF), st.sampled_from([OUT, ERR])), st.integers(0, 50_000), min_size=1, max_size=6)


@budgets(quick=8, long=200)
def test_every_stream_arrives_whole(examples: int) -> None:
    """Up to six streams at once, larger than their credit, over a line that flips bits."""
    holds(check_streams, STREAMS, st.integers(0, 1 << 32), st.sampled_from([0.0, 1e-4, 1e-3]), examples=examples)


def test_a_small_question_is_not_late_behind_a_big_transfer() -> None:
    """While a megabyte is under way, a question and its answer take less than a second and a half at 115,200 baud."""
    line = joined(compression=False)
    line.far.channels.write(1, OUT, random.Random(1).randbytes(1_000_000))
    line.run_until(lambda: len(line.near.heard(1, OUT)) > 100_000)
    asked = line.now_ns
    line.near.channels.open(2, b"{}")
    line.run_until(lambda: any(message.kind == OPEN for message in line.far.messages))
    line.far.channels.write(2, OUT, b"yes")
    line.run_until(lambda: line.near.heard(2, OUT) == b"yes")
    assert line.now_ns - asked < 1.5e9
    assert len(line.near.heard(1, OUT)) < 1_000_000


def test_who_does_not_read_stops_that_stream_alone() -> None:
    """Of a stream that nobody reads its credit arrives, and no more; another one goes on; read, it goes on, too."""
    line = joined(reads=False, compression=False)
    line.far.channels.write(1, OUT, bytes(100_000))
    line.far.channels.write(2, OUT, bytes(20_000))
    line.run_until(lambda: False, limit_s=30)
    assert len(line.near.heard(1, OUT)) == CREDIT_BYTES
    assert len(line.near.heard(2, OUT)) == 20_000
    assert line.far.channels.waiting(1, OUT) == 100_000 - CREDIT_BYTES
    line.near.channels.grant(1, OUT, CREDIT_BYTES)
    line.run_until(lambda: False, limit_s=30)
    assert len(line.near.heard(1, OUT)) == 2 * CREDIT_BYTES


def test_who_sends_more_than_it_may_is_not_listened_to() -> None:
    """The negative control of the credit: an end that ignores it is a lost line, in words."""
    line = joined(reads=False, compression=False)
    line.far.channels.write(1, OUT, bytes(100_000))
    line.far.channels._sending[1, OUT].credit = 1 << 30
    line.run_until(lambda: False, limit_s=30)
    assert "says what it must not: channel 1 was sent" in line.near.lost


def test_a_forgotten_channel_says_nothing_more_and_its_number_may_be_used_again() -> None:
    """What still comes for it harms nobody; a new channel of that number has all of its credit."""
    line = joined(reads=False, compression=False)
    line.far.channels.write(1, OUT, bytes(CREDIT_BYTES))
    line.run_until(lambda: len(line.near.heard(1, OUT)) == CREDIT_BYTES)
    line.far.channels.forget(1)
    line.near.messages.clear()
    line.near.channels.open(1, b"{}")
    line.run_until(lambda: any(message.kind == OPEN for message in line.far.messages))
    line.far.channels.write(1, OUT, bytes(CREDIT_BYTES))
    line.run_until(lambda: False, limit_s=30)
    assert len(line.near.heard(1, OUT)) == CREDIT_BYTES


@pytest.mark.parametrize("compression", [True, False])
def test_text_is_carried_faster_with_compression_alone(compression: bool) -> None:
    """Text of a kind that supervisors speak takes less than half of the line's bytes with compression, and all of them without."""
    line = joined(compression=compression)
    text = b"".join(b'{"id":%d,"do":"follow","run":"run_001","execution":"recovery-1"}\n' % number for number in range(1000))
    line.far.channels.write(1, OUT, text)
    line.run_until(lambda: len(line.near.heard(1, OUT)) == len(text))
    assert line.near.heard(1, OUT) == text
    assert (line.written["far"] < len(text) / 2) is compression


# ---- what no honest end sends -----------------------------------------------------------------------------------------


def check_survives(data: bytes, near: bool) -> None:
    """Any bytes: messages, or a ValueError; never anything else, and never more than was sent."""
    heard: list[Message] = []
    with contextlib.suppress(ValueError):
        heard.extend(Channels(near).feed(data))
    assert sum(len(message.payload) for message in heard) <= len(data)
    assert {message.kind for message in heard} <= (channels.FROM_FAR if near else channels.FROM_NEAR) - {CREDIT}


MADE_UP = st.lists(
    st.builds(
        lambda channel, kind, payload, short: struct.pack(">HBH", channel, kind, len(payload) + short) + payload,
        st.integers(0, 3), st.integers(0, 12), st.binary(max_size=12), st.sampled_from([0, 0, 0, 1]),
    ),
    max_size=20,
).map(b"".join)  # fmt: skip


@budgets(quick=100, long=5000)
def test_messages_of_any_shape_break_nothing(examples: int) -> None:
    """Unknown kinds, short payloads, streams that are none."""
    holds(check_survives, MADE_UP | st.binary(max_size=200), st.booleans(), examples=examples)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [(0, b""), (11, b""), (END, b""), (END, b"\x01"), (CREDIT, b"\x03"), (EXITED, b"\x00"), (CLOSE, b"x")],
)
def test_a_message_that_is_none_is_refused(kind: int, payload: bytes) -> None:
    """Each is a ValueError with the kind in it, at either end."""
    for near in (True, False):
        with pytest.raises(ValueError, match=f"kind {kind} "):
            list(Channels(near).feed(channels._packed(Message(1, kind, payload))))


@pytest.mark.parametrize(
    ("near", "kind", "payload"),
    [
        (True, OPEN, b"{}"), (True, IN, b"x"), (True, CLOSE, b""), (True, END, bytes((IN,))), (True, CREDIT, struct.pack(">BI", OUT, 9)),
        (False, OUT, b"x"), (False, ERR, b"x"), (False, channels.STARTED, b""), (False, EXITED, bytes(4)), (False, REFUSED, b"[]"),
        (False, END, bytes((OUT,))), (False, CREDIT, struct.pack(">BI", IN, 9)),
    ],
)  # fmt: skip
def test_what_only_the_other_end_may_say_is_refused(near: bool, kind: int, payload: bytes) -> None:
    """No end is told what is its own to say, by which a device would have new credit for every OPEN; the other end takes each of them."""
    said = channels._packed(Message(1, kind, payload))
    list(Channels(not near).feed(said))
    with pytest.raises(ValueError, match=f"kind {kind} "):
        list(Channels(near).feed(said))


def test_a_bomb_is_not_inflated() -> None:
    """A packet out of which a thousand times as much would come ends the conversation."""
    near, far = End(True), End(False)
    assert far.conversation._deflate
    bomb = far.conversation._deflate.compress(bytes(20 << 20)) + far.conversation._deflate.flush()
    while not near.lost and bomb:
        room = far.conversation.reliable.room
        far.conversation.reliable.send(bomb[:room])
        bomb = bomb[room:]
        while data := far.due(0):
            near.receive(data, 0)
        while data := near.due(0):
            far.receive(data, 0)
    assert "says what it must not" in near.lost


def test_an_exit_status_arrives_as_it_was() -> None:
    """Negative ones (a signal) and all others; a refusal keeps its words."""
    line = joined()
    for number, status in enumerate((0, 7, 255, -9)):
        line.far.channels.exited(number, status)
    line.far.channels.tell(9, REFUSED, b"no such file")
    line.far.channels.write(3, IN, b"")
    line.run_until(lambda: len(line.near.messages) == 5)
    assert [message.status for message in line.near.messages[:4]] == [0, 7, 255, -9]
    assert line.near.messages[4] == Message(9, REFUSED, b"no such file")
