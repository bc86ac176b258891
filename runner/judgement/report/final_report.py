"""FINAL_REPORT.md: all sections of the format; one with nothing behind it says so, and no figure is invented."""

from __future__ import annotations

from typing import Any

from runner.judgement.checks import running_again_limit
from runner.judgement.conclude import Conclusion, cut_rows
from runner.judgement.evidence import Evidence
from runner.judgement.judge import CheckResult
from runner.judgement.report.markdown import NOT_PART, table, verdict_words
from runner.model.finding import Finding
from runner.model.outcome import SEVERITIES, failure_rate_bound


def files(conclusion: Conclusion) -> dict[str, str]:
    return {"FINAL_REPORT.md": _final_report(conclusion)}


def _final_report(conclusion: Conclusion) -> str:
    evidence, plan, config = conclusion.evidence, conclusion.evidence.plan, conclusion.evidence.config
    counts = {severity: sum(f.severity == severity for f in conclusion.findings) for severity in SEVERITIES}
    cuts = conclusion.cuts
    loss = "power loss" if plan["type"]["loss"] == "power_loss" else "process crash (never a power cut)"
    bound = failure_rate_bound(sum(not r.held for r in conclusion.results), cuts["counted"])
    lines = [
        f"# Final report: {config['roadmap_entry_id']} {config['roadmap_entry_title']}",
        "",
        *table(
            ("", ""),
            [
                ("Run", conclusion.folder.run_id),
                ("Made by", config["agent_model"]),
                ("Stageflow", config["stageflow_version"]),
                ("Started", config["started_at"]),
                ("Generated", conclusion.generated_at),
                ("Status", conclusion.outcome.status),
            ],
        ),
        "## Executive summary",
        "",
        f"**{verdict_words(conclusion)}**: {conclusion.reason}.",
        "",
        *table(
            ("metric", "value"),
            [
                ("total findings", len(conclusion.findings)),
                ("critical", counts["critical"]),
                ("high", counts["high"]),
                ("checks held", f"{sum(r.held for r in conclusion.results)} of {len(conclusion.results)}"),
                ("cuts asked / made / vacuous / counted", " / ".join(str(cuts[k]) for k in ("asked", "made", "vacuous", "counted"))),
                ("what a cut is here", loss),
                ("95 % bound on the failure rate", f"{bound:.1%}" if bound else "none yet"),
                ("the entry's bar", f"{plan['cuts']['bar']} counted cuts"),
            ],
        ),
        "## 1 Research",
        "",
        NOT_PART,
        "",
        "## 2 Environment",
        "",
        f"Device `{plan['device']}`: {plan['type']['title']}. Its fixed-work benchmark took {evidence.slowdown:g} times as long as on the "
        "coordinator's machine; details in `config/environment.json`.",
        "",
        *_disk_proof(evidence),
        "## 3 Pipelines",
        "",
        *table(
            ("execution", "pipeline", "durability", "stages", "cuts", "ended as"),
            [
                (e.name, p["module"], p["durability"], len(p["stages"]), len(e.cuts), e.ended.get("ending", "never ended"))
                for e in evidence.executions
                for p in [_planned(plan, e.name, e.scenario)]
            ],
        ),
        "## 4 Results",
        "",
        "### 4.1 Correctness and 4.2 reliability",
        "",
        *table(
            ("scenario", "check", "judge", "severity", "result"),
            [(r.scenario, r.promise, r.judge, r.severity, _result(r)) for r in conclusion.results],
        ),
        "#### Cuts",
        "",
        *_cut_table(conclusion),
        "### 4.3 Performance",
        "",
        "Stage durations in `results/metrics/latency.json`, telemetry in the device journals.",
        "",
        *[
            line
            for n, name in ((4, "Security"), (5, "Scalability"), (6, "Observability"), (7, "Silent failures"))
            for line in (f"### 4.{n} {name}", "", NOT_PART, "")
        ],
        "## 5 Findings",
        "",
        *([_finding(f) for f in conclusion.findings] or ["None.", ""]),
        *[
            line
            for n, name in ((6, "Developer experience"), (7, "Recommendations"), (8, "Framework feedback"))
            for line in (f"## {n} {name}", "", NOT_PART, "")
        ],
        "## 9 Appendices",
        "",
        "`results/journal/`: `coordinator.journal` (what only the coordinator saw), `device-*.journal` (the device's own, mirrored), "
        "`witness.jsonl` (stage starts, seen from outside).",
        "",
        "## 10 Sign-off",
        "",
        "Computed from the journals; no figure in this report was entered by hand.",
        "",
    ]
    return "\n".join(str(line) for line in lines)


def _planned(plan: dict[str, Any], name: str, scenario: str) -> dict[str, Any]:
    planned = [e for e in plan["executions"] if e["name"] == name] or [e for e in plan["executions"] if e["scenario"] == scenario]
    return dict(planned[-1])


def _disk_proof(evidence: Evidence) -> list[str]:
    proof = evidence.note("disk_proof")
    if proof is None:
        return []
    rows = [(key, found, proof["expected"][key]) for key, found in proof["found"].items()]
    return [
        "Before the first cut the disk was proven to lose what is not flushed, and only that:",
        "",
        *table(("proof", "found", "expected"), rows),
    ]


def _cut_table(conclusion: Conclusion) -> list[str]:
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
        f"running again s (limit {running_again_limit(conclusion.evidence):g})",
        "of that, host wait s",
    )
    rows = [
        (
            row["hold"],
            row["stage"],
            row["point"],
            _shown(row["writes_lost"]),
            _shown(row["records_lost"]),
            "yes" if row["counted"] else "no: vacuous",
            *(_shown(row[clock]) for clock in ("board_boot_s", "restored_s", "running_again_s", "host_wait_s")),
        )
        for row in cut_rows(conclusion.evidence)
    ]
    note = "A dash: this restart was itself cut, or the device cannot say. Host wait: the emulator was ready and got no processor."
    return [*table(head, rows), note, ""] if rows else ["None.", ""]


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _result(result: CheckResult) -> str:
    return (
        "held"
        if result.held
        else f"**failed**: {result.problems[0][0]}" + (f" (+{len(result.problems) - 1})" if len(result.problems) > 1 else "")
    )


def _finding(finding: Finding) -> str:
    evidence = ", ".join(f"`{where}`" for where in finding.evidence[:5])
    head = f"### {finding.id} ({finding.severity}): {finding.title}"
    return f"{head}\n\n{finding.description}\n\nEvidence: {evidence}. Again: `{finding.reproduction.steps[0]}`\n"
