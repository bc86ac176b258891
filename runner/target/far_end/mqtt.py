"""The MQTT service of the far end: a broker for anybody, in which every message that arrives is a receipt first.

    device ──► _Reader (bounded) ──► the broker ──► PUBLISH is noted ──► PUBACK, PUBREC ──► _Writer: on the disk? ──► device

The broker is amqtt's; the two adapters at its edges are ours. Nothing that it says leaves before all that was noted by then
is on the disk: a device that has its acknowledgement has a receipt here. With QoS 0 there is no acknowledgement, and a
receipt all the same. What the broker keeps (sessions, subscriptions, retained messages) is memory, and gone with it. Retained
messages are bounded: one that has no room is no receipt and is not acknowledged, its connection ends, and the log says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import ssl
import sys
from dataclasses import dataclass
from typing import Any

from amqtt.adapters import ReaderAdapter, WriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import BaseContext
from amqtt.mqtt.packet import MQTTPacket
from amqtt.mqtt.publish import PublishPacket
from amqtt.plugins.base import BasePlugin
from amqtt.session import Session

from runner.target.far_end.receipts import Full, Receipts, plain

MAX_PAYLOAD_BYTES, MAX_TOPIC_CHARACTERS = 1 << 20, 300
MAX_RETAINED_BYTES, RETAINED_BYTES = 16 << 20, 512  # of all retained messages; and of each, beside its topic and its payload
MAX_CONNECTIONS, MAX_CONNECTS = 64, 20_000  # at once; and in all, because the broker remembers each client
CONNECT_LIMIT_S, SILENCE_LIMIT_S, SEND_LIMIT_S, STOP_LIMIT_S = 300.0, 3_600.0, 300.0, 3.0
ID = re.compile(r'"id"\s*:\s*("[A-Za-z0-9._:-]{1,80}"|[0-9]{1,15})\s*[,}]')  # of payloads that are too large to be parsed for it
PARSED_BYTES = 65_536


class Service:
    """One broker. `start` opens its port; `stop` closes it and every connection."""

    def __init__(self, receipts: Receipts) -> None:
        self._receipts = receipts
        self._seen = {_key(receipt) for receipt in receipts.of("mqtt")}
        self._broker: _Broker | None = None
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._connects = 0

    async def start(self, address: str, port: int) -> int:
        """The port on which it serves. Raises OSError."""
        plugins = {
            "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
            f"{__name__}.Noting": {"service": self},
        }
        self._broker = _Broker({"listeners": {"default": {"type": "external"}}, "plugins": plugins})
        await self._broker.start()
        self._server = await asyncio.start_server(self._connected, address, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._open.values():
            writer.transport.abort()
        if self._open:
            await asyncio.wait(self._open, timeout=STOP_LIMIT_S)
        if self._broker is not None:
            with contextlib.suppress(Exception):  # it is over, whatever the broker makes of it
                await asyncio.wait_for(self._broker.shutdown(), STOP_LIMIT_S)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection's life. One that is too many ends the oldest."""
        task = asyncio.current_task()
        self._connects += 1
        if self._broker is None or task is None or self._connects > MAX_CONNECTS:
            writer.transport.abort()
            return
        self._open[task] = writer
        for oldest in list(self._open.values())[: max(0, len(self._open) - MAX_CONNECTIONS)]:
            oldest.transport.abort()
        try:
            await self._broker.external_connected(_Reader(reader, writer.transport), _Writer(writer, self._receipts), "default")
        except Exception:  # noqa: S110 - a hostile device's connection ends, and nothing else does
            pass
        finally:
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()
            self._open.pop(task, None)

    def refused(self, packet: PublishPacket, session: Any) -> bool:
        """Whether a message asks to be retained and there is no room for it. Its connection has ended then, and nobody retains it."""
        topic, data = str(packet.topic_name or ""), bytes(packet.data or b"")
        if self._broker is None or not packet.retain_flag or self._broker.room_for(topic, data):
            return False
        _no_room(topic)
        packet.retain_flag = False
        peer = (getattr(session, "remote_address", None), getattr(session, "remote_port", None))
        for writer in self._open.values():
            if (writer.get_extra_info("peername") or ())[:2] == peer:
                writer.transport.abort()
        return True

    def note(self, packet: PublishPacket) -> None:
        """A receipt for one message. What cannot be noted breaks the receipts, so nobody is told that it arrived."""
        topic, data = str(packet.topic_name or ""), bytes(packet.data or b"")
        execution = topic.partition("/")[0]
        receipt: dict[str, Any] = {"execution": execution if plain(execution) else "", "topic": topic[:MAX_TOPIC_CHARACTERS]}
        receipt |= {"qos": packet.qos, "dup": packet.dup_flag, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        found = payload_id(data)
        if found is not None:
            receipt["id"] = found
        key = _key(receipt)
        try:
            self._receipts.note(service="mqtt", **receipt, first=key not in self._seen)
        except (Full, OSError) as error:
            self._receipts.broken = self._receipts.broken or OSError(f"no more receipts: {error}")
            return
        self._seen.add(key)


class Noting(BasePlugin[BaseContext]):
    """The broker's hook. Its task is made before the one that handles the packet, and never waits: it is done first."""

    @dataclass
    class Config:
        service: Service

    async def on_mqtt_packet_received(self, *, packet: MQTTPacket[Any, Any, Any], session: Any = None) -> None:
        if isinstance(packet, PublishPacket) and not self.config.service.refused(packet, session):
            self.config.service.note(packet)


class _Broker(Broker):
    """amqtt's, with a bound on what is retained, of last wills and of what is on its way, too."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self._sizes: dict[str, int] = {}  # of what is retained, by topic
        self._retained_bytes = 0

    def room_for(self, topic: str, data: bytes | bytearray) -> bool:
        """Whether a message can be retained; one without a payload takes its topic's away, and always can."""
        return not data or self._retained_bytes - self._sizes.get(topic, 0) + _size(topic, data) <= MAX_RETAINED_BYTES

    async def retain_message(
        self, source_session: Session | None, topic_name: str | None, data: bytes | bytearray | None, qos: int | None = None
    ) -> None:
        topic, data = topic_name or "", data or b""
        if not self.room_for(topic, data):
            _no_room(topic)
            return
        self._retained_bytes -= self._sizes.pop(topic, 0)
        if data:
            self._sizes[topic] = _size(topic, data)
            self._retained_bytes += self._sizes[topic]
        await super().retain_message(source_session, topic_name, data, qos)


def _size(topic: str, data: bytes | bytearray) -> int:
    return len(topic.encode()) + len(data) + RETAINED_BYTES


def _no_room(topic: str) -> None:
    sys.stderr.write(f"a message on {topic[:80]!r} is not retained: the far end keeps at most {MAX_RETAINED_BYTES >> 20} MiB of those\n")


class _Reader(ReaderAdapter):
    """What a device sends, in bounded pieces and in bounded time. Too much of either is the end of it."""

    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.WriteTransport) -> None:
        self._reader, self._transport, self._limit_s = reader, transport, CONNECT_LIMIT_S

    async def read(self, n: int = -1) -> bytes:
        if not 0 <= n <= MAX_PAYLOAD_BYTES:
            self._transport.abort()  # the broker would read on, at the wrong place
            raise ConnectionResetError("a packet that is larger than any may be")
        try:
            data = await asyncio.wait_for(self._reader.readexactly(n), self._limit_s)
        except asyncio.TimeoutError:
            self._transport.abort()
            raise ConnectionResetError("silence") from None
        self._limit_s = SILENCE_LIMIT_S
        return data

    def feed_eof(self) -> None:
        self._reader.feed_eof()


