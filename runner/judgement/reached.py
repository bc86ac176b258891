"""Was the link what was asked, while it was measured, and is it again what it was before? Pure numbers, and the judge's own.

    compare     faults that were on while it was measured: rates, round trips, losses, bursts
    restored    afterwards: the link is again what it was before

Losses are judged by chance's own measure (chance.py), an interval that holds the true share 99 times in 100; so a link that does
nothing to the packets fails wherever a loss was asked, and so does one that does too much. What came and went while nobody
measured at once is in timed.py.
"""

from __future__ import annotations

import math
from typing import Any

from runner.judgement.asked import asked_burst, asked_loss, constant, delay_of, mean_rates, silences
from runner.judgement.chance import EXPECTED_LOSSES, FEWEST, Z_99, packets_needed, wilson, worth
from runner.judgement.side_by_side import (
    BURST,
    LOSS,
    PROBE_BYTES,
    RATE,
    ROUND_TRIP,
    SPARE_MS,
    compared,
    hardly_lost,
    lost_of,
    not_here,
    nothing_passes,
    passes,
    round_trip_within,
    share_of,
)

Row = dict[str, Any]

FEWEST_BURSTS = 10
BUSY_MS = 50.0  # what a host that was busy before excuses afterwards, at most: no delay that is left behind hides in it


def compare(links: list[Row], before: Row, during: Row) -> list[Row]:
    """Asked and measured of link faults (Bandwidth, Offline, Jamming as dicts) that were all on while `during` was measured.

    `before` and `during` are {"up", "down"}, each {"sent", "received", "bursts", "rate_kbit_s"}, and "rtt_p50_ms", "rtt_p95_ms".
    A fault that comes and goes by itself is not in the rows: `from_link_log` has it.
    """
    held = [link for link in links if constant(link)]
    silent = [link for link in held if silences(link)]
    if silent:
        return [row for link in silent for row in _silence(_name(link), during, deaf=link.get("jammer") != "deceptive")]
    rows: list[Row] = []
    for link in held:
        if link["fault"] == "jamming" and link.get("jammer") == "reactive":
            rows.append(_at_least(_name(link), float(link.get("probability_percent") or 0.0) / 100, during["up"]))
        if link["fault"] == "bandwidth":
            rows += _direction("up", link["up"], during["up"]) + _direction("down", link["down"], during["down"])
            rows += _round_trip(link["up"], link["down"], before, during)
    return rows


def _name(link: Row) -> str:
    return f"{link['jammer']} jammer" if link.get("jammer") else str(link["fault"])


def _silence(what: str, during: Row, deaf: bool) -> list[Row]:
    """Nothing passes upwards; nor downwards, if it is `deaf`, as far as anything was sent down. That is what tells a constant jammer
    from a deceptive one, under which the device still hears."""
    down, name = during["down"], f"{what}, down"
    sent, lost = lost_of(down)
    if sent < FEWEST:
        return [nothing_passes(what, during["up"]), not_here(name, "nothing passes" if deaf else "it passes", f"{sent} sent down", True)]
    return [nothing_passes(what, during["up"]), nothing_passes(name, down) if deaf else passes(name, sent, sent - lost, False)]


def _direction(name: str, asked: Row, measured: Row) -> list[Row]:
    rows = []
    rates = mean_rates(asked)
    if rates:
        rows.append(_rate(name, rates, measured.get("rate_kbit_s"), measured.get("offered_kbit_s")))
    rows.append(_loss(name, asked, measured))
    burst = asked_burst(asked)
    if burst is not None:
        rows.append(_bursts(name, burst, measured, told=lost_of(measured)[0] >= packets_needed(asked)))
    for what, counted in (("duplicate", "duplicates"), ("reorder", "reordered")):
        if asked.get(f"{what}_percent"):
            rows += _some(f"{what} {name}", float(asked[f"{what}_percent"]) / 100, measured, counted)
    if asked.get("payload_bytes") and "longer" in measured:
        rows.append(nothing_passes(f"longer than {asked['payload_bytes']} bytes {name}", measured["longer"]))
    return rows


def _rate(name: str, asked: tuple[float, float], measured: float | None, offered: float | None) -> Row:
    """A link that nobody could fill is not known to be slow: `offered` is what was sent, where that is known."""
    low, high = asked[0] * (1 - RATE), asked[1] * (1 + RATE)
    said = f"{asked[0]:g} kbit/s" if asked[0] == asked[1] else f"{asked[0]:g} to {asked[1]:g} kbit/s"
    if measured is None:
        return compared(f"rate {name}", said, "not measured", "20 %", False)
    if measured < low and offered is not None and offered < asked[0]:
        return compared(f"rate {name}", said, f"not measured: only {offered:.4g} kbit/s could be sent", f"{low:.4g} to {high:.4g}", False)
    return compared(f"rate {name}", said, f"{measured:.4g} kbit/s", f"{low:.4g} to {high:.4g}", low <= measured <= high)


def _loss(name: str, asked: Row, measured: Row) -> Row:
    """The asked share lies in the 99 % interval of what was lost, or within 20 % of it; and if there is to be any, there was one."""
    loss, what = asked_loss(asked), f"loss {name}"
    sent, lost = lost_of(measured)
    if loss >= 1:
        return nothing_passes(what, measured)
    if loss <= 0:
        return hardly_lost(what, "none", sent, lost)
    said, seen = f"{100 * loss:.3g} %", share_of(lost, sent)
    needed = packets_needed(asked)
    if sent < needed:
        return compared(what, said, f"not measured: {seen}", f"{needed} packets needed", False)
    low, high = wilson(lost * worth(asked), sent * worth(asked))
    within = lost > 0 and (low <= loss <= high or abs(lost / sent - loss) <= LOSS * loss)
    return compared(what, said, seen, f"{100 * low:.3g} to {100 * high:.3g} %: 99 % interval of what was seen", within)


