"""Who holds which device: one lease file per user and host, and a fence that rises with every grant.

    asked ─► waiting, in the order of asking ─► held, renewed ─► released
                │ its process ended                 │ its process ended, or nobody renewed it and somebody asks
                ▼                                   ▼
             dropped                              lost: the next holder has a higher fence

A lease is keyed by what a device *is* (its identity), not by what a lab calls it. It runs by the boot-time clock, which no
wall-clock jump moves, and ends with the boot. Each asker keeps a file of its own locked while it lives; the kernel lets go of
it however the process ends. So a dead holder loses its device at once, a stopped one when its time is over, and a
holder whose device is silent loses nothing.

SQLite does the writing, all or nothing; `decide` decides, and does no I/O.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.clock import Clock, SystemClock, iso
from runner.errors import LabError
from runner.farm.rows import an_id, is_id, parsed, text, whole
from runner.lab.lock import locked
from runner.lab.private import private_folder
from runner.ondevice.journal import boot_id, fsync_folder

LEASE_S = 120.0
MARGIN_S = 45.0  # an action begins only with so much of the lease left, which is more than any action may take
TURN_S = 3.0  # whoever is first in the queue and does not take a free device for so long is passed over, not dropped
POLL_S = 0.25
BUSY_LIMIT_S = 30.0
MAX_FENCE = 2**53  # beyond it, some program that reads JSON would take two fences for one

_SCHEMA = """
CREATE TABLE IF NOT EXISTS coordinator (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS device (identity TEXT PRIMARY KEY, fence INTEGER NOT NULL, free_since_ns INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS lease (
    id TEXT PRIMARY KEY, identity TEXT NOT NULL UNIQUE, fence INTEGER NOT NULL, holder TEXT NOT NULL,
    boot_id TEXT NOT NULL, expires_ns INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS queue (
    place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, identity TEXT NOT NULL, asked_ns INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS unfinished (token TEXT PRIMARY KEY, identity TEXT NOT NULL, folder TEXT NOT NULL, lease TEXT NOT NULL);
"""
_HEALTH = """
CREATE TABLE IF NOT EXISTS quarantine (
    identity TEXT PRIMARY KEY, since TEXT NOT NULL, token TEXT NOT NULL, differences TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS expected (identity TEXT PRIMARY KEY, boot_id TEXT NOT NULL, fingerprint TEXT NOT NULL);
PRAGMA user_version = 1;
"""
_MENDING = "move that file away once nothing is under way (what it says of quarantines goes with it), or set RUNNER_STATE"
_VERSION = 1  # of the file's tables: a file from before is given those that it lacks


class LeaseLost(LabError):
    """Somebody else holds the device now, or may: whoever hears this must not act on it any more."""


class Taken(LabError):
    """Somebody else holds the device, and the asker did not want to wait."""


class Quarantined(LabError):
    """The device was not found as it had been: it is lent to no run, and to nobody but who comes to look at it, or to put it right."""


@dataclass(frozen=True)
class Quarantine:
    """Why a device is lent to no run: since when (wall clock), which run found it, and what it found, a sentence each."""

    since: str
    token: str
    differences: tuple[str, ...]

    def __str__(self) -> str:
        first, *more = self.differences or ("nobody wrote down why",)
        return f"quarantined since {self.since}: {first}" + (f" (and {len(more)} more)" if more else "")


@dataclass(frozen=True)
class Held:
    """A lease as it stands in the file, and whether its holder's process still lives."""

    id: str
    holder: dict[str, Any]
    fence: int
    boot_id: str
    expires_ns: int
    alive: bool


@dataclass(frozen=True)
class Place:
    """Why an asker has to wait: who holds the device (None: it is free, and others come first), and how many are before it."""

    held: Held | None
    before: int


def decide(now_ns: int, boot: str, held: Held | None, turn_ns: int, before: int) -> Place | None:
    """None where the device is to be granted, else the place in the queue, `before` living askers having come earlier.

    A lease binds while its holder lives and its time is not over, in this boot. A free device goes to the first who
    is awake: each earlier asker has TURN_S to take it, from `turn_ns` on, when it was free and all of them had asked.
    """
    if held is not None and held.alive and held.boot_id == boot and now_ns < held.expires_ns:
        return Place(held, before)
    if before and (held is not None or 0 <= (now_ns - turn_ns) / 1e9 < TURN_S * before):
        return Place(None, before)
    return None


class Leases:
    """The lease file below `state`. Every method is one transaction; LabError when the file cannot be used."""

    def __init__(self, state: Path, clock: Clock | None = None) -> None:
        self.folder = state / "leases"
        self.path = self.folder / "leases.sqlite"
        self.clock = clock or SystemClock()

    def every(self) -> list[tuple[str, Held]]:
        """Each lease that stands in the file, by identity."""
        with self._read() as db:
            return [(text(identity, "a device's identity"), self._held(row)) for *row, identity in db.execute(_EVERY_LEASE)]

    def sweep(self) -> None:
        """Lets go of all that dead processes held: devices, places in the queue, files."""
        with self._write() as db:
            for (id,) in db.execute("SELECT id FROM lease UNION SELECT id FROM queue").fetchall():
                if not self._alive(id):
                    self._leave(db, id)
            for path in self.folder.glob("*.alive"):
                if is_id(path.stem):  # any other is nobody's whom we know
                    self._forget_if_dead(path.stem)

    def unfinished(self, identity: str) -> list[tuple[str, Path]]:
        """Runs that began on a device and were never concluded: token and folder, oldest first."""
        with self._read() as db:
            rows = db.execute("SELECT token, folder FROM unfinished WHERE identity = ? ORDER BY rowid", (identity,))
            return [(text(token, "a run's token"), Path(text(folder, "a run's folder"))) for token, folder in rows]

    def began(self, token: str, identity: str, folder: Path, lease: str) -> None:
        """A run's folder is noted, so that whoever holds the device next finds it, should the run be killed."""
        with self._write() as db:
            db.execute("DELETE FROM unfinished WHERE folder = ?", (str(folder),))  # a run whose folder was removed, and its number taken
            db.execute("INSERT OR REPLACE INTO unfinished VALUES (?, ?, ?, ?)", (token, identity, str(folder), lease))

    def holder_of(self, folder: Path) -> Held | None:
        """The lease under which a run is being carried out right now by a living process, if there is one."""
        with self._read() as db:
            row = db.execute(_LEASE_FOR, (str(folder),)).fetchone()
            held = self._held(row) if row else None
        return held if held and held.alive else None

    def concluded(self, token: str) -> None:
        with self._write() as db:
            db.execute("DELETE FROM unfinished WHERE token = ?", (token,))

    # ---- devices that are not as they were -----------------------------------------------------------------

    def quarantine(self, identity: str, token: str, differences: Sequence[str]) -> None:
        """From here on the device is granted for a check, or by hand, and to no run. Since when and by whose run stays as it was first
        said; what `expected` says stays, too, for the check to compare with. The holder of the moment keeps its lease."""
        row = (identity, iso(self.clock.wall_ns()), token, json.dumps(list(differences)))
        with self._write() as db:
            said = "ON CONFLICT (identity) DO UPDATE SET differences = excluded.differences"
            db.execute(f"INSERT INTO quarantine VALUES (?, ?, ?, ?) {said}", row)  # noqa: S608 - no word of it comes from outside

    def quarantined(self, identity: str) -> Quarantine | None:
        with self._read() as db:
            return _quarantine_of(db, identity)

    def every_quarantine(self) -> dict[str, Quarantine]:
        with self._read() as db:
            rows = db.execute("SELECT identity, since, token, differences FROM quarantine")
            return {text(identity, "a device's identity"): _quarantine(row) for identity, *row in rows}

    def absolve(self, identity: str) -> None:
        """The device is as it should be: nothing stands against it, and nothing is expected of it, any more. Harmless twice."""
        with self._write() as db:
            db.execute("DELETE FROM quarantine WHERE identity = ?", (identity,))
            db.execute("DELETE FROM expected WHERE identity = ?", (identity,))

    def expect(self, identity: str, boot_id: str, fingerprint: dict[str, Any]) -> None:
        """How the device was before the first fault of a run, so that whoever comes after a killed one knows. What stands there
        of the same boot is kept: it is from before a fault whose end nobody saw."""
        with self._write() as db:
            db.execute("DELETE FROM expected WHERE identity = ? AND boot_id != ?", (identity, boot_id))
            db.execute("INSERT OR IGNORE INTO expected VALUES (?, ?, ?)", (identity, boot_id, json.dumps(fingerprint)))

    def expected(self, identity: str) -> tuple[str, dict[str, Any]] | None:
        """The boot id and the fingerprint that `expect` noted, until it is forgotten."""
        with self._read() as db:
            row = db.execute("SELECT boot_id, fingerprint FROM expected WHERE identity = ?", (identity,)).fetchone()
            return (text(row[0], "a boot id"), parsed(row[1], f"the fingerprint of {identity}", dict)) if row else None

    def outstanding(self, identity: str) -> bool:
        """Whether something of ours may be left on a device, as far as this file knows: a lease that was not given back, a run that was
        not concluded, a fingerprint that nobody compared yet, a quarantine."""
        leased = any(each == identity for each, _ in self.every())
        return leased or bool(self.unfinished(identity) or self.expected(identity) or self.quarantined(identity))

    def forget_expected(self, identity: str) -> None:
        """Only by who has compared, and found no difference."""
        with self._write() as db:
            db.execute("DELETE FROM expected WHERE identity = ?", (identity,))

    # ---- what an Asker does ------------------------------------------------------------------------------

    def enqueue(self, identity: str, id: str) -> None:
        with self._write() as db:
            db.execute("INSERT INTO queue (id, identity, asked_ns) VALUES (?, ?, ?)", (id, identity, self.clock.boottime_ns()))

    def attempt(self, identity: str, id: str, holder: dict[str, Any], *, for_check: bool = False, name: str = "") -> Lease | Place:
        """The lease, if it is this asker's turn. Looks first without writing, because most who ask have to wait.

        Raises Quarantined, held or not, unless it is `for_check` (to look at the device, or to put it right); `name` is what the lab
        at hand calls the device.
        """
        with self._read() as db:
            _refuse_quarantined(db, identity, for_check, name)
            place = self._decide(db, identity, id)
        if place is not None and (place.held or not self._to_be_freed(identity)):
            return place
        with self._write() as db:
            _refuse_quarantined(db, identity, for_check, name)  # its holder may have said so since
            self._free_what_is_over(db, identity)
            place = self._decide(db, identity, id)
            if place is not None:
                return place
            fence = self._last_fence(db, identity) + 1
            db.execute("INSERT INTO device VALUES (?, ?, 0) ON CONFLICT (identity) DO UPDATE SET fence = ?", (identity, fence, fence))
            expires_ns = self.clock.boottime_ns() + int(LEASE_S * 1e9)
            db.execute("INSERT INTO lease VALUES (?, ?, ?, ?, ?, ?)", (id, identity, fence, json.dumps(holder), boot_id(), expires_ns))
            db.execute("DELETE FROM queue WHERE id = ?", (id,))
            return Lease(self, id, identity, fence, holder, _coordinator(db), name)

    def renew(self, id: str, identity: str, name: str = "") -> None:
        """LEASE_S from now. Raises LeaseLost when another one was granted meanwhile; one that is only late is kept."""
        with self._write() as db:
            expires_ns = self.clock.boottime_ns() + int(LEASE_S * 1e9)
            if db.execute("UPDATE lease SET expires_ns = ? WHERE id = ?", (expires_ns, id)).rowcount == 0:
                raise self._lost(db, identity, name)

    def left_s(self, id: str, identity: str, name: str = "") -> float:
        """Seconds that the lease still runs. Raises LeaseLost."""
        with self._read() as db:
            row = db.execute("SELECT expires_ns FROM lease WHERE id = ?", (id,)).fetchone()
            if row is None:
                raise self._lost(db, identity, name)
            return (whole(row[0], "a lease's end") - self.clock.boottime_ns()) / 1e9

    def leave(self, id: str) -> None:
        """Out of the queue and out of the lease; fine when neither holds any more."""
        with self._write() as db:
            self._leave(db, id)

    @contextlib.contextmanager
    def living(self, id: str) -> Iterator[None]:
        """A file of this asker's own, locked while its process lives. It is made inside a transaction: `sweep` never sees it unlocked."""
        path = self.alive_file(id)
        with self._write():
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(fd)

    def alive_file(self, id: str) -> Path:
        return self.folder / f"{an_id(id)}.alive"

    # ---- inside ------------------------------------------------------------------------------------------

    def _decide(self, db: sqlite3.Connection, identity: str, id: str) -> Place | None:
        row = db.execute(_LEASE_OF, (identity,)).fetchone()
        since = db.execute("SELECT free_since_ns FROM device WHERE identity = ?", (identity,)).fetchone()
        earlier = "SELECT id, asked_ns FROM queue WHERE identity = ? AND place < (SELECT place FROM queue WHERE id = ?)"
        asked = db.execute(earlier, (identity, id)).fetchall()
        before = [whole(asked_ns, "when somebody asked") for each, asked_ns in asked if self._alive(each)]
        turn_ns = max([whole(since[0], "since when a device is free") if since else 0, *before])
        return decide(self.clock.boottime_ns(), boot_id(), self._held(row) if row else None, turn_ns, len(before))

    def _to_be_freed(self, identity: str) -> bool:
        """Whether the file names a holder that is over, so that somebody has to write that down."""
        with self._read() as db:
            row = db.execute(_LEASE_OF, (identity,)).fetchone()
            return row is not None and decide(self.clock.boottime_ns(), boot_id(), self._held(row), 0, 0) is None

    def _last_fence(self, db: sqlite3.Connection, identity: str) -> int:
        """The highest fence that was ever granted for a device; 0 where none was."""
        row = db.execute("SELECT fence FROM device WHERE identity = ?", (identity,)).fetchone()
        last = whole(row[0], f"the fence of {identity}") if row else 0
        if not 0 <= last < MAX_FENCE:
            raise ValueError(f"the fence of {identity} is {last}, and no lease was ever granted so often")
        return last

    def _free_what_is_over(self, db: sqlite3.Connection, identity: str) -> None:
        """Drops a lease that binds nobody any more, and askers that are dead; from now on the device is free."""
        row = db.execute(_LEASE_OF, (identity,)).fetchone()
        if row is not None and decide(self.clock.boottime_ns(), boot_id(), self._held(row), 0, 0) is None:
            self._leave(db, row[0])
            self._forget_if_dead(row[0])
        for (id,) in db.execute("SELECT id FROM queue WHERE identity = ?", (identity,)).fetchall():
            if not self._alive(id):
                self._leave(db, id)
                self._forget_if_dead(id)

    def _leave(self, db: sqlite3.Connection, id: str) -> None:
        db.execute("DELETE FROM queue WHERE id = ?", (id,))
        row = db.execute("DELETE FROM lease WHERE id = ? RETURNING identity", (id,)).fetchone()
        if row is not None:
            db.execute("UPDATE device SET free_since_ns = ? WHERE identity = ?", (self.clock.boottime_ns(), row[0]))

    def _forget_if_dead(self, id: str) -> None:
        if not self._alive(id):
            self.alive_file(id).unlink(missing_ok=True)

    def _held(self, row: Sequence[Any]) -> Held:
        id, holder, fence, boot, expires_ns = row
        held_by = parsed(holder, "a lease's holder", dict)
        boot, expires_ns = text(boot, "a boot id"), whole(expires_ns, "a lease's end")
        return Held(an_id(id), held_by, whole(fence, "a lease's fence"), boot, expires_ns, self._alive(id))

    def _alive(self, id: str) -> bool:
        try:
            with self.alive_file(id).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
        except BlockingIOError:
            return True
        except FileNotFoundError:  # any other error, such as too many open files, says nothing about that process
            return False

    def _lost(self, db: sqlite3.Connection, identity: str, name: str) -> LeaseLost:
        row = db.execute(_LEASE_OF, (identity,)).fetchone()
        now = f"{described(self._held(row))} holds it now" if row else "somebody else had it meanwhile"
        found = f"the lease of {name or identity} was lost: it was not renewed in time, and {now}"
        return LeaseLost(found, do="runner run resume RUN")

    @contextlib.contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with self._open() as db:
            yield db

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            if not self.path.exists():
                self._make()
            with contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_LIMIT_S, isolation_level=None)) as db:
                db.execute("PRAGMA synchronous = FULL")  # a fence that was granted must not be granted again after a power cut
                _bring_up_to_date(db)
                yield db
        except (sqlite3.Error, ValueError) as error:
            found = f"the lease file {self.path} cannot be used: {error}"
            raise LabError(found, expected="the file as runner wrote it", do=_MENDING) from error
        except OSError as error:
            raise LabError(f"{self.path} cannot be opened: {error.strerror}", do="grant the place, or set RUNNER_STATE") from error

    def _make(self) -> None:
        """The file, whole or not at all, by one process at a time: switching to a write-ahead log cannot wait for others."""
        private_folder(self.folder.parent, self.folder.name)
        with locked(self.folder / "making.lock"):
            if self.path.exists():
                return
            new = self.path.with_suffix(".new")
            new.unlink(missing_ok=True)
            os.close(os.open(new, os.O_RDWR | os.O_CREAT, 0o600))
            with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as db:
                db.execute("PRAGMA journal_mode = WAL")
                db.executescript(_SCHEMA + _HEALTH)
            new.rename(self.path)
            fsync_folder(str(self.folder))


_LEASE_OF = "SELECT id, holder, fence, boot_id, expires_ns FROM lease WHERE identity = ?"
_LEASE_FOR = "SELECT id, holder, fence, boot_id, expires_ns FROM lease WHERE id = (SELECT lease FROM unfinished WHERE folder = ?)"
_EVERY_LEASE = "SELECT id, holder, fence, boot_id, expires_ns, identity FROM lease ORDER BY identity"


@dataclass(frozen=True)
class Lease:
    """A device, held. `fence` is higher than that of every lease of this device before."""

    leases: Leases
    id: str
    identity: str
    fence: int
    holder: dict[str, Any]
    coordinator: str
    name: str = ""  # what the lab at hand calls the device

    @property
    def claim(self) -> dict[str, Any]:
        """What the device and its keeper are told: whose it is, and which fence comes with every request.

        Fences of one device can be compared, so the coordinator is named with the device: whoever reaches the same device by
        another address is a stranger to it.
        """
        return {"coordinator": f"{self.coordinator}/{self.identity}", "holder": who(self.holder), "fence": self.fence, "lease_s": LEASE_S}

    def renew(self) -> None:
        """Raises LeaseLost."""
        self.leases.renew(self.id, self.identity, self.name)

    def confirm(self) -> None:
        """Asked right before anything is done to a device that cannot check the fence itself. Raises LeaseLost.

        When this returns, the lease runs at least MARGIN_S longer. A process that is stopped for longer than that between
        this and its action acts without a lease; nothing on the host's side can prevent it.
        """
        if self.leases.left_s(self.id, self.identity, self.name) < MARGIN_S:
            self.renew()


@contextlib.asynccontextmanager
async def lent(
    state: Path,
    identity: str,
    purpose: str,
    *,
    wait: bool = True,
    for_check: bool = False,
    name: str = "",
    say: Callable[[str], None] = lambda text: None,
    clock: Clock | None = None,
) -> AsyncIterator[Lease]:
    """Holds the device for the length of the block; whoever is before us is waited for, and named with `say`.

    Raises Taken, naming the holder, when it is held and `wait` is false; Quarantined, naming what was found, when it is to be
    checked first and this is not `for_check` (a check, a revert, power by hand), also when that becomes so while it is waited for;
    `name` is what the lab at hand calls the device, for what is said of it and is to be typed. The caller renews. Afterwards neither
    lease nor place in the queue remains, whatever happened; after a kill, both end with the process.
    """
    leases = Leases(state, clock)
    id = uuid.uuid4().hex
    holder = {"pid": os.getpid(), "user": _user(), "host": os.uname().nodename, "for": purpose, "since": iso(leases.clock.wall_ns())}
    with leases.living(id):
        try:
            leases.enqueue(identity, id)
            said = ""
            while not isinstance(found := leases.attempt(identity, id, holder, for_check=for_check, name=name), Lease):
                if not wait:
                    do = "wait until that has ended, as an exec without --no-wait does, or choose another device"
                    raise Taken(_taken(name or identity, found), expected="a free device", do=do)
                words = waiting_for(name or identity, found)
                if words != said and (found.held or found.before):
                    say(f"waiting: {words}")
                    said = words
                await leases.clock.sleep(POLL_S)
            yield found
        finally:
            leases.leave(id)


NEXT = "; you are next"


def waiting_for(device: str, place: Place) -> str:
    """For whom, until when, and how many come first, in words."""
    if place.held is None:
        return f"{device} is free, and {place.before} who asked before come first"
    before = f"; {place.before} more before you" if place.before else NEXT
    return f"{device} is held by {described(place.held)}{before}"


def _taken(device: str, place: Place) -> str:
    """The same of one for which nobody waits: it is not next."""
    return waiting_for(device, place).removesuffix(NEXT)


def described(held: Held) -> str:
    """A holder and since when, in words that do not change while it is renewed."""
    since = held.holder.get("since", "?")
    return f"{who(held.holder)}, since {since}, until it ends or has given no sign of life for {LEASE_S:g} s"


def who(holder: dict[str, Any]) -> str:
    return f"{holder.get('user', '?')}@{holder.get('host', '?')} (process {holder.get('pid', '?')}) for {holder.get('for', '?')}"


def _refuse_quarantined(db: sqlite3.Connection, identity: str, for_check: bool, name: str) -> None:
    found = None if for_check else _quarantine_of(db, identity)
    if found is not None:
        expected = "a device that was found as it had been before its last fault"
        raise Quarantined(f"{name or identity} is {found}", expected=expected, do=f"runner device check {name or 'NAME'}")


def _quarantine_of(db: sqlite3.Connection, identity: str) -> Quarantine | None:
    row = db.execute("SELECT since, token, differences FROM quarantine WHERE identity = ?", (identity,)).fetchone()
    return _quarantine(row) if row else None


def _quarantine(row: Sequence[Any]) -> Quarantine:
    since, token, differences = row
    sentences = tuple(text(each, "a difference") for each in parsed(differences, "what a device is quarantined for", list))
    return Quarantine(text(since, "since when a device is quarantined"), text(token, "a run's token"), sentences)


def _bring_up_to_date(db: sqlite3.Connection) -> None:
    """A lease file of an older version gets the tables that it lacks; another program's file gets nothing."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version < _VERSION and db.execute("SELECT 1 FROM sqlite_master WHERE name = 'unfinished'").fetchone():
        db.executescript("BEGIN IMMEDIATE;" + _HEALTH + "COMMIT;")


def _coordinator(db: sqlite3.Connection) -> str:
    """What this lease file is called towards devices: made once, and kept."""
    row = db.execute("SELECT id FROM coordinator").fetchone()
    if row is None:
        row = (uuid.uuid4().hex,)
        db.execute("INSERT INTO coordinator VALUES (?)", row)
    return text(row[0], "the name of this lease file")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())
