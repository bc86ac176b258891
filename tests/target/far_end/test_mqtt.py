"""The broker over real sockets, with somebody else's client: an acknowledgement means that the receipt is on the disk."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.target.far_end import mqtt as service_module
from runner.target.far_end.mqtt import MAX_CONNECTIONS, Service, payload_id
from runner.target.far_end.receipts import Receipts

UNHURRIED = settings(deadline=None)  # a busy machine is no finding
CONNECT = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03raw"


class Served:
    """A broker in a thread with a loop of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.port = self._do(self._start())

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self) -> int:
        self.log = Receipts(self.folder / "receipts.jsonl")
        self._service = Service(self.log)
        return await self._service.start("127.0.0.1", 0)

    def stop(self) -> None:
        self._do(self._service.stop())
        self.log.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def client(self, name: str = "device", clean: bool = True) -> paho.Client:
        """Connected, with its network loop running."""
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, clean_session=clean)
        connected = threading.Event()
        client.on_connect = lambda *_: connected.set()
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        assert connected.wait(20)
        return client

    def publish(self, *messages: tuple[str, bytes, int]) -> None:
        """Each message acknowledged as its QoS says, then disconnected."""
        client = self.client()
        try:
            for topic, payload, qos in messages:
                said = client.publish(topic, payload, qos)
                said.wait_for_publish(20)
                assert said.is_published()
        finally:
            client.disconnect()
            client.loop_stop()

    def connection(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    @property
    def receipts(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "receipts.jsonl").read_text().splitlines()]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    broker = Served(tmp_path)
    yield broker
    broker.stop()


def ended(device: socket.socket) -> None:
    """Returns when the far end ends a connection on which it has nothing to say."""
    with contextlib.suppress(ConnectionError):
        assert device.recv(100) == b""


def test_what_is_acknowledged_has_a_receipt(served: Served) -> None:
    """QoS 1 and 2: topic, id, hash and length; the second of one id is no first."""
    one = b'{"id": "a-1", "kind": "audit"}'
    served.publish(("chaos/audit", one, 1), ("chaos/audit", one, 2), ("chaos/audit", b"\xff\x00", 1))
    first, again, other = served.receipts
    assert (first["service"], first["execution"], first["topic"], first["qos"]) == ("mqtt", "chaos", "chaos/audit", 1)
    assert (first["id"], first["bytes"], first["sha256"]) == ("a-1", len(one), hashlib.sha256(one).hexdigest())
    assert [(r["qos"], r["first"]) for r in (first, again, other)] == [(1, True), (2, False), (1, True)]
    assert "id" not in other


