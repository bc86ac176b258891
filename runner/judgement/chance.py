"""What chance does to a measured share: the interval that holds the true one, and how many packets it takes to tell.

    seen 12 of 400 ──► wilson ──► 1.5 to 6.1 %      99 times in 100 the true share lies in between

A link that loses in bursts shows less with as many packets: each is `worth` less, because its fate hangs on its neighbours'.
"""

from __future__ import annotations

import math
from typing import Any

from runner.judgement.asked import asked_loss, chain

Row = dict[str, Any]

Z_99 = 2.5758293035489004  # the standard normal's quantile at 0.995
FEWEST = 5  # packets, below which nothing is said
EXPECTED_LOSSES = 3.0  # so many at least, or a loss cannot be told from none: e**-3 is 5 %


def wilson(seen: float, of: float, z: float = Z_99) -> tuple[float, float]:
    """The interval in which the true share lies, when `seen` of `of` were seen: E. B. Wilson's score interval (1927).

    It is where |seen/of − p| ≤ z·√(p(1−p)/of), so it has its size at 0 and 1 as well. `of` need not be a whole number:
    packets whose fates hang together are worth fewer than they are.
    """
    if of <= 0:
        return 0.0, 1.0
    share = seen / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(max(share * (1 - share) / of + z * z / (4 * of * of), 0.0))
    return min(max(0.0, middle - half), share), max(min(1.0, middle + half), share)


def worth(way: Row) -> float:
    """What one packet is worth to a mean over many: 1 where each is lost by itself, less in bursts.

    The states of two neighbours correlate with λ = 1 − p − r, the fates of two packets that are k apart with c·λ^k, where c is the
    share of the variance of a fate that comes from the state: the whole, if the bad state loses all and the good one none. So the
    variance of a mean over many is 1 + 2·c·λ/(1 − λ) times that of packets that are lost one by one.
    """
    burst, loss = way.get("burst"), asked_loss(way)
    if not burst or not 0 < loss < 1:
        return 1.0
    p, r, bad, good = chain(burst)
    tie = 1 - p - r
    from_state = p * r / (p + r) ** 2 * (bad - good) ** 2 / (loss * (1 - loss))
    return 1 / (1 + 2 * from_state * tie / (1 - tie)) if tie > 0 else 1.0


def packets_needed(way: Row) -> int:
    """How many packets must be sent over a direction, so that the loss that is asked of it can be told from none."""
    loss = asked_loss(way)
    return FEWEST if loss <= 0 or loss >= 1 else max(FEWEST, math.ceil(EXPECTED_LOSSES / loss / worth(way)))
