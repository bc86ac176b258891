"""A day with a side effect in it, as plain Stageflow runs it: what that loses when the power fails is there to be found."""

from stageflow import Pipeline, StageKind

from .stages.alarms import Dispatch, Tally
from .stages.metering import Aggregate, Ingest, Screen, Train


def build() -> Pipeline:
    return (
        Pipeline()
        .with_stage("ingest", Ingest(), StageKind.TRANSFORM)
        .with_stage("dispatch", Dispatch(), StageKind.WORK, dependencies=("ingest",))
        .with_stage("screen", Screen(), StageKind.GUARD, dependencies=("dispatch",))
        .with_stage("aggregate", Aggregate(), StageKind.TRANSFORM, dependencies=("screen",))
        .with_stage("train", Train(), StageKind.WORK, dependencies=("aggregate",))
        .with_stage("tally", Tally(), StageKind.TRANSFORM, dependencies=("train",))
    )
