"""A shift's events with the link up all the time: every finding is looked up, and every finding arrives."""

from stageflow import Pipeline, StageKind

from .stages.gateway import Detect, Enrich, Forward, Queue, Rank

PACE_S = 0.3  # a lookup and a record each so often: the uplink is shared, and an outage meets the middle of something


def build() -> Pipeline:
    return (
        Pipeline()
        .with_stage("detect", Detect(), StageKind.TRANSFORM)
        .with_stage("enrich", Enrich(PACE_S), StageKind.ENRICH, dependencies=("detect",))
        .with_stage("rank", Rank(), StageKind.TRANSFORM, dependencies=("enrich",))
        .with_stage("queue", Queue(), StageKind.WORK, dependencies=("rank",))
        .with_stage("forward", Forward(PACE_S), StageKind.WORK, dependencies=("queue",))
    )
