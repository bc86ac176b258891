"""The day as plain Stageflow runs it while the disk is full; and three things that Stageflow itself does then, each by itself."""

from stageflow import Pipeline, StageKind

from .stages.framework import FullDisk, Snapshot, Timeout
from .stages.station import Keep, Report, Sort, SumUp


def build() -> Pipeline:
    return (
        Pipeline()
        .with_stage("sort", Sort(), StageKind.TRANSFORM)
        .with_stage("sum_up", SumUp(), StageKind.TRANSFORM, dependencies=("sort",))
        .with_stage("keep", Keep(), StageKind.WORK, dependencies=("sum_up",))
        .with_stage("report", Report(), StageKind.TRANSFORM, dependencies=("keep",))
        .with_stage("timeout", Timeout(), StageKind.WORK, dependencies=("report",))
        .with_stage("full_disk", FullDisk(), StageKind.WORK, dependencies=("timeout",))
        .with_stage("snapshot", Snapshot(), StageKind.WORK, dependencies=("full_disk",))
    )
