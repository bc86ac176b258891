"""What a device's kernel is told: argument lists of tc, ip, nft, ethtool and modprobe, and the signs by which each is seen.

    bandwidth   qdisc 5f10: on the interface; what comes in takes the way over runner-ifb0; table inet runner_bandwidth
                where our own shaper does it: runner-tun0, table inet runner_shaper, rule and routes 24336
    offline     table inet runner_offline, or the interface down
    jamming     table inet runner_jamming

Everything carries a tag of ours (`HANDLE`, `IFB`, `table_of`), and is deleted by that tag: `tc qdisc del` with a handle fails where
the qdisc is somebody else's. One thing cannot carry a tag, the ingress qdisc, which the kernel itself calls ffff:. That nobody
else has one is made sure of before anything is armed: it is one of the program's `resources`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runner.errors import AskError
from runner.model.base import Value
from runner.model.profile import Timed
from runner.model.program import OUR_HANDLE, OUR_IFB, OUR_TABLES, OUR_TUN, Act, Sign, Step

HANDLE, IFB, TUN = OUR_HANDLE, OUR_IFB, OUR_TUN
EVERY_CAPABILITY = frozenset({
    "netem", "tbf", "htb", "ifb", "nft", "ethtool", "tun",
    "cgroup-memory", "cgroup-cpu", "cgroup-pids", "loop", "device-mapper", "clock", "cpufreq",
})  # fmt: skip
MAX_STEPS = 2000
HORIZON_S = 3600.0  # how far what goes on and on is planned, where no end is said; then it stays as it is
OFFLOADS = {
    "tso": "tcp-segmentation-offload",
    "gso": "generic-segmentation-offload",
    "gro": "generic-receive-offload",
}  # ethtool's short names, and the long ones that it prints
_DROP_OUT, _DROP_IN = 'oifname "{}" drop', 'iifname {{ "{}", "' + TUN + '" }} drop'  # what our shaper hands on came over the link
ROUTES = 0x5F10  # our routing table, and the number in our marks and rules
PRIORITY = 10  # of our rules: before those of anybody who counts as ip does, behind the local table
LED, SENT, MARKS = 0x5F100000, 0x5F110000, 0xFFFF0000  # on the way to our shaper, and from it; the rest of a mark is others'


class NeighbourTimers(Value):
    """Of an interface's neighbour table: how long an address that was confirmed counts, and after how long it is asked for again."""

    base_reachable_ms: int
    retrans_ms: int


class Before(Value):
    """What stood on the device before the fault, as far as an undo must put it back and the kernel does not by itself.

    A fault is pure and cannot look; who arms it reads this from the device's fingerprint. `offloads` are those of `OFFLOADS` that
    are on and can be changed (no "[fixed]"); `routes` lines of `ip route show dev IFACE`, `addresses` (IPv6: the kernel keeps
    others) as `ip address replace` takes them, without the interface; `neighbours` the timers of its neighbour table.
    """

    offloads: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    neighbours: NeighbourTimers | None = None
    boot_id: str = ""
    clock_ns: int = 0  # how far the wall clock is ahead of the boot-time clock, in that boot


NOTHING_BEFORE = Before()


def require(wanted: str, capabilities: Iterable[str], what: str, or_else: str = "") -> None:
    """Raises AskError if a device that has only `capabilities` cannot do `what`. `or_else` is what would do as well."""
    if wanted not in set(capabilities):
        raise AskError(
            f"the device has no {wanted}: {what} is not possible",
            expected=f"a kernel with {wanted}, and its tool" + ("" if wanted == "nft" else " (iproute2)") + (or_else and f"; or {or_else}"),
            do="take a profile that needs less (runner profile list), or install it on the device",
        )


def words(line: str) -> Act:
    """A command whose words are parted by blanks, and hold none."""
    return Act(argv=tuple(line.split()))


def modules(*names: str) -> tuple[Act, ...]:
    """Loads modules beforehand, so that no step waits for the disk. It may fail: what is built in has no file."""
    return tuple(words(f"modprobe -q {name}") for name in names)


# ---- queues -----------------------------------------------------------------------------------------------------------


def queue(verb: str, device: str, shape: Sequence[str]) -> Act:
    """`verb` is add or change."""
    return Act(argv=("tc", "qdisc", verb, "dev", device, "root", "handle", HANDLE, *shape))


