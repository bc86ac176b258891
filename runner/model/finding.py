"""findings.json: `{metadata, findings}` as the stress-testing system's public schema has it.

    Findings ─┬─ metadata      which run it was, when, and how it ended
              └─ findings[] ─┬─ what is wrong, how bad, since when
                             ├─ evidence        where it stands: `file#record`, `file:line` or `file#/json/pointer`
                             ├─ reproduction    how to see it again
                             ├─ impact          whom it hurts
                             ├─ recommendation  what to do
                             └─ resolution      what was done

An absent object is left out, never null: files are written with `exclude_none`. Extra fields ride along. A run's findings are
computed from its journals and never edited; what people decide about one later is a `Decision`, kept in a log of its own.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from runner.model.entry import EntryId, Severity

FindingType = Literal["bug", "security", "performance", "reliability", "dx", "improvement", "documentation", "feature_request"]
FindingStatus = Literal["open", "confirmed", "in_progress", "resolved", "wont_fix", "duplicate"]
ResolutionType = Literal["fixed", "wont_fix", "duplicate", "by_design", "cannot_reproduce"]
Frequency = Literal["always", "often", "sometimes", "rarely"]
Risk = Literal["none", "low", "medium", "high", "critical"]
Effort = Literal["trivial", "small", "medium", "large", "epic"]

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
STATUS_AFTER: dict[ResolutionType, FindingStatus] = {  # `by_design` is met again in every run, and stays settled
    "fixed": "resolved",
    "cannot_reproduce": "resolved",
    "wont_fix": "wont_fix",
    "by_design": "wont_fix",
    "duplicate": "duplicate",
}

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]  # as runner.clock.iso writes it: sorts as text
FindingId = Annotated[str, Field(pattern=rf"^[A-Z0-9]+(-[A-Z0-9]+)*-({'|'.join(TYPE_CODES.values())})-[0-9]{{3,}}$", max_length=80)]
Said = Annotated[str, Field(pattern=r"\S")]  # words that say something


class Part(BaseModel):
    """What all of the file is made of: frozen, and open to fields that others add."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)


class Environment(Part):
    python_version: str | None = None
    os: str | None = None
    dependencies: dict[str, str] | None = None  # name: version


class Reproduction(Part):
    steps: tuple[str, ...] = ()
    code_snippet: str | None = None
    environment: Environment | None = None
    frequency: Frequency | None = None
    conditions: str | None = None


class Impact(Part):
    affected_users: Risk | None = None
    data_risk: Risk | None = None
    security_risk: Risk | None = None
    availability_risk: Risk | None = None
    business_impact: str | None = None
    workaround_available: bool | None = None
    workaround_description: str | None = None


class Recommendation(Part):
    summary: str | None = None
    detailed_proposal: str | None = None
    code_suggestion: str | None = None
    estimated_effort: Effort | None = None
    breaking_change: bool | None = None
    alternatives: tuple[str, ...] = ()


class Resolution(Part):
    resolved_by: str | None = None
    resolution_type: ResolutionType | None = None
    resolution_details: str | None = None
    commit_hash: str | None = None
    pr_link: str | None = None
    release_version: str | None = None
    verification_steps: tuple[str, ...] = ()


class Attachment(Part):
    name: str
    path: str
    type: str | None = None


class Finding(Part):
    """One finding of one run. Its id is unique in that run; its fingerprint is the same in every run that finds it."""

    id: FindingId
    type: FindingType
    severity: Severity
    title: Said
    description: str
    status: FindingStatus = "open"
    created_at: Moment
    updated_at: Moment | None = None
    resolved_at: Moment | None = None
    component: str | None = None
    device: str | None = None
    evidence: tuple[Said, ...] = Field(min_length=1)  # inside the run folder; without it there is no finding
    fingerprint: str = Field(pattern=r"^[A-Za-z0-9]{1,64}$")
    tags: tuple[str, ...] = ()
    related_findings: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    reproduction: Reproduction | None = None
    impact: Impact | None = None
    recommendation: Recommendation | None = None
    resolution: Resolution | None = None


class Metadata(Part):
    roadmap_entry_id: EntryId
    agent_run_id: str = Field(json_schema_extra={"format": "uuid"})
    started_at: Moment
    completed_at: Moment  # while in progress: the time of the last update
    status: Literal["in_progress", "completed", "failed", "blocked"]
    roadmap_entry_title: str | None = None
    stageflow_version: str | None = None
    agent_model: str | None = None
    total_findings: int | None = None
    summary: str | None = None


class Findings(Part):
    metadata: Metadata
    findings: tuple[Finding, ...]


class Decision(Part):
    """What somebody decided about a finding: one line of `runs/decisions.jsonl`."""

    fingerprint: str  # about the finding in every run
    finding: str  # the id and the run that were looked at
    run: str
    status: FindingStatus
    resolution: Resolution | None = None
    at: Moment


def fingerprint(entry: str, scenario: str, check: str) -> str:
    """The same check failing in the same scenario of the same entry is the same finding, whatever the run."""
    return hashlib.sha256(f"{entry}\0{scenario}\0{check}".encode()).hexdigest()[:16]


def findings_schema() -> dict[str, Any]:
    """JSON Schema draft-07 of a findings.json as it is written."""
    schema = Findings.model_json_schema(ref_template="#/definitions/{model}", schema_generator=_Draft07)
    definitions = schema.pop("$defs")
    definitions["Finding"]["required"].append("status")  # its default is written, too
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema, "definitions": definitions}


class _Draft07(GenerateJsonSchema):
    """Nothing is nullable: what is absent is left out."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"]) if schema.get("default") is None else super().default_schema(schema)
