"""Many processes that want few devices, while somebody kills and stops them: a program of its own, which prints what it found.

    nest ── forks ──► workers ── lent() ──► one lease file
     │ SIGKILL, SIGSTOP … SIGCONT     └──── act ──► a referee per device: its log, in one order, and the fence it has seen

A referee stands for the device: like a keeper it refuses a fence that is over, in the middle of an action, too. Everything is
judged afterwards from the referees' logs and from what the nest did to whom:

    no two act at once          an action may be cut into only MARGIN_S after its lease was confirmed, or when its actor is dead
    confirmed is held           whom a referee refuses had confirmed its lease longer than MARGIN_S before the next one acted
    each fence is granted once
    whoever is awake is served  in the order of asking: overtaken is only who did not try for TURN_S
    nobody starves              every ask of a process that was not killed was granted
    nothing is left             every device can be had at once, and after a sweep neither lease nor place nor file remains

`BROKEN` are leases that do not keep this, so that one sees that it is seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import random
import signal
import sqlite3
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.farm import lease
from runner.farm.lease import Lease, LeaseLost, Leases, Place, Taken, lent

SHORT = {"LEASE_S": 2.0, "MARGIN_S": 0.5, "TURN_S": 1.2, "POLL_S": 0.4}
DRAIN_LIMIT_S = 120.0
STOPPED_AT_ONCE = 12
_asked: dict[str, tuple[int, int]] = {}  # when each ask of this process tried last, and its longest pause between two tries


def now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class JumpingClock:
    """The machine's clock; its wall hand is anywhere between 1970 and 2106 whenever somebody looks."""

    def boottime_ns(self) -> int:
        return now_ns()

    def wall_ns(self) -> int:
        return random.randrange(2**32) * 1_000_000_000

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(duration_s)


# ---- a device --------------------------------------------------------------------------------------------------


class Referee:
    """One device: a log in one order, and the highest fence that acted on it."""

    def __init__(self, folder: Path, device: str) -> None:
        self._log, self._fence = folder / f"{device}.log", folder / f"{device}.fence"

    def note(self, kind: str, id: str, **facts: Any) -> None:
        with self._log.open("ab") as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            log.write(json.dumps({"ns": now_ns(), "kind": kind, "id": id, "pid": os.getpid(), **facts}).encode() + b"\n")

    def act(self, kind: str, id: str, fence: int, confirmed_ns: int) -> bool:
        """The beginning or the end of an action; refused when its fence is over."""
        with self._fence.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            highest = int(file.read() or b"0")
            if fence > highest:
                file.truncate(0)
                file.write(b"%d" % fence)
                file.flush()
            self.note(kind if fence >= highest else f"{kind} refused", id, fence=fence, confirmed_ns=confirmed_ns)
            return fence >= highest

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_bytes().splitlines()] if self._log.exists() else []


# ---- those who want it -----------------------------------------------------------------------------------------


class Watched(Leases):
    """Leases that write down each ask, each grant, and how long an asker slept at most."""

    folder_of_referees: Path

    def enqueue(self, identity: str, id: str) -> None:
        _asked[id] = (now_ns(), 0)
        super().enqueue(identity, id)
        with self._read() as db:
            (place,) = db.execute("SELECT place FROM queue WHERE id = ?", (id,)).fetchone()
        Referee(self.folder_of_referees, identity).note("asked", id, place=place)

    def attempt(self, identity: str, id: str, holder: dict[str, Any], **how: Any) -> Lease | Place:
        began_ns = now_ns()
        found = super().attempt(identity, id, holder, **how)
        tried_ns, pause_ns = _asked.get(id, (began_ns, 0))
        _asked[id] = (began_ns, max(pause_ns, now_ns() - tried_ns))
        if isinstance(found, Lease):
            Referee(self.folder_of_referees, identity).note("granted", id, fence=found.fence, pause_ns=_asked[id][1])
        return found


async def work(state: Path, folder: Path, devices: list[str]) -> None:
    """Wants one device after the other until it is told that it is over."""
    Watched.folder_of_referees = folder
    lease.Leases = Watched  # type: ignore[misc]
    while not (folder / "over").exists():
        device = random.choice(devices)
        referee = Referee(folder, device)
        async with lent(state, device, "stress", clock=JumpingClock()) as mine:
            for _ in range(random.randint(1, 8)):
                confirmed_ns = now_ns()  # a moment too early rather than too late
                try:
                    mine.confirm()
                except LeaseLost as lost:
                    referee.note("lost", mine.id, said=str(lost))
                    break
                if not referee.act("begin", mine.id, mine.fence, confirmed_ns):
                    break
                await asyncio.sleep(random.uniform(0.005, 0.2))
                if not referee.act("end", mine.id, mine.fence, confirmed_ns):
                    break
                await asyncio.sleep(random.uniform(0, 0.15))


