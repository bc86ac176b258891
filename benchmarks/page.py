"""The results as Markdown: the goals first, then every case as a table; and into docs/performance.md, between its markers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.values import Goal, Judged, Result, Row, judge

BEGIN, END = "<!-- results -->", "<!-- /results -->"


def markdown(results: Sequence[Result], about: Mapping[str, Any]) -> str:
    """The whole generated part of the page."""
    return "\n".join(_lines(results, about))


def into(page: str, part: str) -> str:
    """`page` with `part` between its markers. Raises ValueError when a marker is not there exactly once."""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"the page needs {BEGIN} and {END}, once each")
    head, _, rest = page.partition(BEGIN)
    return f"{head}{BEGIN}\n{part}\n{END}{rest.partition(END)[2]}"


def _lines(results: Sequence[Result], about: Mapping[str, Any]) -> Iterator[str]:
    yield "| measured | |"
    yield "|---|---|"
    yield f"| on | {', '.join(f'{key} {value}' for key, value in about['machine'].items())} |"
    yield f"| with | {', '.join(f'{name} {version}' for name, version in sorted(about['versions'].items()))} |"
    quick = "; **a quick run, at most ten servers: to be made again**" if about["quick"] else ""
    yield f"| how | medians of {about['rounds']} rounds; short ones have more{quick} |"
    for name, apart in about.get("apart", {}).items():
        machine = f"load at the start {apart['machine'].get('load at the start', '?')}"
        with_ = "".join(f", {tool} {apart['versions'][tool]}" for tool in ("sz",) if tool in apart["versions"])
        yield f"| {name} | in a run of its own, medians of {apart['rounds']} rounds, {machine}{with_} |"
    yield ""
    yield "### Goals"
    yield ""
    yield "| what | goal | found | |"
    yield "|---|---|---|---|"
    for judged in (judged for result in results for judged in judge(result)):
        yield f"| {judged.result.title} | {goal_text(judged.goal, judged.result.unit)} | {_found(judged)} | {verdict(judged)} |"
    for what, goal, why in about["not_measured"]:
        yield f"| {what} | {goal} | {why} | not measured |"
    for result in results:
        yield ""
        yield f"### {result.title[0].upper()}{result.title[1:]}"
        yield ""
        if result.note:
            yield f"{result.note[0].upper()}{result.note[1:]}."
            yield ""
        yield f"| who | median, {result.unit} | lowest – highest | × ours |"
        yield "|---|---|---|---|"
        for row in result.rows:
            yield f"| {row.name} | {cells(result, row)} |"


def goal_text(goal: Goal, unit: str) -> str:
    return f"≤ {goal.at_most:g} × {goal.than}" if goal.than else f"≤ {goal.at_most:g} {unit}"


def verdict(judged: Judged) -> str:
    """A goal that could not be held against anything is neither met nor missed."""
    return {True: "met", False: "**not met**", None: "not measured"}[judged.met]


def _found(judged: Judged) -> str:
    if judged.found is None:
        row = judged.result.row(judged.goal.than) or judged.result.row(judged.goal.ours)
        return row.why_not if row and row.why_not else "-"
    return f"{figure(judged.found)} ×" if judged.goal.than else f"{figure(judged.found)} {judged.result.unit}"


def cells(result: Result, row: Row) -> str:
    """Median, spread and ratio; or why there are none, where the median would stand."""
    if row.median is None:
        return f"{row.why_not} | | "
    ratio = result.ratio(row)
    spread = f"{figure(min(row.samples))} – {figure(max(row.samples))}"
    return f"{figure(row.median)} | {spread} | {'' if ratio is None else figure(ratio)}"


def figure(value: float) -> str:
    """At least three significant digits, as people write them."""
    return f"{value:.0f}" if abs(value) >= 100 or not value else f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
