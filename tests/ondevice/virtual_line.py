"""A serial line in virtual time for `Reliable`, or whatever has its verbs: paced, noisy in both directions, without a clock or a thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Damage = Callable[[bytes], bytes]
MS = 1_000_000
MOST_AT_ONCE = 1000  # steps without time passing: more would be a processor that a real end keeps busy with nothing


@dataclass
class Line:
    """Two ends joined. `step` moves time to what happens next; the kernel's buffer before the line holds `buffer_bytes`."""

    near: Any
    far: Any
    baud: int = 115_200
    to_far: Damage = bytes
    to_near: Damage = bytes
    buffer_bytes: int = 4096
    delay_ns: int = 1 * MS
    now_ns: int = 0

    def __post_init__(self) -> None:
        self.heard: dict[str, bytearray] = {"near": bytearray(), "far": bytearray()}
        self.written: dict[str, int] = {"near": 0, "far": 0}
        self._free_ns = {"near": 0, "far": 0}
        self._arriving: list[tuple[int, int, str, bytes]] = []

    def step(self) -> None:
        """Everything that is due is written; then time goes to the next arrival or deadline, and what arrives is received."""
        self._write()
        ends = {"near": self.near, "far": self.far}
        full = {name: free - self._buffer_ns for name, free in self._free_ns.items() if free - self._buffer_ns > self.now_ns}
        times = [ends[name].deadline_ns(self.now_ns) for name in ends if not ends[name].lost and name not in full]
        times += full.values()
        times += [self._arriving[0][0]] if self._arriving else []
        self.now_ns = max(self.now_ns, min(times, default=self.now_ns))
        while self._arriving and self._arriving[0][0] <= self.now_ns:
            _, _, name, data = self._arriving.pop(0)
            self.heard[name] += ends[name].receive(data, self.now_ns)

    def run_until(self, reached: Callable[[], bool], limit_s: float = 3600) -> None:
        """Steps until it is `reached`, or one end is lost, or the limit in virtual time has passed."""
        end_ns, stands, before = self.now_ns + int(limit_s * 1e9), 0, self.now_ns
        while not reached() and not self.near.lost and not self.far.lost and self.now_ns < end_ns:
            self.step()
            stands, before = (stands + 1 if self.now_ns == before else 0), self.now_ns
            assert stands < MOST_AT_ONCE, f"time stands still at {self.now_ns / 1e9} s: an end wants to be asked again and again"

    @property
    def _buffer_ns(self) -> int:
        return self.buffer_bytes * 10**10 // self.baud

    def _write(self) -> None:
        for name, end, other, noise in (("near", self.near, "far", self.to_far), ("far", self.far, "near", self.to_near)):
            while self._free_ns[name] - self._buffer_ns <= self.now_ns and (data := end.due(self.now_ns)):
                self.written[name] += len(data)
                self._free_ns[name] = max(self._free_ns[name], self.now_ns) + len(data) * 10**10 // self.baud
                self._arriving.append((self._free_ns[name] + self.delay_ns, len(self._arriving), other, noise(data)))
        self._arriving.sort(key=lambda each: each[0])
