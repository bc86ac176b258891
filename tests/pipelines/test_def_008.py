"""DEF-008 without a device: its queue, what each of its checks must catch, and its pipelines against a real broker that fails."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import importlib
import itertools
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.lab.where import cache_root
from runner.ondevice import facts
from runner.target.bundle import fetch_own_wheels, fetch_wheels

ROOT = Path(__file__).resolve().parents[2]
ENTRY = ROOT / "pipelines" / "def_008"
HERE = Path(__file__).parent
sys.path.insert(0, str(ENTRY.parent))
checks: Any = importlib.import_module("def_008.checks")
generate: Any = importlib.import_module("def_008.mocks.generate")
outbox: Any = importlib.import_module("def_008.stages.outbox")
Outbox: Any = outbox.Outbox
sys.path.remove(str(ENTRY.parent))

S = 1_000_000_000
BOOT, NEXT_BOOT = "b" * 32, "c" * 32
AHEAD_NS = 500 * S  # how far the coordinator's clock is ahead of the device's
LINK_FAULTS = {
    "constant": {"fault": "jamming", "jammer": "constant"},
    "reactive": {"fault": "jamming", "jammer": "reactive"},
    "bursts": {"fault": "bandwidth"},
    "cuts": {"fault": "power_cut"},
    "steady": {"fault": "steady"},
}
EVERY = [check for name, check in vars(checks).items() if callable(check) and not name.startswith("_") and name != "Path"]


def names(problems: dict[str, list[Any]]) -> set[str]:
    return {name for name, found in problems.items() if found}


# ---- the queue --------------------------------------------------------------------------------------------------


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Any]:
    made = Outbox(str(tmp_path / "outbox.db"), bound_records=4, bound_bytes=100)
    yield made
    made.close()


def what(box: Any) -> list[tuple[str, int]]:
    return [(row[2], row[3]) for row in box.log()]


def test_audit_records_are_first_and_then_age_counts(box: Any) -> None:
    """Whatever came in between; and what was taken stays queued until it is acknowledged."""
    for number, audit in enumerate((False, True, False, True), 1):
        assert box.put(number, f"m{number}", audit, b"x")
    sent = []
    while taken := box.take():
        assert box.take() == taken
        sent.append(taken[0])
        box.acked(taken[0])
    assert sent == [2, 4, 1, 3]
    assert box.left() == []


def test_a_full_queue_drops_its_oldest_telemetry_and_never_an_audit_record(box: Any) -> None:
    """One by one, each in the log; the new one itself where it is the oldest."""
    for number, audit in enumerate((True, False, False, True, True, False, True, False), 1):
        assert box.put(number, f"m{number}", audit, b"x")
    assert box.left() == [1, 4, 5, 7]
    assert [number for name, number in what(box) if name == "drop"] == [2, 3, 6, 8]
    assert max(row[4] for row in box.log()) == 4


def test_a_queue_full_of_audit_records_takes_no_other_and_changes_nothing(box: Any) -> None:
    """False, so that it is tried again; there is room as soon as one is acknowledged."""
    for number in range(1, 5):
        box.put(number, f"m{number}", True, b"x")
    before = box.log()
    assert box.put(5, "m5", True, b"x") is False
    assert (box.log(), box.fed, box.left()) == (before, 4, [1, 2, 3, 4])
    box.acked(1)
    assert box.put(5, "m5", True, b"x") is True


def test_the_bound_is_one_of_bytes_too(box: Any) -> None:
    """A record that is large costs as many small ones as it needs."""
    for number in (1, 2, 3):
        box.put(number, f"m{number}", False, b"x" * 30)
    box.put(4, "m4", True, b"x" * 60)
    assert box.left() == [3, 4]
    assert box.put(5, "m5", True, b"x" * 101) is False
    assert max(row[5] for row in box.log()) <= 100


def test_what_was_fed_is_not_fed_again_and_what_was_acknowledged_stays_gone(tmp_path: Path) -> None:
    """Another life of the stage, with the same file: it goes on where the first one stopped."""
    first = Outbox(str(tmp_path / "o.db"))
    for number in (1, 2, 3):
        first.put(number, f"m{number}", False, b"x")
    first.take()
    first.acked(1)
    first.take()
    first.close()
    again = Outbox(str(tmp_path / "o.db"))
    assert again.fed == 3
    for number in (1, 2, 3):
        assert again.put(number, f"m{number}", False, b"x")
    assert again.left() == [2, 3]
    assert what(again) == [("put", 1), ("put", 2), ("put", 3), ("try", 1), ("ack", 1), ("try", 2)]
    again.close()


def test_one_that_was_dropped_while_it_was_under_way_is_noted_as_come(box: Any) -> None:
    """`late`, and not `ack`: it was not removed, because it was not there."""
    box.put(1, "m1", False, b"x")
    box.take()
    for number in range(2, 6):
        box.put(number, f"m{number}", True, b"x")
    box.acked(1)
    assert what(box)[-1] == ("late", 1)
    assert box.left() == [2, 3, 4, 5]


def test_every_verb_is_on_the_disk_when_it_returns(box: Any, tmp_path: Path) -> None:
    """A write-ahead log that is flushed with each transaction: what another reader finds, and what SQLite says of itself."""
    assert box._one("PRAGMA journal_mode")[0] == "wal"
    assert box._one("PRAGMA synchronous")[0] == 2
    box.put(1, "m1", True, b"x")
    with sqlite3.connect(tmp_path / "outbox.db") as other:
        assert other.execute("SELECT id FROM message").fetchall() == [("m1",)]
    other.close()


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_the_log_adds_up_and_the_bound_holds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Feeding, sending, losing and being restarted by chance: the check that goes through the log finds nothing."""
    monkeypatch.setattr(checks, "BOUND_RECORDS", 6)
    monkeypatch.setattr(checks, "BOUND_BYTES", 300)
    chance = random.Random(seed)
    messages = [(f"m{n}", chance.choice(["audit", "telemetry"]), b"x" * chance.randrange(1, 80)) for n in range(1, 61)]
    made = Outbox(":memory:", 6, 300)
    while made.fed < len(messages) or made.left():
        if made.fed < len(messages) and chance.random() < 0.6:
            id, kind, data = messages[made.fed]
            made.put(made.fed + 1, id, kind == "audit", data)
        elif (taken := made.take()) and chance.random() < 0.6:
            (made.acked if chance.random() < 0.7 else made.unanswered)(taken[0])
    rows = [[at_ms, 0, *rest] for at_ms, _, *rest in made.log()]
    assert checks._replayed(rows, messages) == {"bounded": [], "first": [], "gone": [], "dropped": []}


