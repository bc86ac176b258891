"""Findings as CSV for a spreadsheet: words in it stay words.

A cell that begins with `=` `+` `-` or `@` is a formula to a spreadsheet, and where `;` parts cells so is what stands behind
one inside a cell. Such a place gets an apostrophe, every cell is quoted, and what could not be seen is blank.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Any

from runner.judgement.collection import Case

_FORMULA = re.compile(r"(^|;)(?=[\s\"']*[=+\-@＝＋－＠])")
COLUMNS = (
    *("id", "fingerprint", "entry", "severity", "type", "status", "regressed", "title", "description", "component", "device"),
    *("runs", "first_run", "last_run", "created_at", "evidence", "reproduction", "recommendation", "resolution"),
)


def csv_text(cases: Iterable[Case]) -> str:
    """One row per finding, however many runs found it."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(COLUMNS)
    for case in cases:
        row = case.row() | _more(case)
        writer.writerow([safe(row[name]) for name in COLUMNS])
    return out.getvalue()


def safe(value: Any) -> Any:
    """A cell that a spreadsheet shows and does not compute."""
    if not isinstance(value, str):
        return value
    return _FORMULA.sub(r"\1'", "".join(c if c.isprintable() else " " for c in value))


def _more(case: Case) -> dict[str, str]:
    found = case.latest.finding
    shown = case.present(case.latest)
    return {
        "description": found.description,
        "created_at": found.created_at,
        "evidence": " ".join(found.evidence),
        "reproduction": " ".join(found.reproduction.steps) if found.reproduction else "",
        "recommendation": (found.recommendation.summary or "") if found.recommendation else "",
        "resolution": shown.get("resolution", {}).get("resolution_details", ""),
    }