def no_queue(device: str) -> Act:
    return words(f"tc qdisc del dev {device} root handle {HANDLE}")


def queue_sign(device: str) -> Sign:
    return Sign(argv=("tc", "qdisc", "show", "dev", device), contains=f" {HANDLE} root")


def over_ifb(device: str, shape: Sequence[str]) -> tuple[Act, ...]:
    """What comes in on `device` waits in a queue of IFB first; it is led there last of all, when that is ready."""
    return (
        words(f"ip link add {IFB} type ifb"),
        words(f"ip link set {IFB} up"),
        queue("add", IFB, shape),
        words(f"tc qdisc add dev {device} handle ffff: ingress"),
        words(f"tc filter add dev {device} parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev {IFB}"),
    )


def not_over_ifb(device: str) -> tuple[Act, ...]:
    return words(f"tc qdisc del dev {device} ingress"), words(f"ip link del {IFB}")


def ifb_signs(device: str) -> tuple[Sign, ...]:
    return (
        Sign(argv=("tc", "qdisc", "show", "dev", device), contains="qdisc ingress ffff:"),
        Sign(argv=("ip", "-o", "link", "show", "type", "ifb"), contains=f"{IFB}:"),
    )


def offloads(device: str, names: Iterable[str], state: str) -> tuple[Act, ...]:
    """Each by itself: one that the card refuses must not keep the others."""
    return tuple(words(f"ethtool -K {device} {name} {state}") for name in names)


def offload_signs(device: str, names: Iterable[str]) -> tuple[Sign, ...]:
    return tuple(Sign(argv=("ethtool", "-k", device), contains=f"{OFFLOADS[name]}: off") for name in names)


# ---- neighbours -------------------------------------------------------------------------------------------------------


def neighbour_timers(device: str, table: str, timers: NeighbourTimers) -> Act:
    """`table` is arp_cache or ndisc_cache. A link that answers more slowly than its neighbours are asked again would lose packets
    by that, and half of its rate: the kernel gives up an address after three questions, one a second."""
    return words(f"ip ntable change name {table} dev {device} base_reachable {timers.base_reachable_ms} retrans {timers.retrans_ms}")


def neighbour_sign(device: str, table: str, timers: NeighbourTimers) -> Sign:
    """One of the two timers stands for both: one command sets them."""
    return Sign(argv=("ip", "ntable", "show", "dev", device, "name", table), contains=f"base_reachable {timers.base_reachable_ms} ")


# ---- our own shaper (runner/ondevice/shaper.py) ---------------------------------------------------------------------------


def shaper(device: str, seed: str, up: Mapping[str, Any] | None, down: Mapping[str, Any] | None) -> Act:
    """It shapes what it is given a shape for when this act has ended."""
    said = {
        "interface": device, "tun": TUN, "seed": seed, "up": up, "down": down, "sent": SENT, "led": f"{LED:#x}/{MARKS:#x}",
        "routes": ROUTES, "priority": PRIORITY, "filter": _leading(device, up is not None, down is not None),
    }  # fmt: skip
    return Act(argv=("@supervisor", "shape", "start"), input=json.dumps(said))


def by_packet(device: str) -> str:
    """What our shaper and a jammer that packets wake cannot both have: each packet of the interface, met once, as it comes and goes."""
    return f"packets {device}"


def shaper_change(up: Mapping[str, Any] | None, down: Mapping[str, Any] | None) -> Act:
    return Act(argv=("@supervisor", "shape", "set", TUN), input=json.dumps({"up": up, "down": down}))


def no_shaper() -> tuple[Act, ...]:
    """One act that fails only where something is left: which of its things there are, only the device knows."""
    return (words(f"@supervisor shape stop {TUN} {table_of('shaper')} {PRIORITY} {ROUTES}"),)


def shaper_signs() -> tuple[Sign, ...]:
    return (
        filtering_sign("shaper"),
        *(Sign(argv=("ip", family, "rule", "show"), contains=f"lookup {ROUTES}") for family in ("-4", "-6")),
        Sign(argv=("ip", "-o", "link", "show", "dev", TUN), contains=f"{TUN}:"),
        Sign(argv=("@supervisor", "shape", "shown", TUN), contains="shaper runs"),
    )