# ---- the checks -------------------------------------------------------------------------------------------------


class Made:
    """An execution of the recovery made of the real queue, a far end of one list, and a clock turned by hand."""

    def __init__(self, *faults: str, pipeline: str = "recovery") -> None:
        self.plan = {
            "scenarios": {pipeline: {"pipeline": pipeline, "profile": list(faults or ("steady",))}},
            "profiles": {name: {"faults": [fault]} for name, fault in LINK_FAULTS.items()},
        }
        self.name, self.scenario = f"{pipeline}-1", pipeline
        self.messages = checks._expected(SimpleNamespace(plan=self.plan), pipeline)
        self.box = Outbox(":memory:", checks.BOUND_RECORDS, checks.BOUND_BYTES)
        self.now_ns = 1000 * S  # the coordinator's
        self.receipts: list[dict[str, Any]] = []
        self.faults: list[dict[str, Any]] = []
        self.coordinator: list[Any] = []
        self.log: list[list[Any]] = []
        self.audit = {
            "records": sum(kind == "audit" for _, kind, _ in self.messages),
            "head": json.loads([data for _, kind, data in self.messages if kind == "audit"][-1])["hash"],
            "messages": len(self.messages),
        }
        self.hello(BOOT, AHEAD_NS)

    def hello(self, boot: str, ahead_ns: int, off_ns: int = 0) -> None:
        """The device's clock and ours, read at one moment; half of the round trip is `off_ns`."""
        asked = {"asked_boottime_ns": self.now_ns - off_ns, "answered_boottime_ns": self.now_ns + off_ns}
        self.note("hello", boot_id=boot, boottime_ns=self.now_ns - ahead_ns, **asked)

    def note(self, kind: str, **payload: Any) -> None:
        self.coordinator.append(SimpleNamespace(kind=kind, boottime_ns=self.now_ns, payload=payload))

    def wait(self, seconds: float) -> Made:
        self.now_ns += int(seconds * S)
        return self

    def feed(self, count: int = 1000) -> Made:
        while count and self.box.fed < len(self.messages):
            id, kind, data = self.messages[self.box.fed]
            if not self.box.put(self.box.fed + 1, id, kind == "audit", data):
                self.send()
            else:
                count -= 1
        return self

    def send(self, count: int = 1, *, arrives: bool = True, answered: bool = True) -> Made:
        for _ in range(count):
            taken = self.box.take()
            if taken is None:
                break
            self.wait(0.02)
            if arrives:
                self.arrive(taken[0])
            (self.box.acked if answered else self.box.unanswered)(taken[0])
        return self

    def arrive(self, number: int) -> None:
        id, kind, data = self.messages[number - 1]
        self.receipts.append(
            {
                "service": "mqtt",
                "execution": self.name,
                "topic": f"{self.name}/{kind}",
                "qos": 1,
                "dup": False,
                "sha256": hashlib.sha256(data).hexdigest(),
                "bytes": len(data),
                "id": id,
                "boottime_ns": self.now_ns,
            }
        )

    def jam(self, *, on: bool, boot: str = BOOT, ahead_ns: int = AHEAD_NS) -> Made:
        said = {"program": f"{self.name}-jamming-1", "fault": "jamming", "word": "jammed" if on else "as before", "on": on}
        self.faults.append({**said, "boottime_ns": self.now_ns - ahead_ns, "boot_id": boot})
        return self

    def through(self) -> Made:
        """Everything that is left, to the end, and nothing is dropped any more."""
        while self.box.fed < len(self.messages):
            self.send(2).feed(1)
        return self.send(1000)

    @property
    def ids(self) -> list[str]:
        return [receipt["id"] for receipt in self.receipts]

    def problems(self, rows: list[list[Any]] | None = None) -> dict[str, list[Any]]:
        """What each check says of it."""
        log = [[at_ms, 0, *rest] for at_ms, _, *rest in self.box.log()] if rows is None else rows
        outputs = {"audit": {"data": self.audit}, "account": {"data": {"log": log}}}
        record = SimpleNamespace(payload={"stage": "account"}, sequence=9)
        execution = SimpleNamespace(
            name=self.name,
            journal_file=f"results/journal/device-{self.name}.journal",
            outputs=outputs,
            of_kind=lambda kind: [record],
            where=lambda record: f"here#{record.sequence}",
        )
        evidence = SimpleNamespace(
            plan=self.plan,
            coordinator=self.coordinator,
            of=lambda scenario: [execution],
            receipts=lambda name: copy.deepcopy(self.receipts) if name == self.name else [],
            faults=lambda name: copy.deepcopy(self.faults) if name == self.name else [],
        )
        return {check.__name__: check(evidence, self.scenario) for check in EVERY}

    @property
    def rows(self) -> list[list[Any]]:
        return [[at_ms, 0, *rest] for at_ms, _, *rest in self.box.log()]


