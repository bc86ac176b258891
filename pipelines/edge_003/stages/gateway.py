"""The gateway's stages. Domain work is in the modules beside; here it meets Stageflow, the disk and the far end.

    events.csv ─► detect ─► enrich ─────────► rank ─► queue ──────► forward ─────► the far end
                            the far end, or           outbox.db     in order,
                            a smaller table           (durable)     until it is told

What was promised lies in files that are named in `files`. The queue is not: it changes later, and it guards itself.
"""

import hashlib
import json
import time

from stageflow import StageOutput

from . import events
from .enriching import Enricher
from .far_end import FarEnd, Patience
from .files import keep, load
from .forwarding import drain
from .outbox import Outbox

FALLBACK = events.DATA / "fallback" / "assets_fallback_3.json"


class Detect:
    """Lines → events → findings."""

    def __init__(self, name="happy_path/events_valid_300.csv"):
        self.name = name

    async def execute(self, ctx):
        read, unreadable = events.read(self.name)
        found = events.findings(read)
        told = {"events": len(read), "unreadable": unreadable, "findings": len(found), "ids": [each["id"] for each in found]}
        return StageOutput.ok({"files": [keep("findings.json", found)], **told})


class Enrich:
    """Site and criticality of each finding's machine. `pace_s`: the far end answers so many questions and no more."""

    def __init__(self, pace_s=0.0):
        self.pace_s = pace_s

    async def execute(self, ctx):
        enricher = Enricher(FarEnd(), json.loads(FALLBACK.read_text()))
        enriched, lookups = [], []
        for finding in load("findings.json"):
            known, told = enricher.enrich(finding)
            enriched.append({**finding, **known, "source": told["source"]})
            lookups.append({"id": finding["id"], **told})
            time.sleep(self.pace_s)
        remote = sum(told["source"] == "remote" for told in lookups)
        counts = {"remote": remote, "fallback": len(lookups) - remote}
        return StageOutput.ok({"files": [keep("enriched.json", enriched)], **counts, "lookups": lookups})


class Rank:
    """Worst first."""

    async def execute(self, ctx):
        ranked = events.ranked(load("enriched.json"))
        return StageOutput.ok({"files": [keep("ranked.json", ranked)], "order": [each["id"] for each in ranked]})


class Queue:
    """Every finding into the outbox, in the order of its rank; what an earlier life has put in is there already."""

    async def execute(self, ctx):
        outbox = Outbox()
        before, hashes = outbox.put_in, []
        for finding in load("ranked.json"):
            body = events.canonical(finding)
            outbox.put(finding["id"], body, finding["criticality"])
            hashes.append([finding["id"], hashlib.sha256(body).hexdigest()])
        told = {"queued": outbox.put_in, "from_before": before, "depth": outbox.depth, "bodies": hashes}
        outbox.close()
        return StageOutput.ok({"files": [], **told})


class Forward:
    """The outbox to the far end. With `tries`, it gives up after so many and asks Stageflow for another go, as Stageflow provides."""

    def __init__(self, pace_s=0.0, tries=None):
        self.pace_s, self.tries = pace_s, tries

    async def execute(self, ctx):
        outbox = Outbox()
        told = drain(outbox, FarEnd(patience=Patience(most_s=120.0)), self.pace_s, self.tries)
        told = {"files": [], **told, "depths": outbox.depths()}
        outbox.close()
        if self.tries is not None and told["left"]:
            return StageOutput.retry(f"{told['left']} findings are still to be sent", told)
        return StageOutput.ok(told)
