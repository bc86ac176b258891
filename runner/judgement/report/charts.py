"""Everything over time, on one axis: power, telemetry, and each execution's stages, as inline SVG.

    power     ▐▒▒██████████▌▒▒████████████     every row is a name beside a plot; every plot is as wide as the
    CPU busy  ╱╲__╱╲       ·╱╲__╱╲             others and goes from 0 to the end of the run; every cut is one
    ingest    ████         ◇                   line through all of them (drawn once, in `<g id="cuts">`)

Places are percentages of the plot, so text keeps its size at any width. Colour never tells a thing alone: what was
killed is hatched, what went over a limit says so in words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from runner.judgement.report.bodies import Body, Course
from runner.judgement.report.markup import MAX_ROWS, Child, Markup, details, join, table, tag
from runner.judgement.report.series import COLUMNS, SLICES, Series, Telemetry
from runner.judgement.timeline import Timeline

HEIGHT = 100  # of a telemetry plot, in the units of its path
MAX_STAGE_ROWS = 120  # beyond these, an execution's stages share its row
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)


class Axis:
    """Seconds since the run began, as percentages of a plot."""

    def __init__(self, end_s: float) -> None:
        self.end_s = max(end_s, 1e-3)

    def x(self, at_s: float) -> str:
        return percent(at_s / self.end_s)

    def width(self, from_s: float, to_s: float) -> str:
        return percent((min(to_s, self.end_s) - max(from_s, 0.0)) / self.end_s)

    def ticks(self) -> list[float]:
        """Round moments, at most nine of them."""
        step_s = next((step_s for step_s in _STEPS_S if self.end_s / step_s <= 8), 86400 * math.ceil(self.end_s / 86400 / 8))
        return [number * step_s for number in range(int(self.end_s / step_s) + 1)]


def short(value: float) -> str:
    """Three digits, and no exponent."""
    if 0 < abs(value) < 0.001:
        return "<0.001" if value > 0 else ">-0.001"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percent(share: float) -> str:
    return f"{100 * min(1.0, max(0.0, share)):.3f}".rstrip("0").rstrip(".") + "%"


def moment(at_s: float | None) -> str:
    """A moment of the run as people say it: seconds, or hours, minutes and seconds."""
    if at_s is None:
        return "–"
    if at_s < 300:
        return f"{at_s:.2f} s"
    minutes, seconds = divmod(round(at_s), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def _tick(at_s: float, end_s: float) -> str:
    return (
        f"{at_s:g} s"
        if end_s < 300
        else f"{int(at_s) // 3600}:{int(at_s) // 60 % 60:02}" + (f":{int(at_s) % 60:02}" if end_s < 3600 else "")
    )


def shared(axis: Axis, cuts: list[tuple[float, str]]) -> Markup:
    """What every plot draws by reference: the grid, and a line for every cut at (seconds, hold)."""
    grid = [tag("line", x1=axis.x(at_s), x2=axis.x(at_s), y2="100%") for at_s in axis.ticks()]
    lines = [
        tag("line", tag("title", f"cut {hold}, {moment(at_s)}"), x1=axis.x(at_s), x2=axis.x(at_s), y2="100%", data_cut=hold)
        for at_s, hold in cuts
    ]
    hatches = [_hatch(name) for name in ("hatch", "hatch-soft")]
    defined = tag("defs", hatches, tag("g", grid, id="grid"), tag("g", lines, id="cuts"))
    return tag("svg", defined, class_="defs", width="0", height="0", aria_hidden="true")


def _hatch(name: str) -> Markup:
    return tag("pattern", tag("path", d="M0 5L5 0"), id=name, width="5", height="5", patternUnits="userSpaceOnUse")


def row(name: Child, plot: Markup, class_: str = "", **data: Any) -> Markup:
    return tag("div", tag("div", name, class_="name"), plot, class_=f"row {class_}".rstrip(), **data)


def plot(says: str, *shapes: Child, description: str = "") -> Markup:
    """Shapes between the grid and the lines of the cuts; what it `says` stands for all of it to those who do not see it."""
    inside = (tag("use", href="#grid", class_="grid"), *shapes, tag("use", href="#cuts", class_="cuts"))
    return tag("svg", tag("title", says), tag("desc", description) if description else None, inside, class_="plot", role="img")


def axis_row(axis: Axis, cuts: list[tuple[float, str]], *, numbers: bool) -> Markup:
    """The scale; above the first plot also the numbers of the cuts, as many as there is room for."""
    labels: list[Markup] = []
    for at_s in axis.ticks():
        share = at_s / axis.end_s
        anchor = "start" if share < 0.03 else "end" if share > 0.97 else "middle"
        labels.append(tag("text", _tick(at_s, axis.end_s), x=axis.x(at_s), y="11", text_anchor=anchor))
    last = -1.0
    for number, (at_s, hold) in enumerate(cuts if numbers else [], start=1):
        if at_s / axis.end_s - last > 0.03:
            last = at_s / axis.end_s
            says = tag("title", f"cut {number}: {hold}, {moment(at_s)}")
            labels.append(tag("text", says, number, x=axis.x(at_s), y="25", text_anchor="middle", class_="number"))
    name = tag("span", "cut number", class_="number") if numbers and cuts else None
    return row(name, tag("svg", labels, class_="plot", aria_hidden="true"), "axis with-numbers" if name else "axis")


def power_row(axis: Axis, timeline: Timeline, cut_rows: list[dict[str, Any]], *, power_loss: bool) -> Markup:
    """On and off, and after each cut the three clocks: boot, state restored, running again."""
    shapes: list[Markup] = []
    on_s: float | None = None
    for at_s, on, _ in [*timeline.power, (timeline.end_s, False, "")]:
        if on_s is not None and not on:
            shapes.append(tag("rect", x=axis.x(on_s), width=axis.width(on_s, at_s), y="4", height="16", class_="on"))
        on_s = at_s if on else None
    back = {change.hold: change.at_s for change in timeline.power if change.on and change.hold}
    for cut in cut_rows:
        from_s = back.get(cut["hold"])
        if from_s is None or cut["board_boot_s"] is None:
            continue
        started_s = from_s + cut["board_boot_s"]
        phases = [("boot", from_s, started_s, "board boot")]
        if cut["running_again_s"] is not None:
            phases.append(("resume", started_s, started_s + cut["running_again_s"], "until running again"))
        if cut["restored_s"] is not None:
            phases.append(("restore", started_s, started_s + cut["restored_s"], "until the state was restored"))
        for class_, start_s, stop_s, says in phases:
            note = tag("title", f"{cut['hold']}: {says}, {stop_s - start_s:.2f} s")
            shapes.append(tag("rect", note, x=axis.x(start_s), width=axis.width(start_s, stop_s), y="4", height="16", class_=class_))
    name = "Power" if power_loss else "Supervisor process"
    cuts = sum(not change.on and bool(change.hold) for change in timeline.power)
    return row(name, plot(f"{name} over the run: {cuts} cuts, each followed by a restart; figures in the table of cuts", *shapes), "lane")


def sample_row(axis: Axis, found: Telemetry) -> Markup:
    """Where there is telemetry at all: every gap is a gap here, however short."""
    shapes = [tag("rect", x=axis.x(a), width=axis.width(a, b), y="5", height="4", class_="sampled") for a, b in found.present]
    gaps = [(before[1], after[0]) for before, after in pairwise(found.present)]
    shapes += [tag("rect", x=axis.x(a), width=axis.width(a, b), y="4", height="6", class_="gap") for a, b in gaps]
    says = f"{found.samples} samples in {len(found.present)} unbroken stretches"
    return row(join("Telemetry ", tag("span", f"{found.samples} samples", class_="unit")), plot(says, *shapes), "thin")


def series_row(number: int, one: Series, levels: Sequence[tuple[float, str]] = ()) -> Markup:
    """One series as a line, from its own scale's bottom to its top, and as a table for those who cannot see it. `levels` are values that
    mean something, each with its word: a line across, where the scale has it."""
    low, high = _scale(one)
    y = HEIGHT / (high - low)

    def stroke(stretch: list[Any]) -> str:
        points = [(column.at, round((high - value) * y)) for column in stretch for value in dict.fromkeys((column.first, column.then))]
        return "M" + " ".join(f"{x} {y}" for x, y in points) + ("h0" if len(points) == 1 else "")

    line = tag("path", d=Markup("".join(stroke(stretch) for stretch in one.stretches)), class_="line")
    place = {"y": "9%", "width": "100%", "height": "82%", "overflow": "visible"}
    stretched = tag("svg", line, viewBox=f"0 0 {COLUMNS} {HEIGHT}", preserveAspectRatio="none", **place)
    figures = f"lowest {one.lowest:,.2f}, mean {one.mean:,.2f}, highest {one.highest:,.2f} {one.unit}"
    says = f"{one.title}, {one.unit}" if one.unit else one.title
    span = dict.fromkeys((short(one.lowest), short(one.highest)))  # one figure of what never changes
    name = [tag("span", one.title), tag("span", f"{'–'.join(span)} {one.unit}", class_="unit"), tag("output")]
    marks = [tag("text", short(high), y="11", x="2", class_="mark"), tag("text", short(low), y="100%", dy="-3", x="2", class_="mark")]
    across = [_level(f"{9 + 82 * (high - value) / (high - low):.1f}%", says) for value, says in levels if low <= value <= high]
    drawn = plot(says, across, stretched, marks, description=f"{figures}; {len(one.stretches)} unbroken stretches")
    return row(name, drawn, "series", id=f"series-{number}", data_low=f"{low:.6g}", data_high=f"{high:.6g}", data_unit=one.unit)


def _level(y: str, says: str) -> Child:
    return tag("line", x2="100%", y1=y, y2=y, class_="level"), tag("text", says, x="100%", y=y, dx="-2", dy="-2", text_anchor="end")


def series_table(axis: Axis, one: Series) -> Markup:
    part_s = axis.end_s / SLICES
    rows = [
        (f"{moment(number * part_s)} – {moment((number + 1) * part_s)}", *_figures(part))
        for number, part in one.slices()
        if part is not None
    ]
    says = f"{one.title}{f' in {one.unit}' if one.unit else ''} ({one.name}); a time that is missing has no sample"
    return details(f"{one.title} as a table", table(says, ("time", "lowest", "mean", "highest", "values"), rows))


def _figures(part: Series) -> tuple[float, float, float, int]:
    return part.lowest, part.mean, part.highest, sum(column.values for column in part.columns)


def _scale(one: Series) -> tuple[float, float]:
    """From zero, or for what is below zero from the lowest, up to a round number; temperatures between those that five divides."""
    if one.unit == "%":
        return 0.0, 100.0
    low, high = one.lowest, one.highest
    if one.unit == "°C":
        bottom = 5.0 * math.floor(low / 5)
        return bottom, max(5.0 * math.ceil(high / 5), bottom + 5)
    if low == high == 0:
        return 0.0, 1.0
    size = 10 ** math.floor(math.log10(max(abs(low), abs(high))))
    top = next(size * step for step in (0, 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if size * step >= high)
    bottom = math.floor(low / size) * size if low < 0 else 0.0
    return bottom, top if top > bottom else bottom + size


def course_rows(axis: Axis, course: Course, *, with_stages: bool) -> Iterable[Markup]:
    """A row for the execution and its lives, then one for each stage; without these, everything in the one row."""
    name = course.execution.name
    lives = [
        tag(
            "rect",
            tag("title", f"life {life.number}"),
            x=axis.x(life.began_s),
            width=axis.width(life.began_s, life.ended_s),
            y="6",
            height="6",
        )
        for life in course.lives[:MAX_ROWS]
        if life.began_s is not None and life.ended_s is not None
    ]
    ending = str(course.execution.ended.get("ending", "never ended"))
    all_bodies = [] if with_stages else [_bar(axis, body) for body in course.bodies[:MAX_ROWS]]
    title = [tag("span", name), tag("span", f"{course.execution.scenario} · {ending}", class_="unit")]
    says = f"{name}: {len(course.lives)} lives, from {moment(course.began_s)} to {moment(course.ended_s)}, ended as {ending}"
    yield row(title, plot(says, tag("g", lives, class_="lives"), *all_bodies), "execution")
    for stage in course.stages if with_stages else []:
        mine = [body for body in course.bodies if body.stage == stage][:MAX_ROWS]
        replays = [life.began_s for life in course.lives if stage in life.replayed and life.began_s is not None]
        says = (
            f"{stage} in {name}: began {len(mine)} times, " + ", ".join(body.said for body in mine[:5]) + f"; replayed {len(replays)} times"
        )
        marks = [tag("text", tag("title", f"{stage}: replayed, not run again"), "◇", x=axis.x(at_s), y="12") for at_s in replays]
        bars = [_bar(axis, body) for body in mine]
        yield row(stage, plot(says, tag("g", marks, class_="replayed"), *bars), "stage")


def _bar(axis: Axis, body: Body) -> Markup | None:
    if body.began_s is None or body.ended_s is None:
        return None
    note = tag("title", f"{body.stage}, life {body.life}: {body.said}, {moment(body.began_s)} to {moment(body.ended_s)}")
    width = axis.width(body.began_s, body.ended_s)
    return tag("rect", note, x=axis.x(body.began_s), width=width, y="2", height="12", class_=f"body {body.ending}")
