"""Figures of a board's heat from a recorded step response: the two-node model of `ondevice/heat.py`, fitted by least squares.

    time_s, temperature_c, load, mhz, ambient_c ──► Row, Row, … ──► the model over the same load, clock and air
                                                                       │ misses by so many kelvin
                               figures, their errors, warnings ◄── Levenberg-Marquardt: fewer, until it gets no better

A row's load, clock and air are what was between the row before and this one. Temperatures alone do not tell watts: a board with twice
the power, half the resistances and twice the capacities is as warm. So one figure is held: `idle_w`, or the recorded `power_w`.

Pure, and standard library only. What cannot be fitted is a Refusal: what was found, what is needed, where, and what to do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from runner.ondevice import heat

LEAST_ROWS, LEAST_S, LEAST_LOAD, LEAST_K = 30, 60.0, 0.3, 3.0  # what a step response has at least
MOST_ROWS = 800  # a longer recording is made coarser: its rows are joined
ASSUMED_IDLE_W = 3.0  # where nothing says how many watts it takes
UNSURE = 0.2  # a figure whose standard error is above this share of it is not known
FIGURES = ("die_j_k", "board_j_k", "die_to_board_k_w", "board_to_air_k_w", "busy_w")


class Row(NamedTuple):
    time_s: float
    temperature_c: float
    load: float
    mhz: float
    ambient_c: float
    power_w: float | None = None


class Refusal(Exception):
    """A recording that cannot be fitted. `row` counts from 0; None: all of it."""

    def __init__(self, found: str, expected: str, do: str = "", row: int | None = None) -> None:
        super().__init__(found)
        self.found, self.expected, self.do, self.row = found, expected, do, row


@dataclass(frozen=True)
class Fit:
    """What was found. `errors` are standard errors as shares of the figures; `course` is (time_s, measured, model) of each row used."""

    body: heat.Body
    full_mhz: float
    errors: dict[str, float]
    rms_k: float
    worst_k: float
    worst_at_s: float
    course: tuple[tuple[float, float, float], ...]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]


def fit(rows: Sequence[Row], like: heat.Body | None = None, full_mhz: float | None = None) -> Fit:
    """The body that misses `rows` by least. `like` gives what no recording tells: `idle_w`, and the exponent where the clock does not move.

    Raises Refusal for rows that hold no step response.
    """
    check(rows)
    used = joined(rows)
    full = full_mhz or max(row.mhz for row in rows)
    measured_w = used[0].power_w is not None
    idle_w = like.idle_w if like else ASSUMED_IDLE_W
    moves = _clock_moves(used, full)
    exponent, busy_w = like.exponent if like else 2.0, 0.0
    if measured_w:
        idle_w, busy_w, exponent = _powers(used, full, exponent, moves)
    names = [name for name in FIGURES if not (measured_w and name == "busy_w")] + (["exponent"] if moves and not measured_w else [])

    def body_at(point: Sequence[float]) -> heat.Body:
        said: dict[str, Any] = {name: math.exp(value) for name, value in zip(names, point, strict=False)}
        return heat.Body(**{"idle_w": idle_w, "exponent": exponent, "busy_w": busy_w, **said})

    def misses(point: Sequence[float]) -> list[float]:
        course = simulated(body_at(point), used, full, point[-2], point[-1])
        return [model - row.temperature_c for row, model in zip(used, course, strict=True)]

    best: tuple[float, list[float], list[list[float]]] | None = None
    for guess in _guesses(used, names, idle_w, busy_w if measured_w else None, exponent, like):
        found = _least(misses, guess)
        if best is None or found[0] < best[0]:
            best = found
    assert best
    total, point, normal = best
    rms_k = math.sqrt(total / len(used))
    errors = _errors(normal, total / max(1, len(used) - len(point)), names)
    body = body_at(point)
    course = tuple((row.time_s, row.temperature_c, row.temperature_c + miss) for row, miss in zip(used, misses(point), strict=True))
    worst = max(course, key=lambda each: abs(each[2] - each[1]))
    warnings = _warnings(used, body, errors, rms_k, moves, like, measured_w)
    return Fit(body, full, errors, rms_k, abs(worst[2] - worst[1]), worst[0], course, used, warnings)


def check(rows: Sequence[Row]) -> None:
    """Raises Refusal for what is no step response, or is in other units than it has to be."""
    if len(rows) < LEAST_ROWS:
        raise Refusal(f"{len(rows)} rows", f"at least {LEAST_ROWS}", "record a row each second, from idle, through load, and back")
    for number, (a, b) in enumerate(pairwise(rows), start=1):
        if b.time_s <= a.time_s:
            raise Refusal(
                f"time_s {b.time_s:g} after {a.time_s:g}", "each row later than the one before", "sort the rows by time_s", number
            )
    for number, row in enumerate(rows):
        _check_row(row, number)
    if len({row.power_w is None for row in rows}) > 1:
        raise Refusal("power_w in some rows only", "power_w in every row, or in none", "leave the column out")
    lasts_s = rows[-1].time_s - rows[0].time_s
    if lasts_s < LEAST_S:
        raise Refusal(
            f"{lasts_s:g} s", f"at least {LEAST_S:g} s", "record until the temperature rests under load: a quarter of an hour and more"
        )
    loads = [row.load for row in rows]
    if max(loads) - min(loads) < LEAST_LOAD:
        found = f"the load stays between {min(loads):.2f} and {max(loads):.2f}"
        raise Refusal(found, f"a step of at least {LEAST_LOAD}", "record idle, then all cores busy: the step is what tells the figures")
    warmth = [row.temperature_c - row.ambient_c for row in rows]
    if max(warmth) - min(warmth) < LEAST_K:
        found = f"the temperature above the air moves by {max(warmth) - min(warmth):.1f} K"
        raise Refusal(found, f"at least {LEAST_K:g} K", "load all cores, for longer; is temperature_c the die's?")
    if max(warmth) <= 0:
        raise Refusal("the board is never warmer than the air", "a die above its ambient_c", "is ambient_c the air around the board?")


def _check_row(row: Row, number: int) -> None:
    checks = (
        ("time_s", row.time_s, -1e12, 1e12, "seconds", ""),
        ("temperature_c", row.temperature_c, -100, 200, "°C", "sysfs has thousandths of a degree: divide by 1000"),
        ("load", row.load, 0, 1, "a share of all cores, 0 to 1", "percent: divide by 100; the load average is another thing"),
        ("mhz", row.mhz, 1, 20_000, "MHz", "sysfs has kHz: divide by 1000; vcgencmd has Hz: divide by 1000000"),
        ("ambient_c", row.ambient_c, -100, 100, "°C of the air", "measure the air a hand's breadth from the board"),
        ("power_w", 0.0 if row.power_w is None else row.power_w, 0, 10_000, "W", "milliwatts: divide by 1000"),
    )
    for name, value, least, most, expected, do in checks:
        if not (math.isfinite(value) and least <= value <= most):
            raise Refusal(f"{name} is {value:g}", f"{expected}, between {least:g} and {most:g}", do, number)


def joined(rows: Sequence[Row]) -> tuple[Row, ...]:
    """At most MOST_ROWS of them: what was between is a mean over its time, and a temperature is that of the last moment."""
    each = -(-len(rows) // MOST_ROWS)
    found = [rows[0]]
    for start in range(1, len(rows), each):
        group = rows[start : start + each]
        before = [rows[start - 1], *group]
        times = [b.time_s - a.time_s for a, b in pairwise(before)]

        def mean(values: Sequence[float], times: list[float] = times) -> float:
            return sum(value * time for value, time in zip(values, times, strict=True)) / sum(times)

        watts = None if group[0].power_w is None else mean([row.power_w or 0.0 for row in group])
        load, mhz, air = (mean([getattr(row, name) for row in group]) for name in ("load", "mhz", "ambient_c"))
        found.append(Row(group[-1].time_s, group[-1].temperature_c, load, mhz, air, watts))
    return tuple(found)


def simulated(body: heat.Body, rows: Sequence[Row], full_mhz: float, die_c: float, board_c: float) -> list[float]:
    """The die at each row, from these temperatures at the first one."""
    course = [die_c]
    for a, b in pairwise(rows):
        watts = heat.power_w(body, b.load, b.mhz / full_mhz) if b.power_w is None else b.power_w
        die_c, board_c = heat.later(body, die_c, board_c, watts, b.ambient_c, b.time_s - a.time_s)
        course.append(die_c)
    return course


def _clock_moves(rows: Sequence[Row], full_mhz: float) -> bool:
    """Whether some tenth of the busy time was at a clock that is a tenth lower than that of the rest: else no exponent can be told."""
    busy = sorted(row.mhz / full_mhz for row in rows if row.load > 0.5)
    return len(busy) >= 20 and busy[len(busy) // 10] < 0.9 * busy[-len(busy) // 10]


def _powers(rows: Sequence[Row], full_mhz: float, exponent: float, moves: bool) -> tuple[float, float, float]:
    """(idle_w, busy_w, exponent) of measured power: a straight line over load · ratio^exponent."""

    def line(power: float) -> tuple[float, float, float]:
        xs = [row.load * (row.mhz / full_mhz) ** power for row in rows[1:]]
        ys = [row.power_w or 0.0 for row in rows[1:]]
        x, y = sum(xs) / len(xs), sum(ys) / len(ys)
        slope = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / max(1e-12, sum((a - x) ** 2 for a in xs))
        return sum((y + slope * (a - x) - b) ** 2 for a, b in zip(xs, ys, strict=True)), max(0.0, y - slope * x), max(1e-3, slope)

    candidates = [number / 20 for number in range(81)] if moves else [exponent]
    chosen = min(candidates, key=lambda power: line(power)[0])
    _, idle_w, busy_w = line(chosen)
    return idle_w, busy_w, chosen


def _guesses(
    rows: Sequence[Row], names: Sequence[str], idle_w: float, busy_w: float | None, exponent: float, like: heat.Body | None
) -> list[list[float]]:
    """Where to begin: logarithms, and two temperatures at the end. From what the recording says at a glance, and from `like`."""
    warmth = [row.temperature_c - row.ambient_c for row in rows]
    cold, warm = max(0.5, min(warmth)), max(warmth)
    to_air = cold / max(idle_w, 0.1)
    busy = busy_w or max(0.2, idle_w * (warm / cold - 1))
    first = rows[0]
    found = []
    for share, fast_s, slow_s in ((0.4, 10, 300), (0.2, 4, 150), (0.6, 30, 900)):
        die_r, air_r = to_air * share, to_air * (1 - share)
        found.append(heat.Body(fast_s / die_r, slow_s / air_r, die_r, air_r, idle_w, busy, max(0.1, exponent)))
    found += [like] if like else []
    starts = []
    for body in found:
        share = body.board_to_air_k_w / (body.board_to_air_k_w + body.die_to_board_k_w)
        behind = first.ambient_c + (first.temperature_c - first.ambient_c) * share
        starts.append([*(math.log(max(1e-3, getattr(body, name))) for name in names), first.temperature_c, behind])
    return starts


def _least(misses: Callable[[Sequence[float]], list[float]], start: list[float]) -> tuple[float, list[float], list[list[float]]]:
    """Levenberg-Marquardt: (sum of squares, where, normal matrix there). Each step is one that gets better, or none."""
    point, damping = list(start), 1e-2
    now = misses(point)
    total = sum(miss * miss for miss in now)
    normal, slope = _normal(misses, point, now)
    for _ in range(60):
        step = _solved(
            [[value + (damping * value + 1e-12 if i == j else 0) for j, value in enumerate(line)] for i, line in enumerate(normal)], slope
        )
        tried = [a - max(-1.0, min(1.0, b)) if i < len(point) - 2 else a - b for i, (a, b) in enumerate(zip(point, step, strict=True))]
        then = misses(tried) if all(abs(value) < 25 for value in tried[:-2]) else [math.inf]
        better = sum(miss * miss for miss in then)
        if not better < total:
            damping *= 8
            if damping > 1e10:
                break
            continue
        small = total - better < 1e-7 * total + 1e-12
        point, now, total, damping = tried, then, better, max(1e-9, damping / 6)
        normal, slope = _normal(misses, point, now)
        if small:
            break
    return total, point, normal


def _normal(
    misses: Callable[[Sequence[float]], list[float]], point: list[float], now: list[float]
) -> tuple[list[list[float]], list[float]]:
    """JᵀJ and Jᵀr, by differences."""
    columns = []
    for number in range(len(point)):
        nudge = 1e-4 if number < len(point) - 2 else 1e-2
        moved = misses([value + nudge * (i == number) for i, value in enumerate(point)])
        columns.append([(b - a) / nudge for a, b in zip(now, moved, strict=True)])
    normal = [[math.fsum(a * b for a, b in zip(x, y, strict=True)) for y in columns] for x in columns]
    return normal, [math.fsum(a * b for a, b in zip(x, now, strict=True)) for x in columns]


def _solved(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Gauss with pivots. What a matrix does not determine is 0."""
    lines = [[*line, value] for line, value in zip(matrix, right, strict=True)]
    size = len(lines)
    for column in range(size):
        pivot = max(range(column, size), key=lambda number: abs(lines[number][column]))
        lines[column], lines[pivot] = lines[pivot], lines[column]
        if abs(lines[column][column]) < 1e-300:
            continue
        for number in range(size):
            if number != column:
                factor = lines[number][column] / lines[column][column]
                lines[number] = [a - factor * b for a, b in zip(lines[number], lines[column], strict=True)]
    return [line[size] / line[number] if abs(line[number]) >= 1e-300 else 0.0 for number, line in enumerate(lines)]


