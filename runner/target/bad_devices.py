"""Devices that misbehave, to be met before a real one does: for the tests of this product, and for yours.

    SERVERS       where an SSH server should answer       async with serving("silent") as endpoint: SshTransport(lambda: endpoint)
    SUPERVISORS   behind a link that works                FakeTransport({"attach": supervising("skips_a_record")})

Nothing here leaves loopback and memory. What a coordinator makes of each of them, and within how long, stands in
docs/devices-that-misbehave.md; a test holds the page against these tables, name by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from runner.ondevice import frames, journal
from runner.ondevice.frames import RECORD, encode, encode_json
from runner.target.transports.base import Endpoint
from runner.target.transports.fake import Command, Pipe

GIGABYTE = 1 << 30
PIECE = 65536
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b[31mbo\x9bard\r\u202e::error::x"  # title, clear, colour, C1, return, right-to-left


@dataclass(frozen=True)
class BadServer:
    """What it does, and the running server: a context that gives the endpoint under which a coordinator knows it."""

    does: str
    start: Callable[[], contextlib.AbstractAsyncContextManager[Endpoint]]


@dataclass(frozen=True)
class BadSupervisor:
    """What it does, and what it says instead: pieces of bytes, pauses in seconds, and None for a stream that ends there."""

    does: str
    says: Says


Request = dict[str, Any]
Piece = bytes | float | None
Says = Callable[[Request, list[bytes]], Iterator[Piece]]  # `request`, and the right pieces that a well-behaved one answers with


def serving(name: str) -> contextlib.AbstractAsyncContextManager[Endpoint]:
    """The server of that name, on loopback, for as long as the context is open."""
    return SERVERS[name].start()


def supervising(name: str, folder: str = "/data/runner") -> Command:
    """The supervisor of that name as a command for FakeTransport; `folder` is where it says that its files lie."""
    bad = SUPERVISORS[name].says

    async def attach(argv: Sequence[str], stdin: Pipe, stdout: Pipe) -> int:
        decoder, speaking, ended = frames.Decoder(), set[asyncio.Task[None]](), asyncio.Event()
        one_by_one = asyncio.Lock()

        async def speak(request: Request) -> None:
            async with one_by_one:
                for piece in bad(request, _right(request, folder)):
                    if piece is None:
                        ended.set()
                    elif isinstance(piece, float):
                        await asyncio.sleep(piece)
                    else:
                        await stdout.write(piece)

        async def listen() -> None:
            while data := await stdin.read():
                for frame in decoder.feed(data):
                    if frame.type == frames.JSON:  # one that floods still hears the next question
                        speaking.add(asyncio.ensure_future(speak(frame.json())))

        tasks = [asyncio.ensure_future(listen()), asyncio.ensure_future(ended.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, *speaking):
                task.cancel()
        return 0

    return attach


# ---- servers ------------------------------------------------------------------------------------------------------------

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
VERSION = b"SSH-2.0-board\r\n"


def _tcp(talk: Talk) -> Callable[[], contextlib.AbstractAsyncContextManager[Endpoint]]:
    @contextlib.asynccontextmanager
    async def start() -> AsyncIterator[Endpoint]:
        conversations: set[asyncio.Task[Any]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            conversations.update([task] if task else [])
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await talk(reader, writer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            yield Endpoint("127.0.0.1", server.sockets[0].getsockname()[1], "root")
        finally:
            server.close()
            for task in conversations:
                task.cancel()
            await asyncio.gather(*conversations, return_exceptions=True)

    return start


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def _hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(VERSION)
    await reader.read(1)


async def _drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-")
    while True:
        writer.write(b"a")
        await asyncio.sleep(0.02)


async def _says_goodbye(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    words = ESCAPES.encode()
    payload = bytes([1]) + struct.pack(">II", 2, len(words)) + words + struct.pack(">I", 0)
    padding = 16 - (5 + len(payload)) % 8
    writer.write(VERSION + struct.pack(">IB", 1 + len(payload) + padding, padding) + payload + bytes(padding))
    await asyncio.Event().wait()


def _pours(head: bytes, piece: bytes) -> Talk:
    """A gigabyte of `piece` after `head`, as fast as somebody takes it."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for _ in range(GIGABYTE // len(piece)):
            writer.write(piece)
            await writer.drain()

    return talk


Serve = Callable[[Any], Awaitable[None]]  # of an asyncssh.SSHServerProcess


