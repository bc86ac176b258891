"""Was the link what was asked? Asked and measured, side by side, row by row; pure numbers, and the judge's own.

    compare         faults that were on while it was measured: rates, round trips, losses, bursts
    from_link_log   faults that came and went: the light probe's packets inside and outside of the guard's windows
    restored        afterwards: the link is again what it was before

A row is {"what", "asked", "measured", "tolerance", "within"}. Too little to say is not within: what was not measured was not
reached. Losses are judged by chance's own measure, an interval that holds the true share 99 times in 100; so a link that does
nothing to the packets fails wherever a loss was asked, and so does one that does too much.
"""

from __future__ import annotations

import math
from typing import Any

Row = dict[str, Any]

RATE, ROUND_TRIP, LOSS, BURST = 0.20, 0.20, 0.20, 0.30  # tolerances, relative
Z_99 = 2.5758293035489004  # the standard normal's quantile at 0.995
FEWEST = 5  # packets, below which nothing is said
EXPECTED_LOSSES = 3.0  # so many at least, or a loss cannot be told from none: e**-3 is 5 %
FEWEST_BURSTS = 10
UNASKED_LOSS = 0.01  # where none was asked: what a busy host may lose
SPARE_MS = 2.0  # of a round trip, where it was next to nothing before
PROBE_BYTES = 72  # of an IP packet of the probe, unless the measurement says otherwise
MARGIN_NS = 1_000_000_000  # around a change: a packet that was sent then says nothing
MAX_GAP, MAX_MISSING = 20_000, 200_000  # packets taken for lost between two that came, and in all: what a device claims costs no more
NEAR = 1_000  # lines around a gap in which its pace is looked for


# ---- what chance does -------------------------------------------------------------------------------------------------------


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


def asked_loss(way: Row) -> float:
    """The share of packets that a direction is asked to lose, from 0 to 1.

    Gilbert-Elliott: p/(p+r) of them meet the bad state, the others the good one (E. N. Gilbert 1960, E. O. Elliott 1963).
    """
    burst = way.get("burst")
    if not burst:
        return float(way.get("loss_percent") or 0.0) / 100
    p, r, bad, good = _chain(burst)
    return (p * bad + r * good) / (p + r)


def asked_burst(way: Row) -> float | None:
    """How many packets in a row are lost on the average, where bursts are asked: 1/r if the bad state loses all and the good one none.

    In general P(lost) / P(lost, and the next one not): each burst has one last packet. None if nothing is ever lost, or everything.
    """
    burst = way.get("burst")
    if not burst:
        return None
    p, r, bad, good = _chain(burst)
    in_bad, in_good = p / (p + r), r / (p + r)
    lost = in_bad * bad + in_good * good
    both = in_bad * bad * ((1 - r) * bad + r * good) + in_good * good * ((1 - p) * good + p * bad)
    return lost / (lost - both) if lost - both > 1e-12 else None


def worth(way: Row) -> float:
    """What one packet is worth to a mean over many: 1 where each is lost by itself, less in bursts.

    The states of two neighbours correlate with λ = 1 − p − r, so a mean over n of them varies as over n·(1−λ)/(1+λ) that do
    not: the variance of the mean of a two-state Markov chain.
    """
    burst = way.get("burst")
    if not burst:
        return 1.0
    p, r, _, _ = _chain(burst)
    tie = 1 - p - r
    return (1 - tie) / (1 + tie) if tie > 0 else 1.0


def packets_needed(way: Row) -> int:
    """How many packets must be sent over a direction, so that the loss that is asked of it can be told from none."""
    loss = asked_loss(way)
    return FEWEST if loss <= 0 or loss >= 1 else max(FEWEST, math.ceil(EXPECTED_LOSSES / loss / worth(way)))


def _chain(burst: Row) -> tuple[float, float, float, float]:
    """p, r, and the loss in the bad and in the good state, from 0 to 1."""
    bad = burst.get("loss_in_bad_percent")
    figures = (burst["p_percent"], burst["r_percent"], 100.0 if bad is None else bad, burst.get("loss_in_good_percent") or 0.0)
    p, r, in_bad, in_good = (float(each) / 100 for each in figures)
    return p, r, in_bad, in_good


# ---- what is on while it is measured ------------------------------------------------------------------------------------------