def _leading(device: str, up: bool, down: bool) -> str:
    """The table that leads packets to the shaper, and lets nothing past it: nothing leaves that it has not sent, and what arrives
    only it hands on. What is for many, or the neighbourhood's own, goes its usual way."""
    neighbours = "icmpv6 type { 133, 134, 135, 136, 137 } accept"
    beside = [f"meta mark & {MARKS:#x} == {SENT:#x} accept", "ip daddr >= 224.0.0.0 accept", "ip6 daddr { fe80::/10, ff00::/8 } accept"]
    mark = f"meta mark set meta mark & {~MARKS & 0xFFFFFFFF:#x} | {LED:#x}"
    away = [f'oifname != "{device}" accept', *beside, neighbours]
    here = [f'iifname != "{device}" accept', "meta pkttype != host accept", "ip6 saddr fe80::/10 accept", neighbours]
    chains = [("lead", "route hook output priority -150", [*away, mark])] if up else []
    chains += [("closed", "filter hook postrouting priority 300", [*away, "drop"])] if up else []
    chains += [("take", "filter hook prerouting priority -300", [*here, "drop"])] if down else []
    name = table_of("shaper")
    lines = [f"table inet {name}", f"delete table inet {name}", f"table inet {name} {{"]
    for chain, kind, rules in chains:
        lines += [f"  chain {chain} {{", f"    type {kind}; policy accept;", *(f"    {rule}" for rule in rules), "  }"]
    return "\n".join([*lines, "}"])


# ---- firewall tables --------------------------------------------------------------------------------------------------


def table_of(fault: str) -> str:
    return f"{OUR_TABLES}{fault}"


def filtering(fault: str, outgoing: Sequence[str], incoming: Sequence[str], sets: Sequence[str] = ()) -> Act:
    """Puts the fault's own table there, all of it or nothing: rules for what leaves and for what arrives, forwarded packets too.

    Before every other table (priority -300). ARP is none of an inet table's business: it goes on.
    """
    name = table_of(fault)
    chains = (("out", "output", outgoing), ("in", "input", incoming), ("through", "forward", (*incoming, *outgoing)))
    lines = [f"table inet {name}", f"delete table inet {name}", f"table inet {name} {{", *(f"  {line}" for line in sets)]
    for chain, hook, rules in chains:
        if rules:
            head = f"type filter hook {hook} priority -300; policy accept;"
            lines += [f"  chain {chain} {{", f"    {head}", *(f"    {rule}" for rule in rules), "  }"]
    return Act(argv=("nft", "-f", "-"), input="\n".join([*lines, "}", ""]))


def drop_all(device: str) -> tuple[str, str]:
    """Rules that let nothing leave, and nothing arrive."""
    return _DROP_OUT.format(device), _DROP_IN.format(device)


def no_filtering(fault: str) -> Act:
    return words(f"nft delete table inet {table_of(fault)}")


def filtering_sign(fault: str) -> Sign:
    return Sign(argv=("nft", "list", "tables"), contains=f"table inet {table_of(fault)}")


# ---- time -------------------------------------------------------------------------------------------------------------


def toggled(settings: Timed, on: tuple[Act, ...], off: tuple[Act, ...], word: str) -> tuple[Step, ...]:
    """On at the beginning of each window and off at its end; the last one ends with the program, whose undo is then done."""
    steps = []
    for number, (start, end) in enumerate(settings.windows, 1):
        steps.append(Step(at_s=start, acts=on, word=word, on=True))
        if end is not None and number < settings.times:
            steps.append(as_before(end, off))
    return tuple(steps)


def as_before(at_s: float, off: tuple[Act, ...]) -> Step:
    return Step(at_s=at_s, acts=off, word="as before", on=False)


def lasts_s(settings: Timed) -> float | None:
    """When the last window ends."""
    return settings.windows[-1][1]


def bounded(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps, in a tuple. Raises AskError when they are too many to be kept and carried out on a small board."""
    if len(steps) > MAX_STEPS:
        raise AskError(f"a program of {len(steps)} steps", expected=f"at most {MAX_STEPS}", do="fewer `times`, or a shorter trace")
    return tuple(steps)


def when(settings: Timed) -> str:
    """The windows in a few words: "5 s in every 12 s, 50 times"; "" for all the time."""
    said = [] if settings.for_s is None else [f"for {settings.for_s:g} s"]
    if settings.every_s is not None:
        said = [f"{settings.for_s:g} s in every {settings.every_s:g} s, {settings.times} times"]
    said += [f"from the {settings.edge} of {settings.stage}"] if settings.stage else []
    return " ".join(said)
