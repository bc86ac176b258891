"""Bringing up a device: one process where its supervisor runs already, every step where it does not, and never past a refusal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.clock import SystemClock
from runner.errors import LabError
from runner.model.device import DeviceType
from runner.ondevice.frames import JSON, encode
from runner.target.bundle import make_zip, sha256, supervisor_sources
from runner.target.growing import GrowingFile
from runner.target.preflight import MAX_ANSWER_BYTES, MAX_GREETING_LINES, NEEDED_BYTES, Begun, Found, look_and_join
from runner.target.session import NotOurs, Session
from runner.target.target import FileWitness, Home, Target
from runner.target.transports.base import Completed, LinkLost, NoSuchCommand, Stream
from runner.target.transports.fake import FakeTransport
from runner.target.transports.local import LocalTransport

GOOD = {"python": "3.11.2", "free_bytes": NEEDED_BYTES, "owner": 0, "we": 0, "installed": True, "joined": True}
HELLO = encode(JSON, b'{"id":1,"ok":{}}')


class Spoken:
    """A stream that says these pieces; what is written to it is kept."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces, self.written, self.closed = list(pieces), b"", False

    async def read(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    async def write(self, data: bytes) -> None:
        self.written += data

    async def close(self) -> None:
        self.closed = True


class Device(FakeTransport):
    """A device that gives this stream, and this answer to the second look, as a command."""

    def __init__(self, spoken: Spoken | None, second: Completed | None = None) -> None:
        super().__init__()
        self.spoken, self.second, self.commands = spoken, second, 0

    async def stream(self, argv: Sequence[str]) -> Stream:
        if self.spoken is None:
            raise NoSuchCommand(f"{argv[0]} cannot be started")
        return self.spoken

    async def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float = 60.0) -> Completed:
        assert self.second is not None, "a device that answered is not asked again"
        self.commands += 1
        return self.second


def look(device: Device) -> tuple[Found, Stream | None]:
    script = "/data/runner/trees/x/__main__.py"
    return asyncio.run(look_and_join(device, "pi-04", "python3", "/data/runner", script, "/run/runner/supervisor"))


def said(**changed: Any) -> bytes:
    return json.dumps({**GOOD, **changed}).encode() + b"\n"


def heard(stream: Stream | None) -> bytes:
    assert isinstance(stream, Begun)
    joined: Stream = stream

    async def all_of_it() -> bytes:
        return b"".join([await joined.read() for _ in range(3)])

    return asyncio.run(all_of_it())


@pytest.mark.parametrize("cut", [1, 10, -5, None])
def test_what_the_supervisor_says_behind_the_answer_is_not_lost(cut: int | None) -> None:
    """However the bytes arrive, and whatever a login shell printed before."""
    words = b"mesg: not found\nWelcome {\n" + said() + HELLO
    spoken = Spoken(*(piece for piece in (words[:cut], words[cut:] if cut else b"") if piece))
    found, stream = look(Device(spoken))
    assert found == Found(True, NEEDED_BYTES, "3.11.2")
    assert heard(stream) == HELLO
    assert not spoken.closed and spoken.written == b""


@pytest.mark.parametrize("changed", [{"joined": False}, {"joined": "yes"}, {"joined": 1}])
def test_without_a_supervisor_the_stream_is_let_go(changed: dict[str, Any]) -> None:
    """The answer counts all the same, and is not asked for twice."""
    spoken = Spoken(said(**changed))
    assert look(Device(spoken)) == (Found(True, NEEDED_BYTES, "3.11.2"), None)
    assert spoken.closed


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"python": "3.8.18"}, "pi-04 has Python 3.8.18"),
        ({"free_bytes": 1}, "the disk of pi-04 is full"),
        ({"errno": 30}, "the disk of pi-04 is read-only"),
        ({"owner": 1000}, "belongs to user 1000"),
    ],
)
def test_nothing_is_said_to_the_supervisor_of_a_device_that_cannot_hold_us(changed: dict[str, Any], sentence: str) -> None:
    """What was found is judged first, as before: a supervisor at hand is no reason to use a full disk."""
    spoken = Spoken(said(**changed), HELLO)
    with pytest.raises(LabError, match=sentence):
        look(Device(spoken))
    assert spoken.closed and spoken.written == b""


NO_ANSWER: dict[str, Spoken | None] = {
    "no such command": None,
    "ends at once": Spoken(),
    "noise": Spoken(*[b"\x1b]0;owned\x07\xff\x00" * 1000] * 100),
    "a line without an end": Spoken(b"x" * (MAX_ANSWER_BYTES + 1), b"x", said()),
    "greets for ever": Spoken(b"{\n" * (MAX_GREETING_LINES + 1) + said()),
    "an answer that is not whole": Spoken(said()[:-1]),
}


