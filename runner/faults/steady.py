"""steady: nothing happens. The measuring stick that every other fault is held against.

As a program over the data link it is one step without a command: nothing is put there, so there is nothing to take back, and
the device's journal proves it. That the device is as it was says its fingerprint, taken before and after like any other's.
"""

from __future__ import annotations

from runner.faults.kernel import NOTHING_BEFORE, Before
from runner.model.device import DataLink
from runner.model.plan import CutPlan
from runner.model.profile import Steady
from runner.model.program import Program, Step


def schedule(scenario: str) -> list[tuple[CutPlan, ...]]:
    """One execution without a cut."""
    return [()]


def program(
    settings: Steady, link: DataLink, name: str, seed: int, capabilities: frozenset[str], before: Before = NOTHING_BEFORE
) -> Program:
    """Armed, begun and reverted like every program, and without any act."""
    return Program(
        name=name,
        fault="steady",
        interface=link.interface,
        resources=(),
        steps=(Step(at_s=0.0, acts=(), word="as before", on=False),),
        undo=(),
        signs=(),
    )


def figures(settings: Steady) -> str:
    return "nothing"
