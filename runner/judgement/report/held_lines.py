"""What FINAL_REPORT.md says alike of whatever the guard held: when it was on, and what was asked and measured."""

from __future__ import annotations

from runner.judgement.report.held import Held, Row
from runner.judgement.report.markdown import code, table, words

MAX_WINDOWS = 40  # of one program in the report; the guard's journal has all


def when_on(held: Held) -> list[str]:
    """What was on when, each time in order."""
    rows = []
    for name, windows in held.by_program.items():
        for window in windows[:MAX_WINDOWS]:
            rows.append((code(name), words(window.word), _second(window.began_s), _second(window.ended_s), words(window.ended_by or "-")))
        if len(windows) > MAX_WINDOWS:
            rows.append((code(name), f"{len(windows) - MAX_WINDOWS} more times", "-", "-", "-"))
    if not rows:
        return ["Nothing of it was ever on, by the guard's journal.", ""]
    return table(("fault", "what was on", "from s", "to s", "then"), rows)


def asked_and_measured(of: str, rows: list[Row]) -> list[str]:
    """Each row of what was asked `of` something; what is not within says no."""
    cells = [
        (*(words(row[key] or "-") for key in ("what", "asked", "measured", "tolerance")), "yes" if row["within"] else "**no**")
        for row in rows
    ]
    return table((of, "asked", "measured", "tolerance", "within"), cells) if cells else ["Nothing was measured.", ""]


def _second(at_s: float | None) -> str:
    return "-" if at_s is None else f"{at_s:.1f}"
