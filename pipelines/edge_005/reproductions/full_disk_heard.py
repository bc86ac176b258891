"""An interceptor keeps an audit record of each stage on the disk. The disk is full, it raises ENOSPC, and the pipeline is "ok"."""

import asyncio
import errno
import os
import sys

from stageflow.api import Pipeline, StageOutput, stage
from stageflow.pipeline.interceptors import BaseInterceptor


class Work:
    async def execute(self, ctx):
        return StageOutput.ok({"files": []})


class Audit(BaseInterceptor):
    name, priority = "audit", 50

    def __init__(self, path):
        self.path, self.error = path, None

    async def before(self, stage_name, ctx):
        return None

    async def after(self, stage_name, result, ctx):
        try:
            with open(self.path, "ab", buffering=0) as file:  # /dev/full stands for a full disk where there is none
                file.write(b"audit\n" * 1000)
                if not self.path.startswith("/dev/"):
                    os.fsync(file.fileno())
        except OSError as error:
            self.error = errno.errorcode[error.errno]
            raise


async def reproduce(path="/dev/full"):
    audit = Audit(path)
    try:
        results = await Pipeline.from_stages(stage("work", Work, "work"), name="audited").run(input_text="", interceptors=[audit])
        status = results["work"].status.value
    except Exception as error:
        status = type(error).__name__
    return {"error": audit.error, "status": status}


if __name__ == "__main__":
    print(asyncio.run(reproduce(*sys.argv[1:])))
