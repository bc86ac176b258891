"""Inside a GitHub workflow: annotations that cannot be forged, a summary, and silence everywhere else."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.cli import github
from runner.judgement.conclude import Conclusion, conclude
from runner.lab.folder import RunFolder
from runner.model.finding import Finding

pytestmark = pytest.mark.real


def finding(number: int = 1, severity: str = "critical", **changes: Any) -> Finding:
    said = {"title": "recovery: does not hold", "description": "ledger lost", **changes}
    return Finding.model_validate(
        {
            **{"id": f"EDGE-002-REL-{number:03}", "type": "reliability", "severity": severity, "created_at": "2026-11-21T20:00:00.000Z"},
            **{"evidence": ("results/journal/witness.jsonl:3",), "fingerprint": "0" * 16},
            **said,
        }
    )


@pytest.fixture
def failed(real_run: RunFolder) -> Conclusion:
    """A run that fails with one critical finding."""
    return replace(conclude(real_run, "now"), row="must_hold_failed_badly", reason="ledger lost", findings=[finding()])


def said(conclusion: Conclusion, **environment: str) -> list[str]:
    lines: list[str] = []
    github.announce(conclusion, {"GITHUB_ACTIONS": "true", **environment}, lines.append)
    return lines


def test_nothing_is_said_elsewhere(failed: Conclusion, tmp_path: Path) -> None:
    """Without GITHUB_ACTIONS=true neither a line nor a file, whatever else is set."""
    lines: list[str] = []
    for environment in ({}, {"GITHUB_ACTIONS": "false"}, {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}):
        github.announce(failed, environment, lines.append)
    assert lines == []
    assert not (tmp_path / "summary").exists()


def test_each_finding_is_an_annotation_by_its_severity(failed: Conclusion) -> None:
    """The worst first: error, warning, notice."""
    findings = [finding(1, "low"), finding(2, "medium"), finding(3, "high")]
    levels = [line.split(" ")[0] for line in said(replace(failed, findings=findings))]
    assert levels == ["::error", "::warning", "::notice"]


def test_in_a_run_that_passes_nothing_is_an_error(failed: Conclusion) -> None:
    """What was observed about the framework as it is warns, and no more."""
    (line,) = said(replace(failed, row="held_with_concerns"))
    assert line.startswith("::warning ")


def test_a_run_without_a_verdict_is_one_error(failed: Conclusion) -> None:
    """Blocked, with its reason; no finding is made up."""
    blocked = replace(failed, row="lab", reason="pi-04 did not answer", results=[], findings=[])
    assert said(blocked) == [f"::error title=EDGE-002 {failed.folder.run_id}%3A blocked::pi-04 did not answer"]


def test_a_devices_words_cannot_become_a_command(failed: Conclusion) -> None:
    """Line ends, percent signs, and what ends a property are escaped as GitHub reads them: one line, one command."""
    hostile = finding(title="a,line=1::x\n::set-env", description="100%\r\n::add-mask::secret")
    (line,) = said(replace(failed, findings=[hostile]))
    assert line == ("::error title=EDGE-002-REL-001 (critical)%3A a%2Cline=1%3A%3Ax%0A%3A%3Aset-env::100%25%0D%0A::add-mask::secret")
    assert "\n" not in line and "\r" not in line


def test_no_more_than_github_shows(failed: Conclusion) -> None:
    """Ten of a level; the rest is in the summary."""
    assert len(said(replace(failed, findings=[finding(number) for number in range(1, 30)]))) == github.MOST


def test_the_summary_is_appended(failed: Conclusion, tmp_path: Path) -> None:
    """Behind what other steps wrote: verdict, reason, findings, cuts, checks."""
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    said(failed, GITHUB_STEP_SUMMARY=str(path))
    text = path.read_text()
    assert text.startswith("before\n## EDGE-002 on local: FAIL\n\nledger lost.\n")
    assert re.findall(r"^### (\w+)", text, re.MULTILINE) == ["Findings", "Cuts", "Checks"]
    assert text.count("| held |") == sum(result.held for result in failed.results)
    assert "| EDGE-002-REL-001 | critical |" in text


def test_a_summary_that_cannot_be_written_is_a_warning(failed: Conclusion, tmp_path: Path) -> None:
    """A run's ending never depends on it."""
    assert said(failed, GITHUB_STEP_SUMMARY=str(tmp_path / "no" / "such"))[-1].startswith("::warning title=step summary::")


def test_a_huge_summary_is_cut_before_github_drops_it(failed: Conclusion) -> None:
    """Whole tables only, and a word on where the rest is."""
    text = github.summary(replace(failed, results=failed.results * 2000))
    assert len(text.encode()) < github.SUMMARY_LIMIT_BYTES + 1000
    assert "### Cuts" in text
    assert text.endswith("The rest is in FINAL_REPORT.md.\n")
