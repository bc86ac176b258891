"""Was the link what was asked? Asked and measured, side by side, row by row; pure numbers, and the judge's own.

    compare         faults that were on while it was measured: rates, round trips, losses, bursts
    from_link_log   faults that came and went: the light probe's packets inside and outside of the guard's windows
    restored        afterwards: the link is again what it was before

A row is {"what", "asked", "measured", "tolerance", "within"}. Too little to say is not within: what was not measured was not
reached. A figure that cannot be measured where it is looked for says so in a row of its own ("not measured here"); that is no
failure if another figure of the same fault was measured by which it can be told from none. Losses are judged by chance's own
measure, an interval that holds the true share 99 times in 100; so a link that does nothing to the packets fails wherever a loss
was asked, and so does one that does too much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from runner.judgement.light_log import LightLog, Told
from runner.judgement.windows import Window, deep_in, touches, windows

Row = dict[str, Any]

RATE, ROUND_TRIP, LOSS, BURST = 0.20, 0.20, 0.20, 0.30  # tolerances, relative
Z_99 = 2.5758293035489004  # the standard normal's quantile at 0.995
FEWEST = 5  # packets, below which nothing is said
EXPECTED_LOSSES = 3.0  # so many at least, or a loss cannot be told from none: e**-3 is 5 %
FEWEST_BURSTS = 10
UNASKED_LOSS = 0.01  # where none was asked: what a busy host may lose
SPARE_MS = 2.0  # of a round trip, where it was next to nothing before
PROBE_BYTES = 72  # of an IP packet of the probe, unless the measurement says otherwise
BUSY_MS = 50.0  # what a host that was busy before excuses afterwards, at most: no delay that is left behind hides in it


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

    Gilbert-Elliott: p/(p+r) of them meet the bad state, the others the good one (E. N. Gilbert 1960, E. O. Elliott 1963). The fault
    reckons it for itself (`mean_loss_percent` in runner/faults/bandwidth.py), because the judge takes nothing from whom it judges;
    a test holds the two against each other.
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

    The states of two neighbours correlate with λ = 1 − p − r, the fates of two packets that are k apart with c·λ^k, where c is the
    share of the variance of a fate that comes from the state: the whole, if the bad state loses all and the good one none. So the
    variance of a mean over many is 1 + 2·c·λ/(1 − λ) times that of packets that are lost one by one.
    """
    burst, loss = way.get("burst"), asked_loss(way)
    if not burst or not 0 < loss < 1:
        return 1.0
    p, r, bad, good = _chain(burst)
    tie = 1 - p - r
    from_state = p * r / (p + r) ** 2 * (bad - good) ** 2 / (loss * (1 - loss))
    return 1 / (1 + 2 * from_state * tie / (1 - tie)) if tie > 0 else 1.0


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
    held = [link for link in links if constant(link)]
    silent = [link for link in held if _silences(link)]
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


def constant(link: Row) -> bool:
    """Whether what is asked is the case from the beginning to the end, so that it can be measured at once. Of a trace, that is
    its range."""
    timed = link.get("at_s") or link.get("stage") or link.get("for_s") is not None
    return not timed and (link["fault"] in ("bandwidth", "offline") or link.get("jammer", "random") != "random")


def named(links: list[Row], execution: str) -> dict[str, Row]:
    """Each link fault of an execution by the name of its program: "<execution>.<fault>-<number>"."""
    counted: dict[str, int] = {}
    found = {}
    for link in links:
        word = str(link["name"] if link["fault"] == "external" else link["fault"])
        counted[word] = counted.get(word, 0) + 1
        found[f"{execution}.{word}-{counted[word]}"] = link
    return found


def _silences(link: Row) -> bool:
    return link["fault"] == "offline" or (link["fault"] == "jamming" and link.get("jammer") in ("constant", "deceptive"))


def _name(link: Row) -> str:
    return f"{link['jammer']} jammer" if link.get("jammer") else str(link["fault"])


def _silence(what: str, during: Row, deaf: bool) -> list[Row]:
    """Nothing passes upwards; nor downwards, if it is `deaf`, as far as anything was sent down. That is what tells a constant jammer
    from a deceptive one, under which the device still hears."""
    down, name = during["down"], f"{what}, down"
    sent, lost = _lost(down)
    if sent < FEWEST:
        return [_nothing_passes(what, during["up"]), _not_here(name, "nothing passes" if deaf else "it passes", f"{sent} sent down", True)]
    return [_nothing_passes(what, during["up"]), _nothing_passes(name, down) if deaf else _passes(name, sent, sent - lost, False)]


