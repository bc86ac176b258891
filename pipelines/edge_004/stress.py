"""A week's results at once, in large pieces, over a link that loses one packet in twenty."""

from stageflow import Pipeline, StageKind

from .stages.park import Pack, Plan, Produce, Upload, Verify


def build() -> Pipeline:
    return (
        Pipeline()
        .with_stage("produce", Produce(days=7), StageKind.TRANSFORM)
        .with_stage("pack", Pack(), StageKind.TRANSFORM, dependencies=("produce",))
        .with_stage("plan", Plan(), StageKind.WORK, dependencies=("pack",))
        .with_stage("upload", Upload(), StageKind.WORK, dependencies=("pack", "plan"))
        .with_stage("verify", Verify(), StageKind.GUARD, dependencies=("pack", "upload"))
    )
