"""A conclusion as files: findings.json, FINAL_REPORT.md, README.md, metrics. Remade from the folder at any time."""

from __future__ import annotations

from typing import Any

from runner.judgement.checks import running_again_limit
from runner.judgement.conclude import CheckResult, Conclusion, command_again, cut_rows
from runner.judgement.evidence import Evidence
from runner.lab.folder import RunFolder, read_json, write_json, write_text
from runner.model.finding import Findings, Metadata
from runner.model.outcome import SEVERITIES, failure_rate_bound

NOT_PART = "Not part of this run."


def write_in_progress(folder: RunFolder) -> None:
    """The required files, saying that the run is under way; a killed run leaves these."""
    config = read_json(folder.run_config)
    write_json(folder.findings, _findings(config, config["started_at"], "in_progress", [], "the run is under way"))
    write_json(folder.environment, {})
    write_text(folder.final_report, f"# {config['roadmap_entry_id']}: in progress\n\nMade again by `runner report`.\n")
    write_text(folder.readme, f"# {config['roadmap_entry_id']}: in progress\n")


def write(folder: RunFolder, conclusion: Conclusion) -> None:
    """Every derived file. Only the generation time differs when the same folder is written again."""
    config = conclusion.evidence.config
    findings = [finding.model_dump(mode="json") for finding in conclusion.findings]
    status = conclusion.outcome.status or "failed"
    document = _findings(config, conclusion.completed_at, status, findings, conclusion.reason)
    document["metadata"]["verdict"] = conclusion.outcome.verdict or "none"
    write_json(folder.findings, document)
    write_json(folder.metrics / "cuts.json", cut_rows(conclusion.evidence))
    write_json(folder.metrics / "latency.json", _latency(conclusion.evidence))
    write_json(folder.metrics / "resource_usage.json", _resources(conclusion.evidence))
    write_text(folder.final_report, _final_report(conclusion))
    write_text(folder.readme, _readme(conclusion))


def _findings(config: dict[str, Any], now: str, status: Any, findings: list[Any], summary: str) -> dict[str, Any]:
    metadata = Metadata(
        roadmap_entry_id=config["roadmap_entry_id"],
        roadmap_entry_title=config["roadmap_entry_title"],
        agent_run_id=config["agent_run_id"],
        started_at=config["started_at"],
        completed_at=now,
        status=status,
        stageflow_version=config["stageflow_version"],
        total_findings=len(findings),
        summary=summary,
    )
    return Findings(metadata=metadata, findings=tuple(findings)).model_dump(mode="json", exclude_none=True)


def _latency(evidence: Evidence) -> dict[str, dict[str, float]]:
    """Each stage's duration in seconds in each execution, as the device measured it."""
    return {
        execution.name: {r.payload["stage"]: round(r.payload["duration_ns"] / 1e9, 4) for r in execution.of_kind("stage_finished")}
        for execution in evidence.executions
    }


def _resources(evidence: Evidence) -> dict[str, Any]:
    """The last sample of each execution; every sample is in its journal."""
    return {
        execution.name: {"samples": len(samples), "last": samples[-1].payload["metrics"]}
        for execution in evidence.executions
        if (samples := execution.of_kind("sample"))
    }


def _readme(conclusion: Conclusion) -> str:
    config, outcome = conclusion.evidence.config, conclusion.outcome
    key = [f"- {f.severity}: {f.title} (`{f.id}`)" for f in conclusion.findings] or ["- none"]
    plan = conclusion.evidence.plan
    return "\n".join(
        [
            f"# {config['roadmap_entry_id']}: {config['roadmap_entry_title']}",
            "",
            f"**Run ID**: {conclusion.folder.run_id}  ",
            f"**Status**: {outcome.status}  ",
            f"**Started**: {config['started_at']}  ",
            f"**Completed**: {conclusion.completed_at}  ",
            "",
            "## Quick Summary",
            "",
            f"{_verdict(conclusion)} on device `{plan['device']}` ({plan['type']['title']}). {conclusion.reason}.",
            "",
            "## Key Findings",
            "",
            *key,
            "",
            "## Files",
            "",
            f"- `findings.json` - {len(conclusion.findings)} findings logged",
            "- `FINAL_REPORT.md` - Detailed analysis",
            "- `results/journal/` - both journals and the witness: everything else is computed from these",
            "",
            "## How to Reproduce",
            "",
            "```bash",
            command_again(plan),
            f"runner report {conclusion.folder.run_id}    # the same conclusions again, from this folder alone",
            "```",
            "",
        ]
    )


def _final_report(conclusion: Conclusion) -> str:
    evidence, plan, config = conclusion.evidence, conclusion.evidence.plan, conclusion.evidence.config
    counts = {severity: sum(f.severity == severity for f in conclusion.findings) for severity in SEVERITIES}
    cuts = conclusion.cuts
    loss = "power loss" if plan["type"]["loss"] == "power_loss" else "process crash (never a power cut)"
    bound = failure_rate_bound(sum(not r.held for r in conclusion.results), cuts["counted"])
    lines = [
        f"# Final report: {config['roadmap_entry_id']} {config['roadmap_entry_title']}",
        "",
        *_table(
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
        f"**{_verdict(conclusion)}**: {conclusion.reason}.",
        "",
        *_table(
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
        *_table(
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
        *_table(
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


def _verdict(conclusion: Conclusion) -> str:
    return conclusion.outcome.verdict or f"no verdict ({conclusion.outcome.status})"


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
        *_table(("proof", "found", "expected"), rows),
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
    return [*_table(head, rows), note, ""] if rows else ["None.", ""]


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _result(result: CheckResult) -> str:
    return (
        "held"
        if result.held
        else f"**failed**: {result.problems[0][0]}" + (f" (+{len(result.problems) - 1})" if len(result.problems) > 1 else "")
    )


def _finding(finding: Any) -> str:
    evidence = ", ".join(f"`{where}`" for where in finding.evidence[:5])
    head = f"### {finding.id} ({finding.severity}): {finding.title}"
    return f"{head}\n\n{finding.description}\n\nEvidence: {evidence}. Again: `{finding.reproduction['steps'][0]}`\n"


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    """A Markdown table; cells are one line and cannot break out of their column."""

    def line(cells: tuple[Any, ...]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(head), "|" + " --- |" * len(head), *[line(row) for row in rows], ""]
