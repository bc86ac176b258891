"""What was measured of one profile, as it is kept in results.json: the numbers themselves. What they mean is judged when it is shown.

    profile ──► links (asked) + before, during, after (measured) ──► rows: asked, measured, tolerance, within

A fault that comes and goes is judged from the log of the light probe, which is long: of those the rows are kept.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Self

from benchmarks.profiles import Row
from runner.judgement import reached


@dataclass
class Kept:
    """One profile. `why` says why there is nothing, where there is nothing."""

    name: str
    title: str
    does: str  # in the words of the product
    links: list[Row] = field(default_factory=list)
    before: Row = field(default_factory=dict)
    during: Row = field(default_factory=dict)
    after: Row = field(default_factory=dict)
    came_and_went: list[Row] = field(default_factory=list)
    seconds: float = 0.0
    attempts: int = 0
    why: str = ""

    def as_json(self) -> Row:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Row) -> Self:
        return cls(**value)

    @property
    def rows(self) -> list[Row]:
        """Asked and measured, as the product judges it today."""
        return reached.compare(self.links, self.before, self.during) if self.during else self.came_and_went

    @property
    def reached(self) -> bool:
        return bool(self.rows) and all(row["within"] for row in self.rows)

    @property
    def reverted(self) -> bool:
        return bool(self.after) and all(row["within"] for row in reached.restored(self.before, self.after))

    @property
    def not_as_before(self) -> list[Row]:
        """What of the link was not as before when the fault was off again; nothing where nothing was measured then."""
        return [row for row in reached.restored(self.before, self.after) if not row["within"]] if self.after else []

    @property
    def verdict(self) -> str:
        """In words: what a reader must know of it."""
        if self.why:
            return self.why
        outside = [row["what"] for row in self.rows if not row["within"]]
        said = "reached" if self.reached else f"not reached: {', '.join(outside) or 'nothing was measured'}"
        return said if self.reverted else f"{said}; NOT AS IT WAS AFTERWARDS"
