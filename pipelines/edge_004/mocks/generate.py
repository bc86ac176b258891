"""Makes a day of a solar park: what each inverter gave in each quarter of an hour, and how hot it was.

python generate.py      writes the file again, the same bytes each time
"""

import random
from pathlib import Path

INVERTERS, QUARTERS = 16, 96
DATA = Path(__file__).parent / "data"


def day():
    chance = random.Random("a day of sun")
    lines = ["quarter,inverter,watts,tenths_celsius"]
    for quarter in range(QUARTERS):
        sun = max(0, 48 * 48 - (quarter - 48) ** 2 * 2)  # dawn to dusk, a parabola
        cloud = chance.uniform(0.6, 1.0)
        for inverter in range(1, INVERTERS + 1):
            watts = int(sun * cloud * chance.uniform(0.9, 1.05) * 20)
            if inverter == 11 and 40 <= quarter < 52:
                watts //= 3  # half its strings were out
            lines.append(f"{quarter},inv-{inverter:02},{watts},{120 + watts // 150 + chance.randint(-15, 15)}")
    return "\n".join(lines) + "\n"


FILES = {DATA / "happy_path" / "inverters_valid_1536.csv": day}

if __name__ == "__main__":
    for path, made in FILES.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made(), encoding="utf-8")
