"""Eight rounds of a belt with a few things on it, one round behind the other."""

from stageflow import Pipeline, StageKind

from .stages.camera import Flow, Look, Report, Settle

ROUNDS = 8
NAME, SEED, NOISE, DEAD = "happy_path/belt_valid_14.csv", 20_011, 6, 12  # of a thousand pixels so many are stuck


def build() -> Pipeline:
    return rounds(ROUNDS)


def rounds(count: int, *, name: str = NAME, seed: int = SEED, noise: int = NOISE, dead: int = DEAD) -> Pipeline:
    pipeline, before = Pipeline(), ()
    for number in range(1, count + 1):
        pipeline = (
            pipeline.with_stage(f"look_{number}", Look(number, name, seed, noise, dead), StageKind.TRANSFORM, dependencies=before)
            .with_stage(f"flow_{number}", Flow(number), StageKind.TRANSFORM, dependencies=(f"look_{number}",))
            .with_stage(f"settle_{number}", Settle(number), StageKind.TRANSFORM, dependencies=(f"flow_{number}",))
        )
        before = (f"settle_{number}",)
    return pipeline.with_stage("report", Report(count), StageKind.WORK, dependencies=before)
