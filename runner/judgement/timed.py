"""Was a fault that came and went what was asked? From the light probe's packets, inside and outside of the guard's windows.

    on, by the guard    ░░░░░▓▓▓▓▓░░░░░▓▓▓▓▓░░░░░      windows.py
    sent, at its pace   · · · · · · · · · · · · ·      light_log.py
    came                · · ·     · · ·     · · ·      nothing inside, and all outside: as it was asked

A packet near an end of a window says nothing, because nobody knows to the moment when a step took hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from runner.judgement.asked import asked_burst, asked_loss, constant, delay_of, mean_rates
from runner.judgement.chance import EXPECTED_LOSSES, FEWEST, wilson, worth
from runner.judgement.light_log import LightLog, Told
from runner.judgement.side_by_side import (
    LOSS,
    PROBE_BYTES,
    compared,
    hardly_lost,
    lost_of,
    not_here,
    nothing_passes,
    passes,
    round_trip_within,
    share_of,
)
from runner.judgement.windows import Window, deep_in, touches, windows

Row = dict[str, Any]

SILENCING = ("offline", "jamming")


def from_link_log(
    faults: list[Row], lines: list[Row], asked: dict[str, Row], before: Row | None = None, unlogged: Sequence[Row] = (),
    journaled: Sequence[Row] = (),
) -> list[Row]:
    """Rows for faults that come and go, and for those that silence a link, from the light probe's packets at the far end.

    `faults` are the changes of each program in order (`changes` in guard_journal.py), `lines` those of link.jsonl: both
    on the device's boot-time clock: they say when. `asked` are the faults by program (`named`), which say what: how strictly one is
    judged is never the device's word. `before` is what was measured without any. `unlogged` says when packets came that were not
    logged: a window that has some of them inside is not measured. `journaled` is what the device noted of how many it had sent.

    What was sent and did not come is known from the numbers around it; when it was sent, from the pace at which its neighbours
    were; behind the last packet of a boot, from `journaled`. What came down is known from the echoes that the packets tell of.
    """
    log = LightLog(lines, unlogged, journaled)
    spans = {program: windows([change for change in faults if change["program"] == program]) for program in sorted(asked)}
    silent = {program: found for program, found in spans.items() if asked[program]["fault"] in SILENCING and found}
    quiet = [window for program, found in silent.items() if not _reactive(asked[program]) for window in found]
    jammed = any(_reactive(asked[program]) for program in silent)
    timed = {program: link for program, link in sorted(asked.items()) if not constant(link)}
    rows = []
    for program, found in silent.items():
        rows += _silenced(program, asked[program], found, log)
    for program, link in timed.items():
        if link["fault"] == "bandwidth" and spans[program]:
            around = _Around(spans[program], quiet, [*spans[program], *quiet], jammed, before or {})
            rows += _shaped(program, link, around, log)
        if link["fault"] == "external":
            was_on = bool(spans[program])
            rows.append(compared(f"{program}, while it was on", str(link["name"]), "nobody measures it", "that it was on", was_on))
    outside = [came for boot, sent_ns, came in log.packets if not any(touches(window, boot, sent_ns) for window in quiet)]
    if quiet and len(outside) >= FEWEST:
        lossy = jammed or any(found and program not in silent for program, found in spans.items())
        rows.append(passes("the link, while nothing silenced it", len(outside), sum(outside), lossy))
    return rows


class _Around(NamedTuple):
    """The windows of one fault, those in which nothing passed anyway, all of them; whether a jammer answers what is sent, which loses
    packets by itself; and the link before there was any."""

    windows: list[Window]
    silent: list[Window]
    every: list[Window]
    jammed: bool
    before: Row


def _reactive(link: Row) -> bool:
    """A jammer that answers what is sent silences nothing for good."""
    return bool(link.get("jammer") == "reactive")


# ---- what silences ------------------------------------------------------------------------------------------------------------


def _silenced(program: str, link: Row, spans: list[Window], log: LightLog) -> list[Row]:
    """That nothing came up while it was on; or of a jammer that answers, that something did not. What comes down is not known from
    the log: the far end only answers."""
    what, whole = f"{program}, while it was on", log.whole(spans)
    reactive, deceptive = _reactive(link), link.get("jammer") == "deceptive"
    asked = "some are jammed" if reactive else "nothing passes"
    if not whole:
        return [compared(what, asked, "not measured: packets came and were not logged", "all are logged", False)]
    sent = [*log.packets, *log.never_came]
    measured = _counted([came for boot, sent_ns, came in sent if any(deep_in(each, boot, sent_ns, sent_ns) for each in whole)])
    if reactive:
        return [_reacted(program, measured)]
    row = nothing_passes(what, measured)
    down = "it passes" if deceptive else "nothing passes"
    return [row] if constant(link) else [row, not_here(f"{what}: down", down, "the far end only answers", bool(row["within"]))]


def _reacted(program: str, measured: Row) -> Row:
    """A jammer that answers what is sent: how often is measured elsewhere; here, that it did."""
    sent, lost = lost_of(measured)
    said = share_of(lost, sent) if sent >= FEWEST else f"not measured: {sent} sent"
    return compared(f"{program}, while it was on", "some are jammed", said, "1 at least", sent >= FEWEST and lost > 0)


# ---- what shapes --------------------------------------------------------------------------------------------------------------


def _shaped(program: str, link: Row, around: _Around, log: LightLog) -> list[Row]:
    """Losses and round trips of both directions inside of the windows, and that it was another link there than outside of them.

    Other packets share the link meanwhile. Where a rate is asked, they may fill its queue: then more may be lost, and a round trip may
    take longer, than is asked; and where only a rate is asked, light packets cannot tell.
    """
    prefix, whole = f"{program}, while it was on: ", log.whole(around.windows)
    settled_ns = int(delay_of(link["up"], link["down"])[1] * 1e6)
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
        found, tells = _loss_then(f"loss {way}", link[way], inside, outside, around.jammed)
        rows, told = rows + found, told or tells
    trips, trips_outside = ([ms for *_, ms in found if ms is not None] for found in (back, others))
    found, tells = _round_trip_then(link, around.before, trips, trips_outside)
    rows, told = rows + found, told or tells
    for way in seen:
        rows += [not_here(what, asked, "light packets cannot tell", told) for what, asked in _not_by_light_packets(way, link[way])]
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


def _loss_then(what: str, asked: Row, inside: Row, outside: Row, jammed: bool) -> tuple[list[Row], bool]:
    """A row for a loss inside of windows; and whether it tells this link from one that loses nothing. Where a jammer answers what is
    sent, more may be lost than is asked, as where a queue is full."""
    loss, full = asked_loss(asked), jammed or mean_rates(asked) is not None
    (sent, lost), (sent_outside, lost_outside) = lost_of(inside), lost_of(outside)
    otherwise = lost_outside / sent_outside if sent_outside else 0.0
    if loss >= 1:
        off = passes(f"{what}, while it was off", sent_outside, sent_outside - lost_outside, lossy=jammed)
        return [nothing_passes(what, inside), off], sent >= FEWEST and sent_outside > 0
    if loss <= 0 and full:
        why = "a jammer answers what is sent" if jammed else "a queue that is full drops, too"
        return [compared(what, "none", share_of(lost, sent), f"not judged: {why}", True)], False
    if loss <= 0:
        return [hardly_lost(what, "none", sent, lost, otherwise)], False
    said, seen = f"{100 * loss:.3g} %", share_of(lost, sent)
    effective, seldom = sent * worth(asked), math.exp(-EXPECTED_LOSSES)
    if sent < FEWEST or (1 - loss) ** effective > seldom:
        needed = max(FEWEST, math.ceil(EXPECTED_LOSSES / -math.log(1 - loss) / worth(asked)))
        return [compared(what, said, f"not measured: {seen}", f"{needed} packets needed", False)], False
    low, high = wilson(lost * worth(asked), effective)
    as_asked = loss <= high if full else low <= loss <= high or abs(lost / sent - loss) <= LOSS * loss
    limits = f"{'up' if full else f'{100 * low:.3g}'} to {100 * high:.3g} %: 99 % interval of what was seen"
    some_passed = lost < sent or loss**effective > seldom
    within = lost > 0 and some_passed and as_asked and low > otherwise
    return [compared(what, said, seen, f"{limits}; and more than outside: {100 * otherwise:.3g} %", within)], True


def _round_trip_then(link: Row, before: Row, inside: list[float], outside: list[float]) -> tuple[list[Row], bool]:
    """A row for the round trip inside of windows, where a delay is asked; and whether it tells this link from one without."""
    low, high = delay_of(link["up"], link["down"])
    if not high:
        return [], False
    said = f"{low:g} ms" if low == high else f"{low:g} to {high:g} ms"
    if len(inside) < FEWEST:
        return [compared("round trip", said, f"not measured: {len(inside)} came back", f"{FEWEST} needed", False)], False
    least, most = round_trip_within(link["up"], link["down"], before, PROBE_BYTES)
    full = mean_rates(link["up"]) is not None or mean_rates(link["down"]) is not None
    measured = _median(inside)
    otherwise = _median(outside) if len(outside) >= FEWEST else float(before.get("rtt_p50_ms") or 0.0)
    limits = f"{least:.4g} ms at least" if full else f"{least:.4g} to {most:.4g} ms"
    within = least <= measured and (full or measured <= most) and measured > otherwise
    return [compared("round trip", said, f"{measured:.4g} ms", f"{limits}; and more than outside: {otherwise:.4g} ms", within)], True


def _median(values: list[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]


def _not_by_light_packets(way: str, asked: Row) -> list[tuple[str, str]]:
    """What is asked of a direction and cannot be seen in a few packets between others: what it is called, and what is asked."""
    rates, burst = mean_rates(asked), asked_burst(asked)
    found = [(f"rate {way}", f"{rates[0]:g} kbit/s" if rates[0] == rates[1] else f"{rates[0]:g} to {rates[1]:g} kbit/s")] if rates else []
    found += [(f"burst {way}", f"{burst:.3g} packets")] if burst is not None else []
    found += [(f"{what} {way}", f"{asked[f'{what}_percent']:g} %") for what in ("duplicate", "reorder") if asked.get(f"{what}_percent")]
    return found + ([(f"longer than {asked['payload_bytes']} bytes {way}", "nothing passes")] if asked.get("payload_bytes") else [])