def compare(links: list[Row], before: Row, during: Row) -> list[Row]:
    """Asked and measured of link faults (Bandwidth, Offline, Jamming as dicts) that were all on while `during` was measured.

    `before` and `during` are {"up", "down"}, each {"sent", "received", "bursts", "rate_kbit_s"}, and "rtt_p50_ms", "rtt_p95_ms".
    A fault that comes and goes by itself is not in the rows: `from_link_log` has it.
    """
    constant = [link for link in links if not (link.get("at_s") or link.get("for_s") or link.get("stage"))]
    silent = [link for link in constant if _silences(link)]
    if silent:
        return [_nothing_passes(_name(link), during["up"]) for link in silent]
    rows: list[Row] = []
    for link in constant:
        if link["fault"] == "jamming" and link.get("jammer") == "reactive":
            rows.append(_at_least(_name(link), float(link.get("probability_percent") or 0.0) / 100, during["up"]))
        if link["fault"] == "bandwidth":
            rows += _direction("up", link["up"], during["up"]) + _direction("down", link["down"], during["down"])
            rows += _round_trip(link["up"], link["down"], before, during)
    return rows


def _silences(link: Row) -> bool:
    return link["fault"] == "offline" or (link["fault"] == "jamming" and link.get("jammer") in ("constant", "deceptive"))


def _name(link: Row) -> str:
    return f"{link['jammer']} jammer" if link.get("jammer") else str(link["fault"])


def _direction(name: str, asked: Row, measured: Row) -> list[Row]:
    rows = []
    rates = mean_rates(asked)
    if rates:
        rows.append(_rate(name, rates, measured.get("rate_kbit_s"), measured.get("offered_kbit_s")))
    rows.append(_loss(name, asked, measured))
    burst = asked_burst(asked)
    if burst is not None:
        rows += _bursts(name, burst, measured)
    for what, counted in (("duplicate", "duplicates"), ("reorder", "reordered")):
        if asked.get(f"{what}_percent"):
            rows += _some(f"{what} {name}", float(asked[f"{what}_percent"]) / 100, measured, counted)
    if asked.get("payload_bytes") and "longer" in measured:
        rows.append(_nothing_passes(f"longer than {asked['payload_bytes']} bytes {name}", measured["longer"]))
    return rows


def mean_rates(asked: Row) -> tuple[float, float] | None:
    """The lowest and the highest mean rate that a direction has: the one, those of its trace, or of its ramp's two ends."""
    share = float(asked.get("duty_cycle_percent") or 100.0) / 100
    traced = [point.get("rate_kbit_s") for point in asked.get("trace") or ()]
    all_of_them = [asked.get("rate_kbit_s"), asked.get("ramp_from_kbit_s"), *traced]
    found = [float(rate) * share for rate in all_of_them if rate is not None]
    return (min(found), max(found)) if found else None


def _rate(name: str, asked: tuple[float, float], measured: float | None, offered: float | None) -> Row:
    """A link that nobody could fill is not known to be slow: `offered` is what was sent, where that is known."""
    low, high = asked[0] * (1 - RATE), asked[1] * (1 + RATE)
    said = f"{asked[0]:g} kbit/s" if asked[0] == asked[1] else f"{asked[0]:g} to {asked[1]:g} kbit/s"
    if measured is None:
        return _row(f"rate {name}", said, "not measured", "20 %", False)
    if measured < low and offered is not None and offered < asked[0]:
        return _row(f"rate {name}", said, f"not measured: only {offered:.4g} kbit/s could be sent", f"{low:.4g} to {high:.4g}", False)
    return _row(f"rate {name}", said, f"{measured:.4g} kbit/s", f"{low:.4g} to {high:.4g}", low <= measured <= high)


def _loss(name: str, asked: Row, measured: Row) -> Row:
    """The asked share lies in the 99 % interval of what was lost, or within 20 % of it; and if there is to be any, there was one."""
    loss, what = asked_loss(asked), f"loss {name}"
    sent, lost = _lost(measured)
    if loss >= 1:
        return _nothing_passes(what, measured)
    if loss <= 0:
        return _hardly_lost(what, "none", sent, lost)
    said, seen = f"{100 * loss:.3g} %", _share(lost, sent)
    needed = packets_needed(asked)
    if sent < needed:
        return _row(what, said, f"not measured: {seen}", f"{needed} packets needed", False)
    low, high = wilson(lost * worth(asked), sent * worth(asked))
    within = lost > 0 and (low <= loss <= high or abs(lost / sent - loss) <= LOSS * loss)
    return _row(what, said, seen, f"{100 * low:.3g} to {100 * high:.3g} %: 99 % interval of what was seen", within)


