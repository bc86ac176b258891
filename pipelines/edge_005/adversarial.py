"""Meters with names that no file can bear, half of it alarms, and a disk on which no file can be made."""

from stageflow import Pipeline, StageKind

from .stages.station import Keep, Report, Sort, SumUp


def build() -> Pipeline:
    return (
        Pipeline()
        .with_stage("sort", Sort("adversarial/readings_strange_6k.csv"), StageKind.TRANSFORM)
        .with_stage("sum_up", SumUp(), StageKind.TRANSFORM, dependencies=("sort",))
        .with_stage("keep", Keep(), StageKind.WORK, dependencies=("sum_up",))
        .with_stage("report", Report(), StageKind.TRANSFORM, dependencies=("keep",))
    )
