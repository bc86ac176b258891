"""Heat in a file of its own, and in FINAL_REPORT.md; nothing of it in a run without any.

results/metrics/heat.json           per execution: temperatures, time at each clock, stage times, what was asked and measured
FINAL_REPORT.md, section 4.2        the same for people, with the courses drawn in characters (`section`)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runner.judgement.conclude import Conclusion
from runner.judgement.report.heat_courses import LEAST_GAP_S, HeatCourse, heat_courses
from runner.judgement.report.held_lines import asked_and_measured, when_on
from runner.judgement.report.markdown import link, table, words
from runner.judgement.timeline import Timeline
from runner.lab.folder import json_text

FILE = "results/journal/heat.jsonl"
COLUMNS = 60  # of a course that is drawn in characters
MAX_STAGES = 60  # of one execution in the report; heat.json has all
_BARS = "▁▂▃▄▅▆▇█"
_LETTERS = {"soft limit": "s", "throttled": "t", "capped": "c"}


def files(conclusion: Conclusion) -> dict[str, str]:
    courses = heat_courses(conclusion.evidence, Timeline(conclusion.evidence))
    return {"results/metrics/heat.json": json_text(measured(courses))} if courses else {}


def measured(courses: Sequence[HeatCourse]) -> dict[str, Any]:
    """Everything that was measured of heat, execution by execution."""
    return {"units": "°C, MHz, s of real time", "executions": {course.name: _measured(course) for course in courses}}


def _measured(course: HeatCourse) -> dict[str, Any]:
    return {
        **course.as_json(),
        "pace": course.pace,
        "ended": course.ended,
        **{key: dict(zip(("lowest", "highest"), course.span(key), strict=True)) for key in ("die_c", "board_c", "ambient_c")},
        "seconds_at_mhz": {f"{mhz:g}": round(seconds, 3) for mhz, seconds in course.at_each_clock()},
        "flags": [
            {"word": s.word, "began_s": round(s.began_s, 3), "ended_s": round(s.ended_s, 3), "least_mhz": s.least_mhz}
            for s in course.spells
        ],
        "stages": [
            {
                "stage": each.stage,
                "took_s": round(each.took_s, 3),
                "used_of_the_full_clock_s": round(each.used_s, 3),
                "without_heat_s": None if each.cool_s is None else round(each.cool_s, 3),
            }
            for each in course.stages
        ],
    }


# ---- FINAL_REPORT.md ------------------------------------------------------------------------------------------------------


def section(conclusion: Conclusion) -> list[str]:
    """What stands in section 4.2; [] for a run without heat."""
    courses = heat_courses(conclusion.evidence, Timeline(conclusion.evidence))
    if not courses:
        return []
    said = f"A model of the board, fed with the load that was measured, set the clock; {link(FILE)} has every tick of it, and the judge"
    lines = ["#### Heat", "", f"{said} has computed each again. The courses are drawn in {link('report.html')}.", ""]
    for course in courses:
        lines += [f"##### {words(course.name)}", "", *when_on(course), *_drawn(course)]
        lines += [*asked_and_measured("of the heat", course.rows), *_stages(course)]
    return lines


def _drawn(course: HeatCourse) -> list[str]:
    """Temperature, clock and flags over the time of the heat, one character for each sixtieth of it."""
    parts = _parts(course)
    figures = [
        ("die, °C", *course.span("die_c"), [max((t.die_c for t in part), default=None) for part in parts]),
        ("air, °C", *course.span("ambient_c"), [max((t.ambient_c for t in part), default=None) for part in parts]),
        ("clock, MHz", 0.0, course.full_mhz, [min((t.mhz for t in part if t.powered), default=None) for part in parts]),
    ]
    lines = [f"{name:11}{_short(low):>6} to {_short(high):<6}{_bars(values, low, high)}" for name, low, high, values in figures]
    began_s, ended_s = course.ticks[0][0], course.ticks[-1][0]
    lines.append(f"{'flags':27}{''.join(_flag(course, began_s, ended_s, place) for place in range(COLUMNS))}")
    legend = "In the flags t is throttled, c capped, s soft limit; where the clock has a gap there was no power."
    clocks = ", ".join(f"{seconds:.1f} s at {mhz:g} MHz" for mhz, seconds in course.at_each_clock())
    paced = "" if course.pace == 1 else f" {course.pace:g} s of the model in each real one."
    paced += f" For the first {course.waited_s:.1f} s the model stood still: until the pipeline began." if course.waited_s >= 1 else ""
    return ["```text", *lines, "```", "", f"{ended_s - began_s:.1f} s in all: {clocks}.{paced} {legend}", ""]


def _parts(course: HeatCourse) -> list[list[Any]]:
    began_s, ended_s = course.ticks[0][0], course.ticks[-1][0]
    parts: list[list[Any]] = [[] for _ in range(COLUMNS)]
    for at_s, tick in course.ticks:
        share = (at_s - began_s) / (ended_s - began_s) if ended_s > began_s else 0.0
        parts[min(COLUMNS - 1, int(share * COLUMNS))].append(tick)
    for place, part in enumerate(parts):
        if not part and (ended_s - began_s) / COLUMNS < LEAST_GAP_S:  # nobody looked in so short a time: it is as it was
            part += parts[place - 1][-1:]
    return parts


def _bars(values: list[float | None], low: float, high: float) -> str:
    size = (high - low) or 1.0
    return "".join(" " if value is None else _BARS[min(7, max(0, int((value - low) / size * 8)))] for value in values)


def _flag(course: HeatCourse, began_s: float, ended_s: float, place: int) -> str:
    """The slowest that was said in this part of the time."""
    from_s = began_s + (ended_s - began_s) * place / COLUMNS
    to_s = began_s + (ended_s - began_s) * (place + 1) / COLUMNS
    there = [spell for spell in course.spells if spell.began_s < to_s and spell.ended_s > from_s]
    return _LETTERS[min(there, key=lambda spell: spell.least_mhz).word] if there else "·"


def _short(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def _stages(course: HeatCourse) -> list[str]:
    """Each stage beside the run without heat."""
    rows = [
        (
            words(each.stage),
            f"{each.took_s:.2f}",
            "-" if each.cool_s is None else f"{each.cool_s:.2f}",
            "-" if not each.cool_s else f"{each.took_s / each.cool_s:.2f}",
            "-" if not each.cool_s else f"{100 * (each.used_s / each.cool_s - 1):+.0f} %",
        )
        for each in course.stages[:MAX_STAGES]
    ]
    more = (
        [f"{len(course.stages) - MAX_STAGES} more stages are in {link('results/metrics/heat.json')}.", ""]
        if course.stages[MAX_STAGES:]
        else []
    )
    head = ("stage", "took, s", "without heat, s", "times as long", "beyond what the clock explains")
    return [*table(head, rows), *more] if rows else []