def _direction(name: str, asked: Row, measured: Row) -> list[Row]:
    rows = []
    rates = mean_rates(asked)
    if rates:
        rows.append(_rate(name, rates, measured.get("rate_kbit_s"), measured.get("offered_kbit_s")))
    rows.append(_loss(name, asked, measured))
    burst = asked_burst(asked)
    if burst is not None:
        rows.append(_bursts(name, burst, measured, told=_lost(measured)[0] >= packets_needed(asked)))
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


def _bursts(name: str, asked: float, measured: Row, told: bool) -> Row:
    """The mean burst within 30 %, or what chance does to so many; of fewer than FEWEST_BURSTS, that it was not measured. That is no
    failure where the loss was `told`.

    Lengths of a burst are geometric: with the mean m they spread by m·√(1 − 1/m), their mean over n by √n less.
    """
    found = {int(length): int(times) for length, times in (measured.get("bursts") or {}).items()}
    count, total = sum(found.values()), sum(length * times for length, times in found.items())
    if count < FEWEST_BURSTS:
        return _not_here(f"burst {name}", f"{asked:.3g} packets", f"{count} bursts, {FEWEST_BURSTS} needed", told)
    wide = max(BURST, Z_99 * math.sqrt(max(0.0, 1 - 1 / asked) / count))
    low, high = asked * (1 - min(wide, 1.0)), asked * (1 + wide)
    said = f"{total / count:.3g} packets, mean of {count}"
    return _row(f"burst {name}", f"{asked:.3g} packets", said, f"{low:.3g} to {high:.3g}", low <= total / count <= high)


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
    low, high = _delay_of(up, down)
    if not high:
        return []
    least, most = _between(up, down, before, int(during.get("probe_bytes") or PROBE_BYTES))
    said = f"{low:g} ms" if low == high else f"{low:g} to {high:g} ms"
    measured = during.get("rtt_p50_ms")
    if measured is None:
        return [_row("round trip", said, "not measured", "20 %", False)]
    return [_row("round trip", said, f"{measured:.4g} ms", f"{least:.4g} to {most:.4g} ms", least <= measured <= most)]


def _between(up: Row, down: Row, before: Row, size: int) -> tuple[float, float]:
    """The least and the greatest round trip that is within, in ms."""
    low, high = _delay_of(up, down)
    jitter = float(up.get("jitter_ms") or 0.0) + float(down.get("jitter_ms") or 0.0)
    wire = sum(8 * size / rates[0] for rates in (mean_rates(up), mean_rates(down)) if rates)
    least = max(0.0, (1 - ROUND_TRIP) * low - jitter / 2)
    return least, (1 + ROUND_TRIP) * (high + wire) + jitter / 2 + float(before.get("rtt_p95_ms") or 0.0) + SPARE_MS


def _delay_of(up: Row, down: Row) -> tuple[float, float]:
    """The least and the greatest delay that is asked there and back, in ms."""
    (up_low, up_high), (down_low, down_high) = delays(up), delays(down)
    return up_low + down_low, up_high + down_high


def delays(way: Row) -> tuple[float, float]:
    """The least and the greatest delay of a direction."""
    traced = [float(point["delay_ms"]) for point in way.get("trace") or () if point.get("delay_ms") is not None]
    found = traced or [float(way.get("delay_ms") or 0.0)]
    return min(found), max(found)


# ---- afterwards ---------------------------------------------------------------------------------------------------------------


