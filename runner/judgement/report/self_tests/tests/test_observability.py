"""Observability: everything was seen from outside, the evidence is what the run left, and findings.json is what it says."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import AGAIN, FOLDER, NOT_JUDGED, RECORDED, integrity, must_be_as_promised, promises, red


@pytest.mark.parametrize("result", promises("observability"))
def test_promise(result: Any) -> None:
    """It holds in the recomputed evidence; one that was only observed is as findings.json says."""
    must_be_as_promised(result)


@pytest.mark.parametrize("question", integrity())
def test_evidence(question: Any) -> None:
    """What this folder says about its own evidence: hashes as they were sealed, disk writes as the disk's log has them."""
    problems = question(FOLDER, AGAIN.evidence)
    if problems:
        red(question.__doc__.strip(), *problems)


def test_the_evidence_can_be_judged() -> None:
    """Journals and configuration are whole, and every check ran."""
    if trouble := AGAIN.trouble or RECORDED.trouble:
        red(trouble)


if NOT_JUDGED:

    def test_nothing_was_judged_and_findings_json_says_so() -> None:
        """The run was cut short or its fault not reached: no verdict, no finding, and the reason."""
        assert (RECORDED.status, RECORDED.reason, RECORDED.findings) == (AGAIN.status, AGAIN.reason, {})

else:

    def test_the_verdict_is_the_recorded_one() -> None:
        """Status, verdict and reason in findings.json are those that the evidence gives today."""
        recorded, again = [f"{one.status}, {one.verdict}: {one.reason}" for one in (RECORDED, AGAIN)]
        if recorded != again:
            red(f"the evidence gives {again!r}", (f"says {recorded!r}", "findings.json#/metadata"))

    def test_the_findings_are_exactly_the_checks_that_failed() -> None:
        """No finding without a failed check, no failed check without a finding."""
        made_up = [
            (f"{title}: no check fails so", "findings.json") for key, title in RECORDED.findings.items() if key not in AGAIN.findings
        ]
        missing = [
            (f"{failed} fails, and is not among them", "findings.json")
            for key, failed in AGAIN.findings.items()
            if key not in RECORDED.findings
        ]
        if made_up or missing:
            red("the findings are not the checks that failed", *made_up, *missing)
