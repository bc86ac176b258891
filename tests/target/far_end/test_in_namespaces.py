"""A link of our own: two network namespaces, a veth between them, and a shaper; asked against measured, from both ends.

The device's end is a process in one namespace, the far end is in the other. Both are made for the test and gone behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.judgement.reached import compare, restored
from runner.model.profile import Direction, Offline
from runner.target.far_end.client import FarEnd

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="makes network namespaces, which takes root and iproute2"),
]
WHO = "0123456789abcdef"
DEVICE = """
import json, sys
from runner.ondevice.link_probe import LinkProbe
probe = LinkProbe()
for line in sys.stdin:
    said = json.loads(line)
    print(json.dumps(getattr(probe, said.pop("do"))(**said)), flush=True)
"""


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=30)


class Link:
    """10.77.0.2 in the device's namespace, 10.77.0.1 in the far end's."""

    def __init__(self, name: str) -> None:
        self.device, self.far = f"{name}d", f"{name}f"

    def shape(self, namespace: str, rate_kbit_s: float) -> None:
        rate = ("rate", f"{rate_kbit_s}kbit", "burst", "1600", "limit", "30000")
        run("ip", "netns", "exec", namespace, "tc", "qdisc", "add", "dev", "data0", "root", "tbf", *rate)

    def open_up(self, namespace: str) -> None:
        run("ip", "netns", "exec", namespace, "tc", "qdisc", "del", "dev", "data0", "root")

    def down(self, state: str) -> None:
        run("ip", "netns", "exec", self.device, "ip", "link", "set", "data0", state)


@pytest.fixture
def link() -> Iterator[Link]:
    made = Link(f"rfe{secrets.token_hex(3)}")
    try:
        for namespace in (made.device, made.far):
            run("ip", "netns", "add", namespace)
        ends = ("ip", "link", "add", "data0", "netns", made.device, "type", "veth", "peer", "name", "data0", "netns", made.far)
        run(*ends)
        for namespace, address in ((made.device, "10.77.0.2/24"), (made.far, "10.77.0.1/24")):
            run("ip", "-n", namespace, "address", "add", address, "dev", "data0")
            run("ip", "-n", namespace, "link", "set", "data0", "up")
        yield made
    finally:
        for namespace in (made.device, made.far):
            with contextlib.suppress(subprocess.CalledProcessError):
                run("ip", "netns", "delete", namespace)


class Both:
    """A far end in its namespace, and a device's probe in the other."""

    def __init__(self, far_end: FarEnd, device: asyncio.subprocess.Process) -> None:
        self.far_end, self._device = far_end, device

    async def ask(self, do: str, **words: Any) -> Any:
        assert self._device.stdin and self._device.stdout
        self._device.stdin.write(json.dumps({"do": do, **words}).encode() + b"\n")
        return json.loads(await asyncio.wait_for(self._device.stdout.readline(), 60))

    @property
    def to(self) -> dict[str, Any]:
        return {"far_end": "10.77.0.1", "port": self.far_end.ports["udp"], "who": WHO}

    async def measure(self, rate_kbit_s: float | None = None) -> dict[str, Any]:
        """Sixty small packets there and back; with a rate, a train each way that is a third too much for it."""
        await self.far_end.ask("expect", who=WHO)
        echoed = {"duration_s": 3.0, "rate_kbit_s": 11.5, "size": 86, "echo": True, "wait_s": 1.0}
        sent = await self.ask("train", **self.to, **echoed)
        came = await self.far_end.ask("summary", who=WHO, sent=sent["sent"])
        ways = {"up": dict(came), "down": {"sent": came["received"], "received": sent["echoes"], "bursts": {}, "rate_kbit_s": None}}
        ways["up"]["rate_kbit_s"] = None
        if rate_kbit_s is not None:
            train = {"duration_s": 4.0, "rate_kbit_s": rate_kbit_s * 1.3, "size": 500}
            await self.far_end.ask("expect", who=WHO)
            sent_up = await self.ask("train", **self.to, **train, echo=False)
            await asyncio.sleep(1)
            ways["up"]["rate_kbit_s"] = (await self.far_end.ask("summary", who=WHO, sent=sent_up["sent"]))["rate_kbit_s"]
            catching = asyncio.create_task(self.ask("catch", duration_s=6.0))
            await asyncio.sleep(0.3)
            await self.far_end.ask("send", who=WHO, **train)
            ways["down"]["rate_kbit_s"] = (await catching)["rate_kbit_s"]
        return {**ways, "rtt_p50_ms": sent["rtt_p50_ms"], "rtt_p95_ms": sent["rtt_p95_ms"]}


