"""The link probe: numbered packets from the device to the far end of its data link and back; what arrives is counted there.

    light    one packet every interval_s; the far end logs it and sends it back as it came     how is the link, all the time
    train    many at a pace, for some seconds; counted by whoever receives them                how much passes, and what is lost
    catch    the same the other way: the far end sends to where the light packets come from

Every light packet says how many came back so far and how long the last one took, so the far end's log is all the evidence
there is to be, and a power cut takes none of it. Sizes, bytes and rates are those of IP packets plus Ethernet's 14, as an
interface counts them and a shaper does that is not told otherwise.

The far end reads and counts with this very file. Nothing here is believed by anybody: a packet of another shape is none.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from typing import Any, NamedTuple

from .journal import boot_id, boottime_ns

PORT = 7777
ETHERNET_BYTES, IP_UDP_BYTES = 14, 28
MAX_PACKET_BYTES, MAX_TRAIN_PACKETS, MAX_TRAIN_S, MAX_RATE_KBIT_S = 1_472, 200_000, 120.0, 1_000_000.0
MIN_INTERVAL_S, MAX_LIGHT_S = 0.02, 86_400.0
BEHIND_S = 0.02
FILLING_BEHIND_S = 0.25  # of a train that is to fill a link: as much as its queue holds, because a busy board wakes up late
MAX_ROUND_TRIPS = 20_000  # of one train, for its median
SILENCE_S = 30.0  # in which a first packet must have come back
LIGHT, TRAIN, ECHOED_TRAIN, DOWN, ECHO, TRAIN_ECHO = b"l", b"t", b"q", b"d", b"e", b"r"
BACK = {LIGHT: ECHO, ECHOED_TRAIN: TRAIN_ECHO}  # what is sent back, and as what

_SHAPE = struct.Struct(">2sc8s8sIQIII")
_MAGIC = b"Lp"
HEADER_BYTES = _SHAPE.size


class Packet(NamedTuple):
    """One packet of a probe. `boot` is the beginning of the device's boot id; with `started_ms` (on its boot-time clock)
    it names one life of one probe: numbers begin again in the next."""

    kind: bytes
    who: bytes
    boot: bytes
    started_ms: int
    sent_ns: int
    sequence: int
    echoes: int = 0
    rtt_us: int = 0

    def encode(self, size: int) -> bytes:
        """The packet's bytes, padded to an IP packet of `size` bytes with Ethernet's 14; never less than the header."""
        kind, who, boot, *numbers = self
        return _SHAPE.pack(_MAGIC, kind, who, boot, *numbers).ljust(payload_bytes(size), b"\0")


def decode(data: bytes) -> Packet | None:
    """The packet in `data`; None for everything else."""
    if not HEADER_BYTES <= len(data) <= MAX_PACKET_BYTES or data[:2] != _MAGIC:
        return None
    return Packet(*_SHAPE.unpack_from(data)[1:])


def frame_bytes(payload: int) -> int:
    """What a shaper counts for a UDP payload of so many bytes."""
    return payload + IP_UDP_BYTES + ETHERNET_BYTES


def payload_bytes(size: int) -> int:
    """The UDP payload of a packet that a shaper counts as `size`, within what a packet can have."""
    return min(max(size - IP_UDP_BYTES - ETHERNET_BYTES, HEADER_BYTES), MAX_PACKET_BYTES)


class Tally:
    """What of one train has arrived: counted packet by packet, in memory that does not grow beyond MAX_TRAIN_PACKETS."""

    def __init__(self) -> None:
        self.packets = self.bytes = self.duplicates = self.reordered = 0
        self.first_ns = self.last_ns = 0
        self._seen = bytearray(MAX_TRAIN_PACKETS // 8 + 1)
        self._highest = -1
        self._arrivals: list[tuple[int, int]] = []  # when, and how many bytes in all by then

    def count(self, sequence: int, size: int, now_ns: int) -> None:
        """Takes one packet of the train. One with a number beyond MAX_TRAIN_PACKETS is not looked at."""
        if not 0 <= sequence < MAX_TRAIN_PACKETS or len(self._arrivals) >= 2 * MAX_TRAIN_PACKETS:
            return
        self.packets, self.bytes = self.packets + 1, self.bytes + size
        self.first_ns, self.last_ns = self.first_ns or now_ns, now_ns
        self._arrivals.append((now_ns, self.bytes))
        byte, bit = sequence >> 3, 1 << (sequence & 7)
        if self._seen[byte] & bit:
            self.duplicates += 1
        elif sequence < self._highest:
            self.reordered += 1
        self._seen[byte] |= bit
        self._highest = max(self._highest, sequence)

    def summary(self, sent: int = 0) -> dict[str, Any]:
        """The counts. `sent` is how many there were: without it, what is missing behind the last that came is not known to be.

        `bursts` says how often so many numbers in a row are missing. `rate_kbit_s` is of the last three quarters of the
        time: what a shaper lets through at once when it has had nothing to do is no rate.
        """
        end = min(max(sent, self._highest + 1), MAX_TRAIN_PACKETS)
        bursts: dict[str, int] = {}
        run = received = 0
        for sequence in range(end + 1):
            if sequence < end and not self._seen[sequence >> 3] & (1 << (sequence & 7)):
                run += 1
                continue
            received += sequence < end
            if run:
                bursts[str(run)] = bursts.get(str(run), 0) + 1
            run = 0
        said = {"packets": self.packets, "bytes": self.bytes, "first_ns": self.first_ns, "last_ns": self.last_ns}
        said |= {"sent": end, "received": received, "duplicates": self.duplicates, "reordered": self.reordered}
        return {**said, "bursts": dict(sorted(bursts.items(), key=lambda item: int(item[0]))[:200]), "rate_kbit_s": self._rate_kbit_s()}

    def _rate_kbit_s(self) -> float | None:
        settled_ns = self.first_ns + (self.last_ns - self.first_ns) // 4
        later = [(when, total) for when, total in self._arrivals if when >= settled_ns]
        if len(later) < 3 or later[-1][0] <= later[0][0]:
            return None
        return round((later[-1][1] - later[0][1]) * 8e6 / (later[-1][0] - later[0][0]), 3)


def train(send: Any, duration_s: float, rate_kbit_s: float, size: int, between: Any = time.sleep, behind_s: float = BEHIND_S) -> int:
    """Calls `send(number)` for packets of `size` at the pace of `rate_kbit_s` for `duration_s`, all bounded; how many there were.

    Whoever cannot keep up does not catch up with more than `behind_s` of it at once.
    """
    duration_s, gap_s = min(duration_s, MAX_TRAIN_S), size * 8 / 1000 / min(max(rate_kbit_s, 0.001), MAX_RATE_KBIT_S)
    begun, number = time.monotonic(), 0
    due = begun
    while number < MAX_TRAIN_PACKETS and due - begun < duration_s:
        now = time.monotonic()
        if now < due:
            between(due - now)
            continue
        due = max(due, now - behind_s) + gap_s
        if time.monotonic() - begun >= duration_s:
            break
        send(number)
        number += 1
    return number


def median_and_95(round_trips_us: list[int]) -> dict[str, Any]:
    """What the quickest of the round trips needed, half of them at most, and 95 % of them; in milliseconds."""
    if not round_trips_us:
        return {"echoes": 0, "rtt_min_ms": None, "rtt_p50_ms": None, "rtt_p95_ms": None}
    ordered = sorted(round_trips_us)
    return {
        "echoes": len(ordered),
        "rtt_min_ms": ordered[0] / 1000,
        "rtt_p50_ms": ordered[(len(ordered) - 1) // 2] / 1000,
        "rtt_p95_ms": ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)] / 1000,
    }


class LinkProbe:
    """The probes of one device. At most one light probe and one train at a time; no method leaves a thread or a socket behind it
    but `start`, and that one's end with `stop`."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._life = (b"", b"", 0)  # of whom, in which boot, and since when
        self._sent = self._echoes = 0
        self._catching: Tally | None = None
        self._lock = threading.Lock()
        self._training = threading.Lock()

    def start(self, far_end: str, port: int, who: str, interval_s: float, size: int) -> None:
        """The light probe runs from here on; one that runs already is ended first. Raises ValueError, OSError.

        One of the same name as the last goes on with its numbers, so that what is lost between the two is known, too.
        """
        name = bytes.fromhex(who)
        if len(name) != 8 or not interval_s >= MIN_INTERVAL_S:
            raise ValueError(f"a probe is named by 16 hex digits, and sends at most every {MIN_INTERVAL_S} s")
        self.stop()
        self._stopped = threading.Event()
        if self._life[0] != name:
            self._life = (name, bytes.fromhex(boot_id())[:8], boottime_ns() // 1_000_000 & 0xFFFFFFFF)
            self._sent = self._echoes = 0
        sock = _socket(far_end)
        work = (sock, (far_end, port), interval_s, size, self._stopped)
        self._thread = threading.Thread(target=self._run, args=work, daemon=True, name="link probe")
        self._thread.start()

    def stop(self) -> dict[str, Any]:
        """Ends the light probe, if there is one, and tells what it counted."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(5)
        self._thread = None
        return {"sent": self._sent, "echoes": self._echoes}

    def standing(self) -> dict[str, Any]:
        """How many light packets this life of the probe has sent, and whose it is: for a journal, because a power cut takes this memory."""
        who, _, started_ms = self._life
        return {"who": who.hex(), "started_ms": started_ms, "sent": self._sent}

    def _run(self, sock: socket.socket, to: tuple[str, int], interval_s: float, size: int, stopped: threading.Event) -> None:
        who, boot, started_ms = self._life
        due, rtt_us, highest = time.monotonic(), 0, self._sent - 1
        until = due + MAX_LIGHT_S
        with sock:
            while not stopped.is_set() and (now := time.monotonic()) < until:
                if now >= due:
                    packet = Packet(LIGHT, who, boot, started_ms, boottime_ns(), self._sent & 0xFFFFFFFF, self._echoes, rtt_us)
                    _try_to_send(sock, packet.encode(size), to)
                    self._sent += 1
                    due = max(due + interval_s, now)  # a sleep or a stop of the whole machine is not made up for
                if not select.select([sock], [], [], min(max(due - time.monotonic(), 0), 0.25))[0]:
                    continue
                data = _receive(sock)
                came = decode(data)
                if came is None or came.who != who:
                    continue
                if came.kind == ECHO and came.boot == boot and came.started_ms == started_ms and came.sequence < self._sent:
                    self._echoes += came.sequence > highest  # one that comes twice, or late, is no second one
                    highest = max(highest, came.sequence)
                    rtt_us = min(max((boottime_ns() - came.sent_ns) // 1000, 0), 0xFFFFFFFF)
                with self._lock:
                    if came.kind == DOWN and self._catching is not None:
                        self._catching.count(came.sequence, frame_bytes(len(data)), boottime_ns())

    def train(
        self, far_end: str, port: int, who: str, duration_s: float, rate_kbit_s: float, size: int, echo: bool, wait_s: float = SILENCE_S
    ) -> dict[str, Any]:
        """Sends a train; answers behind its last packet. Raises ValueError, OSError.

        With `echo` they are to come back: it answers when all have, or none has for twice the longest round trip and 2 s
        more; after `wait_s` when there was none at all.
        """
        name, boot, started_ms = bytes.fromhex(who), bytes.fromhex(boot_id())[:8], int.from_bytes(os.urandom(4), "big")
        if len(name) != 8:
            raise ValueError("a train is named by 16 hex digits")
        kind, failed = ECHOED_TRAIN if echo else TRAIN, 0
        round_trips: list[int] = []
        back = Tally()
        payload = frame_bytes(payload_bytes(size))
        with self._training, _socket(far_end) as sock:

            def send(number: int) -> None:
                nonlocal failed
                packet = Packet(kind, name, boot, started_ms, boottime_ns(), number)
                failed += not _try_to_send(sock, packet.encode(size), (far_end, port))

            def listen(seconds: float) -> None:
                if not select.select([sock], [], [], seconds)[0]:
                    return
                packet = decode(_receive(sock))
                ours = packet is not None and (packet.kind, packet.who, packet.started_ms) == (TRAIN_ECHO, name, started_ms)
                if packet is None or not ours or len(round_trips) >= MAX_ROUND_TRIPS:
                    return
                back.count(packet.sequence, payload, boottime_ns())
                if back.duplicates + len(round_trips) < back.packets:  # its first time
                    round_trips.append(min(max((boottime_ns() - packet.sent_ns) // 1000, 0), 600_000_000))

            begun = boottime_ns()
            sent = train(send, duration_s, rate_kbit_s, payload, *((listen, BEHIND_S) if echo else (time.sleep, FILLING_BEHIND_S)))
            took_ns = boottime_ns() - begun
            if echo:
                ended = heard = time.monotonic()
                known = len(round_trips)
                while len(round_trips) < min(sent, MAX_ROUND_TRIPS):
                    if len(round_trips) > known:
                        known, heard = len(round_trips), time.monotonic()
                    until = heard + 2.0 + 2 * max(round_trips) / 1e6 if round_trips else ended + min(wait_s, SILENCE_S)
                    if time.monotonic() >= until:
                        break
                    listen(until - time.monotonic())
        said = {"sent": sent, "failed": failed, "bytes": sent * payload, "began_ns": begun, "took_s": round(took_ns / 1e9, 3)}
        return {**said, **(median_and_95(round_trips) if echo else {})}

    def catch(self, duration_s: float) -> dict[str, Any]:
        """Counts what the far end sends down for `duration_s`. Raises ValueError while no light probe runs: nobody knows where to send."""
        if self._thread is None or not self._thread.is_alive():
            raise ValueError("no light probe runs here, so the far end does not know where to send")
        with self._training:
            with self._lock:
                tally = self._catching = Tally()
            self._stopped.wait(min(duration_s, MAX_TRAIN_S + 10.0))
            with self._lock:
                self._catching = None
        return tally.summary()


def _socket(far_end: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in far_end else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    return sock


def _try_to_send(sock: socket.socket, data: bytes, to: tuple[str, int]) -> bool:
    """Whether the kernel took a packet; without a link it does not, and that is what is being found out."""
    try:
        sock.sendto(data, to)
        return True
    except OSError:
        return False


def _receive(sock: socket.socket) -> bytes:
    """One packet; nothing when there is none after all, or the kernel reports that an earlier one met nobody."""
    try:
        return sock.recv(2048)
    except OSError:
        return b""
