"""Whose the device is, as the device itself keeps it: the rule as a table, the files, and a supervisor that goes by them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.ondevice import claim, frames
from runner.ondevice.claim import COORDINATORS, NOT_YOURS, Claims, NotYours, decide
from runner.ondevice.journal import boot_id
from runner.ondevice.supervisor import Client, Supervisor
from runner.target.bundle import make_zip, sha256, supervisor_sources

SECOND = 1_000_000_000


def asked(who: str, fence: int, **changes: Any) -> dict[str, Any]:
    return {"coordinator": who, "holder": f"{who} for EDGE-002", "fence": fence, "lease_s": 120.0, **changes}


def kept(who: str, fence: int, **highest: int) -> dict[str, Any]:
    return {**asked(who, fence), "highest": {who: fence, **highest}}


# ---- the rule ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stands", "asks", "silent_s", "refusal"),
    [
        ({}, asked("a", 1), 0, ""),  # nobody ever had it
        (kept("a", 5), asked("a", 5), 0, ""),  # the holder itself, once more
        (kept("a", 5), asked("a", 6), 0, ""),  # the same lease file has lent it again
        (kept("a", 5), asked("a", 4), 0, "fence 4 is over: fence 5 was granted since, to a for EDGE-002"),
        (kept("a", 5), asked("a", 4), 9999, "fence 4 is over: fence 5 was granted since, to a for EDGE-002"),  # and stays so
        (kept("a", 5), asked("b", 900), 0, "it is held by a for EDGE-002, for at least 120 s more"),  # fences of two do not compare
        (kept("a", 5), asked("b", 900), 119, "it is held by a for EDGE-002, for at least 1 s more"),
        (kept("a", 5), asked("b", 1), 120, ""),  # silent for the length of its lease
        ({**kept("a", 5), "holder": ""}, asked("b", 1), 0, ""),  # let go
        ({**kept("a", 5), "holder": ""}, asked("a", 4), 0, "fence 4 is over: fence 5 was granted since, to somebody"),
        (kept("b", 1, a=5), asked("a", 4), 9999, "fence 4 is over: fence 5 was granted since, to b for EDGE-002"),  # over others, too
        (kept("b", 1, a=5), asked("a", 5), 9999, ""),
    ],
)
def test_the_rule(stands: dict[str, Any], asks: dict[str, Any], silent_s: float, refusal: str) -> None:
    """A coordinator's own fence never falls; another's device is free when it was let go, or its holder silent for its lease."""
    assert decide(stands, asks, silent_s) == refusal


# ---- the files ---------------------------------------------------------------------------------------------


class Device:
    """The two folders, a boot-time clock turned by hand, and a boot."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state, self.runtime = root / "state", root / "runtime"
        self.now_ns, self.boot = 1000 * SECOND, boot_id()
        monkeypatch.setattr(claim, "boottime_ns", lambda: self.now_ns)
        monkeypatch.setattr(claim, "boot_id", lambda: self.boot)
        for folder in (self.state, self.runtime):
            folder.mkdir()

    @property
    def claims(self) -> Claims:
        """As another process sees them."""
        return Claims(str(self.state), str(self.runtime))

    def start_anew(self) -> None:
        """What is not on the disk is gone, and the clock begins with this boot."""
        (self.runtime / "seen").unlink(missing_ok=True)
        self.now_ns, self.boot = 5 * SECOND, "c" * 32

    def wait(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """In memory where that can be had: each claim is flushed, and hundreds of flushes take seconds."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Device(Path(folder), monkeypatch)


def test_the_holder_may_and_nobody_else(device: Device) -> None:
    """Coordinator and fence both count; whoever shows none is a stranger, too, and each hears the holder's name."""
    device.claims.check(None)  # nobody ever claimed it
    device.claims.take(asked("a", 5))
    device.claims.check(asked("a", 5))
    for other in (asked("a", 4), asked("a", 6), asked("b", 5), None, {}, [], "a", {"coordinator": "a"}):
        with pytest.raises(NotYours, match="held by a for EDGE-002"):
            device.claims.check(other)


def test_the_next_grant_of_the_same_lease_file_ends_the_one_before(device: Device) -> None:
    """At once: whoever granted it knows that the one before is dead, or late."""
    before = device.claims
    before.take(asked("a", 5))
    device.claims.take(asked("a", 6, holder="a, later"))
    with pytest.raises(NotYours, match="held by a, later"):
        before.check(asked("a", 5))
    with pytest.raises(NotYours, match="fence 5 is over: fence 6 was granted since, to a, later"):
        before.take(asked("a", 5))


def test_another_coordinator_waits_for_silence_of_a_whole_lease(device: Device) -> None:
    """Each sign of life begins it anew; a refused claim changes nothing."""
    first, second = device.claims, device.claims
    first.take(asked("a", 5))
    for _ in range(3):
        device.wait(119)
        with pytest.raises(NotYours, match="for at least 1 s more"):
            second.take(asked("b", 1))
        first.renew()
    device.wait(120)
    second.take(asked("b", 1))
    with pytest.raises(NotYours, match="held by b"):
        first.check(asked("a", 5))


def test_a_device_that_was_let_go_is_free_at_once_and_remembers(device: Device) -> None:
    """For another coordinator, and for a higher fence of the same; never for a lower one."""
    device.claims.take(asked("a", 5))
    device.claims.release()
    with pytest.raises(NotYours, match="let go"):
        device.claims.check(asked("a", 5))
    with pytest.raises(NotYours, match="fence 4 is over"):
        device.claims.take(asked("a", 4))
    device.claims.take(asked("b", 1))
    device.claims.release()
    with pytest.raises(NotYours, match="fence 4 is over"):
        device.claims.take(asked("a", 4))


def test_only_the_holder_lets_go(device: Device) -> None:
    """One that is late takes nothing from whoever holds the device by now; letting go of what nobody had is fine."""
    device.claims.release()
    device.claims.take(asked("a", 6))
    device.claims.release(asked("a", 5))
    device.claims.check(asked("a", 6))
    device.claims.release(asked("a", 6))
    with pytest.raises(NotYours, match="let go"):
        device.claims.check(asked("a", 6))


def test_a_power_cut_takes_no_lease_away(device: Device) -> None:
    """However long the device was dark, its holder has the whole time of its lease from the boot on."""
    device.claims.take(asked("a", 5))
    device.start_anew()
    device.claims.check(asked("a", 5))
    with pytest.raises(NotYours, match="for at least 115 s more"):
        device.claims.take(asked("b", 1))
    device.wait(115)
    device.claims.take(asked("b", 1))


def test_a_sign_of_life_from_another_boot_is_none(device: Device) -> None:
    """Where the folder of sockets outlives a boot: the time in it was another clock's."""
    device.claims.take(asked("a", 5))
    (device.runtime / "seen").write_text(f"{device.boot} {device.now_ns}")
    device.boot, device.now_ns = "c" * 32, 200 * SECOND
    assert device.claims.silent_s() == 200


@pytest.mark.parametrize("content", ["", "x", "a b c", f"{boot_id()} many", f"{boot_id()} {2**80}"])
def test_a_damaged_sign_of_life(device: Device, content: str) -> None:
    """Counts as none since the boot, or as one of this moment; it is no error."""
    device.claims.take(asked("a", 5))
    (device.runtime / "seen").write_text(content)
    assert device.claims.silent_s() in (0, 1000)


def test_a_sign_of_life_that_cannot_be_written_counts_for_who_heard_it(device: Device) -> None:
    """A full folder of sockets refuses no request, and takes the device from nobody who is heard of."""
    claims = device.claims
    claims.take(asked("a", 5))
    (device.runtime / "seen.new").mkdir()  # nothing can be written there any more
    device.wait(100)
    claims.renew()
    device.wait(30)
    assert (claims.silent_s(), device.claims.silent_s()) == (30, 130)
    with pytest.raises(NotYours):
        claims.take(asked("b", 1))


def test_the_highest_fence_of_64_coordinators_is_remembered(device: Device) -> None:
    """Of those that held the device last; however often one of them comes back, it counts once."""
    names = [f"c{number}" for number in range(COORDINATORS + 1)]
    for name in names[:-1]:
        device.claims.take(asked(name, 7))
        device.claims.release()
    device.claims.take(asked("c0", 8))  # held it first, and now last
    device.claims.release()
    device.claims.take(asked(names[-1], 7))
    device.claims.release()
    assert len(json.loads((device.state / "claim.json").read_text())["highest"]) == COORDINATORS
    for name in (names[0], *names[2:]):
        with pytest.raises(NotYours, match="fence 1 is over"):
            device.claims.take(asked(name, 1))
    device.claims.take(asked("c1", 1))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 100_000, b'{"coordinator": "a"}',
        json.dumps({**kept("a", 5), "fence": "5"}).encode(), json.dumps({**kept("a", 5), "highest": []}).encode(),
        json.dumps({**kept("a", 5), "highest": {"a": "five"}}).encode(), json.dumps(asked("a", 5)).encode(),
    ],
)  # fmt: skip
def test_a_damaged_claim_is_none(device: Device, content: bytes) -> None:
    """Nobody holds the device by it, the one in it not either; the next claim is kept whole."""
    (device.state / "claim.json").write_bytes(content)
    assert device.claims.kept() == {}
    with pytest.raises(NotYours, match="held by nobody"):
        device.claims.check(asked("a", 5))
    device.claims.take(asked("b", 1))
    device.claims.check(asked("b", 1))


