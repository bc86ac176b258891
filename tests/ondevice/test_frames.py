"""The wire under garbage, flipped bits and every split: a frame comes out as it went in, or not at all."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest

from runner.ondevice import frames
from runner.ondevice.frames import BLOB, JSON, RECORD, Decoder, Frame, encode, encode_json

SENT = [Frame(JSON, b'{"do":"hello"}'), Frame(RECORD, bytes(range(256))), Frame(BLOB, b""), Frame(JSON, b"\xa5\x5a\xa5")]
WIRE = [encode(*frame) for frame in SENT]
# what a board's serial console prints in between, with bytes in it that look like the beginning of a frame
GARBAGE = b"[    0.000000] Booting Linux on physical CPU 0x0\r\n\xa5\x5a\x00\xa5\xa5\x5a\x01"


def decode(pieces: Iterable[bytes]) -> list[Frame]:
    decoder = Decoder()
    return [frame for piece in pieces for frame in decoder.feed(piece)]


def test_frames_come_out_as_they_went_in() -> None:
    """Several frames in one read are all there, in order."""
    assert decode([b"".join(WIRE)]) == SENT
    assert decode([encode_json({"do": "hello"})])[0].json() == {"do": "hello"}


def test_a_frame_may_be_split_at_any_byte() -> None:
    """Two reads, wherever the first one ends, and one byte at a time give the same frames."""
    wire = b"".join(WIRE)
    for cut in range(len(wire) + 1):
        assert decode([wire[:cut], wire[cut:]]) == SENT
    assert decode(wire[place : place + 1] for place in range(len(wire))) == SENT


def test_garbage_around_frames_costs_no_frame() -> None:
    """What a boot prints before, between and behind frames is skipped and counted."""
    decoder = Decoder()
    wire = GARBAGE + GARBAGE.join(WIRE) + GARBAGE
    assert list(decoder.feed(wire)) == SENT
    assert decoder.skipped_bytes >= len(SENT) * len(GARBAGE)


@pytest.mark.parametrize("frame", SENT[:2], ids=["json", "record"])
def test_no_flipped_bit_ever_gives_a_wrong_frame(frame: Frame) -> None:
    """Each bit of a frame, flipped: the frame is gone, and no other one appears in its place."""
    wire = encode(*frame)
    for bit in range(len(wire) * 8):
        broken = bytearray(wire)
        broken[bit // 8] ^= 1 << bit % 8
        assert decode([bytes(broken)]) == []


def test_frames_behind_a_broken_payload_arrive() -> None:
    """Only the frame whose payload was hit is lost."""
    broken = bytearray(WIRE[0])
    broken[-1] ^= 1
    assert decode([bytes(broken) + WIRE[1] + WIRE[3]]) == [SENT[1], SENT[3]]


def test_an_oversize_length_is_refused_before_any_memory_is_taken() -> None:
    """A header that promises more than the bound is garbage at once: the next frame is not waited for."""
    head = struct.pack(">2sBBII", b"\xa5\x5a", frames.PROTOCOL_VERSION, JSON, frames.MAX_PAYLOAD_BYTES + 1, 0)
    assert decode([head + WIRE[0]]) == [SENT[0]]
    with pytest.raises(ValueError, match="at most"):
        encode(BLOB, bytes(frames.MAX_PAYLOAD_BYTES + 1))


@pytest.mark.parametrize(("version", "kind"), [(2, JSON), (1, 0), (1, 4)], ids=["version", "type 0", "type 4"])
def test_what_we_do_not_speak_is_garbage(version: int, kind: int) -> None:
    """Another version or type is skipped, and what follows it is read."""
    head = struct.pack(">2sBBII", b"\xa5\x5a", version, kind, 0, 0)
    assert decode([head + WIRE[0]]) == [SENT[0]]


@pytest.mark.parametrize("piece", [bytes(65536), b"\xa5" * 65536, b"\xa5\x5a" * 32768, GARBAGE * 800], ids=["0", "A5", "magic", "boot"])
def test_endless_garbage_takes_no_memory(piece: bytes) -> None:
    """After many megabytes that hold no frame, less than one frame's worth is kept, and a frame is still found."""
    decoder = Decoder()
    for _ in range(64):
        assert list(decoder.feed(piece)) == []
    assert len(decoder._buffer) <= frames.MAX_PAYLOAD_BYTES
    assert list(decoder.feed(WIRE[0])) == [SENT[0]]


@pytest.mark.parametrize(
    ("payload", "problem"), [(b"[1]", "an object"), (b"7", "an object"), (b"{", "Expecting"), (b"\xff", "utf-8"), (b"", "Expecting")]
)
def test_a_json_frame_holds_an_object(payload: bytes, problem: str) -> None:
    """Anything else is a ValueError, whoever sent it."""
    with pytest.raises(ValueError, match=problem):
        Frame(JSON, payload).json()


def test_one_flipped_bit_in_a_length_does_not_swallow_what_follows() -> None:
    """Good frames behind a damaged head are heard soon, not after up to 2 MiB of them."""
    decoder, wire = frames.Decoder(), frames.encode_json({"event": "held"})
    broken = bytearray(wire)
    broken[5] ^= 0x10
    assert any(list(decoder.feed(data)) for data in (bytes(broken), *[wire] * 100))
