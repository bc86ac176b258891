"""python -m tests.torture megabytes 100 | minutes 60    [--seed S] [--seconds LIMIT]"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.torture.hours import hours
from tests.torture.megabytes import torture


def main() -> int:
    """Exit status 1 for a wrong byte or a hang."""
    parser = argparse.ArgumentParser(prog="scripts/line-torture", description=__doc__)
    parser.add_argument("what", choices=["megabytes", "minutes"])
    parser.add_argument("count", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="megabytes: end after so long, with what there is")
    asked = parser.parse_args()
    began = time.monotonic()
    if asked.what == "megabytes":
        tally = torture(int(asked.count * 1e6), asked.seed, until=began + asked.seconds)
        print(f"seed {asked.seed}, {time.monotonic() - began:.0f} s: {tally}")
        return int(tally.wrong_bytes > 0)
    with tempfile.TemporaryDirectory(prefix="line-") as folder:
        story = hours(Path(folder), asked.count * 60, asked.seed)
    print(f"seed {asked.seed}, {time.monotonic() - began:.0f} s: {story}")
    return int(bool(story.hang or story.wrong))


if __name__ == "__main__":
    sys.exit(main())
