"""A conversation with one supervisor over one stream: questions, answers, events, and its journal.

    coordinator: await session.ask("hello")            → {"ok"}
    supervisor : RECORD frames  → the mirror, and `mirrored` goes back
                 {"event": …}   → `await session.event(…)`

A broken link raises LinkLost from whatever waits; nothing is lost with it, because the next session
follows on from the mirror's last sequence number.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from runner.clock import Clock
from runner.errors import BrokenPromise, LabError, RunnerError
from runner.ondevice import frames
from runner.ondevice.journal import Record
from runner.target.mirror import Mirror
from runner.target.rate import piece_bytes
from runner.target.transports.base import LinkLost, LinkRefused, Stream, Transport, words

PIECE_BYTES = 256 * 1024
_HELLO: dict[str, Any] = {  # what an answer must hold before anybody relies on it
    "python_version": str,
    "platform": str,
    "machine": str,
    "libc": str,
    "os": str,
    "cpu_count": int,
    "boot_id": str,
    "boottime_ns": int,
    "supervisor_started_ns": int,
    "memory_bytes": int,
}
_ALSO = ("protocol", "supervisor_sha256", "implementation", "disk_free_bytes", "wall_ns")  # noted where a device says it
_STATE: dict[str, Any] = {"run": str, "execution": str, "written": int, "flushed": int, "ended": bool}
_IDENTITY = ("boot_id", "supervisor_started_ns", "boottime_ns", "asked_boottime_ns", "answered_boottime_ns")
_ANSWERS: dict[str, dict[str, Any]] = {
    "missing": {"missing": list},
    "follow": {"agrees": bool, "written": int, "current": bool},
    "benchmark": {"duration_s": float},
    "fingerprint": {"fields": dict},
    "locate": {"path": str, "size": int, "extents": list},
    "log": {"text": str, "bytes": int},
    "programs": {"programs": list},
    "revert": {"reverted": list, "left": list},
    "clear_strays": {"removed": list, "in_use": list, "left": list},
    "probe_train": {"sent": int, "took_s": float},
    "probe_stop": {"sent": int, "echoes": int},
}
_HELD = {"hold": str, "stage": str, "point": str, "sequence": int, "written": int, "flushed": int}
MAX_QUEUED_EVENTS = 1_000


class RemoteError(LabError):
    """The supervisor answered that it could not do what was asked."""


class NotOurs(LinkRefused):
    """The device says that somebody else holds it, and who. It has done nothing for us, and will not."""


class Session:
    def __init__(self, stream: Stream, clock: Clock) -> None:
        self.hello: dict[str, Any] = {}
        self.mirror: Mirror | None = None
        self.progress: dict[str, Any] = {"written": 0, "flushed": 0, "stage": ""}
        self.on_record: Callable[[Record], None] = lambda record: None
        self._stream, self._clock = stream, clock
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MAX_QUEUED_EVENTS)
        self._number = 0
        self._lost: RunnerError | None = None
        self._news = asyncio.Event()
        self._reader = asyncio.ensure_future(self._read())

    @classmethod
    async def open(cls, transport: Transport, argv: Sequence[str], clock: Clock, claim: dict[str, Any] | None = None) -> Session:
        """Attaches and says hello, under `claim`. Raises LinkLost when nobody answers, NotOurs when somebody else holds the device,
        LabError when the protocol differs."""
        return await cls.over(await transport.stream(argv), clock, claim)

    @classmethod
    async def over(
        cls, stream: Stream, clock: Clock, claim: dict[str, Any] | None = None, *, take: bool = False, limit_s: float = 60.0
    ) -> Session:
        """The same over a stream that leads to a supervisor; with `take`, the device is taken for `claim` before anything else."""
        session = cls(stream, clock)
        try:
            # the first answer also pays for the bridge's start
            await session.ask("hello", timeout_s=limit_s, claim=claim, **({"take": True} if take else {}))
            asked = clock.boottime_ns()
            hello = await session.ask("hello")
            answered = clock.boottime_ns()
        except LabError:
            await session.close()
            raise
        if hello.get("protocol") != frames.PROTOCOL_VERSION:
            await session.close()
            raise LabError(f"the device speaks protocol {words(repr(hello.get('protocol')))}", expected=str(frames.PROTOCOL_VERSION))
        if not _holds(hello, _HELLO) or not _is_state(hello.get("execution")):
            await session.close()
            raise LabError("the device's hello lacks what every supervisor says", expected=", ".join((*_HELLO, "execution")))
        session.hello = {key: _bounded(hello[key]) for key in (*_HELLO, *_ALSO, "execution") if key in hello}
        if "capabilities" in hello:
            session.hello["capabilities"] = _few_words(hello["capabilities"])
        session.hello["asked_boottime_ns"] = asked  # the device's clocks were read between these two
        session.hello["answered_boottime_ns"] = answered
        return session

    @property
    def identity(self) -> dict[str, Any]:
        """Which boot and which supervisor process answers here, and both clocks read at one moment (`Timeline` needs them)."""
        return {key: self.hello[key] for key in _IDENTITY}

    async def ask(self, do: str, *, timeout_s: float = 60.0, **arguments: Any) -> dict[str, Any]:
        """The answer to one request. Raises RemoteError, or LinkLost when the link breaks or time is up."""
        self._number += 1
        number = self._number
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):  # and not wait_for, which may swallow a cancellation
                await self._send(frames.encode_json({"id": number, "do": do, **arguments}))
                answer = await future
        except asyncio.TimeoutError:
            raise LinkLost(f"the supervisor did not answer {do!r} within {timeout_s:g} s") from None
        finally:
            self._answers.pop(number, None)
        if answer.get("not_yours"):
            raise NotOurs(f"{do}: {words(str(answer.get('error')))}", do="wait until that holder has let go, or choose another device")
        if "error" in answer:
            raise RemoteError(f"{do}: {words(str(answer['error']))}")
        result = answer.get("ok")
        if (
            not isinstance(result, dict)
            or not _holds(result, _ANSWERS.get(do, {}))
            or (do == "hello" and self.hello and not _is_state(result.get("execution")))
        ):
            raise LinkLost(f"the supervisor answered {do!r} with something that is no answer")
        return result

    async def push(self, blobs: dict[str, bytes], announce: Callable[[frozenset[str]], None] = lambda missing: None) -> int:
        """Sends those blobs that the device lacks; returns the bytes sent. Durable there when this returns.

        `announce` is told which of them it will be, before the first byte.
        """
        missing = [sha256 for sha256 in (await self.ask("missing", hashes=sorted(blobs)))["missing"] if isinstance(sha256, str)]
        sent = 0
        if not blobs.keys() >= set(missing):
            raise LinkLost("the device asks for blobs that nobody offered")
        if missing:
            announce(frozenset(missing))
        size = piece_bytes(self._stream, PIECE_BYTES)
        for sha256 in sorted(set(missing)):
            data = blobs[sha256]
            for start in range(0, len(data), size):
                await self._send(frames.encode(frames.BLOB, bytes.fromhex(sha256) + data[start : start + size]))
            await self.ask("keep", sha256=sha256, timeout_s=120)
            sent += len(data)
        return sent

    async def follow(self, run: str, execution: str, mirror: Mirror) -> dict[str, Any]:
        """Streams the rest of an execution's journal into `mirror`. The answer says whether both agree so far."""
        self.mirror = mirror
        state = await self.ask("follow", run=run, execution=execution, from_sequence=mirror.sequence + 1, chain=mirror.chain)
        if not _is_held(state.get("held")):
            raise LinkLost("the supervisor answered 'follow' with a hold that is none")
        return state

    async def event(self, *names: str) -> dict[str, Any]:
        """The next event with one of these names; others are dropped on the way. Raises LinkLost."""
        while True:
            if self._events.empty():
                self._check()
            found = await self._events.get()
            if found.get("event") in names:
                return found

    async def record(self, wanted: Callable[[Record], bool]) -> Record:
        """The first mirrored record that is `wanted`, already there or still to come. Raises LinkLost."""
        seen = 0  # a day's journal is looked through once, not once for each record that arrives
        while True:
            self._news.clear()
            records = self.mirror.records if self.mirror else []
            for record in records[seen:]:
                if wanted(record):
                    return record
            seen = len(records)
            self._check()
            await self._news.wait()

    async def close(self) -> None:
        """Ends the session; never raises. Whoever asks afterwards hears at once that it is closed."""
        self._lost = self._lost or LinkLost("the session is closed")
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._reader
        await self._stream.close()

    async def _send(self, data: bytes) -> None:
        self._check()
        await self._stream.write(data)

    def _check(self) -> None:
        """Raises what ended this session, if anything did."""
        if self._lost is not None:
            raise self._lost

    async def _read(self) -> None:
        decoder = frames.Decoder()
        try:
            while data := await self._stream.read():
                taken: list[Record] = []  # written, and flushed together: one flush for all that one read brought
                try:
                    for frame in decoder.feed(data):
                        if frame.type == frames.RECORD and self.mirror is not None:
                            record = self.mirror.take(frame.payload)
                            taken += [record] if record else []
                        elif frame.type == frames.JSON:
                            await self._mirrored(taken)  # an event speaks of records that came before it
                            self._dispatch(frame.json())
                finally:  # what came before something that is no record is mirrored all the same
                    await self._mirrored(taken)
            self._fail(LinkLost("the supervisor's stream ended"))
        except RunnerError as error:
            self._fail(error)
        except ValueError as error:
            self._fail(LinkLost(f"the device sent what no supervisor sends: {words(str(error))}"))
        except Exception as error:
            broken = BrokenPromise(f"{type(error).__name__}: {error}", do="please report it, with the run folder")
            broken.__cause__ = error
            self._fail(broken)

    async def _mirrored(self, taken: list[Record]) -> None:
        """Makes what was taken durable, and only then tells anybody of it. Empties `taken`."""
        if self.mirror is None or not taken:
            return
        self.mirror.flush()
        for record in taken:
            self.on_record(record)
        taken.clear()
        self._news.set()
        self._number += 1
        await self._send(frames.encode_json({"id": self._number, "do": "mirrored", "sequence": self.mirror.sequence}))

    def _dispatch(self, message: dict[str, Any]) -> None:
        if "event" in message:
            if message["event"] == "progress" and _holds(message, {"written": int}):
                self.progress = _bounded(message)
            elif not self._events.full() and (message["event"] == "broken" or (message["event"] == "held" and _holds(message, _HELD))):
                self._events.put_nowait(_bounded(message))
            return
        number = message.get("id")
        future = self._answers.get(number) if isinstance(number, int) else None
        if future is not None and not future.done():
            future.set_result(message)

    def _fail(self, error: RunnerError) -> None:
        self._lost = error
        for future in self._answers.values():
            if not future.done():
                future.set_exception(error)
        with contextlib.suppress(asyncio.QueueFull):
            self._events.put_nowait({"event": "lost"})
        self._news.set()


