"""A day's readings, sorted and summed up with a bounded part of them in memory: how many there are costs disk, and no memory.

    lines ─► runs of CHUNK readings, each sorted, on the disk ─► merged, one of each run at a time ─► sums by meter and hour, alarms

Integers only, so that every device agrees. What cannot be read is counted, and a reading that came twice counts once.
"""

import csv
import hashlib
import heapq
import json
from pathlib import Path

DATA = Path(__file__).parent.parent / "mocks" / "data"
LIMIT_W, CHUNK = 9000, 1000


def lines(name):
    """(meter, second, watt) of each line that can be read, and None for each that cannot."""
    with (DATA / name).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            whole = row["meter"] and row["second"].isdigit() and row["watt"].isdigit()
            yield (row["meter"], int(row["second"]), int(row["watt"])) if whole else None


def sorted_runs(name, chunk=CHUNK):
    """(readings of a run, sorted, unreadable lines until then), run by run; never more than `chunk` at once."""
    held, unreadable = [], 0
    for reading in lines(name):
        if reading is None:
            unreadable += 1
            continue
        held.append(reading)
        if len(held) == chunk:
            yield sorted(held), unreadable
            held = []
    yield sorted(held), unreadable


def merged(files):
    """Readings of all runs in order, each once."""
    last = None
    for reading in heapq.merge(*(_of(path) for path in files)):
        if reading != last:
            yield reading
        last = reading


def _of(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            meter, second, watt = json.loads(line)
            yield meter, second, watt


def line_of(reading):
    """The one way to write a reading down."""
    return json.dumps(reading, separators=(",", ":")) + "\n"


def sha256(data):
    return hashlib.sha256(data).hexdigest()
