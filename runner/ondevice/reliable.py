"""One reliable, ordered stream of bytes each way, over a line that flips, drops, inserts, repeats and echoes. Pure: no I/O, no clock.

    send(bytes) ─► [ acknowledged │ flying │ lost, to go again │ not yet sent ] ─► due() ─► the line ─► receive() ─► bytes, once, in order
                                                  ▲                                                │
                                                  └─── up to here, and these pieces behind it ◄────┘

A line cannot overtake itself. So every packet has a number of its own, the other end says which number it heard last, and
whatever flew before that and is not among what it has is lost: known, not guessed, after one round trip. A timer is only
for the last packet of all. How long a packet is follows from how many were lost: the length at which the bytes spent on
heads and the bytes spent on repetitions cost the same. How much flies at once follows from how long answers take: as much as
keeps the line busy, and little enough that a question behind it is not late.

Each direction learns by PROBE which byte values arrive; the others stay escaped. An end that acknowledges nothing for
`silence_limit_s` is `lost`, whether it is mute or deaf. Both ends ask every few seconds, so silence is always noticed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from .line_packets import ACK, BYE, DATA, MAX_PAYLOAD_BYTES, OVERHEAD_BYTES, PING, PROBE, PROBED, Escapes, Packet, Packets

WINDOW_BYTES = 0xFFFF  # the most that is ahead of the first byte that is missing; pieces are told in 16 bits
MIN_WINDOW_BYTES = 4096  # an end that is slow to answer, as a starved emulator is, looks like a queue; it must not stop the line
MIN_PAYLOAD_BYTES = 128
READY_BYTES = 2 * MAX_PAYLOAD_BYTES  # taken from `send` ahead of need: more would stand before a question that comes next
MAX_FLYING = 1000  # packets
MAX_RANGES = 32  # pieces that one acknowledgement tells of
QUEUEING_NS = 200_000_000  # how much longer an answer may take because of what flies before it
FORGET_BYTES = 1 << 16  # of what was sent, until half of its losses are forgotten
MIN_TIMER_NS, FIRST_TIMER_NS, MAX_TIMER_NS = 100_000_000, 3_000_000_000, 8_000_000_000
PING_INTERVAL_NS = 5_000_000_000
PROBE_VALUES, PROBE_TRIES = 16, 3
SILENCE_LIMIT_S = 30.0
BYES = 3  # nobody acknowledges a goodbye
NEVER = 1 << 63
Range = tuple[int, int]  # of offsets, the second one excluded


class Flight(NamedTuple):
    """A packet on its way: what of the stream is in it, or which values it tries."""

    sent_ns: int
    piece: Range = (0, 0)
    values: bytes = b""
    tries: int = 0


class Reliable:
    """One end. `near` tells the two apart; both are made with the same `epoch`, which no other conversation on this line had."""

    def __init__(self, epoch: bytes, near: bool, now_ns: int, silence_limit_s: float = SILENCE_LIMIT_S, probing: bool = True) -> None:
        self.near = near
        self.lost = ""  # why this conversation is over, in words; nothing is sent or given any more then
        self.sent_packets = self.lost_packets = 0
        self._key = epoch + (b"n" if near else b"f")
        self._escapes, self._packets = Escapes(), Packets(epoch + (b"f" if near else b"n"))
        self._silence_ns = int(silence_limit_s * 1e9)
        self._number, self._heard = 0, -1  # of our last packet; of the last of ours that the other end heard
        self._answered_ns = self._spoke_ns = self._timer_ns = now_ns
        # what we send
        self._stream, self._acked, self._next = bytearray(), 0, 0  # from _acked on; up to _next it was sent at least once
        self._there: list[Range] = []  # behind _acked, as the other end said
        self._again: list[Range] = []
        self._flying: dict[int, Flight] = {}  # by number, oldest first
        self._flying_bytes = 0
        values = self._escapes.unknown if probing else b""
        self._probes = deque((values[at : at + PROBE_VALUES], 0) for at in range(0, len(values), PROBE_VALUES))
        self._probed: deque[int] = deque()  # numbers of the other end's probes that arrived
        self._unasked = False  # a probe went last: if it is changed, only what goes behind it tells
        self._byes, self._why = 0, b""
        # what we measure
        self._window = float(MIN_WINDOW_BYTES)
        self._trip_ns, self._spread_ns, self._shortest_ns, self._backoff = 0, 0, NEVER, 1
        self._recent_bytes, self._recent_losses = 0.0, 0.0
        # what we hear
        self._expected, self._pieces = 0, dict[int, bytes]()
        self._their_number, self._owing = -1, False

    # ---- for whoever has something to say ------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many bytes may be given to `send` now."""
        return 0 if self.lost else max(0, READY_BYTES - (self._end - self._next))

    @property
    def settled(self) -> bool:
        """Whether the other end has all that was sent."""
        return self._acked == self._end

    def send(self, data: bytes) -> None:
        self._stream += data

    def bye(self, why: str) -> None:
        """The last words: said at the next `due`, and nothing after them."""
        self._byes, self._why = BYES, why.encode()[:200]

    @property
    def beside(self) -> bytearray:
        """What was heard that is no packet. Take it and empty it."""
        return self._packets.beside

    def rest(self) -> bytes:
        """What was heard last and is no packet yet: the words of a device that was cut off. Nothing is kept of it."""
        return self._packets.rest()

    @property
    def damaged(self) -> int:
        return self._packets.damaged

    # ---- what was heard ------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now_ns: int) -> bytes:
        """The bytes of the stream that follow on what was given before."""
        given = bytearray()
        for packet in self._packets.feed(data):
            if self.lost:
                break
            if packet.kind == DATA:
                given += self._data(packet)
            elif packet.kind == ACK:
                self._ack(packet, now_ns)
            elif packet.kind == PROBED:
                self._learn(packet, now_ns)
            elif packet.kind == PROBE:
                self._note_number(packet)
                self._probed.append(packet.number)
            elif packet.kind == PING:
                self._note_number(packet)
                self._owing = True
            elif packet.kind == BYE:
                self.lost = "the other end has ended: " + packet.payload.decode("utf-8", "replace")
        return bytes(given)

    def _note_number(self, packet: Packet) -> None:
        self._their_number = max(self._their_number, _whole(packet.number, self._their_number))

    def _data(self, packet: Packet) -> bytes:
        self._note_number(packet)
        self._owing = True
        start, payload = packet.offset, packet.payload
        ahead = start + len(payload) - self._expected
        if ahead <= 0 or ahead > WINDOW_BYTES:
            return b""
        if len(self._pieces.get(start, b"")) < len(payload) and (start <= self._expected or len(self._pieces) < MAX_FLYING):
            self._pieces[start] = payload
        given = bytearray()
        for place in sorted(self._pieces):
            if place > self._expected:
                break
            fresh = self._pieces.pop(place)[self._expected - place :]
            given += fresh
            self._expected += len(fresh)
        return bytes(given)

    def _ack(self, packet: Packet, now_ns: int) -> None:
        """They have the stream up to `offset` and some pieces behind it, and heard our packet `number` last."""
        number, upto = _whole(packet.number, self._heard), packet.offset
        there = _ranges(upto, packet.payload)
        if number < self._heard or number > self._number or not self._acked <= upto <= self._next or (there and there[-1][1] > self._next):
            return  # an old one that the line repeated, or one that no honest end sends
        self._answered(now_ns)
        self._heard, self._there = number, there
        del self._stream[: upto - self._acked]
        self._acked = upto
        busy = 2 * self._flying_bytes > self._window
        while self._flying and next(iter(self._flying)) <= number:
            first = next(iter(self._flying))
            flight = self._land(first)
            missing = self._missing(flight.piece)
            if first == number:
                self._measure(now_ns - flight.sent_ns, flight, busy)
            self._judge(flight, missing)

    def _learn(self, packet: Packet, now_ns: int) -> None:
        number = _whole(packet.number, self._heard)
        flight = self._flying.get(number)
        if flight is not None and flight.values:
            self._answered(now_ns)
            self._land(number)
            self._escapes.learn(flight.values)

    def _answered(self, now_ns: int) -> None:
        self._answered_ns = self._timer_ns = now_ns
        self._backoff = 1

    def _land(self, number: int) -> Flight:
        flight = self._flying.pop(number)
        self._flying_bytes -= flight.piece[1] - flight.piece[0]
        return flight

    def _missing(self, piece: Range) -> list[Range]:
        """Those parts of a piece that the other end has not said to have."""
        start, missing = max(piece[0], self._acked), []
        for begins, ends in self._there:
            if start < begins < piece[1]:
                missing.append((start, begins))
            start = max(start, ends) if begins < piece[1] else start
        return [*missing, (start, piece[1])] if start < piece[1] else missing

    def _judge(self, flight: Flight, missing: list[Range]) -> None:
        """What becomes of a packet that has landed, or not."""
        length = flight.piece[1] - flight.piece[0]
        lost = bool(missing or flight.values)
        self.lost_packets += lost
        if length:
            self._recent_bytes += length + OVERHEAD_BYTES
            self._recent_losses += lost
            if self._recent_bytes > FORGET_BYTES:
                self._recent_bytes, self._recent_losses = self._recent_bytes / 2, self._recent_losses / 2
        if missing:
            self._again = sorted([*self._again, *missing])
        if flight.values:
            self._try_again(flight)

    def _try_again(self, flight: Flight) -> None:
        """A probe that did not arrive met noise, or holds a value that the line changes: which of them, halves tell."""
        values, half = flight.values, len(flight.values) // 2
        if flight.tries + 1 < PROBE_TRIES:
            self._probes.append((values, flight.tries + 1))
        elif half:
            self._probes.extend([(values[:half], 0), (values[half:], 0)])

    def _measure(self, trip_ns: int, flight: Flight, busy: bool) -> None:
        """One round trip of a packet that arrived. The window grows while answers come soon, and shrinks when they come late."""
        spread = abs(trip_ns - self._trip_ns)
        self._spread_ns = trip_ns // 2 if not self._trip_ns else (3 * self._spread_ns + spread) // 4
        self._trip_ns = trip_ns if not self._trip_ns else (7 * self._trip_ns + trip_ns) // 8
        self._shortest_ns = min(self._shortest_ns, trip_ns)
        early = (QUEUEING_NS - (trip_ns - self._shortest_ns)) / QUEUEING_NS
        if busy or early < 0:
            grown = self._window + (flight.piece[1] - flight.piece[0]) * max(-1.0, early) / 2
            self._window = min(float(WINDOW_BYTES), max(float(MIN_WINDOW_BYTES), grown))

    # ---- what is to be said --------------------------------------------------------------------------------------------

    def due(self, now_ns: int) -> bytes:
        """The next packet for the line, or b"": ask again until then, and once more at `deadline_ns`."""
        if self.lost:
            return b""
        if self._byes:
            self._byes -= 1
            self.lost = "" if self._byes else "we have ended: " + self._why.decode("utf-8", "replace")
            return self._write(BYE, 0, 0, self._why)
        if self.silent(now_ns):
            return b""
        if self._probed:
            return self._write(PROBED, self._probed.popleft(), 0)
        if self._owing:
            self._owing = False
            return self._write(ACK, self._their_number, self._expected, self._told_ranges())
        if self._flying and now_ns >= self._timer_at():
            self._backoff, self._timer_ns = min(self._backoff * 2, 64), now_ns
            flight = self._land(next(iter(self._flying)))
            self._judge(flight, self._missing(flight.piece))
            if not self._flying and flight.piece == (0, 0) and not flight.values:
                return self._send(PING, Flight(now_ns))  # a question that was not answered is asked again, and not only at the next turn
        return self._fly(now_ns)

    def silent(self, now_ns: int) -> bool:
        """Whether it is `lost`, by silence at the latest: to be asked as well while the line takes nothing, and nothing is `due`."""
        if not self.lost and now_ns - self._answered_ns > self._silence_ns:
            self.lost = f"the other end of the line acknowledged nothing for {self._silence_ns / 1e9:g} s"
        return bool(self.lost)

    def deadline_ns(self, now_ns: int, full: bool = False) -> int:
        """When `due` has something to do by time alone; it says at once what it has at once. While the line is `full` only silence
        has a time: a packet that was given up could not be sent again."""
        if full:
            return self._answered_ns + self._silence_ns + 1
        timer = self._timer_at() if self._flying else self._spoke_ns + PING_INTERVAL_NS
        return min(timer, self._answered_ns + self._silence_ns + 1)

    def _fly(self, now_ns: int) -> bytes:
        if len(self._flying) >= MAX_FLYING:
            return b""
        if self._probes:
            values, tries = self._probes.popleft()
            return self._send(PROBE, Flight(now_ns, values=values, tries=tries))
        size = self._size()
        while self._again:
            start, end = self._again.pop(0)
            parts = self._missing((start, end))
            if parts:
                start, end = parts[0][0], min(parts[0][1], parts[0][0] + size)
                rest = [(max(a, end), b) for a, b in parts if b > end]
                self._again = sorted([*rest, *self._again])
                return self._send(DATA, Flight(now_ns, (start, end)))
        end = min(self._end, self._next + size, self._acked + WINDOW_BYTES)
        if end > self._next and (not self._flying_bytes or self._flying_bytes + end - self._next <= self._window):
            start, self._next = self._next, end
            return self._send(DATA, Flight(now_ns, (start, end)))
        if self._unasked or (not self._flying and now_ns - self._spoke_ns >= PING_INTERVAL_NS):
            return self._send(PING, Flight(now_ns))
        return b""

    def _send(self, kind: int, flight: Flight) -> bytes:
        self._number += 1
        self._unasked = kind == PROBE
        if not self._flying:
            self._timer_ns = flight.sent_ns
        self._spoke_ns = flight.sent_ns
        self._flying[self._number] = flight
        start, end = flight.piece
        self._flying_bytes += end - start
        payload = flight.values or bytes(self._stream[start - self._acked : end - self._acked])
        return self._write(kind, self._number, start, payload)

    def _write(self, kind: int, number: int, offset: int, payload: bytes = b"") -> bytes:
        self.sent_packets += 1
        return self._escapes.write(self._key, Packet(kind, number, offset, payload))

    @property
    def _end(self) -> int:
        return self._acked + len(self._stream)

    def _size(self) -> int:
        """The payload for which heads cost as much as repetitions: each packet costs h bytes, each byte of it an h/(size²) of a loss."""
        best = math.sqrt(OVERHEAD_BYTES * self._recent_bytes / self._recent_losses) if self._recent_losses else MAX_PAYLOAD_BYTES
        return int(max(MIN_PAYLOAD_BYTES, min(MAX_PAYLOAD_BYTES, best, self._window / 2)))

    def _timer_at(self) -> int:
        """When the oldest packet in flight is given up, if nothing is heard before."""
        patience = self._trip_ns + max(4 * self._spread_ns, MIN_TIMER_NS) if self._trip_ns else FIRST_TIMER_NS
        oldest = next(iter(self._flying.values())).sent_ns
        return max(oldest, self._timer_ns) + min(MAX_TIMER_NS, patience * self._backoff)

    def _told_ranges(self) -> bytes:
        """The pieces behind what is expected, as distances from it in 16 bits, the nearest first."""
        told = bytearray()
        for start, end in _joined((start, start + len(data)) for start, data in self._pieces.items())[:MAX_RANGES]:
            told += (start - self._expected).to_bytes(2, "big") + (end - self._expected).to_bytes(2, "big")
        return bytes(told)


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """Ranges in order, with those made one that touch."""
    joined: list[Range] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def _ranges(base: int, told: bytes) -> list[Range]:
    numbers = [base + int.from_bytes(told[at : at + 2], "big") for at in range(0, len(told) - len(told) % 4, 2)]
    return _joined(zip(numbers[::2], numbers[1::2]))


def _whole(low: int, near: int) -> int:
    """The number with these low 16 bits that is nearest to `near`."""
    return near + ((low - near + 0x8000) & 0xFFFF) - 0x8000
