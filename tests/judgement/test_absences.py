"""A coordinator that was killed, or went away, and what is concluded of the time in which nobody looked.

    … ─► killed          resumed ─► returned ─► …          what the device did meanwhile is its own business, once
    … ─► killed          superseded, by another run        blocked: what it wrote is here, and nothing is judged by it
    … ─► set aside       the same again, "-again"          judged by the second; the first stays as evidence

An absence excuses what nobody could have seen, and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.errors import AskError
from runner.judgement.checks import finished, nothing_repeated, promises_kept, really_rebooted
from runner.judgement.conclude import conclude
from runner.judgement.evidence import SET_ASIDE, Evidence
from runner.judgement.integrity import contradictions, evidence_unaltered, losses_recounted
from runner.judgement.judge import run_checks, verdict
from runner.judgement.reading import load_evidence
from runner.lab.folder import seals

from .made_run import MadeRun


@pytest.fixture
def run(tmp_path: Path) -> MadeRun:
    """One execution under way: a stage has finished, another has begun."""
    made = MadeRun(tmp_path)
    made.begin("recovery-1")
    made.stage("recovery-1", "ingest", 2.0, 3.0)
    made.stage("recovery-1", "train", 3.5, None)
    return made


def evidence(run: MadeRun) -> Evidence:
    return run.conclusion().evidence


# ---- how it ended -----------------------------------------------------------------------------------------------------

INTERRUPTED: tuple[str, dict[str, Any]] = ("run_ended", {"ending": "interrupted"})
ENDINGS: dict[str, tuple[list[tuple[str, dict[str, Any]]], str | None, int, bool]] = {
    "ran": ([("run_ended", {"ending": "ran"})], "ran", 0, True),
    "killed": ([], None, 0, False),
    "interrupted": ([("run_ended", {"ending": "interrupted"})], "interrupted", 0, False),
    "blocked": ([("run_ended", {"ending": "lab"})], "lab", 0, False),
    "killed, resumed, ran": ([("resumed", {}), ("run_ended", {"ending": "ran"})], "ran", 1, True),
    "interrupted, resumed, ran": ([INTERRUPTED, ("resumed", {}), ("run_ended", {"ending": "ran"})], "ran", 1, True),
    "interrupted, resumed, killed": ([INTERRUPTED, ("resumed", {})], None, 1, False),
    "twice": ([("resumed", {}), ("run_ended", {"ending": "lab"}), ("resumed", {}), ("run_ended", {"ending": "ran"})], "ran", 2, True),
    "superseded": ([("superseded", {"by": "R"}), ("run_ended", {"ending": "lab"})], "lab", 1, True),
    "interrupted, superseded, killed": ([INTERRUPTED, ("superseded", {"by": "R"})], "lab", 1, True),
    "cancelled, killed": ([("superseded", {"by": "the operator"})], "interrupted", 1, True),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDINGS)
def test_a_run_has_ended_as_its_last_coordinator_says(run: MadeRun, name: str) -> None:
    """An end from before a resume is none; each coming back is an absence; over is what ran to its end, or whose device was lent again."""
    notes, ending, absences, over = ENDINGS[name]
    for at_s, (kind, facts) in enumerate(notes, 10):
        run.note(at_s, kind, **facts)
    found = evidence(run)
    assert ((found.ending or {}).get("ending"), found.absences, found.over) == (ending, absences, over)
    assert (found.completed_at is None) == (ending is None)


SEALED: tuple[str, dict[str, Any]] = ("sealed", {"files": {}})
FETCHED: list[tuple[str, dict[str, Any]]] = [
    ("mirrored", {"execution": "recovery-1", "sequence": 1, "kind": "began"}),
    ("execution_ended", {"execution": "recovery-1", "ending": "abandoned", "mirrored": 4, "chain": ""}),
]
LATER: dict[str, tuple[list[tuple[str, dict[str, Any]]], list[str]]] = {
    "fetched by another run, which was killed at it": ([SEALED, INTERRUPTED, *FETCHED, ("resumed", {})], []),
    "killed behind its seal": ([SEALED, ("resumed", {})], []),
    "not sealed, fetched, lent again": ([INTERRUPTED, *FETCHED, ("superseded", {"by": "R"})], []),
    "unwound badly": ([SEALED, ("unwind_failed", {})], []),
    "sealed twice": ([SEALED, SEALED], ["sealed was noted behind the end"]),
    "ended twice": ([SEALED, INTERRUPTED, *FETCHED, ("run_ended", {"ending": "ran"})], ["run_ended was noted behind the end"]),
    "more found behind its seal": ([SEALED, ("missed", {"execution": "recovery-1", "holds": []})], ["missed was noted behind the end"]),
    "resumed behind its end": ([SEALED, ("run_ended", {"ending": "ran"}), ("resumed", {})], ["resumed was noted behind the end"]),
}


@pytest.mark.parametrize("name", [*ENDINGS, *LATER])
def test_behind_an_end_only_those_note_who_are_back(run: MadeRun, name: str) -> None:
    """A coordinator that resumes, or another run that fetches what was left. Nobody does behind a run that ran; and a second seal or
    end, without anybody who came back, is a forger's."""
    sealed = [each for note in ENDINGS.get(name, ([],))[0] for each in ([SEALED, note] if note[0] == "run_ended" else [note])]
    notes, wrong = LATER.get(name, (sealed, []))
    for at_s, (kind, facts) in enumerate(notes, 10):
        run.note(at_s, kind, **facts)
    found = [said for said, _ in evidence_unaltered(run.folder, evidence(run)) if said.endswith("noted behind the end")]
    assert found == wrong


