"""Much at once: fan-out over eight stages and large contexts, and the device runs several of these pipelines side by side."""

from stageflow import Pipeline, StageKind

from .stages.fanout import SHARDS, Merge, Shard, Slice


def build() -> Pipeline:
    shards = tuple(f"shard_{number}" for number in range(SHARDS))
    pipeline = Pipeline().with_stage("slice", Slice(), StageKind.TRANSFORM)
    for number, name in enumerate(shards):
        pipeline = pipeline.with_stage(name, Shard(number), StageKind.WORK, dependencies=("slice",))
    return pipeline.with_stage("merge", Merge(), StageKind.TRANSFORM, dependencies=("slice", *shards))