def _errors(normal: list[list[float]], variance: float, names: Sequence[str]) -> dict[str, float]:
    """Standard errors; of a logarithm, so a share of the figure. Errors of neighbouring rows hang together: the true ones are larger."""
    found = {}
    for number, name in enumerate(names):
        unit = [float(i == number) for i in range(len(normal))]
        inverse = _solved([list(line) for line in normal], unit)[number]
        found[name] = math.sqrt(max(0.0, inverse * variance)) if inverse > 0 else math.inf
    return found


def _warnings(
    rows: Sequence[Row], body: heat.Body, errors: dict[str, float], rms_k: float, moves: bool, like: heat.Body | None, measured_w: bool
) -> tuple[str, ...]:
    """What the figures do not tell, or tell only with reserve."""
    said = []
    if not measured_w:
        whose = "that of the type" if like else "an assumption"
        said.append(
            f"watts cannot be told from temperatures: idle_w {body.idle_w:g} W is {whose}; if it is k times as much, so is every power and "
            "every capacity, and each resistance 1/k. Temperatures come out the same. Record power_w to know"
        )
    if not moves:
        said.append(f"the clock under load does not move: exponent {body.exponent:g} is held, and not from this recording")
    fast_s, slow_s = times_s(body)
    between_s = sorted(b.time_s - a.time_s for a, b in pairwise(rows))[len(rows) // 2]
    lasts_s = rows[-1].time_s - rows[0].time_s
    if between_s > fast_s / 2:
        said.append(f"a row each {between_s:.3g} s does not show how fast the die is ({fast_s:.3g} s): die_j_k is uncertain; record faster")
    if lasts_s < 2 * slow_s:
        said.append(
            f"{lasts_s:.0f} s is less than twice the board's time constant ({slow_s:.0f} s): its figures are extrapolated; record longer"
        )
    unsure = [f"{name} (± {100 * error:.0f} %)" for name, error in errors.items() if error > UNSURE]
    if unsure:
        said.append("not determined by this recording: " + ", ".join(unsure))
    if rms_k > 1.5:
        said.append(f"the model misses by {rms_k:.1f} K (rms): a fan that came on, a draught, another load than it says")
    return tuple(said)


def times_s(body: heat.Body) -> tuple[float, float]:
    """(fast, slow): the two time constants, about the die's and the board's."""
    a, b = 1 / (body.die_j_k * body.die_to_board_k_w), 1 / (body.board_j_k * body.die_to_board_k_w)
    c = 1 / (body.board_j_k * body.board_to_air_k_w)
    apart = math.sqrt((a - b - c) ** 2 + 4 * a * b)
    return 2 / (a + b + c + apart), (a + b + c + apart) / (2 * a * c)
