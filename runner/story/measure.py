"""How is the data link right now? Measured from both of its ends, for as long as a link of this rate needs.

    small packets, there and back, far from filling the link    loss of each direction, bursts, round trips
    a train up, a train down, more than the link can carry      the rate of each direction, where one was asked

What was sent is known on one side and what arrived on the other; both tell us by ways that the link has no part in.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from runner.clock import Clock
from runner.errors import LabError
from runner.ondevice.link_probe import ETHERNET_BYTES, PORT
from runner.target.far_end.client import FarEnd
from runner.target.session import Session
from runner.target.transports.base import words

SMALL_BYTES, LARGE_BYTES = 86, 1400  # with Ethernet's 14; the small ones pass where a message may have 51 bytes
WISHED_ROUND_TRIPS, LONGEST_S = 200, 45.0
OPEN_KBIT_S = 2_000.0  # a link of which no rate was asked is not filled to find out
TRAIN_S = 4.0
OVERFILL = 1.3  # a train is so many times as fast as the link that it fills
LONGER_COUNT, LONGER_S = 10, 2.0
HEARD_S = 2.0
RESTS, CALM_MS, REST_S = 4, 30.0, 2.0
FEWEST_ROUND_TRIPS = 7  # or a link is too slow to be judged: see runner/judgement/chance.py


class Expected(NamedTuple):
    """What is expected of a link, as far as measuring must know it. None: as it is without a fault."""

    up_kbit_s: float | None = None
    down_kbit_s: float | None = None
    round_trip_ms: float = 0.0
    largest_bytes: int = LARGE_BYTES  # what may be sent at once, with Ethernet's 14
    packets: int = WISHED_ROUND_TRIPS  # so many small ones, where there is time for them


class Probe(NamedTuple):
    """Who measures: the device's session, the far end, its address as the device reaches it, and the name of the packets."""

    session: Session
    far_end: FarEnd
    address: str
    who: str
    clock: Clock


def light_interval_s(expected: Expected) -> float:
    """How often a light packet may go: five a second, and at most a twentieth of what the slower direction carries."""
    slowest = min(expected.up_kbit_s or OPEN_KBIT_S, expected.down_kbit_s or OPEN_KBIT_S)
    return round(max(0.2, SMALL_BYTES * 8 / 1000 / slowest * 20), 3)


async def start_light(probe: Probe, expected: Expected) -> None:
    """The light probe runs on the device from here on; it goes on by itself, and ends with the supervisor."""
    await probe.session.ask(
        "probe_start", far_end=probe.address, port=PORT, who=probe.who, interval_s=light_interval_s(expected), size=SMALL_BYTES
    )


async def stop_light(probe: Probe) -> dict[str, Any]:
    return await probe.session.ask("probe_stop")


async def measure(probe: Probe, expected: Expected, longest_s: float = LONGEST_S) -> dict[str, Any]:
    """{"up", "down"}: sent, received, bursts, rate_kbit_s (None: not asked); and "echoes", "rtt_p50_ms", "rtt_p95_ms". Upwards also
    duplicates, reordered, and where the length of a message is limited "longer": what became of longer ones.

    The light probe must run: the far end knows from it where the device is. Nothing is sent for more than `longest_s` at a time.
    """
    slowest = min(expected.up_kbit_s or OPEN_KBIT_S, expected.down_kbit_s or OPEN_KBIT_S)
    found = await _round_trips(probe, slowest, expected, longest_s)
    if expected.largest_bytes < LARGE_BYTES:
        found["up"]["longer"] = await _longer(probe, expected)
    if expected.up_kbit_s is not None:
        found["up"] |= await _rate_up(probe, expected.up_kbit_s, expected, longest_s)
    if expected.down_kbit_s is not None:
        found["down"] |= await _rate_down(probe, expected.down_kbit_s, expected, longest_s)
    return found


