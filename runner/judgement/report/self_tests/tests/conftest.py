"""This run folder judges itself. `pytest tests/ -v` needs pytest and the standard library, no device and no network.

    ../results/journal/  ──► judge/ ──► every check, recomputed ──┐
    ../findings.json     what was concluded when the run ended  ──┴──► test_<category>.py, one test per scenario and check

A promise that must hold is red when it does not hold. One that was only *observed* (its test's name says so) is red when
the evidence says something else than findings.json.

judge/ is the judge that concluded this run, copied. It cannot vouch for itself: compare it with the published one, or read
it. It is one page of checks, one of integrity, and the reader of the journals.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent


@contextmanager
def _importing_only_from(folder: Path) -> Iterator[None]:
    """Our own judge, whatever else of that name is installed here or imported already."""

    def taken_out() -> dict[str, Any]:
        return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "runner"}

    others = taken_out()
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    taken_out()
    sys.modules.update(others)


with _importing_only_from(HERE / "judge"):
    from runner.judgement.evidence import Evidence
    from runner.judgement.integrity import questions
    from runner.judgement.judge import CheckResult, run_checks, verdict
    from runner.judgement.reading import load_evidence
    from runner.lab.folder import RunFolder
    from runner.model.outcome import TABLE

FOLDER = RunFolder(HERE.parent)


@dataclass
class Judgement:
    """What is to be said of the run. `trouble` is why nothing can be said."""

    status: str = ""
    verdict: str = "none"
    reason: str = ""
    findings: dict[str, str] = field(default_factory=dict)  # fingerprint → what failed
    results: list[CheckResult] = field(default_factory=list)
    evidence: Evidence | None = None
    trouble: str = ""


def _judged_again() -> Judgement:
    try:
        evidence = load_evidence(FOLDER)
        results = run_checks(FOLDER, evidence)
        row, reason = verdict(FOLDER, evidence, results)
    except Exception as error:  # damaged evidence, broken checks.py: said by a test of its own
        return Judgement(trouble=f"{type(error).__name__}: {error}")
    ending, failed = TABLE[row], [result for result in results if not result.held]
    found = {_fingerprint(evidence, result): f"{result.scenario}: {result.check}" for result in failed if ending.verdict}
    return Judgement(ending.status or "failed", ending.verdict or "none", reason, found, results, evidence)


def _recorded() -> Judgement:
    try:
        said = json.loads(FOLDER.findings.read_text(encoding="utf-8"))
        about, findings = said["metadata"], {finding["fingerprint"]: finding["title"] for finding in said["findings"]}
        return Judgement(about["status"], about["verdict"], about["summary"], findings)
    except Exception as error:
        return Judgement(trouble=f"findings.json: {type(error).__name__}: {error}")


def _fingerprint(evidence: Evidence, result: CheckResult) -> str:
    """What joins a finding over runs, as findings.json has it: entry, scenario and check."""
    return hashlib.sha256(f"{evidence.plan['entry']}\0{result.scenario}\0{result.check}".encode()).hexdigest()[:16]


AGAIN, RECORDED = _judged_again(), _recorded()
NOT_JUDGED = not (AGAIN.trouble or RECORDED.trouble) and AGAIN.verdict == RECORDED.verdict == "none"


def promises(category: str) -> list[Any]:
    """Each check of a category in each scenario, to be parametrized over."""
    if NOT_JUDGED:
        return _parameters({}, f"nothing was judged, the run was {AGAIN.status}: {AGAIN.reason}")
    chosen = [result for result in AGAIN.results if result.category == category]
    named = {f"{one.scenario}-{one.check}" + "-observed" * (one.judge == "observe"): one for one in chosen}
    return _parameters(named, f"no check of this run is about {category}")


def integrity() -> list[Any]:
    """Each question that the evidence itself can be asked."""
    return _parameters(questions(AGAIN.evidence) if AGAIN.evidence else {}, "the coordinator was killed before it sealed the evidence")


def _parameters(found: Mapping[str, Any], otherwise: str) -> list[Any]:
    """One test for each; where there is none, one that is skipped and says why."""
    every = [pytest.param(value, id=name) for name, value in found.items()]
    return every or [pytest.param(None, id="none", marks=pytest.mark.skip(reason=AGAIN.trouble or otherwise))]


def must_be_as_promised(result: CheckResult) -> None:
    """Fails with the promise, and with each problem and where in this folder it is seen."""
    assert AGAIN.evidence is not None
    if result.judge == "observe":
        recorded = _fingerprint(AGAIN.evidence, result) in RECORDED.findings
        if result.held != recorded:
            return
        red(f"observed: {result.promise}", ("findings.json says otherwise", "findings.json"), *result.problems)
    elif not result.held:
        red(f"{result.severity}: {result.promise}", *result.problems)


def red(said: str, *problems: tuple[str, str]) -> None:
    """Fails, with nothing but words."""
    pytest.fail("\n".join([said, *(f"  {where}: {problem}" for problem, where in problems)]), pytrace=False)


def pytest_unconfigure() -> None:
    """What Python compiled before this file could forbid it."""
    shutil.rmtree(HERE / "__pycache__", ignore_errors=True)
