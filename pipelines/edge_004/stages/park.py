"""The park's stages. Domain work is in the modules beside; here it meets Stageflow, the disk and the far end.

    readings ─► produce ─► pack ─► plan ────────────► upload ──────────► verify
                results    zlib    announced, and     the rest, from     by hash, and what
                as CSV     hash    one piece timed    where it stands    it cost in bytes

The piece that is timed in `plan` is the first of the file: measuring costs nothing. What was sent is not kept here: the far end is
asked, after each interruption, and again after a restart.
"""

import base64
import hashlib
import json
import zlib

from stageflow import StageOutput

from . import counters, day
from .far_end import FarEnd
from .files import keep
from .planning import Pacer
from .syncing import Sync

RESULTS, PACKED = "results.csv", "results.z"


class Produce:
    """The results of so many days."""

    def __init__(self, days=1):
        self.days = days

    async def execute(self, ctx):
        made = day.results(day.read(), self.days)
        told = {"bytes": len(made), "sha256": hashlib.sha256(made).hexdigest(), "rows": made.count(b"\n") - 1}
        return StageOutput.ok({"files": [keep(RESULTS, made)], **told})


class Pack:
    """Compressed, and named by its hash. The bytes are told, too: another zlib packs otherwise, and whoever judges must unpack these."""

    async def execute(self, ctx):
        packed = zlib.compress(_read(RESULTS), 9)
        sha256 = hashlib.sha256(packed).hexdigest()
        told = {"bytes": len(packed), "sha256": sha256, "name": f"day-{sha256[:16]}", "packed": base64.b64encode(packed).decode()}
        return StageOutput.ok({"files": [keep(PACKED, packed)], **told})


class Plan:
    """Announces the file, sends one piece and takes the time: how large the others will be."""

    async def execute(self, ctx):
        counters.note("plan")
        pacer = Pacer()
        sync = Sync(FarEnd(), pacer, *the_upload(), after_each=lambda: counters.note("plan"))
        offset = sync.send(sync.begin(), pieces=1)
        told = {"offset": offset, "goodput_bytes_s": int(pacer.goodput or 0), "piece_bytes": pacer.piece_bytes, **sync.told}
        return StageOutput.ok({"files": [], **told})


class Upload:
    """The rest, from where the far end stands. `spoil`: each so many-th piece is damaged behind its checksum, as a bad cable does."""

    def __init__(self, spoil=0):
        self.spoil = spoil

    async def execute(self, ctx):
        counters.note("upload")
        planned = ctx.inputs.get_output("plan").data
        pacer = Pacer(planned["goodput_bytes_s"] or None, planned["piece_bytes"] // 2)
        sync = Sync(FarEnd(), pacer, *the_upload(), after_each=lambda: counters.note("upload"))
        began_at = sync.begin()
        offset = sync.send(began_at, spoil=self.spoil)
        return StageOutput.ok(
            {"files": [], "began_at": began_at, "offset": offset, "goodput_bytes_s": int(pacer.goodput or 0), **sync.told}
        )


class Verify:
    """What the far end says it has, and what the wire has carried for it."""

    async def execute(self, ctx):
        pacer = Pacer(ctx.inputs.get_output("upload").data["goodput_bytes_s"] or None)
        name, data = the_upload()
        there = Sync(FarEnd(), pacer, name, data, after_each=lambda: counters.note("verify")).until_answered("GET")
        try:
            said = json.loads(there.body)
        except ValueError:
            said = {}
        equal = isinstance(said, dict) and said.get("sha256") == hashlib.sha256(data).hexdigest()
        return StageOutput.ok({"files": [], "equal": equal, "counters": counters.noted()})


def the_upload():
    """The name that the file goes by, and its bytes."""
    data = _read(PACKED)
    return f"day-{hashlib.sha256(data).hexdigest()[:16]}", data


def _read(name):
    with open(name, "rb") as file:
        return file.read()
