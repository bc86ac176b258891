"""A stage has 200 ms, works for a second and a half without giving up the loop, and is "ok": nobody is told that it was late."""

import asyncio
import time

from stageflow.api import Pipeline, StageOutput, stage
from stageflow.stages.context import PipelineContext

LIMIT_MS, WORK_S = 200, 1.5


class Late:
    async def execute(self, ctx):
        time.sleep(WORK_S)
        return StageOutput.ok({"files": []})


async def reproduce():
    names = ("request_id", "session_id", "user_id", "org_id", "interaction_id")
    ctx = PipelineContext(pipeline_run_id=None, data={"_timeout_ms": LIMIT_MS}, **dict.fromkeys(names))
    began = time.monotonic()
    try:
        results = await Pipeline.from_stages(stage("late", Late, "work"), name="late").build().run(ctx)
        status = results["late"].status.value
    except Exception as error:
        status = type(error).__name__
    return {"limit_ms": LIMIT_MS, "took_ms": round(1000 * (time.monotonic() - began)), "status": status}


if __name__ == "__main__":
    print(asyncio.run(reproduce()))
