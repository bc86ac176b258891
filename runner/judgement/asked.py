"""What a link fault asks of a link, in figures: of a direction, its loss, bursts, rates and delays. Pure, and the judge's own.

    Bandwidth   up, down     each with a loss or bursts, a rate, a delay, or a trace of them
    Offline     nothing passes
    Jamming     nothing passes, some is hit, or it comes and goes

Faults are those of a plan, as JSON: each has "fault" and what a profile says of it.
"""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]

SCARCE = ("resources", "disk", "clock")  # asked of a device, and not of its link: see scarcity.py


def constant(link: Row) -> bool:
    """Whether what is asked is the case from the beginning to the end, so that it can be measured at once. Of a trace, that is
    its range."""
    timed = link.get("at_s") or link.get("stage") or link.get("for_s") is not None
    return not timed and (link["fault"] in ("bandwidth", "offline", *SCARCE) or link.get("jammer", "random") != "random")


def named(links: list[Row], execution: str) -> dict[str, Row]:
    """Each link fault of an execution by the name of its program: "<execution>.<fault>-<number>"."""
    counted: dict[str, int] = {}
    found = {}
    for link in links:
        word = str(link["name"] if link["fault"] == "external" else link["fault"])
        counted[word] = counted.get(word, 0) + 1
        found[f"{execution}.{word}-{counted[word]}"] = link
    return found


def silences(link: Row) -> bool:
    return link["fault"] == "offline" or (link["fault"] == "jamming" and link.get("jammer") in ("constant", "deceptive"))


# ---- of a direction -----------------------------------------------------------------------------------------------------------


def asked_loss(way: Row) -> float:
    """The share of packets that a direction is asked to lose, from 0 to 1.

    Gilbert-Elliott: p/(p+r) of them meet the bad state, the others the good one (E. N. Gilbert 1960, E. O. Elliott 1963). The fault
    reckons it for itself (`mean_loss_percent` in runner/faults/bandwidth.py), because the judge takes nothing from whom it judges;
    a test holds the two against each other.
    """
    burst = way.get("burst")
    if not burst:
        return float(way.get("loss_percent") or 0.0) / 100
    p, r, bad, good = chain(burst)
    return (p * bad + r * good) / (p + r)


def asked_burst(way: Row) -> float | None:
    """How many packets in a row are lost on the average, where bursts are asked: 1/r if the bad state loses all and the good one none.

    In general P(lost) / P(lost, and the next one not): each burst has one last packet. None if nothing is ever lost, or everything.
    """
    burst = way.get("burst")
    if not burst:
        return None
    p, r, bad, good = chain(burst)
    in_bad, in_good = p / (p + r), r / (p + r)
    lost = in_bad * bad + in_good * good
    both = in_bad * bad * ((1 - r) * bad + r * good) + in_good * good * ((1 - p) * good + p * bad)
    return lost / (lost - both) if lost - both > 1e-12 else None


def chain(burst: Row) -> tuple[float, float, float, float]:
    """p, r, and the loss in the bad and in the good state, from 0 to 1."""
    bad = burst.get("loss_in_bad_percent")
    figures = (burst["p_percent"], burst["r_percent"], 100.0 if bad is None else bad, burst.get("loss_in_good_percent") or 0.0)
    p, r, in_bad, in_good = (float(each) / 100 for each in figures)
    return p, r, in_bad, in_good


def mean_rates(asked: Row) -> tuple[float, float] | None:
    """The lowest and the highest mean rate that a direction has: the one, those of its trace, or of its ramp's two ends."""
    share = float(asked.get("duty_cycle_percent") or 100.0) / 100
    traced = [point.get("rate_kbit_s") for point in asked.get("trace") or ()]
    all_of_them = [asked.get("rate_kbit_s"), asked.get("ramp_from_kbit_s"), *traced]
    found = [float(rate) * share for rate in all_of_them if rate is not None]
    return (min(found), max(found)) if found else None


def delays(way: Row) -> tuple[float, float]:
    """The least and the greatest delay of a direction."""
    traced = [float(point["delay_ms"]) for point in way.get("trace") or () if point.get("delay_ms") is not None]
    found = traced or [float(way.get("delay_ms") or 0.0)]
    return min(found), max(found)


def delay_of(up: Row, down: Row) -> tuple[float, float]:
    """The least and the greatest delay that is asked there and back, in ms."""
    (up_low, up_high), (down_low, down_high) = delays(up), delays(down)
    return up_low + down_low, up_high + down_high