def restored(before: Row, after: Row) -> list[Row]:
    """Rows that say whether the link is again what it was: no more lost, no longer round trip, no less rate, if both know one.

    A busy host excuses a longer round trip as far as it was so busy before, and by BUSY_MS at most; and a rate that it could not offer.
    Where the shortest round trip is known, it excuses nothing of that one: a delay is in each of them.
    """
    rows = []
    for name in ("up", "down"):
        (sent, lost), (sent_before, lost_before) = _lost(after[name]), _lost(before[name])
        spare = lost_before / sent_before if sent_before else 0.0
        rows.append(_hardly_lost(f"loss {name}, afterwards", f"as before: {_share(lost_before, sent_before)}", sent, lost, spare))
        rates = before[name].get("rate_kbit_s"), after[name].get("rate_kbit_s")
        if rates[0] is not None and rates[1] is not None:
            offered = after[name].get("offered_kbit_s")
            least = (1 - RATE) * (rates[0] if offered is None else min(rates[0], offered))
            asked, said = f"as before: {rates[0]:.4g} kbit/s", f"{rates[1]:.4g} kbit/s"
            rows.append(_row(f"rate {name}, afterwards", asked, said, f"{least:.4g} at least", rates[1] >= least))
    then, now = before.get("rtt_p50_ms"), after.get("rtt_p50_ms")
    if then is None or now is None:
        return [*rows, _row("round trip, afterwards", "as before", "not measured", "20 %", False)]
    shortest = before.get("rtt_min_ms"), after.get("rtt_min_ms")
    if shortest[0] is not None and shortest[1] is not None:
        limit = (1 + ROUND_TRIP) * shortest[0] + SPARE_MS
        asked, said = f"as before: {shortest[0]:.4g} ms", f"{shortest[1]:.4g} ms"
        rows.append(_row("shortest round trip, afterwards", asked, said, f"{limit:.4g} ms at most", shortest[1] <= limit))
    busy = min(float(before.get("rtt_p95_ms") or 0.0), then + BUSY_MS)
    most = max((1 + ROUND_TRIP) * then, busy) + SPARE_MS
    return [*rows, _row("round trip, afterwards", f"as before: {then:.4g} ms", f"{now:.4g} ms", f"{most:.4g} ms at most", now <= most)]


# ---- what came and went -------------------------------------------------------------------------------------------------------


def from_link_log(
    faults: list[Row], lines: list[Row], asked: dict[str, Row] | None = None, before: Row | None = None, unlogged: Sequence[Row] = ()
) -> list[Row]:
    """Rows for faults that come and go, and for those that silence a link, from the light probe's packets at the far end.

    `faults` are the changes of each program in order (`changes` in guard_journal.py), `lines` those of link.jsonl: both
    on the device's boot-time clock. `asked` are the faults by program (`named`), as far as they are known: without them only what
    silences is judged. `before` is what was measured without any. `unlogged` says when packets came that were not logged: a window
    that has some of them inside is not measured.

    What was sent and did not come is known from the numbers around it; when it was sent, from the pace at which its neighbours
    were. Behind the last packet of a boot nothing is known. What came down is known from the echoes that the packets tell of.
    """
    asked, own = asked or {}, dict[str, list[Row]]()
    for change in faults:
        own.setdefault(change["program"], []).append(change)
    log = LightLog(lines, unlogged)
    spans = {program: windows(own.get(program, [])) for program in sorted({*own, *asked})}
    silent = {program: spans[program] for program, changes in sorted(own.items()) if changes[0]["fault"] in SILENCING and spans[program]}
    quiet = [window for found in silent.values() for window in found]
    timed = {program: link for program, link in sorted(asked.items()) if not constant(link)}
    rows = []
    for program, found in silent.items():
        rows += _silenced(program, found, own[program], log, program in timed)
    for program, link in timed.items():
        if link["fault"] == "bandwidth" and spans[program]:
            around = _Around(spans[program], quiet, [window for each in [program, *silent] for window in spans[each]], before or {})
            rows += _shaped(program, link, around, log)
        if link["fault"] == "external":
            was_on = bool(spans[program])
            rows.append(_row(f"{program}, while it was on", str(link["name"]), "nobody measures it", "that it was on", was_on))
    outside = [came for boot, sent_ns, came in log.packets if not any(touches(window, boot, sent_ns) for window in quiet)]
    if quiet and len(outside) >= FEWEST:
        lossy = any(change["fault"] not in SILENCING and change["on"] for change in faults)
        rows.append(_passes("the link, while nothing silenced it", len(outside), sum(outside), lossy))
    return rows


SILENCING = ("offline", "jamming")


class _Around(NamedTuple):
    """The windows of one fault, those in which nothing passed anyway, all of them; and the link before there was any."""

    windows: list[Window]
    silent: list[Window]
    every: list[Window]
    before: Row


