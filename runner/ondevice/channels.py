"""Many commands over one reliable stream: each a channel with input, output and errors of its own. Pure: no I/O, no processes.

    near: OPEN argv ─► IN … END ─►                                      ┌─────────────┬─────────┬────────────┬─────────┐
                                    far: ◄─ STARTED, OUT, ERR …, EXITED │ channel u16 │ kind u8 │ length u16 │ payload │
    near: CREDIT ─►                 far: ◄─ CREDIT, or REFUSED          └─────────────┴─────────┴────────────┴─────────┘

Nobody sends more of a stream than the other end has promised to take, so one command that is not read stops itself and nothing
else. Of the streams that may send, each has its turn, one short message at a time, and what is no data goes first: a
small question is not late behind a big transfer.

`Conversation` is all of it from messages to bytes on the line: channels, compression, the reliable stream.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from .reliable import Reliable

OPEN, IN, OUT, ERR, END, CREDIT, STARTED, EXITED, REFUSED, CLOSE = range(1, 11)
STREAMS = (IN, OUT, ERR)
FROM_NEAR, FROM_FAR = frozenset((OPEN, IN, END, CREDIT, CLOSE)), frozenset((OUT, ERR, END, CREDIT, STARTED, EXITED, REFUSED))
CREDIT_BYTES = 32768  # of each stream at its beginning: what the other end may send before it is told that somebody reads
TOLD_BYTES = CREDIT_BYTES // 4  # what was read is told in no smaller pieces
PIECE_BYTES = 2048
MAX_MESSAGE_BYTES = 0xFFFF
MAX_INFLATED_BYTES = 1 << 20  # from one packet; nobody honest comes near it
_HEAD = struct.Struct(">HBH")
_CREDIT = struct.Struct(">BI")
_STATUS = struct.Struct(">i")
Key = tuple[int, int]  # channel, stream


class Message(NamedTuple):
    channel: int
    kind: int
    payload: bytes

    @property
    def stream(self) -> int:
        """Of an END: the stream that ended."""
        return self.payload[0]

    @property
    def status(self) -> int:
        """Of an EXITED: the exit status."""
        status: int = _STATUS.unpack(self.payload)[0]
        return status


class _Outgoing:
    """What one stream of one channel still has to say."""

    def __init__(self) -> None:
        self.data, self.credit, self.ends = bytearray(), CREDIT_BYTES, False


class Channels:
    """One end's view. The numbers of channels are the near end's to choose; what overtakes data (`tell`, `exited`) is told when
    the data has gone, if it must not be told before."""

    def __init__(self, near: bool) -> None:
        self._theirs = FROM_FAR if near else FROM_NEAR
        self._sending: dict[Key, _Outgoing] = {}
        self._turns: deque[Key] = deque()  # streams with something to say that have the credit for it
        self._first: deque[Message] = deque()
        self._taking: dict[Key, int] = {}  # how much of a stream the other end may still send
        self._read: dict[Key, int] = {}  # how much of it was read here, and not told yet
        self._heard = bytearray()

    def open(self, channel: int, payload: bytes) -> None:
        """Begins a channel, under a number that no channel has that is still known here."""
        self.forget(channel)
        self.tell(channel, OPEN, payload)

    def tell(self, channel: int, kind: int, payload: bytes = b"") -> None:
        """A message that is no data: it overtakes what waits."""
        self._first.append(Message(channel, kind, payload))

    def exited(self, channel: int, status: int) -> None:
        self.tell(channel, EXITED, _STATUS.pack(status))

    def write(self, channel: int, stream: int, data: bytes) -> None:
        self._outgoing(channel, stream).data += data
        self._enqueue((channel, stream))

    def end(self, channel: int, stream: int) -> None:
        """No more of it comes; said behind all that was written."""
        self._outgoing(channel, stream).ends = True
        self._enqueue((channel, stream))

    def waiting(self, channel: int, stream: int) -> int:
        """How many bytes were written and not yet taken."""
        outgoing = self._sending.get((channel, stream))
        return len(outgoing.data) if outgoing else 0

    def grant(self, channel: int, stream: int, count: int) -> None:
        """Somebody here has read so many bytes: as many more may come."""
        key = (channel, stream)
        if key not in self._taking:
            return
        self._read[key] = self._read.get(key, 0) + count
        if self._read[key] >= TOLD_BYTES:
            told = self._read.pop(key)
            self._taking[key] += told
            self.tell(channel, CREDIT, _CREDIT.pack(stream, told))

    def forget(self, channel: int) -> None:
        """The channel is over here: what it still had to say is dropped, and what still comes for it is not looked at."""
        for stream in STREAMS:
            self._sending.pop((channel, stream), None)
            self._taking.pop((channel, stream), None)
            self._read.pop((channel, stream), None)
        self._turns = deque(key for key in self._turns if key[0] != channel)

    def take(self) -> bytes:
        """The next message as bytes for the stream, or b""."""
        if self._first:
            return _packed(self._first.popleft())
        if not self._turns:
            return b""
        channel, stream = key = self._turns.popleft()
        outgoing = self._sending[key]
        if not outgoing.data:
            outgoing.ends = False
            return _packed(Message(channel, END, bytes((stream,))))
        size = min(PIECE_BYTES, outgoing.credit)
        data = bytes(outgoing.data[:size])
        del outgoing.data[:size]
        outgoing.credit -= len(data)
        self._enqueue(key)
        return _packed(Message(channel, stream, data))

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that `data` completes, credit apart, which is dealt with here. Raises ValueError for what no honest end sends."""
        self._heard += data
        while len(self._heard) >= _HEAD.size:
            channel, kind, length = _HEAD.unpack_from(self._heard)
            end = _HEAD.size + length
            if len(self._heard) < end:
                return
            message = Message(channel, kind, bytes(self._heard[_HEAD.size : end]))
            del self._heard[:end]
            _check(message, self._theirs)
            if kind == CREDIT:
                self._credited(message)
                continue
            if kind == OPEN:
                self.forget(channel)
            if kind in STREAMS:
                left = self._taking.setdefault((channel, kind), CREDIT_BYTES)
                if length > left:
                    raise ValueError(f"channel {channel} was sent {length} bytes where {left} were allowed")
                self._taking[channel, kind] = left - length
            yield message

    def _credited(self, message: Message) -> None:
        stream, count = _CREDIT.unpack(message.payload)
        outgoing = self._sending.get((message.channel, stream))
        if outgoing is not None:  # else it was forgotten, while this was under way
            outgoing.credit += count
            self._enqueue((message.channel, stream))

    def _outgoing(self, channel: int, stream: int) -> _Outgoing:
        return self._sending.setdefault((channel, stream), _Outgoing())

    def _enqueue(self, key: Key) -> None:
        outgoing = self._sending[key]
        if ((outgoing.data and outgoing.credit) or (outgoing.ends and not outgoing.data)) and key not in self._turns:
            self._turns.append(key)