def test_what_a_resume_left_unfinished_has_no_verdict_of_before(run: MadeRun) -> None:
    """Blocked, then resumed, then killed: nothing is judged, and it is said to be killed, not blocked."""
    run.note(10, "run_ended", ending="lab", error="no answer")
    run.note(11, "resumed")
    found = evidence(run)
    assert run_checks(run.folder, found) == []
    assert verdict(run.folder, found, []) == ("interrupted", "the coordinator was killed")


def test_a_run_whose_device_was_lent_again_is_blocked_and_says_so(run: MadeRun) -> None:
    """Its evidence stays; nobody is judged by it."""
    run.note(10, "superseded", by="EDGE-002.other", whole=True)
    run.note(10, "run_ended", ending="lab", error="the device was lent to EDGE-002.other; all that it wrote is mirrored")
    found = evidence(run)
    assert run_checks(run.folder, found) == []
    assert verdict(run.folder, found, []) == ("lab", "the device was lent to EDGE-002.other; all that it wrote is mirrored")


def test_a_killed_coordinators_half_note_may_end_its_journal_and_stand_nowhere_else(run: MadeRun) -> None:
    """Whoever resumes cuts it off first; one with whole records behind it is no kill's, and nothing is concluded."""
    run.note(10, "resumed")
    run.conclusion()
    path = run.folder.coordinator_journal
    whole, last = path.read_bytes(), run.journals["coordinator"][-1]
    path.write_bytes(whole + b"half a rec")
    assert load_evidence(run.folder).absences == 1
    path.write_bytes(whole[: -len(last)] + b"half a rec" + last)
    with pytest.raises(AskError, match="damaged behind record"):
        load_evidence(run.folder)


# ---- set aside --------------------------------------------------------------------------------------------------------


def set_aside(run: MadeRun, *, again: bool) -> Evidence:
    """The execution is set aside, and made again or not."""
    run.plan["executions"] = [{"name": "recovery-1", "scenario": "recovery", "cuts": []}]
    run.note(5, "execution_ended", execution="recovery-1", ending=SET_ASIDE, mirrored=4, chain="")
    if again:
        run.begin("recovery-1-again", 6)
        run.device(7, "recovery-1-again", "finished", state_sha256="")
        run.end(8, "recovery-1-again")
    return evidence(run)


def test_what_was_set_aside_is_judged_by_what_stands_for_it(run: MadeRun) -> None:
    """It ran once, under another name: nothing is missing, and nothing that the first one did is asked."""
    found = set_aside(run, again=True)
    assert [(e.name, e.stands_for) for e in found.executions] == [("recovery-1-again", "recovery-1")]
    assert finished(found, "recovery") == []
    assert found.stopped is False


