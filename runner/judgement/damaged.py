"""Is a run folder damaged so that nothing can be concluded from it, and what is to be typed then?

    config/run_config.json, coordinator.journal   nobody can say what was planned, or what happened: put back a copy, or set it aside
    findings.json                                 is made from the rest: `runner report` makes it again

Only these are looked at, so that a list of many runs can say it. A device's journal that is damaged is judged, not refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runner.errors import AskError, Complaint, LabError, RunnerError
from runner.judgement.reading import config_of, coordinator_of
from runner.lab.folder import RunFolder, read_json

UNREADABLE = (AskError, LabError, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)  # whatever stands in a file
WHOLE = "the folder as `runner exec` left it"


@dataclass(frozen=True)
class Damage:
    """What is wrong with a folder, and the command that helps. Where it can be `mended`, all that was lost is made from the rest."""

    complaint: Complaint
    mended: bool

    def __str__(self) -> str:
        return f"{self.complaint.found}: {self.complaint.do}"


def damage(folder: RunFolder) -> Damage | None:
    """None for a folder from which something can be concluded, and something has been."""
    name = f"{folder.root.parent.name}/{folder.run_id}"
    if lost := _wrong(folder, (config_of, coordinator_of), f"runner run prune --damaged {name}"):
        return Damage(lost, mended=False)
    wrong = _wrong(folder, (_findings,), f"runner report {name}")
    return Damage(wrong, mended=True) if wrong else None


def _wrong(folder: RunFolder, looks: tuple[Callable[[RunFolder], object], ...], do: str) -> Complaint | None:
    for look in looks:
        try:
            look(folder)
        except UNREADABLE as error:
            first = error.complaints[0] if isinstance(error, RunnerError) else Complaint(f"{type(error).__name__}: {error}")
            found, where = (text.replace(f"{folder.root}/", "") for text in (first.found, first.where))
            return Complaint(f"{where}: {found}" if where else found, first.expected or WHOLE, str(folder.root), do)
    return None


def _findings(folder: RunFolder) -> None:
    said = read_json(folder.findings)
    about, listed = (said.get("metadata"), said.get("findings")) if isinstance(said, dict) else (None, None)
    if not isinstance(about, dict) or not isinstance(about.get("status"), str) or not isinstance(listed, list):
        raise AskError("it holds no status and no list of findings", expected="as `runner report` makes it", where=str(folder.findings))
