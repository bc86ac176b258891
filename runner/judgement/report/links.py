"""The data link in files of its own, and in FINAL_REPORT.md; nothing of it in a run without link faults.

results/metrics/link.json           per execution: what was asked and measured, round trips, losses, what came through
results/logs/link_events.txt        the guard's journal as lines: armed, on, off, reverted
FINAL_REPORT.md, section 4.2        the same for people (`section`)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from runner.judgement.conclude import Conclusion
from runner.judgement.judge import one_line
from runner.judgement.report.link_courses import LinkCourse, chance, link_courses, means
from runner.judgement.report.markdown import code, link, table, words
from runner.judgement.report.metrics import percentiles
from runner.judgement.timeline import Timeline
from runner.lab.folder import json_text
from runner.model.metrics import METRICS

GUARD_FILE = "results/journal/device-guard.journal"
MAX_LINES, LINE_LIMIT = 20_000, 400
MAX_WINDOWS = 40  # of one program in the report; the guard's journal has all


def files(conclusion: Conclusion) -> dict[str, str]:
    timeline = Timeline(conclusion.evidence)
    courses = link_courses(conclusion.evidence, timeline)
    if not courses:
        return {}
    found = {"results/metrics/link.json": json_text(measured(courses))}
    if conclusion.evidence.guard:
        found["results/logs/link_events.txt"] = _events(conclusion, timeline)
    return found


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
        "programs": {one_line(name): _program(course, name) for name in course.by_program},
        "stageflow_runner.link.rtt": percentiles(ms / 1000 for _, _, ms in course.round_trips),
        "stageflow_runner.link.loss": round(1 - course.came / course.sent, 4) if course.sent else None,
        "light_packets": {"sent": course.sent, "came": course.came},
        "stageflow_runner.link.receipts": {one_line(name): count for name, (count, _) in course.services.items()},
        "asked_and_measured": [{key: one_line(v) if isinstance(v, str) else v for key, v in row.items()} for row in course.rows],
    }


def _program(course: LinkCourse, name: str) -> dict[str, Any]:
    windows = course.by_program[name]
    return {"fault": one_line(windows[0].fault), "times_on": len(windows), "on_s": round(course.on_s(name), 3)}


# ---- results/logs/link_events.txt -----------------------------------------------------------------------------------------


def _events(conclusion: Conclusion, timeline: Timeline) -> str:
    """One line a record; a boot without a hello has no second."""
    records = conclusion.evidence.guard
    left_out = max(0, len(records) - MAX_LINES)
    lines = [f"   seconds  record  kind              what it holds ({GUARD_FILE})"]
    for place, record in enumerate(records):
        if left_out and place == MAX_LINES // 2:
            lines.append(f"… {left_out} records left out …")
        if left_out and MAX_LINES // 2 <= place < MAX_LINES // 2 + left_out:
            continue
        at_s = timeline.at(record)
        said = one_line(json.dumps(record.payload, ensure_ascii=False, sort_keys=True))
        said = said if len(said) <= LINE_LIMIT else said[:LINE_LIMIT] + " …"
        when = "?" if at_s is None else f"{at_s:.3f}"
        lines.append(f"{when:>10}  {record.sequence:6}  {one_line(record.kind):16}  {said}")
    return "\n".join([*lines, ""])


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
        f"{evidence.plan['seed']}. What the guard did, record by record: {link('results/logs/link_events.txt')}.",
        "",
    ]
    for course in courses:
        lines += [f"##### {words(course.name)}", "", *_windows(course), *_rows(course), *_came(course)]
    return lines


def _windows(course: LinkCourse) -> list[str]:
    """What was on when, each time in order; and by what means."""
    rows = []
    for name, windows in course.by_program.items():
        for window in windows[:MAX_WINDOWS]:
            rows.append((code(name), words(window.word), _second(window.began_s), _second(window.ended_s), words(window.ended_by or "-")))
        if len(windows) > MAX_WINDOWS:
            rows.append((code(name), f"{len(windows) - MAX_WINDOWS} more times", "-", "-", "-"))
    by = [f"{code(name)} by {words(needs)}" for name, needs in means(course)]
    said = [f"Shaped or silenced: {'; '.join(by)}.", ""] if by else []
    if not rows:
        return ["Nothing of it was ever on, by the guard's journal.", "", *said]
    return [*table(("fault", "what was on", "from s", "to s", "then"), rows), *said]


def _rows(course: LinkCourse) -> list[str]:
    rows = [
        (*(words(row[key] or "-") for key in ("what", "asked", "measured", "tolerance")), "yes" if row["within"] else "**no**")
        for row in course.rows
    ]
    return table(("of the link", "asked", "measured", "tolerance", "within"), rows) if rows else ["Nothing was measured.", ""]


def _came(course: LinkCourse) -> list[str]:
    """The light probe, all the time; and what arrived at the far end, by service."""
    lost = f"{course.sent - course.came} of {course.sent} light packets were lost" if course.sent else "no light packet arrived"
    said = f"Over the whole execution {lost}."
    if not course.services:
        return [f"{said} Nothing else arrived at the far end.", ""]
    rows = [(words(name), count, meanwhile) for name, (count, meanwhile) in course.services.items()]
    return [said, "", *table(("arrived at the far end", "receipts", "of them while nothing should pass"), rows)]


def _second(at_s: float | None) -> str:
    return "-" if at_s is None else f"{at_s:.1f}"
