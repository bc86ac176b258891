"""The data link in a file of its own, and in FINAL_REPORT.md; nothing of it in a run without link faults.

results/metrics/link.json           per execution: what was asked and measured, round trips, losses, what came through
FINAL_REPORT.md, section 4.2        the same for people (`section`)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runner.judgement.conclude import Conclusion
from runner.judgement.judge import one_line
from runner.judgement.report.events import GUARD_EVENTS
from runner.judgement.report.held_lines import asked_and_measured, when_on
from runner.judgement.report.link_courses import LinkCourse, chance, link_courses, means
from runner.judgement.report.markdown import code, link, table, words
from runner.judgement.report.metrics import percentiles
from runner.judgement.timeline import Timeline
from runner.lab.folder import json_text
from runner.model.metrics import METRICS


def files(conclusion: Conclusion) -> dict[str, str]:
    courses = link_courses(conclusion.evidence, Timeline(conclusion.evidence))
    return {"results/metrics/link.json": json_text(measured(courses))} if courses else {}


# ---- results/metrics/link.json --------------------------------------------------------------------------------------------


def measured(courses: Sequence[LinkCourse]) -> dict[str, Any]:
    """Everything that was measured of the data link, execution by execution."""
    return {
        "metrics": {name: {"unit": metric.unit, "is": metric.description} for name, metric in METRICS.items() if ".link." in name},
        "percentiles": "nearest rank",
        "chance": chance(courses),
        "executions": {course.name: _measured(course) for course in courses},
    }


def _measured(course: LinkCourse) -> dict[str, Any]:
    return {
        **course.as_json(),
        "stageflow_runner.link.rtt": percentiles(ms / 1000 for _, _, ms in course.round_trips),
        "stageflow_runner.link.loss": round(1 - course.came / course.sent, 4) if course.sent else None,
        "light_packets": {"sent": course.sent, "came": course.came},
        "stageflow_runner.link.receipts": {one_line(name): count for name, (count, _) in course.services.items()},
    }


# ---- FINAL_REPORT.md ------------------------------------------------------------------------------------------------------


def section(conclusion: Conclusion) -> list[str]:
    """What stands in section 4.2; [] for a run without link faults."""
    evidence = conclusion.evidence
    courses = link_courses(evidence, Timeline(evidence))
    if not courses:
        return []
    nic = (evidence.note("far_end") or {}).get("data_nic")
    over = f", over {words(nic)}" if nic else ""
    lines = [
        "#### The data link",
        "",
        f"Held by a guard on the device, measured from both ends{over}. {words(chance(courses))} The seed was "
        f"{evidence.plan['seed']}. What the guard did, record by record: {link(GUARD_EVENTS)}.",
        "",
    ]
    for course in courses:
        lines += [f"##### {words(course.name)}", "", *when_on(course), *_means(course)]
        lines += [*asked_and_measured("of the link", course.rows), *_came(course)]
    return lines


def _means(course: LinkCourse) -> list[str]:
    by = [f"{code(name)} by {words(needs)}" for name, needs in means(course)]
    return [f"Shaped or silenced: {'; '.join(by)}.", ""] if by else []


def _came(course: LinkCourse) -> list[str]:
    """The light probe, all the time; and what arrived at the far end, by service."""
    lost = f"{course.sent - course.came} of {course.sent} light packets were lost" if course.sent else "no light packet arrived"
    said = f"Over the whole execution {lost}."
    if not course.services:
        return [f"{said} Nothing else arrived at the far end.", ""]
    rows = [(words(name), count, meanwhile) for name, (count, meanwhile) in course.services.items()]
    return [said, "", *table(("arrived at the far end", "receipts", "of them while nothing should pass"), rows)]
