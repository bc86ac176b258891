"""FINAL_REPORT.md: all sections of the format; one with nothing behind it says so, and no figure is invented.

The top function is the table of contents; each section is a function that returns lines.
"""

from __future__ import annotations

import json
from typing import Any

from runner.judgement.checks import CATEGORIES, running_again_limit
from runner.judgement.conclude import Conclusion, cut_rows, profile_of
from runner.judgement.evidence import Evidence, Execution
from runner.judgement.findings import command_again
from runner.judgement.judge import CheckResult
from runner.judgement.report import links
from runner.judgement.report.logs import Log, read_logs, silence
from runner.judgement.report.markdown import NOT_MEASURED, NOT_PART, by_severity, code, link, table, verdict_words, words
from runner.judgement.report.metrics import percentiles, readings, stage_durations, throughput
from runner.judgement.report.not_part import filled
from runner.judgement.timeline import Timeline
from runner.lab.folder import RunFolder
from runner.model.finding import Finding, fingerprint
from runner.model.outcome import failure_rate_bound

TECHNIQUES: dict[str, tuple[str, ...]] = {  # how a failure is found that nobody reports; which checks do it
    "golden output": ("state_equal",),
    "state audit": ("restored_state_true", "promises_kept"),
    "metric validation": ("losses_recounted",),  # of the evidence itself: writes lost are counted again from the disk's own log
    "log analysis": (),  # section 5.5
    "side-effect check": ("nothing_repeated", "every_stage_witnessed"),
    "invariants": (
        "finished",
        "really_rebooted",
        "damage_refused",
        "ran_at_once",
    ),  # and whatever the entry's own checks demand of its data
    "differential testing": (),
}
SECTIONS = ("correctness", "reliability", "performance", "security", "scalability", "observability")  # 4.1 to 4.6
PRIORITIES = {"critical": "P0", "high": "P1", "medium": "P2", "low": "P3", "info": "P3"}
DX_CATEGORIES = (
    "discoverability", "clarity", "documentation", "error_messages", "debugging", "boilerplate", "flexibility", "performance",
)  # fmt: skip
DX_LIMIT_BYTES = 64 * 1024


def files(conclusion: Conclusion) -> dict[str, str]:
    return {"FINAL_REPORT.md": _final_report(conclusion)}


def _final_report(conclusion: Conclusion) -> str:
    config, logs = conclusion.evidence.config, read_logs(conclusion)
    lines = [
        f"# Final report: {config['roadmap_entry_id']} {words(config['roadmap_entry_title'])}",
        "",
        *_header(conclusion),
        *("## Executive summary", ""),
        *_summary(conclusion, logs),
        *("## 1 Research", ""),
        *_research(conclusion.folder),
        *("## 2 Environment simulation", ""),
        *_environment(conclusion),
        *("## 3 Pipelines built", ""),
        *_pipelines(conclusion.evidence),
        *("## 4 Results", ""),
        *_results(conclusion, logs),
        *("## 5 Findings", ""),
        *_findings(conclusion),
        *("### 5.5 Log analysis", ""),
        *_logs(logs),
        *("## 6 Developer experience", ""),
        *_dx(conclusion.folder),
        *("## 7 Recommendations", ""),
        *_recommendations(conclusion),
        *("## 8 Framework feedback", ""),
        *_framework(conclusion),
        *("## 9 Appendices", ""),
        *_appendices(conclusion),
        *("## 10 Sign-off", ""),
        f"Computed by {words(config['agent_model'])} from the journals; no figure in this report was entered by hand.",
        "",
    ]
    return "\n".join(str(line) for line in lines)


def _header(conclusion: Conclusion) -> list[str]:
    config = conclusion.evidence.config
    rows = [
        ("Run", conclusion.folder.run_id),
        ("Made by", words(config["agent_model"])),
        ("Stageflow", config["stageflow_version"]),
        ("Started", config["started_at"]),
        ("Generated", conclusion.generated_at),
        ("Status", conclusion.outcome.status),
    ]
    return table(("", ""), rows)


# ---- executive summary ------------------------------------------------------------------------------------------


