"""EDGE-003 without a device: its stages against a moody far end, and each of its checks against evidence that was forged."""

from __future__ import annotations

import hashlib
import importlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.judgement.judge import entry_checks
from runner.lab.where import builtin_root
from tests.pipelines.hosted import hosted
from tests.pipelines.little_far_end import LittleFarEnd

FOLDER = builtin_root() / "pipelines" / "edge_003"
CHECKS = entry_checks(FOLDER)
TABLE = json.loads((FOLDER / "mocks" / "far_end" / "assets.json").read_text())
LOCAL = json.loads((FOLDER / "mocks" / "data" / "fallback" / "assets_fallback_3.json").read_text())
BOOT = "b" * 32
S = 1_000_000_000


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a device: the entry is a package beside Stageflow, and a stage works in a folder of its own."""
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    monkeypatch.chdir(tmp_path)


def part(name: str) -> Any:
    """One of the modules of the stages; none of these needs Stageflow."""
    return importlib.import_module(f"edge_003.stages.{name}")


@pytest.fixture
def far_end() -> Iterator[LittleFarEnd]:
    with LittleFarEnd({"assets": TABLE}) as there:
        yield there


def client(far_end: LittleFarEnd, least_s: float = 0.5) -> Any:
    module = part("far_end")
    return module.FarEnd(far_end.base, module.Patience(least_s=least_s, most_s=10.0))


# ---- asking -----------------------------------------------------------------------------------------------------------


def test_patience_grows_with_what_the_link_has_shown() -> None:
    """Slow answers make it wait longer, failures too, but a link that has answered fast is not waited for as if it had not."""
    patience = part("far_end").Patience(least_s=6, most_s=60)
    assert patience.wait_s == 6
    for wait_s in (12, 24, 48, 60, 60):
        patience.failed()
        assert patience.wait_s == wait_s
    assert patience.pause_s == 5
    patience.answered(0.1)
    assert (patience.wait_s, patience.pause_s) == (6, 0.5)
    patience.failed()
    patience.failed()
    assert patience.wait_s == 12
    for _ in range(20):
        patience.answered(10.0)
    assert 35 < patience.wait_s <= 40


@pytest.mark.parametrize("mood", ["drop", "lose", "wait"])
def test_no_answer_is_unreachable_and_the_next_question_begins_anew(far_end: LittleFarEnd, mood: str) -> None:
    """Whatever became of the question; and the one after it is answered."""
    asking = client(far_end)
    far_end.moods.append(mood)
    with pytest.raises(part("far_end").Unreachable):
        asking.lookup("assets", "pump-01")
    assert asking.lookup("assets", "pump-01").status == 200


def test_a_connection_that_the_far_end_had_closed_says_nothing_of_the_link(far_end: LittleFarEnd) -> None:
    """A question over a connection that was kept is asked once more at once; that is no failure."""
    asking = client(far_end)
    assert asking.lookup("assets", "pump-01").status == 200
    far_end.moods.append("drop")
    assert asking.lookup("assets", "pump-02").status == 200
    assert asking.patience.failures == 0


def test_one_connection_is_kept_and_names_are_quoted(far_end: LittleFarEnd) -> None:
    """A machine's name cannot reach another path than its own."""
    asking = client(far_end)
    assert asking.lookup("assets", "../records/x").status == 404
    assert far_end.asked == ["GET /recovery-1/lookup/assets/..%2Frecords%2Fx"]


def test_nobody_there_is_unreachable_until_somebody_comes(far_end: LittleFarEnd) -> None:
    """Gone, and back on the same port."""
    asking = client(far_end)
    far_end.close()
    with pytest.raises(part("far_end").Unreachable):
        asking.lookup("assets", "pump-01")
    far_end.open()
    assert asking.lookup("assets", "pump-01").status == 200


# ---- enriching --------------------------------------------------------------------------------------------------------


