"""Machines that the far end has never heard of, somebody else's bytes under one of our ids, and a link that leaves as we send."""

from stageflow import Pipeline, StageKind

from .baseline import PACE_S
from .stages.gateway import Detect, Enrich, Forward, Queue, Rank
from .stages.intruder import Intrude


def build() -> Pipeline:
    return (
        Pipeline()
        .with_stage("detect", Detect("adversarial/events_strangers_240.csv"), StageKind.TRANSFORM)
        .with_stage("enrich", Enrich(), StageKind.ENRICH, dependencies=("detect",))
        .with_stage("rank", Rank(), StageKind.TRANSFORM, dependencies=("enrich",))
        .with_stage("queue", Queue(), StageKind.WORK, dependencies=("rank",))
        .with_stage("intrude", Intrude(), StageKind.WORK, dependencies=("queue",))
        .with_stage("forward", Forward(PACE_S), StageKind.WORK, dependencies=("intrude",))
    )
