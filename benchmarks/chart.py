"""The results as one picture: for each case, how many times as long as ours everybody took, on one logarithmic scale.

    `true` on 100 servers          ¼    ½    1    2    4    8   16
    ssh, curve25519                          ▇▇▇▇▏                     to the right of 1: slower than ours
    missing: pip could not …                 (said in words where a bar would be)

An SVG of text and rectangles; it is light or dark as the page it stands on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from benchmarks.page import figure
from benchmarks.values import Result

WIDTH, LABEL, LINE, HEAD, MARGIN = 860, 270, 18, 34, 14
LOWEST, HIGHEST = 1 / 16, 32.0
STYLE = """
  text { font: 12px system-ui, 'DejaVu Sans', sans-serif; fill: #24292f }
  .title { font-weight: 600 } .soft { fill: #57606a } .end { text-anchor: end } .middle { text-anchor: middle }
  .grid { stroke: #d0d7de } .one { stroke: #57606a; stroke-width: 1.5 } .slower { fill: #2f81c7 } .faster { fill: #c77c2f }
  @media (prefers-color-scheme: dark) {
    text { fill: #e1e5e8 } .soft { fill: #9aa5af } .grid { stroke: #373e47 } .one { stroke: #9aa5af }
    .slower { fill: #5aa9ea } .faster { fill: #e3a35b }
  }
"""


def across(ratio: float) -> float:
    """Where a ratio stands, in pixels from the left; what is off the scale stands at its end."""
    span = math.log2(HIGHEST / LOWEST)
    return LABEL + (WIDTH - LABEL - 60) * math.log2(min(max(ratio, LOWEST), HIGHEST) / LOWEST) / span


def svg(results: Sequence[Result]) -> str:
    """The picture: cases that have somebody to compare with, in their order."""
    body: list[str] = []
    y = MARGIN
    for result in (result for result in results if len(result.rows) > 1):
        y += HEAD
        body.append(f'  <text class="title" x="{MARGIN}" y="{y - 8}">{escape(result.title)}</text>')
        top = y
        for row in result.rows[1:]:
            middle = y + LINE - 5
            body.append(f'  <text class="end" x="{LABEL - 8}" y="{middle}">{escape(row.name)}</text>')
            body += _bar(result.ratio(row), row.why_not, y, middle)
            y += LINE
        body[-1:] = [body[-1], *_grid(top, y)]
    scale = [f'  <text class="soft middle" x="{across(r):.0f}" y="{MARGIN + 10}">{_times(r)}</text>' for r in _marks()]
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + MARGIN}" viewBox="0 0 {WIDTH} {y + MARGIN}" role="img">',
        "  <title>How many times as long as runner others took, in one run; right of 1 is slower than runner</title>",
        f"  <style>{STYLE}  </style>",
    ]
    return "\n".join([*head, *scale, *body, "</svg>", ""])


def _bar(ratio: float | None, why_not: str, y: float, middle: float) -> list[str]:
    if ratio is None:
        return [f'  <text class="soft" x="{across(1) + 6:.0f}" y="{middle}">{escape(why_not or "not measured")}</text>']
    left, right = sorted((across(1), across(ratio)))
    kind = "slower" if ratio >= 1 else "faster"
    return [
        f'  <rect class="{kind}" x="{left:.1f}" y="{y + 3}" width="{max(1.0, right - left):.1f}" height="{LINE - 6}" rx="2"/>',
        f'  <text class="soft" x="{max(right, across(1)) + 6:.0f}" y="{middle}">{figure(ratio)}</text>',
    ]


def _grid(top: float, bottom: float) -> list[str]:
    return [
        f'  <line class="{"one" if r == 1 else "grid"}" x1="{across(r):.1f}" x2="{across(r):.1f}" y1="{top}" y2="{bottom}" opacity="0.6"/>'
        for r in _marks()
    ]


def _marks() -> list[float]:
    return [2.0**power for power in range(round(math.log2(LOWEST)), round(math.log2(HIGHEST)) + 1)]


def _times(ratio: float) -> str:
    return f"{ratio:g}×" if ratio >= 1 else f"1/{1 / ratio:g}"