def test_each_source_is_named_and_the_far_end_is_left_alone_while_it_is_away(far_end: LittleFarEnd) -> None:
    """Two questions without an answer, and the link counts as down; asked again only after a while, and then it is up."""
    now = [0.0]
    enricher = part("enriching").Enricher(client(far_end), LOCAL, clock=lambda: now[0])
    known, told = enricher.enrich({"asset": "pump-01"})
    assert (known, told["source"], told["why"]) == (TABLE["pump-01"], "remote", "")
    far_end.close()
    known, gone = enricher.enrich({"asset": "pump-02"})
    assert (known, gone["source"], gone["why"]) == (LOCAL["pump"], "fallback", "unreachable")
    far_end.open()
    _, still = enricher.enrich({"asset": "pump-03"})
    assert (still["source"], far_end.asked[1:]) == ("fallback", [])
    assert gone["asked_ns"] <= still["asked_ns"] < gone["answered_ns"] < still["answered_ns"]
    now[0] = 3.0
    known, back = enricher.enrich({"asset": "pump-04"})
    assert (known, back["source"]) == (TABLE["pump-04"], "remote")
    assert back["asked_ns"] > still["answered_ns"]


@pytest.mark.parametrize(
    ("row", "why"),
    [(None, "unknown"), ({"site": "x"}, "wrong answer"), ({"site": "x", "criticality": 99}, "wrong answer"), ([], "wrong answer")],
)
def test_an_answer_without_sense_is_not_believed(far_end: LittleFarEnd, row: Any, why: str) -> None:
    """The far end does not know the machine, or says what cannot be: the device's own table, and the reason."""
    far_end.tables = {"assets": {} if row is None else {"fan-01": row}}
    known, told = part("enriching").Enricher(client(far_end), LOCAL).enrich({"asset": "fan-01"})
    assert (known, told["source"], told["why"]) == (LOCAL["fan"], "fallback", why)


# ---- store and forward ------------------------------------------------------------------------------------------------


def test_the_queue_keeps_what_was_put_in_once_and_in_order() -> None:
    """Opened again it is as it was; the same id goes in once, and what was sent is owed no more."""
    outbox = part("outbox").Outbox()
    assert [outbox.put(name, name.encode()) for name in ("a", "b", "a", "c")] == [True, True, False, True]
    outbox.sent(1, "a")
    outbox.close()
    outbox = part("outbox").Outbox()
    assert (outbox.next(), outbox.depth, outbox.put_in) == ((2, "b", b"b", 0), 2, 3)
    assert outbox.put("a", b"other") is False
    assert [row[2] for row in outbox.depths()] == [1, 2, 3, 2]
    outbox.close()


def test_every_change_is_on_the_disk_when_it_returns() -> None:
    """The database says so of itself: every commit waits for the disk."""
    outbox = part("outbox").Outbox()
    assert outbox._db.execute("PRAGMA synchronous").fetchone() == (2,)
    outbox.put("a", b"a")
    with sqlite3.connect("outbox.db") as other:
        assert other.execute("SELECT id FROM queue").fetchall() == [("a",)]
    outbox.close()


def test_a_queue_that_is_told_thinly_keeps_its_ends_and_its_deepest() -> None:
    """Of hundreds of depths the first, the deepest and the last are among the few that are told."""
    outbox = part("outbox").Outbox()
    for number in range(40):
        outbox.put(f"{number}", b"")
    for number in range(1, 41):
        outbox.sent(number, str(number))
    told = [row[2] for row in outbox.depths(most=7)]
    assert (told[0], max(told), told[-1]) == (1, 40, 0) and len(told) <= 8
    outbox.close()


def forward(far_end: LittleFarEnd, count: int, **settings: Any) -> dict[str, Any]:
    outbox = part("outbox").Outbox()
    for number in range(1, count + 1):
        outbox.put(f"id{number}", f"body {number}".encode(), 5)
    told: dict[str, Any] = part("forwarding").drain(outbox, client(far_end), sleep=lambda duration_s: None, **settings)
    outbox.close()
    return told


def test_lost_answers_and_lost_questions_cost_a_repeat_and_no_record(far_end: LittleFarEnd) -> None:
    """One answer lost, one question lost, one never answered: each record is new once, in order, and one was there when it came again."""
    far_end.moods += ["", "lose", "lose", "", "drop", "drop", "wait"]
    told = forward(far_end, 4)
    assert (told["sent"], told["left"], told["refused"]) == (4, 0, 0)
    assert told["had_it"] >= 1 and told["unanswered"] >= 1
    assert [(r["id"], r["sequence"]) for r in far_end.receipts if r["first"]] == [(f"id{n}", n) for n in range(1, 5)]


