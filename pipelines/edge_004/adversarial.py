"""Pieces that are damaged on their way, somebody who writes into our upload, and a link that leaves whenever it sends."""

from stageflow import Pipeline, StageKind

from .stages.meddler import Meddle
from .stages.park import Pack, Plan, Produce, Upload, Verify


def build() -> Pipeline:
    return (
        Pipeline()
        .with_stage("produce", Produce(days=3), StageKind.TRANSFORM)
        .with_stage("pack", Pack(), StageKind.TRANSFORM, dependencies=("produce",))
        .with_stage("plan", Plan(), StageKind.WORK, dependencies=("pack",))
        .with_stage("meddle", Meddle(), StageKind.WORK, dependencies=("plan",))
        .with_stage("upload", Upload(spoil=4), StageKind.WORK, dependencies=("pack", "plan", "meddle"))
        .with_stage("verify", Verify(), StageKind.GUARD, dependencies=("pack", "upload"))
    )
