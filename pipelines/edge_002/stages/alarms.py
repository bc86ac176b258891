"""A stage with a side effect that cannot be taken back: what it sends twice, somebody gets twice."""

import os

from stageflow import StageOutput

from .files import load
from .metering import HIGHEST_WATT_HOURS

OUTBOX = "outbox.log"


class Dispatch:
    """One alarm for each reading that no meter can have counted, appended to the outbox and flushed."""

    async def execute(self, ctx):
        alarms = [f"{meter} {hour} {watt_hours}\n" for meter, hour, watt_hours in load("readings.json") if watt_hours > HIGHEST_WATT_HOURS]
        outbox = os.open(OUTBOX, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(outbox, "".join(alarms).encode())
            os.fsync(outbox)
        finally:
            os.close(outbox)
        return StageOutput.ok({"files": [], "sent": len(alarms)})


class Tally:
    """What has really gone out by now."""

    async def execute(self, ctx):
        with open(OUTBOX) as file:
            lines = file.readlines()
        return StageOutput.ok({"files": [], "gone_out": len(lines), "distinct": len(set(lines))})