# ---- who forks, kills and stops them -----------------------------------------------------------------------------


@dataclass
class Nest:
    state: Path
    folder: Path
    devices: list[str]
    workers: int
    living: set[int] = field(default_factory=set)
    killed_ns: dict[int, int] = field(default_factory=dict)
    stopped: dict[int, int] = field(default_factory=dict)  # until when
    counts: Counter[str] = field(default_factory=Counter)

    def fork(self) -> None:
        pid = os.fork()
        if pid:
            self.living.add(pid)
            self.counts["processes"] += 1
            return
        try:
            random.seed(os.getpid())
            asyncio.run(work(self.state, self.folder, self.devices))
            os._exit(0)
        except BaseException:
            (self.folder / f"{os.getpid()}.error").write_text(traceback.format_exc())
            os._exit(1)

    def shoot(self) -> None:
        """At somebody who holds a device, or at anybody."""
        with sqlite3.connect(Leases(self.state).path, timeout=30) as db:
            holders = [json.loads(holder)["pid"] for (holder,) in db.execute("SELECT holder FROM lease")]
        db.close()
        aims = self.living if random.random() < 0.3 else self.living & set(holders)
        if not aims:
            return
        pid = random.choice(sorted(aims))
        if random.random() < 0.5 or len(self.stopped) >= STOPPED_AT_ONCE:
            self.killed_ns[pid] = now_ns()
            self.counts["stopped, then killed"] += pid in self.stopped
            self.stopped.pop(pid, None)
            self.counts["killed"] += 1
            os.kill(pid, signal.SIGKILL)
        elif pid not in self.stopped:
            self.counts["stopped"] += 1
            self.stopped[pid] = now_ns() + int(lease.LEASE_S * random.uniform(0.6, 2) * 1e9)
            os.kill(pid, signal.SIGSTOP)

    def look_after(self, *, again: bool) -> None:
        """Lets go on whose time has come, buries the dead; for each of them another one is born `again`."""
        for pid in [pid for pid, until_ns in self.stopped.items() if until_ns < now_ns()]:
            with contextlib.suppress(ProcessLookupError):  # it was killed while it stood still, and is buried
                os.kill(pid, signal.SIGCONT)
            del self.stopped[pid]
        for pid in list(self.living):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self.living.discard(pid)
                if again:
                    self.fork()

    def rage(self, duration_s: float, shots_per_s: float) -> None:
        """For so long; then everybody comes to the end of what was asked for, and nothing is shot at any more."""
        Leases(self.state).sweep()
        for _ in range(self.workers):
            self.fork()
        over_ns, shots = now_ns() + int(duration_s * 1e9), 0
        began_ns = now_ns()
        while now_ns() < over_ns:
            self.look_after(again=True)
            if (now_ns() - began_ns) / 1e9 * shots_per_s > shots:
                shots += 1
                self.shoot()
            time.sleep(0.01)
        (self.folder / "over").touch()
        while self.living and now_ns() < over_ns + int(DRAIN_LIMIT_S * 1e9):
            self.look_after(again=False)
            time.sleep(0.02)
        self.counts["did not end"] = len(self.living)
        for pid in self.living:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def left_behind(self) -> list[str]:
        """What is not free now, and what a sweep leaves."""

        async def has(device: str) -> bool:
            with contextlib.suppress(Taken):
                async with lent(self.state, device, "afterwards", wait=False):
                    return True
            return False

        left = [f"{device} is not to be had" for device in self.devices if not asyncio.run(has(device))]
        leases = Leases(self.state)
        leases.sweep()
        left += [f"a lease of {identity}" for identity, _ in leases.every()]
        left += [f"{path.name} remains" for path in leases.folder.glob("*.alive")]
        with sqlite3.connect(leases.path) as db:
            left += [f"a place in the queue of {identity}" for (identity,) in db.execute("SELECT identity FROM queue")]
        db.close()
        return left


# ---- what is true of it ------------------------------------------------------------------------------------------


