"""Lines of events → findings: what a machine did that it should not have done. Integers only, so that every device agrees.

limit   more than the sensor's limit
jump    more than JUMPS above what the same sensor of the same machine said before
"""

import csv
import hashlib
import json
from pathlib import Path

DATA = Path(__file__).parent.parent / "mocks" / "data"
LIMITS = {"vibration": 710, "temperature": 900}  # hundredths of mm/s (ISO 10816: 7.1 mm/s is "not to be run like that"); tenths of a degree
JUMPS = {"vibration": 200, "temperature": 210}


def read(name):
    """The events of a file below mocks/data, and how many lines could not be read: those are counted, never dropped in silence."""
    events, unreadable = [], 0
    with (DATA / name).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["value"].isdigit() and row["sensor"] in LIMITS:
                events.append({**row, **{key: int(row[key]) for key in ("number", "second", "value")}})
            else:
                unreadable += 1
    return events, unreadable


def findings(events):
    """In the order of the events. Each has an id of its own: the hash of what was seen, whoever looks it up later."""
    before, found = {}, []
    for event in events:
        sensor, value = event["sensor"], event["value"]
        last = before.get((event["asset"], sensor), value)
        before[event["asset"], sensor] = value
        kind = "limit" if value > LIMITS[sensor] else "jump" if value - last > JUMPS[sensor] else ""
        if kind:
            seen = {**event, "kind": kind}
            found.append({**seen, "id": hashlib.sha256(canonical(seen)).hexdigest()[:32]})
    return found


def ranked(enriched):
    """Worst first: how far over its limit, times how much the machine matters; the older one first where that is equal."""
    scored = [{**each, "score": 1000 * each["value"] // LIMITS[each["sensor"]] * each["criticality"]} for each in enriched]
    return sorted(scored, key=lambda each: (-each["score"], each["number"]))


def canonical(value):
    """The one way to write a value down: equal values, equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