async def _round_trips(probe: Probe, slowest_kbit_s: float, expected: Expected, longest_s: float) -> dict[str, Any]:
    """Small packets, at most fifty a second: what is lost is lost by chance, not for want of room."""
    rate, duration_s = _round_trips_of(slowest_kbit_s, expected.packets, longest_s)
    await probe.far_end.ask("expect", who=probe.who)
    sent = await _train(probe, duration_s, rate, SMALL_BYTES, expected.round_trip_ms, echo=True)
    up = await probe.far_end.ask("summary", who=probe.who, sent=sent["sent"])
    there = {"sent": sent["sent"], **{key: up[key] for key in ("received", "bursts", "duplicates", "reordered")}, "rate_kbit_s": None}
    said = {key: _number(sent, key) for key in ("echoes", "rtt_min_ms", "rtt_p50_ms", "rtt_p95_ms")}
    back = {"sent": up["received"], "received": said["echoes"] or 0, "bursts": {}, "rate_kbit_s": None}
    if not up["received"]:  # nothing could come back: what the far end sends by itself shows whether the device still hears
        back |= await _heard(probe, rate)
    return {"up": there, "down": back, **said}


async def _heard(probe: Probe, rate_kbit_s: float) -> dict[str, int]:
    """What the device receives while nothing of its own gets through. The far end knows from earlier light packets where it is."""
    catching = asyncio.ensure_future(probe.session.ask("probe_catch", duration_s=HEARD_S + 2.0, timeout_s=HEARD_S + 32))
    try:
        await probe.clock.sleep(0.5)  # it listens by then
        sent = await probe.far_end.ask("send", who=probe.who, duration_s=HEARD_S, rate_kbit_s=rate_kbit_s, size=SMALL_BYTES)
        return {"sent": sent["sent"], "received": _number(await catching, "received") or 0}
    finally:
        catching.cancel()


async def at_rest(probe: Probe) -> dict[str, Any]:
    """What the link carries without a fault: the calmest of up to RESTS measurements, because a board that has just started is busy,
    and would excuse any round trip afterwards; and its rates, as far as OPEN_KBIT_S. The light probe runs until then, and not longer.
    """
    found: list[dict[str, Any]] = []
    await start_light(probe, Expected())
    while len(found) < RESTS and not (found and 0 < (found[-1]["rtt_p95_ms"] or 0) <= CALM_MS):
        found.append(await measure(probe, Expected()))
    calmest = min(found, key=lambda measured: measured["rtt_p95_ms"] if measured["echoes"] else float("inf"))
    if calmest["echoes"]:
        calmest["up"] |= await _rate_up(probe, OPEN_KBIT_S, Expected(), REST_S)
        calmest["down"] |= await _rate_down(probe, OPEN_KBIT_S, Expected(), REST_S)
    await stop_light(probe)
    return calmest


async def _longer(probe: Probe, expected: Expected) -> dict[str, int]:
    """What becomes of messages that are longer than the link carries. On the way down they would fill the queue before they are
    refused, for as long as the link needs for them: so only upwards."""
    size = expected.largest_bytes + 1
    await probe.far_end.ask("expect", who=probe.who)
    sent = await _train(probe, LONGER_S, LONGER_COUNT * size * 8 / 1000 / LONGER_S, size, expected.round_trip_ms, echo=False)
    await probe.clock.sleep(expected.round_trip_ms / 1000 + 1.0)
    return {"sent": sent["sent"], "received": (await probe.far_end.ask("summary", who=probe.who, sent=sent["sent"]))["received"]}


async def _rate_up(probe: Probe, rate_kbit_s: float, expected: Expected, longest_s: float) -> dict[str, float | None]:
    size, duration_s = _train_of(rate_kbit_s, expected.largest_bytes, longest_s)
    await probe.far_end.ask("expect", who=probe.who)
    sent = await _train(probe, duration_s, _framed(rate_kbit_s * OVERFILL, size), size, expected.round_trip_ms, echo=False)
    await probe.clock.sleep(_rest_s(duration_s, expected))
    return _rates(await probe.far_end.ask("summary", who=probe.who, sent=sent["sent"]), sent, size)