def test_what_was_set_aside_and_not_made_again_never_ran(run: MadeRun) -> None:
    """The negative control: a planned execution cannot be lost by setting it aside."""
    assert finished(set_aside(run, again=False), "recovery") == [("recovery-1 was planned and never ran", "config/run_config.json")]


@pytest.mark.parametrize(
    ("name", "stands_for"),
    [
        ("a-1", "a-1"),
        ("a-1-again", "a-1"),
        ("a-1-again-again", "a-1"),
        ("again", "again"),
        ("a-again-1", "a-again-1"),
        ("a-1-extra1", "a-1-extra1"),
    ],
)
def test_a_name_stands_for_the_one_in_the_plan(run: MadeRun, name: str, stands_for: str) -> None:
    """However often it was set aside; other names stand for themselves."""
    run.begin(name, 6)
    assert evidence(run).executions[-1].stands_for == stands_for


def test_what_was_set_aside_is_sealed_as_all_other_evidence(run: MadeRun) -> None:
    """Nothing is judged by it, and still nobody may change it."""
    set_aside(run, again=True)
    file = "results/journal/device-recovery-1.journal"
    sealed = seals(run.folder)
    assert file in sealed
    run.note(9, "sealed", files=sealed)
    found = evidence(run)
    assert evidence_unaltered(run.folder, found) == []
    (run.folder.root / file).write_bytes(b"")
    assert evidence_unaltered(run.folder, found) == [(f"{file} is not what it was when the run ended", file)]
    (run.folder.root / file).unlink()
    assert evidence_unaltered(run.folder, found)[0][0] == f"{file} is gone"


# ---- restarts that nobody saw -----------------------------------------------------------------------------------------


def returned(run: MadeRun, at_s: float, known: int) -> None:
    """The coordinator is back, finds the device in its latest boot, and has had `known` of its records."""
    written = len(run.journals["recovery-1"])
    run.note(at_s, "returned", execution="recovery-1", mirrored=known, written=written, boot_id=run.boot_id, supervisor_started_ns=10**9)


def test_a_restart_while_nobody_looked_is_no_failure(run: MadeRun) -> None:
    """Its coordinator was killed, and the board lost its power meanwhile, twice: it wrote that before anybody was back."""
    known = len(run.journals["recovery-1"])
    run.restart(10, "recovery-1")
    run.restart(20, "recovery-1")
    run.note(30, "resumed")
    returned(run, 30, known)
    assert really_rebooted(evidence(run), "recovery") == []


def test_a_restart_while_somebody_looked_is_one(run: MadeRun) -> None:
    """The negative control, before the coordinator was gone and after it was back: an absence excuses nothing else."""
    run.restart(10, "recovery-1")  # seen, and caused by nobody
    before = len(run.journals["recovery-1"])
    run.restart(20, "recovery-1")  # in the absence
    absent = len(run.journals["recovery-1"])
    run.note(30, "resumed")
    returned(run, 30, before)
    run.restart(40, "recovery-1")  # seen again
    where = [where for _, where in really_rebooted(evidence(run), "recovery")]
    assert where == [f"results/journal/device-recovery-1.journal#{number}" for number in (before - 1, absent + 1)]


def test_an_absence_excuses_no_other_execution(run: MadeRun) -> None:
    """What a coordinator missed of one says nothing about another's records of the same numbers."""
    run.begin("recovery-2", 5)
    known = len(run.journals["recovery-2"])
    run.restart(10, "recovery-2")
    run.note(30, "resumed")
    words = {"mirrored": known, "written": known + 9, "boot_id": "f" * 32, "supervisor_started_ns": 1}
    run.note(30, "returned", execution="recovery-1", **words)
    assert [problem for problem, _ in really_rebooted(evidence(run), "recovery")] == ["it restarted, and nobody had cut its power"]


