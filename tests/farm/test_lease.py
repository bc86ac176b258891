"""Who holds a device: the rule as a table, then the same against a real file, with a clock turned by hand."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from runner.errors import LabError
from runner.farm import lease
from runner.farm.lease import LEASE_S, MARGIN_S, TURN_S, Held, Lease, LeaseLost, Leases, Place, Quarantine, Quarantined, Taken, decide, lent
from runner.ondevice.journal import boot_id

BOOT = "b" * 32
SECOND = 1_000_000_000


def held(*, alive: bool = True, boot: str = BOOT, until_s: float = 100.0) -> Held:
    return Held("h", {}, 7, boot, int(until_s * SECOND), alive)


# ---- the rule ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now_s", "holder", "turn_s", "before", "found"),
    [
        (10, None, 0, 0, None),  # free, and nobody asked before
        (10, held(), 0, 0, Place(held(), 0)),  # held
        (10, held(), 0, 3, Place(held(), 3)),  # held, and others wait
        (99.9, held(), 0, 0, Place(held(), 0)),  # to its last moment
        (100, held(), 0, 0, None),  # and not a moment longer
        (10, held(alive=False), 0, 0, None),  # its process ended
        (10, held(boot="c" * 32), 0, 0, None),  # its machine was started anew
        (10, held(until_s=9), 0, 1, Place(None, 1)),  # over, and somebody asked before
        (10, held(alive=False), 0, 2, Place(None, 2)),
        (10, None, 10, 1, Place(None, 1)),  # free this moment: the first has TURN_S
        (10 + TURN_S - 0.1, None, 10, 1, Place(None, 1)),
        (10 + TURN_S, None, 10, 1, None),  # the first sleeps
        (10 + TURN_S, None, 10, 2, Place(None, 2)),  # now it is the second's turn, and we are third
        (10 + 2 * TURN_S, None, 10, 2, None),
        (10, None, 50, 1, None),  # free "since" a moment that is still to come: before a boot
    ],
)
def test_the_rule(now_s: float, holder: Held | None, turn_s: float, before: int, found: Place | None) -> None:
    """A lease binds while its holder lives and its time runs; a free device goes to the first who is awake."""
    assert decide(int(now_s * SECOND), BOOT, holder, turn_s * SECOND, before) == found


# ---- the file ----------------------------------------------------------------------------------------------


class Clock:
    """Two hands, each turned by itself; whoever sleeps on it turns the first."""

    def __init__(self) -> None:
        self.boot_s, self.wall_s = 1000.0, 1_795_000_000.0
        self.at_sleep: Callable[[], None] = lambda: None

    def boottime_ns(self) -> int:
        return int(self.boot_s * SECOND)

    def wall_ns(self) -> int:
        return int(self.wall_s * SECOND)

    async def sleep(self, duration_s: float) -> None:
        self.boot_s += duration_s
        self.at_sleep()
        await asyncio.sleep(0)


class Host:
    """One lease file, and askers that live, sleep and die as they are told to."""

    def __init__(self, state: Path) -> None:
        self.state, self.clock, self._lives = state, Clock(), dict[str, ExitStack]()
        self.leases = Leases(state, self.clock)

    def ask(self, id: str, identity: str = "pi-04") -> None:
        self._lives[id] = ExitStack()
        self._lives[id].enter_context(self.leases.living(id))
        self.leases.enqueue(identity, id)

    def attempt(self, id: str, identity: str = "pi-04") -> Lease | Place:
        return self.leases.attempt(identity, id, {"user": id, "host": "lab", "pid": 1, "for": "EDGE-002", "since": "noon"})

    def grant(self, id: str, identity: str = "pi-04") -> Lease:
        self.ask(id, identity)
        found = self.attempt(id, identity)
        assert isinstance(found, Lease)
        return found

    def kill(self, id: str) -> None:
        """What a SIGKILL leaves: rows as they are, a file that nobody has locked."""
        self._lives.pop(id).close()
        self.leases.alive_file(id).touch()

    def close(self) -> None:
        for life in self._lives.values():
            life.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """In memory where that can be had: every transaction is flushed, and a hundred flushes take seconds."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        made = Host(Path(folder))
        yield made
        made.close()


