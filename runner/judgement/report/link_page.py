"""The data link on the page: rows on the common axis, and asked against measured as bars and as a table.

    offline-1   ▒▒▒▒▒▒      ▒▒▒▒▒▒        when it was on (held_page.py)
    received    │ │││           ││        what came to the far end
    round trip  ╱╲__        __╱╲          the light probe, as it is measured elsewhere on the page

A page without link faults has none of this, and no style of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from runner.judgement.report import charts, held_page
from runner.judgement.report.charts import Axis, moment, percent, short
from runner.judgement.report.link_courses import Asked, LinkCourse, chance, means
from runner.judgement.report.markup import Child, Markup, join, table, tag
from runner.judgement.report.quotes import code
from runner.judgement.report.series import COLUMNS


def rows(axis: Axis, courses: Sequence[LinkCourse], numbered_from: int) -> Iterator[Markup]:
    """Each execution's link on the time axis. Series are numbered, because the page finds them so."""
    number = numbered_from
    for course in courses:
        yield from held_page.program_rows(axis, course)
        yield _received_row(axis, course)
        for one in course.series():
            yield charts.series_row(number, one)
            number += 1


def _received_row(axis: Axis, course: LinkCourse) -> Markup:
    """A tick for each column in which something came; how much, and by which service, on a pointer and in the table."""
    columns: dict[int, Counter[str]] = {}
    for at_s, service in course.receipts:
        columns.setdefault(min(COLUMNS - 1, max(0, int(at_s / axis.end_s * COLUMNS))), Counter())[service] += 1
    ticks = []
    for place, services in sorted(columns.items()):
        said = ", ".join(f"{count} by {service}" for service, count in sorted(services.items()))
        x = percent((place + 0.5) / COLUMNS)
        note = tag("title", f"{said}, at {moment((place + 0.5) / COLUMNS * axis.end_s)}")
        ticks.append(tag("line", note, x1=x, x2=x, y1="2", y2="12", class_="receipt"))
    count = len(course.receipts)
    says = f"{course.name}: {count} receipts of the far end"
    return charts.row(join(f"{course.name}: received ", tag("span", f"{count} receipts", class_="unit")), charts.plot(says, *ticks), "thin")


def section(courses: Sequence[LinkCourse], seed: int) -> Child:
    """Asked against measured, execution by execution."""
    return [
        tag("p", f"What a guard on the device held, measured from both ends. {chance(courses)} The seed was {seed}."),
        [_of_execution(course) for course in courses],
    ]


def _of_execution(course: LinkCourse) -> Child:
    arrived = [(service, count, meanwhile) for service, (count, meanwhile) in course.services.items()]
    return [
        tag("h3", course.name),
        tag("div", [_bar(figure) for figure in course.figures], class_="panels") if course.figures else None,
        held_page.asked_and_measured(f"Asked and measured of the link of {course.name}", course.rows),
        tag("p", f"Of the light probe's {course.sent} packets {course.came} came to the far end.", class_="note"),
        table(f"Received from {course.name}", ("service", "receipts", "while nothing should pass"), arrived) if arrived else None,
        held_page.when_on(course),
        tag(
            "p",
            "By means of: ",
            [(", " if place else "", code(name), f": {needs}") for place, (name, needs) in enumerate(means(course))],
            class_="note",
        )
        if course.programs
        else None,
    ]


def _bar(figure: Asked) -> Markup:
    """One figure: the tolerance as a pale band, what was asked as an upright line, what was measured as a bar."""
    band, measured = figure.tolerance, figure.measured
    top = 1.15 * max(figure.high, measured or 0.0, band[1] if band else 0.0, 1e-9)
    asked = f"{short(figure.low)}" + (f" to {short(figure.high)}" if figure.high != figure.low else "")
    said = "not measured" if measured is None else f"{short(measured)} {figure.unit}"
    tolerated = f", tolerance {short(band[0])} to {short(band[1])}" if band else ""
    says = f"{figure.what}: asked {asked} {figure.unit}{tolerated}, measured {said}{'' if figure.within else ', which is outside'}"
    shapes: list[Child] = []
    if band:
        shapes.append(
            tag("rect", x=percent(band[0] / top), width=percent((band[1] - band[0]) / top), y="2", height="26", class_="tolerated")
        )
    if measured is not None:
        shapes.append(tag("rect", width=percent(measured / top), y="9", height="12", class_="took" if figure.within else "over"))
    for value in dict.fromkeys((figure.low, figure.high)):
        shapes.append(tag("line", x1=percent(value / top), x2=percent(value / top), y1="0", y2="30", class_="asked"))
    plot = tag("svg", tag("title", says), tag("desc", "The same stands in the table below."), shapes, class_="measure", role="img")
    sign = "✓" if figure.within else "✕ outside"
    caption = [tag("strong", figure.what), " ", tag("span", f"asked {asked}, measured {said} {sign}", class_="unit")]
    return tag("figure", tag("figcaption", caption), plot)