def test_a_returned_devices_process_is_one_that_was_seen(run: MadeRun) -> None:
    """A cut after the return must end it: the same process behind that cut is caught."""
    known = len(run.journals["recovery-1"])
    run.restart(4, "recovery-1")
    returned(run, 6, known)
    assert really_rebooted(evidence(run), "recovery") == []
    back = {"boot_id": run.boot_id, "supervisor_started_ns": 10**9}
    hold = {"execution": "recovery-1", "hold": "recovery-1/1"}
    run.note(8, "cut", **hold, stage="train", point="random", loss="power_loss", written=0, witness_lines=0, facts={})
    run.note(9, "recovered", **hold, **back, power_on_boottime_ns=0)
    assert [problem for problem, _ in really_rebooted(evidence(run), "recovery")] == ["boot id unchanged over the cut at recovery-1/1"]


def repeated(run: MadeRun) -> list[str]:
    return [problem for problem, _ in nothing_repeated(evidence(run), "recovery")]


AGAIN = "ingest began again after a restart that no cut caused, though the journal held its end"


def test_what_was_finished_begins_once_whoever_restarts_the_device(run: MadeRun) -> None:
    """A killed supervisor, a power loss in an absence: a stage whose end the journal held must not begin again."""
    run.restart(10, "recovery-1")
    run.witness(12, "recovery-1", "ingest")
    assert repeated(run) == [AGAIN]


def test_what_was_in_flight_may_begin_again(run: MadeRun) -> None:
    """The negative control: at least once for the stage whose end nobody had promised, and for those behind it."""
    run.restart(10, "recovery-1")
    run.stage("recovery-1", "train", 12, 13)
    run.restart(20, "recovery-1")
    run.stage("recovery-1", "seal", 22, 23)
    assert repeated(run) == []


def test_a_stage_is_held_against_the_journal_as_it_was_at_that_restart(run: MadeRun) -> None:
    """What finished only after a restart may have begun behind it; the next restart is another matter."""
    run.restart(10, "recovery-1")
    run.stage("recovery-1", "train", 12, 13)
    run.restart(20, "recovery-1")
    run.witness(22, "recovery-1", "train")
    assert repeated(run) == [AGAIN.replace("ingest", "train")]


def test_without_durability_nothing_was_promised(run: MadeRun) -> None:
    """A native execution runs everything again after a restart, and says so."""
    run.journals["recovery-2"] = []
    run.begin("recovery-2", 5, durability="native")
    run.stage("recovery-2", "ingest", 6, 7)
    run.restart(10, "recovery-2")
    run.witness(12, "recovery-2", "ingest")
    assert repeated(run) == []


def test_a_repetition_behind_a_cut_is_told_once(run: MadeRun) -> None:
    """It is the cut's, where there is one: by what had been promised, and not a second time as a restart's."""
    length = len(run.journals["recovery-1"])
    run.note(3, "held", execution="recovery-1", hold="recovery-1/1", flushed=length)
    run.cut(5, "recovery-1", "train", back_s=6)
    run.witness(8, "recovery-1", "ingest")
    assert repeated(run) == ["ingest began again after the cut at recovery-1/1, though its end was promised"]


# ---- a cut whose coordinator was killed before it could be noted ------------------------------------------------------


def promises_lost(run: MadeRun, promised: int, *, known: int) -> list[str]:
    """Held with so much promised, and the coordinator, which knows so much, is killed while it cuts; the device is back by itself."""
    run.note(9, "held", execution="recovery-1", hold="recovery-1/2", flushed=promised)
    run.note(9, "cutting", execution="recovery-1", hold="recovery-1/2")
    run.restart(10, "recovery-1")
    run.note(30, "resumed")
    returned(run, 30, known)
    return [problem for problem, _ in promises_kept(evidence(run), "recovery")]


def test_a_promise_is_held_against_the_restart_behind_such_a_cut(run: MadeRun) -> None:
    """All that was written came back: as much as was promised, and no more."""
    written = len(run.journals["recovery-1"])
    assert promises_lost(run, written, known=1) == []


def test_a_promise_that_was_broken_in_such_a_cut_is_found(run: MadeRun) -> None:
    """The negative control: one record more had been promised."""
    written = len(run.journals["recovery-1"])
    assert promises_lost(run, written + 1, known=1) == [f"recovery-1/2: {written + 1} records were promised, {written} came back"]


