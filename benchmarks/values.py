"""What is compared, as values: a case, its contenders and goals going in; rows, ratios and verdicts coming out. No I/O.

Case ── contenders: ours first ──► samples, a list for each ──► Row: median, spread, ratio to ours ──► Judged goals
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OURS = "runner"  # a contender whose name begins so is the product; all others are peers, or floors below which nobody gets


class Missing(Exception):
    """A contender cannot take part; the text says why, as the table will."""


@dataclass(frozen=True)
class Contender:
    """Somebody who does the work of a case. `sample` does it once and returns the value; `before` and `after` are not timed.

    Each may raise: Missing, or anything else, which ends this contender's part in the case and is named in the table.
    """

    name: str
    sample: Callable[[], float]
    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Goal:
    """Ours is to be at most `at_most` times the contender `than`; with no such contender at most that value in the case's unit."""

    at_most: float
    than: str = ""
    ours: str = OURS


@dataclass(frozen=True)
class Case:
    """One question. The first contender is ours, and ratios are taken to it."""

    title: str
    unit: str  # "s", "ms", "µs", "%", "MB"
    contenders: Sequence[Contender]
    goals: Sequence[Goal] = ()
    note: str = ""
    rounds: int = 0  # 0: as many as the run makes


@dataclass(frozen=True)
class Row:
    """What became of one contender: samples in the case's unit, or why there are none."""

    name: str
    samples: list[float] = field(default_factory=list)
    why_not: str = ""

    @property
    def median(self) -> float | None:
        return statistics.median(self.samples) if self.samples else None


@dataclass(frozen=True)
class Result:
    """A case that was measured, as results.json keeps it."""

    measurement: str
    title: str
    unit: str
    rows: list[Row]
    goals: list[Goal]
    note: str = ""

    def row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.name == name), None)

    def ratio(self, row: Row) -> float | None:
        """This row's median in ours: 2 is twice as long as the first row; None where one of them is missing."""
        ours = self.rows[0].median
        return None if row.median is None or not ours else row.median / ours

    def as_json(self) -> dict[str, Any]:
        return {
            "measurement": self.measurement,
            "title": self.title,
            "unit": self.unit,
            "note": self.note,
            "rows": [{"name": row.name, "samples": [rounded(s) for s in row.samples], "why_not": row.why_not} for row in self.rows],
            "goals": [{"at_most": goal.at_most, "than": goal.than, "ours": goal.ours} for goal in self.goals],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Result:
        rows, goals = [Row(**row) for row in value["rows"]], [Goal(**goal) for goal in value["goals"]]
        return cls(value["measurement"], value["title"], value["unit"], rows, goals, value["note"])


@dataclass(frozen=True)
class Judged:
    """A goal and what was found. `met` is None where it could not be measured."""

    result: Result
    goal: Goal
    found: float | None

    @property
    def met(self) -> bool | None:
        return None if self.found is None else self.found <= self.goal.at_most


def judge(result: Result) -> list[Judged]:
    """Every goal of a case, held against its medians."""
    judged = []
    for goal in result.goals:
        ours, peer = result.row(goal.ours), result.row(goal.than) if goal.than else None
        value, base = ours.median if ours else None, (peer.median if peer else None) if goal.than else 1.0
        judged.append(Judged(result, goal, value / base if value is not None and base else None))
    return judged


def rounded(value: float) -> float:
    """Four significant digits: more would be noise that is kept."""
    return float(f"{value:.4g}")