@pytest.mark.parametrize("name", NO_ANSWER)
def test_a_device_without_an_answer_is_asked_why(name: str) -> None:
    """As a command, whose exit status and complaints a sentence can be made of; little of what it said before was looked at."""
    spoken = NO_ANSWER[name]
    device = Device(spoken, Completed(139, b"", b"Segmentation fault"))
    with pytest.raises(LabError, match="gives no answer, but exit status 139: Segmentation fault"):
        look(device)
    assert device.commands == 1 and (spoken is None or spoken.closed)


def test_a_device_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the time that a look is given."""

    class Silent(Spoken):
        async def read(self) -> bytes:
            await asyncio.Event().wait()
            return b""

    monkeypatch.setattr("runner.target.preflight.LIMIT_S", 0.05)
    spoken = Silent()
    with pytest.raises(LinkLost, match="no answer from python3"):
        look(Device(spoken))
    assert spoken.closed


# ---- a real supervisor ------------------------------------------------------------------------------------------------


class Counted(LocalTransport):
    """This machine, and the commands that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    async def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float = 60.0) -> Completed:
        self.words.append(argv[2])
        return await super().run(argv, input=input, timeout_s=timeout_s)

    async def stream(self, argv: Sequence[str]) -> Stream:
        self.words.append("look" if argv[1] == "-c" else argv[2])
        return await super().stream(argv)


class Held:
    def __init__(self, coordinator: str, fence: int) -> None:
        self.fence = fence
        self.claim = {"coordinator": coordinator, "holder": f"{coordinator}'s run", "fence": fence, "lease_s": 120.0}

    def confirm(self) -> None:
        return None


class On:
    loss = "process_crash"

    async def on(self) -> None:
        return None


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Where a supervisor may live; whoever lives there is ended afterwards, by the pid in its lock."""
    state = tmp_path / "state"
    yield Home(sys.executable, str(state), str(tmp_path / "run" / "s"), FileWitness("/dev/null", GrowingFile(Path("/dev/null"))))
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.killpg(int((state / "supervisor.lock").read_text().split()[0]), signal.SIGKILL)


def bring_up(home: Home, holding: Held, **more: Any) -> tuple[list[str], dict[str, Any]]:
    """Which processes it took, and what the device says of itself."""
    kind = DeviceType(title="here", arch="native", transport="local", power="none", loss="process_crash")
    transport, power = Counted(), On()

    async def live() -> dict[str, Any]:
        target = Target("here", kind, transport, power, home, SystemClock(), holding, **more)  # type: ignore[arg-type]
        session: Session = await target.bring_up(lambda text: None)
        await session.close()
        await transport.close()
        return session.hello

    return transport.words, asyncio.run(live())


@pytest.mark.real
def test_a_supervisor_that_runs_is_joined_in_one_process_and_any_other_is_replaced(home: Home) -> None:
    """First every step; then one, under a higher fence, too; another version is installed and takes over."""
    words, first = bring_up(home, Held("a", 1))
    assert [word for word in words if word in ("look", "install", "start", "attach")] == ["look", "install", "start", "attach"]
    words, again = bring_up(home, Held("a", 2))
    assert words == ["look"]
    assert again["supervisor_started_ns"] == first["supervisor_started_ns"]
    assert json.loads((Path(home.state) / "claim.json").read_text())["fence"] == 2
    newer = make_zip({**supervisor_sources(), "another_version.py": b""})
    words, other = bring_up(home, Held("a", 2), supervisor=newer)
    assert words[0] == "look" and words[-2:] == ["start", "attach"]
    assert other["supervisor_sha256"] == sha256(newer) != first["supervisor_sha256"]


@pytest.mark.real
def test_joining_takes_no_device_of_somebody_else(home: Home) -> None:
    """Its holder is named, and its claim is untouched; a fence that is over is refused, too."""
    bring_up(home, Held("a", 5))
    before = (Path(home.state) / "claim.json").read_bytes()
    for holding, why in ((Held("b", 9), "it is held by a's run"), (Held("a", 4), "fence 4 is over")):
        with pytest.raises(NotOurs, match=f"here is not to be had: {why}"):
            bring_up(home, holding)
    assert (Path(home.state) / "claim.json").read_bytes() == before


@pytest.mark.real
def test_a_supervisor_that_was_killed_is_started_again(home: Home) -> None:
    """Its lock still names it: what counts is who answers."""
    _, first = bring_up(home, Held("a", 1))
    os.killpg(int((Path(home.state) / "supervisor.lock").read_text().split()[0]), signal.SIGKILL)
    words, again = bring_up(home, Held("a", 1))
    assert words == ["look", "start", "attach"]
    assert again["supervisor_started_ns"] > first["supervisor_started_ns"]
