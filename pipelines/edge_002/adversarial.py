"""A short day, so that it can be begun many times: each time its disk is damaged while the power is off."""

from stageflow import Pipeline, StageKind

from .stages.metering import Aggregate, Ingest, Ledger, Screen


def build() -> Pipeline:
    return (
        Pipeline()
        .with_stage("ingest", Ingest(), StageKind.TRANSFORM)
        .with_stage("screen", Screen(), StageKind.GUARD, dependencies=("ingest",))
        .with_stage("aggregate", Aggregate(), StageKind.TRANSFORM, dependencies=("screen",))
        .with_stage("ledger", Ledger(), StageKind.WORK, dependencies=("aggregate",))
    )