def test_it_comes_back_and_the_queue_empties(far_end: LittleFarEnd) -> None:
    """Away when it begins, and back while it tries: nobody has to start it again."""
    far_end.close()
    pauses = []

    def sleep(duration_s: float) -> None:
        pauses.append(duration_s)
        if len(pauses) == 3:
            far_end.open()

    outbox = part("outbox").Outbox()
    outbox.put("a", b"a")
    told = part("forwarding").drain(outbox, client(far_end), sleep=sleep)
    assert (told["sent"], told["unanswered"]) == (1, 3)
    assert pauses == [1.0, 2.0, 4.0, 0.0]
    outbox.close()


def test_it_gives_up_in_the_end_and_keeps_what_it_has(far_end: LittleFarEnd) -> None:
    """By its number of tries, or by the time without an answer; what is owed stays in the queue."""
    far_end.close()
    assert forward(far_end, 3, tries=2)["left"] == 3
    now = iter(range(0, 10_000, 100))
    told = forward(far_end, 3, clock=lambda: next(now))
    assert (told["left"], told["unanswered"]) == (3, 6)


def test_a_poisoned_id_holds_up_nobody(far_end: LittleFarEnd) -> None:
    """Other bytes under it: it goes out under its other name; that one taken, too: it is kept, and the rest goes out."""
    far_end.records["id2"] = b"forged"
    told = forward(far_end, 3)
    other = part("forwarding").other_name("id2", b"body 2")
    assert (told["renamed"], told["left"], told["refused"]) == ([["id2", other]], 0, 0)
    far_end.records |= {"id4": b"forged", part("forwarding").other_name("id4", b"body 4"): b"forged"}
    told = forward(far_end, 5)
    assert (told["sent"], told["left"], told["refused"]) == (1, 0, 1)


# ---- the checks -------------------------------------------------------------------------------------------------------


class Told:
    """Evidence of one execution in which everything went well, made by the stages' own functions. Forge it."""

    def __init__(self, pipeline: str = "baseline", away: tuple[int, int] | None = None) -> None:
        """`away`: which findings, [from, to), were enriched while the link was cut; a minute's outage is made of it."""
        events = part("events")
        name = {"stress": "scale/events_valid_3k.csv", "adversarial": "adversarial/events_strangers_240.csv"}
        found = events.findings(events.read(name.get(pipeline, "happy_path/events_valid_300.csv"))[0])
        away = away or (0, 0)
        enriched, lookups, self.told, self.faulty = [], [], [], []
        for place, finding in enumerate(found):
            cut, known = away[0] <= place < away[1], finding["asset"] in TABLE
            source = "remote" if known and not cut else "fallback"
            why = "" if source == "remote" else "unreachable" if cut else "unknown"
            row = TABLE[finding["asset"]] if source == "remote" else LOCAL.get(finding["asset"].partition("-")[0])
            enriched.append({**finding, **(row or {"site": "unknown", "criticality": 9}), "source": source})
            asked_ns = (100 + 10 * place) * S
            lookups.append(
                {"id": finding["id"], "source": source, "why": why, "asked_ns": asked_ns, "answered_ns": asked_ns + S, "boot": BOOT}
            )
            if not cut:
                self.told.append({"service": "lookup", "id": finding["asset"], "first": known, "status": 200 if known else 404})
        if away[1]:
            for on, at_s in ((True, 95 + 10 * away[0]), (False, 95 + 10 * away[1])):
                self.faulty.append({"program": "p", "fault": "offline", "word": "", "on": on, "boottime_ns": at_s * S, "boot_id": BOOT})
        ranked = events.ranked(enriched)
        bodies = {each["id"]: events.canonical(each) for each in ranked}
        self.order, renamed = [each["id"] for each in ranked], []
        for sequence, record in enumerate(self.order, 1):
            told_as = record
            if pipeline == "adversarial" and sequence == len(ranked) // 2:
                self.told.append(receipt(record, forged_by_the_intruder(record)))
                told_as = part("forwarding").other_name(record, bodies[record])
                renamed.append([record, told_as])
                self.told.append(receipt(record, bodies[record], sequence, first=False, status=409))
            self.told.append(receipt(told_as, bodies[record], sequence))
        depths = [[BOOT, number, depth] for number, depth in enumerate([*range(1, len(ranked) + 1), *reversed(range(len(ranked)))])]
        self.outputs = {
            "detect": {"ids": [each["id"] for each in found]},
            "enrich": {"lookups": lookups},
            "rank": {"order": self.order},
            "queue": {"bodies": [[each, hashlib.sha256(bodies[each]).hexdigest()] for each in self.order]},
            "forward": {"left": 0, "renamed": renamed, "depths": depths},
        }
        self.pipeline, self.cuts, self.kinds = pipeline, [], {}
        self.planned = False  # whether an outage was, though nothing says that it came

    @property
    def records(self) -> list[dict[str, Any]]:
        return [said for said in self.told if said["service"] == "records"]

    def says(self, check: str) -> list[str]:
        """What a check finds, each with a place in the run folder."""
        execution = SimpleNamespace(
            name=f"{self.pipeline}-1",
            stands_for=f"{self.pipeline}-1",
            journal_file="results/journal/device.journal",
            outputs={stage: {"status": "ok", "data": data, "files": {}} for stage, data in self.outputs.items()},
            cuts=self.cuts,
            of_kind=lambda kind: self.kinds.get(kind, []),
            where=lambda record: "results/journal/device.journal#1",
        )
        evidence: Any = SimpleNamespace(
            plan={
                "scenarios": {self.pipeline: {"pipeline": self.pipeline}},
                "executions": [{"name": f"{self.pipeline}-1", "links": [{"fault": "offline"}] if self.faulty or self.planned else []}],
            },
            coordinator=[],
            of=lambda scenario: [execution],
            receipts=lambda name: self.told,
            faults=lambda name: self.faulty,
        )
        found = CHECKS[check](evidence, self.pipeline)
        assert all(where.startswith("results/journal/") for _, where in found)
        return [problem for problem, _ in found]


