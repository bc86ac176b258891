"""bandwidth: a narrow, slow or lossy data link, in both directions.

    up      device ──► qdisc 5f10: on the interface ──► far end
    down    device ◄── qdisc 5f10: on runner-ifb0 ◄── ingress qdisc ffff: of the interface ◄── far end
    payload_bytes    table inet runner_bandwidth: a longer message does not pass

The queue is netem: rate, delay, jitter, loss or Gilbert-Elliott bursts, duplicates, reordering. Where a kernel has no netem but tbf,
a rate alone is possible, and the step says so ("tbf: rate only"). A trace or a ramp is further steps that change the queue.

Rates are those of IP packets: netem is told to leave out the 14 bytes of the Ethernet header (tbf cannot). The kernel counts in whole
bytes a second, so a rate is rounded to 8 bit/s, and none below that is possible. Chance (loss, bursts, jitter, duplicates) is the
kernel's own: iproute2 before 6.6 and Linux before 6.6 cannot seed netem. Only the timeline is the same each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from runner.errors import AskError
from runner.faults import kernel
from runner.faults.kernel import IFB, NOTHING_BEFORE, Before
from runner.model.device import DataLink
from runner.model.profile import Bandwidth, Direction
from runner.model.program import Act, Program, Sign, Step

ETHERNET_BYTES = 14
FULL_PACKET_BYTES = 1500
SMALL_PACKET_BYTES = 64
HEADER_BYTES = {"ipv4": 28, "ipv6": 48}  # of IP and UDP, around a payload
QUEUE_MS = 250.0
LEAST_QUEUE = 10  # packets: what TCP sends before it hears anything
UNSAID_RATE_KBIT_S = 100_000.0
RAMP_STEPS = 60


class Pace(NamedTuple):
    """A rate of one direction from `at_s` seconds after the fault came on."""

    at_s: float
    rate_kbit_s: float | None


class Way(NamedTuple):
    """One direction and the device in whose queue its packets wait."""

    direction: Direction
    device: str
    tool: str  # "netem" or "tbf"


def program(
    settings: Bandwidth, link: DataLink, name: str, seed: int, capabilities: frozenset[str], before: Before = NOTHING_BEFORE
) -> Program:
    """The windows of `settings`, and inside each its traces, as steps.

    Raises AskError where the device's kernel cannot do what is asked: nothing is left out silently.
    """
    up = _way("up", settings.up, link.interface, capabilities)
    down = _way("down", settings.down, IFB, capabilities)
    limits = _payload_rules(settings, link.interface)
    if down:
        kernel.require("ifb", capabilities, "shaping what comes in")
    if limits.rules:
        kernel.require("nft", capabilities, "a limit on the payload")
    ways = [way for way in (up, down) if way]
    loud = [name for name in kernel.OFFLOADS if name in before.offloads] if ways and "ethtool" in capabilities else []
    parts = _parts(link.interface, up, down, limits, loud)
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
    """What is lost in the long run. For bursts: p / (p + r) in the bad state, the rest of the time in the good one."""
    burst = direction.burst
    if burst is None:
        return direction.loss_percent
    bad = burst.p_percent / (burst.p_percent + burst.r_percent)
    return bad * burst.loss_in_bad_percent + (1 - bad) * burst.loss_in_good_percent


def paces(direction: Direction) -> tuple[Pace, ...]:
    """The mean rates of a direction one after another: of its trace, of its ramp, or the one; duty cycle taken off."""
    share = (direction.duty_cycle_percent or 100.0) / 100
    if direction.trace:
        return tuple(Pace(point.at_s, point.rate_kbit_s * share) for point in direction.trace)
    rate, first = direction.rate_kbit_s, direction.ramp_from_kbit_s
    if rate is None or first is None or direction.ramp_s is None:
        return (Pace(0.0, None if rate is None else rate * share),)
    steps = min(RAMP_STEPS, math.ceil(direction.ramp_s))
    every = direction.ramp_s / steps
    return tuple(Pace(round(n * every, 3), (first + (rate - first) * n / steps) * share) for n in range(steps + 1))


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
    """The link in a few words: "20/18 kbit/s down/up, 650 ms, 2 % lost". One figure where both directions have the same."""
    down, up = settings.down, settings.up
    said = [
        _both(down, up, _rate_word, " kbit/s"),
        _both(down, up, lambda d: f"{d.delay_ms:g}" + (f"±{d.jitter_ms:g}" if d.jitter_ms else "") if d.delay_ms else "", " ms"),
        _both(down, up, lambda d: f"{mean_loss_percent(d):.3g}" if mean_loss_percent(d) else "", " % lost"),
        _both(down, up, lambda d: f"{100 / d.burst.r_percent:.3g}" if d.burst else "", " packets a burst"),
        _both(down, up, lambda d: f"{d.duplicate_percent:g}" if d.duplicate_percent else "", " % twice"),
        _both(down, up, lambda d: f"{d.reorder_percent:g}" if d.reorder_percent else "", " % overtaking"),
        _both(down, up, lambda d: f"{d.payload_bytes}" if d.payload_bytes else "", " bytes a message at most"),
        _both(down, up, lambda d: f"{d.duty_cycle_percent:g}" if d.duty_cycle_percent else "", " % of the time"),
    ]
    return ", ".join(word for word in said if word)


# ---- one direction --------------------------------------------------------------------------------------------------------


def _way(word: str, direction: Direction, device: str, capabilities: frozenset[str]) -> Way | None:
    """How a direction is shaped, or None where nothing but its payload is asked about."""
    if direction.model_copy(update={"payload_bytes": None}).asks_nothing:
        return None
    if "netem" in capabilities:
        return Way(direction, device, "netem")
    beyond_rates = direction.model_copy(update=dict.fromkeys(("rate_kbit_s", "ramp_from_kbit_s", "ramp_s", "duty_cycle_percent")))
    if not beyond_rates.model_copy(update={"trace": (), "payload_bytes": None}).asks_nothing:
        kernel.require("netem", capabilities, f"delay, loss, duplicates or reordering ({word})")
    kernel.require("tbf", capabilities, f"a rate ({word}) without netem")
    return Way(direction, device, "tbf")


def shape(way: Way, rate_kbit_s: float | None) -> tuple[str, ...]:
    """The words of `tc` behind the handle. All of them each time: a change forgets what it is not told."""
    direction = way.direction
    if way.tool == "tbf":
        assert rate_kbit_s is not None
        burst = max(FULL_PACKET_BYTES + 100, math.ceil(rate_kbit_s * 1000 / 8 / 100))  # at least what passes between two ticks of 10 ms
        limit = max(LEAST_QUEUE * (FULL_PACKET_BYTES + ETHERNET_BYTES), math.ceil(rate_kbit_s * QUEUE_MS / 8))
        return ("tbf", "rate", _bits(rate_kbit_s), "burst", str(burst), "limit", str(limit))
    said = ["netem", "limit", str(queue_packets(rate_kbit_s, direction.delay_ms + direction.jitter_ms))]
    if direction.delay_ms:
        said += ["delay", _ms(direction.delay_ms), *([_ms(direction.jitter_ms)] if direction.jitter_ms else [])]
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
    if direction.trace:
        rates = [point.rate_kbit_s for point in direction.trace]
        return f"{min(rates):g}–{max(rates):g}"
    first = f"{direction.ramp_from_kbit_s:g}→" if direction.ramp_from_kbit_s is not None else ""
    return "" if direction.rate_kbit_s is None else f"{first}{direction.rate_kbit_s:g}"


def _both(down: Direction, up: Direction, word: Callable[[Direction], str], unit: str) -> str:
    one, other = word(down), word(up)
    if not one and not other:
        return ""
    return f"{one}{unit}" if one == other else f"{one or '–'}/{other or '–'}{unit}" + (" down/up" if unit == " kbit/s" else "")


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


def _parts(interface: str, up: Way | None, down: Way | None, limits: Limits, loud: list[str]) -> Parts:
    off: list[Act] = []
    signs: list[Sign] = []
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
        kernel.offloads(interface, loud, "off"),
        (kernel.filtering("bandwidth", limits.outgoing, limits.incoming),) if limits.rules else (),
        tuple(off),
        tuple(signs),
        tuple(resources),
    )


def _steps(settings: Bandwidth, ways: list[Way], parts: Parts, prefix: str) -> list[Step]:
    """In each window: on, then one change at every time at which a rate is another one; off before the next."""
    steps: list[Step] = []
    for number, (start, end) in enumerate(settings.windows, 1):
        changes = {start + pace.at_s for way in ways for pace in paces(way.direction)} | {start}
        for at_s in sorted(at for at in changes if end is None or at < end):
            acts = _on(ways, parts) if at_s == start else _change(ways, at_s - start)
            word = prefix + (figures(settings) if len(changes) == 1 else _now(settings, at_s - start))
            steps.append(Step(at_s=round(at_s, 3), acts=acts, word=word, on=True))
        if end is not None and number < settings.times:
            steps.append(kernel.as_before(end, parts.off))
    return steps


def _on(ways: list[Way], parts: Parts) -> tuple[Act, ...]:
    acts = list(parts.before)
    for way in ways:
        words = shape(way, paces(way.direction)[0].rate_kbit_s)
        acts += kernel.over_ifb(parts.interface, words) if way.device == IFB else [kernel.queue("add", way.device, words)]
    return (*acts, *parts.behind)


def _change(ways: list[Way], at_s: float) -> tuple[Act, ...]:
    acts = []
    for way in ways:
        for pace in paces(way.direction):
            if math.isclose(pace.at_s, at_s, abs_tol=1e-6):
                acts.append(kernel.queue("change", way.device, shape(way, pace.rate_kbit_s)))
    return tuple(acts)


def _now(settings: Bandwidth, at_s: float) -> str:
    """The link as it is `at_s` seconds after it came on."""
    said = {}
    for word, direction in (("up", settings.up), ("down", settings.down)):
        current = [pace.rate_kbit_s for pace in paces(direction) if pace.at_s <= at_s + 1e-6][-1]
        rate = None if current is None else float(f"{current:.4g}")
        said[word] = direction.model_copy(
            update={"rate_kbit_s": rate, "trace": (), "ramp_from_kbit_s": None, "ramp_s": None, "duty_cycle_percent": None}
        )
    return figures(settings.model_copy(update=said))
