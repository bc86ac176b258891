"""A conversation with a made-up supervisor over an in-memory link: answers, events, records, and every way to lose it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.clock import SystemClock
from runner.errors import LabError
from runner.ondevice import frames, journal
from runner.ondevice.frames import JSON, RECORD, encode, encode_json
from runner.ondevice.journal import Record
from runner.target.mirror import Mirror
from runner.target.rate import Rate
from runner.target.session import PIECE_BYTES, RemoteError, Session
from runner.target.transports.base import LinkLost
from runner.target.transports.fake import FakeTransport, Pipe

RECORDS = [journal.encode(number, "ab" * 16, 1, 2, "stage_raised", {"stage": f"s{number}"}) for number in (1, 2, 3)]
GARBAGE = b"\r\n[  12.1] random: crng init done \xa5\x5a\x01\r\n"
HELLO = {
    "protocol": frames.PROTOCOL_VERSION,
    **dict.fromkeys(("python_version", "platform", "machine", "libc", "os", "boot_id"), "x"),
    **dict.fromkeys(("cpu_count", "boottime_ns", "supervisor_started_ns", "memory_bytes"), 5),
    "execution": None,
}
AGREES = {"agrees": True, "written": 3, "current": True}
HELD = {"event": "held", "hold": "", "stage": "train", "point": "after_flush", "sequence": 1, "written": 1, "flushed": 1}


class Supervisor:
    """Answers requests from a table of verbs; whatever else it says is written by the test."""

    def __init__(self, **verbs: Any) -> None:
        self.verbs: dict[str, Any] = {"hello": HELLO, "mirrored": {}, **verbs}
        self.asked: list[dict[str, Any]] = []
        self.blobs: list[bytes] = []
        self.before = b""  # printed before each answer

    async def __call__(self, argv: Sequence[str], stdin: Pipe, stdout: Pipe) -> int:
        decoder = frames.Decoder()
        self.stdout = stdout
        while data := await stdin.read():
            for frame in decoder.feed(data):
                if frame.type == frames.BLOB:
                    self.blobs.append(frame.payload)
                    continue
                request = frame.json()
                self.asked.append(request)
                answer = self.verbs.get(request["do"])
                if isinstance(answer, bytes):  # said as it is, or nothing at all
                    await stdout.write(answer)
                elif isinstance(answer, str):
                    await stdout.write(self.before + encode_json({"id": request["id"], "error": answer}))
                elif answer is not None:
                    await stdout.write(self.before + encode_json({"id": request["id"], "ok": answer}))
                if request["do"] == "die":
                    return 0
        return 0

    def count(self, verb: str) -> int:
        return sum(request["do"] == verb for request in self.asked)


Talk = Callable[[Session, Supervisor], Awaitable[None]]


@pytest.fixture
def talk(clock: Any) -> Callable[..., Supervisor]:
    """`talk(supervisor, story)` opens a session and runs the story in it; nothing may take longer than ten seconds."""

    def run(supervisor: Supervisor, story: Talk) -> Supervisor:
        async def all_of_it() -> None:
            session = await Session.open(FakeTransport({"attach": supervisor}), ["attach"], clock)
            try:
                await story(session, supervisor)
            finally:
                await session.close()

        asyncio.run(asyncio.wait_for(all_of_it(), 10))
        return supervisor

    return run


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "device.journal")


def test_hello_is_asked_with_both_clocks_around_it(talk: Callable[..., Supervisor]) -> None:
    """What the device said, and between which two readings of ours its clocks were read."""

    async def story(session: Session, supervisor: Supervisor) -> None:
        assert session.hello == {**HELLO, "asked_boottime_ns": 1_000_000_000, "answered_boottime_ns": 1_000_000_000}

    assert talk(Supervisor(), story).count("hello") == 2  # the first one also paid for the bridge's start


def test_answers_find_their_questions_through_garbage(talk: Callable[..., Supervisor]) -> None:
    """Many questions at once, a boot message before each answer: every answer is the right one."""

    async def story(session: Session, supervisor: Supervisor) -> None:
        supervisor.before = GARBAGE
        answers = await asyncio.gather(*(session.ask("canary" if number % 2 else "benchmark") for number in range(20)))
        assert answers == [{"duration_s": 1.0}, {"flushed": "new"}] * 10

    talk(Supervisor(benchmark={"duration_s": 1.0}, canary={"flushed": "new"}), story)


def test_an_answer_that_says_error_is_the_devices_error(talk: Callable[..., Supervisor]) -> None:
    """RemoteError with the device's words; the session goes on."""

    async def story(session: Session, supervisor: Supervisor) -> None:
        with pytest.raises(RemoteError, match="begin: ValueError: an execution is still under way"):
            await session.ask("begin", spec={})
        assert await session.ask("mirrored", sequence=0) == {}

    talk(Supervisor(begin="ValueError: an execution is still under way"), story)


