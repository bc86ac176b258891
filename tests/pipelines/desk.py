"""Runs a pipeline with plain Stageflow in its working folder, and prints each stage's output as JSON:  desk.py ENTRY PIPELINE FOLDER"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys


def main(entry: str, pipeline: str, folder: str) -> None:
    os.chdir(folder)
    from stageflow.stages.context import PipelineContext  # type: ignore[import-not-found,unused-ignore]

    required = ("request_id", "session_id", "user_id", "org_id", "interaction_id")
    context = PipelineContext(pipeline_run_id=None, data={"_timeout_ms": 300_000}, **dict.fromkeys(required))
    graph = importlib.import_module(f"{entry}.{pipeline}").build().build()
    results = asyncio.run(graph.run(context))
    print(json.dumps({stage: output.data for stage, output in results.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
