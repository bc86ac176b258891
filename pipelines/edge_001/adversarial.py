"""A sensor at its end and a belt full of look-alikes, while the clock is stepped down and up again and again; and between two rounds
the application rests for as long as it finds the board hot. None of that may be seen in what it saw."""

from stageflow import Pipeline, StageKind

from .stages.camera import Flow, Look, Report, Settle
from .stages.rest import Rest

ROUNDS = 5
NAME, SEED, NOISE, DEAD = "adversarial/belt_alike_40.csv", 40_009, 60, 220


def build() -> Pipeline:
    pipeline, before = Pipeline(), ()
    for number in range(1, ROUNDS + 1):
        pipeline = (
            pipeline.with_stage(f"rest_{number}", Rest(), StageKind.WORK, dependencies=before)
            .with_stage(f"look_{number}", Look(number, NAME, SEED, NOISE, DEAD), StageKind.TRANSFORM, dependencies=(f"rest_{number}",))
            .with_stage(f"flow_{number}", Flow(number), StageKind.TRANSFORM, dependencies=(f"look_{number}",))
            .with_stage(f"settle_{number}", Settle(number), StageKind.TRANSFORM, dependencies=(f"flow_{number}",))
        )
        before = (f"settle_{number}",)
    return pipeline.with_stage("report", Report(ROUNDS), StageKind.WORK, dependencies=before)