def test_a_silent_supervisor_is_a_lost_link_when_time_is_up(talk: Callable[..., Supervisor]) -> None:
    """The limit is said; an answer that comes too late is dropped and confuses nobody."""

    async def story(session: Session, supervisor: Supervisor) -> None:
        with pytest.raises(LinkLost, match=r"did not answer 'unpack' within 0\.02 s"):
            await session.ask("unpack", timeout_s=0.02)
        late = supervisor.asked[-1]["id"]
        await supervisor.stdout.write(encode_json({"id": late, "ok": {"late": True}}))
        assert await session.ask("mirrored", sequence=0) == {}

    talk(Supervisor(), story)


@pytest.mark.parametrize("protocol", [0, 2, None, "1"])
def test_another_protocol_is_an_error_of_the_lab(talk: Callable[..., Supervisor], protocol: Any) -> None:
    """Said with both versions, before anything is asked of it."""

    async def story(session: Session, supervisor: Supervisor) -> None:
        raise AssertionError("the session opened")

    with pytest.raises(LabError, match=f"speaks protocol {protocol!r}\n  expected: {frames.PROTOCOL_VERSION}"):
        talk(Supervisor(hello={"protocol": protocol}), story)


@pytest.mark.parametrize(
    "said",
    [encode(JSON, b"[1]"), encode(JSON, b"{"), encode(JSON, b"\xff"), encode(JSON, b"null")],
    ids=["list", "half", "not UTF-8", "null"],
)
def test_a_frame_that_no_supervisor_sends_ends_the_session(talk: Callable[..., Supervisor], said: bytes) -> None:
    """LinkLost for whoever waits and for whoever asks next; never a hang."""

    async def story(session: Session, supervisor: Supervisor) -> None:
        for _ in range(2):
            with pytest.raises(LinkLost, match="no supervisor sends"):
                await session.ask("benchmark")
        with pytest.raises(LinkLost):
            await session.event("held")

    talk(Supervisor(benchmark=said), story)


@pytest.mark.parametrize("answer", [[], "x", 7, None], ids=repr)
def test_an_answer_without_an_object_is_no_answer(talk: Callable[..., Supervisor], answer: Any) -> None:
    """A device cannot make us read a list as a mapping."""

    async def story(session: Session, supervisor: Supervisor) -> None:
        task = asyncio.ensure_future(session.ask("benchmark"))
        while supervisor.count("benchmark") == 0:
            await asyncio.sleep(0)
        await supervisor.stdout.write(encode_json({"id": supervisor.asked[-1]["id"], "ok": answer}))
        with pytest.raises(LinkLost, match="no answer"):
            await task

    talk(Supervisor(), story)


def test_the_end_of_the_stream_wakes_whoever_waits(talk: Callable[..., Supervisor], mirror: Mirror) -> None:
    """A question, an event and a record: all three waits end with LinkLost, at once."""

    async def story(session: Session, supervisor: Supervisor) -> None:
        session.mirror = mirror
        waiting = [
            asyncio.ensure_future(session.ask("benchmark", timeout_s=1000)),
            asyncio.ensure_future(session.event("held")),
            asyncio.ensure_future(session.record(lambda record: False)),
        ]
        await asyncio.sleep(0)
        with pytest.raises(LinkLost, match="stream ended"):
            await session.ask("die")
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in ended] == [LinkLost] * 3

    talk(Supervisor(), story)


def test_each_record_is_mirrored_once_and_acknowledged_once(talk: Callable[..., Supervisor], mirror: Mirror) -> None:
    """Sent twice over, with garbage in between: one copy, one acknowledgement, one call for each, in order."""
    seen: list[int] = []

    async def story(session: Session, supervisor: Supervisor) -> None:
        session.on_record = lambda record: seen.append(record.sequence)
        assert await session.follow("R", "recovery-1", mirror) == AGREES
        for record in (*RECORDS[:2], *RECORDS):
            await supervisor.stdout.write(encode(RECORD, record.raw) + GARBAGE)
        found = await session.record(lambda record: record.payload["stage"] == "s3")
        assert found == RECORDS[2]
        while supervisor.count("mirrored") < 3:
            await asyncio.sleep(0)

    supervisor = talk(Supervisor(follow=AGREES), story)
    assert seen == [1, 2, 3]
    assert [request["sequence"] for request in supervisor.asked if request["do"] == "mirrored"] == [1, 2, 3]
    (followed,) = [request for request in supervisor.asked if request["do"] == "follow"]
    assert (followed["run"], followed["execution"], followed["from_sequence"], followed["chain"]) == ("R", "recovery-1", 1, journal.GENESIS)
    assert journal.read_file(str(mirror.path)) == RECORDS