def jammed() -> Made:
    """What `_jammed` made, to be forged at will."""
    made = copy.copy(_jammed())
    made.receipts, made.audit = copy.deepcopy(made.receipts), dict(made.audit)
    return made


@functools.cache
def _jammed() -> Made:
    """Some came; then the link was jammed for half a minute while more was queued than there is room for; then the rest came."""
    made = Made("constant", "cuts").feed(30).send(20).jam(on=True).wait(2).send(2, arrives=False, answered=False)
    return made.feed().wait(28).jam(on=False).wait(6).send(1, answered=False).send(1000)


def test_over_a_steady_link_every_check_holds() -> None:
    """The negative control: every message came once, and nobody complains."""
    made = Made(pipeline="baseline").through()
    assert names(made.problems()) == set()
    assert len(made.receipts) == len(made.messages)


@pytest.mark.parametrize("pipeline", ["baseline", "stress", "chaos", "adversarial", "recovery"])
def test_over_a_jammed_link_every_check_holds_but_that_everything_came_once(pipeline: str) -> None:
    """Dropped reports and a message that came twice are not everything, once; and nothing else is wrong with them."""
    made = Made("constant", pipeline=pipeline)
    made.feed(30).send(5).jam(on=True).wait(3).send(2, arrives=False, answered=False).feed(60).wait(20).jam(on=False)
    made.wait(3).send(1, answered=False).feed(100).send(30)
    made.through()
    assert names(made.problems()) == {"everything_came_once"}
    dropped = jammed()
    assert "drop" in {row[2] for row in dropped.rows}
    assert names(dropped.problems()) == {"everything_came_once"}


