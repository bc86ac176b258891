"""Every finding of a lab, joined over its runs.

    runs/EDGE-002/run-…-001/findings.json ┐                      same fingerprint
    runs/EDGE-002/run-…-002/findings.json ├─ Sighting, Sighting ─────────────────→ Case ─→ its present status
    runs/EDGE-002/imported/findings.json  ┘                                         ↑
    runs/decisions.jsonl ────────────────────── Decision, Decision ─────────────────┘

The last decision counts, with one exception: a *resolved* finding that a run finds which began after the decision is
open again, and *regressed*. A folder that cannot be read is reported and hides no other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from runner.errors import AskError, Complaint
from runner.judgement import decisions
from runner.lab.folder import RunFolder, write_text
from runner.lab.lock import locked
from runner.model.finding import TYPE_CODES, Decision, Finding, Findings, FindingStatus
from runner.model.outcome import SEVERITIES

IMPORTED = "imported"  # the folder beside an entry's runs that holds what came from elsewhere
NO_COMPONENT = "unspecified"
MAX_BYTES = 64_000_000


@dataclass(frozen=True)
class Sighting:
    """One finding in one run."""

    entry: str
    run: str
    since: str  # when that run began; of an imported finding, when it was made
    folder: Path
    finding: Finding

    @property
    def ref(self) -> str:
        return f"{self.entry}/{self.run}/{self.finding.id}"


@dataclass(frozen=True)
class Case:
    """One finding in all the runs that found it, oldest first, with what was decided about it, oldest first."""

    sightings: tuple[Sighting, ...]
    decisions: tuple[Decision, ...] = ()

    @property
    def latest(self) -> Sighting:
        return self.sightings[-1]

    @property
    def runs(self) -> list[str]:
        return list(dict.fromkeys(f"{seen.entry}/{seen.run}" for seen in self.sightings))

    @cached_property
    def regressed(self) -> bool:
        """Whether it was resolved, and found again by a run that began later."""
        return bool(self.decisions) and self.decisions[-1].status == "resolved" and self.latest.since > self.decisions[-1].at

    @cached_property
    def status(self) -> FindingStatus:
        if self.regressed:
            return "open"
        return self.decisions[-1].status if self.decisions else self.latest.finding.status

    def present(self, seen: Sighting) -> dict[str, Any]:
        """A sighting as JSON, with what is known of it today."""
        value = seen.finding.model_dump(mode="json", exclude_none=True)
        value |= {"run_id": seen.run, "roadmap_entry_id": seen.entry, "status": self.status}
        if self.decisions:
            last = self.decisions[-1]
            value["updated_at"] = self.latest.since if self.regressed else last.at
            for key in ("resolution", "resolved_at"):
                value.pop(key, None)
            if last.resolution and not self.regressed:
                value |= {"resolution": last.resolution.model_dump(mode="json", exclude_none=True), "resolved_at": last.at}
        return value | ({"regressed": True} if self.regressed else {})

    def row(self) -> dict[str, Any]:
        """The case as one row of a list."""
        found, runs = self.latest.finding, self.runs
        return {
            "id": found.id,
            "fingerprint": found.fingerprint,
            "entry": self.latest.entry,
            "severity": found.severity,
            "type": found.type,
            "status": self.status,
            "regressed": self.regressed,
            "device": ", ".join(sorted({seen.finding.device for seen in self.sightings if seen.finding.device})),
            "component": found.component or NO_COMPONENT,
            "runs": len(runs),
            "first_run": runs[0],
            "last_run": runs[-1],
            "title": found.title,
        }


@dataclass(frozen=True)
class Collection:
    """All cases, worst first; how many runs were read; and what could not be."""

    cases: tuple[Case, ...]
    total_runs: int
    damaged: tuple[Complaint, ...]

    def find(self, name: str) -> tuple[Case, Sighting]:
        """What is meant by a fingerprint, `ENTRY/run-…/ID`, or an id that only one finding has. Raises AskError with the candidates."""
        matching: list[tuple[Case, Sighting]] = []
        for case in self.cases:
            seen = [seen for seen in case.sightings if name in (seen.ref, seen.finding.id, seen.finding.fingerprint)]
            matching += [(case, seen[-1])] if seen else []
        if len(matching) == 1:
            return matching[0]
        if not matching:
            raise AskError(f"no finding is called {name!r}", expected="a fingerprint, an id or ENTRY/run-…/ID", do="runner finding list")
        shown = "\n    ".join(f"{seen.ref}  ({seen.finding.title})" for _, seen in matching[:20])
        raise AskError(f"{len(matching)} findings are called {name!r}: ids are unique per run only", expected=f"one of\n    {shown}")


def collect(runs: Path) -> Collection:
    """Reads every findings.json below `runs`, and the decisions."""
    decided, damaged = decisions.read(runs)
    places = [(run.root.parent.name, run.run_id, run.findings) for run in RunFolder.every(runs)]
    imported = [(path.parent.parent.name, IMPORTED, path) for path in sorted(runs.glob(f"*/{IMPORTED}/findings.json"))]
    total_runs = 0
    cases: dict[str, list[Sighting]] = {}
    for entry, run, path in (*places, *imported):
        read = _read(path)
        if isinstance(read, Complaint):
            damaged.append(read)
            continue
        total_runs += run != IMPORTED
        for found in read.findings:
            since = found.created_at if run == IMPORTED else read.metadata.started_at
            cases.setdefault(found.fingerprint, []).append(Sighting(entry, run, since, path.parent, found))
    joined = [
        Case(tuple(sorted(seen, key=lambda one: (one.since, one.run))), tuple(decided.get(fingerprint, ())))
        for fingerprint, seen in cases.items()
    ]
    joined.sort(key=lambda case: (SEVERITIES.index(case.latest.finding.severity), case.latest.ref))
    return Collection(tuple(joined), total_runs, tuple(damaged))


def aggregate(collection: Collection, generated_at: str) -> dict[str, Any]:
    """aggregated_findings.json: every finding of every run as it stands today. Each `by_…` sums to `total_findings`."""
    findings = [case.present(seen) for case in collection.cases for seen in case.sightings]
    return {
        "generated_at": generated_at,
        "total_runs": collection.total_runs,
        "total_findings": len(findings),
        "distinct_findings": len(collection.cases),
        "by_type": _count((found["type"] for found in findings), TYPE_CODES),
        "by_severity": _count((found["severity"] for found in findings), SEVERITIES),
        "by_status": _count(found["status"] for found in findings),
        "by_component": _count(found.get("component", NO_COMPONENT) for found in findings),
        "not_read": [{"where": damage.where, "found": damage.found} for damage in collection.damaged],
        "findings": findings,
    }


def write_aggregate(runs: Path, collection: Collection, generated_at: str) -> tuple[Path, dict[str, Any]]:
    """Writes runs/aggregated_findings.json, whole or not at all (LabError)."""
    path = runs / "aggregated_findings.json"
    value = aggregate(collection, generated_at)
    write_text(path, to_json(value, indent=2).decode() + "\n")  # ten times as fast as json.dumps with an indent
    return path, value


def refresh_aggregate(runs: Path, generated_at: str) -> Path:
    """Makes runs/aggregated_findings.json again from all that is there now, one writer at a time."""
    with locked(runs / ".aggregate.lock"):
        return write_aggregate(runs, collect(runs), generated_at)[0]


def _read(path: Path) -> Findings | Complaint:
    """One findings.json, or what is wrong with it."""
    expected = "findings.json as `runner report` writes it"
    try:
        if path.stat().st_size > MAX_BYTES:
            return Complaint(f"more than {MAX_BYTES} bytes", expected, str(path))
        return Findings.model_validate_json(path.read_bytes())
    except OSError as error:
        return Complaint(f"cannot be read: {error.strerror}", expected, str(path))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(key) for key in problem["loc"])
        return Complaint(f"{field}: {problem['msg']}".removeprefix(": "), expected, str(path), "runner report makes a run's file again")


def _count(values: Iterable[str], order: Iterable[str] = ()) -> dict[str, int]:
    counted = Counter(values)
    return {key: counted[key] for key in order or sorted(counted) if counted[key]}