def test_one_holder_per_device_and_the_next_knows_whom_it_waits_for(host: Host) -> None:
    """The second hears who, since when, until when and how many come first; another device is free."""
    host.grant("ada")
    host.ask("ben")
    host.ask("cyd")
    place = host.attempt("cyd")
    assert isinstance(place, Place)
    words = lease.waiting_for("pi-04", place)
    until = "until it ends or has given no sign of life for 120 s"
    assert words == f"pi-04 is held by ada@lab (process 1) for EDGE-002, since noon, {until}; 1 more before you"
    assert lease.waiting_for("pi-04", host.attempt("ben")).endswith("; you are next")  # type: ignore[arg-type]
    host.grant("dan", "pi-05")


def test_the_device_is_told_whose_it_is(host: Host) -> None:
    """Coordinator, holder, fence and length; the same lease file has another name towards each device, another file another one."""
    first, second = host.grant("ada").claim, host.grant("ben", "10.0.0.4-22").claim
    assert first == {"coordinator": first["coordinator"], "holder": "ada@lab (process 1) for EDGE-002", "fence": 1, "lease_s": LEASE_S}
    file, _, identity = first["coordinator"].partition("/")
    assert identity == "pi-04"
    assert second["coordinator"] == f"{file}/10.0.0.4-22"
    other = Host(host.state / "another")
    assert other.grant("ada").coordinator != file
    other.close()


def test_a_fence_rises_with_every_grant_and_never_falls(host: Host) -> None:
    """Over release, death and expiry, in a file opened anew each time; each device counts for itself."""
    fences = [host.grant("ada").fence]
    host.leases.leave("ada")
    fences.append(host.grant("ben").fence)
    host.kill("ben")
    fences.append(host.grant("cyd").fence)
    host.clock.boot_s += LEASE_S
    host.leases = Leases(host.state, host.clock)
    fences.append(host.grant("dan").fence)
    assert fences == [1, 2, 3, 4]
    assert host.grant("eve", "pi-05").fence == 1


def test_a_dead_holder_loses_its_device_at_once(host: Host) -> None:
    """No second of its time has passed; nothing of it is left."""
    host.grant("ada")
    host.kill("ada")
    assert host.grant("ben").fence == 2
    assert not host.leases.alive_file("ada").exists()


def test_a_stopped_holder_loses_it_only_when_its_time_is_over(host: Host) -> None:
    """Then renewing and confirming both say who holds it now, and what to do."""
    stopped = host.grant("ada")
    host.ask("ben")
    host.clock.boot_s += LEASE_S - 0.001
    assert isinstance(host.attempt("ben"), Place)
    host.clock.boot_s += 0.001
    assert isinstance(host.attempt("ben"), Lease)
    for act in (stopped.renew, stopped.confirm):
        with pytest.raises(LeaseLost) as lost:
            act()
        (complaint,) = lost.value.complaints
        assert complaint.found.startswith("the lease of pi-04 was lost: it was not renewed in time, and ben@lab (process 1) for EDGE-002")
        assert complaint.do == "runner run resume RUN"
    host.leases.leave("ben")
    with pytest.raises(LeaseLost, match="somebody else had it meanwhile"):
        stopped.renew()


@pytest.mark.parametrize("act", [Lease.renew, Lease.confirm])
def test_a_late_holder_keeps_what_nobody_took(host: Host, act: Callable[[Lease], None]) -> None:
    """A lease runs out only for the sake of somebody who asks; neither a look nor a sweep takes it."""
    late = host.grant("ada")
    host.clock.boot_s += 10 * LEASE_S
    host.leases.sweep()
    host.leases.every()
    act(late)
    assert host.leases.left_s("ada", "pi-04") == LEASE_S
    host.ask("ben")
    assert isinstance(host.attempt("ben"), Place)


