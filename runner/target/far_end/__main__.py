"""The process of the far end: enters the namespace of a board's data link, serves there, and ends with its coordinator.

    stdin   {"id", "do", …} a line       →  stdout  {"ready": {"udp": 7777, …}}, then {"id", "ok"} or {"id", "error"} a line
    stdin's end of file: the coordinator is gone, so everything is closed and nothing is left

Started by `client.py` as `python -m runner.target.far_end --bind 10.77.0.1 --journal DIR --store DIR …`.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import fcntl
import json
import logging
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.ondevice.link_probe import PORT
from runner.target.far_end.receipts import Receipts
from runner.target.far_end.reflector import Reflector

LINK_LOG, RECEIPTS = "link.jsonl", "receipts.jsonl"
CLONE_NEWUSER, CLONE_NEWNET, NS_GET_USERNS = 0x10000000, 0x40000000, 0xB701
MAX_ASKED_BYTES, MAX_MEMORY_BYTES = 65_536, 2 << 30


def enter(namespace: str) -> None:
    """Moves this process, which has one thread yet, into a network namespace; by its owning user namespace, if need be. Raises OSError."""
    fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            _setns(fd, CLONE_NEWNET)
        except PermissionError:
            owner = fcntl.ioctl(fd, NS_GET_USERNS)
            _setns(owner, CLONE_NEWUSER)
            os.close(owner)
            _setns(fd, CLONE_NEWNET)
    finally:
        os.close(fd)


def _setns(fd: int, kind: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(fd, kind) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


class Services:
    """What this process serves: UDP always, HTTP and MQTT where asked. Imports each library only then."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self._reflector = Reflector(asked.bind, asked.udp, asked.journal / LINK_LOG)
        self._receipts: Receipts | None = None
        self._running: list[Any] = []
        self.ports: dict[str, int] = {"udp": self._reflector.port}

    async def start(self) -> None:
        """Opens every port. Raises OSError."""
        self._reflector.start()
        if self._asked.http is None and self._asked.mqtt is None:
            return
        self._receipts = Receipts(self._asked.journal / RECEIPTS)
        if self._asked.http is not None:
            from runner.target.far_end import http

            service = http.Service(self._receipts, self._asked.store, self._asked.tables)
            self._running.append(service)
            self.ports["http"] = await service.start(self._asked.bind, self._asked.http)
        if self._asked.mqtt is not None:
            from runner.target.far_end import mqtt

            broker = mqtt.Service(self._receipts)
            self._running.append(broker)
            self.ports["mqtt"] = await broker.start(self._asked.bind, self._asked.mqtt)

    async def stop(self) -> None:
        """Closes every port, and then the logs."""
        for service in reversed(self._running):
            await service.stop()
        self._reflector.stop()
        if self._receipts is not None:
            self._receipts.close()

    async def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request of the coordinator. Raises what the request deserves."""
        verbs: dict[str, Callable[..., dict[str, Any]]] = {
            "counts": self._counts, "expect": self._reflector.expect, "summary": self._reflector.summary, "send": self._reflector.send
        }  # fmt: skip
        arguments = {name: value for name, value in asked.items() if name not in ("id", "do")}
        return await asyncio.to_thread(verbs[asked["do"]], **arguments)

    def _counts(self) -> dict[str, Any]:
        receipts = self._receipts
        more = {} if receipts is None else {"receipts": receipts.count, "broken": str(receipts.broken or "")}
        return {"udp": self._reflector.counts(), **more}


async def serve(asked: argparse.Namespace) -> None:
    """Serves and answers until standard input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_ASKED_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    services = Services(asked)
    answering: set[asyncio.Task[None]] = set()

    async def answer(line: bytes) -> None:
        number = None
        try:
            request = json.loads(line)
            number = request.get("id")
            say({"id": number, "ok": await services.answer(request)})
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            say({"id": number, "error": f"{type(error).__name__}: {error}"})

    try:
        await services.start()
        say({"ready": services.ports})
        while line := await reader.readline():
            task = asyncio.create_task(answer(line))
            answering.add(task)
            task.add_done_callback(answering.discard)
    finally:
        await services.stop()


def say(message: dict[str, Any]) -> None:
    """One line for the coordinator; when it is gone, standard input says so."""
    try:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()
    except OSError:
        os._exit(0)


def main() -> int:
    """Serve until the coordinator is gone; 3 when that is not possible here, with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="far-end", description="what devices talk to over a data link")
    parser.add_argument("--namespace", default="", help="a network namespace's path; without it, where we are")
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--tables", type=Path)
    parser.add_argument("--udp", type=int, default=PORT)
    parser.add_argument("--http", type=int)
    parser.add_argument("--mqtt", type=int)
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the libraries' words quote what devices sent
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))  # whatever a library keeps for a hostile device
    try:
        if asked.namespace:
            enter(asked.namespace)
        asyncio.run(serve(asked))
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    os._exit(0)  # a thread may still be at a train; nothing is left to be written


if __name__ == "__main__":
    raise SystemExit(main())