def _silenced(program: str, spans: list[Window], changes: list[Row], log: LightLog, timed: bool) -> list[Row]:
    """That nothing came up while it was on; or of a jammer that answers, that something did not. What comes down is not known from
    the log: the far end only answers."""
    what, whole = f"{program}, while it was on", log.whole(spans)
    word = next(str(change["word"]) for change in changes if change["on"])
    asked = "some are jammed" if word.startswith("reactive") else "nothing passes"
    if not whole:
        return [_row(what, asked, "not measured: packets came and were not logged", "all are logged", False)]
    measured = _counted([came for boot, sent_ns, came in log.packets if any(deep_in(each, boot, sent_ns, sent_ns) for each in whole)])
    if word.startswith("reactive"):
        return [_reacted(program, measured)]
    row = _nothing_passes(what, measured)
    down = "it passes" if word.startswith("deceptive") else "nothing passes"
    return [row, _not_here(f"{what}: down", down, "the far end only answers", bool(row["within"]))] if timed else [row]


def _shaped(program: str, link: Row, around: _Around, log: LightLog) -> list[Row]:
    """Losses and round trips of both directions inside of the windows, and that it was another link there than outside of them.

    Other packets share the link meanwhile. Where a rate is asked, they may fill its queue: then more may be lost, and a round trip may
    take longer, than is asked; and where only a rate is asked, light packets cannot tell.
    """
    prefix, whole = f"{program}, while it was on: ", log.whole(around.windows)
    settled_ns = int(_delay_of(link["up"], link["down"])[1] * 1e6)
    up = [c for boot, at_ns, c in log.packets if _inside(around, whole, boot, at_ns, at_ns, 0)]
    back = [told for told in log.back if _inside(around, whole, *told[:3], settled_ns)]
    others = [told for told in log.back if _outside(around, told[0], told[1]) and _outside(around, told[0], told[2])]
    outside_up = [c for boot, at_ns, c in log.packets if _outside(around, boot, at_ns)]
    seen = {
        "up": (_counted(up), _or_before(_counted(outside_up), around.before.get("up"))),
        "down": (_echoes(back), _or_before(_echoes(others), around.before.get("down"))),
    }
    rows: list[Row] = []
    told = False  # whether anything was measured that tells this link from another
    for way, (inside, outside) in seen.items():
        found, tells = _loss_then(f"loss {way}", link[way], inside, outside)
        rows, told = rows + found, told or tells
    trips, trips_outside = ([ms for *_, ms in found if ms is not None] for found in (back, others))
    found, tells = _round_trip_then(link, around.before, trips, trips_outside)
    rows, told = rows + found, told or tells
    for way in seen:
        rows += [_not_here(what, asked, "light packets cannot tell", told) for what, asked in _not_by_light_packets(way, link[way])]
    if not whole:
        rows = [{**row, "measured": "not measured: packets came and were not logged", "within": False} for row in rows]
    elif told:
        rows = [{**row, "within": True} if str(row["measured"]).startswith("not measured") else row for row in rows]
    return [{**row, "what": prefix + row["what"]} for row in rows]


def _inside(around: _Around, whole: list[Window], boot: str, from_ns: int, to_ns: int, settled_ns: int) -> bool:
    if any(touches(window, boot, at_ns) for window in around.silent for at_ns in (from_ns, to_ns)):
        return False
    return any(deep_in(window, boot, from_ns, to_ns, settled_ns) for window in whole)


def _outside(around: _Around, boot: str, at_ns: int) -> bool:
    return not any(touches(window, boot, at_ns) for window in around.every)


def _counted(came: list[bool]) -> Row:
    return {"sent": len(came), "received": sum(came)}


def _echoes(told: list[Told]) -> Row:
    """Of so many packets that arrived, and so were sent back, so many came back."""
    return {"sent": len(told), "received": min(len(told), sum(count for _, _, _, count, _ in told))}


def _or_before(outside: Row, before: Row | None) -> Row:
    return outside if outside["sent"] >= FEWEST or not before else before


