"""The supervisor: its verbs over a socket pair in this process, and its life as a process of its own."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.clock import SystemClock
from runner.ondevice import frames, journal
from runner.ondevice.claim import Claims
from runner.ondevice.execution import Execution
from runner.ondevice.supervisor import Client, Supervisor, main, plain_name
from runner.target.bundle import make_zip, sha256, supervisor_sources
from runner.target.power.process import ProcessPower
from runner.target.session import Session
from runner.target.transports.base import LinkLost
from runner.target.transports.local import LocalTransport


class Coordinator:
    """The other end of one client's socket."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(10)
        self.decoder = frames.Decoder()
        self.waiting: list[frames.Frame] = []
        self.records: list[bytes] = []
        client = Client(theirs, supervisor)
        supervisor._clients.append(client)
        threading.Thread(target=client.listen, daemon=True).start()

    def hear(self) -> frames.Frame:
        while not self.waiting:
            data = self.socket.recv(65536)
            assert data, "the supervisor closed the connection"
            self.waiting += self.decoder.feed(data)
        return self.waiting.pop(0)

    def ask(self, do: str, **words: Any) -> dict[str, Any]:
        """The answer, whole: {"id", "ok"} or {"id", "error"}; records that come before it are kept in `records`."""
        self.socket.sendall(frames.encode_json({"id": 1, "do": do, **words}))
        while (frame := self.hear()).type == frames.RECORD:
            self.records.append(frame.payload)
        return frame.json()


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    return Supervisor(str(tmp_path), 4711, Claims(str(tmp_path), str(tmp_path)))


@pytest.fixture
def coordinator(supervisor: Supervisor) -> Coordinator:
    return Coordinator(supervisor)


SPEC: dict[str, Any] = {
    "run": "EDGE-002.run-2026-11-21-001.966baafa", "execution": "recovery-1", "durability": "journaled", "stages": ["ingest"], "holds": [],
}  # fmt: skip
NAMED = {key: SPEC[key] for key in ("run", "execution")}


def execution(supervisor: Supervisor, tmp_path: Path, **changes: Any) -> Execution:
    """An execution that has begun and is not under way: its journal is written by the test."""
    spec = {**SPEC, **changes}
    folder = tmp_path / "runs" / spec["run"] / spec["execution"]
    return Execution.create(str(folder), spec, supervisor.store, supervisor.publish)


