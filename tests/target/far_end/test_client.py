"""The far end as a process: it serves, answers its coordinator, and is gone when that is gone."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import LabError
from runner.ondevice.link_probe import LIGHT, LinkProbe, Packet
from runner.target.far_end import client
from runner.target.far_end.__main__ import MAX_MEMORY_BYTES
from runner.target.far_end.client import FarEnd, missing

FREE = {"udp": 0, "http": 0, "mqtt": 0}
WHO = "0123456789abcdef"


def opened(folder: Path, **more: Any) -> Any:
    """A far end on loopback, on free ports."""
    return FarEnd.open(folder / "journal", folder / "store", folder / "far_end.log", bind="127.0.0.1", ports=FREE, **more)


def get(port: int, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    said = json.loads(connection.getresponse().read())
    connection.close()
    return said


def test_it_serves_what_is_asked_for(tmp_path: Path) -> None:
    """UDP always, HTTP and MQTT when named; the evidence lies in the journal's folder."""

    async def story() -> None:
        (tmp_path / "tables").mkdir()
        (tmp_path / "tables" / "fleet.json").write_text('{"a": 1}')
        async with opened(tmp_path, services={"http", "mqtt"}, tables=tmp_path / "tables") as far_end:
            assert set(far_end.ports) == {"udp", "http", "mqtt"}
            assert await asyncio.to_thread(get, far_end.ports["http"], "/baseline/lookup/fleet/a") == 1
            socket.create_connection(("127.0.0.1", far_end.ports["mqtt"]), timeout=30).close()
            assert (await far_end.ask("counts"))["receipts"] == 1

    asyncio.run(story())
    assert sorted(path.name for path in (tmp_path / "journal").iterdir()) == ["link.jsonl", "receipts.jsonl"]


def test_without_services_nothing_but_udp_is_there(tmp_path: Path) -> None:
    """A link's proof needs no library: none of them is imported, and no receipts are kept."""

    async def story() -> None:
        async with opened(tmp_path) as far_end:
            assert set(far_end.ports) == {"udp"}
            maps = Path(f"/proc/{far_end._process.pid}/maps").read_text()
            assert "aiohttp" not in maps
            limits = Path(f"/proc/{far_end._process.pid}/limits").read_text()
            assert str(MAX_MEMORY_BYTES) in next(line for line in limits.splitlines() if line.startswith("Max address space"))

    asyncio.run(story())
    assert [path.name for path in (tmp_path / "journal").iterdir()] == ["link.jsonl"]


def test_trains_both_ways(tmp_path: Path) -> None:
    """Expected, sent up, summed up; then sent down and caught. A refusal is a LabError with its reason."""

    async def story() -> None:
        async with opened(tmp_path) as far_end:
            probe, port = LinkProbe(), far_end.ports["udp"]
            with pytest.raises(LabError, match="no light packet"):
                await far_end.ask("send", who=WHO, duration_s=0.1, rate_kbit_s=100, size=100)
            probe.start("127.0.0.1", port, WHO, 0.02, 100)
            while not (await far_end.ask("counts"))["udp"]["peers"]:
                await asyncio.sleep(0.01)
            await far_end.ask("expect", who=WHO)
            up = await asyncio.to_thread(probe.train, "127.0.0.1", port, WHO, 0.2, 1000, 500, False)
            while (await far_end.ask("counts"))["udp"]["trains"][WHO] < up["sent"]:
                await asyncio.sleep(0.01)
            assert (await far_end.ask("summary", who=WHO, sent=up["sent"]))["received"] == up["sent"]
            catching = asyncio.create_task(asyncio.to_thread(probe.catch, 1.0))
            await asyncio.sleep(0.1)
            down = await far_end.ask("send", who=WHO, duration_s=0.2, rate_kbit_s=1000, size=500)
            assert (await catching)["received"] == down["sent"]
            probe.stop()

    asyncio.run(story())


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    """The error holds the process's own words, and no process is left."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))

        async def story() -> None:
            async with FarEnd.open(tmp_path, tmp_path, tmp_path / "far_end.log", bind="127.0.0.1", ports={"udp": taken.getsockname()[1]}):
                pytest.fail("it opened")

        with pytest.raises(LabError, match="in use"):
            asyncio.run(story())


def test_a_namespace_that_is_gone_is_said(tmp_path: Path) -> None:
    """Its board is off: there is nothing to enter."""

    async def story() -> None:
        async with opened(tmp_path, namespace=str(tmp_path / "gone")):
            pytest.fail("it opened")

    with pytest.raises(LabError, match="No such file"):
        asyncio.run(story())


def test_a_far_end_that_dies_is_noticed_by_whoever_asks(tmp_path: Path) -> None:
    """Whoever waits hears of it, and so does whoever asks later."""

    async def story() -> None:
        async with opened(tmp_path) as far_end:
            os.kill(far_end._process.pid, signal.SIGKILL)
            for _ in range(2):
                with pytest.raises(LabError, match="far end is gone"):
                    await far_end.ask("counts")

    asyncio.run(story())


def test_one_that_never_is_ready_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit, an error, and no process left behind."""
    monkeypatch.setattr(client, "START_LIMIT_S", 0.0)
    with pytest.raises(LabError, match="not ready"):
        asyncio.run(_enter(tmp_path))


