"""Numbers in a folder that may come from anywhere: which of them can be reckoned with. What is none was not measured.

    is_figure    counted or measured: from 0 on, and if it is not 0, not so little that nothing comes of it
    is_number    with a sign: a temperature, a jump of a clock
"""

from __future__ import annotations

from typing import Any

LEAST = 1e-9  # of a number that is asked, and is not 0: with less than that nothing can be reckoned
MOST = 2**63 - 1024


def has_figures(said: Any, keys: tuple[str, ...], least: float = 0, most: float = MOST) -> bool:
    """Whether `said` has figures under all of these keys, or nothing."""
    return isinstance(said, dict) and all(said.get(key) is None or is_figure(said[key], least, most) for key in keys)


def is_figure(value: Any, least: float = 0, most: float = MOST) -> bool:
    return is_number(value, most) and least <= value and (value == 0 or value >= LEAST)


def is_number(value: Any, most: float = MOST) -> bool:
    return type(value) in (int, float) and abs(value) <= most


def number_of(value: Any) -> Any:
    """A number, or None for what is none: a gap, never a zero."""
    return value if is_number(value) else None


def part_of(said: dict[str, Any], key: str) -> dict[str, Any]:
    """What stands under a key, if it is an object at all: a device says what it likes."""
    part = said.get(key)
    return part if isinstance(part, dict) else {}