class Conversation:
    """One end: messages in and out above, bytes of the line below. `lost` says why it is over, once it is."""

    def __init__(self, reliable: Reliable, compression: bool = True) -> None:
        self.channels, self.reliable = Channels(reliable.near), reliable
        self._deflate = zlib.compressobj() if compression else None
        self._inflate = zlib.decompressobj() if compression else None

    @property
    def lost(self) -> str:
        return self.reliable.lost

    def receive(self, data: bytes, now_ns: int) -> list[Message]:
        """What the other end said. One that breaks the rules is not listened to any longer: it is `lost` then."""
        messages: list[Message] = []
        try:
            stream = self._inflated(self.reliable.receive(data, now_ns))
            messages.extend(self.channels.feed(stream))
        except (ValueError, zlib.error) as error:
            self.reliable.lost = f"the other end of the line says what it must not: {error}"
        return messages

    def due(self, now_ns: int) -> bytes:
        """The next bytes for the line, or b""."""
        while self.reliable.room and (message := self.channels.take()):
            self.reliable.send(self._deflate.compress(message) + self._deflate.flush(zlib.Z_SYNC_FLUSH) if self._deflate else message)
        return self.reliable.due(now_ns)

    def deadline_ns(self, now_ns: int, full: bool = False) -> int:
        return self.reliable.deadline_ns(now_ns, full)

    def _inflated(self, stream: bytes) -> bytes:
        if self._inflate is None or not stream:
            return stream
        inflated = self._inflate.decompress(stream, MAX_INFLATED_BYTES)
        if self._inflate.unconsumed_tail or self._inflate.eof:
            raise ValueError("more than is sane comes out of one packet")
        return inflated


def _packed(message: Message) -> bytes:
    return _HEAD.pack(message.channel, message.kind, len(message.payload)) + message.payload


def _check(message: Message, theirs: frozenset[int]) -> None:
    """Raises ValueError for a message that is none of `theirs`, or whose payload is not of its kind's shape."""
    kind, payload = message.kind, message.payload
    right = {
        END: len(payload) == 1 and payload[0] in STREAMS and payload[0] in theirs,
        CREDIT: len(payload) == _CREDIT.size and payload[0] in STREAMS and payload[0] not in theirs,
        EXITED: len(payload) == _STATUS.size,
        STARTED: not payload,
        CLOSE: not payload,
    }.get(kind, True)
    if kind not in theirs or not right:
        raise ValueError(f"a message of kind {kind} with {len(payload)} bytes")