async def _enter(folder: Path) -> None:
    async with opened(folder):
        pytest.fail("it opened")


def test_a_library_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started: which one, and how to get it. UDP needs none."""
    assert missing({"http", "mqtt"}) == []
    monkeypatch.setitem(client.LIBRARIES, "mqtt", "no_such_library")
    assert missing({"http", "mqtt"}) == ["no_such_library"]
    assert missing(()) == []

    async def story() -> None:
        async with opened(tmp_path, services={"mqtt"}):
            pytest.fail("it opened")

    with pytest.raises(LabError, match="no_such_library"):
        asyncio.run(story())


def test_a_coordinator_imports_no_server(run_python: Callable[..., Any]) -> None:
    """Neither the command line nor whoever starts a far end loads a library of its services; the service itself does."""
    loaded = "import sys, {}; print(sorted({{'aiohttp', 'amqtt'}} & set(sys.modules)))"
    names = "runner.cli.main, runner.story.execute, runner.story.links, runner.target.far_end.client, runner.target.far_end.__main__"
    assert run_python(loaded.format(names)).stdout.split() == ["[]"]
    assert run_python(loaded.format("runner.target.far_end.http")).stdout.split() == ["['aiohttp']"]


OWNER = """
import asyncio, sys
from pathlib import Path
from runner.target.far_end.client import FarEnd
async def story():
    folder = Path(sys.argv[1])
    async with FarEnd.open(folder, folder, folder / "log", bind="127.0.0.1", services={"http"}, ports={"udp": 0, "http": 0}) as far_end:
        print(far_end._process.pid, far_end.ports["udp"], flush=True)
        await asyncio.sleep(600)
asyncio.run(story())
"""


def test_a_killed_coordinator_leaves_nothing(tmp_path: Path) -> None:
    """SIGKILL: the far end sees the end of its standard input and goes; its ports are free, and every line is there."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid, port = map(int, owner.stdout.readline().split())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.settimeout(30)
        device.sendto(Packet(LIGHT, b"whowhowh", b"bootboot", 1, 2, 3).encode(100), ("127.0.0.1", port))
        device.recv(2000)
    owner.kill()
    owner.wait()
    owner.stdout.close()
    until(lambda: not Path(f"/proc/{pid}").exists())
    assert json.loads((tmp_path / "link.jsonl").read_text())["sequence"] == 3
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", port))


def until(wanted: Callable[[], bool], limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not wanted():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "line", [b"garbage", b"[]", b"{}", b'{"id": 1, "do": "exec"}', b'{"id": 1, "do": "expect"}', b'{"id": 1, "do": "expect", "who": 5}']
)
def test_a_request_that_is_none_is_an_answer(tmp_path: Path, line: bytes) -> None:
    """And the next is answered as ever."""
    words = ["--bind", "127.0.0.1", "--udp", "0", "--journal", str(tmp_path), "--store", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "runner.target.far_end", *words],
        input=line + b'\n{"id": 2, "do": "counts"}\n',
        capture_output=True,
        timeout=60,
        check=False,
    )
    said = [json.loads(each) for each in done.stdout.splitlines()]
    assert "ready" in said[0]
    assert {each.get("id") for each in said if "error" in each} <= {None, 1}
    assert any("error" in each for each in said)
    assert done.returncode == 0
