"""What Stageflow itself does on a device that has too little: each of `reproductions/`, run there, and told as it came."""

import os

from stageflow import StageOutput

from ..reproductions import full_disk_heard, snapshot_small, timeout_kept


class Timeout:
    async def execute(self, ctx):
        return StageOutput.ok({"files": [], **(await timeout_kept.reproduce())})


class FullDisk:
    """On the small disk that is full; on /dev/full, where there is none."""

    async def execute(self, ctx):
        folder = os.environ.get("SCARCE_FOLDER")
        path = os.path.join(folder, "audit.log") if folder else "/dev/full"
        return StageOutput.ok({"files": [], **(await full_disk_heard.reproduce(path))})


class Snapshot:
    async def execute(self, ctx):
        return StageOutput.ok({"files": [], **(await snapshot_small.reproduce())})
