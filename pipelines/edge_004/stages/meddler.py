"""Somebody else on the network, who writes into our upload: at a wrong place, with a wrong checksum, and as if it were another file."""

import hashlib

from stageflow import StageOutput

from .far_end import FarEnd
from .park import the_upload
from .planning import Pacer
from .syncing import Sync


class Meddle:
    async def execute(self, ctx):
        name, data = the_upload()
        junk, answers = b"junk" * 16, []
        sync = Sync(FarEnd(), Pacer(), name, data)
        offset = sync.offset()
        for at, checksum in ((offset + 100, hashlib.sha256(junk).hexdigest()), (offset, "0" * 64)):
            headers = {"Upload-Offset": str(at), "Upload-Checksum": f"sha256 {checksum}"}
            answers.append(sync.until_answered("PATCH", headers, junk).status)
        other = {"Upload-Length": str(len(data) + 1), "Upload-Sha256": "0" * 64}
        answers.append(sync.until_answered("POST", other).status)
        return StageOutput.ok({"files": [], "answers": answers})
