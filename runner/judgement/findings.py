"""What failed, as findings: each with its evidence, the command that makes it again, its impact and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.judgement.checks import ABOUT_RESTARTS
from runner.judgement.evidence import Evidence
from runner.judgement.judge import CheckResult
from runner.model.finding import TYPE_CODES, Finding, fingerprint

# category of the failed check → the finding's type, and which risk it is
_KINDS = {
    "correctness": ("bug", "data_risk"),
    "reliability": ("reliability", "data_risk"),
    "performance": ("performance", "availability_risk"),
    "security": ("security", "security_risk"),
    "scalability": ("performance", "availability_risk"),
    "observability": ("reliability", "data_risk"),
}
_WORKAROUND = {  # of Stageflow by itself, for what a restart loses
    "workaround_available": True,
    "workaround_description": "`durability: journaled` keeps what has finished; the stage in flight still runs again",
}
_SNIPPET_CHARACTERS = 8000  # of a minimal reproduction that an entry ships for one of its checks
_SHOWN = 10  # problems that a description repeats; all of them are in `evidence`


def make_findings(evidence: Evidence, results: list[CheckResult], now: str, reproductions: Path | None = None) -> list[Finding]:
    """One finding for each check that does not hold, numbered by type in the plan's order.

    In `reproductions` an entry has, by the name of a check, what shows the same with the framework alone: the finding carries it.
    """
    numbers: dict[str, int] = {}
    findings = []
    for result in results:
        if not result.held:
            code = TYPE_CODES[_KINDS[result.category][0]]
            numbers[code] = numbers.get(code, 0) + 1
            snippet = _snippet(reproductions, result.check)
            findings.append(_finding(evidence, result, f"{evidence.plan['entry']}-{code}-{numbers[code]:03}", now, snippet))
    return findings


def _snippet(reproductions: Path | None, check: str) -> str | None:
    """The text of a check's minimal reproduction, if the entry ships one."""
    path = None if reproductions is None else reproductions / f"{check}.py"
    if path is None or not path.is_file() or path.is_symlink():
        return None
    return path.read_text(encoding="utf-8", errors="replace")[:_SNIPPET_CHARACTERS]


def _finding(evidence: Evidence, result: CheckResult, name: str, now: str, snippet: str | None) -> Finding:
    plan = evidence.plan
    kind, risk = _KINDS[result.category]
    native = plan["scenarios"][result.scenario]["durability"] == "native"
    stageflow = f"stageflow-core {plan['stageflow']}"
    shown = "; ".join(problem for problem, _ in result.problems[:_SHOWN])
    more = f" (and {len(result.problems) - _SHOWN} more)" if len(result.problems) > _SHOWN else ""
    return Finding.model_validate(
        {
            "id": name,
            "type": kind,
            "severity": result.severity,
            "title": f"{result.scenario}: not kept: {result.check.replace('_', ' ')}",
            "description": f"{result.promise} Found: {shown}{more}",
            "created_at": now,
            "component": stageflow if native else f"{result.scenario} pipeline",
            "device": plan["device"],
            "evidence": list(dict.fromkeys(where for _, where in result.problems)),
            "fingerprint": fingerprint(plan["entry"], result.scenario, result.check),
            "tags": [result.judge, result.category, *(["native"] if native else [])],
            "reproduction": {
                "steps": [
                    *([f"python pipelines/reproductions/{result.check}.py   (with nothing but {stageflow} installed)"] if snippet else []),
                    command_again(plan, result.scenario),
                    "read the evidence named above in the new run's folder",
                ],
                **({"code_snippet": snippet} if snippet else {}),
                "conditions": f"device {plan['device']} ({plan['type']['title']}), {stageflow}, seed {plan['seed']}",
            },
            "impact": {risk: "none" if result.severity == "info" else result.severity, **(_WORKAROUND if native and _lost(result) else {})},
            "recommendation": {"summary": _advice(result, native)},
        }
    )


def _advice(result: CheckResult, native: bool) -> str:
    if not native:
        return f"Make this hold: {result.promise}"
    if _lost(result):
        return f"Let Stageflow itself persist what a stage finished, so that this holds over a restart: {result.promise}"
    return f"Make this hold in Stageflow itself: {result.promise}"


def _lost(result: CheckResult) -> bool:
    """Whether what failed is about restarts, so that a journal mends it. Of an entry's own check nobody knows: nothing is promised."""
    return result.check in ABOUT_RESTARTS


def command_again(plan: dict[str, Any], scenario: str = "") -> str:
    """The command that makes the same run once more; with a scenario, only that one of it, with the same cuts."""
    if not scenario:
        return str(plan.get("command") or f"runner exec {plan['entry']} --device {plan['device']} --seed {plan['seed']}")
    cuts = sum(len(execution["cuts"]) for execution in plan["executions"] if execution["scenario"] == scenario)
    words = ["runner exec", plan["entry"], "--device", plan["device"], "--seed", str(plan["seed"]), "--stageflow", plan["stageflow"]]
    return " ".join([*words, "--scenario", scenario, *(["--cuts", str(cuts)] if cuts else [])])