def _bursts(name: str, asked: float, measured: Row, told: bool) -> Row:
    """The mean burst within 30 %, or what chance does to so many; of fewer than FEWEST_BURSTS, that it was not measured. That is no
    failure where the loss was `told`.

    Lengths of a burst are geometric: with the mean m they spread by m·√(1 − 1/m), their mean over n by √n less.
    """
    found = {int(length): int(times) for length, times in (measured.get("bursts") or {}).items()}
    count, total = sum(found.values()), sum(length * times for length, times in found.items())
    if count < FEWEST_BURSTS:
        return not_here(f"burst {name}", f"{asked:.3g} packets", f"{count} bursts, {FEWEST_BURSTS} needed", told)
    wide = max(BURST, Z_99 * math.sqrt(max(0.0, 1 - 1 / asked) / count))
    low, high = asked * (1 - min(wide, 1.0)), asked * (1 + wide)
    said = f"{total / count:.3g} packets, mean of {count}"
    return compared(f"burst {name}", f"{asked:.3g} packets", said, f"{low:.3g} to {high:.3g}", low <= total / count <= high)


def _some(what: str, asked: float, measured: Row, key: str) -> list[Row]:
    """Duplicates, and packets that overtake: that there were any, where some had to be expected. How many depends on the pace."""
    sent, seen = int(measured.get("received") or 0), measured.get(key)
    if seen is None:
        return []
    if sent * asked < EXPECTED_LOSSES:
        return [compared(what, f"{100 * asked:.3g} %", f"not measured: {seen} of {sent}", "some", False)]
    return [compared(what, f"{100 * asked:.3g} %", f"{seen} of {sent}", "some", int(seen) > 0)]


def _at_least(what: str, asked: float, measured: Row) -> Row:
    """A jammer that answers: what it is asked to hit is lost, and what comes into its answer, too."""
    sent, lost = lost_of(measured)
    said, seen = f"at least {100 * asked:.3g} % lost", share_of(lost, sent)
    if sent * asked < EXPECTED_LOSSES:
        return compared(what, said, f"not measured: {seen}", "", False)
    high = wilson(lost, sent)[1]
    return compared(what, said, seen, f"up to {100 * high:.3g} %: 99 % interval of what was seen", lost > 0 and high >= asked)


def _round_trip(up: Row, down: Row, before: Row, during: Row) -> list[Row]:
    """Half of the round trips take no less than the delays asked, and no more than those, the time on the wire, and before's; ± 20 %.

    On the wire a packet of B bytes takes 8·B/rate each way. A queue of tokens may let a single one through at once: so it is no least.
    """
    low, high = delay_of(up, down)
    if not high:
        return []
    least, most = round_trip_within(up, down, before, int(during.get("probe_bytes") or PROBE_BYTES))
    said = f"{low:g} ms" if low == high else f"{low:g} to {high:g} ms"
    measured = during.get("rtt_p50_ms")
    if measured is None:
        return [compared("round trip", said, "not measured", "20 %", False)]
    return [compared("round trip", said, f"{measured:.4g} ms", f"{least:.4g} to {most:.4g} ms", least <= measured <= most)]


# ---- afterwards ---------------------------------------------------------------------------------------------------------------


def restored(before: Row, after: Row) -> list[Row]:
    """Rows that say whether the link is again what it was: no more lost, no longer round trip, no less rate, if both know one.

    A busy host excuses a longer round trip as far as it was so busy before, and by BUSY_MS at most; and a rate that it could not offer.
    Where the shortest round trip is known, it excuses nothing of that one: a delay is in each of them.
    """
    rows = []
    for name in ("up", "down"):
        (sent, lost), (sent_before, lost_before) = lost_of(after[name]), lost_of(before[name])
        spare = lost_before / sent_before if sent_before else 0.0
        rows.append(hardly_lost(f"loss {name}, afterwards", f"as before: {share_of(lost_before, sent_before)}", sent, lost, spare))
        rates = before[name].get("rate_kbit_s"), after[name].get("rate_kbit_s")
        if rates[0] is not None and rates[1] is not None:
            offered = after[name].get("offered_kbit_s")
            least = (1 - RATE) * (rates[0] if offered is None else min(rates[0], offered))
            asked, said = f"as before: {rates[0]:.4g} kbit/s", f"{rates[1]:.4g} kbit/s"
            rows.append(compared(f"rate {name}, afterwards", asked, said, f"{least:.4g} at least", rates[1] >= least))
    then, now = before.get("rtt_p50_ms"), after.get("rtt_p50_ms")
    if then is None or now is None:
        return [*rows, compared("round trip, afterwards", "as before", "not measured", "20 %", False)]
    shortest = before.get("rtt_min_ms"), after.get("rtt_min_ms")
    if shortest[0] is not None and shortest[1] is not None:
        limit = (1 + ROUND_TRIP) * shortest[0] + SPARE_MS
        asked, said = f"as before: {shortest[0]:.4g} ms", f"{shortest[1]:.4g} ms"
        rows.append(compared("shortest round trip, afterwards", asked, said, f"{limit:.4g} ms at most", shortest[1] <= limit))
    busy = min(float(before.get("rtt_p95_ms") or 0.0), then + BUSY_MS)
    most = max((1 + ROUND_TRIP) * then, busy) + SPARE_MS
    return [*rows, compared("round trip, afterwards", f"as before: {then:.4g} ms", f"{now:.4g} ms", f"{most:.4g} ms at most", now <= most)]
