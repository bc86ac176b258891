"""The baseline's watch with its queue in memory, as plain Stageflow runs it: what a power failure does to that is there to be found."""

from stageflow import Pipeline, StageKind

from .stages.forward import Report, SendFromMemory
from .stages.watch import Collect, Decide


def build() -> Pipeline:
    return (
        Pipeline()
        .with_stage("collect", Collect("happy_path/watch_valid_144.csv"), StageKind.TRANSFORM)
        .with_stage("audit", Decide(), StageKind.TRANSFORM, dependencies=("collect",))
        .with_stage("send", SendFromMemory(0.06), StageKind.WORK, dependencies=("audit",))
        .with_stage("account", Report(), StageKind.TRANSFORM, dependencies=("send",))
    )
