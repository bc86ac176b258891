"""From a run folder to a conclusion: run every check, apply the one table, make findings of what failed."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.errors import AskError, RunnerError
from runner.judgement.checks import GENERIC, Check, Problem, clocks
from runner.judgement.evidence import Evidence, load_evidence
from runner.lab.folder import RunFolder
from runner.model.finding import TYPE_CODES, Finding, fingerprint
from runner.model.outcome import SEVERITIES, TABLE, Row, failure_rate_bound, judge


@dataclass(frozen=True)
class CheckResult:
    """One check in one scenario, and every problem it found."""

    scenario: str
    check: str
    promise: str
    severity: str
    judge: str
    problems: tuple[Problem, ...]

    @property
    def held(self) -> bool:
        return not self.problems


@dataclass
class Conclusion:
    """What is to be said about a run. Everything here is computed from its folder."""

    folder: RunFolder
    evidence: Evidence
    row: str
    reason: str
    results: list[CheckResult]
    findings: list[Finding]
    generated_at: str
    trouble: RunnerError | None = field(default=None, compare=False)

    @property
    def outcome(self) -> Row:
        return TABLE[self.row]

    @property
    def completed_at(self) -> str:
        """When the run ended; for one that was killed, when this was concluded."""
        return self.evidence.completed_at or self.generated_at

    @property
    def cuts(self) -> dict[str, int]:
        cuts = self.evidence.cuts
        return {
            "asked": int(self.evidence.plan["cuts_asked"]),
            "made": len(cuts),
            "vacuous": sum(cut.vacuous for cut in cuts),
            "counted": sum(cut.counted for cut in cuts),
        }

    def as_json(self) -> dict[str, Any]:
        """The last word of `exec --json`."""
        counts = {severity: sum(f.severity == severity for f in self.findings) for severity in SEVERITIES}
        return {
            "run_id": self.folder.run_id,
            "run_dir": str(self.folder.root),
            "entry": self.evidence.plan["entry"],
            "device": self.evidence.plan["device"],
            "status": self.outcome.status,
            "verdict": self.outcome.verdict,
            "reason": self.reason,
            "findings": counts,
            "cuts": self.cuts,
            "exit_code": self.outcome.exit_code,
        }


def conclude(folder: RunFolder, generated_at: str) -> Conclusion:
    """Judges a run folder; needs nothing else. Raises AskError when the folder cannot be read."""
    evidence = load_evidence(folder)
    ran = evidence.ending is not None and evidence.ending["ending"] == "ran"
    results = [  # a run that the lab cut short says nothing about the software under test
        CheckResult(scenario, name, (check.__doc__ or name).strip(), severity, how, _problems(check, evidence, scenario))
        for scenario, name, severity, how, check in _checks(folder, evidence)
        if ran
    ]
    row, reason = _row(evidence, results)
    findings = _findings(evidence, results, evidence.completed_at or generated_at)
    return Conclusion(folder, evidence, row, reason, results, findings, generated_at)


def _problems(check: Check, evidence: Evidence, scenario: str) -> tuple[Problem, ...]:
    """What a check finds. One of the entry's own that raises has found that it is broken; one of ours is our bug."""
    try:
        found = [(str(problem), str(where)) for problem, where in check(evidence, scenario)]
    except (Exception, SystemExit) as error:
        if check in GENERIC.values():
            raise
        found = [(f"the check itself failed: {type(error).__name__}: {error}", "pipelines/checks.py")]
    return tuple((_one_line(problem), _one_line(where)) for problem, where in found)


def _one_line(text: str) -> str:
    """A device's words as one printable line: they must not become headings, or move anybody's cursor."""
    return "".join(c if c.isprintable() else " " for c in text)[:2000]


def _checks(folder: RunFolder, evidence: Evidence) -> list[tuple[str, str, str, str, Check]]:
    own = entry_checks(folder.pipelines)
    chosen = []
    for scenario, planned in evidence.plan["scenarios"].items():
        for use in planned["checks"]:
            check = own.get(use["check"]) or GENERIC.get(use["check"])
            if check is None:
                known = ", ".join(sorted({*own, *GENERIC}))
                raise AskError(f"no check is called {use['check']!r}", expected=f"one of {known}", where=str(folder.run_config))
            chosen.append((scenario, use["check"], use["severity"], planned["judge"], check))
    return chosen


