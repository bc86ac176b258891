"""bandwidth: a narrow, slow or lossy data link, in both directions.

    up      device ──► qdisc 5f10: on the interface ──► far end
    down    device ◄── qdisc 5f10: on runner-ifb0 ◄── ingress qdisc ffff: of the interface ◄── far end
    payload_bytes    table inet runner_bandwidth: a longer message does not pass

The queue is netem: rate, delay, jitter, loss or Gilbert-Elliott bursts, duplicates, reordering. Where a kernel has no netem, our own
shaper on the device does the same, if there are TUN and nftables, and the step says so ("our shaper: …"); runner/ondevice/shaper.py
draws it. Where there is but tbf, a rate alone is possible ("tbf: rate only"). A trace or a ramp is further steps that change the queue.

Rates are those of IP packets: netem is told to leave out the 14 bytes of the Ethernet header (tbf cannot). The kernel counts in whole
bytes a second, so a rate is rounded to 8 bit/s, and none below that is possible. Chance (loss, bursts, jitter, duplicates) is the
kernel's own: iproute2 before 6.6 and Linux before 6.6 cannot seed netem. Only the timeline is the same each time. Our own shaper
draws from the seed: the same packets in the same order are lost again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from runner.errors import AskError
from runner.faults import kernel
from runner.faults.kernel import IFB, NOTHING_BEFORE, Before
from runner.model.device import DataLink
from runner.model.profile import Bandwidth, Direction
from runner.model.program import Act, Program, Sign, Step

OURS = "ours"
ETHERNET_BYTES = 14
FULL_PACKET_BYTES = 1500
SMALL_PACKET_BYTES = 64
HEADER_BYTES = {"ipv4": 28, "ipv6": 48}  # of IP and UDP, around a payload
QUEUE_MS = 250.0
QUICK_ANSWER_S = 0.5  # a kernel asks for a neighbour's address a second time after one second, and gives up after three
BASE_REACHABLE_MS, LONGEST_ANSWER_S = 3_600_000, 60.0
LEAST_QUEUE = 10  # packets: what TCP sends before it hears anything
UNSAID_RATE_KBIT_S = 100_000.0
RAMP_STEPS = 60


class Pace(NamedTuple):
    """Rate and delay of one direction from `at_s` seconds after the fault came on."""

    at_s: float
    rate_kbit_s: float | None
    delay_ms: float


class Way(NamedTuple):
    """One direction and the device in whose queue its packets wait."""

    direction: Direction
    device: str
    tool: str  # "netem", "ours" or "tbf"


def program(
    settings: Bandwidth, link: DataLink, name: str, seed: int, capabilities: frozenset[str], before: Before = NOTHING_BEFORE
) -> Program:
    """The windows of `settings`, and inside each its traces, as steps.

    Raises AskError where the device's kernel cannot do what is asked: nothing is left out silently.
    """
    up = _way("up", settings.up, link.interface, capabilities)
    down = _way("down", settings.down, IFB, capabilities)
    ways = [way for way in (up, down) if way]
    if any(way.tool == OURS for way in ways):
        return _by_our_shaper(settings, link, name, seed)
    limits = _payload_rules(settings, link.interface)
    if down:
        kernel.require("ifb", capabilities, "shaping what comes in")
    if limits.rules:
        kernel.require("nft", capabilities, "a limit on the payload")
    loud = [name for name in kernel.OFFLOADS if name in before.offloads] if ways and "ethtool" in capabilities else []
    parts = _parts(link.interface, up, down, limits, loud, _neighbours(settings, link, before))
    tools = {way.tool for way in ways}
    return Program(
        name=name,
        fault="bandwidth",
        interface=link.interface,
        resources=parts.resources,
        needs=(*sorted(tools), *(("ifb",) if down else ()), *(("nft",) if limits.rules else ())),
        prepare=kernel.modules(*(f"sch_{tool}" for tool in sorted(tools)), *(_IFB_MODULES if down else ())),
        steps=kernel.bounded(_steps(settings, ways, parts, "tbf: rate only, " if "tbf" in tools else "")),
        undo=parts.off,
        signs=parts.signs,
        shaper=min(tools, default=""),
        lasts_s=kernel.lasts_s(settings),
        stage=settings.stage,
        edge=settings.edge,
        severs_data=severs(settings),
        severs_management=severs(settings) and link.one_path,
    )


def _by_our_shaper(settings: Bandwidth, link: DataLink, name: str, seed: int) -> Program:
    """The same by our own shaper, payloads as well. Its chance begins anew with each window, and goes on over all changes in it."""
    ways = {word: way for word, way in (("up", settings.up), ("down", settings.down)) if not way.asks_nothing}
    steps: list[Step] = []
    for number, (start, end) in enumerate(settings.windows, 1):
        changes = _changes(ways, kernel.HORIZON_S if end is None else end - start)
        for at_s, now, changed in changes:
            shapes = {word: ours(way, now[word]) if word in changed else None for word, way in ways.items()}
            both = shapes.get("up"), shapes.get("down")
            act = kernel.shaper_change(*both) if at_s else kernel.shaper(link.interface, f"{seed} {number}", *both)
            word = figures(settings) if len(changes) == 1 else _word_now(settings, now)
            steps.append(Step(at_s=round(start + at_s, 3), acts=(act,), word=f"our shaper: {word}", on=True))
        if end is not None and number < settings.times:
            steps.append(kernel.as_before(end, kernel.no_shaper()))
    return Program(
        name=name,
        fault="bandwidth",
        interface=link.interface,
        resources=(f"link {kernel.TUN}", "nft inet runner_shaper", f"rule {kernel.PRIORITY}", kernel.by_packet(link.interface)),
        needs=("nft", "tun"),
        shaper=OURS,
        prepare=kernel.modules("tun"),
        steps=kernel.bounded(steps),
        undo=kernel.no_shaper(),
        signs=kernel.shaper_signs(),
        lasts_s=kernel.lasts_s(settings),
        stage=settings.stage,
        edge=settings.edge,
        severs_data=severs(settings),
        severs_management=severs(settings) and link.one_path,
    )


_IFB_MODULES = ("ifb numifbs=0", "sch_ingress", "act_mirred", "cls_u32")  # by itself, ifb would bring two devices along


def severs(settings: Bandwidth) -> bool:
    """Whether no connection holds over this link: it loses everything, or carries only messages shorter than a full packet."""
    return any(
        mean_loss_percent(direction) >= 100
        or (direction.payload_bytes is not None and direction.payload_bytes + HEADER_BYTES["ipv4"] < FULL_PACKET_BYTES)
        for direction in (settings.up, settings.down)
    )


def mean_loss_percent(direction: Direction) -> float:
    """What is lost in the long run. For bursts: p / (p + r) in the bad state, the rest of the time in the good one.

    The judge reckons it for itself (`asked_loss` in runner/judgement/asked.py); a test holds the two against each other.
    """
    burst = direction.burst
    if burst is None:
        return direction.loss_percent
    bad = burst.p_percent / (burst.p_percent + burst.r_percent)
    return bad * burst.loss_in_bad_percent + (1 - bad) * burst.loss_in_good_percent


def paces(direction: Direction, lasts_s: float = kernel.HORIZON_S) -> tuple[Pace, ...]:
    """Mean rates and delays of a direction one after another, for `lasts_s` seconds: of its trace, of its ramp, or the one.

    The duty cycle is taken off the rate: on the average no more passes, and nothing is said of when.
    """
    share = (direction.duty_cycle_percent or 100.0) / 100
    one = Pace(0.0, None if direction.rate_kbit_s is None else direction.rate_kbit_s * share, direction.delay_ms)
    if direction.trace:
        every = direction.trace_every_s
        rounds = 1 if every is None else math.ceil(lasts_s / every)
        if rounds * len(direction.trace) > kernel.MAX_STEPS:
            raise AskError(
                f"a trace that changes more than {kernel.MAX_STEPS} times", expected="a longer trace_every_s, or a shorter for_s"
            )
        return tuple(
            Pace(
                round(point.at_s + number * (every or 0.0), 3),
                one.rate_kbit_s if point.rate_kbit_s is None else point.rate_kbit_s * share,
                one.delay_ms if point.delay_ms is None else point.delay_ms,
            )
            for number in range(rounds)
            for point in direction.trace
        )
    rate, first = direction.rate_kbit_s, direction.ramp_from_kbit_s
    if rate is None or first is None or direction.ramp_s is None:
        return (one,)
    steps = min(RAMP_STEPS, math.ceil(direction.ramp_s))
    every = direction.ramp_s / steps
    return tuple(one._replace(at_s=round(n * every, 3), rate_kbit_s=(first + (rate - first) * n / steps) * share) for n in range(steps + 1))


def queue_packets(rate_kbit_s: float | None, delay_ms: float) -> int:
    """How many packets netem may keep: what is on its way, and a queue behind it.

        rate × delay ÷ 8 ÷ 64  +  max(10, rate × 250 ms ÷ 8 ÷ 1500)        kbit/s × ms = bit

    netem counts what is delayed and what waits alike, and in packets. So what is on its way is counted in small packets: with less
    room the queue would drop before the link is full, and a slow link would look like a lossy one. The queue is a quarter of a second
    of full packets, and never less than TCP sends before it hears anything.
    """
    rate = UNSAID_RATE_KBIT_S if rate_kbit_s is None else rate_kbit_s
    small = FULL_PACKET_BYTES if rate_kbit_s is None else SMALL_PACKET_BYTES
    return math.ceil(rate * delay_ms / 8 / small) + max(LEAST_QUEUE, math.ceil(rate * QUEUE_MS / 8 / FULL_PACKET_BYTES))


def figures(settings: Bandwidth) -> str:
    """The link in a few words: "20/18 kbit/s, 650 ms, 2 % lost (down/up)". One figure where both directions have the same."""
    down, up = settings.down, settings.up
    said = [
        _both(down, up, _rate_word, " kbit/s"),
        _both(down, up, _delay_word, " ms"),
        _both(down, up, lambda d: f"{mean_loss_percent(d):.3g}" if mean_loss_percent(d) else "", " % lost"),
        _both(down, up, lambda d: f"{100 / d.burst.r_percent:.3g}" if d.burst else "", " packets a burst"),
        _both(down, up, lambda d: f"{d.duplicate_percent:g}" if d.duplicate_percent else "", " % twice"),
        _both(down, up, lambda d: f"{d.reorder_percent:g}" if d.reorder_percent else "", " % overtaking"),
        _both(down, up, lambda d: f"{d.payload_bytes}" if d.payload_bytes else "", " bytes a message at most"),
        _both(down, up, lambda d: f"{d.duty_cycle_percent:g}" if d.duty_cycle_percent else "", " % of the time"),
    ]
    return ", ".join(word for word in said if word) + (" (down/up)" if any("/" in word.removesuffix(" kbit/s") for word in said) else "")


# ---- one direction --------------------------------------------------------------------------------------------------------


def _way(word: str, direction: Direction, device: str, capabilities: frozenset[str]) -> Way | None:
    """How a direction is shaped, or None where nothing but its payload is asked about."""
    if direction.model_copy(update={"payload_bytes": None}).asks_nothing:
        return None
    if "netem" in capabilities:
        return Way(direction, device, "netem")
    if {"tun", "nft"} <= capabilities:
        return Way(direction, device, OURS)
    rates_alone = ("rate_kbit_s", "ramp_from_kbit_s", "ramp_s", "duty_cycle_percent", "trace_every_s", "payload_bytes")
    beyond = direction.model_copy(update={**dict.fromkeys(rates_alone), "trace": ()})
    if not beyond.asks_nothing or any(point.delay_ms for point in direction.trace):
        kernel.require("netem", capabilities, f"delay, loss, duplicates or reordering ({word})", or_else="tun and nft")
    kernel.require("tbf", capabilities, f"a rate ({word}) without netem")
    return Way(direction, device, "tbf")


def shape(way: Way, pace: Pace) -> tuple[str, ...]:
    """The words of `tc` behind the handle. All of them each time: a change forgets what it is not told."""
    direction, (_, rate_kbit_s, delay_ms) = way.direction, pace
    if way.tool == "tbf":
        assert rate_kbit_s is not None
        burst = max(FULL_PACKET_BYTES + 100, math.ceil(rate_kbit_s * 1000 / 8 / 100))  # at least what passes between two ticks of 10 ms
        limit = max(LEAST_QUEUE * (FULL_PACKET_BYTES + ETHERNET_BYTES), math.ceil(rate_kbit_s * QUEUE_MS / 8))
        return ("tbf", "rate", _bits(rate_kbit_s), "burst", str(burst), "limit", str(limit))
    said = ["netem", "limit", str(queue_packets(rate_kbit_s, delay_ms + direction.jitter_ms))]
    if delay_ms:
        said += ["delay", _ms(delay_ms), *([_ms(direction.jitter_ms)] if direction.jitter_ms else [])]
    if direction.burst is not None:
        burst_of = direction.burst
        shares = (burst_of.p_percent, burst_of.r_percent, burst_of.loss_in_bad_percent, burst_of.loss_in_good_percent)
        said += ["loss", "gemodel", *map(_percent, shares)]
    elif direction.loss_percent:
        said += ["loss", _percent(direction.loss_percent)]
    if direction.duplicate_percent:
        said += ["duplicate", _percent(direction.duplicate_percent)]
    if direction.reorder_percent:
        said += ["reorder", _percent(direction.reorder_percent)]
    if rate_kbit_s is not None:
        said += ["rate", _bits(rate_kbit_s), f"-{ETHERNET_BYTES}"]
    return tuple(said)


def ours(direction: Direction, pace: Pace) -> dict[str, Any]:
    """The same for our own shaper (`Shape` in runner/ondevice/shaping.py). What is on its way needs no room in its queue."""
    burst, (_, rate_kbit_s, delay_ms) = direction.burst, pace
    if rate_kbit_s is not None:
        _bits(rate_kbit_s)  # no less than a kernel could do
    shape = {
        "queue_packets": queue_packets(rate_kbit_s, 0), "rate_kbit_s": rate_kbit_s, "delay_ms": delay_ms, "jitter_ms": direction.jitter_ms,
        "loss_percent": direction.loss_percent, "duplicate_percent": direction.duplicate_percent,
        "reorder_percent": direction.reorder_percent, "payload_bytes": direction.payload_bytes,
        "burst": burst and (burst.p_percent, burst.r_percent, burst.loss_in_bad_percent, burst.loss_in_good_percent),
    }  # fmt: skip
    return {name: value for name, value in shape.items() if value}


def _bits(rate_kbit_s: float) -> str:
    """A rate in whole bytes a second. Raises AskError below one: the kernel would take it for no limit at all."""
    if rate_kbit_s * 1000 < 8:
        raise AskError(
            f"a mean rate of {rate_kbit_s * 1000:g} bit/s",
            expected="at least 8 bit/s: kernels count in whole bytes a second",
            do="raise rate_kbit_s or duty_cycle_percent",
        )
    return f"{round(rate_kbit_s * 125) * 8}bit"


def _ms(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") + "ms"


def _percent(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".") + "%"


def _rate_word(direction: Direction) -> str:
    """Without the duty cycle: that is a figure of its own."""
    rates = [point.rate_kbit_s for point in direction.trace if point.rate_kbit_s is not None]
    if rates:
        return _range(rates)
    first = f"{direction.ramp_from_kbit_s:g}→" if direction.ramp_from_kbit_s is not None else ""
    return "" if direction.rate_kbit_s is None else f"{first}{direction.rate_kbit_s:g}"


def _delay_word(direction: Direction) -> str:
    delays = [point.delay_ms for point in direction.trace if point.delay_ms is not None] or [direction.delay_ms]
    return _range(delays) + (f"±{direction.jitter_ms:g}" if direction.jitter_ms else "") if any(delays) else ""


def _range(values: Sequence[float]) -> str:
    return f"{values[0]:g}" if min(values) == max(values) else f"{min(values):g}–{max(values):g}"


def _both(down: Direction, up: Direction, word: Callable[[Direction], str], unit: str) -> str:
    one, other = word(down), word(up)
    if not one and not other:
        return ""
    return f"{one}{unit}" if one == other else f"{one or '–'}/{other or '–'}{unit}"


# ---- the whole ----------------------------------------------------------------------------------------------------------


class Limits(NamedTuple):
    """Rules against messages that are too long."""

    outgoing: tuple[str, ...]
    incoming: tuple[str, ...]

    @property
    def rules(self) -> tuple[str, ...]:
        return self.outgoing + self.incoming


class Parts(NamedTuple):
    """What is switched on and off as a whole."""

    interface: str
    before: tuple[Act, ...]  # … the queues are there
    behind: tuple[Act, ...]
    off: tuple[Act, ...]
    signs: tuple[Sign, ...]
    resources: tuple[str, ...]


def _payload_rules(settings: Bandwidth, interface: str) -> Limits:
    def rules(direction: Direction, way: str) -> tuple[str, ...]:
        if direction.payload_bytes is None:
            return ()
        longest = {family: direction.payload_bytes + header for family, header in HEADER_BYTES.items()}
        return tuple(f'{way} "{interface}" meta nfproto {family} meta length > {length} drop' for family, length in longest.items())

    return Limits(rules(settings.up, "oifname"), rules(settings.down, "iifname"))


class Neighbours(NamedTuple):
    """Acts that give the neighbour table longer timers, and those that it had, and the sign of the former; or nothing."""

    longer: tuple[Act, ...] = ()
    as_before: tuple[Act, ...] = ()
    signs: tuple[Sign, ...] = ()


def _neighbours(settings: Bandwidth, link: DataLink, before: Before) -> Neighbours:
    """Longer timers for a link on which a question for an address may take longer than the kernel waits for the answer.

    Never those that the table has already: nobody could see whether they are ours.
    """
    answer_s = sum(_slowest_s(way) for way in (settings.up, settings.down))
    if answer_s < QUICK_ANSWER_S or before.neighbours is None:
        return Neighbours()
    table = "ndisc_cache" if ":" in link.far_end else "arp_cache"
    base_reachable_ms = BASE_REACHABLE_MS + 1000 * (before.neighbours.base_reachable_ms == BASE_REACHABLE_MS)
    now = kernel.NeighbourTimers(base_reachable_ms=base_reachable_ms, retrans_ms=round(min(2 * answer_s, LONGEST_ANSWER_S) * 1000))
    return Neighbours(
        (kernel.neighbour_timers(link.interface, table, now),),
        (kernel.neighbour_timers(link.interface, table, before.neighbours),),
        (kernel.neighbour_sign(link.interface, table, now),),
    )


def _slowest_s(way: Direction) -> float:
    """How long one full packet takes in one direction at the most, without any queue before it."""
    slowest = [8 * FULL_PACKET_BYTES / 1000 / pace.rate_kbit_s for pace in paces(way) if pace.rate_kbit_s]
    return max(slowest, default=0.0) + (max(pace.delay_ms for pace in paces(way)) + way.jitter_ms) / 1000


def _parts(interface: str, up: Way | None, down: Way | None, limits: Limits, loud: list[str], neighbours: Neighbours) -> Parts:
    off: list[Act] = list(neighbours.as_before)
    signs: list[Sign] = list(neighbours.signs)
    resources: list[str] = []
    if down:  # the way in first: nothing may be led to a device that is gone
        off += kernel.not_over_ifb(interface)
        signs += kernel.ifb_signs(interface)
        resources += [f"ingress {interface}", f"link {IFB}"]
    if up:
        off.append(kernel.no_queue(interface))
        signs.append(kernel.queue_sign(interface))
        resources.append(f"qdisc {interface}")
    if limits.rules:
        off.append(kernel.no_filtering("bandwidth"))
        signs.append(kernel.filtering_sign("bandwidth"))
        resources.append("nft inet runner_bandwidth")
    if loud:
        off += kernel.offloads(interface, loud, "on")
        signs += kernel.offload_signs(interface, loud)
    return Parts(
        interface,
        (*kernel.offloads(interface, loud, "off"), *neighbours.longer),
        (kernel.filtering("bandwidth", limits.outgoing, limits.incoming),) if limits.rules else (),
        tuple(off),
        tuple(signs),
        tuple(resources),
    )


def _steps(settings: Bandwidth, ways: list[Way], parts: Parts, prefix: str) -> list[Step]:
    """In each window: on, then one change at every time at which something is another one; off before the next."""
    steps: list[Step] = []
    named = {"down" if way.device == IFB else "up": way for way in ways}
    directions = {word: way.direction for word, way in named.items()}
    for number, (start, end) in enumerate(settings.windows, 1):
        changes = _changes(directions, kernel.HORIZON_S if end is None else end - start)
        for at_s, now, changed in changes:
            acts = tuple(kernel.queue("change", named[word].device, shape(named[word], now[word])) for word in changed)
            word = prefix + (figures(settings) if len(changes) == 1 else _word_now(settings, now))
            on = _on({way: now[word] for word, way in named.items()}, parts)
            steps.append(Step(at_s=round(start + at_s, 3), acts=acts if at_s else on, word=word, on=True))
        if end is not None and number < settings.times:
            steps.append(kernel.as_before(end, parts.off))
    return steps


def _changes(ways: Mapping[str, Direction], lasts_s: float) -> list[tuple[float, dict[str, Pace], list[str]]]:
    """Each moment of one window at which something is another one: when, what all directions are from then on, and which have changed."""
    timelines = {word: {pace.at_s: pace for pace in paces(way, lasts_s) if pace.at_s < lasts_s} for word, way in ways.items()}
    times = sorted({0.0, *(at_s for timeline in timelines.values() for at_s in timeline)})
    now: dict[str, Pace] = {}
    found = []
    for at_s in times:
        changed = [word for word, timeline in timelines.items() if at_s in timeline]
        now = {**now, **{word: timelines[word][at_s] for word in changed}}
        found.append((at_s, now, changed))
    return found


def _on(ways: Mapping[Way, Pace], parts: Parts) -> tuple[Act, ...]:
    acts = list(parts.before)
    for way, pace in ways.items():
        words = shape(way, pace)
        acts += kernel.over_ifb(parts.interface, words) if way.device == IFB else [kernel.queue("add", way.device, words)]
    return (*acts, *parts.behind)


def _word_now(settings: Bandwidth, now: Mapping[str, Pace]) -> str:
    """The link in the middle of a trace or a ramp."""
    said = {}
    for word, pace in now.items():
        rate = None if pace.rate_kbit_s is None else float(f"{pace.rate_kbit_s:.4g}")
        fixed = {"rate_kbit_s": rate, "delay_ms": pace.delay_ms}
        nothing = {"trace": (), "ramp_from_kbit_s": None, "duty_cycle_percent": None}
        said[word] = getattr(settings, word).model_copy(update={**fixed, **nothing})
    return figures(settings.model_copy(update=said))