def test_hello_says_who_runs_here_and_what_is_under_way(supervisor: Supervisor, coordinator: Coordinator, tmp_path: Path) -> None:
    """When this process began, and the state of the execution, if there is one."""
    said = coordinator.ask("hello")["ok"]
    assert (said["supervisor_started_ns"], said["execution"]) == (4711, None)
    supervisor.execution = execution(supervisor, tmp_path)
    assert coordinator.ask("hello")["ok"]["execution"] == supervisor.execution.state()


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"do": "format_disk"}, "ValueError: unknown request 'format_disk'"),
        ({}, "ValueError: unknown request ''"),
        ({"do": "keep"}, "TypeError"),
        ({"do": "hello", "more": 1}, "TypeError"),
        ({"do": "keep", "sha256": "../../etc/passwd"}, "ValueError: expected a SHA-256"),
        ({"do": "keep", "sha256": "0" * 64}, "FileNotFoundError"),
        ({"do": "canary", "step": "eat"}, "KeyError"),
        ({"do": "forget", "run": "../.."}, "ValueError: expected a plain name"),
        ({"do": "begin", "spec": {"run": "/etc", "execution": "x"}}, "ValueError: expected a plain name"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_an_answer(coordinator: Coordinator, request_: dict[str, Any], error: str) -> None:
    """An error with its kind; the next request is answered as if nothing had been."""
    coordinator.socket.sendall(frames.encode_json({"id": 7, **request_}))
    said = coordinator.hear().json()
    assert said["id"] == 7
    assert said["error"].startswith(error)
    assert "ok" in coordinator.ask("hello")


def test_a_blob_arrives_in_pieces(coordinator: Coordinator) -> None:
    """Missing, pushed, kept, there."""
    data = b"a wheel" * 1000
    name = hashlib.sha256(data).hexdigest()
    assert coordinator.ask("missing", hashes=[name])["ok"] == {"missing": [name]}
    for piece in (data[:4000], data[4000:]):
        coordinator.socket.sendall(frames.encode(frames.BLOB, bytes.fromhex(name) + piece))
    assert coordinator.ask("keep", sha256=name)["ok"] == {}
    assert coordinator.ask("missing", hashes=[name])["ok"] == {"missing": []}


def test_flushed_records_are_streamed_from_where_both_agree(supervisor: Supervisor, coordinator: Coordinator, tmp_path: Path) -> None:
    """Raw and in order, from the sequence asked for; an unflushed one is no promise and travels only once it is flushed."""
    begun = supervisor.execution = execution(supervisor, tmp_path)
    begun.journal.append("finished", {})
    begun.journal.write("sample", {})
    said = coordinator.ask("follow", **NAMED, from_sequence=2, chain=begun.journal.chains[1])["ok"]
    assert (said["agrees"], said["written"], said["flushed"]) == (True, 3, 2)
    while not coordinator.records:
        coordinator.ask("hello")
    begun.journal.flush()
    begun.promises.mirrored(2)  # wakes the stream
    while len(coordinator.records) < 2:
        coordinator.ask("hello")
    assert coordinator.records == [record.raw for record in begun.journal.records[1:]]


@pytest.mark.parametrize(("sequence", "chain"), [(2, "f" * 64), (1, "f" * 64), (9, journal.GENESIS)])
def test_a_mirror_of_another_journal_is_told_so(
    supervisor: Supervisor, coordinator: Coordinator, tmp_path: Path, sequence: int, chain: str
) -> None:
    """Another chain, or more records than there are: nothing is streamed."""
    supervisor.execution = execution(supervisor, tmp_path)
    assert coordinator.ask("follow", **NAMED, from_sequence=sequence, chain=chain)["ok"]["agrees"] is False


@pytest.mark.parametrize(("sequence", "agrees"), [(1, True), (5, False)])
def test_without_an_execution_there_is_nothing_to_follow(coordinator: Coordinator, sequence: int, agrees: bool) -> None:
    """A device that lost everything, or never began it, says zero records, not an error; who expects none of them agrees."""
    said = coordinator.ask("follow", **NAMED, from_sequence=sequence, chain=journal.GENESIS)["ok"]
    assert (said["agrees"], said["written"], said["current"], said["ended"]) == (agrees, 0, False, False)


# ---- runs of others ---------------------------------------------------------------------------------------------------

OTHER = {"run": "EDGE-002.run-2026-11-20-007.0badcafe", "execution": "chaos-3"}


@pytest.fixture
def kept(supervisor: Supervisor, tmp_path: Path) -> Execution:
    """What a run of yesterday has left here, beside the execution of today's, which is under way."""
    old = execution(supervisor, tmp_path, **OTHER)
    old.journal.append("stage_started", {"stage": "ingest"})
    old.journal.append("abandoned", {"reason": "superseded"})
    old.journal.close()
    supervisor.execution = execution(supervisor, tmp_path)
    return old


def drained(coordinator: Coordinator, number: int) -> list[bytes]:
    """The first `number` records that come. The coordinator keeps asking: an answer may overtake a record."""
    while len(coordinator.records) < number:
        coordinator.ask("hello")
    return coordinator.records[:number]


def test_what_another_run_left_is_followed_as_it_lies_there(coordinator: Coordinator, kept: Execution, supervisor: Supervisor) -> None:
    """From where both agree to its end, and it is said that it is not the current one; that one is not disturbed by it."""
    said = coordinator.ask("follow", **OTHER, from_sequence=2, chain=kept.journal.chains[1])["ok"]
    assert said == {"agrees": True, "written": 3, "current": False, "ended": True, "held": None}
    assert drained(coordinator, 2) == [record.raw for record in kept.journal.records[1:]]
    assert coordinator.ask("hello")["ok"]["execution"]["execution"] == SPEC["execution"]
    assert supervisor.execution is not None
    assert not supervisor.execution.ended


def test_the_current_one_says_that_it_is(coordinator: Coordinator, kept: Execution) -> None:
    """The negative control: under its own name."""
    assert coordinator.ask("follow", **NAMED, from_sequence=1, chain=journal.GENESIS)["ok"]["current"] is True


def test_a_kept_journal_of_another_chain_is_told_so(coordinator: Coordinator, kept: Execution) -> None:
    """Nothing of it is sent to whoever mirrored something else, or more than there is."""
    for sequence, chain in ((2, "f" * 64), (9, journal.GENESIS)):
        assert coordinator.ask("follow", **OTHER, from_sequence=sequence, chain=chain)["ok"]["agrees"] is False
    assert coordinator.records == []


@pytest.mark.parametrize("tail", [b"torn", bytes(40), b"\xff" * 400])
def test_a_kept_journal_is_read_to_its_last_whole_record_and_left_as_it_is(coordinator: Coordinator, kept: Execution, tail: bytes) -> None:
    """Nobody goes on with it, so nobody cuts it: its own coordinator finds what was found."""
    path = Path(kept.journal.path)
    path.write_bytes(path.read_bytes() + tail)
    before = path.read_bytes()
    said = coordinator.ask("follow", **OTHER, from_sequence=1, chain=journal.GENESIS)["ok"]
    assert (said["agrees"], said["written"]) == (True, 3)
    assert drained(coordinator, 3) == [record.raw for record in kept.journal.records]
    assert path.read_bytes() == before


def test_what_never_came_to_its_end_is_no_end(coordinator: Coordinator, supervisor: Supervisor, tmp_path: Path) -> None:
    """A run that was killed with its device: all that it wrote is there, and it did not end."""
    execution(supervisor, tmp_path, **OTHER).journal.close()
    supervisor.execution = execution(supervisor, tmp_path)
    said = coordinator.ask("follow", **OTHER, from_sequence=1, chain=journal.GENESIS)["ok"]
    assert (said["agrees"], said["written"], said["ended"]) == (True, 1, False)


@pytest.mark.parametrize(
    "name", [{"run": "../..", "execution": "x"}, {"run": "x", "execution": "/etc/passwd"}, {"run": "x", "execution": ""}]
)
def test_no_other_file_is_followed(coordinator: Coordinator, kept: Execution, name: dict[str, str]) -> None:
    """A run and an execution are plain names."""
    assert "expected a plain name" in coordinator.ask("follow", **name, from_sequence=1, chain=journal.GENESIS)["error"]


def test_another_run_is_forgotten_and_the_current_one_goes_on(
    coordinator: Coordinator, kept: Execution, supervisor: Supervisor, tmp_path: Path
) -> None:
    """Its folder is gone, and can be forgotten twice; what is under way is as it was. Of a name that only begins alike nothing is."""
    alike = SPEC["run"][:-1]
    for run in (OTHER["run"], OTHER["run"], alike):
        assert coordinator.ask("forget", run=run)["ok"] == {}
        assert supervisor.execution is not None
        assert [path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()] == [SPEC["run"]]
    said = coordinator.ask("follow", **OTHER, from_sequence=1, chain=journal.GENESIS)["ok"]
    assert (said["written"], said["current"]) == (0, False)


def test_the_current_execution_of_a_forgotten_run_is_none(coordinator: Coordinator, kept: Execution, tmp_path: Path) -> None:
    """The negative control."""
    assert coordinator.ask("forget", run=SPEC["run"])["ok"] == {}
    assert coordinator.ask("hello")["ok"]["execution"] is None
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()] == [OTHER["run"]]


