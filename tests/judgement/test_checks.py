"""Each check against a real run with one thing forged in it: exactly the checks that should see it turn red."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from runner.judgement.checks import GENERIC
from runner.judgement.conclude import conclude, cut_rows
from runner.lab.folder import read_json, write_json
from runner.ondevice import journal

pytestmark = pytest.mark.real

Forge = Callable[[Any], Any]
NOWHERE = "0" * 64


def changed_ledger(forger: Any) -> None:
    """A ledger that is off by one watt-hour, in the device's own journal."""
    ends = [record for record in journal.read_file(str(forger.recovery)) if record.kind == "stage_finished"]
    number = next(place for place, record in enumerate(ends) if record.payload["stage"] == "ledger")
    data = {**ends[number].payload["data"], "balance": ends[number].payload["data"]["balance"] + 1}
    forger.change(forger.recovery, "stage_finished", number, data=data)


def without_witness(forger: Any) -> None:
    """Nobody saw the baseline's last stage begin."""
    lines = forger.run.witness.read_text().splitlines(keepends=True)
    kept = [line for line in lines if (json.loads(line)["execution"], json.loads(line)["stage"]) != ("baseline-1", "seal")]
    assert len(kept) == len(lines) - 1
    forger.run.witness.write_text("".join(kept))


def witnessed_again(forger: Any) -> None:
    """A stage that was finished long ago was seen to begin once more."""
    lines = forger.run.witness.read_text().splitlines()
    ingest = next(json.loads(line) for line in lines if json.loads(line)["execution"] == "recovery-1")
    assert ingest["stage"] == "ingest"
    forger.run.witness.write_text("\n".join([*lines, json.dumps({**ingest, "life": 9})]) + "\n")


def witnessed_twice_in_one_life(forger: Any) -> None:
    """A baseline stage was seen to begin twice, without any restart."""
    text = forger.run.witness.read_text()
    forger.run.witness.write_text(text + text.splitlines(keepends=True)[0])


def cut_short(forger: Any) -> None:
    """The mirrored journal lost its last bytes."""
    forger.recovery.write_bytes(forger.recovery.read_bytes()[:-7])


def longer(forger: Any) -> None:
    """Bytes that are no record stand behind the mirrored journal."""
    forger.recovery.write_bytes(forger.recovery.read_bytes() + b"\x00")


def same_process_again(forger: Any) -> None:
    """The supervisor that answered after a later crash is the one that answered after an earlier one."""
    log = forger.run.coordinator_journal
    before = [record.payload for record in journal.read_file(str(log)) if record.kind == "recovered"][-2]
    forger.change(log, "recovered", -1, supervisor_started_ns=before["supervisor_started_ns"])


def change(kind: str, number: int = 0, **changes: Any) -> Forge:
    """Fields of one record of the device's journal."""
    return lambda forger: forger.change(forger.recovery, kind, number, **changes)


def outside(kind: str, number: int = 0, **changes: Any) -> Forge:
    """Fields of one record of the coordinator's journal."""
    return lambda forger: forger.change(forger.run.coordinator_journal, kind, number, **changes)


def recovery(*checks: str) -> set[str]:
    return {f"recovery: {check}" for check in checks}


