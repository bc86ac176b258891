"""Entries of the roadmap: which scenarios an entry is made of, and what must hold in each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from runner.model.base import Name, Value

EntryId = Annotated[str, Field(pattern=r"^[A-Z0-9]+(-[A-Z0-9]+)*-[0-9]{3}$", max_length=64)]
Category = Literal["correctness", "reliability", "performance", "security", "scalability", "observability"]
Severity = Literal["critical", "high", "medium", "low", "info"]


class CheckUse(Value):
    """A check that a scenario uses, and how bad it is when it fails."""

    check: str
    severity: Severity
    category: Category | None = Field(None, description="which of a run's test files it belongs to; known for checks that every entry has")
    judge: Literal["reached"] | None = Field(None, description="it asks after the fault, not the software: not held is not reached")


class Scenario(Value):
    """One pipeline under one profile, or under several at once. `durability` is a choice, never a mask."""

    pipeline: str = Field(pattern=r"^[a-z_][a-z0-9_]*$", description="a module beside entry.yaml")
    profile: str | tuple[str, ...] = Field(min_length=1)
    durability: Literal["journaled", "native"]
    judge: Literal["must_hold", "observe"]  # observed: what fails is found and reported, and does not fail the run
    stages: tuple[str, ...] = Field(min_length=1)
    checks: tuple[CheckUse, ...] = Field(min_length=1)
    lanes: int = Field(1, ge=1, le=16, description="how many of this pipeline run at once")
    cuts: int | None = Field(None, ge=1, description="at most so many cuts, unless the scenario is asked for by name")
    limit_s: float = Field(600.0, gt=0, description="how long an execution may take to its next planned cut, or to its end")

    @property
    def profiles(self) -> tuple[str, ...]:
        return (self.profile,) if isinstance(self.profile, str) else self.profile


class Limits(Value):
    """Time limits in seconds, each counted from the supervisor's process start after a restart."""

    restored_s: float = Field(gt=0)
    running_again_s: float = Field(gt=0)


class CutBar(Value):
    """How many counted cuts a default run makes, a quick one makes, and a full PASS needs (0: an entry that is not about cuts)."""

    default: int = Field(ge=1)
    quick: int = Field(ge=1)
    bar: int = Field(ge=0)


class Entry(Value):
    """`pipelines/<entry>/entry.yaml`."""

    id: EntryId
    title: str
    priority: Literal["P0", "P1", "P2"]
    risk: Literal["Catastrophic", "Severe", "High", "Moderate", "Low"]
    industry: str
    deployment_mode: str
    stageflow: str = "1.2.0"
    far_end: tuple[Literal["http", "mqtt"], ...] = Field((), description="what the far end of the data link serves to the pipelines")
    limits: Limits
    cuts: CutBar
    scenarios: dict[Name, Scenario] = Field(min_length=1)