def test_a_run_that_is_forgotten_stays_forgotten(
    coordinator: Coordinator, kept: Execution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is flushed when the run is out of it, and before the answer: no power cut brings it back."""
    flushed: list[tuple[str, bool]] = []
    monkeypatch.setattr("runner.ondevice.supervisor.fsync_folder", lambda path: flushed.append((path, OTHER["run"] in os.listdir(path))))
    assert coordinator.ask("forget", run=OTHER["run"])["ok"] == {}
    assert flushed == [(str(tmp_path / "runs"), False)]


# ---- whose the device is ----------------------------------------------------------------------------------------------


def claimed(supervisor: Supervisor, **changes: Any) -> dict[str, Any]:
    """The device is held by somebody from here on."""
    claim = {"coordinator": "ours", "holder": "EDGE-002 in /lab", "fence": 3, "lease_s": 120.0, **changes}
    supervisor.claims.take(claim)
    return claim


def test_whoever_is_not_the_holder_may_say_hello_and_nothing_else(supervisor: Supervisor, coordinator: Coordinator) -> None:
    """Each verb there is is refused by name, and does nothing; a hello under a claim that is not the holder's is, too."""
    claimed(supervisor)
    assert "ok" in coordinator.ask("hello")
    verbs = [name[3:] for name in dir(supervisor) if name.startswith("do_") and name != "do_hello"]
    assert {"begin", "follow", "renew", "release", "forget", "abandon"} <= set(verbs)
    for verb in verbs:
        said = coordinator.ask(verb)
        assert (said["not_yours"], said["error"]) == (True, "the device is not yours: it is held by EDGE-002 in /lab")
    for claim in ({"coordinator": "theirs", "fence": 3}, {"coordinator": "ours", "fence": 2}, {"coordinator": "ours", "fence": 4}, [], "x"):
        assert coordinator.ask("hello", claim=claim)["not_yours"] is True
    assert supervisor.claims.kept()["holder"] == "EDGE-002 in /lab"


def test_the_holder_does_what_he_asks_for_until_he_lets_go(supervisor: Supervisor, coordinator: Coordinator) -> None:
    """Renewed, released, and then nobody's: not even his own any more."""
    claim = claimed(supervisor)
    assert "ok" in coordinator.ask("hello", claim=claim)
    assert [coordinator.ask(verb)["ok"] for verb in ("renew", "release")] == [{}, {}]
    assert coordinator.ask("renew")["error"] == "the device is not yours: it was let go"
    assert supervisor.claims.kept()["holder"] == ""
    claimed(supervisor, coordinator="theirs", holder="another")
    assert "held by another" in coordinator.ask("renew")["error"]


def test_a_later_fence_ends_the_earlier_holders_say_at_once(supervisor: Supervisor, coordinator: Coordinator) -> None:
    """On the same connection, in the middle of a conversation; the new holder is answered on his own."""
    assert "ok" in coordinator.ask("hello", claim=claimed(supervisor))
    assert "ok" in coordinator.ask("renew")
    later = claimed(supervisor, fence=4, holder="the next one")
    assert "held by the next one" in coordinator.ask("abandon", reason="too late")["error"]
    next_one = Coordinator(supervisor)
    assert "ok" in next_one.ask("hello", claim=later)
    assert "ok" in next_one.ask("renew")


def test_any_request_of_the_holder_is_a_sign_of_life(
    supervisor: Supervisor, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `renew` is nothing else; a stranger's question is none."""
    claim = claimed(supervisor)
    signs: list[str] = []
    monkeypatch.setattr(supervisor.claims, "renew", lambda: signs.append("seen"))
    stranger = Coordinator(supervisor)
    for verb in ("hello", "renew", "begin"):
        stranger.ask(verb)
    assert signs == []
    coordinator.ask("hello", claim=claim)
    for verb in ("renew", "missing"):
        coordinator.ask(verb)
    assert signs == ["seen", "seen"]


def test_a_device_that_nobody_ever_claimed_answers_anybody(coordinator: Coordinator) -> None:
    """The negative control of all of these; and whoever shows a claim that it does not know is told so."""
    assert coordinator.ask("renew")["ok"] == {}
    assert coordinator.ask("hello", claim={"coordinator": "ours", "fence": 3})["not_yours"] is True


def test_a_second_execution_is_refused_while_one_is_under_way(supervisor: Supervisor, coordinator: Coordinator, tmp_path: Path) -> None:
    """It has to be abandoned first; what was journaled stays until it is forgotten."""
    supervisor.execution = execution(supervisor, tmp_path)
    assert "abandon it first" in coordinator.ask("begin", spec={**SPEC, "execution": "recovery-2"})["error"]
    assert coordinator.ask("abandon", reason="superseded")["ok"] == {}
    assert supervisor.execution.ended
    assert coordinator.ask("forget", run=SPEC["run"])["ok"] == {}
    assert not (tmp_path / "runs" / SPEC["run"]).exists()
    assert supervisor.execution is None


def test_what_has_ended_is_kept_at_hand_and_not_run_again(supervisor: Supervisor, tmp_path: Path) -> None:
    """After a restart its journal can still be drained."""
    execution(supervisor, tmp_path).journal.append("finished", {})
    restarted = Supervisor(str(tmp_path), 4712, supervisor.claims)
    restarted.restore()
    assert restarted.execution is not None
    assert restarted.execution.ended
    assert [record.kind for record in restarted.execution.journal.records] == ["began", "finished"]


def test_events_go_to_everybody_who_is_attached(supervisor: Supervisor) -> None:
    """And one that is gone keeps nobody from hearing."""
    first, second = Coordinator(supervisor), Coordinator(supervisor)
    assert "ok" in first.ask("hello")
    first.socket.close()
    assert "ok" in second.ask("hello")
    supervisor.publish({"event": "held"})
    assert second.hear().json() == {"event": "held"}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", ".hidden", "a b", "a\n", "a\x00", "$(id)"])
def test_a_name_that_is_no_plain_name_is_refused(name: str) -> None:
    """Nothing that leaves its folder, hides, or means something to a shell."""
    with pytest.raises(ValueError, match="expected a plain name"):
        plain_name(name)
    assert plain_name("EDGE-002.run-2026-11-21-001.966baafa") == "EDGE-002.run-2026-11-21-001.966baafa"


def test_without_words_it_says_how_to_be_called(capsys: pytest.CaptureFixture[str]) -> None:
    """Usage on standard error, and the exit status that means it."""
    assert [main([]), main(["start"]), main(["dance"])] == [64, 64, 64]
    assert capsys.readouterr().err.startswith("usage: ")


# ---- as a process of its own ------------------------------------------------------------------------------------------


def pythons() -> list[str]:
    """This Python, and the oldest that the supervisor promises to run on, where it is at hand."""
    return [sys.executable, *map(str, Path.home().glob(".pyenv/versions/3.9.*/bin/python3.9"))][:2]


class Process:
    """A supervisor on this machine, started from its zip as a device does it."""

    def __init__(self, folder: Path, python: str) -> None:
        self.state, self.socket, self.python, self.archive = folder / "state", folder / "socket", python, folder / "supervisor.zip"
        self.power = ProcessPower(self.state, self.state / "socket" / "none", SystemClock())
        self.ship({})

    def ship(self, more: dict[str, bytes]) -> None:
        """Pushes and installs the supervisor, or another version of it."""
        archive = make_zip({**supervisor_sources(), **more})
        self.archive.write_bytes(archive)
        self.sha256 = sha256(archive)
        self.script = self.run(str(self.archive), "install", str(self.state), str(self.archive)).strip()

    def run(self, *words: str) -> str:
        command = [self.python, *words]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True).stdout

    def start(self) -> int:
        """Runs `start` to its end and gives the pid that holds the lock."""
        self.run(self.script, "start", str(self.state), str(self.socket))
        pid = self.power._running()
        assert pid is not None
        return pid

    def cut(self) -> None:
        asyncio.run(self.power.cut())

    async def session(self) -> Session:
        return await Session.open(LocalTransport(), [self.python, self.script, "attach", str(self.socket)], SystemClock())


@pytest.fixture(params=pythons(), ids=lambda python: Path(python).name)
def process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Process]:
    running = Process(tmp_path, request.param)
    yield running
    asyncio.run(running.power.off())