def _bursts(name: str, asked: float, measured: Row) -> list[Row]:
    """The mean burst within 30 %, or what chance does to so many; nothing of fewer than FEWEST_BURSTS.

    Lengths of a burst are geometric: with the mean m they spread by m·√(1 − 1/m), their mean over n by √n less.
    """
    found = {int(length): int(times) for length, times in (measured.get("bursts") or {}).items()}
    count, total = sum(found.values()), sum(length * times for length, times in found.items())
    if count < FEWEST_BURSTS:
        return []
    wide = max(BURST, Z_99 * math.sqrt(max(0.0, 1 - 1 / asked) / count))
    low, high = asked * (1 - min(wide, 1.0)), asked * (1 + wide)
    said = f"{total / count:.3g} packets, mean of {count}"
    return [_row(f"burst {name}", f"{asked:.3g} packets", said, f"{low:.3g} to {high:.3g}", low <= total / count <= high)]


def _some(what: str, asked: float, measured: Row, key: str) -> list[Row]:
    """Duplicates, and packets that overtake: that there were any, where some had to be expected. How many depends on the pace."""
    sent, seen = int(measured.get("received") or 0), measured.get(key)
    if seen is None:
        return []
    if sent * asked < EXPECTED_LOSSES:
        return [_row(what, f"{100 * asked:.3g} %", f"not measured: {seen} of {sent}", "some", False)]
    return [_row(what, f"{100 * asked:.3g} %", f"{seen} of {sent}", "some", int(seen) > 0)]


def _at_least(what: str, asked: float, measured: Row) -> Row:
    """A jammer that answers: what it is asked to hit is lost, and what comes into its answer, too."""
    sent, lost = _lost(measured)
    said, seen = f"at least {100 * asked:.3g} % lost", _share(lost, sent)
    if sent * asked < EXPECTED_LOSSES:
        return _row(what, said, f"not measured: {seen}", "", False)
    high = wilson(lost, sent)[1]
    return _row(what, said, seen, f"up to {100 * high:.3g} %: 99 % interval of what was seen", lost > 0 and high >= asked)


def _nothing_passes(what: str, measured: Row) -> Row:
    sent, lost = _lost(measured)
    said = _share(lost, sent) if sent >= FEWEST else f"not measured: {sent} sent"
    return _row(what, "nothing passes", said, f"0 received, of {FEWEST} at least", sent >= FEWEST and lost == sent)


def _hardly_lost(what: str, asked: str, sent: int, lost: int, spare: float = 0.0) -> Row:
    most, low = UNASKED_LOSS + spare, wilson(lost, sent)[0]
    said = _share(lost, sent) if sent >= FEWEST else f"not measured: {sent} sent"
    return _row(what, asked, said, f"{100 * most:.3g} %, with 99 % of what chance does", sent >= FEWEST and low <= most)


def _round_trip(up: Row, down: Row, before: Row, during: Row) -> list[Row]:
    """Half of the round trips take no less than the delays asked, and no more than those, the time on the wire, and before's; ± 20 %.

    On the wire a packet of B bytes takes 8·B/rate each way. A queue of tokens may let a single one through at once: so it is no least.
    """
    (up_low, up_high), (down_low, down_high) = delays(up), delays(down)
    low, high = up_low + down_low, up_high + down_high
    if not high:
        return []
    jitter = float(up.get("jitter_ms") or 0.0) + float(down.get("jitter_ms") or 0.0)
    size = int(during.get("probe_bytes") or PROBE_BYTES)
    wire = sum(8 * size / rates[0] for rates in (mean_rates(up), mean_rates(down)) if rates)
    least = max(0.0, (1 - ROUND_TRIP) * low - jitter / 2)
    most = (1 + ROUND_TRIP) * (high + wire) + jitter / 2 + float(before.get("rtt_p95_ms") or 0.0) + SPARE_MS
    said = f"{low:g} ms" if low == high else f"{low:g} to {high:g} ms"
    measured = during.get("rtt_p50_ms")
    if measured is None:
        return [_row("round trip", said, "not measured", "20 %", False)]
    return [_row("round trip", said, f"{measured:.4g} ms", f"{least:.4g} to {most:.4g} ms", least <= measured <= most)]