def test_the_restart_that_such_a_cut_struck_is_not_the_one_behind_it(run: MadeRun) -> None:
    """Cut while it was restored: that life found less than it promised itself later, and lost nothing."""
    run.cut(5, "recovery-1", "train", back_s=6)
    written = len(run.journals["recovery-1"])
    assert promises_lost(run, written, known=written - 2) == []


def test_what_is_lost_behind_the_restore_that_such_a_cut_struck_is_found(run: MadeRun) -> None:
    """The negative control: one record more had been promised, and only the restart behind the cut is held against it."""
    run.cut(5, "recovery-1", "train", back_s=6)
    written = len(run.journals["recovery-1"])
    said = f"recovery-1/2: {written + 1} records were promised, {written} came back"
    assert promises_lost(run, written + 1, known=written - 2) == [said]


# ---- losses that nobody noted -----------------------------------------------------------------------------------------


def power_on(lost: int) -> str:
    """What a disk server logs of one power-on: a flushed write, and `lost` of a block each that no flush covered."""
    head = '2026-11-21 12:00:00.000001 Ready thread_model=3\n2026-11-21 12:00:00.000002 connection=1 Connect export=""\n'
    requests = ["Write id=1 offset=0x0 count=0x1000", "Flush id=2", *(f"Write id={3 + n} offset=0x1000 count=0x1000" for n in range(lost))]
    times = "2026-11-21 12:00:00.000003 connection=1 "
    return head + "".join(f"{times}{one} ...\n{times}...{one.split()[0]} {one.split()[1]} return=0\n" for one in requests)


def with_losses(
    run: MadeRun, claimed: tuple[int, ...], logged: tuple[int, ...], back: tuple[str, ...] = (), *, on_already: bool = False
) -> list[str]:
    """What is objected to, when these losses are claimed, those are in the disk's log, and the coordinator came back so.

    With `on_already` the log begins in the middle of a power-on of which it has only the end.
    """
    for number, lost in enumerate(claimed, 1):
        facts = {"writes": 1 + lost, "flushes": 1, "writes_lost": {"count": lost, "bytes": lost * 4096}}
        words = {"stage": "train", "point": "random", "loss": "power_loss", "written": 1, "witness_lines": 0}
        run.note(10 + number, "cut", execution="recovery-1", hold=f"recovery-1/{number}", **words, facts=facts)
    for kind in back:
        run.note(50, kind)
    found = evidence(run)
    log = "".join(map(power_on, (*logged, 0)))  # the last power-on ended in order
    (run.folder.journals / "disk.log").write_text(log.partition("\n")[2] if on_already else log)
    return [problem for problem, _ in losses_recounted(run.folder, found)]


