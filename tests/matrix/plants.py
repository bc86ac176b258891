"""One change of each kind on the board, by somebody who is no fault of ours: what the fingerprint must see, and see gone again."""

from __future__ import annotations

from typing import NamedTuple

from runner.farm import health

from .bench import Bench

JUMP_S = 20.0


class Plant(NamedTuple):
    """`put` and `away` are commands whose words are parted by blanks."""

    put: tuple[str, ...]
    away: tuple[str, ...]


PLANTS: dict[str, Plant] = {
    "qdiscs": Plant(("tc qdisc add dev data0 root handle 7: pfifo limit 9",), ("tc qdisc del dev data0 root handle 7:",)),
    "links": Plant(("ip link set data0 mtu 1400",), ("ip link set data0 mtu 1500",)),
    "addresses": Plant(("ip address add 10.78.0.9/32 dev data0",), ("ip address del 10.78.0.9/32 dev data0",)),
    "routes": Plant(("ip route add 10.79.0.0/24 dev data0",), ("ip route del 10.79.0.0/24 dev data0",)),
    "rules": Plant(("ip rule add pref 9999 from 10.79.0.1 lookup main",), ("ip rule del pref 9999",)),
    "firewall": Plant(("nft add table inet planted",), ("nft delete table inet planted",)),
    "cgroups": Plant(("mkdir /sys/fs/cgroup/planted",), ("rmdir /sys/fs/cgroup/planted",)),
    "offloads": Plant(("ethtool -K data0 gro off",), ("ethtool -K data0 gro on",)),
    "neighbours": Plant(
        ("ip ntable change name arp_cache dev data0 retrans 7000",), ("ip ntable change name arp_cache dev data0 retrans 1000",)
    ),
    "mounts": Plant(("mkdir -p /tmp/planted", "mount -t tmpfs planted /tmp/planted"), ("umount /tmp/planted", "rmdir /tmp/planted")),
}


async def undetected(bench: Bench) -> list[str]:
    """What is wrong with the comparison: a change that it does not see, or sees in another field's name, or still sees afterwards."""
    wrong = []
    for field, plant in PLANTS.items():
        wrong += await _planted(bench, field, plant)
    eye = await bench.eye()
    await eye.ask("turn_clock", by_s=JUMP_S)
    try:
        wrong += _unless_named("clock", health.differences(bench.before, await bench.fingerprint()))
    finally:
        await eye.ask("turn_clock", by_s=-JUMP_S)
    return [*wrong, *(f"clock, set back: {each}" for each in health.differences(bench.before, await bench.fingerprint()))]


async def _planted(bench: Bench, field: str, plant: Plant) -> list[str]:
    eye = await bench.eye()
    try:
        done = (await eye.ask("acts", acts=[{"argv": line.split()} for line in plant.put]))["done"]
        failed = [f"{field}: cannot be planted: {said}" for status, said in done if status]
        wrong = failed or _unless_named(field, health.differences(bench.before, await bench.fingerprint()))
    finally:
        await eye.ask("acts", acts=[{"argv": line.split()} for line in plant.away])
    return [*wrong, *(f"{field}, taken away: {each}" for each in health.differences(bench.before, await bench.fingerprint()))]


def _unless_named(field: str, found: list[str]) -> list[str]:
    return [] if any(line[2:].startswith(f"{field}: ") for line in found) else [f"{field}: a change is not seen, only {found}"]
