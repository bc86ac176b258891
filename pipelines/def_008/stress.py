"""A busy watch: more than twice as many reports, faster than a lossy link takes them, into the same queue."""

from stageflow import Pipeline, StageKind

from .stages.forward import Account, Queue, Send
from .stages.watch import Audit, Classify, Collect


def build() -> Pipeline:
    return (
        Pipeline()
        .with_stage("collect", Collect("scale/watch_valid_372.csv"), StageKind.TRANSFORM)
        .with_stage("classify", Classify(), StageKind.ROUTE, dependencies=("collect",))
        .with_stage("audit", Audit(), StageKind.TRANSFORM, dependencies=("classify",))
        .with_stage("queue", Queue(0.03), StageKind.WORK, dependencies=("audit",))
        .with_stage("send", Send(), StageKind.WORK, dependencies=("audit",))
        .with_stage("account", Account(), StageKind.TRANSFORM, dependencies=("queue", "send"))
    )
