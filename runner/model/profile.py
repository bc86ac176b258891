"""Profiles: faults over time. A profile is data; what a fault does is code in `runner/faults/`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from runner.model.base import Value


class Steady(Value):
    """No fault at all: the measuring stick."""

    fault: Literal["steady"]


class PowerCut(Value):
    """Power is cut at each of `points` in turn, over all stages; `random` cuts somewhere inside a stage's body."""

    fault: Literal["power_cut"]
    points: tuple[Literal["created", "before_flush", "after_flush", "after_ack", "random", "during_resume"], ...] = Field(min_length=1)


Damage = Literal["bit_flip", "torn_tail", "foreign_journal", "changed_pipeline"]


class Tamper(Value):
    """Each image: the power is cut, what lies on the disk is damaged while it is off, and the power comes back.

    `bit_flip` and `torn_tail` (whole 512-byte sectors lost) hit what was promised, at seeded places; `foreign_journal` is
    another execution's; `changed_pipeline` changes the code that the journal began with.
    """

    fault: Literal["tamper"]
    damage: tuple[Damage, ...] = Field(min_length=1)


Fault = Annotated[Steady | PowerCut | Tamper, Field(discriminator="fault")]


class Profile(Value):
    """One file in `profiles/`."""

    title: str
    faults: tuple[Fault, ...] = Field(min_length=1, max_length=1)  # one: no two are combined yet
    severs: tuple[Literal["power"], ...] = ()