@pytest.mark.real
def test_a_started_supervisor_answers_and_outlives_who_started_it(process: Process) -> None:
    """`start` returns when it answers; two coordinators, one after the other, find the same process."""
    pid = process.start()

    async def story() -> None:
        for _ in range(2):
            session = await process.session()
            assert session.hello["protocol"] == frames.PROTOCOL_VERSION
            assert session.hello["supervisor_sha256"] == process.sha256
            await session.close()

    asyncio.run(story())
    assert process.start() == pid  # a second start changes nothing


@pytest.mark.real
def test_another_version_replaces_the_one_that_runs(process: Process) -> None:
    """One with another hash is ended first (only its end frees the lock); then the new one answers, and says so."""
    first = process.start()
    process.ship({"CHANGES": b"a new version"})
    assert process.start() != first

    async def story() -> None:
        session = await process.session()
        assert session.hello["supervisor_sha256"] == process.sha256
        await session.close()

    asyncio.run(story())


@pytest.mark.real
def test_a_supervisor_that_was_killed_is_a_lost_link_and_starts_again(process: Process) -> None:
    """Whoever waits hears of it; the lock is free, and the next one takes its place."""
    pid = process.start()

    async def story() -> None:
        session = await process.session()
        await process.power.cut()
        with pytest.raises(LinkLost):
            await session.event("held")
        await session.close()
        with pytest.raises(LinkLost):
            await process.session()

    asyncio.run(story())
    assert process.start() != pid


@pytest.mark.real
def test_what_it_was_asked_to_keep_is_there_in_its_next_life(process: Process) -> None:
    """A blob pushed before the kill is not asked for again after it."""
    data = json.dumps({"a": 1}).encode()
    blobs = {hashlib.sha256(data).hexdigest(): data}

    async def push() -> int:
        session = await process.session()
        sent = await session.push(blobs)
        await session.close()
        return sent

    process.start()
    assert asyncio.run(push()) == len(data)
    process.cut()
    process.start()
    assert asyncio.run(push()) == 0


@pytest.mark.parametrize("sent", [frames.encode(frames.JSON, b"[1]"), frames.encode(frames.BLOB, b"short")], ids=["list", "short blob"])
def test_a_frame_that_makes_no_sense_ends_its_client_and_not_only_its_thread(supervisor: Supervisor, sent: bytes) -> None:
    """Whoever sent it hears the end of the stream instead of waiting for ever, and is no client any more."""
    ours, theirs = socket.socketpair()
    ours.settimeout(2)
    client = Client(theirs, supervisor)
    supervisor._clients.append(client)
    threading.Thread(target=client.listen, daemon=True).start()
    ours.sendall(sent)
    assert ours.recv(100) == b""
    assert supervisor._clients == []
