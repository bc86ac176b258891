"""The coordinator's side of the far end: starts the process, asks it, and ends it.

    async with FarEnd.open(journal, store, log, namespace=…, services={"http"}) as far_end:
        await far_end.ask("expect", who=who)

The process lives as long as the block. However the block ends, and even if this process is killed, nothing is left: its
standard input ends, and it goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import sys
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

from runner.errors import LabError
from runner.model.plan import HTTP_PORT, MQTT_PORT
from runner.ondevice.link_probe import PORT
from runner.target.transports.base import words

START_LIMIT_S, END_LIMIT_S = 30.0, 10.0
PORTS = {"udp": PORT, "http": HTTP_PORT, "mqtt": MQTT_PORT}
LIBRARIES = {"http": "aiohttp", "mqtt": "amqtt"}
MAX_ANSWER_BYTES = 1 << 20


def missing(services: Collection[str]) -> list[str]:
    """The libraries that these services need and that are not installed; the extra `far-end` brings all of them."""
    return sorted(library for service, library in LIBRARIES.items() if service in services and importlib.util.find_spec(library) is None)


class FarEnd:
    """One far end that serves. `ports` says where: {"udp": 7777, "http": 8080, "mqtt": 1883}, those that were asked for."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.ports: dict[str, int] = {}
        self._process, self._log = process, log
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._reader: asyncio.Task[None] | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        journal: Path,
        store: Path,
        log: Path,
        *,
        bind: str = "10.77.0.1",
        namespace: str = "",
        tables: Path | None = None,
        services: Collection[str] = (),
        ports: dict[str, int] | None = None,
    ) -> AsyncIterator[FarEnd]:
        """A far end that serves UDP, and HTTP and MQTT if `services` names them; port 0 is any free one.

        Its evidence goes to `journal`, what it keeps for a restart to `store`, its last words to `log`. Raises LabError
        when it does not serve, with the end of its log; nothing is left then.
        """
        lacking = missing(services)
        if lacking:
            raise LabError(f"the far end needs {' and '.join(lacking)}", do="in a checkout of runner: pip install '.[far-end]'")
        chosen = {**PORTS, **(ports or {})}
        words_ = ["--bind", bind, "--journal", str(journal), "--store", str(store), "--udp", str(chosen["udp"])]
        words_ += ["--namespace", namespace] if namespace else []
        words_ += ["--tables", str(tables)] if tables else []
        words_ += [word for service in sorted(services) for word in (f"--{service}", str(chosen[service]))]
        for folder in (journal, store, log.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as to_log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "runner.target.far_end", *words_,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=to_log, limit=MAX_ANSWER_BYTES,
                start_new_session=True,  # ^C is for the coordinator, which ends this one when it is done with it
            )  # fmt: skip
        far_end = cls(process, log)
        try:
            await far_end._wait_until_ready()
            yield far_end
        finally:
            await far_end.close()

    async def ask(self, do: str, *, timeout_s: float = 30.0, **arguments: Any) -> dict[str, Any]:
        """The answer to one request: counts, expect, summary, send. Raises LabError: refused, too late, or the far end is gone."""
        self._number += 1
        number = self._number
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            if self._reader is None or self._reader.done():
                raise self._gone()
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"id": number, "do": do, **arguments}).encode() + b"\n")
            async with asyncio.timeout(timeout_s):
                await self._process.stdin.drain()
                answer = await future
        except asyncio.TimeoutError:
            raise LabError(f"the far end did not answer {do!r} within {timeout_s:g} s") from None
        except OSError as error:
            raise self._gone() from error
        finally:
            self._answers.pop(number, None)
        if "error" in answer:
            raise LabError(f"the far end could not {do}: {words(str(answer['error']))}")
        result: dict[str, Any] = answer["ok"]
        return result

    async def close(self) -> None:
        """Ends the process, by force if it does not go within END_LIMIT_S. Never raises."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(END_LIMIT_S):
                await self._process.wait()
        except asyncio.TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            raise
        finally:
            if self._reader is not None:
                self._reader.cancel()

    async def _wait_until_ready(self) -> None:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_LIMIT_S):
                said = json.loads(await self._process.stdout.readline() or b"{}")
        except asyncio.TimeoutError:
            raise LabError(f"the far end was not ready after {START_LIMIT_S:g} s: {self._last_words()}") from None
        if "ready" not in said:
            raise self._gone()
        self.ports = said["ready"]
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            answer = json.loads(line)
            future = self._answers.get(answer["id"])
            if future is not None and not future.done():
                future.set_result(answer)
        for future in self._answers.values():
            if not future.done():
                future.set_exception(self._gone())

    def _gone(self) -> LabError:
        return LabError(f"the far end is gone: {self._last_words()}", where=str(self._log))

    def _last_words(self) -> str:
        """The end of its log, as part of a sentence."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, self._log.stat().st_size - 1000))
                return words(file.read(1000)) or "it said nothing"
        except OSError:
            return "it said nothing"
