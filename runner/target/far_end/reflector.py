"""The UDP service of the far end: logs and returns light probes, counts trains that come up, sends trains down.

It has a thread of its own, so that no disk and no upload stands between a packet and its answer. A device may send what
it likes: what is no packet of a probe is counted and forgotten; of those that are, so many a second are logged of each name, and
so many in all: whoever sends too many under one name takes no room from another. A line that was not logged is not evidence of
anything; how many there were, of whom, and when, stands in the log, too.
"""

from __future__ import annotations

import json
import os
import select
import socket
import threading
import time
from pathlib import Path
from typing import Any

from runner.ondevice.journal import boottime_ns
from runner.ondevice.link_probe import (
    BACK,
    DOWN,
    FILLING_BEHIND_S,
    LIGHT,
    MAX_TRAIN_PACKETS,
    Packet,
    Tally,
    decode,
    frame_bytes,
    payload_bytes,
    train,
)

MAX_LINES_PER_S, MAX_LOG_BYTES = 200, 256 << 20
MAX_PEERS, MAX_TRAINS = 64, 16
RECEIVE_BUFFER_BYTES = 4 << 20


class _Room:
    """What one name has had of the log in this second, and what of it is not there: since when, until when, and how many."""

    def __init__(self) -> None:
        self.second, self.lines = 0.0, 0
        self.untold = self.from_ns = self.until_ns = 0