def test_what_one_read_brings_is_flushed_once_and_only_then_told(
    talk: Callable[..., Supervisor], mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three records and then an event that speaks of them: one flush, then each is heard of in order, one acknowledgement, the event."""
    order: list[str] = []
    flush = mirror.flush
    monkeypatch.setattr(mirror, "flush", lambda: (order.append(f"flushed {mirror.sequence}"), flush()))

    async def story(session: Session, supervisor: Supervisor) -> None:
        session.on_record = lambda record: order.append(f"heard {record.sequence}")
        await session.follow("R", "recovery-1", mirror)
        await supervisor.stdout.write(b"".join(encode(RECORD, record.raw) for record in RECORDS) + encode_json(HELD))
        await session.event("held")
        order.append("held")
        while supervisor.count("mirrored") < 1:
            await asyncio.sleep(0)

    supervisor = talk(Supervisor(follow=AGREES), story)
    assert order == ["flushed 3", "heard 1", "heard 2", "heard 3", "held"]
    assert [request["sequence"] for request in supervisor.asked if request["do"] == "mirrored"] == [3]


def test_what_cannot_be_flushed_is_never_acknowledged(
    talk: Callable[..., Supervisor], mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk here: whoever waits hears of it, nobody is told that the record is safe, and the device keeps it."""
    heard: list[Record] = []

    def full() -> None:
        raise LabError("no space left")

    async def story(session: Session, supervisor: Supervisor) -> None:
        session.on_record = heard.append
        await session.follow("R", "recovery-1", mirror)
        await supervisor.stdout.write(encode(RECORD, RECORDS[0].raw))
        with pytest.raises(LabError, match="no space left"):
            await session.event("held")

    monkeypatch.setattr(mirror, "flush", full)
    assert talk(Supervisor(follow=AGREES), story).count("mirrored") == 0
    assert heard == []


def test_what_came_before_something_that_does_not_follow_is_mirrored_all_the_same(talk: Callable[..., Supervisor], mirror: Mirror) -> None:
    """In one read: two records, then a gap. The two are durable and heard of, and then whoever waits hears of the gap."""
    seen: list[int] = []

    async def story(session: Session, supervisor: Supervisor) -> None:
        session.on_record = lambda record: seen.append(record.sequence)
        await session.follow("R", "recovery-1", mirror)
        gap = journal.encode(9, "ab" * 16, 1, 2, "stage_raised", {"stage": "s9"})
        await supervisor.stdout.write(b"".join(encode(RECORD, record.raw) for record in (*RECORDS[:2], gap)))
        with pytest.raises(Exception, match="record 9 arrived after 2"):
            await session.event("held")

    talk(Supervisor(follow=AGREES), story)
    assert seen == [1, 2]
    assert journal.read_file(str(mirror.path)) == RECORDS[:2]


def test_the_next_session_follows_on_from_the_mirror(talk: Callable[..., Supervisor], mirror: Mirror) -> None:
    """What is here is not asked for again; the chain says what it follows."""
    mirror.take(RECORDS[0].raw)

    async def story(session: Session, supervisor: Supervisor) -> None:
        await session.follow("R", "recovery-1", mirror)
        assert await session.record(lambda record: True) == RECORDS[0]  # already there

    (followed,) = [request for request in talk(Supervisor(follow=AGREES), story).asked if request["do"] == "follow"]
    assert (followed["from_sequence"], followed["chain"]) == (2, mirror.chain)


def test_a_record_that_does_not_follow_is_never_acknowledged(talk: Callable[..., Supervisor], mirror: Mirror) -> None:
    """Whoever waits hears why; nothing is written."""

    async def story(session: Session, supervisor: Supervisor) -> None:
        await session.follow("R", "recovery-1", mirror)
        await supervisor.stdout.write(encode(RECORD, RECORDS[2].raw))
        with pytest.raises(Exception, match="record 3 arrived after 0"):
            await session.record(lambda record: True)

    assert talk(Supervisor(follow=AGREES), story).count("mirrored") == 0
    assert mirror.sequence == 0


def test_events_come_in_order_and_progress_is_the_latest(talk: Callable[..., Supervisor]) -> None:
    """Others are dropped on the way to the one that is waited for; progress is only ever the last word."""

    async def story(session: Session, supervisor: Supervisor) -> None:
        said: list[dict[str, Any]] = [
            {"event": "progress", "written": 1}, {"event": "noise"}, {**HELD, "hold": "a"},
            {"event": "progress", "written": 2}, {**HELD, "hold": "b"},
        ]  # fmt: skip
        await supervisor.stdout.write(b"".join(encode_json(event) for event in said))
        assert [(await session.event("held", "broken"))["hold"] for _ in range(2)] == ["a", "b"]
        assert session.progress["written"] == 2

    talk(Supervisor(), story)


def test_only_what_the_device_lacks_is_pushed(talk: Callable[..., Supervisor]) -> None:
    """In bounded pieces, each with the blob's hash before it, ended by `keep`; a second push sends nothing."""
    large = bytes(PIECE_BYTES * 2 + 1)

    async def story(session: Session, supervisor: Supervisor) -> None:
        supervisor.verbs["missing"] = {"missing": ["aa" * 32]}
        told: list[frozenset[str]] = []
        assert await session.push({"aa" * 32: large, "bb" * 32: b"there"}, told.append) == len(large)
        assert told == [frozenset({"aa" * 32})]  # before the first of them
        supervisor.verbs["missing"] = {"missing": []}
        assert await session.push({"aa" * 32: large}) == 0

    supervisor = talk(Supervisor(keep={}), story)
    assert [len(piece) - 32 for piece in supervisor.blobs] == [PIECE_BYTES, PIECE_BYTES, 1]
    assert {piece[:32] for piece in supervisor.blobs} == {bytes.fromhex("aa" * 32)}
    assert supervisor.count("keep") == 1


@pytest.mark.parametrize(("baud", "piece"), [(115_200, 23_040), (9600, 4096), (0, 100_000)])
def test_over_a_slow_line_a_blob_is_pushed_in_short_pieces(talk: Callable[..., Supervisor], baud: int, piece: int) -> None:
    """Two seconds of the line, or four kilobytes: a lease that is renewed meanwhile waits no longer behind each."""

    async def story(session: Session, supervisor: Supervisor) -> None:
        session._stream.rate = Rate(baud / 10, "") if baud else None  # type: ignore[attr-defined]
        await session.push({"aa" * 32: bytes(100_000)})

    supervisor = talk(Supervisor(missing={"missing": ["aa" * 32]}, keep={}), story)
    assert max(len(piece) - 32 for piece in supervisor.blobs) == piece


def test_a_closed_session_is_closed_twice_without_a_word(talk: Callable[..., Supervisor]) -> None:
    """Closing never raises, also when the link is gone already."""

    async def story(session: Session, supervisor: Supervisor) -> None:
        with pytest.raises(LinkLost):
            await session.ask("die")
        await session.close()
        await session.close()

    talk(Supervisor(), story)


@pytest.mark.parametrize("payload", [b'{"a":' + b"[" * 100_000, b'{"id": [1]}'], ids=["deep", "unhashable id"])
def test_a_hostile_json_frame_is_a_lost_link_and_not_our_bug(payload: bytes) -> None:
    """It fails the device's own run (exit 3), and no report says "please report this"."""

    async def supervisor(argv: object, stdin: object, stdout: object) -> int:
        decoder = frames.Decoder()
        while data := await stdin.read():  # type: ignore[attr-defined]
            for request in (frame.json() for frame in decoder.feed(data)):
                hello = frames.encode_json({"id": request["id"], "ok": HELLO})
                await stdout.write(hello if request["do"] == "hello" else frames.encode(frames.JSON, payload))  # type: ignore[attr-defined]
        return 0

    async def story() -> None:
        session = await Session.open(FakeTransport({"attach": supervisor}), ["attach"], SystemClock())
        with pytest.raises(LinkLost):
            await session.ask("benchmark", timeout_s=0.5)
        await session.close()

    asyncio.run(story())


def test_a_hold_without_its_facts_is_no_hold(talk: Callable[..., Supervisor]) -> None:
    """A cut is never made, and never judged, by an event that does not say where the device stands."""

    async def story(session: Session, supervisor: Supervisor) -> None:
        for event in ({**HELD, "flushed": "x"}, {"event": "held"}, {**HELD, "hold": "real"}):
            await supervisor.stdout.write(encode_json(event))
        assert (await session.event("held"))["hold"] == "real"

    talk(Supervisor(), story)


def test_a_closed_session_answers_at_once(talk: Callable[..., Supervisor]) -> None:
    """Nobody waits out a time limit for a session that is over: ^C behind a cut unwinds without a pause."""

    async def story(session: Session, supervisor: Supervisor) -> None:
        await session.close()
        with pytest.raises(LinkLost, match="closed"):
            await session.ask("abandon", timeout_s=1000)

    talk(Supervisor(), story)