def _summary(conclusion: Conclusion, logs: list[Log]) -> list[str]:
    """The verdict with its reason, the fourteen metrics of the format, and what this run adds to them."""
    plan, cuts = conclusion.evidence.plan, conclusion.cuts
    required = [result for result in conclusion.results if result.judge == "must_hold"]
    bound = failure_rate_bound(sum(not result.held for result in required), cuts["counted"]) if required else None
    loss = "power loss" if plan["type"]["loss"] == "power_loss" else "process crash (never a power cut)"
    held = f"{sum(r.held for r in conclusion.results)} of {len(conclusion.results)}"
    return [
        f"**{verdict_words(conclusion)}**: {words(conclusion.reason)}.",
        "",
        *table(("metric", "value"), list(fourteen_metrics(conclusion, logs).items())),
        *table(
            ("of this run", ""),
            [
                ("checks held", held if conclusion.results else "none carried out"),
                ("cuts asked / made / vacuous / counted", " / ".join(str(cuts[k]) for k in ("asked", "made", "vacuous", "counted"))),
                ("what a cut is here", loss),
                ("95 % bound on the failure rate", f"{bound:.1%}" if bound else "none yet"),
                ("the entry's bar", f"{plan['cuts']['bar']} counted cuts"),
            ],
        ),
    ]


def fourteen_metrics(conclusion: Conclusion, logs: list[Log]) -> dict[str, Any]:
    """The metrics of the format, in its order. What nobody measured says so: a run that was not judged has no findings to count."""
    evidence, findings = conclusion.evidence, conclusion.findings
    judged = conclusion.outcome.verdict is not None
    planned = sum(len(scenario["checks"]) for scenario in evidence.plan["scenarios"].values())
    scores = _scores(conclusion.folder)
    score = scores.get("overall_score") if isinstance(scores, dict) else None

    def counted(**wanted: str) -> Any:
        return sum(all(getattr(f, key) == value for key, value in wanted.items()) for f in findings) if judged else NOT_MEASURED

    def counted_if_any(kind: str) -> Any:  # no check of ours looks for these; somebody may have
        return counted(type=kind) or NOT_MEASURED

    return {
        "total findings": counted(),
        "strengths": NOT_MEASURED,
        "bugs": counted(type="bug"),
        "critical": counted(severity="critical"),
        "high": counted(severity="high"),
        "DX issues": counted_if_any("dx"),
        "improvements": counted_if_any("improvement"),
        "Stageflow Plus suggestions": counted_if_any("feature_request"),
        "silent failures": len(_silent(conclusion)) + sum(log.silent for log in logs) if judged else NOT_MEASURED,
        "bugs found by log analysis": len({key for log in logs for key in log.groups}) if logs else NOT_MEASURED,
        "log lines captured": sum(len(log.lines) for log in logs) if logs else NOT_MEASURED,
        "DX score": f"{score:g} / 5 (by dx_evaluation/scores.json)" if _is_score(score) else NOT_MEASURED,
        "test coverage": f"{len(conclusion.results)} of {planned} planned checks carried out; lines of code: {NOT_MEASURED}",
        "time to complete": f"{Timeline(evidence).end_s:.1f} s" if evidence.completed_at else NOT_MEASURED,
    }


# ---- 1 to 3 -----------------------------------------------------------------------------------------------------


def _research(folder: RunFolder) -> list[str]:
    found = filled(folder, "research")
    said = "Put into `research/` by people; hypotheses and their results are theirs:"
    return [said, "", *[f"- {link(path)}" for path in found[:50]], ""] if found else [NOT_PART, ""]


def _environment(conclusion: Conclusion) -> list[str]:
    evidence, plan = conclusion.evidence, conclusion.evidence.plan
    scenarios = [(name, profile_of(s), s["durability"], s["judge"].replace("_", " ")) for name, s in plan["scenarios"].items()]
    took = f"took {evidence.slowdown:g} times as long as on the coordinator's machine" if evidence.slowdown is not None else ""
    measured = f"{took}; details in {link('config/environment.json')}" if took else f"was {NOT_MEASURED}"
    return [
        f"Device {code(plan['device'])}: {words(plan['type']['title'])}. Its fixed-work benchmark {measured}.",
        "",
        *table(("scenario", "profile of faults", "durability", "judge"), scenarios),
        *_disk_proof(evidence),
    ]


def _disk_proof(evidence: Evidence) -> list[str]:
    proof = evidence.note("disk_proof")
    if proof is None:
        return []
    rows = [(key, words(found), words(proof["expected"].get(key, "-"))) for key, found in proof["found"].items()]
    said = "Before the first cut the disk was proven to lose what is not flushed, and only that:"
    return [said, "", *table(("proof", "found", "expected"), rows)]


def _pipelines(evidence: Evidence) -> list[str]:
    rows = [
        (e.name, p["module"], p["durability"], len(p["stages"]), len(e.cuts), words(e.ended.get("ending", "never ended")))
        for e in evidence.executions
        for p in [_planned(evidence.plan, e.name, e.scenario)]
    ]
    return table(("execution", "pipeline", "durability", "stages", "cuts", "ended as"), rows) if rows else ["None was begun.", ""]


