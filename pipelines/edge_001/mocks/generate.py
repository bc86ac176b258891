"""Makes what lies on the belts, and what must be seen of it.

python -m edge_001.mocks.generate      beside pipelines/; writes every file again, the same bytes each time, in a few minutes
"""

import csv
import json
import random
from pathlib import Path

from . import reference

HERE = Path(__file__).parent
DATA = HERE / "data"
HEAD = ("first", "last", "y", "x", "dy", "dx", "size", "light")
BELTS = {  # pipeline → file, rounds, seed, noise, dead: as baseline.py, stress.py and adversarial.py have them
    "baseline": ("happy_path/belt_valid_14.csv", 8, 20_011, 6, 12),
    "stress": ("happy_path/belt_valid_14.csv", 5, 20_011, 6, 12),
    "adversarial": ("adversarial/belt_alike_40.csv", 5, 40_009, 60, 220),
}


def belt():
    """Fourteen things that come one after the other and are carried to the right, at the pace of the belt or a little beside it."""
    chance = random.Random("a belt")
    for number in range(14):
        first, size = 6 * number, chance.randint(9, 18)
        light = chance.choice((5, 20, 150, 190, 220))
        yield (first, first + 50, chance.randint(2, 90 - size), -size, chance.randint(-3, 3), chance.randint(30, 64), size, light)


def alike():
    """Forty things that look like each other or like the belt, over one another, standing still, and partly where nobody sees them."""
    chance = random.Random("look-alikes")
    for _ in range(40):
        first, size = chance.randrange(0, 50), chance.choice((1, 2, 8, 8, 8, 16, 40, 200))
        way = chance.choice(((0, 0), (0, 32), (0, 32), (32, 0), (-16, 16), (160, -160), (2000, 2000)))
        last, y, x = first + chance.randrange(0, 60), chance.randint(-30, 96), chance.randint(-40, 128)
        yield (first, last, y, x, *way, size, chance.choice((70, 120, 255)))


def table(rows):
    return "\n".join([",".join(HEAD), *(",".join(map(str, row)) for row in rows)]) + "\n"


FILES = {"happy_path/belt_valid_14.csv": lambda: table(belt()), "adversarial/belt_alike_40.csv": lambda: table(alike())}


def read(name):
    with (DATA / name).open(newline="", encoding="utf-8") as file:
        return [{key: int(value) for key, value in row.items()} for row in csv.DictReader(file)]


def golden():
    return {pipeline: reference.rounds(read(name), *how) for pipeline, (name, *how) in BELTS.items()}


if __name__ == "__main__":
    for name, made in FILES.items():
        (DATA / name).write_text(made(), encoding="utf-8")
    (HERE / "golden.json").write_text(json.dumps(golden(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
