"""Common Test Report Format (ctrf.io), by the one table: a suite per scenario, a test per check.

    passed   the check holds; or it was only observed, and then its message says what it found
    failed   a must_hold check that does not hold
    other    blocked, our bug, interrupted: one test for the run; nothing was judged, so nothing is claimed

Durations are those of the scenario's executions, told once, at its check `finished`: what judging takes is not worth a figure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from runner.judgement.conclude import Conclusion
from runner.judgement.export.source import SCOPE, Source
from runner.judgement.judge import REACHED, CheckResult, one_line
from runner.judgement.report.metrics import execution_spans

SPECIFICATION = "0.1.0"
STATUSES = ("passed", "failed", "skipped", "pending", "other")


def pieces(conclusion: Conclusion) -> Iterator[bytes]:
    yield (json.dumps(document(conclusion), indent=2, ensure_ascii=False) + "\n").encode("utf-8", "replace")


def document(conclusion: Conclusion) -> dict[str, Any]:
    """The whole report."""
    source = Source(conclusion)
    tests = list(_tests(conclusion, source))
    start, stop = source.wall_ms(0.0), source.wall_ms(source.timeline.end_s)
    counted = {status: sum(test["status"] == status for test in tests) for status in STATUSES}
    times = {"suites": len({tuple(test["suite"]) for test in tests}), "start": start, "stop": stop, "duration": stop - start}
    return {
        "reportFormat": "CTRF",
        "specVersion": SPECIFICATION,
        "reportId": _uuid(source, "report"),
        "timestamp": conclusion.completed_at,
        "generatedBy": SCOPE,
        "results": {
            "tool": {"name": SCOPE, **({"version": source.version} if source.version else {})},
            "summary": {"tests": len(tests), **counted, **times},
            "tests": tests,
            "environment": _environment(conclusion, source),
        },
    }


def _environment(conclusion: Conclusion, source: Source) -> dict[str, Any]:
    plan, outcome = conclusion.evidence.plan, conclusion.outcome
    said = {"status": outcome.status, "verdict": outcome.verdict, "reason": one_line(conclusion.reason), "exitCode": outcome.exit_code}
    named = {
        "appName": "stageflow-core",
        "appVersion": source.resource["stageflow.version"],
        "testEnvironment": source.resource["device.id"],
    }
    more = {"runId": conclusion.folder.run_id, "seed": plan["seed"], "cuts": conclusion.cuts, **said}
    platform = {"osPlatform": source.resource["os.type"]} if "os.type" in source.resource else {}
    return {"reportName": source.name, **named, **platform, "healthy": outcome.exit_code == 0, "extra": more}


def _tests(conclusion: Conclusion, source: Source) -> Iterator[dict[str, Any]]:
    evidence, spans = conclusion.evidence, execution_spans(conclusion.evidence)
    if conclusion.outcome.junit == "error":
        took_ms = round(1000 * sum(ended_s - began_s for began_s, ended_s in spans.values()))
        entry, said = evidence.plan["entry"], one_line(f"{conclusion.outcome.status}: {conclusion.reason}")
        named = {"id": _uuid(source, "run"), "name": "run", "status": "other", "rawStatus": conclusion.row}
        yield {**named, "duration": took_ms, "suite": [entry], "message": said, "device": source.resource["device.id"]}
        return
    for result in conclusion.results:
        took_s = sum(spans[execution.name][1] - spans[execution.name][0] for execution in evidence.of(result.scenario))
        yield _test(source, evidence.plan["entry"], result, round(1000 * took_s) if result.check == "finished" else 0)


def _test(source: Source, entry: str, result: CheckResult, took_ms: int) -> dict[str, Any]:
    failed = not result.held and result.judge == "must_hold"
    test = {
        "id": _uuid(source, f"{result.scenario}/{result.check}"),
        "name": result.check,
        "status": "failed" if failed else "passed",
        "rawStatus": "held" if result.held else "failed" if failed else "not reached" if result.judge == REACHED else "observed",
        "duration": took_ms,
        "suite": [entry, result.scenario],
        "tags": [result.category, result.severity, result.judge],
        "device": source.resource["device.id"],
        "extra": {"promise": one_line(result.promise), "severity": result.severity, "judge": result.judge},
    }
    if result.held:
        return test
    told = "\n".join(f"{problem} ({where})" for problem, where in result.problems)
    return {**test, "message": result.problems[0][0], "trace": told}


def _uuid(source: Source, what: str) -> str:
    """The same for the same part of the same run."""
    return str(uuid5(NAMESPACE_URL, f"urn:stageflow-runner:{source.name}:{what}"))
