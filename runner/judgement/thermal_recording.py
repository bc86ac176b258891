"""A recorded step response as rows: CSV with a line of names, or JSON lines. Pure: text in, rows out, and where each row stood.

time_s,temperature_c,load,mhz,ambient_c[,power_w]
0,54.6,0.02,1500,27.3
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any

from runner.judgement.thermal_fit import Refusal, Row

NEEDED = ("time_s", "temperature_c", "load", "mhz", "ambient_c")
ALSO = {"ambient": "ambient_c"}  # what the air is called, too
MOST_LINES = 500_000


def rows_of(text: str) -> tuple[list[Row], list[int]]:
    """The rows, and the line of each. Raises Refusal, its `row` the number of the line, for what is no recording."""
    lines = _json_lines(text) if text.lstrip().startswith("{") else _csv_lines(text)
    rows: list[Row] = []
    places: list[int] = []
    for place, found in lines:
        if len(rows) >= MOST_LINES:
            raise Refusal(f"more than {MOST_LINES} rows", "a step response", "record a row each second", place)
        rows.append(_row({ALSO.get(key, key): value for key, value in found.items()}, place))
        places.append(place)
    return rows, places


def _csv_lines(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(text.splitlines())
    try:
        for found in reader:
            yield reader.line_num, {str(key).strip(): value for key, value in found.items() if key is not None}
    except csv.Error as error:
        raise Refusal(f"not CSV: {error}", "a line of names, then numbers", row=reader.line_num) from error


def _json_lines(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError as error:
            raise Refusal(f"not JSON: {line[:60]!r}", "an object a line", row=number) from error
        if not isinstance(found, dict):
            raise Refusal(f"no object: {line[:60]!r}", "an object a line", row=number)
        yield number, found


def _row(found: dict[str, Any], place: int) -> Row:
    missing = [name for name in NEEDED if found.get(name) in (None, "")]
    if missing:
        do = "write " + ",".join(NEEDED) + " into the first line; power_w is optional"
        raise Refusal(f"no {missing[0]}", "a value for each of " + ", ".join(NEEDED), do, place)
    time_s, temperature_c, load, mhz, ambient_c = (_number(name, found[name], place) for name in NEEDED)
    return Row(time_s, temperature_c, load, mhz, ambient_c, _watts(found.get("power_w"), place))


def _watts(value: Any, place: int) -> float | None:
    return None if value in (None, "") else _number("power_w", value, place)


def _number(name: str, value: Any, place: int) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise Refusal(f"{name} is {str(value)[:40]!r}", "a number", "units stand in the names of the columns", place) from None
