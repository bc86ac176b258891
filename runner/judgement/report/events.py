"""Journals as lines, for whoever wants to follow the run record by record.

results/logs/coordinator_events.txt     the coordinator's
results/logs/guard_events.txt           the device's guard's: armed, on, off, reverted; where there is one

One line per record: seconds since the run began, its number in the journal, its kind, what it holds. A boot without a hello has no
seconds. The lists of packages and hashes are shortened; the journal has them whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from runner.judgement.conclude import Conclusion
from runner.judgement.judge import one_line
from runner.judgement.timeline import Timeline
from runner.ondevice.journal import Record

GUARD_EVENTS = "results/logs/guard_events.txt"
MAX_LINES = 20_000  # of a run of days, its first and its last half
LINE_LIMIT = 400


def files(conclusion: Conclusion) -> dict[str, str]:
    evidence, timeline = conclusion.evidence, Timeline(conclusion.evidence)
    coordinator = _lines(
        evidence.coordinator, lambda record: timeline.coordinator_s(record.boottime_ns), "results/journal/coordinator.journal"
    )
    guard = _lines(evidence.guard, timeline.at, "results/journal/device-guard.journal")
    return {"results/logs/coordinator_events.txt": coordinator, **({GUARD_EVENTS: guard} if evidence.guard else {})}


def _lines(records: Sequence[Record], at: Callable[[Record], float | None], journal: str) -> str:
    left_out = max(0, len(records) - MAX_LINES)
    lines = [f"   seconds  record  kind              what it holds ({journal})"]
    for place, record in enumerate(records):
        if left_out and place == MAX_LINES // 2:
            lines.append(f"… {left_out} records left out …")
        if not left_out or not MAX_LINES // 2 <= place < MAX_LINES // 2 + left_out:
            said = one_line(json.dumps(record.payload, ensure_ascii=False, sort_keys=True))
            said = said if len(said) <= LINE_LIMIT else said[:LINE_LIMIT] + " …"
            at_s = at(record)
            when = "?" if at_s is None else f"{at_s:.3f}"
            lines.append(f"{when:>10}  {record.sequence:6}  {one_line(record.kind):16}  {said}")
    return "\n".join([*lines, ""])
