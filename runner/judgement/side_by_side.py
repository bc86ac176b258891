"""Asked and measured, side by side: a row, and its sentence; and the rows and tolerances that several judges of a link share.

    {"what": "rate up", "asked": "64 kbit/s", "measured": "61.3 kbit/s", "tolerance": "51.2 to 76.8", "within": True}

Too little to say is not within: what was not measured was not reached. A figure that cannot be measured where it is looked for says
so in a row of its own ("not measured here"); that is no failure if another figure of the same fault was measured by which it can be
told from none.
"""

from __future__ import annotations

import math
from typing import Any

from runner.judgement.asked import delay_of, mean_rates
from runner.judgement.chance import FEWEST, wilson

Row = dict[str, Any]

RATE, ROUND_TRIP, LOSS, BURST = 0.20, 0.20, 0.20, 0.30  # tolerances, relative
UNASKED_LOSS = 0.01  # where none was asked: what a busy host may lose
SPARE_MS = 2.0  # of a round trip, where it was next to nothing before
PROBE_BYTES = 72  # of an IP packet of the probe, unless the measurement says otherwise


def compared(what: str, asked: str, measured: str, tolerance: str, within: bool) -> Row:
    return {"what": what, "asked": asked, "measured": measured, "tolerance": tolerance, "within": bool(within)}


def said(row: Row) -> str:
    """A row as a sentence."""
    tolerance = f" (tolerance {row['tolerance']})" if row["tolerance"] else ""
    return f"{row['what']}: asked {row['asked']}, measured {row['measured']}{tolerance}"


def lost_of(measured: Row) -> tuple[int, int]:
    """How many were sent, and how many of them did not come."""
    sent = max(0, int(measured.get("sent") or 0))
    return sent, min(sent, max(0, sent - int(measured.get("received") or 0)))


def share_of(lost: int, sent: int) -> str:
    return f"{lost} of {sent} lost" + (f", {100 * lost / sent:.3g} %" if sent else "")


# ---- what several ask ---------------------------------------------------------------------------------------------------------


def nothing_passes(what: str, measured: Row) -> Row:
    sent, lost = lost_of(measured)
    said = share_of(lost, sent) if sent >= FEWEST else f"not measured: {sent} sent"
    return compared(what, "nothing passes", said, f"0 received, of {FEWEST} at least", sent >= FEWEST and lost == sent)


def passes(what: str, sent: int, received: int, lossy: bool) -> Row:
    """That what silences a link comes off again. Under another fault that loses packets, that any of them pass."""
    least = 1 if lossy else math.ceil(0.9 * sent)
    return compared(what, "it passes", f"{received} of {sent} received", f"{least} at least", received >= least)


def hardly_lost(what: str, asked: str, sent: int, lost: int, spare: float = 0.0) -> Row:
    most, low = UNASKED_LOSS + spare, wilson(lost, sent)[0]
    said = share_of(lost, sent) if sent >= FEWEST else f"not measured: {sent} sent"
    return compared(what, asked, said, f"{100 * most:.3g} %, with 99 % of what chance does", sent >= FEWEST and low <= most)


def not_here(what: str, asked: str, why: str, told: bool) -> Row:
    """What cannot be measured where it is looked for: shown, and no failure if something else was `told` of the same fault."""
    return compared(what, asked, f"not measured here: {why}", "", told)


def round_trip_within(up: Row, down: Row, before: Row, size: int) -> tuple[float, float]:
    """The least and the greatest round trip that is within, in ms."""
    low, high = delay_of(up, down)
    jitter = float(up.get("jitter_ms") or 0.0) + float(down.get("jitter_ms") or 0.0)
    wire = sum(8 * size / rates[0] for rates in (mean_rates(up), mean_rates(down)) if rates)
    least = max(0.0, (1 - ROUND_TRIP) * low - jitter / 2)
    return least, (1 + ROUND_TRIP) * (high + wire) + jitter / 2 + float(before.get("rtt_p95_ms") or 0.0) + SPARE_MS