def _planned(plan: dict[str, Any], name: str, scenario: str) -> dict[str, Any]:
    planned = [e for e in plan["executions"] if e["name"] == name] or [e for e in plan["executions"] if e["scenario"] == scenario]
    return dict(planned[-1])


# ---- 4 results --------------------------------------------------------------------------------------------------


def _results(conclusion: Conclusion, logs: list[Log]) -> list[str]:
    """4.1 to 4.6, each with the checks of its category and what else was measured there; then 4.7."""
    more = {
        "reliability": ["#### Cuts", "", *cut_table(conclusion), *links.section(conclusion)],
        "performance": _performance(conclusion),
        "observability": _observability(conclusion, logs),
    }
    lines = []
    for number, category in enumerate(SECTIONS, 1):
        checks = check_table([result for result in conclusion.results if result.category == category])
        lines += [f"### 4.{number} {category.capitalize()}", ""]
        lines += [*(checks or [NOT_PART, ""]), *more.get(category, [])]
    return [*lines, "### 4.7 Silent failures", "", *_silent_failures(conclusion, logs)]


def check_table(results: list[CheckResult]) -> list[str]:
    """Checks as a table; [] of none."""
    rows = [(r.scenario, words(r.promise), r.judge.replace("_", " "), r.severity, _result(r)) for r in results]
    return table(("scenario", "check", "judge", "severity", "result"), rows) if rows else []


def _result(result: CheckResult) -> str:
    if result.held:
        return "held"
    more = f" (+{len(result.problems) - 1})" if len(result.problems) > 1 else ""
    return f"**failed**: {words(result.problems[0][0])}{more}"


def cut_table(conclusion: Conclusion) -> list[str]:
    limits = conclusion.evidence.plan["limits"]
    head = (
        "cut",
        "stage",
        "point",
        "disk writes lost",
        "records lost",
        "counted",
        "board boot s",
        f"state restored s (limit {limits['restored_s']:g})",
        "of that, host wait s",
        f"running again s (limit {running_again_limit(conclusion.evidence):g})",
        "of that, host wait s",
    )
    clocks = ("board_boot_s", "restored_s", "restored_host_wait_s", "running_again_s", "running_again_host_wait_s")
    rows = [
        (
            row["hold"],
            row["stage"],
            row["point"] + (f", {words(row['damage'])}" if row["damage"] else ""),
            _shown(row["writes_lost"]),
            _shown(row["records_lost"]),
            _counts(row),
            *(_shown(row[clock]) for clock in clocks),
        )
        for row in cut_rows(conclusion.evidence)
    ]
    note = "A dash: this restart was itself cut, or the device cannot say. "
    note += "Host wait: the emulator, or the local process, was ready and got no processor."
    return [*table(head, rows), note, ""] if rows else ["None.", ""]


def _counts(row: dict[str, Any]) -> str:
    """Whether a cut counts towards the bar, and why not."""
    if row["damage"]:
        return "no: the disk was damaged"
    return "yes" if row["counted"] else "no: vacuous" if row["vacuous"] else "no: observed"


def _performance(conclusion: Conclusion) -> list[str]:
    """P50, P95 and P99 of stages and of the restart clocks, throughput, and the largest memory use."""
    evidence, rows = conclusion.evidence, cut_rows(conclusion.evidence)
    stages = [
        (scenario, code(stage), *_ranks(durations))
        for scenario in evidence.plan["scenarios"]
        for stage, durations in stage_durations(evidence.of(scenario)).items()
    ]
    measured = {
        clock: [row[clock] for row in rows if row[clock] is not None] for clock in ("board_boot_s", "restored_s", "running_again_s")
    }
    targets = {"restored_s": evidence.plan["limits"]["restored_s"], "running_again_s": running_again_limit(evidence)}
    clocks = [(clock, targets.get(clock, "-"), *_ranks(values)) for clock, values in measured.items() if values]
    peaks = {execution.name: _memory_peak(execution) for execution in evidence.executions}
    done = [
        (
            name,
            f"{t['duration_s']:.1f}",
            t["restarts"],
            _shown(t.get("stages_per_s")),
            _shown(t.get("journal_records_per_s")),
            peaks[name],
        )
        for name, t in throughput(evidence)["executions"].items()
    ]
    ranks = ("samples", "P50 s", "P95 s", "P99 s", "max s")
    lines = [
        "Nearest-rank percentiles over the number of samples shown: of fewer than 20, P95 is the maximum. Files: `results/metrics/`.",
        "",
    ]
    lines += table(("scenario", "stage", *ranks), stages) if stages else ["No stage finished.", ""]
    lines += table(("restart clock", "target s", *ranks), clocks) if clocks else []
    head = ("execution", "duration s", "restarts", "stages/s", "journal records/s", "memory peak, whole device MiB")
    return [*lines, *(table(head, done) if done else [])]


