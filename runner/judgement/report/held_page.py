"""What the page says alike of whatever the guard held.

    offline-1   ▒▒▒▒▒▒      ▒▒▒▒▒▒        when it was on; what it was stands in it, and in words in the table

Asked and measured as a table, each row with a word for whether it is within: never by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from runner.judgement.report import charts
from runner.judgement.report.charts import Axis, moment
from runner.judgement.report.held import Held, Row, Window
from runner.judgement.report.markup import MAX_ROWS, Child, Markup, details, table, tag

LEAST_FOR_WORDS = 0.07  # of the axis: a window that is narrower says its word on a pointer only
LONGEST_WORD = 120


def program_rows(axis: Axis, held: Held) -> Iterator[Markup]:
    """A row of bands for each program."""
    for name, windows in held.by_program.items():
        yield _program_row(axis, held, name, windows)


def _program_row(axis: Axis, held: Held, name: str, windows: list[Window]) -> Markup:
    bands: list[Child] = []
    for window in windows[:MAX_ROWS]:
        if window.began_s is None:
            continue
        ended_s = held.end_s if window.ended_s is None else window.ended_s
        said = f"{window.word}, {moment(window.began_s)} to {moment(window.ended_s)}; then: {window.ended_by or 'not recorded'}"
        width = axis.width(window.began_s, ended_s)
        bands.append(tag("rect", tag("title", said), x=axis.x(window.began_s), width=width, y="3", height="20", class_="fault-on"))
        if (ended_s - window.began_s) / axis.end_s >= LEAST_FOR_WORDS:
            inside = tag("text", window.word[:LONGEST_WORD], x="4", y="14")
            bands.append(tag("svg", inside, x=axis.x(window.began_s), width=width, height="26", class_="fault-word"))
    says = f"{name} in {held.name}: on {len(windows)} times, {held.on_s(name):.1f} s in all; each time in the table of what was on"
    title = [tag("span", name), tag("span", f"{held.on_s(name):.1f} s on", class_="unit")]
    return charts.row(title, charts.plot(says, *bands), "lane")


def when_on(held: Held) -> Markup | None:
    """The same as a table, folded away."""
    spans = [
        (name, window.word, moment(window.began_s), moment(window.ended_s), window.ended_by or "–")
        for name, windows in held.by_program.items()
        for window in windows
    ]
    head = ("fault", "what was on", "from", "to", "then")
    return details(f"When something was on: {len(spans)}", table(f"What was on in {held.name}", head, spans)) if spans else None


def asked_and_measured(caption: str, rows: list[Row]) -> Markup:
    judged = [(r["what"], r["asked"], r["measured"], r["tolerance"] or "–", _within(bool(r["within"]))) for r in rows]
    return table(caption, ("what", "asked", "measured", "tolerance", "within"), judged)


def _within(within: bool) -> Markup:
    return tag("span", "✓ yes", class_="held") if within else tag("strong", "✕ no", class_="not-held")
