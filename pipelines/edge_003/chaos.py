"""The shift as plain Stageflow runs it, and a forward that leaves trying again to Stageflow: what comes of that is there to be found."""

from stageflow import Pipeline, StageKind

from .baseline import PACE_S
from .stages.gateway import Detect, Enrich, Forward, Queue, Rank


def build() -> Pipeline:
    return (
        Pipeline()
        .with_stage("detect", Detect(), StageKind.TRANSFORM)
        .with_stage("enrich", Enrich(), StageKind.ENRICH, dependencies=("detect",))
        .with_stage("rank", Rank(), StageKind.TRANSFORM, dependencies=("enrich",))
        .with_stage("queue", Queue(), StageKind.WORK, dependencies=("rank",))
        .with_stage("forward", Forward(PACE_S, tries=2), StageKind.WORK, dependencies=("queue",))
    )
