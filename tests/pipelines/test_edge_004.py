"""EDGE-004 without a device: its stages against a moody far end, and each of its checks against evidence that was forged."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.judgement.judge import entry_checks
from runner.lab.where import builtin_root
from tests.pipelines.hosted import hosted
from tests.pipelines.little_far_end import LittleFarEnd

FOLDER = builtin_root() / "pipelines" / "edge_004"
CHECKS = entry_checks(FOLDER)
BOOT, S = "b" * 32, 1_000_000_000
DATA = bytes(range(256)) * 40  # 10,240 bytes


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a device: the entry is a package beside Stageflow, and a stage works in a folder of its own."""
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    monkeypatch.chdir(tmp_path)


def part(name: str) -> Any:
    """One of the modules of the stages; none of these needs Stageflow."""
    return importlib.import_module(f"edge_004.stages.{name}")


@pytest.fixture
def far_end() -> Iterator[LittleFarEnd]:
    with LittleFarEnd() as there:
        yield there


def quick() -> Any:
    """A pacer with small pieces, and waits of tenths of a second: what is too slow here is left unanswered on purpose."""
    return type("Quick", (part("planning").Pacer,), {"wait_s": lambda self, size: 0.4, "piece_bytes": 1024})()


def sync(far_end: LittleFarEnd, data: bytes = DATA, **settings: Any) -> Any:
    settings = {"sleep": lambda duration_s: None, **settings}
    return part("syncing").Sync(part("far_end").FarEnd(far_end.base), quick(), "day-1", data, **settings)


def accepted(far_end: LittleFarEnd) -> list[tuple[int, int]]:
    return [(r["offset"] - r["bytes"], r["offset"]) for r in far_end.receipts if r.get("status") == 204]


def whole(far_end: LittleFarEnd) -> bool:
    """Everything arrived, each byte accepted once and in order."""
    ends = [0, *(end for _, end in accepted(far_end))]
    return far_end.uploads["day-1"]["data"] == DATA and [begin for begin, _ in accepted(far_end)] == ends[:-1]


# ---- planning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("goodput", "last", "expected"),
    [(None, 0, 1024), (33, 16384, 1024), (1000, 16384, 4000), (8000, 16384, 16384), (1e9, 16384, 16384), (1e9, 1024, 2048), (1e9, 0, 1024)],
)
def test_a_piece_is_what_the_link_carries_in_four_seconds(goodput: float | None, last: int, expected: int) -> None:
    """Within the smallest and the largest, and twice the one before; the smallest, where nothing has been measured."""
    assert part("planning").piece_bytes(goodput, last) == expected


def test_waits_fit_the_slowest_line_and_grow_with_failures_to_a_cap() -> None:
    """At 264 bit/s a piece of 1,024 bytes takes 45 s with its headers; a wait is longer than that, and never for ever."""
    pacer = part("planning").Pacer()
    assert pacer.wait_s(1024) == 60 > (1024 + 450) / 33
    pacer.acknowledged(1024, 45.0)
    assert pacer.wait_s(1024) > 240 - 1 and pacer.piece_bytes == 1024
    fast = part("planning").Pacer(8000, 16384)
    waits = []
    for _ in range(7):
        waits.append(fast.wait_s(16384))
        fast.failed()
    assert waits == sorted(waits) and waits[0] < 20 and waits[-1] == 240
    assert (fast.piece_bytes, fast.pause_s) == (1024, 8.0)


def test_what_was_measured_follows_the_link() -> None:
    """Half of what was known, half of what the last piece showed; an acknowledgement ends the failures."""
    pacer = part("planning").Pacer(8000)
    pacer.failed()
    pacer.acknowledged(4000, 4.0)
    assert (pacer.goodput, pacer.failures) == (4500, 0)


# ---- uploading --------------------------------------------------------------------------------------------------------


def test_an_undisturbed_upload_asks_nothing_twice(far_end: LittleFarEnd) -> None:
    """Begun, sent piece by piece, done."""
    sending = sync(far_end)
    assert sending.send(sending.begin()) == len(DATA)
    assert whole(far_end) and {line.split()[0] for line in far_end.asked} == {"POST", "PATCH"}
    assert far_end.bytes_in == len(DATA)


