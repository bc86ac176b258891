"""A day's results over a link without any fault: what it costs in bytes when nothing goes wrong."""

from stageflow import Pipeline, StageKind

from .stages.park import Pack, Plan, Produce, Upload, Verify


def build() -> Pipeline:
    return (
        Pipeline()
        .with_stage("produce", Produce(), StageKind.TRANSFORM)
        .with_stage("pack", Pack(), StageKind.TRANSFORM, dependencies=("produce",))
        .with_stage("plan", Plan(), StageKind.WORK, dependencies=("pack",))
        .with_stage("upload", Upload(), StageKind.WORK, dependencies=("pack", "plan"))
        .with_stage("verify", Verify(), StageKind.GUARD, dependencies=("pack", "upload"))
    )