def test_a_claim_that_cannot_be_read_is_not_taken_for_none(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many open files, a bad disk: an error, and not a free device without a memory."""
    device.claims.take(asked("a", 5))

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", fails)
        with pytest.raises(OSError, match="Too many"):
            device.claims.take(asked("b", 1))
    device.claims.check(asked("a", 5))


@pytest.mark.parametrize(
    "wrong",
    [
        {"fence": 0}, {"fence": -1}, {"fence": 2**63}, {"fence": "1"}, {"fence": True}, {"coordinator": None}, {"holder": 7},
        {"lease_s": 0.0}, {"lease_s": float("inf")}, {"lease_s": float("nan")}, {"lease_s": -1.0}, {"lease_s": 120},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_claim_takes_nothing(device: Device, wrong: dict[str, Any]) -> None:
    """No fence that cannot be beaten, no lease that never ends."""
    with pytest.raises(ValueError, match="expected a claim"):
        device.claims.take({**asked("a", 1), **wrong})
    with pytest.raises(ValueError, match="expected a claim"):
        device.claims.take([])  # type: ignore[arg-type]
    assert device.claims.kept() == {}


def test_of_many_that_ask_at_once_the_highest_has_it(device: Device) -> None:
    """Each decides by what those before it have written: no lower fence stands in the end, and the file is whole."""
    heard: dict[int, str] = {}

    def take(fence: int) -> None:
        try:
            device.claims.take(asked("a", fence))
            heard[fence] = "taken"
        except NotYours as error:
            heard[fence] = str(error)

    threads = [threading.Thread(target=take, args=(fence,)) for fence in range(1, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(heard) == 24
    assert heard[24] == "taken"
    assert all(said == "taken" or "was granted since" in said for said in heard.values())
    device.claims.check(asked("a", 24))


# ---- a supervisor that goes by it --------------------------------------------------------------------------


class Coordinator:
    """The other end of one client's socket."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(5)
        self.decoder = frames.Decoder()
        threading.Thread(target=Client(theirs, supervisor).listen, daemon=True).start()

    def ask(self, do: str, **words: Any) -> dict[str, Any]:
        self.socket.sendall(frames.encode_json({"id": 1, "do": do, **words}))
        while not (found := list(self.decoder.feed(self.socket.recv(65536)))):
            pass
        return found[0].json()


VERBS = [verb.removeprefix("do_") for verb in dir(Supervisor) if verb.startswith("do_") and verb != "do_hello"]


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    return Supervisor(str(tmp_path / "state"), 0, Claims(str(tmp_path / "state"), str(runtime)))


@pytest.mark.parametrize("verb", VERBS)
def test_whoever_does_not_hold_the_device_may_say_hello_and_nothing_else(supervisor: Supervisor, tmp_path: Path, verb: str) -> None:
    """One that never showed a claim, and one whose fence is over since: both hear the holder's name, and nothing is done."""
    claims = Claims(str(tmp_path / "state"), str(tmp_path / "runtime"))
    claims.take(asked("a", 5))
    stranger, late = Coordinator(supervisor), Coordinator(supervisor)
    assert "ok" in late.ask("hello", claim=asked("a", 5))
    assert late.ask("renew") == {"id": 1, "ok": {}}
    claims.take(asked("a", 6, holder="ben for EDGE-004"))
    before = (tmp_path / "state" / "claim.json").read_bytes()
    for other in (stranger, late):
        said = other.ask(verb)
        assert said["not_yours"] is True
        assert said["error"] == "the device is not yours: it is held by ben for EDGE-004"
        assert "ok" in other.ask("hello")
    assert (tmp_path / "state" / "claim.json").read_bytes() == before


def test_a_hello_under_a_claim_that_is_over_is_refused_by_name(supervisor: Supervisor, tmp_path: Path) -> None:
    """And does not make its sender the holder."""
    Claims(str(tmp_path / "state"), str(tmp_path / "runtime")).take(asked("a", 6))
    late = Coordinator(supervisor)
    assert late.ask("hello", claim=asked("a", 5))["error"] == "the device is not yours: it is held by a for EDGE-002"
    assert late.ask("renew")["not_yours"] is True


def test_after_its_release_the_holder_is_a_stranger(supervisor: Supervisor, tmp_path: Path) -> None:
    """Until it takes the device again."""
    claims = Claims(str(tmp_path / "state"), str(tmp_path / "runtime"))
    claims.take(asked("a", 5))
    mine = Coordinator(supervisor)
    mine.ask("hello", claim=asked("a", 5))
    assert mine.ask("release")["ok"] == {}
    assert mine.ask("benchmark")["error"] == "the device is not yours: it was let go"


def test_what_a_stranger_pushes_is_not_kept(supervisor: Supervisor, tmp_path: Path) -> None:
    """Not a byte of it: whoever pushes without holding the device is dropped."""
    Claims(str(tmp_path / "state"), str(tmp_path / "runtime")).take(asked("a", 5))
    stranger = Coordinator(supervisor)
    before = sorted((tmp_path / "state").rglob("*"))
    stranger.socket.sendall(frames.encode(frames.BLOB, bytes(32) + b"a wheel"))
    assert stranger.socket.recv(100) == b""
    assert sorted((tmp_path / "state").rglob("*")) == before


# ---- as a process of its own -------------------------------------------------------------------------------


class Installed:
    """A supervisor on this machine, in its newest version, and the processes that it became."""

    def __init__(self, folder: Path) -> None:
        self.state, self.socket = folder / "state", folder / "run" / "socket"
        self.ship(b"first")

    def ship(self, changes: bytes) -> None:
        archive = make_zip({**supervisor_sources(), "CHANGES": changes})
        path = self.state.parent / "supervisor.zip"
        path.write_bytes(archive)
        self.sha256 = sha256(archive)
        self.script = self.run(str(path), "install", str(self.state), str(path)).stdout.strip()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)

    def start(self, claim: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        return self.run(self.script, "start", str(self.state), str(self.socket), *([json.dumps(claim)] if claim else []))

    @property
    def running(self) -> str:
        """Pid and hash of the one that has the lock."""
        return (self.state / "supervisor.lock").read_text()


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installed]:
    made = Installed(tmp_path)
    yield made
    if (made.state / "supervisor.lock").exists() and made.running:
        os.killpg(int(made.running.split()[0]), 9)


