"""What a run folder says, before anybody concludes: cuts, witness lines, and what had been promised when power went."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import AskError
from runner.judgement.reading import load_evidence
from runner.lab.folder import RunFolder
from runner.ondevice import journal

from .made_run import MadeRun

pytestmark = pytest.mark.real

ODD = b'{"execution": "recovery-1", "stage": "ingest", "life": "x", "boot": "", "boottime_ns": 1}'
JOURNALED = {"began", "restored", "resumed", "stage_started", "stage_finished", "holding", "finished", "sample", "host_ready"}


def test_a_real_run_reads_as_it_was_made(real_run: RunFolder) -> None:
    """Two executions, nine crashes, each recovered, and nothing in the device's journals that nobody knows."""
    evidence = load_evidence(real_run)
    assert [(e.name, e.scenario, len(e.cuts), e.ended["ending"]) for e in evidence.executions] == [
        ("baseline-1", "baseline", 0, "finished"),
        ("recovery-1", "recovery", 9, "finished"),
    ]
    assert {record.kind for execution in evidence.executions for record in execution.records} <= JOURNALED
    assert all(cut.recovered and cut.restored and cut.loss == "process_crash" for cut in evidence.cuts)
    assert [cut.hold for cut in evidence.cuts] == [f"recovery-1/{number}" for number in range(1, 10)]
    assert evidence.ending == {"ending": "ran"}
    assert evidence.slowdown is not None and evidence.slowdown > 0


def test_what_was_promised_only_grows(real_run: RunFolder) -> None:
    """From cut to cut more records are durable, more witness lines are there, and every one was written before."""
    cuts = load_evidence(real_run).cuts
    assert [cut.durable_sequence for cut in cuts] == sorted(cut.durable_sequence for cut in cuts)
    assert [cut.witness_lines for cut in cuts] == sorted(cut.witness_lines for cut in cuts)
    assert all(1 <= cut.durable_sequence <= cut.written for cut in cuts)


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"null", b'{"stage": "ingest"}', b"\xff\xfe", ODD])
def test_a_line_that_is_no_witness_counts_and_says_nothing(real_run: RunFolder, line: bytes) -> None:
    """A device writes these: nonsense keeps its place, so that later lines keep theirs, and is otherwise ignored."""
    before = [each.witnessed for each in load_evidence(real_run).executions]
    real_run.witness.write_bytes(line + b"\n" + real_run.witness.read_bytes() + b'{"execution": "recovery-1", "sta')
    after = [each.witnessed for each in load_evidence(real_run).executions]
    assert [[(seen.index - 1, seen.stage) for seen in each] for each in after] == [
        [(seen.index, seen.stage) for seen in each] for each in before
    ]


def test_without_its_files_a_run_is_told_apart_from_an_empty_one(real_run: RunFolder) -> None:
    """No device journal: no records. No witness: no lines. No configuration: this is no run folder."""
    real_run.device_journal("recovery-1").unlink()
    real_run.witness.unlink()
    execution = load_evidence(real_run).executions[1]
    assert (execution.records, execution.witnessed, execution.damaged_bytes) == ([], [], 0)
    real_run.run_config.unlink()
    with pytest.raises(AskError, match=r"run_config\.json cannot be read"):
        load_evidence(real_run)


def test_bytes_behind_the_last_record_are_counted(real_run: RunFolder) -> None:
    """They are no records, and they are not overlooked."""
    path = real_run.device_journal("recovery-1")
    records = journal.read_file(str(path))
    path.write_bytes(path.read_bytes() + b"12345")
    execution = load_evidence(real_run).executions[1]
    assert (execution.damaged_bytes, execution.records) == (5, records)


def test_stages_say_in_which_life_they_began(real_run: RunFolder) -> None:
    """What the witness wrote, in order; a life's number rises with each restart."""
    evidence = load_evidence(real_run)
    lines: list[dict[str, Any]] = [json.loads(line) for line in real_run.witness.read_text().splitlines()]
    assert [seen.stage for each in evidence.executions for seen in each.witnessed] == [line["stage"] for line in lines]
    lives = [seen.life for seen in evidence.executions[1].witnessed]
    assert lives == sorted(lives)
    assert {seen.life for seen in evidence.executions[0].witnessed} == {0}


@pytest.mark.parametrize(
    "damage",
    [lambda data: data + b"more", lambda data: data[:900] + b"\x00" + data[901:], lambda data: b""],
    ids=["added to", "flipped", "empty"],
)
def test_a_damaged_coordinator_journal_concludes_nothing(real_run: RunFolder, damage: Callable[[bytes], bytes]) -> None:
    """Whoever damaged the only word from outside is told so; nothing is judged from what is left."""
    real_run.coordinator_journal.write_bytes(damage(real_run.coordinator_journal.read_bytes()))
    with pytest.raises(AskError, match="damaged behind record"):
        load_evidence(real_run)


@pytest.mark.parametrize("name", ["", "../../../etc/passwd", "/etc/passwd", ".", "..", "-rf", "a b", "a\n", "\x1b[2J", "x" * 81, "ü"])
def test_a_name_that_leads_elsewhere_is_no_executions(tmp_path: Path, name: str) -> None:
    """It becomes a part of a file's name: a folder from elsewhere must not lead us out of itself. The place is named."""
    run = MadeRun(tmp_path)
    run.begin("recovery-1")
    assert [execution.name for execution in run.conclusion().evidence.executions] == ["recovery-1"]
    run.note(2.0, "execution_began", execution=name, scenario="recovery")
    with pytest.raises(AskError, match="an execution is called") as error:
        run.conclusion()
    assert error.value.complaints[0].where.endswith(f"coordinator.journal#{len(run.journals['coordinator'])}")


def test_a_missing_coordinator_journal_concludes_nothing(real_run: RunFolder) -> None:
    """The file is named."""
    real_run.coordinator_journal.unlink()
    with pytest.raises(AskError, match=r"coordinator\.journal cannot be read"):
        load_evidence(real_run)
