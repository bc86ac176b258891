"""What a loop of heat goes by, as a coordinator tells it, and why it may end. Pure: the judge reads it, too.

    {"body", "throttle", "timeline", "starts_at_c", "fan", "air", "pace", "at_s", "for_s", "waits", "renew_s", "cap_s"} ──► Told
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from . import heat

NOT_RENEWED, HARD_CAP, ITS_END, ASKED = "nobody renewed it", "hard cap", "its end", "asked"  # as a guard says it
MAX_CAP_S = 30 * 86400.0


class Told(NamedTuple):
    """What a loop goes by. Times are real ones, but for those of the timeline, which are the model's."""

    body: heat.Body
    throttle: heat.Throttle
    timeline: tuple[tuple[float, float], ...]
    starts_at_c: float | None
    pace: float
    at_s: float  # the heat comes on so long after its time began
    for_s: float | None  # … and goes by itself after this time
    waits: bool  # its time begins when `warm` says so; until then the board idles at its full clock
    renew_s: float
    cap_s: float


def told_of(said: Any) -> Told:
    """What a coordinator said, read. Raises ValueError for what no loop can go by."""
    try:
        body = heat.in_air(heat.body_of(said["body"]), _number(said, "air", 1.0, 0.1, 100), said.get("fan", "works") == "works")
        timeline = tuple((float(at_s), float(c)) for at_s, c in said["timeline"])
        starts_at_c, for_s = said.get("starts_at_c"), said.get("for_s")
        told = Told(
            body, heat.throttle_of(said["throttle"]), timeline, None if starts_at_c is None else _number(said, "starts_at_c", 0, -100, 300),
            _number(said, "pace", 1.0, 0.1, 1000), _number(said, "at_s", 0.0, 0, MAX_CAP_S),
            None if for_s is None else _number(said, "for_s", 0, 0.001, MAX_CAP_S), bool(said.get("waits", False)),
            _number(said, "renew_s", 60.0, 0.1, MAX_CAP_S), _number(said, "cap_s", 3600.0, 0.1, MAX_CAP_S),
        )  # fmt: skip
    except (KeyError, TypeError) as error:
        raise ValueError(f"this is no heat: {type(error).__name__}: {error}") from None
    times = [at_s for at_s, _ in timeline]
    if not times or times != sorted(set(times)) or not all(math.isfinite(value) for point in timeline for value in point):
        raise ValueError("timeline: expected points (at_s, c), each later than the one before")
    return told


def _number(said: Any, name: str, default: float, least: float, most: float) -> float:
    value = said.get(name, default)
    if type(value) not in (int, float) or not least <= value <= most:
        raise ValueError(f"{name}: expected a number from {least:g} to {most:g}, found {value!r}")
    return float(value)