def holds_shape(held: dict[str, Any]) -> bool:
    """Whether a device's word about the hold at which it stands is one."""
    return _holds(held, _HELD)


def _holds(message: dict[str, Any], shape: dict[str, Any]) -> bool:
    """Whether each key of `shape` is there with a value of its type. Devices are not trusted to answer well."""
    values: list[tuple[Any, Any]] = [(message.get(key), kind) for key, kind in shape.items()]
    return all(isinstance(value, kind) and (kind not in (int, float) or 0 <= value < 2**63) for value, kind in values)


def _is_held(said: Any) -> bool:
    return said is None or (isinstance(said, dict) and _holds(said, {"hold": str}))


def _is_state(said: Any) -> bool:
    return said is None or (isinstance(said, dict) and _holds(said, _STATE) and _is_held(said.get("held")))


def _few_words(said: Any) -> list[str]:
    """A device's list of words, cut short; what is no list holds none."""
    return [words(word, 40) for word in said[:40] if isinstance(word, str)] if isinstance(said, list) else []


def _bounded(said: Any) -> Any:
    """What a device said with each of its words cut short, two levels deep; deeper there is nothing that we asked for."""

    def short(value: Any) -> Any:
        return words(value) if isinstance(value, str) else value if isinstance(value, (int, float, type(None))) else None

    def few(value: dict[str, Any]) -> list[tuple[str, Any]]:
        return [(words(key, 40), inner) for key, inner in list(value.items())[:40]]

    if not isinstance(said, dict):
        return short(said)
    return {key: {k: short(v) for k, v in few(inner)} if isinstance(inner, dict) else short(inner) for key, inner in few(said)}
