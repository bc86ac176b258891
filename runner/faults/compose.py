"""Several profiles at once: what speaks against holding them together, and the programs that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from runner.model.device import DataLink
from runner.model.profile import Link, Profile
from runner.model.program import Program


class Problem(NamedTuple):
    """What speaks against it; `profile` is the one to blame, "" where it is the scenario's choice of several."""

    profile: str
    found: str
    expected: str
    do: str = ""


def problems(profiles: Mapping[str, Profile], link: DataLink | None, stages: Sequence[str]) -> list[Problem]:
    """Everything that speaks against holding `profiles` (by name) over an execution of `stages` on a device with this `link`."""
    return []


def programs_of(
    links: Sequence[Link], link: DataLink, execution: str, seed: int, capabilities: frozenset[str]
) -> tuple[Program, ...]:
    """One program for each link fault, named "<execution>.<fault>-<number>"."""
    raise NotImplementedError
