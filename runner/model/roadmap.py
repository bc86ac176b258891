"""The roadmap: every target that is to be tested, in which phase, and which comes next.

    pipelines/roadmap.yaml   made from docs/ROADMAP.md by scripts/make_roadmap.py; never edited by hand

Whether an entry was tested is not written here: it is read from `runs/`, each time.
"""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from runner.model.base import Value

Priority = Literal["P0", "P1", "P2"]
Risk = Literal["Catastrophic", "Severe", "High", "Moderate", "Low"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
RISKS: tuple[Risk, ...] = get_args(Risk)
NOT_APPLICABLE = "N/A"


class RoadmapEntry(Value):
    """One row of the roadmap."""

    id: str = Field(pattern=r"^[A-Z0-9]+(-[A-Z0-9]+)*-[0-9]{3}$", max_length=64)
    phase: int = Field(ge=1, le=5)
    tier: int = Field(ge=1, le=10)
    priority: Priority
    risk: Risk
    title: str = Field(min_length=1)
    section: str
    industry: str = NOT_APPLICABLE
    deployment_mode: str = NOT_APPLICABLE

    @property
    def turn(self) -> tuple[int, int, int]:
        """What execution order sorts by: phase, then priority, then risk. Rows of one turn keep the roadmap's order."""
        return self.phase, PRIORITIES.index(self.priority), RISKS.index(self.risk)


class Roadmap(Value):
    """`pipelines/roadmap.yaml`, in the roadmap's own order."""

    entries: tuple[RoadmapEntry, ...] = Field(min_length=1)

    def find(self, entry_id: str) -> RoadmapEntry | None:
        """The row with this id, in either case."""
        return next((row for row in self.entries if row.id == entry_id.upper()), None)