IN_THE_DEVICES_JOURNAL: dict[str, tuple[Forge, set[str]]] = {
    "a restart without a restored state": (lambda f: f.drop(f.recovery, "restored", -1), recovery("restored_state_true")),
    "another state than was acknowledged": (change("restored", -1, state_sha256=NOWHERE), recovery("restored_state_true")),
    "a stage less than was acknowledged": (change("restored", -1, replay=["ingest"]), recovery("restored_state_true")),
    "restored from another journal": (change("restored", -1, chain=NOWHERE), recovery("restored_state_true")),
    "restored from beyond its end": (change("restored", -1, through_sequence=9999), recovery("restored_state_true")),
    "a pipeline that never ended": (lambda f: f.drop(f.recovery, "finished"), recovery("finished")),
    "another final state": (change("finished", state_sha256=NOWHERE), recovery("state_equal")),
    "fewer records than were promised": (change("restored", -1, records_found=3), recovery("promises_kept")),
    "restored too late": (change("resumed", -1, restored_flushed_ns=2**60), recovery("restored_in_time")),
    "another ledger": (changed_ledger, recovery("ledger_adds_up", "state_equal", "restored_state_true")),
}
ELSEWHERE: dict[str, tuple[Forge, set[str]]] = {
    "a stage that nobody saw": (without_witness, {"baseline: every_stage_witnessed"}),
    "a finished stage that began again": (witnessed_again, recovery("nothing_repeated")),
    "a stage that began twice": (witnessed_twice_in_one_life, {"baseline: nothing_repeated"}),
    "a journal cut short": (cut_short, recovery("promises_kept", "finished")),
    "an execution that never ran": (lambda f: f.drop(f.run.coordinator_journal, "execution_began", 1), recovery("finished")),
    "the same process after a crash": (same_process_again, recovery("really_rebooted", "nothing_repeated", "promises_kept")),
    "no baseline to compare with": (
        lambda f: f.drop(f.run.device_journal("baseline-1"), "finished"),
        {"baseline: finished", "baseline: promises_kept", *recovery("state_equal")},
    ),
    "a journal with a tail": (longer, recovery("promises_kept", "finished")),
    "an execution that ran out of time": (outside("execution_ended", 1, ending="limit"), recovery("finished")),
    "a device that never came back": (lambda f: f.drop(f.run.coordinator_journal, "recovered", -1), recovery("really_rebooted")),
    "a power loss without a reboot": (outside("cut", 0, loss="power_loss"), recovery("really_rebooted")),
}


@pytest.mark.parametrize("name", IN_THE_DEVICES_JOURNAL)
def test_a_forged_device_journal_is_not_the_one_that_was_mirrored(forger: Any, name: str) -> None:
    """Whatever is changed in it, with checksums and numbers made right again, `promises_kept` sees it, and so does its own check."""
    forge, expected = IN_THE_DEVICES_JOURNAL[name]
    forge(forger)
    assert forger.red() == expected | recovery("promises_kept")


@pytest.mark.parametrize("name", IN_THE_DEVICES_JOURNAL)
def test_with_the_seal_forged_too_its_own_check_still_sees_it(forger: Any, name: str) -> None:
    """Had the device really journaled this, exactly the named checks would be red."""
    forge, expected = IN_THE_DEVICES_JOURNAL[name]
    forge(forger)
    forger.seal()
    assert forger.red() == expected


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_is_forged_elsewhere_turns_exactly_its_checks_red(forger: Any, name: str) -> None:
    """Witness, mirror and the coordinator's journal: each named check, and no other."""
    forge, expected = ELSEWHERE[name]
    forge(forger)
    assert forger.red() == expected


def test_untouched_every_check_holds(forger: Any) -> None:
    """The negative control: the same run as it was, and the same run rewritten without a change."""
    assert forger.red() == set()
    for path in (forger.recovery, forger.run.coordinator_journal):
        before = path.read_bytes()
        forger.rewrite(path, lambda record: record.payload)
        assert path.read_bytes() == before
    assert forger.red() == set()


def test_running_again_too_late_is_seen(forger: Any) -> None:
    """The third clock: from the supervisor's start to the next stage that was seen to begin (so late: after a later cut)."""
    lines = [json.loads(line) for line in forger.run.witness.read_text().splitlines()]
    last = max(line["life"] for line in lines)
    late = [{**line, "boottime_ns": line["boottime_ns"] + 60_000_000_000 * (line["life"] == last)} for line in lines]
    forger.run.witness.write_text("".join(json.dumps(line) + "\n" for line in late))
    assert forger.red() == recovery("running_again_in_time", "nothing_repeated")


def test_every_check_says_what_it_promises_and_where_it_was_broken(forger: Any) -> None:
    """The promise is the docstring; the place is a record of a file that is in the folder."""
    assert all((check.__doc__ or "").endswith(".") for check in GENERIC.values())
    changed_ledger(forger)
    for finding in conclude(forger.run, "now").findings:
        for where in finding.evidence:
            file, _, record = where.partition("#")
            assert (forger.run.root / file).is_file()
            assert not record or record.isdigit()