def judge(lines: list[dict[str, Any]], killed_ns: dict[int, int]) -> tuple[list[str], Counter[str]]:
    """What is wrong in one referee's log, and figures about it. No I/O."""
    wrong: list[str] = []
    counts: Counter[str] = Counter()
    margin_ns, turn_ns = int(lease.MARGIN_S * 1e9), int(lease.TURN_S * 1e9)
    asked = {line["id"]: line for line in lines if line["kind"] == "asked"}
    granted = {line["id"]: line for line in lines if line["kind"] == "granted"}
    acting: dict[str, Any] | None = None  # an action that began and has not ended
    highest, first_ns = 0, 0  # the fence that acted last, and since when
    for line in lines:
        kind, ns = line["kind"], line["ns"]
        counts[kind] += 1
        if "confirmed_ns" not in line:
            continue
        late = ns >= line["confirmed_ns"] + margin_ns
        if kind.endswith("refused"):
            if first_ns < line["confirmed_ns"] + margin_ns:
                wrong.append(
                    f"confirmed is held: fence {line['fence']} was confirmed, and fence {highest} acted before its margin was over"
                )
            acting = None if acting and acting["id"] == line["id"] else acting
            continue
        if line["fence"] < highest:
            wrong.append(f"the referee: fence {line['fence']} acted after fence {highest}")
        if acting and acting["id"] != line["id"]:
            counts["cut into"] += 1
            if killed_ns.get(acting["pid"], ns) >= ns and ns < acting["confirmed_ns"] + margin_ns:
                wrong.append(f"no two act at once: fence {line['fence']} within an action of fence {acting['fence']}")
        if line["fence"] > highest:
            highest, first_ns = line["fence"], ns
        counts["late, and nobody came between"] += late
        acting = line if kind == "begin" else None
    fences = Counter(line["fence"] for line in granted.values())
    wrong += [f"each fence is granted once: {fence}, {times} times" for fence, times in fences.items() if times > 1]
    for id, ask in asked.items():
        if id not in granted:
            counts["asked, then killed"] += ask["pid"] in killed_ns
            wrong += [] if ask["pid"] in killed_ns else [f"nobody starves: {id} asked and was never granted"]
            continue
        mine = granted[id]
        after = [
            each
            for each, line in granted.items()
            if line["fence"] < mine["fence"] and each in asked and asked[each]["place"] > ask["place"]
        ]
        counts["overtaken"] += bool(after)
        counts["overtaking at most"] = max(counts["overtaking at most"], len(after))
        if after and mine["pause_ns"] < turn_ns:
            wrong.append(f"whoever is awake is served: {id} was overtaken by {after}, and tried every {mine['pause_ns'] / 1e9:.2f} s")
        counts["longest wait, ms"] = max(counts["longest wait, ms"], (mine["ns"] - ask["ns"]) // 1_000_000)
    changes = [(line["ns"], 1) for line in asked.values()]
    changes += [(granted[id]["ns"] if id in granted else killed_ns.get(line["pid"], 0), -1) for id, line in asked.items()]
    waiting = 0
    for _, change in sorted(changes):
        waiting += change
        counts["longest queue"] = max(counts["longest queue"], waiting)
    return wrong, counts


# ---- leases that do not keep it ------------------------------------------------------------------------------------


def _lend_to_everybody() -> None:
    """Neither the holder's life nor its time counts."""
    lease.decide = lambda *_: None


def _forget_the_fence() -> None:
    """Each grant has the same one: a referee cannot tell an old holder from the new one."""
    attempt = Leases.attempt

    def forgetful(self: Leases, identity: str, id: str, holder: dict[str, Any], **how: Any) -> Lease | Place:
        found = attempt(self, identity, id, holder, **how)
        return Lease(self, id, identity, 1, holder, found.coordinator) if isinstance(found, Lease) else found

    Leases.attempt = forgetful  # type: ignore[method-assign]


def _serve_the_last_first() -> None:
    """Whoever finds the device free takes it."""
    decide = lease.decide
    lease.decide = lambda now_ns, boot, held, turn_ns, before: decide(now_ns, boot, held, turn_ns, 0)


BROKEN = {function.__name__[1:]: function for function in (_lend_to_everybody, _forget_the_fence, _serve_the_last_first)}


def main(place: str, workers: str, devices: str, duration_s: str, shots_per_s: str, broken: str = "") -> None:
    for name, seconds in SHORT.items():
        setattr(lease, name, seconds)
    if broken:
        BROKEN[broken]()
    state, folder = Path(place) / "state", Path(place) / "referees"
    folder.mkdir()
    names = [f"pi-{number:02}" for number in range(int(devices))]
    nest = Nest(state, folder, names, int(workers))
    nest.rage(float(duration_s), float(shots_per_s))
    wrong, counts = [], nest.counts
    for name in names:
        more, figures = judge(Referee(folder, name).lines(), nest.killed_ns)
        wrong += [f"{name}: {each}" for each in more]
        for key, value in figures.items():
            counts[key] = (
                max(counts[key], value) if key in ("longest wait, ms", "longest queue", "overtaking at most") else counts[key] + value
            )
    wrong += [path.read_text() for path in folder.glob("*.error")]
    wrong += [] if broken else nest.left_behind()
    spent = os.times()
    cpu_s = round(spent.user + spent.system + spent.children_user + spent.children_system, 1)
    print(json.dumps({"wrong": wrong, "figures": {**dict(sorted(counts.items())), "cpu, s": cpu_s}}, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