def again(made: Made, place: int, before: int) -> None:
    """The receipt at one place a second time, before another place."""
    made.receipts.insert(before, {**made.receipts[place], "boottime_ns": made.receipts[before]["boottime_ns"]})


def change(made: Made, **changes: Any) -> None:
    made.receipts[7].update(changes)


def swap(made: Made, kind: str) -> None:
    """Two neighbours of one kind in the other order."""
    places = [place for place, receipt in enumerate(made.receipts) if receipt["topic"].endswith(kind)]
    at, other = next((a, b) for a, b in itertools.pairwise(places) if made.ids[a] != made.ids[b])
    made.receipts[at], made.receipts[other] = made.receipts[other], made.receipts[at]


def report_first(made: Made) -> None:
    """The last report, before the first audit record."""
    reports = [receipt for receipt in made.receipts if receipt["topic"].endswith("telemetry")]
    made.receipts.remove(reports[-1])
    made.receipts.insert(0, reports[-1])


def without(made: Made, kind: str) -> None:
    chosen = next(receipt["id"] for receipt in made.receipts if receipt["topic"].endswith(kind))
    made.receipts = [receipt for receipt in made.receipts if receipt["id"] != chosen]


@pytest.mark.parametrize(
    ("forge", "caught"),
    [
        (lambda made: again(made, 3, 4), {"no_duplicates"}),
        (lambda made: again(made, 3, 9), {"no_duplicates", "acknowledged_is_gone"}),
        (lambda made: again(made, -3, -1), {"no_duplicates", "acknowledged_is_gone"}),
        (lambda made: change(made, sha256="0" * 64), {"only_what_was_queued_came"}),
        (lambda made: change(made, bytes=1), {"only_what_was_queued_came"}),
        (lambda made: change(made, qos=0), {"only_what_was_queued_came"}),
        (lambda made: change(made, topic="recovery-1/elsewhere"), {"only_what_was_queued_came"}),
        (lambda made: change(made, topic="recovery-2/audit"), {"only_what_was_queued_came"}),
        (lambda made: change(made, id="a-99999"), {"only_what_was_queued_came", "no_duplicates"}),
        (lambda made: change(made, id=None), {"only_what_was_queued_came", "no_duplicates"}),
        (lambda made: swap(made, "audit"), {"audit_first"}),
        (lambda made: swap(made, "telemetry"), {"audit_first"}),
        (report_first, {"audit_first"}),
        (lambda made: without(made, "audit"), {"no_audit_record_lost", "no_duplicates"}),
        (lambda made: without(made, "telemetry"), {"telemetry_accounted_for", "no_duplicates"}),
        (lambda made: made.audit.update(head="0" * 64), {"no_audit_record_lost"}),
        (lambda made: made.audit.update(records=1), {"no_audit_record_lost"}),
        (lambda made: made.receipts.clear(), {"no_audit_record_lost", "telemetry_accounted_for", "no_duplicates"}),
    ],
)
def test_what_came_and_should_not_have_so_is_caught(forge: Callable[[Made], object], caught: set[str]) -> None:
    """Each forged receipt is seen by the checks that it concerns (beside the one that everything came once)."""
    made = jammed()
    forge(made)
    found = names(made.problems()) - {"everything_came_once"}
    assert caught <= found
    assert found - caught <= {"no_audit_record_lost", "audit_first", "acknowledged_is_gone"}


def rows_without(rows: list[list[Any]], name: str, nth: int = 0) -> list[list[Any]]:
    gone = [row for row in rows if row[2] == name][nth]
    return [row for row in rows if row is not gone]


def rows_with(rows: list[list[Any]], row: list[Any], before: str) -> list[list[Any]]:
    place = next(place for place, each in enumerate(rows) if each[2] == before)
    return [*rows[:place], row, *rows[place:]]


def tried_again(rows: list[list[Any]]) -> list[list[Any]]:
    """The first acknowledged message is tried once more, at the end."""
    acked = next(row for row in rows if row[2] == "ack")
    return [*rows, [acked[0], 0, "try", acked[3], 0, 0]]


