"""Findings over many runs: joined by fingerprint, decided by people, found again, counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import AskError, LabError
from runner.judgement import decisions
from runner.judgement.collection import aggregate, collect, write_aggregate
from runner.judgement.spreadsheet import csv_text, safe
from runner.model.finding import Decision, Resolution

Make = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> Make:
    """`make_run(day, (number, fingerprint, changes)…)`: a run of that day with those findings."""

    def make(day: int, *findings: tuple[int, str, dict[str, Any]], entry: str = "EDGE-002") -> Path:
        folder = tmp_path / entry / f"run-2026-01-{day:02}-001"
        (folder / "config").mkdir(parents=True)
        moment = f"2026-01-{day:02}T09:00:00.000Z"
        rows = [
            {
                "id": f"{entry}-REL-{number:03}", "type": "reliability", "severity": "high", "title": f"promise {fingerprint}",
                "description": "d", "status": "open", "created_at": moment, "component": "recovery pipeline", "device": "local",
                "evidence": ["results/journal/witness.jsonl:7"], "fingerprint": fingerprint, **changes,
            }
            for number, fingerprint, changes in findings
        ]  # fmt: skip
        metadata = {
            "roadmap_entry_id": entry, "agent_run_id": "00000000-0000-4000-8000-000000000001",
            "started_at": moment, "completed_at": moment, "status": "completed",
        }  # fmt: skip
        (folder / "findings.json").write_text(json.dumps({"metadata": metadata, "findings": rows}))
        return folder

    return make


def decide(runs: Path, fingerprint: str, status: Any, day: int, **resolution: Any) -> None:
    said = Resolution(**resolution) if resolution else None
    at = f"2026-01-{day:02}T12:00:00.000Z"
    decisions.append(runs, Decision(fingerprint=fingerprint, finding="x", run="y", status=status, resolution=said, at=at))


def test_the_same_finding_in_two_runs_is_one_case(make_run: Make, tmp_path: Path) -> None:
    """Whatever its number was; the other one stays another. Worst first."""
    make_run(1, (1, "aa", {}), (2, "bb", {"severity": "critical"}))
    make_run(2, (1, "bb", {"severity": "critical"}), (2, "aa", {}), entry="EDGE-003")
    found = collect(tmp_path)
    assert [(case.latest.finding.fingerprint, case.runs) for case in found.cases] == [
        ("bb", ["EDGE-002/run-2026-01-01-001", "EDGE-003/run-2026-01-02-001"]),
        ("aa", ["EDGE-002/run-2026-01-01-001", "EDGE-003/run-2026-01-02-001"]),
    ]
    assert (found.total_runs, found.damaged) == (2, ())


@pytest.mark.parametrize(
    ("status", "decided", "expected", "regressed"),
    [
        ("resolved", 1, "open", True),  # the second run began on day 2
        ("resolved", 3, "resolved", False),
        ("wont_fix", 1, "wont_fix", False),
        ("duplicate", 1, "duplicate", False),
        ("confirmed", 1, "confirmed", False),
        ("in_progress", 3, "in_progress", False),
    ],
)
def test_only_what_was_resolved_and_is_found_later_is_open_again(
    make_run: Make, tmp_path: Path, status: str, decided: int, expected: str, regressed: bool
) -> None:
    """A run that began before the decision takes nothing back."""
    make_run(1, (1, "aa", {}))
    make_run(2, (1, "aa", {}))
    decide(tmp_path, "aa", status, decided, resolution_type="fixed", resolution_details="patched")
    (case,) = collect(tmp_path).cases
    assert (case.status, case.regressed) == (expected, regressed)
    present = case.present(case.latest)
    assert present["status"] == expected
    assert present.get("regressed", False) is regressed
    assert ("resolution" in present) is not regressed


def test_the_last_decision_counts(make_run: Make, tmp_path: Path) -> None:
    """And every earlier one is still told."""
    make_run(1, (1, "aa", {}))
    for status in ("confirmed", "resolved", "open"):
        decide(tmp_path, "aa", status, 4)
    (case,) = collect(tmp_path).cases
    assert (case.status, [one.status for one in case.decisions]) == ("open", ["confirmed", "resolved", "open"])


def test_damaged_lines_are_told_and_cost_no_other(make_run: Make, tmp_path: Path) -> None:
    """A tail that a crash tore stays as it is, and the next decision stands on a line of its own."""
    make_run(1, (1, "aa", {}))
    decide(tmp_path, "aa", "confirmed", 4)
    log = decisions.log_of(tmp_path)
    with log.open("ab") as file:
        file.write(b'\xff\xfe\n{"fingerprint": "aa"}\n{"fingerprint": "a')
    torn = log.read_bytes()
    decide(tmp_path, "aa", "wont_fix", 5)
    assert log.read_bytes().startswith(torn)
    found = collect(tmp_path)
    assert found.cases[0].status == "wont_fix"
    assert [damage.where for damage in found.damaged] == [f"{log}:{number}" for number in (2, 3, 4)]


def test_a_decision_that_cannot_be_flushed_is_not_there(make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It failed, it says so, and the log is as it was."""
    decide(tmp_path, "aa", "confirmed", 4)
    before = decisions.log_of(tmp_path).read_bytes()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(LabError, match="No space left"):
        decide(tmp_path, "aa", "resolved", 5)
    assert decisions.log_of(tmp_path).read_bytes() == before


