"""Packets on a serial line, and which bytes the line can carry as they are. Pure.

    ┌───┬─────────┬────────────┬────────────┬─────────┬───────────┬───┐
    │ ~ │ kind u8 │ number u16 │ offset u48 │ payload │ sum 48 bit│ ~ │      big endian; a ~ stands nowhere else on the line
    └───┴─────────┴────────────┴────────────┴─────────┴───────────┴───┘

Between two ~ a byte that the line might change is written as } and a code: one letter for those that lines are known to
eat, two hexadecimal digits for all others. A reader takes every code at any time, so each end chooses by itself what it
escapes: at first all but printable ASCII, which passes everywhere, and then less and less, as `Escapes` learns that a value
arrives.

The sum is BLAKE2b over all before it, keyed by the conversation and by who speaks. So an echo of our own packets, a packet of an
earlier conversation and a damaged one are the same thing: no packet. One of 2**48 damaged ones would pass: after 100 MB in which
every packet was damaged once, that is 1 in 10**9. (A CRC-32 with an equal header would let 1 in 20,000 such transfers pass.)
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import NamedTuple

MAX_PAYLOAD_BYTES = 1024
DATA, ACK, PING, PROBE, PROBED, BYE = (ord(letter) for letter in "DAIPpB")
DELIMITER, ESCAPE, XON, XOFF = 0x7E, 0x7D, 0x11, 0x13
NEVER_BARE = frozenset((DELIMITER, ESCAPE, XON, XOFF))
_EATEN = (DELIMITER, ESCAPE, XON, XOFF, 0x00, 0x03, 0x04, 0x0A, 0x0D, 0x0F, 0x1A, 0x1B, 0x1C, 0x1D, 0x7F, 0xFF)
_LETTERS = b"GHIJKLMNOPQRSTUV"  # no hexadecimal digits
_OF_LETTER = dict(zip(_LETTERS, _EATEN))
_CODES = [b"}%02X" % value for value in range(256)]
for _letter, _value in _OF_LETTER.items():
    _CODES[_value] = bytes((ESCAPE, _letter))
_BARE = [bytes((value,)) for value in range(256)]
_PRINTABLE = frozenset(range(0x20, 0x7F)) - NEVER_BARE
_HEAD = struct.Struct(">BHHI")
_SUM_BYTES = 6
OVERHEAD_BYTES = _HEAD.size + _SUM_BYTES + 2
MAX_SEGMENT_BYTES = 3 * (MAX_PAYLOAD_BYTES + OVERHEAD_BYTES)  # every byte escaped


class Packet(NamedTuple):
    kind: int
    number: int  # its low 16 bits; of an answer: the number of what it answers
    offset: int
    payload: bytes


class Escapes:
    """How one end writes. It begins with what every line carries; a value is written bare once `learn` has heard that it arrives."""

    def __init__(self) -> None:
        self._table = [_BARE[value] if value in _PRINTABLE else _CODES[value] for value in range(256)]

    @property
    def unknown(self) -> bytes:
        """The values that are still escaped, and need not be for all that is known."""
        return bytes(value for value in range(256) if value not in NEVER_BARE and self._table[value] != _BARE[value])

    def learn(self, values: bytes) -> None:
        """These values arrive as they are."""
        for value in values:
            if value not in NEVER_BARE:
                self._table[value] = _BARE[value]

    def write(self, key: bytes, packet: Packet) -> bytes:
        """A packet as bytes for the line. The payload of a PROBE stands there bare: whether it arrives is the question."""
        head = _HEAD.pack(packet.kind, packet.number & 0xFFFF, packet.offset >> 32, packet.offset & 0xFFFFFFFF)
        bare = packet.kind == PROBE
        payload = packet.payload if bare else self._escaped(packet.payload)
        return b"~" + self._escaped(head) + payload + self._escaped(_sum(key, head + packet.payload)) + b"~"

    def _escaped(self, data: bytes) -> bytes:
        return b"".join(map(self._table.__getitem__, data))


class Packets:
    """Bytes of the line in, packets of the other end out; all else is `beside` them: a kernel's words, and what was damaged."""

    def __init__(self, key: bytes) -> None:
        self.damaged = 0  # pieces between two ~ that are no packet
        self.beside = bytearray()  # for whoever keeps the console's log: take it and empty it
        self._key = key
        self._segment = b""

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Every packet that `data` completes. Keeps at most MAX_SEGMENT_BYTES afterwards, apart from `beside`."""
        *segments, self._segment = (self._segment + data).split(b"~")
        for segment in segments:
            packet = self._read(segment) if segment else None
            if packet is not None:
                yield packet
            elif segment:
                self.damaged += 1
                self.beside += segment
        if len(self._segment) > MAX_SEGMENT_BYTES:
            self.beside += self._segment
            self._segment = b""

    def rest(self) -> bytes:
        """What stands behind the last ~; it is given away."""
        segment, self._segment = self._segment, b""
        return segment

    def _read(self, segment: bytes) -> Packet | None:
        body = _bare(segment) if len(segment) <= MAX_SEGMENT_BYTES else None
        if body is None or len(body) < _HEAD.size + _SUM_BYTES or _sum(self._key, body[:-_SUM_BYTES]) != body[-_SUM_BYTES:]:
            return None
        kind, number, high, low = _HEAD.unpack_from(body)
        return Packet(kind, number, high << 32 | low, body[_HEAD.size : -_SUM_BYTES])


def _sum(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_SUM_BYTES, key=key).digest()


def _bare(segment: bytes) -> bytes | None:
    """What was escaped as it was before; None when a code is none."""
    first, *rest = segment.split(b"}")
    pieces = [first]
    for part in rest:
        if part[:1] and part[0] in _OF_LETTER:
            pieces += [_BARE[_OF_LETTER[part[0]]], part[1:]]
        else:
            try:
                pieces += [bytes.fromhex(part[:2].decode("ascii")), part[2:]]
            except ValueError:
                return None
    return b"".join(pieces)