def _ssh(serve: Serve, *, own_key: bool = True) -> Callable[[], contextlib.AbstractAsyncContextManager[Endpoint]]:
    """A real SSH server that lets everybody in and runs nothing: each command is answered by `serve`."""

    @contextlib.asynccontextmanager
    async def start() -> AsyncIterator[Endpoint]:
        import asyncssh

        class Open(asyncssh.SSHServer):
            def begin_auth(self, username: str) -> bool:
                return False

        async def safely(process: Any) -> None:
            with contextlib.suppress(asyncssh.Error, OSError):
                await serve(process)

        keys = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(2)]
        server = await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Open, server_host_keys=keys[:1], process_factory=safely, encoding=None
        )
        shown = " ".join(keys[0 if own_key else 1].export_public_key().decode("ascii").split()[:2])
        try:
            yield Endpoint("127.0.0.1", server.get_port(), "root", shown)
        finally:
            server.close()

    return start


async def _well(process: Any) -> None:
    process.exit(0)


async def _pours_output(process: Any) -> None:
    await _pour(process.stdout)


async def _pours_errors(process: Any) -> None:
    await _pour(process.stderr)


async def _pour(writer: Any) -> None:
    for _ in range(GIGABYTE // PIECE):
        writer.write(bytes(PIECE))
        await writer.drain()


async def _never_ends(process: Any) -> None:
    await asyncio.Event().wait()


async def _drops_the_line(process: Any) -> None:
    process.stdout.write(b"half of an ans")
    await process.stdout.drain()
    process.channel.get_connection().abort()


async def _tells_no_status(process: Any) -> None:
    process.close()


async def _takes_nothing(process: Any) -> None:
    if process.command == "true":
        process.exit(0)
    await asyncio.Event().wait()


SERVERS: dict[str, BadServer] = {
    "well": BadServer("behaves", _ssh(_well)),
    "silent": BadServer("accepts the connection and says nothing", _tcp(_silent)),
    "hangs_up": BadServer("says its version and hangs up", _tcp(_hangs_up)),
    "slow_drip": BadServer("says its version letter by letter, without an end", _tcp(_drips)),
    "banner_of_1_gb": BadServer("says a gigabyte of lines before its version", _tcp(_pours(b"", (b"welcome" * 9 + b"\n") * 1024))),
    "line_of_1_gb": BadServer("says one line of a gigabyte", _tcp(_pours(b"", b"x" * PIECE))),
    "garbage": BadServer("says what is not SSH", _tcp(_pours(b"", os.urandom(PIECE)))),
    "packet_of_2_gb": BadServer(
        "announces an SSH packet of 2 GB, and sends it", _tcp(_pours(VERSION + b"\x7f\xff\xff\xff\x04\x14", bytes(PIECE)))
    ),
    "goodbye_with_escapes": BadServer("ends the connection with words for a terminal", _tcp(_says_goodbye)),
    "another_host_key": BadServer("shows a host key that is not the pinned one", _ssh(_well, own_key=False)),
    "output_of_1_gb": BadServer("prints a gigabyte, whatever it should run", _ssh(_pours_output)),
    "errors_of_1_gb": BadServer("complains for a gigabyte, whatever it should run", _ssh(_pours_errors)),
    "never_ends": BadServer("runs a command for ever", _ssh(_never_ends)),
    "drops_the_line": BadServer("drops the connection in the middle of an answer", _ssh(_drops_the_line)),
    "tells_no_status": BadServer("ends a command without saying how", _ssh(_tells_no_status)),
    "takes_nothing": BadServer("reads nothing of what is written to a command", _ssh(_takes_nothing)),
}


# ---- supervisors --------------------------------------------------------------------------------------------------------

BOOT, NOW_NS = "ab" * 16, 1_795_000_000_000_000_000
STORY: tuple[tuple[str, dict[str, Any]], ...] = (
    ("began", {"stages": ["train"], "holds": []}),
    ("stage_started", {"stage": "train"}),
    ("stage_finished", {"stage": "train", "status": "success", "data": {}, "files": {}, "duration_ns": 5}),
    ("finished", {"state_sha256": "0" * 64}),
)
STATE = {"run": "r", "execution": "e", "written": len(STORY), "flushed": len(STORY), "held": None, "ended": True}
HELLO: dict[str, Any] = {
    "protocol": frames.PROTOCOL_VERSION,
    **dict.fromkeys(("python_version", "platform", "machine", "libc", "os"), "x"),
    **dict.fromkeys(("cpu_count", "boottime_ns", "supervisor_started_ns", "memory_bytes"), 5),
    "boot_id": BOOT,
    "wall_ns": NOW_NS,
    "execution": None,
}


def record(number: int, *, wall_ns: int = NOW_NS, **changed: Any) -> bytes:
    """Record `number` of STORY in its frame."""
    kind, payload = STORY[number - 1]
    return _framed(number, kind, {**payload, **changed}, wall_ns)


def _framed(number: int, kind: str, payload: dict[str, Any], wall_ns: int = NOW_NS) -> bytes:
    return encode(RECORD, journal.encode(number, BOOT, number, wall_ns, kind, payload).raw)


def _right(request: Request, folder: str) -> list[bytes]:
    """What a well-behaved supervisor answers."""
    verb = request.get("do")
    answers: dict[Any, dict[str, Any]] = {
        "hello": HELLO,
        "missing": {"missing": request.get("hashes", [])},
        "follow": {"agrees": True, "current": True, **STATE},
        "benchmark": {"duration_s": 1.0},
        "locate": {"path": f"{folder}/journal", "size": 4, "extents": []},
        "log": {"text": "trained\n", "bytes": 8},
    }
    records = [record(number) for number in range(1, len(STORY) + 1)] if verb == "follow" else []
    return [_ok(request, answers.get(verb, {})), *records]


def _ok(request: Request, answer: Any) -> bytes:
    return encode_json({"id": request["id"], "ok": answer})


def _well_behaved(request: Request, right: list[bytes]) -> Iterator[Piece]:
    yield from right


def _to(verb: str, says: Says) -> Says:
    """Misbehaves when it is asked for `verb`, and answers everything else well."""
    return lambda request, right: (says if request["do"] == verb else _well_behaved)(request, right)


def _answers(verb: str, answer: Any) -> Says:
    return _to(verb, lambda request, right: iter([_ok(request, answer)]))


def _says(verb: str, *pieces: Piece) -> Says:
    return _to(verb, lambda request, right: iter(pieces))


def _for_ever(verb: str, piece: bytes, pause_s: float = 0.1, head: bytes = b"") -> Says:
    def says(request: Request, right: list[bytes]) -> Iterator[Piece]:
        yield head
        while True:
            yield piece
            yield pause_s

    return _to(verb, says)


def _tells(*records: bytes) -> Says:
    """Follows with these records in place of the right ones."""
    return _to("follow", lambda request, right: iter((right[0], *records)))


def _samples(request: Request, right: list[bytes]) -> Iterator[Piece]:
    yield right[0]
    number = 0
    while True:
        number += 1
        sample = {"metrics": {"hw.temperature": 40.0}, "padding": "x" * 50_000}
        yield _framed(number, "sample", sample)
        yield 0.1


def _clock(*wall_ns: int) -> Says:
    """Hello and records carry these wall clocks, one after the other."""

    def says(request: Request, right: list[bytes]) -> Iterator[Piece]:
        if request["do"] == "hello":
            yield _ok(request, {**HELLO, "wall_ns": wall_ns[0]})
        elif request["do"] == "follow":
            yield right[0]
            yield from (record(number, wall_ns=wall_ns[number % len(wall_ns)]) for number in range(1, len(STORY) + 1))
        else:
            yield from right

    return says


def _drips_answers(request: Request, right: list[bytes]) -> Iterator[Piece]:
    for byte in b"".join(right):
        yield bytes([byte])
        yield 0.001


def _between_noise(request: Request, right: list[bytes]) -> Iterator[Piece]:
    for piece in right:
        yield b"\r\n[  12.1] random: crng init done \xa5\x5a\x01\r\n" + piece


def _refers(request: Request, right: list[bytes]) -> Iterator[Piece]:
    answer: dict[str, Any] = frames_of(right[0])["ok"]
    yield _ok(request, {**answer, "path": answer["path"].replace("journal", "../../../../../../../../etc/passwd"), "size": 4096})


def frames_of(data: bytes) -> dict[str, Any]:
    """The one JSON frame in `data`."""
    (frame,) = frames.Decoder().feed(data)
    return frame.json()


def _announced(length: int) -> bytes:
    """The head of a JSON frame of that length, sums and all."""
    head = struct.pack(">BBI", frames.PROTOCOL_VERSION, frames.JSON, length)
    return b"\xa5\x5a" + head + struct.pack(">II", zlib.crc32(head), 0)


def _year(year: int) -> int:
    return int((year - 1970) * 365.2425 * 86400) * 10**9


SUPERVISORS: dict[str, BadSupervisor] = {
    "well_behaved": BadSupervisor("behaves", _well_behaved),
    "answers_never": BadSupervisor("takes every question and answers none", _says("hello")),
    "ends": BadSupervisor("ends when it is asked something", _says("benchmark", None)),
    "frame_of_2_gb": BadSupervisor("announces a frame of 2 GB, and sends it", _for_ever("hello", bytes(PIECE), head=_announced(1 << 31))),
    "frame_without_end": BadSupervisor(
        "announces the largest frame there is, and drips", _for_ever("hello", b"x", 1.0, _announced(frames.MAX_PAYLOAD_BYTES))
    ),
    "garbage": BadSupervisor("answers with noise", _for_ever("hello", os.urandom(PIECE))),
    "garbage_between_frames": BadSupervisor("prints its kernel's messages between its answers", _between_noise),
    "slow_drip": BadSupervisor("answers byte by byte", _drips_answers),
    "no_json": BadSupervisor("sends a frame that is no JSON", _says("benchmark", encode(frames.JSON, b"{\xff"))),
    "json_list": BadSupervisor("sends a list where an object belongs", _says("benchmark", encode(frames.JSON, b"[1]"))),
    "json_too_deep": BadSupervisor("sends JSON nested a hundred thousand deep", _says("benchmark", encode(frames.JSON, b"[" * 100_000))),
    "other_protocol": BadSupervisor("speaks another protocol", _answers("hello", {**HELLO, "protocol": 99})),
    "hello_without_a_boot": BadSupervisor("does not say which boot it is", _answers("hello", {**HELLO, "boot_id": None})),
    "hello_of_nonsense": BadSupervisor(
        "says that an execution is under way, but not which", _answers("hello", {**HELLO, "execution": {"a": 1}})
    ),
    "hello_with_escapes": BadSupervisor("has a host name for terminals", _answers("hello", {**HELLO, "os": f"Linux {ESCAPES}"})),
    "hello_of_2_mb": BadSupervisor("has a host name of two megabytes", _answers("hello", {**HELLO, "os": "x" * 2_000_000})),
    "held_by_nonsense": BadSupervisor(
        "says that it stands at a hold, but not at which", _answers("hello", {**HELLO, "execution": {**STATE, "held": [1]}})
    ),
    "benchmark_of_nonsense": BadSupervisor("measures no number", _answers("benchmark", {"duration_s": "fast"})),
    "benchmark_of_no_time": BadSupervisor("measures an infinite time", _answers("benchmark", {"duration_s": float("inf")})),
    "error_with_escapes": BadSupervisor(
        "refuses with words for a terminal",
        _to("benchmark", lambda request, right: iter([encode_json({"id": request["id"], "error": ESCAPES + "x" * 100_000})])),
    ),
    "somebody_elses": BadSupervisor(
        "says that somebody else holds it",
        _to("hello", lambda request, right: iter([encode_json({"id": request["id"], "not_yours": True, "error": f"held by {ESCAPES}"})])),
    ),
    "lacks_what_nobody_has": BadSupervisor("asks for blobs that nobody offered", _answers("missing", {"missing": ["00" * 32, 7, "../x"]})),
    "names_another_file": BadSupervisor("says that its journal is ../…/etc/passwd", _to("locate", _refers)),
    "skips_a_record": BadSupervisor("leaves out a record", _tells(record(1), record(2), record(4))),
    "repeats_records": BadSupervisor("sends each record twice", _tells(*(record(number) for number in (1, 1, 2, 1, 2, 3, 4)))),
    "forges_a_record": BadSupervisor("sends a record again, and it is another one", _tells(record(1), record(2), record(2, stage="other"))),
    "torn_record": BadSupervisor("sends half of a record", _tells(record(1), encode(RECORD, b"\x00\x00\x00\x40half"))),
    "record_of_nonsense": BadSupervisor(
        "journals a stage's end without what it ended with", _tells(record(1), record(2), record(3, files=7))
    ),
    "endless_samples": BadSupervisor("sends telemetry without an end", _to("follow", _samples)),
    "record_before_the_first": BadSupervisor("sends a record numbered 0", _tells(_framed(0, *STORY[0]))),
    "clock_in_1970": BadSupervisor("believes that it is 1970", _clock(0)),
    "clock_in_2106": BadSupervisor("believes that it is 2106", _clock(_year(2106))),
    "clock_jumps_back": BadSupervisor("sets its wall clock back, again and again", _clock(NOW_NS, _year(2106), 0)),
    "floods_and_hears_nothing": BadSupervisor("sends events without an end", _for_ever("benchmark", encode_json({"event": "x" * 100_000}))),
}
BAD_DEVICES: dict[str, BadServer | BadSupervisor] = {
    **{f"server {name}": bad for name, bad in SERVERS.items()},
    **{f"supervisor {name}": bad for name, bad in SUPERVISORS.items()},
}
