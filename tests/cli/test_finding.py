"""`runner finding`: from two runs to a settled, gathered and exported list, and others' files brought in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Runner = Callable[..., Any]
OLDER = {
    "template": {},
    "entries": [
        {"id": "BUG-001", "title": "=1+1", "type": "mystery", "priority": "P0", "timestamp": "2026-01-03"},
        {"id": "BUG-001", "title": "\x1b[2Jcleared", "description": "it clears", "priority": "P2", "timestamp": "2026-01-03"},
    ],
}


@pytest.fixture
def lab(make_lab: Callable[..., Path]) -> Path:
    """Two runs of EDGE-002: the first found two things, the second the first of them again, under another number."""
    files = {}
    for day, found in ((1, ("aa", "bb")), (2, ("cc", "aa"))):
        moment = f"2026-01-{day:02}T09:00:00.000Z"
        rows = [
            {
                "id": f"EDGE-002-REL-{number:03}", "type": "reliability", "severity": "low" if one == "bb" else "high",
                "title": f"promise {one}", "description": f"broken by {one}", "status": "open",
                "created_at": moment, "device": f"pi-0{day}", "fingerprint": one,
                "evidence": ["results/journal/witness.jsonl:7", "results/journal/coordinator.journal#12"],
                "reproduction": {"steps": ["runner exec EDGE-002 --seed 3"]},
            }
            for number, one in enumerate(found, 1)
        ]  # fmt: skip
        times = {"started_at": moment, "completed_at": moment}
        metadata = {"roadmap_entry_id": "EDGE-002", "agent_run_id": "u", "status": "completed", **times}
        run = f"runs/EDGE-002/run-2026-01-{day:02}-001"
        files |= {f"{run}/config/run_config.json": "{}", f"{run}/findings.json": json.dumps({"metadata": metadata, "findings": rows})}
    return make_lab(files)


@pytest.fixture
def finding(runner: Runner, lab: Path) -> Runner:
    """`finding("list")`: in that lab, as JSON when `--json` is among the words."""
    return lambda *words: runner("--lab", str(lab), "finding", *words)


def test_the_list_has_one_row_per_finding(finding: Runner) -> None:
    """With how many runs saw it, and which was the first and the last."""
    rows = finding("list", "--json").json["findings"]
    assert [(row["fingerprint"], row["runs"], row["first_run"][-6:], row["last_run"][-6:]) for row in rows] == [
        ("cc", 1, "02-001", "02-001"),
        ("aa", 2, "01-001", "02-001"),
        ("bb", 1, "01-001", "01-001"),
    ]
    text = finding("list").out
    assert "promise aa" in text and "severity" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--severity", "low"), {"bb"}),
        (("--device", "pi-01"), {"aa", "bb"}),
        (("--device", "pi-02", "--status", "open"), {"aa", "cc"}),
        (("--entry", "edge-002"), {"aa", "bb", "cc"}),
        (("--entry", "EDGE-003"), set()),
        (("--type", "bug"), set()),
        (("--status", "resolved"), set()),
    ],
)
def test_filters_choose(finding: Runner, words: tuple[str, ...], expected: set[str]) -> None:
    """Each by itself, and together; for the list and for the CSV."""
    assert {row["fingerprint"] for row in finding("--json", "list", *words).json["findings"]} == expected
    assert finding("--json", "export", "csv", *words).json["rows"] == len(expected)


def test_a_finding_is_shown_with_its_evidence(finding: Runner, lab: Path) -> None:
    """Where it stands, how to see it again, and where it was seen."""
    text = finding("show", "aa").out
    for words in ("promise aa", "results/journal/coordinator.journal#12", "exec EDGE-002 --seed 3", "run-2026-01-01-001/EDGE-002-REL-001"):
        assert words in text
    shown = finding("--json", "show", "EDGE-002/run-2026-01-01-001/EDGE-002-REL-001").json
    assert shown["finding"]["fingerprint"] == "aa"
    assert shown["folder"] == str(lab / "runs/EDGE-002/run-2026-01-01-001")


def test_an_id_that_two_findings_have_is_answered_with_both(finding: Runner) -> None:
    """Exit 2; nothing is decided by chance."""
    said = finding("--json", "resolve", "EDGE-002-REL-001", "--as", "fixed", "--details", "x")
    assert said.exit_code == 2
    assert "run-2026-01-01-001/EDGE-002-REL-001  (promise aa)" in said.json["error"]["expected"]
    assert "run-2026-01-02-001/EDGE-002-REL-001  (promise cc)" in said.json["error"]["expected"]


def test_a_finding_is_settled_in_every_run_and_taken_up_again(finding: Runner, lab: Path) -> None:
    """The log has a line for each step; no run's own file has changed."""
    before = {path: path.read_bytes() for path in lab.glob("runs/*/*/findings.json")}
    assert "open → confirmed" in finding("confirm", "aa").out
    assert finding("--json", "start", "aa").json["status"] == "in_progress"
    words = ("--details", "flushed first", "--commit", "abc", "--pr", "https://example.org/1", "--release", "1.3", "--by", "me")
    assert finding("--json", "resolve", "aa", "--as", "fixed", *words).json["status"] == "resolved"
    shown = finding("--json", "show", "aa").json
    assert shown["finding"]["resolution"] == {
        "resolved_by": "me", "resolution_type": "fixed", "resolution_details": "flushed first", "commit_hash": "abc",
        "pr_link": "https://example.org/1", "release_version": "1.3", "verification_steps": [],
    }  # fmt: skip
    assert [one["status"] for one in shown["decisions"]] == ["confirmed", "in_progress", "resolved"]
    assert "flushed first" in finding("show", "aa").out
    assert finding("--json", "reopen", "aa").json["before"] == "resolved"
    assert len((lab / "runs/decisions.jsonl").read_text().splitlines()) == 4
    assert {path: path.read_bytes() for path in before} == before


