"""What a fit of a board's heat looks like: YAML to paste, and one picture. Pure.

°C   ╭───╮      measured and model, one over the other
K    ╴╴╴╴╴╴     what is between the two
load ▁██▁       and the clock: what was done to the board
"""

from __future__ import annotations

from collections.abc import Sequence

from runner.judgement.report.markup import Markup, tag
from runner.judgement.thermal_fit import FIGURES, Fit

WIDTH, LEFT, RIGHT = 900, 60, 16
PANELS = (("°C", 48, 260), ("K", 342, 90), ("load, clock", 466, 70))  # name, top, height
INK, MODEL, QUIET = "#1b1f24", "#c2410c", "#64748b"


def as_yaml(fit: Fit, throttle_lines: Sequence[str]) -> str:
    """A section `thermal` for a file in devices/. `throttle_lines` are its last lines: from a type, or what is still to be said."""
    body = fit.body
    lines = ["thermal:", f"  # fitted to a recorded step response: {fit.rms_k:.2f} K rms, {fit.worst_k:.2f} K at worst"]
    for name in ("idle_w", *FIGURES, "exponent"):
        error = (
            f" # ± {100 * fit.errors[name]:.1f} %"
            if name in fit.errors
            else " # from power_w"
            if fit.rows[0].power_w is not None
            else " # held"
        )
        lines.append(f"  {name}: {getattr(body, name):.4g}{error}")
    return "\n".join([*lines, f"  full_mhz: {fit.full_mhz:g}", *throttle_lines])


def svg(fit: Fit, title: str) -> str:
    """A whole file: measured in ink, the model in orange, what is between them below, load and clock at the bottom."""
    times = [row.time_s for row in fit.rows]
    measured, model = [each[1] for each in fit.course], [each[2] for each in fit.course]
    apart = [b - a for a, b in zip(measured, model, strict=True)]
    low, high = min(measured + model), max(measured + model)
    bound = max(0.5, *(abs(value) for value in apart))
    (_, top, height), (_, apart_top, apart_height), (_, load_top, load_height) = PANELS
    end = load_top + load_height
    parts = [
        tag("title", title),
        tag("rect", width=str(WIDTH), height=str(end + 50), fill="#ffffff"),
        _text(title, LEFT, 22, size=15),
        *_panel("°C", top, height, (low, high)),
        _line(times, measured, (low, high), top, height, INK, "1.2"),
        _line(times, model, (low, high), top, height, MODEL, "1.6"),
        *_panel("model − measured, K", apart_top, apart_height, (-bound, bound)),
        _line(times, apart, (-bound, bound), apart_top, apart_height, MODEL, "1"),
        *_panel("load, and clock ÷ full (dashed)", load_top, load_height, (0.0, 1.0)),
        _line(times, [row.load for row in fit.rows], (0.0, 1.05), load_top, load_height, INK, "1.2"),
        _line(times, [row.mhz / fit.full_mhz for row in fit.rows], (0.0, 1.05), load_top, load_height, QUIET, "1.2", dashed=True),
        _text("0 s", LEFT, end + 18), _text(f"{times[-1] - times[0]:g} s", WIDTH - RIGHT, end + 18, anchor="end"),
        _text(f"ink: measured · orange: model · {fit.rms_k:.2f} K rms, {fit.worst_k:.2f} K at worst", LEFT, end + 40),
    ]  # fmt: skip
    words = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {WIDTH} {end + 50}", "font_family": "sans-serif", "role": "img"}
    return str(tag("svg", parts, **words)) + "\n"


def _panel(name: str, top: int, height: int, span: tuple[float, float]) -> list[Markup]:
    frame = tag("rect", x=str(LEFT), y=str(top), width=str(WIDTH - LEFT - RIGHT), height=str(height), fill="none", stroke="#cbd5e1")
    ends = [_text(f"{value:.3g}", LEFT - 6, y, anchor="end") for value, y in ((span[1], top + 10), (span[0], top + height))]
    return [frame, _text(name, LEFT, top - 4), *ends]


def _text(words: str, x: float, y: float, *, anchor: str = "start", size: int = 12) -> Markup:
    return tag("text", words, x=f"{x:g}", y=f"{y:g}", text_anchor=anchor, font_size=str(size), fill=INK)


def _line(
    times: Sequence[float], values: Sequence[float], span: tuple[float, float], top: int, height: int, colour: str, width: str, *,
    dashed: bool = False,
) -> Markup:  # fmt: skip
    wide, lasts_s, high = WIDTH - LEFT - RIGHT, times[-1] - times[0], max(1e-9, span[1] - span[0])
    places = (
        f"{LEFT + wide * (at_s - times[0]) / lasts_s:.1f} {top + height * (1 - (value - span[0]) / high):.1f}"
        for at_s, value in zip(times, values, strict=True)
    )
    drawn = Markup("M" + "L".join(places))  # numbers alone, and as long as they are
    return tag("path", d=drawn, fill="none", stroke=colour, stroke_width=width, stroke_dasharray="5 3" if dashed else None)
