"""What a narrow link does to each packet: when it leaves, how often, or that it never does. No I/O, and no clock of its own.

    a packet of so many bytes, at this moment ─► too long? ─► lost? twice? ─► waits for its turn ─► is on its way ─► leaves
                                                              chance          rate, queue           delay, jitter

Chance is drawn from a generator with a seed, DRAWS times for each packet whatever becomes of it. So the same packets in the same
order are lost by the same seed: the fate of the 100th does not depend on when it came, nor on what the link was before.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import random

DRAWS = 7  # of one packet: the state changes, it is lost, comes twice, overtakes, its own jitter, and that of its copy; one is spare
HEADER_BYTES = {4: 28, 6: 48}  # of IP and UDP around a payload, by the version of IP


class Shape(NamedTuple):
    """One direction of a link. A rate counts IP packets; the shares are percent, and None of a rate or a payload is no limit."""

    queue_packets: int  # how many may wait for their turn
    rate_kbit_s: float | None = None
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss_percent: float = 0.0
    burst: tuple[float, float, float, float] | None = None  # good → bad, bad → good, loss in bad, loss in good
    duplicate_percent: float = 0.0
    reorder_percent: float = 0.0
    payload_bytes: int | None = None


def shape_of(said: Any) -> Shape:
    """A Shape as JSON has it. Raises ValueError for what is none."""
    try:
        shape = Shape(**said)
        shape = shape._replace(burst=None if shape.burst is None else tuple(map(float, shape.burst)))  # type: ignore[arg-type]
        shares = (shape.loss_percent, shape.duplicate_percent, shape.reorder_percent, *(shape.burst or ()))
        good = shape.queue_packets >= 1 and 0 <= shape.jitter_ms <= shape.delay_ms and all(0 <= share <= 100 for share in shares)
        good = good and (shape.rate_kbit_s is None or shape.rate_kbit_s > 0) and len(shape.burst or range(4)) == 4
        good = good and (shape.payload_bytes is None or shape.payload_bytes >= 1)
    except TypeError as error:
        raise ValueError(f"this is no shape: {error}") from None
    if not good:
        raise ValueError(f"this is no shape: {said}")
    return shape


class Course:
    """One direction over time. `counts` says what became of the packets: taken = lost + too_long + overflowed + those that leave."""

    def __init__(self, shape: Shape, chance: random.Random) -> None:
        self.shape, self._chance = shape, chance
        self.counts = {"taken": 0, "lost": 0, "too_long": 0, "overflowed": 0, "doubled": 0}
        self._bad = False
        self._free_s = self._last_s = 0.0  # when the link has sent what waits; when the last one that kept its place leaves
        self._turns: deque[float] = deque()  # when each of those that wait will have been sent

    def change(self, shape: Shape) -> None:
        """Another link from the next packet on. What waits already keeps its time, and chance goes on."""
        self.shape = shape

    def take(self, now_s: float, size: int, version: int = 4) -> tuple[float, ...]:
        """When an IP packet of `size` bytes that comes now leaves; twice for one that is doubled, () for one that never does."""
        shape, draw = self.shape, self._chance.random
        state, loss, twice, early, *jitters, _ = [draw() for _ in range(DRAWS)]
        self.counts["taken"] += 1
        lost = self._is_lost(state, loss)
        copies = 1 + (twice * 100 < shape.duplicate_percent) - lost
        if shape.payload_bytes is not None and size > shape.payload_bytes + HEADER_BYTES[version]:
            self.counts["too_long"] += 1
            return ()
        if not copies:
            self.counts["lost"] += 1
            return ()
        self.counts["doubled"] += copies > 1
        leaves = tuple(self._sent(now_s, size, early * 100 < shape.reorder_percent, jitter) for jitter in jitters[:copies])
        moments = tuple(leave_s for leave_s in leaves if leave_s is not None)
        self.counts["overflowed"] += not moments
        return moments

    def _is_lost(self, state: float, loss: float) -> bool:
        """By itself, or by Gilbert and Elliott's two states, as netem does it: the state of now decides, then it may change."""
        burst = self.shape.burst
        if burst is None:
            return loss * 100 < self.shape.loss_percent
        p, r, in_bad, in_good = burst
        lost = loss * 100 < (in_bad if self._bad else in_good)
        self._bad = state * 100 >= r if self._bad else state * 100 < p
        return lost

    def _sent(self, now_s: float, size: int, early: bool, jitter: float) -> float | None:
        """None where the queue is full. With a rate what is delayed keeps its order, as on a line; what overtakes is not delayed."""
        shape, sent_s = self.shape, now_s
        if shape.rate_kbit_s is not None:
            while self._turns and self._turns[0] <= now_s:
                self._turns.popleft()
            if len(self._turns) >= shape.queue_packets:
                return None
            sent_s = self._free_s = max(now_s, self._free_s) + size * 8 / (shape.rate_kbit_s * 1000)
            self._turns.append(sent_s)
        if early:
            return sent_s
        leaves_s = sent_s + (shape.delay_ms + shape.jitter_ms * (2 * jitter - 1)) / 1000
        if shape.rate_kbit_s is not None:
            leaves_s = self._last_s = max(leaves_s, self._last_s)
        return leaves_s