def _same(installed: Installed) -> None:
    pass


def _newer(installed: Installed) -> None:
    installed.ship(b"second")


@pytest.mark.real
@pytest.mark.parametrize("version", [_same, _newer], ids=["same version", "another version"])
def test_a_start_by_a_foreign_coordinator_changes_nothing(installed: Installed, version: Callable[[Installed], None]) -> None:
    """Exit 77 and the holder's name; the supervisor that runs is left alone, also where the stranger brings another one."""
    assert installed.start(asked("a", 5)).returncode == 0
    running, claim_file = installed.running, (installed.state / "claim.json").read_bytes()
    version(installed)
    refused = installed.start(asked("b", 900))
    assert refused.returncode == NOT_YOURS == 77
    assert refused.stderr.startswith("it is held by a for EDGE-002, for at least 1")
    assert (installed.running, (installed.state / "claim.json").read_bytes()) == (running, claim_file)
    os.kill(int(running.split()[0]), 0)
    late = installed.start(asked("a", 4))
    assert (late.returncode, late.stderr) == (NOT_YOURS, "fence 4 is over: fence 5 was granted since, to a for EDGE-002\n")
    assert installed.running == running
    assert installed.start(asked("a", 6)).returncode == 0
    assert (installed.running == running) is (version is _same)  # the holder may bring another version
