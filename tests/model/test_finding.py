"""What a findings.json may hold, as values and as a schema for others."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from runner.model.finding import STATUS_AFTER, TYPE_CODES, Finding, Findings, Metadata, Reproduction, findings_schema

FINDING: dict[str, Any] = {
    "id": "EDGE-002-REL-001",
    "type": "reliability",
    "severity": "high",
    "title": "a stage ran twice",
    "description": "train ran twice after hold recovery-1/3",
    "status": "open",
    "created_at": "2026-01-14T09:00:00.000Z",
    "evidence": ["results/journal/witness.jsonl:7"],
    "fingerprint": "0123456789abcdef",
    "reproduction": {"steps": ["runner exec EDGE-002"], "frequency": "often", "environment": {"dependencies": {"stageflow": "1.2.0"}}},
    "impact": {"data_risk": "high", "workaround_available": False},
    "recommendation": {"summary": "do not run it twice", "estimated_effort": "small", "alternatives": ["run it never"]},
    "resolution": {"resolution_type": "fixed", "verification_steps": ["run it again"]},
    "attachments": [{"name": "log", "path": "results/logs/run_1.log"}],
    "measured_s": 1.5,
}
METADATA: dict[str, Any] = {
    "roadmap_entry_id": "EDGE-002",
    "agent_run_id": "00000000-0000-4000-8000-000000000001",
    "started_at": "2026-01-14T09:00:00.000Z",
    "completed_at": "2026-01-14T09:05:00.000Z",
    "status": "completed",
}


def test_what_is_absent_is_left_out_and_what_is_extra_rides_along() -> None:
    """A file read and written again says the same, with no null anywhere but in what others added."""
    said = {**FINDING, "original": {"owner": None}}
    document = {"metadata": METADATA, "findings": [said]}
    again = Findings.model_validate(document).model_dump(mode="json", exclude_none=True)
    assert again["metadata"] == METADATA
    (found,) = again["findings"]
    assert {key: found[key] for key in said if key != "resolution"} == {key: said[key] for key in said if key != "resolution"}
    assert "impact" not in Finding.model_validate({**FINDING, "impact": None}).model_dump(exclude_none=True)


def test_plain_dicts_become_typed_parts() -> None:
    """Whoever makes a finding may pass JSON."""
    finding = Finding.model_validate(FINDING)
    assert isinstance(finding.reproduction, Reproduction)
    assert finding.reproduction.steps == ("runner exec EDGE-002",)


@pytest.mark.parametrize("evidence", [[], [""], ["   "], ["results/journal/witness.jsonl:7", "\n"], None])
def test_there_is_no_finding_without_evidence(evidence: Any) -> None:
    """Neither an empty list, nor blank words, nor nothing at all; with a place in a file it is good."""
    with pytest.raises(ValidationError, match="evidence"):
        Finding.model_validate({**FINDING, "evidence": evidence})
    Finding.model_validate(FINDING)


WRONG = [
    ("id", "BUG-001"),
    ("id", "EDGE-002-STR-001"),
    ("id", "EDGE-002-REL-001\n"),
    ("type", "silent_failure"),
    ("severity", "P0"),
    ("title", " "),
    ("status", "done"),
    ("fingerprint", "../../etc"),
    ("impact", {"data_risk": "huge"}),
    ("recommendation", {"estimated_effort": "a week"}),
    ("reproduction", {"frequency": "now and then"}),
    ("reproduction", "run it"),
    ("resolution", {"resolution_type": "ignored"}),
    ("attachments", [{"path": "no name"}]),
]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=[f"{field}-{number}" for number, (field, _) in enumerate(WRONG)])
def test_a_value_outside_the_schema_is_refused(field: str, value: Any) -> None:
    """By the field that it stands in."""
    with pytest.raises(ValidationError) as refused:
        Finding.model_validate({**FINDING, field: value})
    assert {problem["loc"][0] for problem in refused.value.errors()} == {field}


def test_only_five_fields_of_the_metadata_are_due() -> None:
    """Others may write less than we do."""
    assert Metadata.model_validate(METADATA).summary is None
    for field in METADATA:
        with pytest.raises(ValidationError, match=field):
            Metadata.model_validate({key: value for key, value in METADATA.items() if key != field})


def test_the_schema_is_draft_07_and_asks_for_what_the_format_asks_for() -> None:
    """Nothing is nullable, every reference leads somewhere, and the required fields are the format's and ours."""
    schema = findings_schema()
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert schema["required"] == ["metadata", "findings"]
    parts = schema["definitions"]
    assert set(parts["Metadata"]["required"]) == set(METADATA)
    due = {"id", "type", "severity", "title", "description", "status", "created_at", "evidence", "fingerprint"}
    assert set(parts["Finding"]["required"]) == due
    assert parts["Finding"]["properties"]["evidence"]["minItems"] == 1
    assert parts["Finding"]["properties"]["type"]["enum"] == list(TYPE_CODES)
    assert set(parts["Resolution"]["properties"]["resolution_type"]["enum"]) == set(STATUS_AFTER)
    text = str(schema)
    assert set(re.findall(r"#/definitions/(\w+)", text)) <= set(parts)
    assert not any(word in text for word in ("$defs", "'null'", "prefixItems", "anyOf"))