def test_a_folder_that_cannot_be_read_hides_no_other(make_run: Make, tmp_path: Path) -> None:
    """Missing, no JSON, and a finding without evidence: each is named with what is wrong."""
    make_run(1, (1, "aa", {}))
    (make_run(2) / "findings.json").unlink()
    (make_run(3) / "findings.json").write_text('{"metadata": ')
    make_run(4, (1, "aa", {}), (2, "bb", {"evidence": []}))
    found = collect(tmp_path)
    assert (found.total_runs, [case.runs for case in found.cases]) == (1, [["EDGE-002/run-2026-01-01-001"]])
    said = {Path(damage.where).parent.name: damage.found for damage in found.damaged}
    assert "No such file" in said["run-2026-01-02-001"]
    assert "line 1 column" in said["run-2026-01-03-001"]
    assert said["run-2026-01-04-001"].startswith("findings.1.evidence: ")


def test_a_name_means_one_finding_or_is_answered_with_the_candidates(make_run: Make, tmp_path: Path) -> None:
    """An id is unique per run only; a fingerprint, or an id with its run, always is."""
    make_run(1, (1, "aa", {}), (2, "bb", {}))
    make_run(2, (1, "bb", {}))
    found = collect(tmp_path)
    for name, ref in (
        ("aa", "EDGE-002/run-2026-01-01-001/EDGE-002-REL-001"),
        ("bb", "EDGE-002/run-2026-01-02-001/EDGE-002-REL-001"),
        ("EDGE-002-REL-002", "EDGE-002/run-2026-01-01-001/EDGE-002-REL-002"),
        ("EDGE-002/run-2026-01-02-001/EDGE-002-REL-001", "EDGE-002/run-2026-01-02-001/EDGE-002-REL-001"),
    ):
        assert found.find(name)[1].ref == ref
    with pytest.raises(AskError) as refused:
        found.find("EDGE-002-REL-001")
    expected = refused.value.complaints[0].expected
    assert "EDGE-002/run-2026-01-01-001/EDGE-002-REL-001  (promise aa)" in expected
    assert "EDGE-002/run-2026-01-02-001/EDGE-002-REL-001  (promise bb)" in expected
    with pytest.raises(AskError, match="no finding is called"):
        found.find("cc")


def test_each_count_of_the_aggregate_sums_to_the_total(make_run: Make, tmp_path: Path) -> None:
    """Per run, with what each finding is today; written as one file that reads back."""
    make_run(1, (1, "aa", {}), (2, "bb", {"severity": "low", "type": "bug"}))
    make_run(2, (1, "aa", {}), (2, "cc", {"component": None}))
    make_run(3)
    decide(tmp_path, "aa", "wont_fix", 4, resolution_details="meant so")
    path, value = write_aggregate(tmp_path, collect(tmp_path), "2026-02-01T00:00:00.000Z")
    assert json.loads(path.read_text()) == value
    assert (value["total_runs"], value["total_findings"], value["distinct_findings"]) == (3, 4, 3)
    for key in ("by_type", "by_severity", "by_status", "by_component"):
        assert sum(value[key].values()) == 4, key
    assert value["by_severity"] == {"high": 3, "low": 1}
    assert value["by_status"] == {"open": 2, "wont_fix": 2}
    assert value["by_component"] == {"recovery pipeline": 3, "unspecified": 1}
    first = value["findings"][0]
    keys = ("run_id", "roadmap_entry_id", "fingerprint", "status")
    assert [first[key] for key in keys] == ["run-2026-01-01-001", "EDGE-002", "aa", "wont_fix"]
    assert first["resolution"]["resolution_details"] == "meant so"


def test_an_empty_lab_aggregates_to_nothing(tmp_path: Path) -> None:
    """Zeros, and no complaint."""
    value = aggregate(collect(tmp_path / "runs"), "now")
    assert (value["total_runs"], value["total_findings"], value["by_type"], value["not_read"]) == (0, 0, {}, [])


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("-1+1", "'-1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "' =1"),
        ("\r\n=1", "'  =1"),
        ('"=1', "'\"=1"),
        ("＝1", "'＝1"),
        ("x;=1", "x;'=1"),
        ("x; =1;@y", "x;' =1;'@y"),
        ("a = b, 5 - 3; c", "a = b, 5 - 3; c"),
        ("pi-04", "pi-04"),
        (7, 7),
    ],
)
def test_no_cell_is_a_formula(said: Any, shown: Any) -> None:
    """At its beginning, and where another locale would begin a cell; ordinary words stay as they are."""
    assert safe(said) == shown


def test_the_csv_has_one_row_per_case(make_run: Make, tmp_path: Path) -> None:
    """Every cell quoted, hostile words neutral, whatever field they stand in."""
    make_run(1, (1, "aa", {"title": '=HYPERLINK("x")', "description": "two\nlines", "component": "@x"}))
    make_run(2, (1, "aa", {"title": '=HYPERLINK("x")', "description": "two\nlines", "component": "@x"}))
    head, row = csv_text(collect(tmp_path).cases).splitlines()
    assert head.startswith('"id","fingerprint","entry"')
    assert '"\'=HYPERLINK(""x"")","two lines","\'@x","local","2"' in row