def another_dropped(rows: list[list[Any]]) -> list[list[Any]]:
    """The log names another message than the one that was dropped."""
    place = next(place for place, row in enumerate(rows) if row[2] == "drop")
    other = next(row[3] for row in rows[place:] if row[2] == "drop" and row[3] != rows[place][3])
    return [*rows[:place], [*rows[place][:3], other, *rows[place][4:]], *rows[place + 1 :]]


@pytest.mark.parametrize(
    ("forge", "caught"),
    [
        (lambda rows: [[*row[:4], row[4] + 1, row[5]] for row in rows], "queue_bounded"),
        (lambda rows: [[*row[:5], row[5] + 1] for row in rows], "queue_bounded"),
        (lambda rows: rows_without(rows, "drop"), "queue_bounded"),
        (lambda rows: rows_without(rows, "ack", -1), "queue_bounded"),
        (lambda rows: rows_without(rows, "put"), "queue_bounded"),
        (lambda rows: rows_without(rows, "try"), "no_duplicates"),
        (tried_again, "acknowledged_is_gone"),
        (another_dropped, "telemetry_accounted_for"),
        (lambda rows: rows[:-4], "queue_bounded"),
        (lambda rows: [row for row in rows if row[2] != "drop"], "telemetry_accounted_for"),
        (lambda rows: None, "queue_bounded"),
        (lambda rows: [*rows, "over"], "queue_bounded"),
        (lambda rows: [*rows, [0, 0, "put", 10**9, 0, 0]], "queue_bounded"),
        (lambda rows: [*rows, [0, 0, "put", True, 0, 0]], "queue_bounded"),
        (lambda rows: [*rows, [0, 0, "sent", 1, 0, 0]], "queue_bounded"),
        (lambda rows: [*rows, [0, 0, "put", -1, 0, 0]], "queue_bounded"),
        (lambda rows: [], "queue_bounded"),
    ],
)
def test_an_account_that_is_not_so_is_caught(forge: Callable[[Any], Any], caught: str) -> None:
    """It does not add up, or the receipts do not bear it out, or it is none: no check takes that for nothing found."""
    made = jammed()
    forged = forge(copy.deepcopy(made.rows))
    problems = made.problems(forged if forged is not None else {"log": 1})  # type: ignore[arg-type]
    assert problems[caught] or (forged == [] and problems["telemetry_accounted_for"])


def test_a_queue_beyond_its_bound_is_caught_though_its_account_adds_up() -> None:
    """The bound is the check's, and not the device's."""
    for bounds in ((checks.BOUND_RECORDS + 1, 10**6), (10**6, checks.BOUND_BYTES + 300)):
        made = Made("constant", pipeline="stress")
        made.box = Outbox(":memory:", *bounds)
        assert "queue_bounded" in names(made.feed().send(1000).problems())


def test_a_sender_that_takes_reports_first_is_caught_by_its_own_account_too() -> None:
    """Age alone, as an ordinary queue does it."""
    made = Made("cuts")
    made.feed(60)
    while (left := made.box.left()) or made.box.fed < len(made.messages):
        if left:
            with made.box._transaction():
                made.box._note("try", left[0])
            made.arrive(left[0])
            made.box.acked(left[0])
        made.feed(1)
    problems = made.problems()
    assert any("was tried while" in said for said, _ in problems["audit_first"])
    assert names(problems) == {"audit_first"}


def test_a_queue_that_drops_audit_records_is_caught() -> None:
    """One that drops the oldest, whatever it is."""
    made = Made("constant")
    made.feed(20)
    first = next(n for n in made.box.left() if made.messages[n - 1][1] == "audit")
    with made.box._transaction():
        made.box._db.execute("DELETE FROM message WHERE number = ?", (first,))
        made.box._note("drop", first)
    assert {"no_audit_record_lost", "telemetry_accounted_for"} <= names(made.through().problems())


def test_a_queue_that_drops_what_it_had_room_for_is_caught() -> None:
    """A loss is accounted for only where the queue was full."""
    made = Made("cuts")
    made.feed(20)
    first = next(n for n in made.box.left() if made.messages[n - 1][1] == "telemetry")
    with made.box._transaction():
        made.box._db.execute("DELETE FROM message WHERE number = ?", (first,))
        made.box._note("drop", first)
    assert names(made.through().problems()) == {"telemetry_accounted_for", "everything_came_once"}


