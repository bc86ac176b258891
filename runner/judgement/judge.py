"""Evidence in, judgement out: every check of the plan is run, and the one table applied to what failed.

Standard library only: this file, and all that it imports, is copied into each run folder's `tests/`, so that anybody
judges the run again with pytest and nothing of ours.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.machinery
import importlib.util
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType

from runner.errors import AskError
from runner.judgement import heat, links, scarcity
from runner.judgement.checks import CATEGORIES, GENERIC, Check, Problem
from runner.judgement.evidence import Evidence
from runner.judgement.integrity import contradictions
from runner.lab.folder import RunFolder
from runner.model.outcome import SEVERITIES, TABLE, failure_rate_bound, judge

_CHECKS = "pipelines/checks.py"
REACHED = "reached"  # how a check is judged that asks whether the fault was there
MAX_PROBLEMS = 1000  # of one check in one scenario; more are counted


@dataclass(frozen=True)
class CheckResult:
    """One check in one scenario, and every problem it found."""

    scenario: str
    check: str
    category: str
    promise: str
    severity: str
    judge: str
    problems: tuple[Problem, ...]

    @property
    def held(self) -> bool:
        return not self.problems


def run_checks(folder: RunFolder, evidence: Evidence) -> list[CheckResult]:
    """Every check of every scenario, in the plan's order. A run that the lab cut short says nothing of the software: none."""
    if evidence.ending is None or evidence.ending["ending"] != "ran":
        return []
    return [
        CheckResult(scenario, name, category, (check.__doc__ or name).strip(), severity, how, _problems(check, evidence, scenario))
        for scenario, name, category, severity, how, check in _chosen(folder, evidence)
    ]


def _problems(check: Check, evidence: Evidence, scenario: str) -> tuple[Problem, ...]:
    """What a check finds. One of the entry's own that raises has found that it is broken; one of ours is our bug.

    The entry's own get a plan and lists of their own: what they change, they change for themselves.
    """
    ours = check in GENERIC.values()
    if not ours:
        executions, notes = list(evidence.executions), list(evidence.coordinator)
        evidence = replace(evidence, plan=copy.deepcopy(evidence.plan), executions=executions, coordinator=notes)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            found = [(str(problem), str(where)) for problem, where in check(evidence, scenario)]
    except (Exception, SystemExit, GeneratorExit) as error:
        if ours:
            raise
        found = [(f"the check itself failed: {type(error).__name__}: {error}", _CHECKS)]
    if len(found) > MAX_PROBLEMS:
        found = [*found[:MAX_PROBLEMS], (f"and {len(found) - MAX_PROBLEMS} more", found[MAX_PROBLEMS][1])]
    return tuple((one_line(problem), _place(where)) for problem, where in found)


def _place(where: str) -> str:
    """A place inside the run folder, whatever a check gives for one."""
    said = one_line(where).strip()
    return _CHECKS if not said or said.startswith("/") or ".." in said.split("/") else said


def one_line(text: str) -> str:
    """A device's words as one printable line: they must not become headings, or move anybody's cursor."""
    return "".join(c if c.isprintable() else " " for c in text)[:2000]


def _chosen(folder: RunFolder, evidence: Evidence) -> list[tuple[str, str, str, str, str, Check]]:
    own = entry_checks(folder.pipelines)
    chosen = []
    for scenario, planned in evidence.plan["scenarios"].items():
        for use in planned["checks"]:
            check = GENERIC.get(use["check"]) or own.get(use["check"])  # an entry does not replace what every entry promises
            if check is None:
                known = ", ".join(sorted({*own, *GENERIC}))
                raise AskError(f"no check is called {use['check']!r}", expected=f"one of {known}", where=str(folder.run_config))
            category = use.get("category") or CATEGORIES.get(use["check"], "correctness")
            chosen.append((scenario, use["check"], category, use["severity"], use.get("judge") or planned["judge"], check))
    return chosen


