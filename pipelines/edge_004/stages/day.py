"""A day of inverters → its results, as lines of CSV: integers only, so that every device makes the same bytes.

energy      watt-hours of the quarter, and of the day so far
deviation   from the median of all inverters in that quarter, in thousandths
state       ok, dim (more than a quarter below the others), hot, night
check       a residue over the row and all rows before it: whoever changes one changes all that follow
"""

import csv
from pathlib import Path

READINGS = Path(__file__).parent.parent / "mocks" / "data" / "happy_path" / "inverters_valid_1536.csv"
HOT_TENTHS = 450
HEAD = "day,quarter,inverter,watt_hours,so_far,deviation,tenths_celsius,state,check\n"


def read():
    with READINGS.open(newline="") as file:
        return [(int(row["quarter"]), row["inverter"], int(row["watts"]), int(row["tenths_celsius"])) for row in csv.DictReader(file)]


def results(readings, days=1):
    """The bytes of `days` days. Each further day is the first one with a little more sun."""
    rows, check = [HEAD], 1
    for day in range(1, days + 1):
        so_far, quarters = {}, {}
        for quarter, inverter, watts, tenths in readings:
            quarters.setdefault(quarter, []).append((inverter, watts * (99 + day) // 100, tenths))
        for quarter, each in sorted(quarters.items()):
            median = sorted(watts for _, watts, _ in each)[len(each) // 2]
            for inverter, watts, tenths in each:
                so_far[inverter] = so_far.get(inverter, 0) + watts // 4
                deviation = 1000 * (watts - median) // median if median else 0
                state = "night" if not median else "dim" if deviation < -250 else "hot" if tenths > HOT_TENTHS else "ok"
                check = (check * 1009 + watts * 31 + tenths * 17 + quarter + day) % 999983
                rows.append(f"{day},{quarter},{inverter},{watts // 4},{so_far[inverter]},{deviation},{tenths},{state},{check}\n")
    return "".join(rows).encode()