def delays(way: Row) -> tuple[float, float]:
    """The least and the greatest delay of a direction."""
    traced = [float(point["delay_ms"]) for point in way.get("trace") or () if point.get("delay_ms") is not None]
    found = traced or [float(way.get("delay_ms") or 0.0)]
    return min(found), max(found)


# ---- afterwards ---------------------------------------------------------------------------------------------------------------


def restored(before: Row, after: Row) -> list[Row]:
    """Rows that say whether the link is again what it was: no more lost, no longer round trip, no less rate, if both know one."""
    rows = []
    for name in ("up", "down"):
        (sent, lost), (sent_before, lost_before) = _lost(after[name]), _lost(before[name])
        spare = lost_before / sent_before if sent_before else 0.0
        rows.append(_hardly_lost(f"loss {name}, afterwards", f"as before: {_share(lost_before, sent_before)}", sent, lost, spare))
        rates = before[name].get("rate_kbit_s"), after[name].get("rate_kbit_s")
        if rates[0] is not None and rates[1] is not None:
            least = (1 - RATE) * rates[0]
            asked, said = f"as before: {rates[0]:.4g} kbit/s", f"{rates[1]:.4g} kbit/s"
            rows.append(_row(f"rate {name}, afterwards", asked, said, f"{least:.4g} at least", rates[1] >= least))
    then, now = before.get("rtt_p50_ms"), after.get("rtt_p50_ms")
    if then is None or now is None:
        return [*rows, _row("round trip, afterwards", "as before", "not measured", "20 %", False)]
    most = max((1 + ROUND_TRIP) * then, float(before.get("rtt_p95_ms") or 0.0)) + SPARE_MS
    return [*rows, _row("round trip, afterwards", f"as before: {then:.4g} ms", f"{now:.4g} ms", f"{most:.4g} ms at most", now <= most)]


# ---- what came and went -------------------------------------------------------------------------------------------------------


def from_link_log(faults: list[Row], lines: list[Row]) -> list[Row]:
    """Rows for faults that silence a link, from the light probe's packets at the far end.

    `faults` are the changes of each program in order: {"program", "fault", "word", "on", "boottime_ns", "boot_id"}; `lines` are
    those of link.jsonl. Both are on the device's boot-time clock. What was sent and did not come is known from the numbers
    around it; when it was sent, from the pace at which its neighbours were. Behind the last packet of a boot nothing is known.
    """
    changes: dict[str, list[Row]] = {}
    for change in faults:
        if change["fault"] in ("offline", "jamming"):
            changes.setdefault(change["program"], []).append(change)
    if not changes:
        return []
    packets = packets_sent(lines)
    lossy = any(change["fault"] == "bandwidth" and change["on"] for change in faults)
    rows = []
    for program, own in sorted(changes.items()):
        windows = _windows(own)
        if not windows:
            continue
        inside = [came for boot, sent_ns, came in packets if any(_deep_in(window, boot, sent_ns) for window in windows)]
        measured = {"sent": len(inside), "received": sum(inside)}
        word = next(str(change["word"]) for change in own if change["on"])
        reactive = word.startswith("reactive")
        rows.append(_reacted(program, measured) if reactive else _nothing_passes(f"{program}, while it was on", measured))
    every = [window for own in changes.values() for window in _windows(own)]
    outside = [came for boot, sent_ns, came in packets if not any(_touches(window, boot, sent_ns) for window in every)]
    if every and len(outside) >= FEWEST:
        rows.append(_passes("the link, while nothing silenced it", len(outside), sum(outside), lossy))
    return rows


Window = tuple[str, int, int]  # boot id, from, to: on the device's boot-time clock


def _windows(changes: list[Row]) -> list[Window]:
    """When one program was on. Whatever ends a boot ends what was on in it."""
    found: list[Window] = []
    on: Row | None = None
    for change in changes:
        if on is not None and (not change["on"] or change["boot_id"] != on["boot_id"]):
            same = change["boot_id"] == on["boot_id"]
            found.append((on["boot_id"], on["boottime_ns"], change["boottime_ns"] if same else 2**63))
            on = None
        if change["on"] and on is None:
            on = change
    if on is not None:
        found.append((on["boot_id"], on["boottime_ns"], 2**63))
    return found


