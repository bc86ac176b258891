"""findings.json: the metadata of the run and every finding, as the public schema has it."""

from __future__ import annotations

from typing import Any

from runner.judgement.conclude import Conclusion
from runner.lab.folder import json_text
from runner.model.finding import Findings, Metadata


def files(conclusion: Conclusion) -> dict[str, str]:
    findings = [finding.model_dump(mode="json") for finding in conclusion.findings]
    status = conclusion.outcome.status or "failed"
    found = document(conclusion.evidence.config, conclusion.completed_at, status, findings, conclusion.reason)
    found["metadata"]["verdict"] = conclusion.outcome.verdict or "none"
    return {"findings.json": json_text(found)}


def document(config: dict[str, Any], now: str, status: Any, findings: list[Any], summary: str) -> dict[str, Any]:
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
