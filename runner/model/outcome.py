"""One table: what happened → status, verdict, exit code, JUnit. Everything that concludes, concludes here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

Status = Literal["in_progress", "completed", "failed", "blocked"]
Verdict = Literal["PASS", "PASS_WITH_CONCERNS", "NEEDS_WORK", "FAIL"]

SEVERITIES = ("critical", "high", "medium", "low", "info")


class Row(NamedTuple):
    status: Status | None
    verdict: Verdict | None
    exit_code: int
    junit: Literal["pass", "failure", "error"] | None


TABLE: dict[str, Row] = {
    "all_held": Row("completed", "PASS", 0, "pass"),
    "held_with_concerns": Row("completed", "PASS_WITH_CONCERNS", 0, "pass"),
    "must_hold_failed": Row("completed", "NEEDS_WORK", 1, "failure"),
    "must_hold_failed_badly": Row("completed", "FAIL", 1, "failure"),
    "ask": Row(None, None, 2, None),
    "lab": Row("blocked", None, 3, "error"),
    "bug": Row("failed", None, 4, "error"),
    "interrupted": Row("failed", None, 130, "error"),
}


def judge(failed_must_hold: Iterable[str], observed: Iterable[str], cuts_counted: int, bar: int, *, power_failed: bool) -> str:
    """The row of a run that reached its end.

    `failed_must_hold` and `observed` are the severities of failed checks by what was asked of them. An
    observed finding above low, fewer counted cuts than the entry's bar, or cuts that were only process
    crashes (not `power_failed`) are concerns.
    """
    failed = set(failed_must_hold)
    if failed & {"critical", "high"}:
        return "must_hold_failed_badly"
    if failed:
        return "must_hold_failed"
    if set(observed) & {"critical", "high", "medium"} or cuts_counted < bar or not power_failed:
        return "held_with_concerns"
    return "all_held"


def failure_rate_bound(failures: int, cuts: int) -> float | None:
    """Upper 95 % bound on the failure rate after `cuts` cuts without a failure: the rule of three, 3/n.

    None where it says nothing: a failure was seen, or three or fewer cuts were made.
    """
    return 3 / cuts if failures == 0 and cuts > 3 else None
