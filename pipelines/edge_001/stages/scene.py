"""What lies on the belt: one line for each thing, from which frame to which, where it is, how it moves in sixteenths of a pixel."""

import csv
from pathlib import Path

DATA = Path(__file__).parent.parent / "mocks" / "data"


def read(name):
    """The things of a file. Raises ValueError for a line that is none."""
    with (DATA / name).open(newline="") as file:
        return [{key: int(value) for key, value in row.items()} for row in csv.DictReader(file)]
