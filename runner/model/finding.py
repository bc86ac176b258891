"""findings.json: `{metadata, findings}` as the stress-testing system's public schema has it.

An absent object is left out, never null. Extra fields ride along: device, profile, evidence, fingerprint.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from runner.model.entry import Severity

FindingType = Literal["bug", "security", "performance", "reliability", "dx", "improvement", "documentation", "feature_request"]
TYPE_CODES: dict[str, str] = {
    "bug": "BUG",
    "security": "SEC",
    "performance": "PERF",
    "reliability": "REL",
    "dx": "DX",
    "improvement": "IMP",
    "documentation": "DOC",
    "feature_request": "FEAT",
}


class Finding(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    id: str
    type: FindingType
    severity: Severity
    title: str
    description: str
    status: Literal["open", "confirmed", "in_progress", "resolved", "wont_fix", "duplicate"] = "open"
    created_at: str
    component: str
    device: str
    evidence: tuple[str, ...] = Field(min_length=1)  # "file:record" inside the run folder; no finding without
    fingerprint: str
    reproduction: dict[str, Any]
    recommendation: dict[str, Any]


class Metadata(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    roadmap_entry_id: str
    roadmap_entry_title: str
    agent_run_id: str
    started_at: str
    completed_at: str  # while in progress: the time of the last update
    status: Literal["in_progress", "completed", "failed", "blocked"]
    stageflow_version: str
    total_findings: int
    summary: str


class Findings(BaseModel):
    metadata: Metadata
    findings: tuple[Finding, ...]


def fingerprint(entry: str, scenario: str, check: str) -> str:
    """The same check failing in the same scenario of the same entry is the same finding, whatever the run."""
    return hashlib.sha256(f"{entry}\0{scenario}\0{check}".encode()).hexdigest()[:16]