def test_a_restart_from_memory_is_caught() -> None:
    """What the chaos is there to show: everything from the beginning, though most of it had come."""
    made = Made("cuts", pipeline="chaos").feed(40).send(30)
    made.box = Outbox(":memory:", checks.BOUND_RECORDS, checks.BOUND_BYTES)
    assert {"no_duplicates", "acknowledged_is_gone"} <= names(made.through().problems())


def test_what_came_through_a_jam_is_caught() -> None:
    """In the middle of it, by compared clocks; at its edges only what may have been in flight is allowed."""
    made = Made("constant").feed(40).send(10).jam(on=True).wait(1).send(1).wait(20).jam(on=False).wait(1).through()
    assert names(made.problems()) == set()
    made = Made("constant").feed(40).send(10).jam(on=True).wait(5).send(1).wait(20).jam(on=False).wait(1).through()
    assert names(made.problems()) == {"nothing_came_through_the_jam"}


def test_clocks_that_cannot_be_compared_so_well_allow_as_much_more() -> None:
    """The bound of the best hello of that boot is part of the slack; without any hello nothing is said."""
    made = Made("constant")
    made.coordinator.clear()
    made.hello(BOOT, AHEAD_NS, off_ns=8 * S)
    made.feed(40).send(10).jam(on=True).wait(5).send(1).wait(20).jam(on=False).wait(1).through()
    assert names(made.problems()) == set()
    made.hello(BOOT, AHEAD_NS)
    assert names(made.problems()) == {"nothing_came_through_the_jam"}
    made.coordinator.clear()
    assert names(made.problems()) == set()


def test_a_jam_that_ends_with_the_power_lasts_to_the_cut() -> None:
    """Nobody noted its end in that boot; what came in the next one is no matter of it."""
    made = Made("constant", "cuts").feed(60).send(10).jam(on=True).wait(10)
    made.note("cutting", execution=made.name, hold="recovery-1/1")
    made.wait(40).hello(NEXT_BOOT, AHEAD_NS + 7 * S)
    made.jam(on=False, boot=NEXT_BOOT, ahead_ns=AHEAD_NS + 7 * S).wait(2).through()
    assert names(made.problems()) == set()
    made.receipts[12]["boottime_ns"] = 1000 * S + 6 * S  # … but in the first one it was
    assert names(made.problems()) == {"nothing_came_through_the_jam"}


def test_a_reactive_jammer_lets_some_through() -> None:
    """It is on all the time, and things come; that says nothing."""
    made = Made("reactive").feed(40).send(10).jam(on=True).wait(5).send(5).wait(20).jam(on=False).wait(1).through()
    assert names(made.problems()) == set()


def test_a_jammer_of_which_nobody_tells_is_missed() -> None:
    """A schedule that is not there is not one that was kept; where none was planned, there is none to be missed."""
    assert names(Made("constant").through().problems()) == {"nothing_came_through_the_jam"}
    assert names(Made("bursts").through().problems()) == {"nothing_came_through_the_jam"}
    assert names(Made("cuts").through().problems()) == set()


@pytest.mark.parametrize(("after_s", "caught"), [(1, set()), (29, set()), (40, {"delivery_resumes"})])
def test_a_sender_that_does_not_come_back_is_caught(after_s: float, caught: set[str]) -> None:
    """Seconds from the jammer's end to the next message."""
    made = Made("constant").feed(40).send(10).jam(on=True).wait(20).jam(on=False).wait(after_s).through()
    assert names(made.problems()) == caught


def test_a_sender_that_was_cut_or_jammed_again_is_not_blamed() -> None:
    """Somebody else was the reason for its silence."""
    made = Made("constant").feed(40).send(10).jam(on=True).wait(20).jam(on=False).wait(5)
    made.note("cutting", execution=made.name, hold="recovery-1/1")
    assert names(made.wait(60).through().problems()) == set()
    made = Made("constant").feed(40).send(10).jam(on=True).wait(20).jam(on=False).wait(5)
    assert names(made.jam(on=True).wait(60).jam(on=False).wait(5).through().problems()) == set()