class Reflector(threading.Thread):
    """Serves one address until `stop`. The log is written line by line: killing this process loses none."""

    def __init__(self, address: str, port: int, log: Path) -> None:
        """Opens port and log. Raises OSError."""
        super().__init__(daemon=True, name="reflector")
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._socket.bind((address, port))
        self._socket.setblocking(False)
        self.port = int(self._socket.getsockname()[1])
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._logged_bytes = os.fstat(self._log).st_size
        self._waker, self._wake = os.pipe()
        self._lock = threading.Lock()
        self._peers: dict[bytes, tuple[Any, Packet]] = {}
        self._trains: dict[bytes, Tally] = {}
        self._room: dict[bytes, _Room] = {}  # of each name: the first MAX_PEERS and who is expected; all others have one
        self.packets = self.malformed = self.logged = self.not_logged = 0

    def run(self) -> None:
        while True:
            readable, _, _ = select.select([self._socket.fileno(), self._waker], [], [], 1.0)
            if self._waker in readable:
                return
            if self._socket.fileno() in readable:
                self._take_all()
            self._tell_what_was_not_logged()

    def stop(self) -> None:
        os.write(self._wake, b".")
        if self.is_alive():
            self.join(5)
        self._socket.close()
        for fd in (self._log, self._waker, self._wake):
            os.close(fd)

    def _take_all(self) -> None:
        for _ in range(1000):  # then look whether we are to stop
            try:
                data, peer = self._socket.recvfrom(2048)
            except OSError:
                return
            now_ns = boottime_ns()
            packet = decode(data)
            self.packets += 1
            if packet is None:
                self.malformed += 1
                continue
            back = BACK.get(packet.kind)
            if back is not None:
                self._send(data[:2] + back + data[3:], peer)  # as long as it came: never more than was sent to us
            with self._lock:
                if packet.kind == LIGHT:
                    self._peer(packet, peer)
                    self._write(packet, now_ns)
                elif packet.who in self._trains:
                    self._trains[packet.who].count(packet.sequence, frame_bytes(len(data)), now_ns)

    def _peer(self, packet: Packet, peer: Any) -> None:
        if packet.who in self._peers or len(self._peers) < MAX_PEERS:
            self._peers[packet.who] = (peer, packet)

    def _write(self, packet: Packet, now_ns: int) -> None:
        name = packet.who if packet.who in self._room or len(self._room) < MAX_PEERS else b""
        room = self._room.setdefault(name, _Room())
        if time.monotonic() - room.second >= 1:
            self._tell(name, room)
            room.second, room.lines = time.monotonic(), 0
        line = {"who": packet.who.hex(), "boot": packet.boot.hex(), "started_ms": packet.started_ms, "sequence": packet.sequence}
        line |= {"sent_ns": packet.sent_ns, "received_ns": now_ns, "echoes": packet.echoes, "rtt_us": packet.rtt_us}
        room.lines += 1
        if room.lines > MAX_LINES_PER_S or not self._line(line):
            room.from_ns = room.from_ns or now_ns
            room.untold, room.until_ns = room.untold + 1, now_ns
            self.not_logged += 1

    def _line(self, line: dict[str, Any]) -> bool:
        """Whether it is in the log now. Once that is full nothing is: then nothing is known of what was sent, either."""
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        try:
            if self._logged_bytes + len(data) <= MAX_LOG_BYTES:
                self._logged_bytes += os.write(self._log, data)
                self.logged += 1
                return True
        except OSError:
            pass
        return False

    def _tell(self, name: bytes, room: _Room) -> None:
        """A line that says how many packets of a name were not logged, if there are any, and when they came."""
        told = {"not_logged": room.untold, "who": name.hex(), "from_ns": room.from_ns, "received_ns": room.until_ns}
        if room.untold and self._line(told):
            room.untold = room.from_ns = 0

    def _tell_what_was_not_logged(self) -> None:
        with self._lock:
            for name, room in self._room.items():
                if time.monotonic() - room.second >= 1:
                    self._tell(name, room)

    def _send(self, data: bytes, peer: Any) -> bool:
        try:
            self._socket.sendto(data, peer)
            return True
        except OSError:  # its queue is full, or there is no way back: a packet less
            return False

    # ---- what the coordinator asks ------------------------------------------------------------------------

    def counts(self) -> dict[str, Any]:
        """All packets so far, where light probes come from, and how much of each expected train has arrived."""
        with self._lock:
            peers = {who.hex(): {"address": peer[0], "port": peer[1]} for who, (peer, _) in self._peers.items()}
            trains = {who.hex(): tally.packets for who, tally in self._trains.items()}
        lines = {"packets": self.packets, "malformed": self.malformed, "logged": self.logged, "not_logged": self.not_logged}
        return {**lines, "peers": peers, "trains": trains}

    def expect(self, who: str) -> dict[str, Any]:
        """Counts the next train of `who` from nothing. Raises ValueError when so many are counted already."""
        with self._lock:
            if len(self._trains) >= MAX_TRAINS and bytes.fromhex(who) not in self._trains:
                raise ValueError(f"{MAX_TRAINS} trains are being counted; ask for their summaries first")
            self._trains[bytes.fromhex(who)] = Tally()
            self._room.setdefault(bytes.fromhex(who), _Room())  # whoever is expected has room of its own, however many others came
        return {}

    def summary(self, who: str, sent: int = 0) -> dict[str, Any]:
        """What of that train arrived, of `sent`; it is over with this. Raises ValueError for one that nobody expected."""
        with self._lock:
            tally = self._trains.pop(bytes.fromhex(who), None)
        if tally is None:
            raise ValueError("no train of that name was expected")
        return tally.summary(min(max(int(sent), 0), MAX_TRAIN_PACKETS))

    def send(self, who: str, duration_s: float, rate_kbit_s: float, size: int) -> dict[str, Any]:
        """Sends a train to where the light packets of `who` come from; answers behind its last. Raises ValueError when none came."""
        with self._lock:
            known = self._peers.get(bytes.fromhex(who))
        if known is None:
            raise ValueError("no light packet of that name has come, so nobody knows where to send")
        peer, last = known
        bytes_each, failed = frame_bytes(payload_bytes(size)), 0

        def one(number: int) -> None:
            nonlocal failed
            data = Packet(DOWN, last.who, last.boot, last.started_ms, boottime_ns(), number).encode(size)
            failed += not self._send(data, peer)

        began_ns = boottime_ns()
        sent = train(one, duration_s, rate_kbit_s, bytes_each, behind_s=FILLING_BEHIND_S)
        return {
            "sent": sent, "failed": failed, "bytes": sent * bytes_each, "began_ns": began_ns,
            "took_s": round((boottime_ns() - began_ns) / 1e9, 3),
        }  # fmt: skip