@pytest.mark.parametrize("mood", ["drop", "lose", "wait"])
def test_an_interruption_is_gone_on_with_from_where_the_far_end_stands(far_end: LittleFarEnd, mood: str) -> None:
    """A question lost, an answer lost, an answer that never comes: the offset is asked, and nothing acknowledged is sent again."""
    pieces = sync(far_end)
    offset = pieces.send(pieces.begin(), pieces=1)
    far_end.moods += [mood, mood]  # where the first comes back at once, it is asked again at once
    assert pieces.send(offset) == len(DATA)
    assert whole(far_end)
    assert pieces.told["unanswered"] + pieces.told["misplaced"] >= 1
    assert "HEAD /recovery-1/uploads/day-1" in far_end.asked


def test_begun_before_it_goes_on(far_end: LittleFarEnd) -> None:
    """Another process, with nothing on its disk but the file: the far end says how far it is."""
    sending = sync(far_end)
    sending.send(sending.begin(), pieces=3)
    again = sync(far_end)
    at = again.begin()
    assert 0 < at == accepted(far_end)[-1][1]
    assert again.send(at) == len(DATA) and whole(far_end)
    assert sync(far_end).begin() == len(DATA)


def test_a_far_end_that_is_away_and_comes_back(far_end: LittleFarEnd) -> None:
    """Nobody there for a while, in the middle: tried again with longer and longer pauses."""
    pauses: list[float] = []

    def sleep(duration_s: float) -> None:
        pauses.append(duration_s)
        if len(pauses) == 4:
            far_end.open()

    sending = sync(far_end, sleep=sleep)
    offset = sending.send(sending.begin(), pieces=2)
    far_end.close()
    assert sending.send(offset) == len(DATA) and whole(far_end)
    assert pauses == [1.0, 2.0, 4.0, 8.0]


def test_nobody_there_for_too_long_is_given_up(far_end: LittleFarEnd) -> None:
    """By the clock, and with the reason."""
    far_end.close()
    now = iter(range(0, 10_000, 100))
    with pytest.raises(part("syncing").GaveUp, match="no answer for 900 s"):
        sync(far_end, clock=lambda: next(now)).begin()


def test_a_piece_that_is_damaged_on_its_way_is_sent_again_whole(far_end: LittleFarEnd) -> None:
    """Refused by its checksum; what counts is what was meant."""
    sending = sync(far_end)
    assert sending.send(sending.begin(), spoil=2) == len(DATA)
    assert whole(far_end) and sending.told["damaged"] >= 2


@pytest.mark.parametrize("header", ["", "no number", "99999999", "-1"])
def test_an_offset_without_sense_is_given_up(far_end: LittleFarEnd, monkeypatch: pytest.MonkeyPatch, header: str) -> None:
    """What the far end says is not believed blindly."""
    sending = sync(far_end)
    sending.begin()
    monkeypatch.setattr(LittleFarEnd, "_offset", staticmethod(lambda there: {"Upload-Offset": header}))
    with pytest.raises(part("syncing").GaveUp):
        sending.offset()


def test_another_file_under_our_name_is_given_up(far_end: LittleFarEnd) -> None:
    """Begun by somebody else, as something else."""
    sync(far_end, b"other").begin()
    with pytest.raises(part("syncing").GaveUp, match="409"):
        sync(far_end).begin()


# ---- counting ---------------------------------------------------------------------------------------------------------

ROUTES = [
    "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n",
    "mgmt0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n",
    "mgmt0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
    "data0\t00004D0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
]


@pytest.mark.parametrize(("host", "expected"), [("10.77.0.1", "data0"), ("10.0.2.2", "mgmt0"), ("8.8.8.8", "mgmt0"), ("127.0.0.1", "lo")])
def test_the_interface_is_the_one_that_leads_there(host: str, expected: str) -> None:
    """The longest prefix, as a board's own table prints it."""
    assert part("counters").interface_to(host, ROUTES) == expected


