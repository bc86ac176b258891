"""Whose fault is it?  Every error of this product answers that first.

    RunnerError
    ├── AskError        your files, flags or inventory: nothing has moved        exit 2
    ├── LabError        link, power, host, lease, disk: the lab cannot go on     exit 3
    └── BrokenPromise   our own bug: please report it, with the run folder       exit 4

Each carries facts as fields (`found`, `expected`, `where`, `do`), so that a person reads a
sentence and a program reads JSON made from the same values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Complaint:
    """One thing that is wrong: what stands there, what may stand there, and what to do."""

    found: str
    expected: str = ""
    where: str = ""  # file:line where a file is to blame
    do: str = ""

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.found}" if self.where else self.found]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.do:
            lines.append(f"  do: {self.do}")
        return "\n".join(lines)


class RunnerError(Exception):
    """The root: nothing else is raised on purpose by this product."""

    kind = "error"
    exit_code = 4

    def __init__(self, found: str, *, expected: str = "", where: str = "", do: str = "") -> None:
        super().__init__(found)
        self.complaints: tuple[Complaint, ...] = (Complaint(found, expected, where, do),)

    @classmethod
    def of(cls, complaints: Iterable[Complaint]) -> RunnerError:
        """One error that carries every complaint at once; there must be at least one."""
        every = tuple(complaints)
        first = every[0]
        error = cls(first.found, expected=first.expected, where=first.where, do=first.do)
        error.complaints = every
        return error

    def __str__(self) -> str:
        return "\n".join(str(complaint) for complaint in self.complaints)


class AskError(RunnerError):
    """What was asked for cannot be done as asked. No hardware has moved and no folder was made."""

    kind = "ask"
    exit_code = 2


class LabError(RunnerError):
    """The lab failed: a link, a relay, a host, a lease, a disk. Never a verdict on the software under test."""

    kind = "lab"
    exit_code = 3


class BrokenPromise(RunnerError):
    """Our bug. The message says what to send."""

    kind = "bug"
    exit_code = 4