async def _rate_down(probe: Probe, rate_kbit_s: float, expected: Expected, longest_s: float) -> dict[str, float | None]:
    size, duration_s = _train_of(rate_kbit_s, expected.largest_bytes, longest_s)
    catch_s = duration_s + 1.0 + _rest_s(duration_s, expected)
    catching = asyncio.ensure_future(probe.session.ask("probe_catch", duration_s=catch_s, timeout_s=catch_s + 30))
    try:
        await probe.clock.sleep(0.5)  # it listens by then, or counts a little less
        paced = {"duration_s": duration_s, "rate_kbit_s": _framed(rate_kbit_s * OVERFILL, size), "size": size}
        sent = await probe.far_end.ask("send", who=probe.who, **paced, timeout_s=duration_s + 30)
        return _rates({"rate_kbit_s": _number(await catching, "rate_kbit_s")}, sent, size)
    finally:
        catching.cancel()


def _number(answer: dict[str, Any], key: str) -> Any:
    """What a device says that it counted, or None. Raises LabError for what can be none of it."""
    value = answer.get(key)
    if value is not None and not (type(value) in (int, float) and 0 <= value < 2**53):
        raise LabError(f"the device says that it measured {key} = {words(repr(value), 60)}", expected="a number, or nothing")
    return value


def _rates(arrived: dict[str, Any], sent: dict[str, Any], size: int) -> dict[str, float | None]:
    """What came and what was sent, as rates of IP packets: a busy device may not send as fast as it is told to."""
    offered = sent["sent"] * size * 8 / 1000 / sent["took_s"] if sent["took_s"] else None
    return {"rate_kbit_s": _of_ip_packets(arrived["rate_kbit_s"], size), "offered_kbit_s": _of_ip_packets(offered, size)}


def _round_trips_of(slowest_kbit_s: float, packets: int, longest_s: float) -> tuple[float, float]:
    """At what rate small packets go, and for how long: a third of what the link carries. Where that makes too few of them in
    `longest_s`, up to six tenths, and where that does not do, for longer."""
    each_kbit = SMALL_BYTES * 8 / 1000
    rate = min(slowest_kbit_s / 3, each_kbit * 50)
    rate = max(rate, min(slowest_kbit_s * 0.6, FEWEST_ROUND_TRIPS * each_kbit / longest_s))
    return rate, max(min(longest_s, packets * each_kbit / rate), FEWEST_ROUND_TRIPS * each_kbit / rate)


def _rest_s(duration_s: float, expected: Expected) -> float:
    """How long something of a train still comes behind its last packet: what is on its way, and what it sent too much."""
    return expected.round_trip_ms / 1000 + 1.0 + (OVERFILL - 1) * duration_s


def _framed(rate_kbit_s: float, size: int) -> float:
    """A rate of IP packets as one of what the probe counts, which has Ethernet's header."""
    return rate_kbit_s * size / (size - ETHERNET_BYTES)


def _of_ip_packets(rate_kbit_s: float | None, size: int) -> float | None:
    """The other way round: what is asked of a link is a rate of IP packets."""
    return None if rate_kbit_s is None else round(rate_kbit_s * (size - ETHERNET_BYTES) / size, 3)


async def _train(probe: Probe, duration_s: float, rate_kbit_s: float, size: int, round_trip_ms: float, *, echo: bool) -> dict[str, Any]:
    waited_s = 4 * round_trip_ms / 1000 + 60  # for the last packet, and twice as long for one that is lost; jitter makes it more
    return await probe.session.ask(
        "probe_train", far_end=probe.address, port=PORT, who=probe.who, duration_s=duration_s, rate_kbit_s=rate_kbit_s, size=size,
        echo=echo, timeout_s=duration_s + waited_s,
    )  # fmt: skip


def _train_of(rate_kbit_s: float, largest_bytes: int, longest_s: float) -> tuple[int, float]:
    """Size of a train's packets and how long it is: a quarter of a second each at most, and some thirty of them."""
    size = int(min(LARGE_BYTES, max(SMALL_BYTES, rate_kbit_s * 1000 / 8 * 0.25), largest_bytes))
    return size, min(longest_s, max(TRAIN_S, 30 * size * 8 / 1000 / rate_kbit_s))