def test_nothing_is_acknowledged_before_it_is_on_the_disk(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk does not answer, no PUBACK comes; when it does, it comes. The line is written before."""
    flushing, go_on = threading.Event(), threading.Event()

    def slow(fd: int) -> None:
        flushing.set()
        assert go_on.wait(20)

    client = served.client()
    monkeypatch.setattr(os, "fsync", slow)
    said = client.publish("chaos/audit", b"{}", 1)
    assert flushing.wait(20)
    assert not said.is_published()
    assert len(served.receipts) == 1
    go_on.set()
    said.wait_for_publish(20)
    assert said.is_published()
    client.loop_stop()


def test_a_disk_that_fails_acknowledges_nothing(served: Served) -> None:
    """No PUBACK: the connection ends."""
    with served.connection() as device:
        device.sendall(CONNECT)
        assert device.recv(4) == b"\x20\x02\x00\x00"
        served.log.broken = OSError(28, "No space left on device")
        device.sendall(b"\x32\x08\x00\x03a/b\x00\x01x")
        ended(device)
    assert served.receipts == []


def test_messages_reach_whoever_subscribed(served: Served) -> None:
    """It is a broker: a subscriber has the message."""
    came = threading.Event()
    listener = served.client("listener")
    subscribed = threading.Event()
    listener.on_subscribe = lambda *_: subscribed.set()
    listener.on_message = lambda client, data, message: came.set() if message.payload == b"hello" else None
    listener.subscribe("chaos/#", 1)
    assert subscribed.wait(20)
    served.publish(("chaos/greeting", b"hello", 1))
    assert came.wait(20)
    listener.loop_stop()


def retained(served: Served, topic: str, payload: bytes) -> bool:
    """Whether a message that asks to be retained is acknowledged; else its connection has ended."""
    body = struct.pack("!H", len(topic)) + topic.encode() + b"\x00\x01" + payload
    length = bytes([len(body) % 128 | 128, len(body) // 128])
    with served.connection() as device:
        device.sendall(CONNECT)
        assert device.recv(4) == b"\x20\x02\x00\x00"
        device.sendall(b"\x33" + length + body)
        with contextlib.suppress(ConnectionError):
            return device.recv(4) == b"\x40\x02\x00\x01"
        return False


def test_what_is_retained_has_a_bound(served: Served, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The message beyond it has no receipt and no PUBACK, and its connection ends; others are served, one in place of another is
    taken, and an empty one makes room."""
    monkeypatch.setattr(service_module, "MAX_RETAINED_BYTES", 2 * (service_module.RETAINED_BYTES + 1100))
    assert [retained(served, topic, b"x" * 1000) for topic in ("a/1", "a/2", "a/3", "a/1")] == [True, True, False, True]
    assert [receipt["topic"] for receipt in served.receipts] == ["a/1", "a/2", "a/1"]
    assert "a message on 'a/3' is not retained: " in capfd.readouterr().err
    served.publish(("a/3", b"x" * 1000, 1))  # the same message, not to be retained
    assert [retained(served, topic, payload) for topic, payload in (("a/2", b""), ("a/3", b"x" * 1000))] == [True, True]


def test_a_restart_knows_what_had_arrived(served: Served, tmp_path: Path) -> None:
    """The same id again is no first one, in the next far end either."""
    served.publish(("chaos/audit", b'{"id": 7}', 1))
    (tmp_path / "next").mkdir()
    (tmp_path / "receipts.jsonl").rename(tmp_path / "next" / "receipts.jsonl")
    again = Served(tmp_path / "next")
    again.publish(("chaos/audit", b'{"id": 7}', 1), ("baseline/audit", b'{"id": 7}', 1))
    again.stop()
    assert [r["first"] for r in again.receipts] == [True, False, True]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00" * 100,
        b"\xff" * 100,
        b"\x10\xff\xff\xff\x7f" + b"x" * 1000,
        CONNECT + b"\x30\xff\xff\xff\x7f" + b"x" * 1000,
        CONNECT + b"\x32\x03\x00\xff\xff",
        CONNECT + b"\x30\x05\x00\x03a/#",
        CONNECT + b"\x36\x08\x00\x03a/b\x00\x01x",
        CONNECT + CONNECT,
        CONNECT + b"\x82\x02\x00\x01",
        CONNECT[:7],
    ],
)
def test_garbage_ends_its_own_connection(served: Served, data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever comes: the next device is served, and what came stands in no words of ours."""
    with served.connection() as device:
        device.sendall(data)
        device.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while device.recv(4096):
                pass
    served.publish(("chaos/audit", b'{"id": "good"}', 1))
    assert served.receipts[-1]["id"] == "good"
    assert "GET /" not in "".join(capfd.readouterr())


def test_a_message_that_is_too_large_is_not_taken(served: Served) -> None:
    """Its connection ends before it is read."""
    size = service_module.MAX_PAYLOAD_BYTES + 1000
    length = bytes((size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14 & 0x7F | 0x80, size >> 21))
    with served.connection() as device:
        device.sendall(CONNECT + b"\x32" + length + b"\x00\x03a/b\x00\x01")
        assert device.recv(4) == b"\x20\x02\x00\x00"
        ended(device)
    assert served.receipts == []


def test_a_device_that_is_silent_is_given_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who connects and says nothing is dropped."""
    monkeypatch.setattr(service_module, "CONNECT_LIMIT_S", 0.05)
    with served.connection() as device:
        ended(device)


def test_whoever_holds_all_connections_shuts_nobody_out(served: Served) -> None:
    """One more than may be open ends the oldest."""
    held = [served.connection() for _ in range(MAX_CONNECTIONS)]
    served.publish(("chaos/audit", b"{}", 1))
    ended(held[0])
    for sock in held:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


@UNHURRIED
@given(st.binary(max_size=300) | st.recursive(st.none() | st.text() | st.integers(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)))
def test_any_payload_has_an_id_or_none(said: Any) -> None:
    """Never an error, and never more than a plain word or a number."""
    found = payload_id(said if isinstance(said, bytes) else json.dumps(said).encode())
    assert found is None or isinstance(found, int) or (isinstance(found, str) and len(found) <= 80)


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (b'{"id": "a-1"}', "a-1"),
        (b'{"id": 7}', 7),
        (b'{"x": {"id": "inner"}}', None),
        (b'{"id": true}', None),
        (b'{"id": "two words"}', None),
        (b'["id"]', None),
        (b"[" * 60_000, None),
        (b'{"id": "a-1", "rest": "' + b"x" * 100_000 + b'"}', "a-1"),
    ],
)
def test_the_id_of_a_payload(payload: bytes, found: str | int | None) -> None:
    """Of the object itself, a plain word or a whole number; in a large payload, near its beginning."""
    assert payload_id(payload) == found
