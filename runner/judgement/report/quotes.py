"""What a report refers to, quoted beside the reference: a record of a journal, a line of the witness; and whole findings."""

from __future__ import annotations

import json
from typing import Any

from runner.judgement.evidence import Evidence
from runner.judgement.report.bodies import WITNESS
from runner.judgement.report.markup import Child, Markup, clean, commands, facts, shown, tag
from runner.model.finding import Finding

MAX_QUOTES = 20  # of one finding; all of its references are in findings.json


def code(words: str) -> Markup:
    return tag("code", clean(words, 300))


def quote(evidence: Evidence, where: str) -> Child:
    """A reference, and what stands there: a record of a journal or a line of the witness; only the reference where it is neither."""
    file, _, number = where.rpartition("#")
    said: Any = None
    if number.isdecimal() and len(number) < 10:
        journals = {execution.journal_file: execution.records for execution in evidence.executions}
        records = evidence.coordinator if file.endswith("/coordinator.journal") else journals.get(file, [])
        said = next(({record.kind: record.payload} for record in records[max(0, int(number) - 1) : int(number)]), None)
    elif where.startswith(WITNESS):
        lines = [line for execution in evidence.executions for line in execution.witnessed]
        said = next((vars(line) for line in lines if where == f"{WITNESS}:{line.index + 1}"), None)
    return [code(where), tag("q", clean(json.dumps(said, sort_keys=True), 600)) if said is not None else None]


def finding_article(evidence: Evidence, finding: Finding) -> Markup:
    """Everything that a finding says, absent parts left out."""
    again, impact, recommendation = (
        part.model_dump(exclude_none=True) if part else {} for part in (finding.reproduction, finding.impact, finding.recommendation)
    )
    parts: list[tuple[str, Child]] = [
        ("Description", finding.description),
        ("Evidence", tag("ul", [tag("li", quote(evidence, where), class_="quote") for where in finding.evidence[:MAX_QUOTES]])),
        ("Reproduction", commands(*again.pop("steps", ()))),
        *[(key.replace("_", " "), plain(value)) for key, value in again.items() if value],
        *[(key.replace("_", " "), plain(value)) for key, value in impact.items()],
        *[
            ("Recommendation" if key == "summary" else key.replace("_", " "), plain(value))
            for key, value in recommendation.items()
            if value
        ],
        ("Fingerprint", code(finding.fingerprint)),
    ]
    title = tag("h3", tag("span", finding.severity, class_=f"severity {finding.severity}"), " ", finding.title)
    sub = f"{finding.id} · {finding.type} · {finding.status}" + (f" · {finding.component}" if finding.component else "")
    return tag("article", title, tag("p", sub, class_="unit"), facts(parts), id=finding.id)


def plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value))
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else shown(value)