def test_the_checks_bounds_are_the_queues() -> None:
    """Two copies on purpose, because the device is not believed; they must mean the same."""
    assert (checks.BOUND_RECORDS, checks.BOUND_BYTES) == (outbox.BOUND_RECORDS, outbox.BOUND_BYTES)


def test_the_mock_data_are_the_generators(tmp_path: Path) -> None:
    """Nobody edited them by hand; and the adversarial ones hold what must not pass."""
    generate.write(tmp_path)
    for name in generate.FILES:
        assert (tmp_path / name).read_bytes() == (ENTRY / "mocks" / "data" / name).read_bytes()
    hostile = Made(pipeline="adversarial")
    assert len(hostile.messages) > 40
    assert not any("drone" in id or "-91" in id for id, _, _ in hostile.messages)
    assert sum(kind == "audit" for _, kind, _ in Made(pipeline="stress").messages) > checks.BOUND_RECORDS


# ---- the pipelines against a real broker ------------------------------------------------------------------------


class Broker:
    """amqtt in a process of its own, on one port: killed and started again as a far end that vanishes and comes back."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.log, self.process = folder / "receipts.jsonl", None
        self.log.touch()

    def start(self) -> None:
        command = [sys.executable, str(HERE / "broker.py"), str(self.port), str(self.log)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout
            self.process.stdout.close()
        self.process = None

    @property
    def receipts(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def has(self, count: int) -> None:
        """Waits until so many messages have come."""
        end = time.monotonic() + 60
        while len(self.receipts) < count:
            assert time.monotonic() < end, f"{len(self.receipts)} of {count} messages came"
            time.sleep(0.02)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    made.start()
    yield made
    made.kill()


class Jammer:
    """A relay before the broker. What a client sends passes; of the answers, those with a number in `jammed` are swallowed, and with
    `ends` the connection ends there. Numbered over all connections; the first of each (CONNACK) passes, and has no number."""

    def __init__(self, port: int, jammed: set[int], *, ends: bool) -> None:
        self.jammed, self.ends, self.answers, self._port = jammed, ends, 0, port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                threading.Thread(target=self._up, args=(client, far), daemon=True).start()
                threading.Thread(target=self._down, args=(client, far), daemon=True).start()

    def _up(self, client: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError), far:
            while data := client.recv(65536):
                far.sendall(data)

    def _down(self, client: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.sendall(far.recv(4))  # CONNACK
            while data := far.recv(4):  # PUBACK, one at a time as one message is under way
                self.answers += 1
                if self.answers not in self.jammed:
                    client.sendall(data)
                elif self.ends:
                    return


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stageflow and the entry's own wheels as a device has them."""
    folder = tmp_path_factory.mktemp("wheels")
    here = facts.hello(str(folder), "", 0)
    for wheel in (*fetch_wheels("1.2.0", here, cache_root(), print), *fetch_own_wheels(ENTRY, here, cache_root(), print)):
        zipfile.ZipFile(wheel).extractall(folder)
    return folder


