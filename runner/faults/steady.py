"""steady: nothing happens. The measuring stick that every other fault is held against."""

from __future__ import annotations

from runner.model.plan import CutPlan


def schedule(scenario: str) -> list[tuple[CutPlan, ...]]:
    """One execution without a cut."""
    return [()]
