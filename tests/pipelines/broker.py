"""A real MQTT broker (amqtt) on loopback that writes each message that comes to it into a file:  broker.py PORT FILE

One JSON line for each, in the order of arrival and before it is acknowledged, in the shape of the far end's receipts.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from typing import Any

from amqtt.broker import Broker
from amqtt.mqtt.publish import PublishPacket
from amqtt.plugins.base import BasePlugin

LOG = sys.argv[2] if len(sys.argv) > 2 else ""


class Receipts(BasePlugin[Any]):
    """Notes each PUBLISH packet."""

    async def on_mqtt_packet_received(self, *, packet: Any, session: Any = None) -> None:
        if isinstance(packet, PublishPacket):
            data = bytes(packet.data or b"")
            line = {
                "service": "mqtt",
                "execution": str(packet.topic_name).partition("/")[0],
                "topic": packet.topic_name,
                "qos": packet.qos,
                "dup": packet.dup_flag,
                "sha256": hashlib.sha256(data).hexdigest(),
                "bytes": len(data),
                "id": json.loads(data)["id"],
                "boottime_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            }
            with open(LOG, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


async def serve(port: int) -> None:
    plugins = {f"{__name__}.Receipts": {}, "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    broker = Broker({"listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}, "plugins": plugins})
    await broker.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