def receipt(record: str, body: bytes, sequence: int | None = None, first: bool = True, status: int = 201) -> dict[str, Any]:
    said = {"service": "records", "id": record, "sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body), "first": first}
    return {**said, "status": status, **({} if sequence is None else {"sequence": sequence})}


def asset_of(told: Told, place: int) -> str:
    record = told.outputs["detect"]["ids"][place]
    events = part("events")
    return str({each["id"]: each for each in events.findings(events.read("happy_path/events_valid_300.csv")[0])}[record]["asset"])


def forged_by_the_intruder(record: str) -> bytes:
    return json.dumps({"id": record, "kind": "nothing to see here"}).encode()


OWN = ("findings_true", "nothing_lost", "received_once", "order_kept", "fallback_honest", "depth_told")


def wrong(told: Told, *more: str) -> dict[str, list[str]]:
    """What each of the entry's checks finds, if it finds something."""
    return {check: found for check in (*OWN, *more) if (found := told.says(check))}


@pytest.mark.parametrize(("pipeline", "away"), [("baseline", None), ("recovery", (5, 12)), ("stress", (20, 90)), ("adversarial", (3, 9))])
def test_every_check_holds_where_all_went_well(pipeline: str, away: tuple[int, int] | None) -> None:
    """The negative control, link or no link: nothing is found where nothing is wrong."""
    told = Told(pipeline, away)
    assert wrong(told) == {}
    if pipeline == "adversarial":
        assert told.says("poison_withstood") == []
    if away:
        assert told.says("outage_met") == []


def lose(told: Told) -> None:
    told.told.remove(told.records[3])


def lose_the_last(told: Told) -> None:
    told.told.remove(told.records[-1])
    told.outputs["forward"]["left"] = 1


def alter_on_the_way(told: Told) -> None:
    told.records[3]["sha256"] = "0" * 64


def make_one_up(told: Told) -> None:
    told.told.append(receipt("f" * 32, b"made up", len(told.order) + 1))


def be_new_twice(told: Told) -> None:
    told.told.append({**told.records[3]})


def come_again(told: Told) -> None:
    told.told.append({**told.records[3], "first": False, "status": 200})


def come_again_too_often(told: Told) -> None:
    told.faulty = [{"program": "p", "fault": "offline", "on": True, "boottime_ns": 1, "boot_id": BOOT}]
    told.told += [{**told.records[3], "first": False, "status": 200}] * 2


def overtake(told: Told) -> None:
    a, b = (told.told.index(each) for each in told.records[3:5])
    told.told[a], told.told[b] = told.told[b], told.told[a]


def be_numbered_wrongly(told: Told) -> None:
    told.records[3]["sequence"] = 5


def rank_by_luck(told: Told) -> None:
    told.outputs["rank"]["order"].reverse()


def find_too_little(told: Told) -> None:
    told.outputs["detect"]["ids"].pop()


def queue_something_else(told: Told) -> None:
    told.outputs["queue"]["bodies"][2][1] = "0" * 64


def say_remote_without_an_answer(told: Told) -> None:
    told.told.remove(next(each for each in told.told if each["service"] == "lookup"))


def say_nothing_of_one(told: Told) -> None:
    told.outputs["enrich"]["lookups"].pop(3)


def say_fallback_with_the_link_up(told: Told) -> None:
    told.outputs["enrich"]["lookups"][0] |= {"source": "fallback", "why": "unreachable"}


def say_that_the_far_end_does_not_know(told: Told) -> None:
    told.outputs["enrich"]["lookups"][0] |= {"source": "fallback", "why": "unknown"}


def be_ever_deeper(told: Told) -> None:
    told.outputs["forward"]["depths"][-1][2] = 4


def be_deeper_than_there_are(told: Told) -> None:
    told.outputs["forward"]["depths"][5][2] = 9999


def tell_no_depth(told: Told) -> None:
    told.outputs["forward"]["depths"] = ["deep"]


def tell_the_depth_out_of_time(told: Told) -> None:
    told.outputs["forward"]["depths"][5][1] = 0


@pytest.mark.parametrize(
    ("forge", "check"),
    [
        (lose, "nothing_lost"),
        (lose_the_last, "nothing_lost"),
        (alter_on_the_way, "nothing_lost"),
        (make_one_up, "nothing_lost"),
        (be_new_twice, "received_once"),
        (come_again, "received_once"),
        (come_again_too_often, "received_once"),
        (lose, "order_kept"),
        (overtake, "order_kept"),
        (be_numbered_wrongly, "order_kept"),
        (rank_by_luck, "findings_true"),
        (find_too_little, "findings_true"),
        (queue_something_else, "findings_true"),
        (say_remote_without_an_answer, "fallback_honest"),
        (say_nothing_of_one, "fallback_honest"),
        (say_fallback_with_the_link_up, "fallback_honest"),
        (say_that_the_far_end_does_not_know, "fallback_honest"),
        (be_ever_deeper, "depth_told"),
        (be_deeper_than_there_are, "depth_told"),
        (tell_no_depth, "depth_told"),
        (tell_the_depth_out_of_time, "depth_told"),
    ],
)
def test_what_is_forged_is_found(forge: Callable[[Told], None], check: str) -> None:
    """One thing wrong, and the check that promises it says so."""
    told = Told()
    forge(told)
    assert told.says(check)


def test_a_fallback_that_is_claimed_as_remote_is_found_in_two_ways() -> None:
    """No answer of the far end's stands behind it; and if one did, the link was cut from before the question until behind it."""
    told = Told("recovery", away=(5, 12))
    told.outputs["enrich"]["lookups"][8]["source"] = "remote"
    assert "has answered no such lookup" in told.says("fallback_honest")[0]
    told.told.append({"service": "lookup", "id": asset_of(told, 8), "first": True, "status": 200})
    assert "cut from before it asked" in told.says("fallback_honest")[0]


def test_what_nobody_can_know_is_held_against_nobody() -> None:
    """Near an outage's edge the answer may have come or not; after a cut of the power the outage is over with its boot."""
    told = Told("recovery", away=(5, 12))
    told.faulty[0]["boottime_ns"] = told.outputs["enrich"]["lookups"][5]["asked_ns"] + S // 2
    assert told.says("fallback_honest") == []
    told.faulty[0]["boot_id"] = told.faulty[1]["boot_id"] = "c" * 32
    assert len(told.says("fallback_honest")) == 7


def test_boot_ids_with_dashes_are_the_same_boots() -> None:
    """The guard's and the stage's writing of one boot id."""
    told = Told("recovery", away=(5, 12))
    for said in told.faulty:
        said["boot_id"] = "-".join((BOOT[:8], BOOT[8:12], BOOT[12:16], BOOT[16:20], BOOT[20:]))
    assert told.says("fallback_honest") == []


@pytest.mark.parametrize("excuse", ["fault", "cut", "restart"])
def test_a_lost_acknowledgement_excuses_one_repeat_each(excuse: str) -> None:
    """A link fault, a power cut, a restart: each can have cost one, and none has cost two."""
    told = Told()
    if excuse == "fault":
        told.faulty = [{"program": "p", "fault": "offline", "on": on, "boottime_ns": 1, "boot_id": BOOT} for on in (True, False)]
    told.cuts = [object()] if excuse == "cut" else []
    told.kinds = {"restored": [object()]} if excuse == "restart" else {}
    come_again(told)
    assert told.says("received_once") == []
    come_again(told)
    assert len(told.says("received_once")) == 1


def test_an_outage_that_met_nothing_is_told() -> None:
    """Then the run has shown nothing of it; where there was none, under another profile, there is nothing to show."""
    told = Told("recovery")
    assert told.says("outage_met") == []
    told.faulty = [{"program": "p", "fault": "offline", "on": True, "boottime_ns": 1, "boot_id": BOOT}]
    assert len(told.says("outage_met")) == 1


@pytest.mark.parametrize(("cut_in", "source", "told_of"), [("", "fallback", 1), ("enrich", "fallback", 0), ("enrich", "remote", 1)])
def test_an_enrichment_that_began_again_may_lie_in_the_outage_as_a_whole(cut_in: str, source: str, told_of: int) -> None:
    """Behind a power cut nothing of it need have been looked up; but without any fallback the outage was not met."""
    told = Told("recovery")
    told.faulty = [{"program": "p", "fault": "offline", "on": True, "boottime_ns": 1, "boot_id": BOOT}]
    told.cuts = [SimpleNamespace(stage=cut_in)] if cut_in else []
    for finding in told.outputs["enrich"]["lookups"]:
        finding["source"] = source
    assert len(told.says("outage_met")) == told_of


def test_an_outage_that_was_planned_and_never_came_is_told() -> None:
    """An empty journal of the guard is no proof that another profile was laid over the scenario: the plan says what was asked."""
    told = Told("recovery")
    told.planned = True
    assert told.says("outage_met") == ["recovery-1: the outage that was planned never came"]


def test_what_is_put_on_again_behind_a_restart_puts_no_acknowledgement_at_risk() -> None:
    """It was on before; the restart itself counts."""
    told = Told()
    told.faulty = [{"program": "p", "fault": "offline", "on": True, "boottime_ns": 1, "boot_id": BOOT, "replayed": True}]
    come_again(told)
    assert len(told.says("received_once")) == 1


def leave_it_alone(told: Told) -> None:
    forged = {hashlib.sha256(forged_by_the_intruder(name)).hexdigest() for name in told.order}
    told.told = [each for each in told.told if each.get("sha256") not in forged]


def hide_what_was_done(told: Told) -> None:
    told.outputs["forward"]["renamed"] = []


def drop_what_was_poisoned(told: Told) -> None:
    told.told = [each for each in told.told if len(each["id"]) != 49]


@pytest.mark.parametrize("forge", [leave_it_alone, hide_what_was_done, drop_what_was_poisoned])
def test_a_poison_that_was_not_there_or_not_withstood_is_found(forge: Callable[[Told], None]) -> None:
    """Nobody had taken an id; or it was taken, and the device does not say what it did, or gave the finding up."""
    told = Told("adversarial")
    forge(told)
    assert told.says("poison_withstood")


def test_a_retry_that_stageflow_took_no_notice_of_is_found() -> None:
    """A stage ended by asking for another try, nothing came of it, and the pipeline is done; not so where the try was given."""
    told = Told("chaos")
    asked = SimpleNamespace(payload={"stage": "forward", "status": "retry", "error": "3 findings are still to be sent"})
    told.kinds = {"stage_finished": [asked], "finished": [object()]}
    assert told.says("retry_heeded") == []
    told.outputs["forward"]["left"] = 3
    found = _with_status(told, "retry")
    assert len(found) == 1 and "3 findings" in found[0]


def _with_status(told: Told, status: str) -> list[str]:
    execution = SimpleNamespace(
        name="chaos-1",
        outputs={"forward": {"status": status, "data": told.outputs["forward"]}},
        of_kind=lambda kind: told.kinds.get(kind, []),
        where=lambda record: "results/journal/device.journal#9",
    )
    evidence: Any = SimpleNamespace(of=lambda scenario: [execution])
    return [problem for problem, _ in CHECKS["retry_heeded"](evidence, "chaos")]


def test_the_mock_data_are_the_generators() -> None:
    """Nobody edited them by hand: the generator makes the same files again."""
    generate = importlib.import_module("edge_003.mocks.generate")
    for path, made in generate.FILES.items():
        assert path.read_text(encoding="utf-8") == made()


# ---- whole pipelines, in a host with Stageflow ------------------------------------------------------------------------


def judged(outputs: dict[str, dict[str, Any]], far_end: LittleFarEnd, pipeline: str, faulty: list[dict[str, Any]] | None = None) -> Told:
    """Evidence of what really ran."""
    told = Told(pipeline)
    told.outputs = {stage: said["data"] for stage, said in outputs.items()}
    told.told, told.faulty = far_end.receipts, faulty or []
    return told


@pytest.mark.real
@pytest.mark.parametrize("pipeline", ["baseline", "recovery", "stress", "adversarial"])
def test_each_pipeline_satisfies_its_own_checks(far_end: LittleFarEnd, tmp_path: Path, pipeline: str) -> None:
    """With the link up: everything arrives, once, in order; strangers fall back, and the poisoned one goes out under its other name."""
    outputs = hosted("edge_003", pipeline, tmp_path / "work", {"FAR_END_HTTP": far_end.base})
    told = judged(outputs, far_end, pipeline)
    assert wrong(told) == {}
    if pipeline == "adversarial":
        assert told.says("poison_withstood") == []


@pytest.mark.real
def test_a_queue_outlives_its_host_and_the_link(far_end: LittleFarEnd, tmp_path: Path) -> None:
    """Killed when it begins to forward, begun again in the same folder: everything was there, and went out once."""
    variables = {"FAR_END_HTTP": far_end.base}
    first = hosted("edge_003", "recovery", tmp_path / "work", variables, kill_at="forward")
    assert first["queue"]["data"]["depth"] > 0 and not [each for each in far_end.receipts if each["service"] == "records"]
    again = hosted("edge_003", "recovery", tmp_path / "work", variables)
    assert again["queue"]["data"]["from_before"] == again["queue"]["data"]["queued"]
    told = judged(again, far_end, "recovery")
    assert wrong(told) == {}


@pytest.mark.real
def test_the_link_leaves_in_the_middle_and_comes_back(far_end: LittleFarEnd, tmp_path: Path) -> None:
    """Gone from the fifth lookup on for some seconds: the rest falls back, the queue waits, and all of it arrives. Nothing is claimed."""
    boot, now_ns = part("clock").boot_id(), part("clock").boottime_ns
    faulty: list[dict[str, Any]] = []

    def note(on: bool) -> None:
        faulty.append({"program": "p", "fault": "offline", "word": "", "on": on, "boottime_ns": now_ns(), "boot_id": boot})

    real, seen = far_end.answer, threading.Event()

    def answer(*asked: Any) -> Any:
        if len(far_end.receipts) == 4 and not seen.is_set():
            seen.set()
        return real(*asked)

    far_end.answer = answer  # type: ignore[method-assign]

    def outage() -> None:
        seen.wait(60)
        note(True)
        far_end.close()
        threading.Event().wait(5.0)
        far_end.open()
        note(False)

    leaving = threading.Thread(target=outage)
    leaving.start()
    outputs = hosted("edge_003", "recovery", tmp_path / "work", {"FAR_END_HTTP": far_end.base})
    leaving.join()
    told = judged(outputs, far_end, "recovery", faulty)
    assert wrong(told, "outage_met") == {}


@pytest.mark.real
def test_plain_stageflow_takes_no_notice_of_a_stage_that_asks_for_another_try(far_end: LittleFarEnd, tmp_path: Path) -> None:
    """What chaos is there to show: two tries in vain, `retry` said, nothing tried again, the pipeline done, and findings left."""
    far_end.close()
    outputs = hosted("edge_003", "chaos", tmp_path / "work", {"FAR_END_HTTP": far_end.base})
    assert outputs["forward"]["status"] == "retry"
    assert outputs["forward"]["data"]["left"] == outputs["queue"]["data"]["queued"] > 0