class _FromText(importlib.machinery.SourceFileLoader):
    """Loads a file from its text alone: a compiled one beside it could be of any other."""

    def get_code(self, fullname: str) -> CodeType | None:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def entry_checks(folder: Path) -> dict[str, Check]:
    """Public functions of the checks.py in an entry's folder. This runs it, from its own text and no compiled file beside it.

    What it prints goes to standard error. Raises AskError when it cannot be loaded.
    """
    path = folder / "checks.py"
    if not path.exists():
        return {}
    name = f"_entry_checks_{abs(hash(path))}"
    spec = importlib.util.spec_from_loader(name, _FromText(name, str(path)))
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    except (Exception, SystemExit, GeneratorExit) as error:
        raise AskError(f"the entry's checks cannot be loaded: {type(error).__name__}: {error}", where=str(path)) from error
    return {key: value for key, value in vars(module).items() if callable(value) and not key.startswith("_")}


def verdict(folder: RunFolder, evidence: Evidence, results: list[CheckResult]) -> tuple[str, str]:
    """The row of the table that this run is, and the reason in one line."""
    ending = evidence.ending or {"ending": "interrupted", "error": "the coordinator was killed"}
    if ending["ending"] not in (*TABLE, "ran"):
        raise AskError(
            f"no run ends as {one_line(ending['ending'])!r}", expected="ran, or a row of the table", where=str(folder.coordinator_journal)
        )
    if ending["ending"] != "ran":
        return ending["ending"], one_line(str(ending.get("error", "ended early")).splitlines()[0])
    wrong = contradictions(folder, evidence)
    if wrong:
        return "lab", f"the evidence contradicts itself: {one_line(wrong[0][0])}" + (f" (+{len(wrong) - 1})" if wrong[1:] else "")
    real = all(cut.loss == "power_loss" for cut in evidence.cuts)
    proof = evidence.note("disk_proof")
    if any(cut.loss == "power_loss" for cut in evidence.cuts) and (proof is None or proof["found"] != proof["expected"]):
        return "lab", "the disk was never proven to lose unflushed writes: fault not reached"
    if not results:
        return "lab", "the plan names no check: nothing was judged"
    failed = [result for result in results if not result.held and result.judge != REACHED]
    unmet = [problem for result in results if result.judge == REACHED for problem in result.problems]
    binding = [result for result in failed if result.judge == "must_hold"]
    counted = sum(cut.counted for cut in evidence.counting)
    unreached = [scenario for scenario in evidence.cutting if not evidence.counted_by_scenario.get(scenario)]
    if unreached and not binding:  # what failed in spite of cuts that cost nothing has still failed
        return "lab", f"no cut of {', '.join(unreached)} cost anything: fault not reached"
    off_target = [*links.not_reached(evidence), *scarcity.not_reached(evidence), *heat.not_reached(evidence)]
    off_target += [] if binding else unmet  # what failed under half of a fault has still failed
    if off_target:
        return "lab", f"fault not reached: {one_line(off_target[0][0])}" + (f" (+{len(off_target) - 1})" if off_target[1:] else "")
    bar = int(evidence.plan["cuts"]["bar"])
    observed = [result.severity for result in failed if result.judge == "observe"]
    row = judge([result.severity for result in binding], observed, counted, bar, power_failed=real)
    if failed:
        worst = min(binding or failed, key=lambda result: SEVERITIES.index(result.severity))
        said = f"{len(failed)} of {len(results)} checks failed{_observed(failed)}"
        return row, f"{said}; the worst: {worst.problems[0][0]}"
    if counted < bar:
        bound = failure_rate_bound(0, counted)
        said = f"failure rate at most {bound:.0%} (95 %)" if bound else "failure rate not bounded yet"
        return row, f"{counted} of {bar} cuts: {said}"
    if not real:
        return row, f"every check held over {counted} process crashes; the power was never cut"
    return row, f"every check held over {counted} counted cuts"


def _observed(failed: list[CheckResult]) -> str:
    """How many of the failed checks were only observed, in words."""
    observed = sum(result.judge == "observe" for result in failed)
    return "" if not observed else ", all only observed" if observed == len(failed) else f", {observed} of them only observed"
