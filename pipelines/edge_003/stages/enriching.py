"""What the far end knows of a machine, and what the device knows by itself when nobody answers.

    each finding ─► link thought up ───► ask, twice at most ─► remote
                    │   nobody answered          │
                    ▼                            ▼ 404, or no sense in it
                    link thought down ─► fallback    fallback
                    (asked again every RETRY_S)

Each finding keeps what it came from, and the span of time that this was decided in: from the last question that went unanswered
to now. So somebody else, who knows when the link was cut, can tell whether "nobody answered" is true.
"""

import json
import time

from .clock import boot_id, boottime_ns
from .far_end import Unreachable

RETRY_S = 3.0
TABLE = "assets"


class Enricher:
    def __init__(self, far_end, local, clock=time.monotonic):
        self._far_end, self._local, self._clock = far_end, local, clock
        self._down_since = None  # (boot-time clock, our clock at the last question): nobody has answered since

    def enrich(self, finding):
        """(site and criticality, how they were come by)."""
        asked_ns = boottime_ns()
        known, why = self._ask(finding["asset"], 2) if self._may_ask() else (None, "unreachable")
        told = {"source": "fallback" if known is None else "remote", "why": why}
        if why == "unreachable" and self._down_since:
            asked_ns = min(asked_ns, self._down_since[0])
        if known is None:
            known = self._local.get(finding["asset"].partition("-")[0], {"site": "unknown", "criticality": 9})  # nobody knows it: the worst
        return known, {**told, "asked_ns": asked_ns, "answered_ns": boottime_ns(), "boot": boot_id()}

    def _may_ask(self):
        return self._down_since is None or self._clock() - self._down_since[1] >= RETRY_S

    def _ask(self, asset, tries):
        """(what the far end knows, or None, and why not)."""
        began_ns = boottime_ns()
        for _ in range(1 if self._down_since else tries):
            try:
                answer = self._far_end.lookup(TABLE, asset)
            except Unreachable:
                continue
            self._down_since = None
            if answer.status == 404:
                return None, "unknown"
            known = sensible(answer)
            return (known, "") if known else (None, "wrong answer")
        self._down_since = (began_ns, self._clock())
        return None, "unreachable"


def sensible(answer):
    """Site and criticality of an answer, or None: whatever is at the other end is not believed blindly."""
    try:
        said = json.loads(answer.body) if answer.status == 200 else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or not isinstance(said.get("site"), str) or type(said.get("criticality")) is not int:
        return None
    return {"site": said["site"][:40], "criticality": said["criticality"]} if 1 <= said["criticality"] <= 9 else None
