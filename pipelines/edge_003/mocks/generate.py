"""Makes the events that the gateway reads, and the two tables of machines: the far end's, and the smaller one on the device.

    python generate.py      writes every file of FILES again, the same bytes each time

A tenth of the lines is over its limit or jumps; one in sixty cannot be read. The strangers' file holds machines that the far
end has never heard of, and names that somebody made up to do harm.
"""

import json
import random
from pathlib import Path

KINDS = {"pump": (8, 7), "fan": (7, 4), "belt": (5, 5)}  # how many there are, and how much the device alone makes of one
SITES = ("north", "south", "quay", "yard")
CALM = {"vibration": (180, 420), "temperature": (450, 700)}  # hundredths of mm/s, tenths of a degree
WILD = {"vibration": (720, 1400), "temperature": (910, 1300)}
STRANGERS = ("pump-77", "crane-01", "../assets", "fan%2f01", "belt-01?x=1", "häck-01")

DATA, FAR_END = Path(__file__).parent / "data", Path(__file__).parent / "far_end"


def machines():
    return [f"{kind}-{number:02}" for kind, (count, _) in KINDS.items() for number in range(1, count + 1)]


def events(count, seed, strangers=()):
    """Lines of one file: number, second, asset, sensor, value. Numbers rise; some lines are broken."""
    chance = random.Random(seed)
    assets = [*machines(), *strangers]
    lines = ["number,second,asset,sensor,value"]
    for number in range(1, count + 1):
        asset, sensor = chance.choice(assets), chance.choice(sorted(CALM))
        wild = chance.random() < (0.6 if asset in strangers else 0.07)
        value = str(chance.randint(*(WILD if wild else CALM)[sensor]))
        if chance.random() < 1 / 60:
            value = chance.choice(("", "n/a", "-", "4e2"))
        lines.append(f"{number},{number * 7},{asset},{sensor},{value}")
    return "\n".join(lines) + "\n"


def far_end_table():
    chance = random.Random("assets")
    return {asset: {"site": chance.choice(SITES), "criticality": chance.randint(1, 9)} for asset in machines()}


def fallback_table():
    return {kind: {"site": "unknown", "criticality": criticality} for kind, (_, criticality) in KINDS.items()}


FILES = {
    DATA / "happy_path" / "events_valid_300.csv": lambda: events(300, "a shift"),
    DATA / "scale" / "events_valid_3k.csv": lambda: events(3000, "ten shifts"),
    DATA / "adversarial" / "events_strangers_240.csv": lambda: events(240, "strangers", STRANGERS),
    DATA / "fallback" / "assets_fallback_3.json": lambda: json.dumps(fallback_table(), indent=1) + "\n",
    FAR_END / "assets.json": lambda: json.dumps(far_end_table(), indent=1) + "\n",
}

if __name__ == "__main__":
    for path, made in FILES.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made(), encoding="utf-8")