class _Writer(WriterAdapter):
    """What the broker says, held back until the receipts are on the disk. If they cannot be, the connection ends instead."""

    def __init__(self, writer: asyncio.StreamWriter, receipts: Receipts) -> None:
        self._writer, self._receipts = writer, receipts
        self._held = bytearray()

    def write(self, data: bytes) -> None:
        self._held += data

    async def drain(self) -> None:
        said, self._held = bytes(self._held), bytearray()
        try:
            await self._receipts.flushed()
            if not self._writer.is_closing():
                self._writer.write(said)
                await asyncio.wait_for(self._writer.drain(), SEND_LIMIT_S)
        except (OSError, asyncio.TimeoutError) as error:
            self._writer.transport.abort()
            raise ConnectionResetError(str(error)) from error

    def get_peer_info(self) -> tuple[str, int] | None:
        found = self._writer.get_extra_info("peername")
        return (str(found[0]), int(found[1])) if found else None

    def get_ssl_info(self) -> ssl.SSLObject | None:
        return None

    async def close(self) -> None:
        self._writer.close()


def payload_id(data: bytes) -> str | int | None:
    """The "id" of a payload that is a JSON object with one: a plain word or a whole number; else None. Never raises."""
    try:
        if len(data) <= PARSED_BYTES:
            said = json.loads(data)
            found = said.get("id") if isinstance(said, dict) else None
            text = json.dumps({"id": found}) if isinstance(found, str | int) and not isinstance(found, bool) else ""
        else:
            text = data[:PARSED_BYTES].decode("utf-8", "replace") if data[:1] == b"{" else ""
    except (ValueError, RecursionError):
        return None
    match = ID.search(text)
    return json.loads(match[1]) if match else None


def _key(receipt: dict[str, Any]) -> tuple[str, str]:
    """What makes two messages the same: their execution, and their id or, without one, their bytes."""
    return str(receipt.get("execution")), str(receipt.get("id", receipt.get("sha256")))