RESUMED = ("resumed",)
LOSSES: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[str, ...]]] = {
    "none in an absence": ((2, 5), (2, 5), RESUMED),
    "one before the first claimed": ((2, 5), (3, 2, 5), RESUMED),
    "one between": ((2, 5), (2, 3, 5), RESUMED),
    "one behind the last": ((2, 5), (2, 5, 3), RESUMED),
    "one that cost as much as the next": ((2, 5), (2, 5, 5), RESUMED),
    "one that cost nothing": ((2, 5), (2, 0, 5), RESUMED),
    "one in each of two absences": ((2, 5), (3, 2, 4, 5), ("resumed", "resumed")),
    "one before it was lent again": ((2, 5), (2, 5, 3), ("superseded",)),
    "nobody was away": ((2, 5), (2, 5), ()),
}
MISMATCHES: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[str, ...], str]] = {
    "one loss, and nobody was away": ((2, 5), (2, 3, 5), (), "2 power losses are claimed, the disk's log shows 3"),
    "two in one absence": ((2, 5), (2, 3, 4, 5), RESUMED, "2 power losses are claimed, the disk's log shows 3"),
    "three in two": ((2,), (2, 3, 4, 5), ("resumed", "resumed"), "1 power losses are claimed, the disk's log shows 2"),
    "claimed and not in the log": ((2, 5), (2,), RESUMED, "2 power losses are claimed, the disk's log shows 1"),
    "claimed more than it cost": (
        (2, 6),
        (2, 3, 5),
        RESUMED,
        "recovery-1/2: 6 writes lost (24576 bytes) of 7, 1 flushes claimed, 5 writes lost (20480 bytes) of 6, 1 flushes in the disk's log",
    ),
    "in another order": (
        (5, 2),
        (2, 5),
        RESUMED,
        "recovery-1/1: 5 writes lost (20480 bytes) of 6, 1 flushes claimed, 2 writes lost (8192 bytes) of 3, 1 flushes in the disk's log",
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_power_may_go_once_while_nobody_looks(run: MadeRun, name: str) -> None:
    """By the keeper's own clock, or somebody's foot: what is claimed is still found in the log, each in its turn."""
    assert with_losses(run, *LOSSES[name]) == []


@pytest.mark.parametrize("name", MISMATCHES)
def test_a_loss_more_or_another_one_is_a_contradiction(run: MadeRun, name: str) -> None:
    """An absence excuses one loss that nobody noted, and never a claim that the log does not show."""
    *losses, said = MISMATCHES[name]
    assert with_losses(run, *losses)[:1] == [said]


@pytest.mark.parametrize(
    ("claimed", "logged", "back"),
    [
        ((9, 2, 5), (9, 2, 5), ()),
        pytest.param((9, 2, 5), (9, 2, 3, 5), RESUMED),
        pytest.param((9, 2, 5), (9, 2, 5, 3), RESUMED),
        ((2, 5), (9, 2, 5), RESUMED),
    ],
)  # fmt: skip
def test_a_board_that_was_on_already_is_counted_from_its_next_power_on(
    run: MadeRun, claimed: tuple[int, ...], logged: tuple[int, ...], back: tuple[str, ...]
) -> None:
    """Another run's coordinator was killed and its board left on: how the first power-on ended is not in our log, claimed or not."""
    assert with_losses(run, claimed, logged, back, on_already=True) == []


@pytest.mark.parametrize(
    ("claimed", "logged", "back"), [((9, 2, 5), (9, 2, 3, 5), ()), ((9, 2, 6), (9, 2, 5), RESUMED), ((2, 5, 7), (9, 2), ())]
)
def test_a_board_that_was_on_already_excuses_no_other_loss(
    run: MadeRun, claimed: tuple[int, ...], logged: tuple[int, ...], back: tuple[str, ...]
) -> None:
    """The negative control: one more, another one, and one that is not in the log."""
    assert with_losses(run, claimed, logged, back, on_already=True) != []


def test_a_loss_without_any_log_is_no_board_that_was_on_already(run: MadeRun) -> None:
    """A single claimed loss, and a disk log that is empty or gone."""
    with_losses(run, (2,), ())
    (run.folder.journals / "disk.log").write_bytes(b"")
    assert losses_recounted(run.folder, load_evidence(run.folder)) != []
    (run.folder.journals / "disk.log").unlink()
    assert losses_recounted(run.folder, load_evidence(run.folder)) != []


# ---- a real one -------------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_a_real_run_that_says_it_was_resumed_is_judged_as_before(forger: Any) -> None:
    """An absence by itself changes nothing: same checks, same verdict. And a cut that is taken out of its notes is still missed."""
    before = conclude(forger.run, "now")
    assert (before.evidence.absences, forger.red()) == (0, set())
    sealed = next(record for record in before.evidence.coordinator if record.kind == "sealed")
    forger.insert(forger.run.coordinator_journal, sealed.sequence, "resumed", {"runner_version": "0"})
    after = conclude(forger.run, "now")
    assert (after.evidence.absences, contradictions(forger.run, after.evidence)) == (1, [])
    assert (after.outcome, after.reason) == (before.outcome, before.reason)
    forger.rewrite(
        forger.run.coordinator_journal,
        lambda r: None if r.kind in ("held", "cut", "recovered") and r.payload["hold"] == "recovery-1/3" else r.payload,
    )
    forger.seal()
    assert forger.red() == {"recovery: really_rebooted"}
    assert "was planned, and neither cut nor missed" in conclude(forger.run, "now").reason
