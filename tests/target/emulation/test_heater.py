"""A keeper's heat without a machine: a process of our own stands for the processors, and is really held up."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.errors import LabError
from runner.ondevice import quota
from runner.ondevice.heater import Threads
from runner.ondevice.quota import Hierarchy, Impossible, find
from runner.target.emulation import heater as module
from runner.target.emulation.heater import HEAT, SENSORS, Heater, SensorPort

BODY = {"die_j_k": 3.0, "board_j_k": 40.0, "die_to_board_k_w": 4.0, "board_to_air_k_w": 6.0, "idle_w": 3.0, "busy_w": 3.0}
THROTTLE = {"full_mhz": 1500, "steps": [[70, 600, "throttled"]], "hysteresis_k": 2, "critical_c": 95}
HOT: dict[str, Any] = {"body": BODY, "throttle": THROTTLE, "timeline": [[0, 60]], "starts_at_c": 80.0, "renew_s": 60, "cap_s": 300}


def hierarchy() -> Hierarchy | None:
    try:
        return find()
    except Impossible:
        return None


for_real = pytest.mark.skipif(hierarchy() is None, reason="this machine lets nobody like us limit CPU time")


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def busy() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        yield process.pid
        process.kill()


def heater_of(pid: int, said: list[str]) -> Heater:
    async def threads() -> Threads | None:
        return (pid, [pid]) if Path(f"/proc/{pid}/stat").exists() and quota.born(pid) and _lives(pid) else None

    return Heater(threads, said.append)


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def lines(board: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (board / HEAT).read_text().splitlines()]


async def until(true: Callable[[], bool], limit_s: float = 30.0) -> None:
    async with asyncio.timeout(limit_s):
        while not true():
            await asyncio.sleep(0.02)


def told(story: Callable[[Heater], Awaitable[None]], pid: int) -> list[str]:
    said: list[str] = []

    async def run() -> None:
        heater = heater_of(pid, said)
        try:
            await story(heater)
        finally:
            assert await heater.end("the test is over") == []
        assert heater.facts()["groups"] == []

    asyncio.run(run())
    return said


@for_real
def test_a_hot_board_is_held_up_until_it_is_cooled(board: Path, busy: int) -> None:
    """Its quota is its clock's share; `cool` gives all of it back, and the evidence has a beginning and an end."""

    async def story(heater: Heater) -> None:
        facts = await heater.begin(HOT)
        assert facts["on"] and len(facts["groups"]) >= 1
        await until(lambda: heater.facts()["nr_throttled"] > 5)
        assert (heater.facts()["mhz"], heater.facts()["quota"]) == (600.0, 0.4)
        assert await heater.end() == []
        facts = heater.facts()
        assert (facts["on"], facts["ended"], facts["groups"]) == (False, "asked", [])

    told(story, busy)
    found = lines(board)
    assert found[0]["told"] == HOT and found[0]["groups"]["version"] in (1, 2)
    assert found[-1]["ended"] == "asked" and found[-1]["left"] == []
    keys = "boottime_ns load cpu_s granted_s nr_throttled ambient_c die_c board_c mhz flags quota"
    assert set(keys.split()) <= set(found[1])


@for_real
def test_a_look_that_ends_behind_the_heat_limits_nobody(board: Path, busy: int) -> None:
    """The board's processors were asked for while it was cooled: they are taken in by no heat that is over."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def story() -> None:
        async def threads() -> Threads | None:
            if asked.is_set():
                await answer.wait()
            return busy, [busy]

        heater = Heater(threads, lambda text: None)
        await heater.begin(HOT)
        loop = heater._loop
        assert loop is not None
        asked.set()
        late = asyncio.ensure_future(heater._tick(loop))
        await asyncio.sleep(0)
        assert await heater.end() == []
        answer.set()
        await late
        assert heater.facts()["groups"] == []

    asyncio.run(story())


@for_real
def test_a_disk_that_is_full_ends_the_heat(board: Path, busy: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No tick can be noted, nor that it ended; nobody is held up any more, and it is said."""

    async def story(heater: Heater) -> None:
        await heater.begin(HOT)

        def full(line: dict[str, Any]) -> None:
            raise OSError(28, "No space left on device")

        loop = heater._loop
        assert loop is not None
        monkeypatch.setattr(loop, "_write", full)
        await until(lambda: not heater.on)
        assert "No space left" in heater.facts()["ended"] and heater.facts()["groups"] == []

    told(story, busy)
    assert "ended" not in lines(board)[-1]


