"""The wire between garbage, in any pieces, with a flipped bit: every frame that was not hit arrives, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import strategies as st

from runner.ondevice.frames import _MAGIC, BLOB, JSON, RECORD, Decoder, Frame, encode
from tests.fuzz.made_up import budgets, holds
from tests.fuzz.targets import pieces

BYTES = st.binary(max_size=60) | st.lists(st.sampled_from([b"\xa5", b"\x5a", b"\x01", b"\0\0", b"login: "]), max_size=20).map(b"".join)
PAYLOAD = BYTES.filter(lambda payload: _MAGIC not in payload)  # a frame inside a payload is one, once its own head is broken
FRAMES = st.builds(Frame, st.sampled_from([JSON, RECORD, BLOB]), PAYLOAD)


class Believing:
    """A decoder that takes each magic and each length for what it seems to be, and adds nothing up."""

    def __init__(self) -> None:
        self.stream = b""
        self.given = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        self.stream += data
        found = []
        for rest in self.stream.split(_MAGIC)[1:]:
            length = int.from_bytes(rest[2:6], "big")
            if len(rest) >= 14 + length:
                found.append(Frame(rest[1], rest[14 : 14 + length]))
        yield from found[self.given :]
        self.given = len(found)


def check_arrival(decoder: Any, parts: list[Frame | bytes], flip: float, seed: bytes) -> None:
    stream, places = b"", []
    for part in parts:
        begin = len(stream)
        stream += encode(*part) if isinstance(part, Frame) else part
        places.append((part, begin, len(stream)))
    bit = int(flip * len(stream) * 8) if 0 <= flip < 1 else -8
    if stream and bit >= 0:
        stream = stream[: bit // 8] + bytes([stream[bit // 8] ^ 1 << bit % 8]) + stream[bit // 8 + 1 :]
    arrived = [frame for piece in pieces(stream, seed) for frame in decoder.feed(piece)]
    assert arrived == [part for part, begin, end in places if isinstance(part, Frame) and not begin <= bit // 8 < end]


PARTS = (st.lists(FRAMES | BYTES, max_size=12), st.floats(0, 2), st.binary(max_size=2))


@budgets(quick=100, long=2500)
def test_every_frame_that_was_not_hit_arrives_and_nothing_else(examples: int) -> None:
    """Frames and garbage in turn, in half of the streams with one flipped bit."""
    holds(lambda *given: check_arrival(Decoder(), *given), *PARTS, examples=examples)


def test_a_decoder_that_believes_what_it_reads_is_caught() -> None:
    """The negative control: the same check, with each bit of two frames flipped, fails for it and not for the real one."""
    check_each_bit(Decoder)
    with pytest.raises(AssertionError):
        check_each_bit(Believing)


def check_each_bit(make: Callable[[], Any]) -> None:
    two: list[Frame | bytes] = [Frame(JSON, b"{}"), Frame(BLOB, b"piece")]
    bits = len(encode(JSON, b"{}") + encode(BLOB, b"piece")) * 8
    for bit in range(bits):
        check_arrival(make(), two, (bit + 0.5) / bits, b"")
