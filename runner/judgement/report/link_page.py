"""The data link on the page: rows on the common axis, and asked against measured as bars and as a table.

    offline-1   ▒▒▒▒▒▒      ▒▒▒▒▒▒        when it was on; what it was stands in it, and in words in the table
    received    │ │││           ││        what came to the far end
    round trip  ╱╲__        __╱╲          the light probe, as it is measured elsewhere on the page

A page without link faults has none of this, and no style of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from runner.judgement.report import charts
from runner.judgement.report.charts import Axis, moment, percent, short
from runner.judgement.report.link_courses import Asked, LinkCourse, Window, chance, means
from runner.judgement.report.markup import MAX_ROWS, Child, Markup, details, join, table, tag
from runner.judgement.report.quotes import code
from runner.judgement.report.series import COLUMNS

LEAST_FOR_WORDS = 0.07  # of the axis: a window that is narrower says its word on a pointer only
LONGEST_WORD = 60


def rows(axis: Axis, courses: Sequence[LinkCourse], numbered_from: int) -> Iterator[Markup]:
    """Each execution's link on the time axis. Series are numbered, because the page finds them so."""
    number = numbered_from
    for course in courses:
        for name, windows in course.by_program.items():
            yield _program_row(axis, course, name, windows)
        yield _received_row(axis, course)
        for one in course.series():
            yield charts.series_row(number, one)
            number += 1


def _program_row(axis: Axis, course: LinkCourse, name: str, windows: list[Window]) -> Markup:
    bands: list[Child] = []
    for window in windows[:MAX_ROWS]:
        if window.began_s is None:
            continue
        ended_s = course.end_s if window.ended_s is None else window.ended_s
        said = f"{window.word}, {moment(window.began_s)} to {moment(window.ended_s)}; then: {window.ended_by or 'not recorded'}"
        width = axis.width(window.began_s, ended_s)
        bands.append(tag("rect", tag("title", said), x=axis.x(window.began_s), width=width, y="3", height="20", class_="fault-on"))
        if (ended_s - window.began_s) / axis.end_s >= LEAST_FOR_WORDS:
            inside = tag("text", window.word[:LONGEST_WORD], x="4", y="14")
            bands.append(tag("svg", inside, x=axis.x(window.began_s), width=width, height="26", class_="fault-word"))
    says = f"{name} in {course.name}: on {len(windows)} times, {course.on_s(name):.1f} s in all; each time in the table of the data link"
    title = [tag("span", name), tag("span", f"{course.on_s(name):.1f} s on", class_="unit")]
    return charts.row(title, charts.plot(says, *bands), "lane")


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
    judged = [(r["what"], r["asked"], r["measured"], r["tolerance"] or "–", _within(bool(r["within"]))) for r in course.rows]
    spans = [
        (name, window.word, moment(window.began_s), moment(window.ended_s), window.ended_by or "–")
        for name, windows in course.by_program.items()
        for window in windows
    ]
    arrived = [(service, count, meanwhile) for service, (count, meanwhile) in course.services.items()]
    return [
        tag("h3", course.name),
        tag("div", [_bar(figure) for figure in course.figures], class_="panels") if course.figures else None,
        table(f"Asked and measured of the link of {course.name}", ("what", "asked", "measured", "tolerance", "within"), judged),
        tag("p", f"Of the light probe's {course.sent} packets {course.came} came to the far end.", class_="note"),
        table(f"Received from {course.name}", ("service", "receipts", "while nothing should pass"), arrived) if arrived else None,
        details(
            f"When something was on: {len(spans)}",
            table(f"What was on over the link of {course.name}", ("fault", "what was on", "from", "to", "then"), spans),
        )
        if spans
        else None,
        tag(
            "p",
            "By means of: ",
            [(", " if place else "", code(name), f": {needs}") for place, (name, needs) in enumerate(means(course))],
            class_="note",
        )
        if course.programs
        else None,
    ]


def _within(within: bool) -> Markup:
    return tag("span", "✓ yes", class_="held") if within else tag("strong", "✕ no", class_="not-held")


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
