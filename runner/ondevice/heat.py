"""How a board gets warm, and what its firmware then does to its clock. No I/O, and no clock of its own.

            power = idle + busy · load · (clock / full)^exponent
              │
              ▼                                                  throttle: at each look, every LOOK_S
          ┌───────┐ die_to_board_k_w ┌─────────┐ board_to_air    die ≥ at_c of a step          ─► its clock, its flag
          │  die  │ ───────────────► │  board  │ ────────► air   die < at_c − hysteresis_k     ─► the clock of the step before
          └───────┘                  └─────────┘                 between the two               ─► as it is
           die_j_k                    board_j_k  fan: a share of the way from board_to_air_k_w to fan_k_w

Two nodes are two linear equations, and between two looks nothing in them changes: `step` solves them exactly, so it is stable for any
`dt_s`, and one long step is the same as many short ones. The state remembers how long ago the last look was.

"Board" is all that the heat goes through behind the die: board, heat sink, case. `load` is CPU time ÷ CPU time that the clock's quota
granted, over all cores, 0 … 1: a busy board has 1 at each clock. The voltage falls with the clock, so the power of the work falls faster
than the clock does: with the square of the voltage, too. A board whose voltage does not move has an exponent of 1, one whose voltage
followed the clock in proportion would have 3.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOK_S = 0.1  # of the model's time: how often the firmware looks at its sensor
LEAST_SHARE = 0.01  # of a core: what a clock leaves at least, however low it is

UNDER_VOLTAGE, CAPPED, THROTTLED, SOFT_LIMIT = 1, 2, 4, 8  # as in `vcgencmd get_throttled`; heat never sets the first
SINCE_BOOT = 16  # the same four, so many bits higher: has been so since the board booted
WORDS = {"capped": CAPPED, "throttled": THROTTLED, "soft limit": SOFT_LIMIT}  # what a step of a throttle may be called


class Body(NamedTuple):
    """Heat capacities in J/K, resistances in K/W, power in W. Without `fan_steps` (from °C on, share of its full speed) there is no fan."""

    die_j_k: float
    board_j_k: float
    die_to_board_k_w: float
    board_to_air_k_w: float
    idle_w: float
    busy_w: float  # of all cores at the full clock, beside `idle_w`
    exponent: float = 2.0
    fan_steps: tuple[tuple[float, float], ...] = ()
    fan_k_w: float = 0.0  # board to air with the fan at its full speed
    fan_hysteresis_k: float = 0.0


class Throttle(NamedTuple):
    """What the firmware does: from `at_c` of a step on the clock is its `mhz`, and `word` is what it calls that."""

    full_mhz: float
    steps: tuple[tuple[float, float, str], ...]  # (at_c, mhz, word), each warmer and slower than the one before
    hysteresis_k: float
    critical_c: float  # here the board switches itself off; the model says that it would have


class State(NamedTuple):
    """A board at one moment. While its power is off, `mhz` is 0 and no flag is set."""

    die_c: float
    board_c: float
    mhz: float
    flags: int = 0
    level: int = 0  # steps of the throttle that are taken
    fan_level: int = 0
    look_s: float = 0.0  # since the last look
    powered: bool = True
    critical: bool = False  # since it booted


def begin(body: Body, throttle: Throttle, ambient_c: float, starts_at_c: float | None = None) -> State:
    """A board that was just booted with its die at `starts_at_c`, the board as it is behind such a die; else one that idled for long."""
    die_c, board_c = steady_c(body, 0.0, 1.0, ambient_c)
    if starts_at_c is not None:
        share = body.board_to_air_k_w / (body.board_to_air_k_w + body.die_to_board_k_w)
        die_c, board_c = starts_at_c, ambient_c + (starts_at_c - ambient_c) * share
    return State(die_c, board_c, throttle.full_mhz)


def step(state: State, body: Body, throttle: Throttle, load: float, ambient_c: float, dt_s: float, powered: bool = True) -> State:
    """The board `dt_s` seconds later, under this load and in this air all the while. Without power it cools, and forgets its flags."""
    if not powered:
        die_c, board_c = later(body, state.die_c, state.board_c, 0.0, ambient_c, dt_s)
        return State(die_c, board_c, 0.0, powered=False)
    if not state.powered:
        state = State(state.die_c, state.board_c, throttle.full_mhz)
    left_s, die_c, board_c, look_s = dt_s, state.die_c, state.board_c, state.look_s
    watts, share = power_w(body, load, state.mhz / throttle.full_mhz), _fan_share(body, state.fan_level)
    while left_s > 0:
        till_s = min(left_s, LOOK_S - look_s)
        die_c, board_c = later(body, die_c, board_c, watts, ambient_c, till_s, share)
        look_s += till_s
        left_s -= till_s
        if look_s >= LOOK_S - 1e-9:
            look_s = 0.0
            then = _look(state, die_c, body, throttle)
            if then is not state:
                state = then
                watts, share = power_w(body, load, state.mhz / throttle.full_mhz), _fan_share(body, state.fan_level)
    return state._replace(die_c=die_c, board_c=board_c, look_s=look_s)


def power_w(body: Body, load: float, ratio: float) -> float:
    """What the board takes, all of it heat, at this share of its full clock."""
    return body.idle_w + body.busy_w * min(1.0, max(0.0, load)) * math.pow(ratio, body.exponent)


def steady_c(body: Body, load: float, ratio: float, ambient_c: float, fan_share: float = 0.0) -> tuple[float, float]:
    """(die, board) after a long time at this load, with this share of the full clock and of the fan."""
    return _steady(body, power_w(body, load, ratio), ambient_c, fan_share)


def later(
    body: Body, die_c: float, board_c: float, watts: float, ambient_c: float, dt_s: float, fan_share: float = 0.0
) -> tuple[float, float]:
    """(die, board) after a time under constant power in constant air: what is away from the steady state decays, in two exponentials."""
    die_end, board_end = _steady(body, watts, ambient_c, fan_share)
    die, board = die_c - die_end, board_c - board_end
    a = 1 / (body.die_j_k * body.die_to_board_k_w)  # d die/dt = −a·die + a·board;  d board/dt = b·die − (b + c)·board
    b = 1 / (body.board_j_k * body.die_to_board_k_w)
    c = 1 / (body.board_j_k * _to_air_k_w(body, fan_share))
    apart = math.sqrt((a - b - c) ** 2 + 4 * a * b)  # never 0: the two rates are different ones
    slow = -2 * a * c / (a + b + c + apart)
    fast = -(a + b + c + apart) / 2
    held, gone = math.exp(slow * dt_s), math.exp(fast * dt_s)
    die_rate, board_rate = a * (board - die), b * die - (b + c) * board
    die_then = (held * (die_rate - fast * die) - gone * (die_rate - slow * die)) / apart
    board_then = (held * (board_rate - fast * board) - gone * (board_rate - slow * board)) / apart
    return die_end + die_then, board_end + board_then


def quota(mhz: float, full_mhz: float) -> float:
    """The share of a core that stands for this clock, of each core."""
    return min(1.0, max(LEAST_SHARE, mhz / full_mhz))


def in_air(body: Body, factor: float, fan_works: bool = True) -> Body:
    """The body with another way to the air: `factor` 1.6 is a box that resists 1.6 times as much. A fan that failed stands still."""
    closed = body._replace(board_to_air_k_w=body.board_to_air_k_w * factor, fan_k_w=body.fan_k_w * factor)
    return closed if fan_works else closed._replace(fan_steps=())


def ambient_at(timeline: Sequence[tuple[float, float]], at_s: float) -> float:
    """°C of the air at a time, between (at_s, c) of a timeline on a straight line; before its first and after its last as there."""
    before = timeline[0]
    for point in timeline:
        if point[0] > at_s:
            share = (at_s - before[0]) / (point[0] - before[0]) if point[0] > before[0] else 1.0
            return before[1] + (point[1] - before[1]) * max(0.0, share)
        before = point
    return before[1]


def words(flags: int) -> tuple[str, ...]:
    """What the flags say of now."""
    return tuple(word for word, bit in WORDS.items() if flags & bit)


def throttled_text(flags: int) -> str:
    """The flags as `vcgencmd get_throttled` prints them."""
    return f"throttled={flags:#x}"


def body_of(said: Any) -> Body:
    """A Body as JSON has it. Raises ValueError for what is none."""
    try:
        body = Body(**said)
        body = body._replace(fan_steps=tuple((float(at_c), float(share)) for at_c, share in body.fan_steps))
        ways = (body.die_j_k, body.board_j_k, body.die_to_board_k_w, body.board_to_air_k_w)
        good = all(_is_finite(value) and value > 0 for value in ways) and body.exponent >= 0 and body.fan_hysteresis_k >= 0
        good = good and all(_is_finite(value) and value >= 0 for value in (body.idle_w, body.busy_w, body.exponent))
        good = good and (not body.fan_steps or 0 < body.fan_k_w <= body.board_to_air_k_w)
        good = good and all(0 <= share <= 1 for _, share in body.fan_steps) and _rising([at_c for at_c, _ in body.fan_steps])
    except (TypeError, ValueError) as error:
        raise ValueError(f"this is no body: {error}") from None
    if not good:
        raise ValueError(f"this is no body: {said}")
    return body


def throttle_of(said: Any) -> Throttle:
    """A Throttle as JSON has it. Raises ValueError for what is none."""
    try:
        throttle = Throttle(**said)
        throttle = throttle._replace(steps=tuple((float(at_c), float(mhz), str(word)) for at_c, mhz, word in throttle.steps))
        clocks = [throttle.full_mhz, *(mhz for _, mhz, _ in throttle.steps)]
        good = all(_is_finite(mhz) and mhz > 0 for mhz in clocks) and _rising([-mhz for mhz in clocks]) and throttle.hysteresis_k >= 0
        good = good and _rising([*(at_c for at_c, _, _ in throttle.steps), throttle.critical_c])
        good = good and all(word in WORDS for _, _, word in throttle.steps)
    except (TypeError, ValueError) as error:
        raise ValueError(f"this is no throttle: {error}") from None
    if not good:
        raise ValueError(f"this is no throttle: {said}")
    return throttle


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _rising(values: Sequence[float]) -> bool:
    return all(_is_finite(value) for value in values) and all(a < b for a, b in zip(values, values[1:]))


def _look(state: State, die_c: float, body: Body, throttle: Throttle) -> State:
    """What the firmware does at the temperature that it finds; the same state where that is nothing."""
    level = _level(state.level, die_c, [at_c for at_c, _, _ in throttle.steps], throttle.hysteresis_k)
    fan_level = _level(state.fan_level, die_c, [at_c for at_c, _ in body.fan_steps], body.fan_hysteresis_k)
    critical = state.critical or die_c >= throttle.critical_c
    if (level, fan_level, critical) == (state.level, state.fan_level, state.critical):
        return state
    now = 0
    for _, _, word in throttle.steps[:level]:
        now |= WORDS[word]
    since = (state.flags >> SINCE_BOOT | now) << SINCE_BOOT
    mhz = throttle.steps[level - 1][1] if level else throttle.full_mhz
    return state._replace(mhz=mhz, flags=since | now, level=level, fan_level=fan_level, critical=critical)


def _level(level: int, die_c: float, at_c: Sequence[float], hysteresis_k: float) -> int:
    """How many steps are taken: each from its temperature on, and given back below it by more than the hysteresis."""
    while level < len(at_c) and die_c >= at_c[level]:
        level += 1
    while level > 0 and die_c < at_c[level - 1] - hysteresis_k:
        level -= 1
    return level


def _fan_share(body: Body, fan_level: int) -> float:
    return body.fan_steps[fan_level - 1][1] if 0 < fan_level <= len(body.fan_steps) else 0.0


def _to_air_k_w(body: Body, fan_share: float) -> float:
    """A fan adds a second way to the air beside the first: what conducts adds up, in its share."""
    if not fan_share:
        return body.board_to_air_k_w
    still = 1 / body.board_to_air_k_w
    return 1 / (still + fan_share * (1 / body.fan_k_w - still))


def _steady(body: Body, watts: float, ambient_c: float, fan_share: float) -> tuple[float, float]:
    board_c = ambient_c + watts * _to_air_k_w(body, fan_share)
    return board_c + watts * body.die_to_board_k_w, board_c
