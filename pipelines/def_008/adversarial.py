"""A short watch with lines in it that are no report, while somebody answers what is sent with jamming.

An acknowledgement is waited for so shortly here that each one that comes late is one more message at risk of going twice.
"""

from stageflow import Pipeline, StageKind

from .stages.forward import Account, Queue, Send
from .stages.watch import Audit, Classify, Collect


def build() -> Pipeline:
    return (
        Pipeline()
        .with_stage("collect", Collect("adversarial/watch_malformed_60.csv"), StageKind.TRANSFORM)
        .with_stage("classify", Classify(), StageKind.ROUTE, dependencies=("collect",))
        .with_stage("audit", Audit(), StageKind.TRANSFORM, dependencies=("classify",))
        .with_stage("queue", Queue(0.1), StageKind.WORK, dependencies=("audit",))
        .with_stage("send", Send(ack_limit_s=1.5), StageKind.WORK, dependencies=("audit",))
        .with_stage("account", Account(), StageKind.TRANSFORM, dependencies=("queue", "send"))
    )
