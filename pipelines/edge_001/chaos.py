"""The belt as plain Stageflow runs it, each stage with a deadline as Stageflow provides: one that the board keeps while it is cool.

round 1, cool     how long each kind of stage takes ─► half as long again is its deadline from round 2 on
throttled         the stage takes longer than that, and Stageflow, which was told, …
"""

import dataclasses
import time

from stageflow import BaseInterceptor, StageOutput, get_default_interceptors

from .baseline import build as the_rounds

SPARE = 1.5  # of what a stage of its kind took in the first round
FIRST_ROUND_S = 300.0


class Deadlines(BaseInterceptor):
    """Tells Stageflow, behind its own time-out interceptor, how long the next stage may take."""

    name, priority = "deadlines", 6

    def __init__(self):
        self.took_s = {}

    def of(self, stage):
        """In ms."""
        return int(1000 * SPARE * self.took_s.get(stage.split("_")[0], FIRST_ROUND_S / SPARE))

    async def before(self, stage_name, ctx):
        ctx.data[f"_timeout.{stage_name}"] = self.of(stage_name)

    async def after(self, stage_name, result, ctx):
        return None


class Timed:
    """A stage that says which deadline it had; the first of its kind is what the others are measured by."""

    def __init__(self, name, runner, deadlines):
        self.name, self.runner, self.deadlines = name, runner, deadlines

    async def execute(self, ctx):
        deadline_ms, began = self.deadlines.of(self.name), time.monotonic()
        output = await self.runner.execute(ctx)
        self.deadlines.took_s.setdefault(self.name.split("_")[0], time.monotonic() - began)
        return StageOutput.ok({**output.data, "deadline_ms": deadline_ms})


class WithDeadlines:
    """A pipeline of Stageflow that is built with one interceptor more."""

    def __init__(self, pipeline):
        self.pipeline, self.deadlines = pipeline, Deadlines()
        for name, spec in list(self.pipeline.stages.items()):
            self.pipeline.stages[name] = dataclasses.replace(spec, runner=Timed(name, spec.runner, self.deadlines))

    @property
    def stages(self):
        return self.pipeline.stages

    def build(self):
        return self.pipeline.build(interceptors=[*get_default_interceptors(), self.deadlines])


def build():
    return WithDeadlines(the_rounds())
