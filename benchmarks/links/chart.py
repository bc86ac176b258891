"""The results as one picture: a line for each profile; what was asked is an upright stroke in its tolerance, what was measured a mark.

                     kbit/s (log)            round trip (log)        lost
    gprs             ░▲│░  ░▼│░                 ░●│░               │          reached
    flapping         nothing passes: 73 of 73 lost, 100 %                     reached
                     ▲ up  ▼ down  ● there and back    a mark outside of its tolerance is a cross, and said in words

An SVG of text and simple shapes; it is light or dark as the page it stands on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from benchmarks.links.kept import Kept
from runner.judgement import side_by_side
from runner.judgement.report.link_courses import Asked, figures

MARGIN, LINE, HEAD = 14, 24, 56
NAME, PLOT, GAP, WORDS = 142, 226, 36, 250
WIDTH = MARGIN + NAME + 3 * (PLOT + GAP) + WORDS
STYLE = """
  text { font: 12px system-ui, 'DejaVu Sans', sans-serif; fill: #24292f }
  .title { font-weight: 600 } .soft { fill: #57606a; font-size: 11px } .end { text-anchor: end } .middle { text-anchor: middle }
  .grid { stroke: #d0d7de } .band { fill: #8fb8de; opacity: 0.4 } .asked { stroke: #24292f; stroke-width: 2 }
  .found { fill: #2f81c7 } .outside { stroke: #b35900; stroke-width: 2.5; fill: none } .line { fill: #57606a; opacity: 0.06 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e1e5e8 } .soft { fill: #9aa5af } .grid { stroke: #373e47 } .band { fill: #3d6a94; opacity: 0.6 }
    .asked { stroke: #e1e5e8 } .found { fill: #5aa9ea } .outside { stroke: #e3a35b } .line { fill: #9aa5af; opacity: 0.08 }
  }
"""


class Scale(NamedTuple):
    """One of the three plots: from what to what, and where it begins."""

    title: str
    lowest: float
    highest: float
    marks: tuple[tuple[float, str], ...]
    left: float
    logarithmic: bool = True

    def x(self, value: float) -> float:
        """In pixels; what is off the scale stands at its end."""
        held = min(max(value, self.lowest), self.highest)
        if self.logarithmic:
            share = math.log(held / self.lowest) / math.log(self.highest / self.lowest)
        else:
            share = (held - self.lowest) / (self.highest - self.lowest)
        return self.left + PLOT * share


def _left(number: int) -> float:
    return MARGIN + NAME + number * (PLOT + GAP)


RATE = Scale("rate, kbit/s", 0.1, 10_000, ((0.1, "0.1"), (1, "1"), (10, "10"), (100, "100"), (1e3, "1 000"), (1e4, "10 000")), _left(0))
TRIP = Scale(
    "round trip, median", 1, 100_000, ((1, "1 ms"), (10, "10"), (100, "100"), (1e3, "1 s"), (1e4, "10"), (1e5, "100")),
    _left(1),
)  # fmt: skip
LOSS = Scale("lost, %", 0, 100, tuple((each, f"{each:g}") for each in (0.0, 25.0, 50.0, 75.0, 100.0)), _left(2), logarithmic=False)


def svg(results: Sequence[Kept]) -> str:
    """The picture: every profile that was tried, in the order given."""
    shown = [each for each in results if not each.why]
    height = HEAD + LINE * len(shown) + MARGIN
    count = sum(each.reached for each in shown)
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"  <title>Asked against measured for {len(shown)} link profiles; {count} of them reached</title>",
        "  <desc>Figures stand in the table of the page. A stroke is what was asked, the pale band its tolerance, a mark what was "
        "measured: a triangle up or down for a direction, a dot for both, a cross where it is outside of the tolerance.</desc>",
        f"  <style>{STYLE}  </style>",
    ]
    body = [line for place, each in enumerate(shown) for line in _profile(each, HEAD + LINE * place, place)]
    return "\n".join([*head, *_scales(height - MARGIN), *body, "</svg>", ""])


def _scales(bottom: float) -> Iterator[str]:
    yield f'  <text class="title" x="{MARGIN}" y="{MARGIN + 8}">profile</text>'
    for scale in (RATE, TRIP, LOSS):
        yield f'  <text class="title" x="{scale.left}" y="{MARGIN + 8}">{scale.title}</text>'
        for value, word in scale.marks:
            x = f"{scale.x(value):.1f}"
            yield f'  <text class="soft middle" x="{x}" y="{HEAD - 16}">{word}</text>'
            yield f'  <line class="grid" x1="{x}" x2="{x}" y1="{HEAD - 10}" y2="{bottom}"/>'
    said = "│ asked · ▲ up ▼ down ● both · × outside"
    yield f'  <text class="soft" x="{LOSS.left + PLOT + GAP}" y="{MARGIN + 8}">{said}</text>'


def _profile(each: Kept, y: float, place: int) -> Iterator[str]:
    middle = y + LINE / 2
    if place % 2 == 0:
        yield f'  <rect class="line" x="0" width="{WIDTH}" y="{y}" height="{LINE}"/>'
    said = "; ".join(side_by_side.said(row) for row in each.rows) or "nothing was measured"
    yield f"  <g><title>{escape(f'{each.name}: {said}')}</title>"
    yield f'  <text x="{MARGIN}" y="{middle + 4}">{escape(each.name)}</text>'
    drawn = list(figures(each.links, each.during, each.rows))
    for figure in drawn:
        yield from _drawn(figure, middle)
    if not drawn:
        words = "; ".join(f"{row['asked']}: {row['measured']}" for row in each.rows) or "nothing was measured"
        yield f'  <text class="soft" x="{RATE.left}" y="{middle + 4}">{escape(_short(words, 118))}</text>'
    yield f'  <text class="soft" x="{LOSS.left + PLOT + GAP}" y="{middle + 4}">{escape(_short(each.verdict, 40))}</text></g>'


def _drawn(figure: Asked, middle: float) -> Iterator[str]:
    """Of two directions the way up has the upper half of the line, and the way down the lower one."""
    scale = TRIP if figure.unit == "ms" else LOSS if figure.unit == "%" else RATE
    way = figure.what.rpartition(" ")[2]
    top, height = {"up": (middle - 9, 9), "down": (middle, 9)}.get(way, (middle - 7, 14))
    if figure.tolerance is not None:
        low, high = map(scale.x, figure.tolerance)
        yield f'  <rect class="band" x="{low:.1f}" width="{max(high - low, 0):.1f}" y="{top}" height="{height}"/>'
    for asked in sorted({figure.low, figure.high}):
        yield f'  <line class="asked" x1="{scale.x(asked):.1f}" x2="{scale.x(asked):.1f}" y1="{top}" y2="{top + height}"/>'
    if figure.measured is None:
        return
    x, y = scale.x(figure.measured), top + height / 2
    if not figure.within:
        yield f'  <path class="outside" d="M{x - 3.5:.1f} {y - 3.5}l7 7m0 -7l-7 7"/>'
    elif way in ("up", "down"):
        tip = -3.5 if way == "up" else 3.5
        yield f'  <path class="found" d="M{x - 4:.1f} {y - tip}h8l-4 {2 * tip}z"/>'
    else:
        yield f'  <circle class="found" cx="{x:.1f}" cy="{y}" r="4"/>'


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