class Desk:
    """One execution: its pipeline with plain Stageflow, in one working folder whatever happens to the process."""

    def __init__(self, wheels: Path, folder: Path, pipeline: str, port: int) -> None:
        self.pipeline, self.name, self.folder = pipeline, f"{pipeline}-1", folder / "work"
        self.folder.mkdir(exist_ok=True)
        paths = os.pathsep.join((str(wheels), str(ENTRY.parent)))
        self.environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
        self.environment |= {"FAR_END_MQTT": f"127.0.0.1:{port}", "FAR_END_TOPIC": self.name}
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, str(HERE / "desk.py"), "def_008", self.pipeline, str(self.folder)]
        self.process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def kill(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def outputs(self) -> dict[str, Any]:
        """Each stage's output data, at the end."""
        assert self.process
        out, err = self.process.communicate(timeout=200)
        assert self.process.returncode == 0, err[-2000:]
        found = json.loads(out.splitlines()[-1])
        assert isinstance(found, dict)
        return found

    def problems(self, outputs: dict[str, Any], receipts: list[dict[str, Any]]) -> dict[str, list[Any]]:
        """What each check says of an execution that gave these, over a link of which nobody tells."""
        made = Made(pipeline=self.pipeline)
        made.receipts, made.audit = receipts, outputs["audit"]
        return made.problems(outputs["account"]["log"])


@pytest.mark.real
def test_over_a_link_that_nobody_jams_every_message_comes_once(wheels: Path, broker: Broker, tmp_path: Path) -> None:
    """Through the real client and a real broker: byte for byte what the checks compute, and every check holds."""
    desk = Desk(wheels, tmp_path, "baseline", broker.port)
    desk.start()
    outputs = desk.outputs()
    assert names(desk.problems(outputs, broker.receipts)) == set()
    assert (outputs["account"]["unanswered"], outputs["account"]["left"]) == (0, [])


@pytest.mark.real
def test_a_far_end_that_vanishes_and_comes_back_gets_everything_that_was_not_dropped(wheels: Path, broker: Broker, tmp_path: Path) -> None:
    """Killed while messages come, and away until the queue is full: no audit record is lost, each lost report is accounted for."""
    desk = Desk(wheels, tmp_path, "stress", broker.port)
    desk.start()
    broker.has(60)
    broker.kill()
    watching = sqlite3.connect(desk.folder / "outbox.db", timeout=30)
    end = time.monotonic() + 120
    while not watching.execute("SELECT count(*) FROM log WHERE what = 'drop'").fetchone()[0]:
        assert time.monotonic() < end
        time.sleep(0.1)
    watching.close()
    broker.start()
    outputs = desk.outputs()
    assert outputs["account"]["dropped"]
    assert names(desk.problems(outputs, broker.receipts)) == {"everything_came_once"}


@pytest.mark.real
@pytest.mark.parametrize("ends", [True, False], ids=["and the connection ends", "and nobody says so"])
def test_whose_answers_are_jammed_sends_again_and_only_that(ends: bool, wheels: Path, broker: Broker, tmp_path: Path) -> None:
    """Each swallowed acknowledgement is one message that comes twice; all others come once."""
    swallowed = {1, 5, 6, 7, 20, 41} if ends else {3, 30}
    jammer = Jammer(broker.port, swallowed, ends=ends)
    desk = Desk(wheels, tmp_path, "adversarial", jammer.port)
    desk.start()
    outputs = desk.outputs()
    jammer.close()
    assert names(desk.problems(outputs, broker.receipts)) == {"everything_came_once"}
    assert outputs["account"]["unanswered"] == len(swallowed)
    assert len(broker.receipts) - len({receipt["id"] for receipt in broker.receipts}) == len(swallowed)


@pytest.mark.real
def test_a_process_that_is_killed_while_it_sends_goes_on_where_it_was(wheels: Path, broker: Broker, tmp_path: Path) -> None:
    """Twice, in the same working folder: nothing that was acknowledged goes again, at most one message a kill comes twice."""
    desk = Desk(wheels, tmp_path, "recovery", broker.port)
    for count in (30, 90):
        desk.start()
        broker.has(count)
        desk.kill()
    desk.start()
    outputs = desk.outputs()
    assert names(desk.problems(outputs, broker.receipts)) <= {"everything_came_once"}
    assert len(broker.receipts) - len({receipt["id"] for receipt in broker.receipts}) <= 2


@pytest.mark.real
def test_a_queue_in_memory_sends_again_what_had_come(wheels: Path, broker: Broker, tmp_path: Path) -> None:
    """What the chaos is to find, found: killed and begun again, most messages come twice, and its account knows nothing of it."""
    desk = Desk(wheels, tmp_path, "chaos", broker.port)
    desk.start()
    broker.has(40)
    desk.kill()
    desk.start()
    found = desk.problems(desk.outputs(), broker.receipts)
    assert {"no_duplicates", "acknowledged_is_gone"} <= names(found)
    assert "more like it" in found["no_duplicates"][0][0]


@pytest.mark.real
def test_without_a_far_end_the_sender_says_so(wheels: Path, tmp_path: Path) -> None:
    """No address in the environment: an error by name, and not four minutes of silence."""
    desk = Desk(wheels, tmp_path, "adversarial", 1)
    del desk.environment["FAR_END_MQTT"]
    desk.start()
    assert desk.process
    _, err = desk.process.communicate(timeout=60)
    assert desk.process.returncode
    assert "FAR_END_MQTT and FAR_END_TOPIC do not say where the other side is" in err