def test_what_was_left_is_looked_at_again(board: Path) -> None:
    """A group that somebody removed, as was asked, is not left any more."""
    heater = heater_of(1, [])
    heater._left = [str(board / "runner-heat-1-2-0")]
    (board / "runner-heat-1-2-0").mkdir()
    assert asyncio.run(heater.end()) == [str(board / "runner-heat-1-2-0")]
    (board / "runner-heat-1-2-0").rmdir()
    assert asyncio.run(heater.end()) == []


@for_real
def test_it_waits_until_it_is_warmed(board: Path, busy: int) -> None:
    """Told to wait, it holds nobody up."""

    async def story(heater: Heater) -> None:
        await heater.begin({**HOT, "waits": True})
        await until(lambda: len(lines(board)) > 5)
        assert (heater.facts()["quota"], heater.facts()["nr_throttled"]) == (1.0, 0)
        heater.warm()
        await until(lambda: heater.facts()["nr_throttled"] > 0)

    told(story, busy)


@for_real
def test_nobody_renews_it_and_it_ends_by_itself(board: Path, busy: int) -> None:
    """A coordinator that is dead leaves no heat behind."""

    async def story(heater: Heater) -> None:
        await heater.begin({**HOT, "renew_s": 0.6})
        await until(lambda: not heater.on)
        assert heater.facts()["ended"] == "nobody renewed it"
        assert heater.facts()["groups"] == []
        with pytest.raises(LabError, match="there is no heat: nobody renewed it"):
            heater.warm()

    told(story, busy)


@for_real
def test_a_cut_lets_it_cool_and_the_flags_of_the_boot_go(board: Path, busy: int) -> None:
    """Its threads are gone at once: no power, no flags; the body stays warm, and the groups go."""

    async def story(heater: Heater) -> None:
        await heater.begin(HOT)
        await until(lambda: heater.facts()["nr_throttled"] > 0)
        os.kill(busy, 9)
        await until(lambda: not heater.facts()["powered"])
        await until(lambda: heater.facts()["groups"] == [])
        facts = heater.facts()
        assert (facts["mhz"], facts["flags"]) == (0.0, 0)
        assert 60 < facts["die_c"] < 81
        assert heater.on

    told(story, busy)


@for_real
def test_another_heat_takes_the_place_of_one(board: Path, busy: int) -> None:
    """Never two loops over one board, and what is no heat changes nothing but that the one before is over."""

    async def story(heater: Heater) -> None:
        await heater.begin(HOT)
        await heater.begin({**HOT, "pace": 2.0})
        assert heater.facts()["pace"] == 2.0
        with pytest.raises(LabError, match="timeline"):
            await heater.begin({**HOT, "timeline": []})
        assert not heater.on and heater.facts()["groups"] == []

    told(story, busy)
    assert [line["ended"] for line in lines(board) if "ended" in line] == ["another heat was told"] * 2


def test_a_host_that_limits_nobody_heats_nobody(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocked, with the reason; never a pretence."""

    def impossible() -> Hierarchy:
        raise Impossible("/sys/fs/cgroup: Read-only file system")

    monkeypatch.setattr(module, "find", impossible)

    async def story(heater: Heater) -> None:
        with pytest.raises(LabError, match="no board can be slowed down on this host: /sys/fs/cgroup: Read-only"):
            await heater.begin(HOT)
        assert not heater.on

    told(story, os.getpid())
    assert not (board / HEAT).exists()


def test_sensors_are_told_to_whoever_listens_and_nobody_waits_for_one_who_does_not(board: Path) -> None:
    """Without a machine, or with one that does not read, nothing happens; a machine that was started anew is told again."""
    port = SensorPort()
    port.send({"die_c": 1})
    for number in (1, 2):
        (board / SENSORS).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(SENSORS)
            listener.listen()
            for _ in range(3000):
                port.send({"die_c": number})
            connection, _ = listener.accept()
            with connection:
                assert json.loads(connection.makefile().readline()) == {"die_c": number}
        port.send({"die_c": 0})
        port.send({"die_c": 0})
    port.close()