def _margin_ns(window: Window) -> int:
    return min(MARGIN_NS, (window[2] - window[1]) // 4)


def _deep_in(window: Window, boot: str, sent_ns: int) -> bool:
    margin = _margin_ns(window)
    return _same_boot(window, boot) and window[1] + margin <= sent_ns < window[2] - margin


def _touches(window: Window, boot: str, sent_ns: int) -> bool:
    return _same_boot(window, boot) and window[1] - MARGIN_NS <= sent_ns < window[2] + MARGIN_NS


def _same_boot(window: Window, boot: str) -> bool:
    return bool(boot) and window[0].startswith(boot)  # a packet carries the beginning of it


def packets_sent(lines: list[Row]) -> list[tuple[str, int, bool]]:
    """Each packet that was sent, as far as that is known: its boot, when, and whether it came."""
    lives: dict[tuple[str, int], dict[int, int]] = {}  # one life of one probe: number → when it was sent
    for line in lines:
        life = lives.setdefault((str(line.get("boot", "")), int(line.get("started_ms", 0))), {})
        life.setdefault(line["sequence"], line["sent_ns"])
    found: list[tuple[str, int, bool]] = []
    left = MAX_MISSING
    for (boot, started_ms), life in lives.items():
        numbers = sorted(life)
        found += [(boot, life[number], True) for number in numbers]
        for place, number in enumerate(numbers):
            begun = (numbers[place - 1] + 1, life[numbers[place - 1]]) if place else (0, started_ms * 1_000_000)
            missing = min(number - begun[0], MAX_GAP, left)
            if missing <= 0:
                continue
            left -= missing
            pace = _pace_ns(numbers, life, place)
            room = max(0, life[number] - begun[1]) // (missing + 1)
            step = min(pace, room) if pace else room
            first = begun[1] + (step if place else 0)
            found += [(boot, first + each * step, False) for each in range(missing)]
    return found


def _pace_ns(numbers: list[int], life: dict[int, int], place: int) -> int:
    """Between two packets, next before the gap at `place`, else next behind it; 0 where no two neighbours came."""
    for at in (*range(place - 1, max(0, place - NEAR), -1), *range(place + 1, min(len(numbers), place + NEAR))):
        if numbers[at] - numbers[at - 1] == 1:
            return max(0, life[numbers[at]] - life[numbers[at - 1]])
    return 0


def _reacted(program: str, measured: Row) -> Row:
    """A jammer that answers what is sent: how often is measured elsewhere; here, that it did."""
    sent, lost = _lost(measured)
    said = _share(lost, sent) if sent >= FEWEST else f"not measured: {sent} sent"
    return _row(f"{program}, while it was on", "some are jammed", said, "1 at least", sent >= FEWEST and lost > 0)


def _passes(what: str, sent: int, received: int, lossy: bool) -> Row:
    """That what silences a link comes off again. Under another fault that loses packets, that any of them pass."""
    least = 1 if lossy else math.ceil(0.9 * sent)
    return _row(what, "it passes", f"{received} of {sent} received", f"{least} at least", received >= least)


# ---- rows -----------------------------------------------------------------------------------------------------------------------


def said(row: Row) -> str:
    """A row as a sentence."""
    tolerance = f" (tolerance {row['tolerance']})" if row["tolerance"] else ""
    return f"{row['what']}: asked {row['asked']}, measured {row['measured']}{tolerance}"


def _row(what: str, asked: str, measured: str, tolerance: str, within: bool) -> Row:
    return {"what": what, "asked": asked, "measured": measured, "tolerance": tolerance, "within": bool(within)}


def _lost(measured: Row) -> tuple[int, int]:
    """How many were sent, and how many of them did not come."""
    sent = max(0, int(measured.get("sent") or 0))
    return sent, min(sent, max(0, sent - int(measured.get("received") or 0)))


def _share(lost: int, sent: int) -> str:
    return f"{lost} of {sent} lost" + (f", {100 * lost / sent:.3g} %" if sent else "")
