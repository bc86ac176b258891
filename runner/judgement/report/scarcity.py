"""Scarcity in a file of its own, and in FINAL_REPORT.md; nothing of it in a run in which nothing was scarce.

results/metrics/scarcity.json       per execution: what was on for how long, asked and measured, memory against its cap
FINAL_REPORT.md, section 4.2        the same for people (`section`)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runner.judgement.conclude import Conclusion
from runner.judgement.report.events import GUARD_EVENTS
from runner.judgement.report.held_lines import asked_and_measured, when_on
from runner.judgement.report.markdown import link, table, words
from runner.judgement.report.scarcity_courses import MEMORY_HEAD, ScarcityCourse, memory_cells, scarcity_courses
from runner.judgement.timeline import Timeline
from runner.lab.folder import json_text

SAID = (
    "Held by a guard on the device. What was to be so from the beginning was tried out before the pipeline began; limits and clock were "
    "read again in each of the device's samples meanwhile; and behind it nothing of it was to be left."
)


def files(conclusion: Conclusion) -> dict[str, str]:
    courses = scarcity_courses(conclusion.evidence, Timeline(conclusion.evidence))
    return {"results/metrics/scarcity.json": json_text(measured(courses))} if courses else {}


def measured(courses: Sequence[ScarcityCourse]) -> dict[str, Any]:
    """Everything that was measured of what was scarce, execution by execution; no `memory` where it had no cap."""
    return {"units": "s, bytes", "executions": {course.name: _measured(course) for course in courses}}


def _measured(course: ScarcityCourse) -> dict[str, Any]:
    of = course.memory
    memory = {"memory": {"cap_bytes": of.cap_bytes, "peak_bytes": of.peak_bytes, "oom_kills": of.oom_kills}} if of else {}
    return {**course.as_json(), **memory}


def section(conclusion: Conclusion) -> list[str]:
    """What stands in section 4.2; [] for a run in which nothing was scarce."""
    courses = scarcity_courses(conclusion.evidence, Timeline(conclusion.evidence))
    if not courses:
        return []
    lines = ["#### Scarcity", "", f"{SAID} What the guard did, record by record: {link(GUARD_EVENTS)}.", ""]
    for course in courses:
        lines += [f"##### {words(course.name)}", "", *when_on(course), *asked_and_measured("of what was scarce", course.rows)]
    memory = [(words(name), *cells) for name, *cells in memory_cells(courses)]
    return [*lines, "##### Memory against its cap", "", *table(MEMORY_HEAD, memory)] if memory else lines