def entry_checks(folder: Path) -> dict[str, Check]:
    """Public functions of the checks.py in an entry's folder. This runs it. Raises AskError when it cannot be loaded."""
    path = folder / "checks.py"
    if not path.exists():
        return {}
    name = f"_entry_checks_{abs(hash(path))}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise AskError(f"the entry's checks cannot be loaded: {type(error).__name__}: {error}", where=str(path)) from error
    return {key: value for key, value in vars(module).items() if callable(value) and not key.startswith("_")}


def _row(evidence: Evidence, results: list[CheckResult]) -> tuple[str, str]:
    ending = evidence.ending or {"ending": "interrupted", "error": "the coordinator was killed"}
    if ending["ending"] != "ran":
        return ending["ending"], _one_line(str(ending.get("error", "ended early")).splitlines()[0])
    real = all(cut.loss == "power_loss" for cut in evidence.cuts)
    proof = evidence.note("disk_proof")
    if any(cut.loss == "power_loss" for cut in evidence.cuts) and (proof is None or proof["found"] != proof["expected"]):
        return "lab", "the disk was never proven to lose unflushed writes: fault not reached"
    if not results:
        return "lab", "the plan names no check: nothing was judged"
    failed = [result for result in results if not result.held]
    counted = sum(cut.counted for cut in evidence.cuts)
    bar = int(evidence.plan["cuts"]["bar"])
    row = judge(
        [result.severity for result in failed if result.judge == "must_hold"],
        [result.severity for result in failed if result.judge == "observe"],
        counted,
        bar,
        power_failed=real,
    )
    if failed:
        worst = min(failed, key=lambda result: SEVERITIES.index(result.severity))
        return row, f"{len(failed)} of {len(results)} checks failed; the worst: {worst.problems[0][0]}"
    if evidence.plan["cuts_asked"] and not counted:
        return "lab", f"none of {len(evidence.cuts)} cuts cost anything: fault not reached"
    if counted < bar:
        bound = failure_rate_bound(0, counted)
        said = f"failure rate at most {bound:.0%} (95 %)" if bound else "failure rate not bounded yet"
        return row, f"{counted} of {bar} cuts: {said}"
    if not real:
        return row, f"every check held over {counted} process crashes; the power was never cut"
    return row, f"every check held over {counted} counted cuts"


def _findings(evidence: Evidence, results: list[CheckResult], now: str) -> list[Finding]:
    plan, config = evidence.plan, evidence.config
    numbers: dict[str, int] = {}
    findings = []
    for result in results:
        if result.held:
            continue
        kind = "performance" if result.check.endswith("in_time") else "reliability"
        code = TYPE_CODES[kind]
        numbers[code] = numbers.get(code, 0) + 1
        findings.append(
            Finding(
                id=f"{plan['entry']}-{code}-{numbers[code]:03}",
                type=kind,  # type: ignore[arg-type]
                severity=result.severity,  # type: ignore[arg-type]
                title=f"{result.scenario}: does not hold: {result.check.replace('_', ' ')}",
                description=f"{result.promise} Found: " + "; ".join(problem for problem, _ in result.problems[:10]),
                created_at=now,
                component=f"{result.scenario} pipeline",
                device=plan["device"],
                evidence=tuple(dict.fromkeys(where for _, where in result.problems)),
                fingerprint=fingerprint(plan["entry"], result.scenario, result.check),
                reproduction={
                    "steps": [command_again(plan)],
                    "conditions": f"device {plan['device']} ({plan['type']['title']}), Stageflow {config['stageflow_version']}",
                },
                recommendation={"summary": f"Make this hold: {result.promise}"},
            )
        )
    return findings


def command_again(plan: dict[str, Any]) -> str:
    """The command that makes the same run once more, with the same cuts."""
    words = ["runner exec", plan["entry"], "--device", plan["device"], "--seed", str(plan["seed"]), "--stageflow", plan["stageflow"]]
    words += [f"--scenario {name}" for name in plan["scenarios"] if name != "baseline"] or ["--scenario baseline"]
    return " ".join([*words, *(["--cuts", str(plan["cuts_asked"])] if plan["cuts_asked"] else [])])


def cut_rows(evidence: Evidence) -> list[dict[str, Any]]:
    """Each cut as one row for tables and JSON: where, what it cost, and the three clocks."""
    return [
        {
            "hold": cut.hold,
            "stage": cut.stage or "-",
            "point": cut.point,
            "writes_lost": cut.writes_lost,
            "records_lost": cut.records_lost,
            "vacuous": cut.vacuous,
            "counted": cut.counted,
            **clocks(execution, cut)._asdict(),
            "host_wait_s": (cut.recovered or {}).get("host_wait_s"),
        }
        for execution in evidence.executions
        for cut in execution.cuts
    ]
