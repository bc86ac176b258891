"""Ten shifts' events at once, as fast as they go, over a link that flaps."""

from stageflow import Pipeline, StageKind

from .stages.gateway import Detect, Enrich, Forward, Queue, Rank


def build() -> Pipeline:
    return (
        Pipeline()
        .with_stage("detect", Detect("scale/events_valid_3k.csv"), StageKind.TRANSFORM)
        .with_stage("enrich", Enrich(), StageKind.ENRICH, dependencies=("detect",))
        .with_stage("rank", Rank(), StageKind.TRANSFORM, dependencies=("enrich",))
        .with_stage("queue", Queue(), StageKind.WORK, dependencies=("rank",))
        .with_stage("forward", Forward(), StageKind.WORK, dependencies=("queue",))
    )
