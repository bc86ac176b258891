"""A small part of `scripts/line-torture`: megabytes of which none is wrong, and seconds in which nothing hangs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from runner.ondevice import line_packets
from runner.ondevice.reliable import Reliable
from runner.target.serial import bootstrap
from tests.torture.hours import Bench, Story, hours
from tests.torture.megabytes import MIXES, torture


def test_of_many_damaged_bytes_none_is_wrong() -> None:
    """Every mix of damage, both ways; packets that were damaged were thrown away, and so something was shown."""
    tally = torture(400_000, 7)
    assert tally.wrong_bytes == 0 and tally.arrived_bytes >= 400_000, tally
    assert tally.damaged_packets > 50, tally


def test_a_wrong_byte_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: without sums it is found within the first of them."""
    monkeypatch.setattr(line_packets, "_sum", lambda key, data: bytes(6))
    assert torture(400_000, 7).wrong_bytes > 0


def test_each_mix_is_met() -> None:
    """So many conversations that every mix had one; what one end says is never what the other one says."""
    made: list[bytes] = []

    def make(epoch: bytes, near: bool, now_ns: int) -> Any:
        made.append(epoch)
        return Reliable(epoch, near, now_ns)

    tally = torture(5_000, 3, make=make)
    assert (tally.conversations, len(set(made))) == (1, 1)
    assert all(sum(mix[:3]) < 0.01 for mix in MIXES)


@pytest.mark.real
def test_twenty_seconds_of_misfortune_hang_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise, silence, other boots, an adapter pulled out, values eaten: each wait ends within its limit, nothing is wrong, and over the
    good line of the end a command is done."""
    monkeypatch.setattr(bootstrap, "SILENCE_LIMIT_S", 2.0)
    monkeypatch.setattr(Bench, "silence_scale", 0.05)
    story: Story = hours(tmp_path, 20, 1, pause_s=1.5, baud=0)
    assert not story.hang and not story.wrong, story
    assert story.done >= 1 and sum(story.faults.values()) >= 3, story


@pytest.mark.real
def test_commands_that_talk_are_closed_while_a_kernel_talks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What closes a command in the middle of its words, and what is said in between: each was done, and nothing came back wrong."""

    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PS1": "# "}
    bench = Bench(tmp_path, 2, environment, baud=0)
    monkeypatch.setattr(bench.chance, "randrange", lambda kinds: kinds - 1)

    async def life() -> None:
        transport = bench.transport()
        await transport.open()
        chatter = asyncio.ensure_future(bench.chatter())
        for _ in range(5):
            await bench._one(transport)
        await transport.close()
        await chatter

    try:
        asyncio.run(life())
    finally:
        bench.unplug()
    assert (bench.story.closed, bench.story.done, bench.story.wrong) == (5, 5, 0)
    assert bench.chatter in bench.faults


@pytest.mark.real
def test_a_wait_without_an_end_is_a_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: a transport that never answers is found, and it is said what was waited for."""

    async def never(self: Bench, transport: Any) -> None:
        await self._kept("a command", -14.5, asyncio.sleep(600))

    monkeypatch.setattr(Bench, "_one", never)
    assert "for a command" in hours(tmp_path, 1, 1, pause_s=30, baud=0).hang