@contextlib.asynccontextmanager
async def both(link: Link, folder: Path) -> AsyncIterator[Both]:
    namespace = f"/run/netns/{link.far}"
    async with FarEnd.open(folder, folder, folder / "log", namespace=namespace) as far_end:
        device = await asyncio.create_subprocess_exec(
            "ip", "netns", "exec", link.device, sys.executable, "-c", DEVICE,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        made = Both(far_end, device)
        try:
            await made.ask("start", **made.to, interval_s=0.1, size=86)
            while not (await far_end.ask("counts"))["udp"]["peers"]:
                await asyncio.sleep(0.05)
            yield made
        finally:
            assert device.stdin
            device.stdin.close()
            await asyncio.wait_for(device.wait(), 30)


async def proven(look: Callable[[], Awaitable[list[dict[str, Any]]]]) -> None:
    """Every row within, in one of two looks: as `story/links.py` does it, because a machine may be busy for a moment."""
    rows: list[dict[str, Any]] = []
    for _ in range(2):
        rows = await look()
        print("\n".join(str(row) for row in rows))
        if all(row["within"] for row in rows):
            return
    raise AssertionError(rows)


def narrow(rate_kbit_s: float) -> dict[str, Any]:
    way = Direction(rate_kbit_s=rate_kbit_s).model_dump(mode="json")
    return {"fault": "bandwidth", "up": way, "down": way}


def test_a_shaped_link_is_reached_and_one_that_is_not_is_not(link: Link, tmp_path: Path) -> None:
    """256 kbit/s asked of both directions. Without a shaper: not reached; with it: reached; taken away: as before."""

    async def story() -> None:
        async with both(link, tmp_path) as ends:
            before = await ends.measure()
            bare = compare([narrow(256)], before, await ends.measure(256))
            assert {row["what"]: row["within"] for row in bare} == {
                "rate up": False,
                "rate down": False,
                "loss up": True,
                "loss down": True,
            }, bare
            for namespace in (link.device, link.far):
                link.shape(namespace, 256)

            async def shaped() -> list[dict[str, Any]]:
                return compare([narrow(256)], before, await ends.measure(256))

            async def opened_up() -> list[dict[str, Any]]:
                return restored(before, await ends.measure())

            await proven(shaped)
            for namespace in (link.device, link.far):
                link.open_up(namespace)
            await proven(opened_up)

    asyncio.run(story())


def test_an_interface_that_is_down_passes_nothing(link: Link, tmp_path: Path) -> None:
    """Down: some sixty sent and none received. Up again: as before, and the log has the gap."""
    offline = Offline(fault="offline", how="link_down").model_dump(mode="json")

    async def story() -> None:
        async with both(link, tmp_path) as ends:
            before = await ends.measure()
            assert not compare([offline], before, before)[0]["within"]
            link.down("down")
            rows = compare([offline], before, await ends.measure())
            assert rows[0]["within"], rows
            link.down("up")

            async def up_again() -> list[dict[str, Any]]:
                return restored(before, await ends.measure())

            await proven(up_again)
            await ends.ask("stop")

    asyncio.run(story())
    numbers = [json.loads(line)["sequence"] for line in (tmp_path / "link.jsonl").read_text().splitlines()]
    assert max(b - a for a, b in itertools.pairwise(numbers)) > 20