def test_confirming_leaves_a_margin(host: Host) -> None:
    """With more than that left nothing is written; with less the lease begins anew."""
    mine = host.grant("ada")
    host.clock.boot_s += LEASE_S - MARGIN_S
    mine.confirm()
    assert host.leases.left_s("ada", "pi-04") == MARGIN_S
    host.clock.boot_s += 0.5
    mine.confirm()
    assert host.leases.left_s("ada", "pi-04") == LEASE_S


def test_a_renewed_lease_outlives_any_number_of_its_lengths(host: Host) -> None:
    """As long as somebody renews it in time, whoever waits waits."""
    mine = host.grant("ada")
    host.ask("ben")
    for _ in range(10):
        host.clock.boot_s += LEASE_S * 0.9
        mine.renew()
        assert isinstance(host.attempt("ben"), Place)
    assert mine.fence == 1


def test_a_lease_ends_with_the_boot(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another boot id: nobody's time is asked for. The boot-time clock begins anew then, and no turn is waited for."""
    host.grant("ada")
    monkeypatch.setattr(lease, "boot_id", lambda: "c" * 32)
    host.clock.boot_s = 5.0
    assert host.grant("ben").fence == 2
    assert {each.boot_id for _, each in host.leases.every()} == {"c" * 32}


@pytest.mark.parametrize("jump_s", [-1.7e9, -86400.0, 86400.0, 3e9], ids=["1970", "a day back", "a day on", "2120"])
def test_a_jump_of_the_wall_clock_changes_nothing(host: Host, jump_s: float) -> None:
    """Neither who holds a device, nor for how long, nor whose turn is next."""
    mine = host.grant("ada")
    host.ask("ben")
    host.ask("cyd")
    host.clock.boot_s += 1
    left_s = host.leases.left_s("ada", "pi-04")
    host.clock.wall_s += jump_s
    assert host.leases.left_s("ada", "pi-04") == left_s
    assert [host.attempt(id).before for id in ("ben", "cyd")] == [0, 1]  # type: ignore[union-attr]
    mine.confirm()
    host.leases.leave("ada")
    host.clock.wall_s -= 2 * jump_s
    assert isinstance(host.attempt("cyd"), Place)
    assert isinstance(host.attempt("ben"), Lease)


def test_it_goes_in_the_order_of_asking(host: Host) -> None:
    """However often the later ones try first."""
    host.grant("ada")
    for id in ("ben", "cyd", "dan"):
        host.ask(id)
    host.leases.leave("ada")
    for first, *rest in (("ben", "cyd", "dan"), ("cyd", "dan"), ("dan",)):
        assert [host.attempt(id) for id in reversed(rest)] == [Place(None, n) for n in range(len(rest), 0, -1)]
        assert isinstance(host.attempt(first), Lease)
        host.leases.leave(first)


def test_who_sleeps_through_its_turn_is_passed_over_and_not_dropped(host: Host) -> None:
    """The next one takes the device after TURN_S; whoever wakes up is first again."""
    host.grant("ada")
    for id in ("sleeper", "ben", "cyd"):
        host.ask(id)
    host.leases.leave("ada")
    host.clock.boot_s += TURN_S - 0.001
    assert isinstance(host.attempt("ben"), Place)
    host.clock.boot_s += 0.001
    assert host.attempt("cyd") == Place(None, 2)
    assert isinstance(host.attempt("ben"), Lease)
    host.leases.leave("ben")
    assert host.attempt("cyd") == Place(None, 1)
    assert isinstance(host.attempt("sleeper"), Lease)


def test_nobodys_turn_begins_before_it_asked(host: Host) -> None:
    """A device that nobody wanted for an hour: two ask at once, and the later one tries first."""
    host.grant("ada")
    host.leases.leave("ada")
    host.clock.boot_s += 3600
    host.ask("ben")
    host.ask("cyd")
    assert host.attempt("cyd") == Place(None, 1)
    assert isinstance(host.attempt("ben"), Lease)
    host.ask("dan", "never lent")
    host.ask("eve", "never lent")
    assert host.attempt("eve", "never lent") == Place(None, 1)


def test_a_dead_asker_keeps_nobody_waiting(host: Host) -> None:
    """It holds no place, and what it left is gone with the next grant."""
    host.grant("ada")
    host.ask("ben")
    host.ask("cyd")
    host.kill("ben")
    assert host.attempt("cyd").before == 0  # type: ignore[union-attr]
    host.leases.leave("ada")
    assert isinstance(host.attempt("cyd"), Lease)
    assert not host.leases.alive_file("ben").exists()


def test_a_sweep_takes_from_the_dead_alone(host: Host) -> None:
    """Their devices, places and files, those of askers killed before they were written down included; the living keep all of it."""
    host.grant("ada")
    host.ask("ben")
    host.grant("dead holder", "pi-05")
    host.ask("dead asker")
    host.kill("dead holder")
    host.kill("dead asker")
    host.leases.alive_file("killed at once").touch()
    host.leases.sweep()
    assert [identity for identity, _ in host.leases.every()] == ["pi-04"]
    assert sorted(path.stem for path in host.leases.folder.glob("*.alive")) == ["ada", "ben"]
    with sqlite3.connect(host.leases.path) as db:
        assert db.execute("SELECT id FROM queue").fetchall() == [("ben",)]
    db.close()


def test_a_run_that_began_is_known_until_it_is_concluded(host: Host) -> None:
    """Oldest first, by device; and who carries it out right now, while that one lives."""
    ada = host.grant("ada")
    host.leases.began("t1", "pi-04", Path("/lab/1"), ada.id)
    assert host.leases.unfinished("pi-04") == [("t1", Path("/lab/1"))]
    found = host.leases.holder_of(Path("/lab/1"))
    assert found is not None
    assert (found.id, found.holder["user"], found.alive) == ("ada", "ada", True)
    host.kill("ada")
    assert host.leases.holder_of(Path("/lab/1")) is None
    ben = host.grant("ben")
    host.leases.began("t2", "pi-04", Path("/lab/2"), ben.id)
    assert [token for token, _ in host.leases.unfinished("pi-04")] == ["t1", "t2"]
    assert host.leases.unfinished("pi-05") == []
    assert host.leases.holder_of(Path("/lab/3")) is None
    host.leases.concluded("t1")
    host.leases.concluded("t1")
    assert [token for token, _ in host.leases.unfinished("pi-04")] == ["t2"]


def test_leaving_twice_is_fine_and_takes_nothing_from_others(host: Host) -> None:
    """Not even from the one who holds the device by now."""
    host.grant("ada")
    host.leases.leave("ada")
    host.grant("ben")
    host.leases.leave("ada")
    host.leases.leave("nobody")
    assert [each.id for _, each in host.leases.every()] == ["ben"]


# ---- asking, as a run does ---------------------------------------------------------------------------------


def test_who_waits_says_so_once_and_gets_it_when_it_is_free(host: Host) -> None:
    """One line while nothing changes; afterwards neither lease nor place nor file is left."""
    host.grant("ada")
    said: list[str] = []

    def later() -> None:
        if host.clock.boot_s > 1010:
            host.leases.leave("ada")

    host.clock.at_sleep = later

    async def story() -> int:
        async with lent(host.state, "pi-04", "EDGE-002 in /lab", say=said.append, clock=host.clock) as mine:
            assert [each.id for _, each in host.leases.every()] == [mine.id]
            return mine.fence

    assert asyncio.run(story()) == 2
    assert len(said) == 1
    assert said[0].startswith("waiting: pi-04 is held by ada@lab (process 1) for EDGE-002")
    assert host.leases.every() == []
    assert [path.stem for path in host.leases.folder.glob("*.alive")] == ["ada"]


def test_who_does_not_want_to_wait_hears_by_whom_it_is_held(host: Host) -> None:
    """And leaves nothing behind; the holder's lease is as it was."""
    host.grant("ada")

    async def story() -> None:
        async with lent(host.state, "pi-04", "mine", wait=False, clock=host.clock):
            raise AssertionError("it was lent")

    with pytest.raises(Taken, match=r"pi-04 is held by ada@lab \(process 1\) for EDGE-002") as taken:
        asyncio.run(story())
    assert taken.value.exit_code == 3
    assert "--no-wait" in taken.value.complaints[0].do
    assert [each.id for _, each in host.leases.every()] == ["ada"]
    assert [path.stem for path in host.leases.folder.glob("*.alive")] == ["ada"]


def test_a_wait_that_is_cancelled_gives_its_place_away(host: Host) -> None:
    """^C while waiting: whoever comes next is next."""
    host.grant("ada")

    async def story() -> None:
        async with lent(host.state, "pi-04", "mine", clock=host.clock):
            raise AssertionError("it was lent")

    async def cancelled() -> None:
        task = asyncio.ensure_future(story())
        host.clock.at_sleep = lambda: None if host.clock.boot_s < 1002 else task.cancel() and None
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    host.ask("ben")
    assert host.attempt("ben").before == 0  # type: ignore[union-attr]


HOLD = """
import asyncio, sys
from pathlib import Path
from runner.farm.lease import lent

async def story():
    async with lent(Path(sys.argv[1]), "pi-04", "EDGE-002 in /lab/runs") as lease:
        print(lease.fence, flush=True)
        sys.stdin.read()

asyncio.run(story())
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP, None], ids=["killed", "stopped", "ended"])
def test_another_process(host: Host, how: signal.Signals | None) -> None:
    """Its lease ends with it, however it ends; a stopped one is named, and keeps it."""
    repository = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(host.state)], env={**os.environ, "PYTHONPATH": repository},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        host.clock.boot_s = lease.SystemClock().boottime_ns() / SECOND
        host.ask("ada")
        place = host.attempt("ada")
        assert isinstance(place, Place)
        assert f"(process {process.pid}) for EDGE-002 in /lab/runs" in lease.waiting_for("pi-04", place)
        if how is None:
            process.communicate("")
        else:
            process.send_signal(how)
        if how == signal.SIGSTOP:
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            assert isinstance(host.attempt("ada"), Place)
            process.kill()
        process.wait(10)
    found = host.attempt("ada")
    assert isinstance(found, Lease)
    assert found.fence == 2


# ---- a device that is not as it was --------------------------------------------------------------------------

FOUND = ("+ firewall: table inet foo", "- routes: default via 10.0.0.1")


def test_a_quarantined_device_is_granted_to_nobody(host: Host) -> None:
    """Not even to who was first in the queue; whoever asks hears since when, what was found first, and what to do. A check gets it."""
    host.grant("ada")
    host.ask("ben")
    host.leases.quarantine("pi-04", "t1", FOUND)
    assert host.leases.left_s("ada", "pi-04") > 0  # its holder of the moment keeps it
    for _ in range(2):
        with pytest.raises(Quarantined) as refused:
            host.attempt("ben")
        (complaint,) = refused.value.complaints
        assert complaint.found == "pi-04 is quarantined since 2026-11-18T11:06:40.000Z: + firewall: table inet foo (and 1 more)"
        assert complaint.do == "runner device check NAME"
        with pytest.raises(Quarantined) as refused:
            host.leases.attempt("pi-04", "ben", {}, name="the-pi-in-the-hall")
        assert refused.value.complaints[0].do == "runner device check the-pi-in-the-hall"
        assert refused.value.complaints[0].found.startswith("the-pi-in-the-hall is quarantined since ")
        host.leases.leave("ada")
    checking = host.leases.attempt("pi-04", "ben", {}, for_check=True)
    assert isinstance(checking, Lease)
    assert checking.fence == 2
    host.grant("cyd", "pi-05")
    host.leases.leave("ben")
    host.leases.absolve("pi-04")
    assert host.grant("dan").fence == 3


def test_a_quarantine_says_why_until_it_is_lifted(host: Host) -> None:
    """Since when and by which run it was found stay as they were first said; what is found is what was found last."""
    assert host.leases.quarantined("pi-04") is None
    host.leases.quarantine("pi-04", "t1", FOUND)
    host.clock.wall_s += 3600
    host.leases.quarantine("pi-04", "", FOUND[:1])
    again = Leases(host.state, host.clock)
    assert again.quarantined("pi-04") == Quarantine("2026-11-18T11:06:40.000Z", "t1", FOUND[:1])
    assert again.every_quarantine() == {"pi-04": again.quarantined("pi-04")}
    again.absolve("pi-04")
    again.absolve("pi-04")
    assert again.every_quarantine() == {}
    assert str(Quarantine("noon", "t1", ())) == "quarantined since noon: nobody wrote down why"


def test_who_waits_is_told_when_the_device_is_quarantined_meanwhile(host: Host) -> None:
    """It does not wait for what will not be lent; nothing of it is left."""
    host.grant("ada")
    host.clock.at_sleep = lambda: host.leases.quarantine("pi-04", "t1", FOUND)

    async def story(**how: Any) -> str:
        async with lent(host.state, "pi-04", "mine", clock=host.clock, **how) as lease:
            return lease.identity

    with pytest.raises(Quarantined, match="table inet foo"):
        asyncio.run(story())
    with pytest.raises(Quarantined) as refused:
        asyncio.run(story(name="pi"))
    assert refused.value.complaints[0].do == "runner device check pi"
    assert [path.stem for path in host.leases.folder.glob("*.alive")] == ["ada"]
    with pytest.raises(Taken):
        asyncio.run(story(wait=False, for_check=True))
    host.leases.leave("ada")
    assert asyncio.run(story(wait=False, for_check=True)) == "pi-04"


def test_what_is_expected_survives_its_coordinator(host: Host) -> None:
    """The first of a boot is kept: it is from before a fault whose end nobody saw. One of another boot is worth nothing any more."""
    assert host.leases.expected("pi-04") is None
    host.leases.expect("pi-04", "b1", {"qdiscs": ["as it was"]})
    host.leases.expect("pi-04", "b1", {"qdiscs": ["after a fault"]})
    assert Leases(host.state).expected("pi-04") == ("b1", {"qdiscs": ["as it was"]})
    assert host.leases.expected("pi-05") is None
    host.leases.expect("pi-04", "b2", {"qdiscs": ["anew"]})
    assert host.leases.expected("pi-04") == ("b2", {"qdiscs": ["anew"]})
    host.leases.quarantine("pi-04", "t1", FOUND)
    assert host.leases.expected("pi-04") is not None  # for the check to compare with
    host.leases.forget_expected("pi-04")
    host.leases.forget_expected("pi-04")
    assert host.leases.expected("pi-04") is None
    host.leases.expect("pi-04", "b2", {})
    host.leases.absolve("pi-04")
    assert host.leases.expected("pi-04") is None


def test_a_lease_file_of_an_older_version_learns_of_quarantine(host: Host) -> None:
    """What stands in it stays: its fences go on."""
    host.grant("ada")
    host.leases.leave("ada")
    with sqlite3.connect(host.leases.path) as db:
        db.executescript("DROP TABLE quarantine; DROP TABLE expected; PRAGMA user_version = 0;")
    db.close()
    again = Leases(host.state, host.clock)
    assert again.quarantined("pi-04") is None
    again.quarantine("pi-04", "t1", FOUND)
    with pytest.raises(Quarantined):
        host.grant("ben")
    host.leases.leave("ben")
    again.absolve("pi-04")
    assert host.grant("cyd").fence == 2


# ---- a file that cannot be used ------------------------------------------------------------------------------


def test_only_this_user_may_look(host: Host) -> None:
    """0700 and 0600, whatever the umask says."""
    before = os.umask(0)
    try:
        host.grant("ada")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (host.leases.folder, *host.leases.folder.iterdir())}
    finally:
        os.umask(before)
    assert {modes.pop("leases"), modes.pop("making.lock")} <= {0o700, 0o644}
    assert modes == dict.fromkeys(("leases.sqlite", "ada.alive"), 0o600)


def damage(path: Path, how: str) -> None:
    if how == "another program's":
        path.unlink()
    with sqlite3.connect(path) if how in ("another program's", "no JSON") else ExitStack() as db:
        if how == "another program's":
            db.execute("CREATE TABLE songs (title TEXT)")
        elif how == "no JSON":
            db.execute("UPDATE lease SET holder = '{'")
    if how == "text":
        path.write_bytes(b"device: pi-04\n" * 1000)
    elif how == "half":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "a folder":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize("how", ["text", "half", "a folder", "another program's", "no JSON"])
def test_a_lease_file_that_makes_no_sense_is_an_error_of_the_lab(host: Host, how: str) -> None:
    """Which file, why, and what to do; nothing is lent, and no traceback."""
    host.grant("ada")
    damage(host.leases.path, how)
    with pytest.raises(LabError) as error:
        asyncio.run(lent(host.state, "pi-04", "mine", clock=host.clock).__aenter__())
    (complaint,) = error.value.complaints
    assert complaint.found.startswith(f"the lease file {host.leases.path} cannot be used: ")
    assert "RUNNER_STATE" in complaint.do


def test_a_state_folder_that_is_none_is_an_error_of_the_lab(tmp_path: Path) -> None:
    """Said with the system's reason."""
    (tmp_path / "leases").write_text("a file")
    with pytest.raises(LabError, match="leases cannot be made: File exists"):
        Leases(tmp_path).every()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write")
@pytest.mark.parametrize("mode", [0o755, 0o700], ids=["may be read", "may not be read"])
def test_somebody_elses_lease_file_is_an_error_of_the_lab(mode: int) -> None:
    """One that may be read and not written, and one behind a closed door."""
    with tempfile.TemporaryDirectory() as name:
        state = Path(name)
        leases = Leases(state)
        leases.enqueue("pi-04", "ada")
        state.chmod(0o755)
        leases.folder.chmod(mode)
        leases.path.chmod(0o644)
        os.seteuid(65534)
        try:
            with pytest.raises(LabError) as error:
                leases.enqueue("pi-04", "ben")
        finally:
            os.seteuid(0)
    assert str(leases.path) in error.value.complaints[0].found
    assert "RUNNER_STATE" in error.value.complaints[0].do


def test_too_many_open_files_are_no_proof_of_death(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a file that is gone or unlocked says that a holder is dead."""
    host.grant("ada")
    host.ask("ben")

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", fails)
        with pytest.raises(LabError, match="Too many open files"):
            host.attempt("ben")
    assert isinstance(host.attempt("ben"), Place)


def test_many_make_the_file_at_once(tmp_path: Path) -> None:
    """It is there whole for each of them, and is one file."""
    found: list[str] = []
    ready = threading.Barrier(8)

    def first(number: int) -> None:
        ready.wait()
        leases = Leases(tmp_path)
        with leases.living(f"{number}"):
            leases.enqueue(f"pi-{number}", f"{number}")
            granted = leases.attempt(f"pi-{number}", f"{number}", {})
            assert isinstance(granted, Lease)
            found.append(granted.coordinator)

    threads = [threading.Thread(target=first, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 8
    assert len(set(found)) == 1


def test_what_the_file_says_of_a_holder_is_what_the_holder_said(host: Host) -> None:
    """Every field comes back as it was; the boot is this one."""
    host.grant("ada")
    ((identity, each),) = host.leases.every()
    assert (identity, each.id, each.fence, each.boot_id) == ("pi-04", "ada", 1, boot_id())
    assert json.dumps(each.holder) == '{"user": "ada", "host": "lab", "pid": 1, "for": "EDGE-002", "since": "noon"}'