def _loss_then(what: str, asked: Row, inside: Row, outside: Row) -> tuple[list[Row], bool]:
    """A row for a loss inside of windows; and whether it tells this link from one that loses nothing."""
    loss, full = asked_loss(asked), mean_rates(asked) is not None
    (sent, lost), (sent_outside, lost_outside) = _lost(inside), _lost(outside)
    otherwise = lost_outside / sent_outside if sent_outside else 0.0
    if loss >= 1:
        off = _passes(f"{what}, while it was off", sent_outside, sent_outside - lost_outside, lossy=False)
        return [_nothing_passes(what, inside), off], sent >= FEWEST and sent_outside > 0
    if loss <= 0 and full:
        return [_row(what, "none", _share(lost, sent), "not judged: a queue that is full drops, too", True)], False
    if loss <= 0:
        return [_hardly_lost(what, "none", sent, lost, otherwise)], False
    said, seen = f"{100 * loss:.3g} %", _share(lost, sent)
    effective, seldom = sent * worth(asked), math.exp(-EXPECTED_LOSSES)
    if sent < FEWEST or (1 - loss) ** effective > seldom:
        needed = max(FEWEST, math.ceil(EXPECTED_LOSSES / -math.log(1 - loss) / worth(asked)))
        return [_row(what, said, f"not measured: {seen}", f"{needed} packets needed", False)], False
    low, high = wilson(lost * worth(asked), effective)
    as_asked = loss <= high if full else low <= loss <= high or abs(lost / sent - loss) <= LOSS * loss
    limits = f"{'up' if full else f'{100 * low:.3g}'} to {100 * high:.3g} %: 99 % interval of what was seen"
    some_passed = lost < sent or loss**effective > seldom
    within = lost > 0 and some_passed and as_asked and low > otherwise
    return [_row(what, said, seen, f"{limits}; and more than outside: {100 * otherwise:.3g} %", within)], True


def _round_trip_then(link: Row, before: Row, inside: list[float], outside: list[float]) -> tuple[list[Row], bool]:
    """A row for the round trip inside of windows, where a delay is asked; and whether it tells this link from one without."""
    low, high = _delay_of(link["up"], link["down"])
    if not high:
        return [], False
    said = f"{low:g} ms" if low == high else f"{low:g} to {high:g} ms"
    if len(inside) < FEWEST:
        return [_row("round trip", said, f"not measured: {len(inside)} came back", f"{FEWEST} needed", False)], False
    least, most = _between(link["up"], link["down"], before, PROBE_BYTES)
    full = mean_rates(link["up"]) is not None or mean_rates(link["down"]) is not None
    measured = _median(inside)
    otherwise = _median(outside) if len(outside) >= FEWEST else float(before.get("rtt_p50_ms") or 0.0)
    limits = f"{least:.4g} ms at least" if full else f"{least:.4g} to {most:.4g} ms"
    within = least <= measured and (full or measured <= most) and measured > otherwise
    return [_row("round trip", said, f"{measured:.4g} ms", f"{limits}; and more than outside: {otherwise:.4g} ms", within)], True


def _median(values: list[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]


def _not_by_light_packets(way: str, asked: Row) -> list[tuple[str, str]]:
    """What is asked of a direction and cannot be seen in a few packets between others: what it is called, and what is asked."""
    rates, burst = mean_rates(asked), asked_burst(asked)
    found = [(f"rate {way}", f"{rates[0]:g} kbit/s" if rates[0] == rates[1] else f"{rates[0]:g} to {rates[1]:g} kbit/s")] if rates else []
    found += [(f"burst {way}", f"{burst:.3g} packets")] if burst is not None else []
    found += [(f"{what} {way}", f"{asked[f'{what}_percent']:g} %") for what in ("duplicate", "reorder") if asked.get(f"{what}_percent")]
    return found + ([(f"longer than {asked['payload_bytes']} bytes {way}", "nothing passes")] if asked.get("payload_bytes") else [])


def _reacted(program: str, measured: Row) -> Row:
    """A jammer that answers what is sent: how often is measured elsewhere; here, that it did."""
    sent, lost = _lost(measured)
    said = _share(lost, sent) if sent >= FEWEST else f"not measured: {sent} sent"
    return _row(f"{program}, while it was on", "some are jammed", said, "1 at least", sent >= FEWEST and lost > 0)


def _passes(what: str, sent: int, received: int, lossy: bool) -> Row:
    """That what silences a link comes off again. Under another fault that loses packets, that any of them pass."""
    least = 1 if lossy else math.ceil(0.9 * sent)
    return _row(what, "it passes", f"{received} of {sent} received", f"{least} at least", received >= least)


def _not_here(what: str, asked: str, why: str, told: bool) -> Row:
    """What cannot be measured where it is looked for: shown, and no failure if something else was `told` of the same fault."""
    return _row(what, asked, f"not measured here: {why}", "", told)


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
