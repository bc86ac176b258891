"""Makes the mock data of DEF-008; the same files each time:  python mocks/generate.py

    data/happy_path/    a watch of a forward node: three sensors whose clocks run apart, and events that concern security
    data/scale/         a busy one
    data/adversarial/   a short one, with lines that are no report, and some told twice

One line an item, in the order in which it came to the node: `source,number,clock_ms,kind,value`. A source's first line is its
`sync`: its own clock, and as the value the node's clock at that moment. Standard library only, and seeded.
"""

import random
from pathlib import Path

HEAD = "source,number,clock_ms,kind,value"
SKEW_MS = {"radar": 7_412, "acoustic": -10_030, "camera": 263, "node": 0}  # how far each clock is ahead of the node's
BEGAN_MS = 1_000_000
EVENTS = ("auth_failure", "seal_open", "key_use", "config_change")


def watch(reports, events, seed):
    """So many reports and events over the time of a watch, each source's clock off by its own skew, and late by up to 900 ms."""
    chance = random.Random(seed)
    came, numbers = [], dict.fromkeys(SKEW_MS, 0)
    every = ["report"] * reports + ["event"] * events
    chance.shuffle(every)
    at_ms = BEGAN_MS
    for what in every:
        at_ms += chance.randrange(40, 120)
        source = "node" if what == "event" else chance.choice(["radar", "acoustic", "camera"])
        kind = chance.choice(EVENTS) if what == "event" else "report"
        value = chance.randrange(1, 6) if what == "event" else strength(chance)
        numbers[source] += 1
        came.append((at_ms + chance.randrange(900), f"{source},{numbers[source]},{at_ms + SKEW_MS[source]},{kind},{value}"))
    syncs = [f"{source},0,{BEGAN_MS + skew},sync,{BEGAN_MS}" for source, skew in SKEW_MS.items()]
    return [*syncs, *(line for _, line in sorted(came))]


def strength(chance):
    """A signal's strength: mostly routine, sometimes a contact, seldom what no sensor can have measured."""
    roll = chance.random()
    return chance.randrange(80, 101) if roll < 0.08 else chance.choice([-7, 101, 4096]) if roll < 0.11 else chance.randrange(80)


def hostile(reports, events, seed):
    """A watch with a broken line behind every fourth, every way of breaking in turn."""
    lines = []
    for number, line in enumerate(watch(reports, events, seed)):
        source, own, clock_ms, kind, value = line.split(",")
        ways = [
            line,  # told twice
            f"{source},{own},{clock_ms},{kind}",
            f"{source},{own},{clock_ms},{kind},{value},1",
            f"{source},-{own},{clock_ms},{kind},{value}",
            f"{source},{own},soon,{kind},{value}",
            f"{source},{own},{clock_ms},{kind},NaN",
            f"{source},{own},{clock_ms},{kind},{'9' * 400}",
            f"drone,{own},{clock_ms},{kind},{value}",  # no source of ours
            f"{source},{own},{clock_ms},erase,{value}",
            f"{source},9{own},{clock_ms},{kind},٣",  # a digit, of another script
        ]
        lines += [line, ways[number // 4 % len(ways)]] if number % 4 == 3 else [line]
    return lines


FILES = {
    "happy_path/watch_valid_144.csv": lambda: watch(120, 24, 1),
    "scale/watch_valid_372.csv": lambda: watch(300, 72, 2),
    "adversarial/watch_malformed_60.csv": lambda: hostile(48, 12, 3),
}


def write(folder):
    """Every file of FILES below `folder`."""
    for name, make in FILES.items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([HEAD, *make()]) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write(Path(__file__).parent / "data")
