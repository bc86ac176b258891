"""Makes the readings that the station sorts and keeps: out of order, as meters report them, and some that cannot be read.

    python generate.py      writes every file of FILES again, the same bytes each time

One in forty is over its limit: an alarm. One in fifty cannot be read. In the adversarial file half of all are alarms, whole stretches
come twice, and some meters have names that no file could bear.
"""

import random
from pathlib import Path

METERS, LIMIT_W = 24, 9000
STRANGE = ("../meter", "meter 1", "mètre", "m" * 200, "")
DATA = Path(__file__).parent / "data"


def readings(count, seed, alarms=1 / 40, strange=(), twice=0.0):
    """Lines of one file: meter, second, watt. Nothing is in order."""
    chance = random.Random(seed)
    meters = [f"meter-{number:02}" for number in range(1, METERS + 1)] + list(strange)
    lines = []
    while len(lines) < count:
        meter, second = chance.choice(meters), chance.randrange(86_400)
        watt = chance.randint(LIMIT_W + 1, 4 * LIMIT_W) if chance.random() < alarms else chance.randint(0, LIMIT_W)
        line = f"{meter},{second},{watt if chance.random() >= 1 / 50 else chance.choice(('', 'n/a', '-1', '1e3'))}"
        lines += [line] * (2 if chance.random() < twice else 1)
    return "\n".join(["meter,second,watt", *lines[:count]]) + "\n"


FILES = {
    DATA / "happy_path" / "readings_valid_6k.csv": lambda: readings(6_000, "a day"),
    DATA / "scale" / "readings_valid_30k.csv": lambda: readings(30_000, "five days in one"),
    DATA / "adversarial" / "readings_strange_6k.csv": lambda: readings(6_000, "strangers", 0.5, STRANGE, 0.2),
}

if __name__ == "__main__":
    for path, made in FILES.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made(), encoding="utf-8")