def test_what_was_resolved_and_is_found_again_says_so(finding: Runner, lab: Path) -> None:
    """Decided between the two runs."""
    decision = {"fingerprint": "aa", "finding": "x", "run": "y", "status": "resolved", "at": "2026-01-01T12:00:00.000Z"}
    (lab / "runs/decisions.jsonl").write_text(json.dumps(decision) + "\n")
    assert [row["fingerprint"] for row in finding("--json", "list").json["findings"] if row["regressed"]] == ["aa"]
    assert "open again" in finding("list").out


def test_settling_needs_a_reason(finding: Runner, lab: Path) -> None:
    """Neither without words nor with blank ones, nor in a way that nobody knows."""
    for words in (("--as", "fixed"), ("--as", "fixed", "--details", " "), ("--as", "magic", "--details", "x")):
        assert finding("resolve", "aa", *words).exit_code == 2
    assert not (lab / "runs/decisions.jsonl").exists()


def test_findings_are_gathered_in_one_file(finding: Runner, lab: Path) -> None:
    """The file that the answer names."""
    said = finding("--json", "aggregate").json
    value = json.loads(Path(said["file"]).read_text())
    assert Path(said["file"]) == lab / "runs/aggregated_findings.json"
    assert (said["total_runs"], said["total_findings"], len(value["findings"])) == (2, 4, 4)
    assert "4 findings (3 distinct) of 2 runs" in finding("aggregate").out


def test_the_csv_is_alone_on_standard_output(finding: Runner, lab: Path, tmp_path: Path) -> None:
    """What was left out is said elsewhere; a file holds the same."""
    (lab / "runs/EDGE-002/run-2026-01-01-001/findings.json").write_text("{")
    said = finding("export", "csv")
    assert [row["fingerprint"] for row in csv.DictReader(io.StringIO(said.out))] == ["cc", "aa"]
    assert "left out: " in said.err and "run-2026-01-01-001" in said.err
    assert finding("export", "csv", "--output", str(tmp_path / "out.csv")).exit_code == 0
    assert (tmp_path / "out.csv").read_text() == said.out
    assert finding("export", "csv", "--output", str(tmp_path / "no" / "out.csv")).exit_code == 2


def test_older_files_are_brought_in_and_what_was_not_mapped_is_said(finding: Runner, lab: Path, tmp_path: Path) -> None:
    """Once; on the terminal they are words, in a spreadsheet they are cells."""
    path = tmp_path / "bugs.json"
    path.write_text(json.dumps(OLDER))
    said = finding("import", str(path), "--entry", "EDGE-002")
    assert said.exit_code == 0
    assert "bugs.json: 2 added, 0 known already" in said.out
    assert "not mapped: bugs.json#/entries/0/type: type 'mystery': type bug, the word kept as a tag" in said.out
    again = finding("--json", "import", str(path), "--entry", "EDGE-002").json["imports"]
    assert (again[0]["added"], again[0]["imported_before"]) == ([], True)
    listed = finding("list")
    assert "[2Jcleared" in listed.out and "\x1b" not in listed.out
    assert "'=1+1" in finding("export", "csv").out
    assert "imported/EDGE-002-BUG-001" in finding("show", "EDGE-002-BUG-001").out


def test_a_file_that_is_no_such_file_is_refused(finding: Runner, lab: Path, tmp_path: Path) -> None:
    """Exit 2, with the file's name, and nothing made of it."""
    path = tmp_path / "bugs.json"
    path.write_text("[1, 2")
    said = finding("--json", "import", str(path), "--entry", "EDGE-002")
    assert (said.exit_code, said.json["error"]["where"]) == (2, "bugs.json:1")
    assert finding("import", str(tmp_path / "gone.json"), "--entry", "EDGE-002").exit_code == 2
    assert finding("import", str(path)).exit_code == 2


def test_a_lab_without_runs_has_no_findings(runner: Runner, make_lab: Callable[..., Path]) -> None:
    """Empty answers, exit 0."""
    lab = str(make_lab({}))
    assert runner("--json", "--lab", lab, "finding", "list").json["findings"] == []
    assert "no such finding" in runner("--lab", lab, "finding", "list").out
    assert runner("--lab", lab, "finding", "show", "aa").exit_code == 2
