"""The wire: self-delimiting frames over any byte stream.

    ┌──────┬─────────┬──────┬────────────┬───────────────────┬──────────────────────┬─────────┐
    │ A5 5A│ version │ type │ length u32 │ crc32 of the head │ crc32 of the payload │ payload │      big endian
    └──────┴─────────┴──────┴────────────┴───────────────────┴──────────────────────┴─────────┘

A reader that meets garbage drops one byte and looks for the next magic, so a line that printed a
boot message in between costs what it overwrote and nothing more. The head has a sum of its own: a
damaged length is never believed. A damaged payload is dropped with its whole frame, so no sender
can make a reader sum the same bytes twice. Sizes are bounded before any memory is taken. No pickle,
no eval: JSON, raw journal records and raw blob pieces.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

PROTOCOL_VERSION = 1
MAX_PAYLOAD_BYTES = 2 * 1024 * 1024

JSON, RECORD, BLOB = 1, 2, 3
_TYPES = frozenset((JSON, RECORD, BLOB))
_MAGIC = b"\xa5\x5a"
_HEAD = struct.Struct(">2sBBIII")


class Frame(NamedTuple):
    type: int
    payload: bytes

    def json(self) -> dict[str, Any]:
        """The payload as a JSON object. Raises ValueError if it is anything else."""
        try:
            value = json.loads(self.payload.decode("utf-8"))
        except RecursionError:
            raise ValueError("a JSON frame is nested too deeply") from None
        if not isinstance(value, dict):
            raise ValueError(f"a JSON frame must hold an object, found {type(value).__name__}")
        return value


def encode(type: int, payload: bytes) -> bytes:
    """One frame. Raises ValueError when the payload is larger than MAX_PAYLOAD_BYTES."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a frame holds at most {MAX_PAYLOAD_BYTES} bytes, found {len(payload)}")
    head_sum = zlib.crc32(struct.pack(">BBI", PROTOCOL_VERSION, type, len(payload)))
    return _HEAD.pack(_MAGIC, PROTOCOL_VERSION, type, len(payload), head_sum, zlib.crc32(payload)) + payload


def encode_json(value: dict[str, Any]) -> bytes:
    return encode(JSON, json.dumps(value, separators=(",", ":")).encode("utf-8"))


class Decoder:
    """Bytes in, whole and verified frames out. `skipped_bytes` counts what was not part of any frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.skipped_bytes = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Every frame that `data` completes. Holds at most one frame's worth of bytes afterwards."""
        self._buffer += data
        while True:
            start = self._buffer.find(_MAGIC)
            if start < 0:  # the last byte may be the first half of a magic
                start = len(self._buffer) - (self._buffer[-1:] == _MAGIC[:1])
            self._drop(start)
            if len(self._buffer) < _HEAD.size:
                return
            _, version, type, length, head_sum, payload_sum = _HEAD.unpack_from(self._buffer)
            intact = zlib.crc32(self._buffer[2:8]) == head_sum
            if not intact or version != PROTOCOL_VERSION or type not in _TYPES or length > MAX_PAYLOAD_BYTES:
                self._drop(1)
                continue
            end = _HEAD.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_HEAD.size : end])
            if zlib.crc32(payload) != payload_sum:
                self._drop(end)
                continue
            del self._buffer[:end]
            yield Frame(type, payload)

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self.skipped_bytes += count
