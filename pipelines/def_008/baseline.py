"""A watch over a link that nobody jams: what comes of it is what must come of it under every jammer."""

from stageflow import Pipeline, StageKind

from .stages.forward import Account, Queue, Send
from .stages.watch import Audit, Classify, Collect


def build() -> Pipeline:
    """A new pipeline for one run: the queue is fed and drained side by side."""
    return (
        Pipeline()
        .with_stage("collect", Collect("happy_path/watch_valid_144.csv"), StageKind.TRANSFORM)
        .with_stage("classify", Classify(), StageKind.ROUTE, dependencies=("collect",))
        .with_stage("audit", Audit(), StageKind.TRANSFORM, dependencies=("classify",))
        .with_stage("queue", Queue(0.06), StageKind.WORK, dependencies=("audit",))
        .with_stage("send", Send(), StageKind.WORK, dependencies=("audit",))
        .with_stage("account", Account(), StageKind.TRANSFORM, dependencies=("queue", "send"))
    )
