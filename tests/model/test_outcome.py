"""The one table, row by row, and what leads to each row."""

from __future__ import annotations

import pytest

from runner.errors import AskError, BrokenPromise, LabError
from runner.model.outcome import SEVERITIES, TABLE, failure_rate_bound, judge

BAR = 50


def test_the_table_is_the_one_that_was_agreed() -> None:
    """What happened → status, verdict, exit code, JUnit; a change here is a change of the product's contract."""
    assert {name: tuple(row) for name, row in TABLE.items()} == {
        "all_held": ("completed", "PASS", 0, "pass"),
        "held_with_concerns": ("completed", "PASS_WITH_CONCERNS", 0, "pass"),
        "must_hold_failed": ("completed", "NEEDS_WORK", 1, "failure"),
        "must_hold_failed_badly": ("completed", "FAIL", 1, "failure"),
        "ask": (None, None, 2, None),
        "lab": ("blocked", None, 3, "error"),
        "bug": ("failed", None, 4, "error"),
        "interrupted": ("failed", None, 130, "error"),
    }


def test_no_error_of_the_infrastructure_is_a_verdict() -> None:
    """Only completed runs have a verdict, only verdicts are failures, and errors exit as the table says."""
    for name, row in TABLE.items():
        assert (row.status == "completed") == (row.verdict is not None) == (row.junit in ("pass", "failure")), name
    assert [TABLE[error.kind].exit_code for error in (AskError, LabError, BrokenPromise)] == [2, 3, 4]
    assert [error.exit_code for error in (AskError, LabError, BrokenPromise)] == [2, 3, 4]


@pytest.mark.parametrize(
    ("failed", "observed", "cuts", "row"),
    [
        ([], [], BAR, "all_held"),
        ([], [], BAR + 1, "all_held"),
        ([], [], BAR - 1, "held_with_concerns"),
        ([], ["low"], BAR, "all_held"),
        ([], ["info"], BAR, "all_held"),
        ([], ["medium"], BAR, "held_with_concerns"),
        ([], ["high"], BAR, "held_with_concerns"),
        ([], ["critical"], BAR, "held_with_concerns"),
        (["info"], [], BAR, "must_hold_failed"),
        (["low"], [], BAR, "must_hold_failed"),
        (["medium"], ["critical"], 0, "must_hold_failed"),
        (["low", "high"], [], BAR, "must_hold_failed_badly"),
        (["critical"], [], BAR, "must_hold_failed_badly"),
    ],
)
def test_a_run_that_reached_its_end_has_one_row(failed: list[str], observed: list[str], cuts: int, row: str) -> None:
    """The worst failed `must_hold` decides; observations and missing cuts are concerns and never failures."""
    assert judge(failed, observed, cuts, BAR, power_failed=True) == row
    assert judge(iter(failed), iter(observed), cuts, BAR, power_failed=True) == row


def test_process_crashes_are_never_a_full_pass() -> None:
    """However many crashes were survived, the power has not failed yet; a failure stays a failure."""
    assert judge([], [], BAR, BAR, power_failed=False) == "held_with_concerns"
    assert judge(["high"], [], BAR, BAR, power_failed=False) == "must_hold_failed_badly"


def test_severities_stand_from_worst_to_least() -> None:
    """Whoever looks for the worst takes the first."""
    assert SEVERITIES == ("critical", "high", "medium", "low", "info")


@pytest.mark.parametrize(
    ("failures", "cuts", "bound"), [(0, 0, None), (0, 3, None), (0, 4, 0.75), (0, 9, 1 / 3), (0, 50, 0.06), (0, 300, 0.01), (1, 300, None)]
)
def test_the_rule_of_three_bounds_what_was_not_seen(failures: int, cuts: int, bound: float | None) -> None:
    """3/n after n cuts without a failure; nothing where that says nothing."""
    assert failure_rate_bound(failures, cuts) == pytest.approx(bound)


@pytest.mark.parametrize("cuts", [10, 50, 300])
def test_the_bound_is_really_at_95_percent(cuts: int) -> None:
    """A device that fails as often as the bound says passes all cuts in at most one run out of twenty."""
    bound = failure_rate_bound(0, cuts)
    assert bound is not None
    assert (1 - bound) ** cuts <= 0.05
