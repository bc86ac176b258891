"""Many stages at once with much between them: one large output, a shard of it for each of eight, and all of them again in one.

    slice ─┬─► shard_0 ─┐
           ├─► …        ├─► merge
           └─► shard_7 ─┘

What passes between stages here is Stageflow's own context, not a file: after a restart it must all be there again.
"""

import csv
import hashlib

from stageflow import StageOutput

from .files import keep
from .metering import HIGHEST_WATT_HOURS, READINGS

SHARDS = 8
SHARD_ROUNDS = 4000


class Slice:
    """Every believable reading in one output: a context of a quarter of a megabyte."""

    async def execute(self, ctx):
        with READINGS.open(newline="") as file:
            rows = [[row["meter"], int(row["hour"]), int(row["watt_hours"])] for row in csv.DictReader(file) if row["watt_hours"].isdigit()]
        rows = [row for row in rows if row[2] <= HIGHEST_WATT_HOURS]
        return StageOutput.ok({"rows": rows, "count": len(rows)})


class Shard:
    """Watt-hours of every eighth meter, its rows handed on, and a digest that costs something."""

    def __init__(self, number):
        self.number = number

    async def execute(self, ctx):
        rows = [row for row in ctx.inputs.get_from("slice", "rows") if int(row[0][1:]) % SHARDS == self.number]
        meters = {}
        for meter, _, watt_hours in rows:
            meters[meter] = meters.get(meter, 0) + watt_hours
        digest = hashlib.pbkdf2_hmac("sha256", repr(rows).encode(), b"shard", SHARD_ROUNDS).hex()
        return StageOutput.ok({"files": [keep(f"shard-{self.number}.json", meters)], "meters": meters, "rows": rows, "digest": digest})


class Merge:
    """The sum of all shards, which must be the sum of everything."""

    async def execute(self, ctx):
        shards = [ctx.inputs.get_output(f"shard_{number}").data for number in range(SHARDS)]
        meters = {meter: total for shard in shards for meter, total in shard["meters"].items()}
        digest = hashlib.sha256("".join(shard["digest"] for shard in shards).encode()).hexdigest()
        merged = {"meters": len(meters), "total_watt_hours": sum(meters.values()), "rows": sum(len(shard["rows"]) for shard in shards)}
        return StageOutput.ok({"files": [keep("merged.json", meters)], **merged, "digest": digest})
