"""The day's work without any fault: what every recovery is compared with."""

from stageflow import Pipeline, StageKind

from .stages.metering import Aggregate, Forecast, Ingest, Ledger, Screen, Seal, Train


def build() -> Pipeline:
    """A new pipeline for one run: seven stages, each of which leaves one fsynced file."""
    return (
        Pipeline()
        .with_stage("ingest", Ingest(), StageKind.TRANSFORM)
        .with_stage("screen", Screen(), StageKind.GUARD, dependencies=("ingest",))
        .with_stage("aggregate", Aggregate(), StageKind.TRANSFORM, dependencies=("screen",))
        .with_stage("train", Train(), StageKind.WORK, dependencies=("aggregate",))
        .with_stage("forecast", Forecast(), StageKind.ENRICH, dependencies=("aggregate", "train"))
        .with_stage("ledger", Ledger(), StageKind.WORK, dependencies=("aggregate", "forecast"))
        .with_stage("seal", Seal(), StageKind.TRANSFORM, dependencies=("ledger",))
    )
