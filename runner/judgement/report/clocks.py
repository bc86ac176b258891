"""One restart clock as a drawing: a bar for each cut against the limit, the host's own wait hatched on top of it.

- - - - - - - - - limit 5 s        What is judged is the solid part. A bar that goes over the limit is hatched in the
  ▒▒        ▒▒                     colour of failure, and its title says "too late"; a dash is a moment never reached.
  ██   –    ██
"""

from __future__ import annotations

from typing import NamedTuple

from runner.judgement.report.charts import percent, short
from runner.judgement.report.markup import Markup, tag

MAX_FIGURES = 12  # restarts up to which each bar says its seconds


class Bar(NamedTuple):
    hold: str
    took_s: float | None  # None: that moment was never reached
    wait_s: float  # of that the host's wait, which is not judged

    @property
    def own_s(self) -> float:
        return max(0.0, (self.took_s or 0.0) - self.wait_s)


def clock_panel(title: str, limit: str, limit_s: float | None, bars: list[Bar]) -> Markup:
    """The clock of every cut; `limit_s` is None where nothing is judged."""
    known = [bar.took_s for bar in bars if bar.took_s is not None]
    top_s = 1.2 * max([*known, limit_s or 0.0, 1e-3])
    shapes = [_bar(bar, index, len(bars), top_s, limit_s) for index, bar in enumerate(bars)]
    said = f"slowest {max(known):.2f} s" if known else "never reached"
    if limit_s is not None:
        said += f", {sum(bar.own_s > limit_s for bar in bars)} over the limit"
        y = percent(1 - limit_s / top_s)
        mark = tag("text", f"limit {limit_s:g} s", x="100%", y=y, dy="-4", text_anchor="end")
        shapes += [[tag("line", x2="100%", y1=y, y2=y, class_="limit"), mark]]
    plot = tag("svg", tag("title", f"{title}: {said}; figures in the table of cuts"), shapes, class_="bars", role="img")
    return tag("figure", tag("figcaption", tag("strong", title), " ", tag("span", f"{limit} · {said}", class_="unit")), plot)


def _bar(bar: Bar, index: int, bars: int, top_s: float, limit_s: float | None) -> list[Markup]:
    middle = percent((index + 0.5) / bars)
    if bar.took_s is None:
        return [tag("text", tag("title", f"{bar.hold}: not reached"), "–", x=middle, y="97%", text_anchor="middle")]
    over = limit_s is not None and bar.own_s > limit_s
    waited = f", of that {bar.wait_s:.2f} s host wait" if bar.wait_s else ""
    note = tag("title", f"{bar.hold}: {bar.took_s:.2f} s{waited}{', too late' if over else ''}")
    parts = [(bar.own_s, bar.own_s, "over" if over else "took"), (bar.took_s, bar.took_s - bar.own_s, "wait")]
    x, width = percent((index + 0.14) / bars), percent(0.72 / bars)
    shapes = [
        tag("rect", note, x=x, width=width, y=percent(1 - upto_s / top_s), height=percent(height_s / top_s), class_=class_)
        for upto_s, height_s, class_ in parts
        if height_s > 0
    ]
    if bars <= MAX_FIGURES:
        shapes.append(tag("text", short(bar.took_s), x=middle, y=percent(1 - bar.took_s / top_s), dy="-4", text_anchor="middle"))
    return shapes
