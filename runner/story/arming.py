"""How a fault gets onto a device or its link, and what whoever measures it must know: for runs and for trials.

    profile's faults ─► programs for this very device ─► armed: undo and deadline on its disk ─► begun
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from runner.faults.bandwidth import paces
from runner.faults.kernel import OFFLOADS, Before, NeighbourTimers
from runner.judgement import asked
from runner.judgement.chance import packets_needed
from runner.model.device import DataLink
from runner.model.profile import Bandwidth, Link, Scarcity
from runner.model.program import Program
from runner.ondevice.link_probe import ETHERNET_BYTES, IP_UDP_BYTES
from runner.story.measure import LARGE_BYTES, Expected
from runner.target.session import Session

RENEW_S = 60.0  # the guard takes everything back when it has heard of nobody for so long
SPARE_S = 900.0  # beyond what is planned, until the hard cap
FEATURES = {"tso": ("tx-tcp-segmentation",), "gso": ("tx-generic-segmentation",), "gro": ("rx-gro",)}  # as the kernel itself calls them


async def arm(session: Session, token: str, programs: Sequence[Program], cap_s: float, elapsed_s: float = 0.0) -> None:
    """Each program's undo and deadline are on the device's disk when this returns; none is in effect. Raises LabError."""
    for program in programs:
        await session.ask(
            "arm", program=program.model_dump(mode="json"), run=token, renew_s=RENEW_S, cap_s=cap_s, elapsed_s=elapsed_s, timeout_s=120
        )


async def begin(session: Session, programs: Sequence[Program]) -> None:
    for program in programs:
        if not program.stage:
            await session.ask("start_program", name=program.name)


def constant(faults: Sequence[Link | Scarcity]) -> bool:
    """Whether what is asked is the case from the beginning to the end, so that it can be measured at once."""
    return all(asked.constant(fault.model_dump(mode="json")) for fault in faults)


def anchored(faults: Sequence[Link | Scarcity], made: Sequence[Program], stages: Sequence[str]) -> tuple[Program, ...]:
    """The programs of an execution's faults. What is not on from the beginning waits for a stage: the first one, where its profile names
    none, because how long a board needs until then says nothing about the software."""
    first = stages[0].partition("@")[0]
    return tuple(
        program if program.stage or constant([fault]) else program.model_copy(update={"stage": first, "edge": "start"})
        for fault, program in zip(faults, made, strict=True)
    )


def expected_of(links: Sequence[Link]) -> Expected:
    """The slowest that the links get, as far as whoever measures must know it."""
    up, down, trip, largest, packets = [], [], 0.0, LARGE_BYTES, Expected().packets
    for link in links:
        if isinstance(link, Bandwidth):
            limits = [way.payload_bytes + IP_UDP_BYTES + ETHERNET_BYTES for way in (link.up, link.down) if way.payload_bytes]
            largest = min([largest, *limits])
            up += [pace.rate_kbit_s for pace in paces(link.up) if pace.rate_kbit_s]
            down += [pace.rate_kbit_s for pace in paces(link.down) if pace.rate_kbit_s]
            trip += sum(max(pace.delay_ms for pace in paces(way)) + way.jitter_ms for way in (link.up, link.down))
            packets = max(packets, _packets_for(link))
    return Expected(min(up, default=None), min(down, default=None), trip, largest, packets)


def _packets_for(link: Bandwidth) -> int:
    """How many small packets tell the losses that are asked from none: what is lost on the way up is not sent down."""
    up, down = (way.model_dump(mode="json") for way in (link.up, link.down))
    arriving = max(0.01, 1 - asked.asked_loss(up))
    return math.ceil(1.2 * max(packets_needed(up), packets_needed(down) / arriving))


def before_of(fingerprint: dict[str, Any], link: DataLink) -> Before:
    """What an undo must put back on the link's interface, read from a device's fingerprint."""
    interface = link.interface
    on = {line.partition(" ")[2] for line in fingerprint["offloads"] if line.partition(" ")[0] == interface}
    offloads = tuple(short for short in OFFLOADS if any(name in on for name in FEATURES[short]))
    routes = [line for line in fingerprint["routes"] if f" dev {interface} " in f"{line} " and "table local" not in line]
    kept = tuple(line for line in routes if "proto kernel" not in line)
    addresses = [line.split() for line in fingerprint["addresses"] if line.startswith(f"{interface} inet6 ") and "scope global" in line]
    return Before(
        offloads=offloads,
        routes=kept,
        addresses=tuple(words[2] for words in addresses),
        neighbours=_timers(fingerprint["neighbours"], link),
    )


def _timers(lines: Sequence[str], link: DataLink) -> NeighbourTimers | None:
    """Of the family in which the far end is reached; None where the device does not say."""
    family = "ipv6" if ":" in link.far_end else "ipv4"
    found = next((words for line in lines if (words := line.split())[:2] == [link.interface, family]), [])
    numbers = [int(word) for word in found[3::2] if word.isdigit()]
    return NeighbourTimers(base_reachable_ms=numbers[0], retrans_ms=numbers[1]) if len(numbers) == 2 else None
