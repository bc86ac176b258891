"""A day's readings on a device that has enough of everything: all of it is kept."""

from stageflow import Pipeline, StageKind

from .stages.station import Keep, Report, Sort, SumUp


def build() -> Pipeline:
    return (
        Pipeline()
        .with_stage("sort", Sort(), StageKind.TRANSFORM)
        .with_stage("sum_up", SumUp(), StageKind.TRANSFORM, dependencies=("sort",))
        .with_stage("keep", Keep(), StageKind.WORK, dependencies=("sum_up",))
        .with_stage("report", Report(), StageKind.TRANSFORM, dependencies=("keep",))
    )
