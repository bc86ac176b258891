"""Derived files: made again from the folder alone they are the same, and a run without a verdict shows none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.judgement import report
from runner.judgement.conclude import conclude
from runner.lab.folder import RunFolder, read_json
from runner.model.finding import Findings

pytestmark = pytest.mark.real

METRICS = tuple(f"results/metrics/{name}.json" for name in ("cuts", "latency", "resource_usage"))
DERIVED = ("findings.json", "FINAL_REPORT.md", "README.md", *METRICS)


def without_times(run: RunFolder) -> dict[str, str]:
    """Each derived file, the moment of its generation left out."""
    return {name: re.sub(r"\| Generated \| \S+ \|", "", (run.root / name).read_text()) for name in DERIVED}


def test_reporting_again_on_a_copy_gives_the_same_files(real_run: RunFolder, runner: Callable[..., Any], real_lab: Path) -> None:
    """Byte for byte, apart from the time of generation; nothing else in the folder is touched; it exits as the run did."""
    before = without_times(real_run)
    for name in DERIVED:
        (real_run.root / name).unlink()
    others = {path: path.read_bytes() for path in real_run.root.rglob("*") if path.is_file()}
    said = runner("--lab", str(real_lab), "report", str(real_run.root))
    assert said.exit_code == 0
    assert without_times(real_run) == before
    assert {path: path.read_bytes() for path in others} == others
    assert "__pycache__" not in {path.name for path in real_run.root.rglob("*")}


def test_only_the_time_differs_between_two_reports(real_run: RunFolder) -> None:
    """The negative control of the above: without leaving the time out, the files do differ."""
    report.write(real_run, conclude(real_run, "2026-11-21T20:00:00.000Z"))
    first = {name: (real_run.root / name).read_text() for name in DERIVED}
    report.write(real_run, conclude(real_run, "2026-11-21T21:00:00.000Z"))
    differing = {name for name in DERIVED if (real_run.root / name).read_text() != first[name]}
    assert differing == {"FINAL_REPORT.md"}


def test_findings_are_as_the_schema_has_them(forger: Any) -> None:
    """Valid by our own model, absent objects left out, counted in the metadata."""
    forger.change(forger.recovery, "finished", 0, state_sha256="0" * 64)
    report.write(forger.run, conclude(forger.run, "2026-11-21T20:00:00.000Z"))
    written = read_json(forger.run.findings)
    assert Findings.model_validate(written).metadata.total_findings == len(written["findings"]) == 2
    assert "null" not in json.dumps(written)
    text = forger.run.final_report.read_text()
    assert all(finding["id"] in text for finding in written["findings"])


def test_a_blocked_run_shows_no_finding_and_no_verdict(forger: Any) -> None:
    """Blocked is not failed: the words PASS and FAIL do not appear as its verdict."""
    forger.change(forger.run.coordinator_journal, "run_ended", ending="lab", error="pi-04 did not answer within 60 s")
    conclusion = conclude(forger.run, "now")
    report.write(forger.run, conclusion)
    written = read_json(forger.run.findings)
    assert (written["metadata"]["status"], written["findings"]) == ("blocked", [])
    assert not re.search(r"\*\*(PASS|FAIL|NEEDS_WORK)", forger.run.final_report.read_text())
    assert "no verdict (blocked)" in forger.run.readme.read_text()
    assert "pi-04 did not answer within 60 s" in forger.run.final_report.read_text()


def test_a_run_under_way_says_so(real_run: RunFolder) -> None:
    """What a killed coordinator leaves behind is marked as in progress, and valid."""
    report.write_in_progress(real_run)
    assert Findings.model_validate(read_json(real_run.findings)).metadata.status == "in_progress"
    assert "in progress" in real_run.final_report.read_text()


def test_what_a_device_wrote_cannot_break_out_of_a_table(forger: Any) -> None:
    """A stage's error with pipes and line feeds stays in its cell."""
    forger.change(forger.run.coordinator_journal, "execution_ended", 1, ending="failed | **PASS** |\n| x")
    report.write(forger.run, conclude(forger.run, "now"))
    rows = [line for line in forger.run.final_report.read_text().splitlines() if "recovery-1 |" in line]
    assert rows
    assert all("failed \\| **PASS** \\| \\| x" in row for row in rows if "failed" in row)


def test_the_report_never_calls_a_crash_a_power_cut(real_run: RunFolder) -> None:
    """The local device's cuts are process crashes, and each report says so."""
    assert "process crash (never a power cut)" in real_run.final_report.read_text()