def _ranks(values: list[float]) -> list[str]:
    return [str(value) if key == "count" else f"{value:.3f}" for key, value in percentiles(values).items()]


def _memory_peak(execution: Execution) -> str:
    """The largest memory use that was sampled, in MiB."""
    used = [value for _, value in readings("system.memory.usage{system.memory.state=used}", execution.of_kind("sample"))]
    return f"{max(used) / 2**20:.1f}" if used else NOT_MEASURED


def _observability(conclusion: Conclusion, logs: list[Log]) -> list[str]:
    """What there is to see of each execution."""
    lines = {log.execution: len(log.lines) for log in logs}
    rows = [
        (e.name, len(e.records), len(e.of_kind("sample")), len(e.witnessed), lines.get(e.name, "no log"))
        for e in conclusion.evidence.executions
    ]
    return table(("execution", "journal records", "telemetry samples", "stage starts witnessed", "log lines"), rows) if rows else []


def _silent(conclusion: Conclusion) -> list[CheckResult]:
    """Checks that failed although every execution of their scenario said that it had finished: nobody else would have noticed."""
    ended = {
        scenario: {e.ended.get("ending") for e in conclusion.evidence.of(scenario)} for scenario in conclusion.evidence.plan["scenarios"]
    }
    quiet = {scenario for scenario, endings in ended.items() if endings == {"finished"}}
    return [r for r in conclusion.results if not r.held and r.scenario in quiet and technique(r.check) and r.category != "performance"]


def technique(check: str) -> str:
    """Which of the seven ways of finding a silent failure a check is; one of the entry's own is an invariant of its data."""
    known = next((name for name, checks in TECHNIQUES.items() if check in checks), "")
    return known or ("" if check in CATEGORIES else "invariants")


def _silent_failures(conclusion: Conclusion, logs: list[Log]) -> list[str]:
    if not conclusion.results:
        return ["Nothing was judged.", ""]
    rows = []
    for name in TECHNIQUES:
        used = list(dict.fromkeys(r.check for r in conclusion.results if technique(r.check) == name))
        found = [f"{r.scenario}: {words(r.problems[0][0])}" for r in _silent(conclusion) if technique(r.check) == name]
        if name == "log analysis" and logs:
            used, found = [f"{len(logs)} logs"], [f"{log.execution}: {silence(log)}" for log in logs if log.silent]
        elif name == "metric validation" and any(cut.writes_lost is not None for cut in conclusion.evidence.cuts):
            used = list(TECHNIQUES[name])  # a contradiction there leaves no verdict at all
        rows.append((name, ", ".join(used) or "not used", "; ".join(found) or ("nothing" if used else "-")))
    said = "A silent failure: the pipeline said that it had finished, and something else knows better."
    return [said, "", *table(("technique", "used by this run", "found"), rows)]


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


# ---- 5 to 10 ----------------------------------------------------------------------------------------------------


def _findings(conclusion: Conclusion) -> list[str]:
    if not conclusion.findings:
        return ["None." if conclusion.outcome.verdict else "None: nothing was judged.", ""]
    findings = by_severity(conclusion.findings)
    rows = [(f.id, f.severity, f.type, words(f.title), f.status) for f in findings]
    return [*table(("id", "severity", "type", "title", "status"), rows), *(line for f in findings for line in _finding(f))]


def _finding(finding: Finding) -> list[str]:
    again = finding.reproduction.steps[0] if finding.reproduction and finding.reproduction.steps else ""
    return [
        f"#### {finding.id} ({finding.severity}): {words(finding.title)}",
        "",
        words(finding.description),
        "",
        f"Evidence: {', '.join(link(where) for where in finding.evidence[:5])}." + (f" Again: {code(again, 500)}" if again else ""),
        "",
    ]


def _logs(logs: list[Log]) -> list[str]:
    if not logs:
        return ["No log was collected.", ""]
    rows = [
        (
            log.execution,
            words(log.ended),
            len(log.lines),
            len(log.errors),
            len(log.tracebacks),
            sum(len(numbers) for numbers in log.suspicious.values()),
            "**yes**" if log.silent else "no",
            link(f"results/logs/run_{log.execution}_analysis.md"),
        )
        for log in logs
    ]
    head = ("execution", "ended as", "lines", "errors", "tracebacks", "suspicious words", "silent failure", "analysis")
    return table(head, rows)


