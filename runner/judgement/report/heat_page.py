"""Heat on the page: temperature, clock and flags on the common axis, and how long each stage took beside a run without heat.

    thermal-1   ▒▒▒▒▒▒▒▒▒▒▒        when it was on, and what air there was
    die         ╱‾‾‾‾‾‾╲___        °C of the model, as the sensors showed it
    clock       ‾╲___╱‾‾‾‾‾        MHz, by which the board really was slower
    flag          ▒▒▒▒▒▒           when it was set, and the lowest clock meanwhile; a row for each

    stage   ──────█│▒▒▒            bar: took; line: without heat; band: up to what the clock explains

A page without heat has none of this, and no style of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runner.judgement.report import charts, held_page
from runner.judgement.report.charts import Axis, moment, percent
from runner.judgement.report.heat_courses import LIMIT, SHORTEST_S, HeatCourse, StageTime
from runner.judgement.report.markup import MAX_ROWS, Child, Markup, details, table, tag

MAX_BARS = 120  # of stages; the table has more


def rows(axis: Axis, courses: Sequence[HeatCourse], numbered_from: int) -> Iterator[Markup]:
    """Each execution's heat on the time axis. Series are numbered, because the page finds them so."""
    count = numbered_from
    for course in courses:
        yield from held_page.program_rows(axis, course)
        steps = [(at_c, f"{at_c:g} °C: {mhz:g} MHz") for at_c, mhz, _ in course.steps]
        for one in course.series():
            yield charts.series_row(count, one, steps if one.name == f"{course.name} heat.die" else ())
            count += 1
        yield from _flag_rows(axis, course)


def tables(axis: Axis, courses: Sequence[HeatCourse]) -> Markup | None:
    """The same lines as tables."""
    found = [charts.series_table(axis, one) for course in courses for one in course.series()]
    return details("Heat as tables", found) if found else None


def _flag_rows(axis: Axis, course: HeatCourse) -> Iterator[Markup]:
    """A row for each flag that was ever set, with a band for each time."""
    for word in dict.fromkeys(spell.word for spell in course.spells):
        mine = [spell for spell in course.spells if spell.word == word]
        bands = [
            tag(
                "rect",
                tag("title", f"{word}, {moment(spell.began_s)} to {moment(spell.ended_s)}, down to {spell.least_mhz:g} MHz"),
                x=axis.x(spell.began_s),
                width=axis.width(spell.began_s, spell.ended_s),
                y="6",
                height="12",
                class_="hot",
            )
            for spell in mine[:MAX_ROWS]
        ]
        whole_s, least_mhz = sum(spell.ended_s - spell.began_s for spell in mine), min(spell.least_mhz for spell in mine)
        says = f"the flag {word!r} in {course.name}: {len(mine)} times, {whole_s:.1f} s in all; each time in the table of flags"
        title = [tag("span", f"{course.name}: {word}"), tag("span", f"{whole_s:.1f} s, down to {least_mhz:g} MHz", class_="unit")]
        yield charts.row(title, charts.plot(says, *bands), "lane")


def section(courses: Sequence[HeatCourse]) -> Child:
    """Asked against measured, execution by execution, and how long the stages took."""
    return [_of_execution(course) for course in courses]


def _of_execution(course: HeatCourse) -> Child:
    spells = [(s.word, moment(s.began_s), moment(s.ended_s), f"{s.least_mhz:g}") for s in course.spells]
    low, high = course.span("die_c")
    paced = "" if course.pace == 1 else f" The model ran {course.pace:g} seconds in each real one; all times here are real ones."
    paced += f" For the first {course.waited_s:.1f} s it stood still: until the pipeline began." if course.waited_s >= 1 else ""
    clocks = ", ".join(f"{seconds:.1f} s at {mhz:g} MHz" for mhz, seconds in course.at_each_clock())
    compared = [each for each in course.stages if each.cool_s is not None]
    return [
        tag("h3", course.name),
        tag("p", f"The die was between {low:.1f} and {high:.1f} °C: {clocks}.{paced}"),
        held_page.asked_and_measured(f"Asked and measured of the heat of {course.name}", course.rows),
        _stage_bars(compared[:MAX_BARS]) if compared else None,
        _stage_table(course) if course.stages else None,
        details(
            f"When a flag was set: {len(spells)}",
            table(f"Flags of {course.name}", ("flag", "from", "to", "lowest clock, MHz"), spells),
        )
        if spells
        else None,
        held_page.when_on(course),
    ]


def _stage_table(course: HeatCourse) -> Markup:
    head = ("stage", "took, s", "without heat, s", "times as long", "of the full clock, s", "beyond what the clock explains")
    cells = [
        (
            each.stage,
            f"{each.took_s:.2f}",
            "–" if each.cool_s is None else f"{each.cool_s:.2f}",
            "–" if not each.cool_s else f"{each.took_s / each.cool_s:.2f}",
            f"{each.used_s:.2f}",
            "–" if not each.cool_s else f"{100 * (each.used_s / each.cool_s - 1):+.0f} %",
        )
        for each in course.stages
    ]
    return details(f"{len(cells)} stages beside a run without heat", table(f"Stage times of {course.name}", head, cells))


def _stage_bars(stages: list[StageTime]) -> Child:
    """One figure for all stages of an execution, in their order: what each took, and what it would have without heat."""
    most = max(each.limit for each in stages)
    top = 1.05 * max([each.limit * (each.explained_s or 0.0) for each in stages] + [each.took_s for each in stages])
    return [
        tag(
            "p",
            "Each bar is as long as a stage took, its upright line where it would have ended without heat; pale is what its clock "
            f"explains, and up to {most - 1:.0%} more{_why(most)}. "
            f"What takes less than {SHORTEST_S:g} s without heat is too short to be told longer than its clock explains.",
            class_="note",
        ),
        tag("div", [_bar(each, top) for each in stages], class_="panels"),
    ]


def _why(limit: float) -> str:
    return "" if limit < 1.1 * LIMIT else f", because the machine's own work took up to {limit / LIMIT:.1f} times as long meanwhile"


def _bar(each: StageTime, top: float) -> Markup:
    cool_s, explained_s = each.cool_s or 0.0, each.explained_s or 0.0
    says = f"{each.stage}: took {each.took_s:.2f} s, {cool_s:.2f} s without heat, {explained_s:.2f} s by its clock"
    more = percent((each.limit - 1) * explained_s / top)
    shapes = [
        tag("rect", x=percent(explained_s / top), width=more, y="2", height="16", class_="explained"),
        tag("rect", width=percent(each.took_s / top), y="5", height="10", class_="over" if each.longer else "took"),
        tag("line", x1=percent(cool_s / top), x2=percent(cool_s / top), y1="0", y2="20", class_="cool"),
    ]
    plot = tag("svg", tag("title", says), tag("desc", "The same stands in the table below."), shapes, class_="stage-time", role="img")
    sign = " ✕ longer than its clock explains" if each.longer else ", beside the device's own timing" if each.timed else ""
    caption = [tag("strong", each.stage), " ", tag("span", f"{each.took_s:.2f} s, without heat {cool_s:.2f} s{sign}", class_="unit")]
    return tag("figure", tag("figcaption", caption), plot)
