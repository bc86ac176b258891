"""What a forward node does with what it hears, before anything is sent.

    watch.csv ─► collect ─► classify ─► audit
                 one clock   decisions   a chained record for each decision, and the messages in the order in which they are queued

Everything here depends on the input alone.
"""

import csv
import hashlib
import json
from pathlib import Path

from stageflow import StageOutput

from .files import keep, load

DATA = Path(__file__).parent.parent / "mocks" / "data"
SOURCES = ("radar", "acoustic", "camera", "node")
EVENTS = ("auth_failure", "seal_open", "key_use", "config_change")
CONTACT, STRONGEST = 80, 100  # a signal from here on is a contact; a stronger one than the last no sensor can measure
LOCK_OUT_AFTER = 3  # failed attempts
MESSAGES = "messages.json"
GENESIS = "0" * 64


class Collect:
    """Lines → items on the node's clock, in their true order; what is no item, or was told before, is counted and left out."""

    def __init__(self, data):
        self.data = data

    async def execute(self, ctx):
        ahead_ms, items, unreadable, told_twice = {}, {}, 0, 0
        with (DATA / self.data).open(newline="", encoding="utf-8") as file:
            for row in list(csv.reader(file))[1:]:
                item = readable(row)
                if item is None:
                    unreadable += 1
                elif item["kind"] == "sync":
                    ahead_ms.setdefault(item["source"], item["at_ms"] - item["value"])
                elif (item["source"], item["number"]) in items:
                    told_twice += 1
                else:
                    items[item["source"], item["number"]] = item
        for item in items.values():
            item["at_ms"] -= ahead_ms.get(item["source"], 0)
        ordered = sorted(items.values(), key=lambda item: (item["at_ms"], item["source"], item["number"]))
        counts = {"items": len(ordered), "unreadable": unreadable, "told_twice": told_twice}
        return StageOutput.ok({"files": [keep("items.json", ordered)], **counts, "ahead_ms": ahead_ms})


def readable(row):
    """A line's item, or None for a line that is none."""
    if len(row) != 5 or row[0] not in SOURCES or row[3] not in ("report", "sync", *EVENTS):
        return None
    numbers = [cell for cell in (row[1], row[2], row[4].removeprefix("-")) if cell.isascii() and cell.isdigit() and len(cell) <= 12]
    if len(numbers) != 3 or (row[3] != "sync" and (row[3] == "report") != (row[0] != "node")):
        return None
    return {"source": row[0], "number": int(row[1]), "at_ms": int(row[2]), "kind": row[3], "value": int(row[4])}


class Classify:
    """Each item's decision. `routine` is what needs none."""

    async def execute(self, ctx):
        decided, counts = [], {}
        for item in load("items.json"):
            decision = decide(item["kind"], item["value"])
            decided.append({**item, "decision": decision})
            counts[decision] = counts.get(decision, 0) + 1
        return StageOutput.ok({"files": [keep("decided.json", decided)], "decisions": counts})


def decide(kind, value):
    if kind == "report":
        return "rejected" if not 0 <= value <= STRONGEST else "contact" if value >= CONTACT else "routine"
    if kind == "seal_open":
        return "alarm"
    return "lock_out" if kind == "auth_failure" and value >= LOCK_OUT_AFTER else "noted"


class Audit:
    """An audit record for each decision, chained by hashes; and every message in order, a record before the report that it is about."""

    async def execute(self, ctx):
        messages, head, records = [], GENESIS, 0
        for item in load("decided.json"):
            about = f"{item['source']}-{item['number']}"
            if item["decision"] != "routine":
                records += 1
                record = {"id": f"a-{records:05}", "kind": "audit", "about": about, "previous": head}
                record |= {key: item[key] for key in ("at_ms", "decision", "value")}
                head = hashlib.sha256(text_of(record).encode()).hexdigest()
                messages.append([record["id"], "audit", text_of({**record, "hash": head})])
            if item["kind"] == "report" and item["decision"] != "rejected":
                report = {"id": f"t-{about}", "kind": "telemetry", **{key: item[key] for key in ("at_ms", "decision", "value")}}
                messages.append([report["id"], "telemetry", text_of(report)])
        return StageOutput.ok({"files": [keep(MESSAGES, messages)], "messages": len(messages), "records": records, "head": head})


class Decide:
    """Decisions and their audit records in one stage."""

    async def execute(self, ctx):
        await Classify().execute(ctx)
        return await Audit().execute(ctx)


def text_of(value):
    """The one way in which a message is written: what its hash is taken of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