def test_a_process_that_got_no_processor_is_not_too_late(forger: Any) -> None:
    """On this machine everybody waits for one; what the supervisor waited excuses its own clock, and the pipeline's only the other."""
    forger.change(forger.recovery, "resumed", 0, restored_flushed_ns=2**60, waited_s=0.0)
    assert "recovery: restored_in_time" in forger.red()
    late_s = first_restart(forger)["restored_s"]
    forger.change(forger.recovery, "host_ready", 0, waited_s=late_s)
    assert "recovery: restored_in_time" in forger.red()
    forger.change(forger.recovery, "resumed", 0, waited_s=late_s - 1)
    assert "recovery: restored_in_time" not in forger.red()


@pytest.mark.parametrize("claim", ["longer", -5.0, True, "long", None])
def test_a_process_that_says_that_it_waited_for_longer_than_it_took_is_not_believed(forger: Any, claim: Any) -> None:
    """Its own word excuses no more than there was; nor does what is no time at all."""
    forger.change(forger.recovery, "resumed", 0, restored_flushed_ns=2**60)
    late_s = first_restart(forger)["restored_s"]
    forger.change(forger.recovery, "resumed", 0, waited_s=late_s + 1 if claim == "longer" else claim)
    assert "recovery: restored_in_time" in forger.red()
    assert not first_restart(forger)["restored_host_wait_s"]


def test_each_clock_has_a_wait_of_its_own(forger: Any) -> None:
    """What the pipeline waited is no part of the time in which the state was restored; the longer of the two is of the other's."""
    row = first_restart(forger)
    forger.change(forger.recovery, "resumed", 0, waited_s=row["restored_s"] / 4)
    forger.change(forger.recovery, "host_ready", 0, waited_s=row["running_again_s"])
    row = first_restart(forger)
    assert (row["restored_host_wait_s"], row["running_again_host_wait_s"]) == (row["restored_s"] / 4, row["running_again_s"])
    forger.change(forger.recovery, "host_ready", 0, waited_s=row["running_again_s"] + 1)
    assert first_restart(forger)["running_again_host_wait_s"] == row["restored_s"] / 4


def test_what_it_stood_for_its_faults_is_no_part_of_the_restart(forger: Any) -> None:
    """The coordinator arms them again; a claim of more than there was excuses nothing."""
    took_s = first_restart(forger)["running_again_s"]
    forger.change(forger.recovery, "host_ready", 0, stood_s=took_s / 2)
    assert first_restart(forger)["running_again_s"] == pytest.approx(took_s / 2, abs=0.01)
    for claim in (took_s + 1, -1.0, True, "long", None):
        forger.change(forger.recovery, "host_ready", 0, stood_s=claim)
        assert first_restart(forger)["running_again_s"] == pytest.approx(took_s, abs=0.01), claim


def first_restart(forger: Any) -> dict[str, Any]:
    return cut_rows(conclude(forger.run, "now").evidence)[0]


def test_the_hosts_wait_is_not_the_boards(forger: Any) -> None:
    """A restart that was slow because the emulator got no processor is not too late; one that waited less than it overran is."""
    config = read_json(forger.run.run_config)
    config["test_parameters"]["type"]["emulation"] = {}  # as if the board had been an emulated one
    write_json(forger.run.run_config, config)
    forger.change(forger.recovery, "resumed", 0, restored_flushed_ns=2**60)
    late = next(row["restored_s"] for row in cut_rows(conclude(forger.run, "now").evidence) if (row["restored_s"] or 0) > 5)
    for waited, red in ((late - 4, False), (late - 6, True), (True, True), ("long", True), (2.0**63, True), (-5, True), (None, True)):
        forger.change(forger.run.coordinator_journal, "recovered", 0, host_wait_s=waited)
        assert ("recovery: restored_in_time" in forger.red()) is red
    config["test_parameters"]["type"]["emulation"] = None
    write_json(forger.run.run_config, config)
    forger.change(forger.run.coordinator_journal, "recovered", 0, host_wait_s=late)
    assert "recovery: restored_in_time" in forger.red()  # a board of its own waits for nobody