def test_the_counters_are_noted_and_thinned_with_each_boots_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many notes each boot's first and last are kept: the difference of those is what counts. A torn last line is none."""
    counters = part("counters")
    monkeypatch.setenv("FAR_END_HTTP", "http://127.0.0.1:1/x")
    counters.note("plan")
    row = counters.noted()[0]
    assert row["interface"] == "lo" and row["sent"] >= 0
    rows = [{**row, "boot": boot, "sent": number} for boot in "ab" for number in range(50)]
    Path("counters.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows) + '{"torn')
    kept = [(each["boot"], each["sent"]) for each in counters.noted(most=7)]
    assert {("a", 0), ("a", 49), ("b", 0), ("b", 49)} <= set(kept) and len(kept) < 14


# ---- the checks -------------------------------------------------------------------------------------------------------


class Told:
    """Evidence of one execution in which everything went well. Forge it."""

    def __init__(self, pipeline: str = "baseline") -> None:
        days = {"recovery": 2, "stress": 7, "adversarial": 3}.get(pipeline, 1)
        made = part("day").results(part("day").read(), days)
        self.packed = zlib.compress(made, 9)
        sha256 = hashlib.sha256(self.packed).hexdigest()
        begun = {"service": "uploads", "name": "day-1", "first": True, "length": len(self.packed), "whole_sha256": sha256, "status": 201}
        self.told: list[dict[str, Any]] = [{**begun, "offset": 0, "complete": False}]
        at, size = 0, 1024
        while at < len(self.packed):
            size, at = min(size, len(self.packed) - at), min(at + size, len(self.packed))
            complete = at == len(self.packed)
            self.told.append({"service": "uploads", "first": False, "bytes": size, "offset": at, "complete": complete, "status": 204})
            size = min(2 * size, 4000)
        sent, received, self.counters = 5000, 7000, []
        for number, receipt in enumerate([*self.told, self.told[0]]):
            stage = "plan" if number < 3 else "upload"
            row = {"boot": BOOT, "at_ns": (100 + number) * S, "stage": stage, "interface": "data0"}
            self.counters.append({**row, "sent": sent, "received": received})
            sent, received = sent + int(receipt.get("bytes", 0) * 1.05) + 350, received + int(receipt.get("bytes", 0) * 0.05) + 350
        self.outputs: dict[str, dict[str, Any]] = {
            "produce": {"sha256": hashlib.sha256(made).hexdigest()},
            "pack": {"sha256": sha256, "packed": base64.b64encode(self.packed).decode()},
            "plan": {"goodput_bytes_s": 1000, "piece_bytes": 2048},
            "upload": {},
            "verify": {"equal": True, "counters": self.counters},
        }
        if pipeline == "adversarial":
            self.outputs["meddle"] = {"answers": [409, 460, 409]}
            self.told.insert(3, {**self.told[2], "status": 460, "offset": self.told[1]["offset"]})
        self.pipeline = pipeline
        self.cuts: list[Any] = []
        self.faulty: list[dict[str, Any]] = []
        self.probed: list[dict[str, Any]] = []
        self.samples: list[Any] = []

    @property
    def pieces(self) -> list[dict[str, Any]]:
        return [each for each in self.told if each.get("status") == 204]

    def restart(self) -> None:
        """The second half of the counters is another boot's, which begin at zero."""
        half = len(self.counters) // 2
        first = self.counters[half]
        for row in reversed(self.counters[half:]):
            row |= {"boot": "c" * 32, "sent": row["sent"] - first["sent"], "received": row["received"] - first["received"]}
        self.cuts = [SimpleNamespace(stage="upload")]

    def says(self, check: str) -> list[str]:
        """What a check finds, each with a place in the run folder."""
        execution = SimpleNamespace(
            name=f"{self.pipeline}-1",
            journal_file="results/journal/device.journal",
            outputs={stage: {"status": "ok", "data": data, "files": {}} for stage, data in self.outputs.items()},
            cuts=self.cuts,
            of_kind=lambda kind: self.samples if kind == "sample" else [],
        )
        evidence: Any = SimpleNamespace(
            plan={"scenarios": {self.pipeline: {"pipeline": self.pipeline}}},
            of=lambda scenario: [execution],
            receipts=lambda name: self.told,
            faults=lambda name: self.faulty,
            link=lambda name: self.probed,
        )
        found = CHECKS[check](evidence, self.pipeline)
        assert all(where.startswith("results/journal/") for _, where in found)
        return [problem for problem, _ in found]


def sample(at_s: float, sent: int, received: int = 0) -> SimpleNamespace:
    metrics = {"system.network.io{network.io.direction=transmit}": sent, "system.network.io{network.io.direction=receive}": received}
    return SimpleNamespace(boot_id=BOOT, boottime_ns=int(at_s * S), payload={"metrics": metrics})


OWN = ("results_true", "arrived_whole", "nothing_sent_twice", "inside_budget", "counters_believable", "pieces_planned")


def wrong(told: Told, *more: str) -> dict[str, list[str]]:
    """What each of the entry's checks finds, if it finds something."""
    return {check: found for check in (*OWN, *more) if (found := told.says(check))}


@pytest.mark.parametrize("pipeline", ["baseline", "recovery", "stress", "adversarial"])
def test_every_check_holds_where_all_went_well(pipeline: str) -> None:
    """The negative control, with telemetry that saw at least as much as the counters say, and a restart in one of them."""
    told = Told(pipeline)
    if pipeline == "recovery":
        told.restart()
    else:
        told.samples = [sample(99.5, 100, 100), sample(900, 400_000)]
    assert wrong(told, *(["meddling_refused"] if pipeline == "adversarial" else [])) == {}


def change_a_result(told: Told) -> None:
    told.outputs["produce"]["sha256"] = "0" * 64


def pack_something_else(told: Told) -> None:
    packed = zlib.compress(b"nothing")
    told.outputs["pack"] = {"packed": base64.b64encode(packed).decode(), "sha256": hashlib.sha256(packed).hexdigest()}


def pack_what_does_not_unpack(told: Told) -> None:
    told.outputs["pack"] = {"packed": base64.b64encode(b"junk").decode(), "sha256": hashlib.sha256(b"junk").hexdigest()}


def pack_without_end(told: Told) -> None:
    packed = zlib.compress(bytes(8 << 20))
    told.outputs["pack"] = {"packed": base64.b64encode(packed).decode(), "sha256": hashlib.sha256(packed).hexdigest()}


def say_another_hash(told: Told) -> None:
    told.outputs["pack"]["sha256"] = "0" * 64


def tell_no_bytes(told: Told) -> None:
    told.outputs["pack"].pop("packed")


def arrive_as_something_else(told: Told) -> None:
    told.told[0]["whole_sha256"] = "0" * 64


def never_be_complete(told: Told) -> None:
    told.pieces[-1]["complete"] = False


def be_begun_twice(told: Told) -> None:
    told.told.append({**told.told[0], "name": "day-2"})


def claim_to_be_equal(told: Told) -> None:
    told.told.pop()


def send_a_piece_again(told: Told) -> None:
    told.told.insert(4, {**told.pieces[2]})


def overlap(told: Told) -> None:
    told.pieces[3]["bytes"] += 10


def leave_something_out(told: Told) -> None:
    told.told.remove(told.pieces[2])


def stop_early(told: Told) -> None:
    told.told.pop()


def send_nothing(told: Told) -> None:
    told.pieces[2]["bytes"] = 0


def spend_too_much(told: Told) -> None:
    told.counters[-1]["sent"] += len(told.packed)


def hear_too_much(told: Told) -> None:
    told.counters[-1]["received"] += len(told.packed)


def tell_no_counters(told: Told) -> None:
    told.outputs["verify"]["counters"] = ["many"]


def count_backwards(told: Told) -> None:
    told.counters[3]["sent"] = 0


def count_less_than_arrived(told: Told) -> None:
    for row in told.counters:
        row["sent"] = 5000


def count_more_than_was_seen(told: Told) -> None:
    told.samples = [sample(99, 1000), sample(900, 2000)]


def plan_without_measuring(told: Told) -> None:
    told.outputs["plan"]["piece_bytes"] = 16384


def send_a_giant(told: Told) -> None:
    told.pieces[2]["bytes"] = 20000


def begin_with_a_large_one(told: Told) -> None:
    told.pieces[0]["bytes"] = 8000


@pytest.mark.parametrize(
    ("forge", "check"),
    [
        (change_a_result, "results_true"),
        (pack_something_else, "results_true"),
        (pack_what_does_not_unpack, "results_true"),
        (pack_without_end, "results_true"),
        (say_another_hash, "results_true"),
        (tell_no_bytes, "results_true"),
        (arrive_as_something_else, "arrived_whole"),
        (never_be_complete, "arrived_whole"),
        (be_begun_twice, "arrived_whole"),
        (claim_to_be_equal, "arrived_whole"),
        (send_a_piece_again, "nothing_sent_twice"),
        (overlap, "nothing_sent_twice"),
        (leave_something_out, "nothing_sent_twice"),
        (stop_early, "nothing_sent_twice"),
        (send_nothing, "nothing_sent_twice"),
        (spend_too_much, "inside_budget"),
        (hear_too_much, "inside_budget"),
        (tell_no_counters, "inside_budget"),
        (count_backwards, "counters_believable"),
        (count_less_than_arrived, "counters_believable"),
        (count_more_than_was_seen, "counters_believable"),
        (plan_without_measuring, "pieces_planned"),
        (send_a_giant, "pieces_planned"),
        (begin_with_a_large_one, "pieces_planned"),
    ],
)
def test_what_is_forged_is_found(forge: Callable[[Told], None], check: str) -> None:
    """One thing wrong, and the check that promises it says so."""
    told = Told()
    forge(told)
    assert told.says(check)


def test_the_runs_own_probe_is_not_held_against_the_budget() -> None:
    """So many packets of it between the first note and the last, the lost ones too: their bytes are free, and not one byte more."""
    told = Told()
    spare = int(len(told.packed) * 0.75) + 8192
    told.counters[-1]["sent"] += spare
    assert told.says("inside_budget")
    numbers = (1, 1000)  # what lay between was lost
    told.probed = [
        {"sequence": n, "sent_ns": at * S, "boot": BOOT[:16], "started_ms": 7} for n, at in zip(numbers, (101, 104), strict=True)
    ]
    assert told.says("inside_budget") == []
    told.probed[1]["started_ms"] = 8  # started anew, it numbers from the beginning: these are two packets
    assert told.says("inside_budget")
    told.probed[1]["started_ms"] = 7
    for line in told.probed:
        line["boot"] = "c" * 32
    assert told.says("inside_budget")


@pytest.mark.parametrize("what", ["outage", "restart", "damaged piece"])
def test_an_interruption_may_cost_the_piece_that_was_in_flight(what: str) -> None:
    """Each buys one piece, and no more than that."""
    told = Told()
    first, last = told.counters[0], told.counters[-1]
    spent = last["sent"] + last["received"] - first["sent"] - first["received"]
    last["sent"] += int(len(told.packed) * 1.75) + 8192 - spent + 3000
    assert len(told.says("inside_budget")) == 1
    if what == "outage":
        told.faulty = [{"program": "p", "fault": "offline", "on": on, "boottime_ns": 1, "boot_id": BOOT} for on in (True, False)]
    elif what == "restart":
        told.cuts = [SimpleNamespace(stage="upload")]
    else:
        told.told.append({**told.pieces[0], "status": 460})
    assert told.says("inside_budget") == []
    last["sent"] += 8000
    assert len(told.says("inside_budget")) == 1


def test_an_upload_that_nothing_interrupted_is_told() -> None:
    """An outage in its time, or a cut in its stage; one of another boot is none."""
    told = Told("recovery")
    assert len(told.says("cut_in_the_middle")) == 1
    told.faulty = [{"program": "p", "fault": "offline", "on": True, "boottime_ns": 103 * S, "boot_id": BOOT}]
    assert told.says("cut_in_the_middle") == []
    told.faulty[0]["boot_id"] = "c" * 32
    assert len(told.says("cut_in_the_middle")) == 1
    told.cuts = [SimpleNamespace(stage="upload")]
    assert told.says("cut_in_the_middle") == []


@pytest.mark.parametrize("forge", [lambda told: told.outputs["meddle"].update(answers=[204, 460, 409]), lambda told: told.told.pop(3)])
def test_meddling_that_was_let_in_or_never_was_is_found(forge: Callable[[Told], None]) -> None:
    """The stranger's piece was taken; or nothing of ours was ever damaged, and the scenario shows nothing."""
    told = Told("adversarial")
    forge(told)
    assert told.says("meddling_refused")


def test_the_mock_data_are_the_generators() -> None:
    """Nobody edited them by hand: the generator makes the same file again."""
    generate = importlib.import_module("edge_004.mocks.generate")
    for path, made in generate.FILES.items():
        assert path.read_text(encoding="utf-8") == made()


# ---- whole pipelines, in a host with Stageflow ------------------------------------------------------------------------


def judged(outputs: dict[str, dict[str, Any]], far_end: LittleFarEnd, pipeline: str) -> Told:
    """Evidence of what really ran. Over `lo` each byte is sent and received: half of that is what a wire carries."""
    told = Told(pipeline)
    told.outputs = {stage: said["data"] for stage, said in outputs.items()}
    for row in told.outputs["verify"]["counters"]:
        row["received"] = 0
    told.told = far_end.receipts
    return told


@pytest.mark.real
@pytest.mark.parametrize("pipeline", ["baseline", "recovery", "stress", "adversarial"])
def test_each_pipeline_satisfies_its_own_checks(far_end: LittleFarEnd, tmp_path: Path, pipeline: str) -> None:
    """Whatever its size and whoever meddles: whole, once, planned; `lo` carries others' bytes too, so its budget is not asked here."""
    outputs = hosted("edge_004", pipeline, tmp_path / "work", {"FAR_END_HTTP": far_end.base})
    told = judged(outputs, far_end, pipeline)
    found = wrong(told, *(["meddling_refused"] if pipeline == "adversarial" else []))
    found.pop("inside_budget", None)
    assert found == {}


@pytest.mark.real
@pytest.mark.parametrize("kill_at", ["upload", "verify"])
def test_a_host_that_was_killed_goes_on_where_the_far_end_stands(far_end: LittleFarEnd, tmp_path: Path, kill_at: str) -> None:
    """Begun again from its first stage in the same folder, as plain Stageflow does: the same file, and no acknowledged byte again."""
    variables = {"FAR_END_HTTP": far_end.base}
    hosted("edge_004", "recovery", tmp_path / "work", variables, kill_at=kill_at)
    before = sum(end - begin for begin, end in accepted(far_end))
    outputs = hosted("edge_004", "recovery", tmp_path / "work", variables)
    assert before > 0 and outputs["upload"]["data"]["began_at"] >= before
    found = wrong(judged(outputs, far_end, "recovery"))
    found.pop("inside_budget", None)
    assert found == {}


@pytest.mark.real
def test_lost_questions_and_answers_cost_pieces_and_no_byte_twice(far_end: LittleFarEnd, tmp_path: Path) -> None:
    """Some are dropped, and some answers are lost: whole in the end."""
    far_end.moods += ["", "", "lose", "lose", "drop", "", "lose", "drop", "drop", ""]
    outputs = hosted("edge_004", "baseline", tmp_path / "work", {"FAR_END_HTTP": far_end.base})
    assert outputs["verify"]["data"]["equal"] is True
    found = wrong(judged(outputs, far_end, "baseline"))
    found.pop("inside_budget", None)
    assert found == {}
