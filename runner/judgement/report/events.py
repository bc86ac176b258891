"""results/logs/coordinator_events.txt: the coordinator's journal as lines, for whoever wants to follow the run record by record.

One line per record: seconds since the run began, its number in `results/journal/coordinator.journal`, its kind, what it holds.
The lists of packages and hashes are shortened; the journal has them whole.
"""

from __future__ import annotations

import json

from runner.judgement.conclude import Conclusion
from runner.judgement.judge import one_line
from runner.judgement.timeline import Timeline

MAX_LINES = 20_000  # of a run of days, its first and its last half
LINE_LIMIT = 400


def files(conclusion: Conclusion) -> dict[str, str]:
    evidence, timeline = conclusion.evidence, Timeline(conclusion.evidence)
    records = evidence.coordinator
    left_out = max(0, len(records) - MAX_LINES)
    lines = ["   seconds  record  kind              what it holds (results/journal/coordinator.journal)"]
    for place, record in enumerate(records):
        if left_out and place == MAX_LINES // 2:
            lines.append(f"… {left_out} records left out …")
        if not left_out or not MAX_LINES // 2 <= place < MAX_LINES // 2 + left_out:
            said = one_line(json.dumps(record.payload, ensure_ascii=False, sort_keys=True))
            said = said if len(said) <= LINE_LIMIT else said[:LINE_LIMIT] + " …"
            lines.append(f"{timeline.coordinator_s(record.boottime_ns):10.3f}  {record.sequence:6}  {one_line(record.kind):16}  {said}")
    return {"results/logs/coordinator_events.txt": "\n".join([*lines, ""])}
