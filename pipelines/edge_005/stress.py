"""Five times the readings on a board that is as small as they come, with no room for them: it takes longer, and no more memory."""

from stageflow import Pipeline, StageKind

from .stages.station import Keep, Report, Sort, SumUp


def build() -> Pipeline:
    return (
        Pipeline()
        .with_stage("sort", Sort("scale/readings_valid_30k.csv"), StageKind.TRANSFORM)
        .with_stage("sum_up", SumUp(), StageKind.TRANSFORM, dependencies=("sort",))
        .with_stage("keep", Keep(), StageKind.WORK, dependencies=("sum_up",))
        .with_stage("report", Report(), StageKind.TRANSFORM, dependencies=("keep",))
    )
