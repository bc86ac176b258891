"""A stage whose work fits its deadline on a cool board needs longer on a throttled one. Stageflow was told, and says "ok" all the same."""

import asyncio
import time

from stageflow import BaseInterceptor, get_default_interceptors
from stageflow.api import Pipeline, StageOutput, stage

DEADLINE_MS, WORK_S, THROTTLED = 200, 0.15, 4  # to a quarter of the clock


class Deadline(BaseInterceptor):
    name, priority = "deadline", 6  # behind Stageflow's own time-out interceptor, which has 5

    async def before(self, stage_name, ctx):
        ctx.data[f"_timeout.{stage_name}"] = DEADLINE_MS

    async def after(self, stage_name, result, ctx):
        return None


class Work:
    """Computes, and gives up the loop to nobody meanwhile: as all numerical work does."""

    async def execute(self, ctx):
        end = time.monotonic() + WORK_S * THROTTLED
        while time.monotonic() < end:
            pass
        return StageOutput.ok({"files": []})


async def reproduce():
    began = time.monotonic()
    pipeline = Pipeline.from_stages(stage("work", Work, "work"), name="throttled")
    results = await pipeline.run(input_text="", interceptors=[*get_default_interceptors(), Deadline()])
    took_ms = round((time.monotonic() - began) * 1000)
    return {"deadline_ms": DEADLINE_MS, "took_ms": took_ms, "status": results["work"].status.value}


if __name__ == "__main__":
    print(asyncio.run(reproduce()))
