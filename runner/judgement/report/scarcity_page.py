"""Scarcity on the page: when what was on, on the common axis; asked against measured; memory against its cap.

    resources-1   ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒       when it was on, and what it was
    memory        ▁▂▅▇▇▇▇                 of the cap, which is the upper edge

A page of a run in which nothing was scarce has none of this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runner.judgement.report import charts, held_page
from runner.judgement.report.charts import Axis
from runner.judgement.report.markup import Child, Markup, details, table, tag
from runner.judgement.report.scarcity import SAID
from runner.judgement.report.scarcity_courses import MEMORY_HEAD, ScarcityCourse, memory_cells


def rows(axis: Axis, courses: Sequence[ScarcityCourse], numbered_from: int) -> Iterator[Markup]:
    """What each execution had too little of on the time axis. Series are numbered, because the page finds them so."""
    number = numbered_from
    for course in courses:
        yield from held_page.program_rows(axis, course)
        for one in course.series():
            yield charts.series_row(number, one)
            number += 1


def tables(axis: Axis, courses: Sequence[ScarcityCourse]) -> Markup | None:
    """The same lines as tables."""
    found = [charts.series_table(axis, one) for course in courses for one in course.series()]
    return details("Memory as tables", found) if found else None


def section(courses: Sequence[ScarcityCourse]) -> Child:
    """Asked against measured, execution by execution, and memory against its cap."""
    memory = memory_cells(courses)
    return [
        tag("p", SAID),
        [_of_execution(course) for course in courses],
        [tag("h3", "Memory against its cap"), table("Memory against its cap", MEMORY_HEAD, memory)] if memory else None,
    ]


def _of_execution(course: ScarcityCourse) -> Child:
    caption = f"Asked and measured of what was scarce in {course.name}"
    return [tag("h3", course.name), held_page.asked_and_measured(caption, course.rows), held_page.when_on(course)]
