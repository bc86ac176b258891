"""What a careful application does about heat: it waits, a little, and gives up waiting. It computes nothing, and leaves nothing out."""

import time

from stageflow import StageOutput

from . import sensor

HOT_MILLI_C, FLAGGED_NOW = 75_000, 0xF
LONGEST_S, LOOK_EVERY_S = 3.0, 0.25


class Rest:
    """Until the board says that it is not hot, and LONGEST_S at most; not at all where it says nothing."""

    async def execute(self, ctx):
        before = reading = sensor.reading()
        began = time.monotonic()
        while _hot(reading) and time.monotonic() - began < LONGEST_S:
            time.sleep(LOOK_EVERY_S)
            reading = sensor.reading()
        return StageOutput.ok({"files": [], "sensor": [before, sensor.reading()]})


def _hot(reading):
    flags, milli_c = reading["throttled"], reading["milli_c"]
    return bool(flags and flags & FLAGGED_NOW) or (milli_c is not None and milli_c >= HOT_MILLI_C)