def _dx(folder: RunFolder) -> list[str]:
    """Eight scores, where somebody gave them: shown as theirs, never computed."""
    scores = _scores(folder)
    if scores is None:
        return [NOT_PART, ""]
    if isinstance(scores, str):
        return [f"{link('dx_evaluation/scores.json')} is there and says nothing that could be shown: {words(scores)}.", ""]
    given = scores["categories"] if isinstance(scores.get("categories"), dict) else {}
    rows = []
    for name in DX_CATEGORIES:
        said = given[name] if isinstance(given.get(name), dict) else {}
        score = said.get("score")
        rows.append((name.replace("_", " "), f"{score:g}" if _is_score(score) else NOT_MEASURED, words(said.get("notes", ""))))
    overall = scores.get("overall_score")
    rows.append(("overall", f"{overall:g}" if _is_score(overall) else NOT_MEASURED, ""))
    said = f"Given by whoever wrote {link('dx_evaluation/scores.json')}, out of 5; nothing here was measured by the run."
    return [said, "", *table(("category", "score", "notes"), rows)]


def _scores(folder: RunFolder) -> dict[str, Any] | str | None:
    """What somebody wrote into dx_evaluation/scores.json; why it cannot be used; None where there is none."""
    path = folder.dx / "scores.json"
    if not path.is_file():
        return None
    with path.open("rb") as file:
        data = file.read(DX_LIMIT_BYTES + 1)
    try:
        found = json.loads(data) if len(data) <= DX_LIMIT_BYTES else None
    except (ValueError, RecursionError) as error:
        return f"no JSON: {error}"
    return found if isinstance(found, dict) else "not one JSON object of at most 64 KiB"


def _is_score(score: Any) -> bool:
    return isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 5


def _recommendations(conclusion: Conclusion) -> list[str]:
    if conclusion.outcome.verdict is None:
        return ["Nothing was judged: repair what the reason names, then run again.", ""]
    rows = [
        (PRIORITIES[finding.severity], words(finding.recommendation.summary), finding.id)
        for finding in by_severity(conclusion.findings)
        if finding.recommendation and finding.recommendation.summary
    ]
    return table(("priority", "recommendation", "finding"), rows) if rows else ["None: nothing failed.", ""]


def _framework(conclusion: Conclusion) -> list[str]:
    """Findings about the framework itself: scenarios that run it as it is (`native`) and are observed."""
    plan = conclusion.evidence.plan
    observed = {name for name, s in plan["scenarios"].items() if s["judge"] == "observe" and s["durability"] == "native"}
    if not observed:
        return [NOT_PART, ""]
    failed = [result for result in conclusion.results if result.scenario in observed and not result.held]
    said = f"Stageflow {words(conclusion.evidence.config['stageflow_version'])} as it is, nothing of ours helping it:"
    ids = {finding.fingerprint: finding.id for finding in conclusion.findings}
    rows = [
        (ids.get(fingerprint(plan["entry"], r.scenario, r.check), "-"), r.severity, r.scenario, words(r.promise), words(r.problems[0][0]))
        for r in failed
    ]
    head = ("finding", "severity", "scenario", "what a user would expect", "what was found")
    return [said, "", *(table(head, rows) if rows else ["nothing was found." if conclusion.results else "nothing was judged.", ""])]


def _appendices(conclusion: Conclusion) -> list[str]:
    """The evidence by size and hash, as the coordinator sealed it, and how to doubt all this."""
    sealed = conclusion.evidence.note("sealed") or {"files": {}}
    rows = [(link(name), said["bytes"], code(said["sha256"])) for name, said in sealed["files"].items()]
    return [
        "`results/journal/`: `coordinator.journal` (what only the coordinator saw; as lines in "
        f"{link('results/logs/coordinator_events.txt')}), `device-*.journal` (the device's own, mirrored), `witness.jsonl` (stage starts, "
        "seen from outside). The rest of the evidence, as it was when the run ended:",
        "",
        *(table(("file", "bytes", "SHA-256"), rows) if rows else ["not sealed: the run was cut short.", ""]),
        f"The same run once more: {code(command_again(conclusion.evidence.plan), 1000)}. The same judgement from this folder alone: "
        "`pip install -r requirements.txt`, then `pytest tests/ -v`.",
        "",
    ]
