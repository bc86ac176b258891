"""What others wrote, mapped: tables, times, ids; nothing lost, and what could not be mapped said with its place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runner.errors import AskError
from runner.judgement.older_findings import Mapped, as_moment, map_findings
from runner.model.finding import Finding

NOW = "2026-02-01T00:00:00.000Z"
BUG = {
    "id": "BUG-001",
    "type": "silent_failure",
    "title": "Output is dropped",
    "description": "The last item of a batch is missing",
    "priority": "P0",
    "reproduction": "1. start\n\n2. look",
    "impact": "Bills are wrong",
    "recommendation": "Keep the last item",
    "timestamp": "2026-01-14 09:30",
}


def older(*entries: Any) -> bytes:
    return json.dumps({"template": {"id": "BUG-XXX"}, "entries": entries}).encode()


def mapped(raw: bytes, name: str = "bugs.json", existing: tuple[Finding, ...] = ()) -> Mapped:
    return map_findings(raw, name, "copy.json", "EDGE-002", existing, NOW)


def one(entry: dict[str, Any], name: str = "bugs.json") -> Finding:
    (finding,) = mapped(older(entry), name).findings
    return finding


def notes(found: Mapped) -> set[tuple[str, str]]:
    return {(note.where.partition("#/")[2], note.found) for note in found.unmapped}


def test_an_older_entry_becomes_a_whole_finding() -> None:
    """Type, priority, texts and time by the tables; its evidence is the entry itself; every field of it is kept."""
    found = mapped(older(BUG))
    assert found.unmapped == []
    assert found.findings[0].model_dump(mode="json", exclude_none=True, exclude_defaults=True) == {
        "id": "EDGE-002-REL-001",
        "type": "reliability",
        "severity": "critical",
        "title": "Output is dropped",
        "description": "The last item of a batch is missing",
        "created_at": "2026-01-14T09:30:00.000Z",
        "evidence": ["copy.json#/entries/0"],
        "fingerprint": found.findings[0].fingerprint,
        "tags": ["silent_failure"],
        "reproduction": {"steps": ["1. start", "2. look"]},
        "impact": {"business_impact": "Bills are wrong"},
        "recommendation": {"summary": "Keep the last item"},
        "original": BUG,
    }


@pytest.mark.parametrize(
    ("entry", "name", "expected"),
    [
        ({"id": "BUG-001"}, "x.json", ("bug", "medium", "open")),
        ({"id": "DX-004"}, "x.json", ("dx", "medium", "open")),
        ({"id": "IMP-001", "type": "component_suggestion"}, "x.json", ("feature_request", "medium", "open")),
        ({"id": "IMP-001", "type": "Stagekind Suggestion"}, "x.json", ("feature_request", "medium", "open")),
        ({"id": "STR-001", "priority": "P0"}, "x.json", ("improvement", "info", "confirmed")),
        ({"type": "strength"}, "x.json", ("improvement", "info", "confirmed")),
        ({}, "strengths.json", ("improvement", "info", "confirmed")),
        ({}, "dx.json", ("dx", "medium", "open")),
        ({"id": "FIN-001-SEC-002"}, "x.json", ("security", "medium", "open")),
        ({"type": "correctness", "severity": "HIGH"}, "dx.json", ("bug", "high", "open")),
        ({"type": "bug", "severity": "terrible", "priority": "P1"}, "x.json", ("bug", "high", "open")),
        ({"type": "bug", "status": "Fixed", "priority": "p2"}, "x.json", ("bug", "medium", "resolved")),
        ({"type": "mystery"}, "bugs.json", ("bug", "medium", "open")),
    ],
)
def test_type_severity_and_status_by_the_tables(entry: dict[str, Any], name: str, expected: tuple[str, ...]) -> None:
    """The word itself, else the id's letters, else the file's name; else a medium bug."""
    found = one({"title": "t", "timestamp": "2026-01-14", **entry}, name)
    assert (found.type, found.severity, found.status) == expected


@pytest.mark.parametrize(
    ("said", "moment"),
    [
        ("2026-01-14T09:00:00Z", "2026-01-14T09:00:00.000Z"),
        ("2026-01-14T09:00:00.123456+02:00", "2026-01-14T07:00:00.123Z"),
        ("2026-01-14 09:00", "2026-01-14T09:00:00.000Z"),
        ("2026-01-14", "2026-01-14T00:00:00.000Z"),
        ("20260114_093045", "2026-01-14T09:30:45.000Z"),
        ("2026/01/14", "2026-01-14T00:00:00.000Z"),
        ("January 14, 2026", "2026-01-14T00:00:00.000Z"),
        ("2026-01-14 09:00:00 UTC", "2026-01-14T09:00:00.000Z"),
        (1768381200, "2026-01-14T09:00:00.000Z"),
        (1768381200000, "2026-01-14T09:00:00.000Z"),
        ("01/02/2026", None),
        ("yesterday", None),
        (True, None),
        (10**400, None),
        ("0001-01-01T00:00:00+14:00", None),
        ({"day": 1}, None),
    ],
)
def test_times_of_every_style_and_none_that_must_be_guessed(said: Any, moment: str | None) -> None:
    """In UTC to the millisecond; what could mean two days is not a time."""
    assert as_moment(said) == moment


def test_what_cannot_be_mapped_is_said_with_its_place_and_kept() -> None:
    """One line for one kind of trouble, with how often it was met; the finding is there all the same."""
    entry = {**BUG, "type": "mystery", "priority": "P9", "timestamp": "yesterday", "impact": 7, "owner/team": "x", "component": ["a"]}
    found = mapped(older(entry, {**entry, "title": "another"}))
    assert notes(found) == {
        ("entries/0/owner~1team", "field 'owner/team'"),
        ("entries/0/type", "type 'mystery'"),
        ("entries/0/priority", "priority 'P9'"),
        ("entries/0", "no severity and no priority that is known"),
        ("entries/0/timestamp", "timestamp 'yesterday' is no time that is known"),
        ("entries/0", "no time that could be read"),
        ("entries/0/impact", "impact is 7"),
        ("entries/0/component", "component is ['a']: Input should be a valid string"),
    }
    assert {note.where.partition("#")[0] for note in found.unmapped} == {"bugs.json"}
    assert {note.times for note in found.unmapped} == {2}
    assert [(f.type, f.severity, f.created_at, f.tags) for f in found.findings] == [("bug", "medium", NOW, ("mystery",))] * 2
    assert all(f.model_extra and f.model_extra["original"]["owner/team"] == "x" for f in found.findings)


def test_only_the_part_that_the_schema_refuses_is_left_out() -> None:
    """What stands beside it is mapped."""
    entry = {
        **BUG,
        "reproduction": {"steps": ["a", 1, 2], "frequency": "always", "environment": {"os": 5, "python_version": "3.11"}},
        "impact": {"data_risk": "huge", "security_risk": "low"},
        "attachments": [{"name": "no path"}],
        "tags": "fast",
    }
    found = mapped(older(entry))
    assert {place.removeprefix("entries/0/") for place, _ in notes(found)} == {
        "reproduction/steps", "reproduction/environment/os", "impact/data_risk", "attachments", "tags",
    }  # fmt: skip
    (finding,) = found.findings
    assert finding.reproduction and finding.reproduction.environment and finding.impact
    assert (finding.reproduction.frequency, finding.reproduction.environment.python_version) == ("always", "3.11")
    assert finding.impact.security_risk == "low"


def test_one_id_with_two_contents_is_two_findings_and_one_content_with_two_ids_is_one() -> None:
    """Across files, too: numbers go on, and what is known already is named."""
    first = mapped(older(BUG, {**BUG, "title": "Something else"}, {**BUG, "id": "BUG-777"}))
    assert [finding.id for finding in first.findings] == ["EDGE-002-REL-001", "EDGE-002-REL-002"]
    assert first.known == [("bugs.json#/entries/2", "EDGE-002-REL-001")]
    second = mapped(older(BUG, {**BUG, "title": "A third"}), "more.json", tuple(first.findings))
    assert [finding.id for finding in second.findings] == ["EDGE-002-REL-003"]
    assert second.known == [("more.json#/entries/0", "EDGE-002-REL-001")]
    assert len({finding.fingerprint for finding in (*first.findings, *second.findings)}) == 3


def newer(*findings: Any) -> bytes:
    return json.dumps({"metadata": {"completed_at": "2026-01-15"}, "findings": findings}).encode()


def test_the_new_shape_keeps_ids_that_are_ours_and_free() -> None:
    """An id of another entry, of another type, or taken, is replaced, and related findings follow the new names."""
    row = {"type": "bug", "severity": "low", "description": "d", "status": "confirmed", "fingerprint": "00000000000000aa"}
    found = mapped(
        newer(
            {**row, "id": "EDGE-002-BUG-005", "title": "kept", "related_findings": ["FIN-001-BUG-001", "gone"]},
            {**row, "id": "EDGE-002-BUG-005", "title": "taken"},
            {**row, "id": "FIN-001-BUG-001", "title": "not ours"},
            {**row, "id": "EDGE-002-SEC-001", "title": "another type"},
        )
    )
    ids = [finding.id for finding in found.findings]
    assert ids == ["EDGE-002-BUG-005", "EDGE-002-BUG-006", "EDGE-002-BUG-007", "EDGE-002-BUG-008"]
    assert found.findings[0].related_findings == ("EDGE-002-BUG-007", "gone")
    assert ("findings/0/related_findings", "related finding 'gone', an id that 0 in this file have") in notes(found)
    assert {(f.created_at, f.status, f.fingerprint) for f in found.findings} == {
        ("2026-01-15T00:00:00.000Z", "confirmed", "00000000000000aa"),
    }  # fmt: skip


def test_evidence_that_others_named_is_not_taken_over() -> None:
    """Their paths lead nowhere here: the entry itself is the evidence, and their words are kept with it."""
    found = mapped(newer({"id": "x", "title": "t", "evidence": ["results/journal/witness.jsonl:7"]})).findings[0]
    assert found.evidence == ("copy.json#/findings/0",)
    assert found.model_extra and found.model_extra["original"]["evidence"] == ["results/journal/witness.jsonl:7"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"entries": {}}',
        b'{"entries": [',
        b'{"entries": [{"title": NaN}]}',
        b'{"entries": [{"title": 1e999}]}',
        b'{"entries": [{"title": "\\ud800"}]}',
        b'{"entries": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"entries": [' + b"1" * 10_000 + b"]}",
    ],
    ids=range(11),
)
def test_what_is_no_such_file_is_refused_with_its_name(raw: bytes) -> None:
    """No traceback, however broken or deep it is."""
    with pytest.raises(AskError) as refused:
        mapped(raw)
    assert refused.value.complaints[0].where.startswith("bugs.json")


def test_entries_that_hold_nonsense_end_as_findings_or_as_notes() -> None:
    """Whatever stands where words are due, a file of the right shape is imported."""
    nonsense: list[Any] = [None, 7, "x", [], {}, True, {"a": [None]}, "\x1b[2J", "é" * 400, -1, 1e300]
    entries = [dict.fromkeys(("id", "title", "type", "severity", "status", "tags", "resolution", "timestamp"), one) for one in nonsense]
    found = mapped(older(*nonsense, *entries))
    objects = [entry for entry in (*nonsense, *entries) if isinstance(entry, dict)]
    assert len(found.findings) + len(found.known) == len(objects)
    assert len([note for note in found.unmapped if note.found.endswith("is no object")]) == len(nonsense) - 2
    assert all(1 <= len(finding.title) <= 300 for finding in found.findings)
