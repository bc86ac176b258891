"""Findings that came from elsewhere, and the files that they came in.

runs/EDGE-002/imported/
    findings.json        `{metadata, findings}` like a run's; metadata.imports says which file brought what, and what was not mapped
    <sha256>.json        each file as it came: the evidence of its findings
    .lock                held from reading to writing, so that two imports at once never give one id twice
"""

from __future__ import annotations

import hashlib
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from runner.errors import AskError, Complaint, LabError
from runner.judgement.collection import IMPORTED
from runner.judgement.older_findings import MAX_BYTES, Mapped, map_findings
from runner.lab.folder import json_text, write_json
from runner.lab.lock import locked
from runner.model.entry import EntryId
from runner.model.finding import Finding, Findings, Metadata


@dataclass(frozen=True)
class Incoming:
    """A file to be imported, read already."""

    name: str
    raw: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()


def read_files(paths: list[Path]) -> list[Incoming]:
    """Raises AskError with every file that cannot be read."""
    files, complaints = [], []
    for path in paths:
        try:
            with path.open("rb") as file:
                files.append(Incoming(path.name, file.read(MAX_BYTES + 1)))
        except OSError as error:
            complaints.append(Complaint(f"cannot be read: {error.strerror}", "a file of findings", str(path)))
    if complaints:
        raise AskError.of(complaints)
    return files


def import_findings(runs: Path, entry: str, files: list[Incoming], now: str) -> list[dict[str, Any]]:
    """Adds what `files` hold to the entry's imported findings: all of them, or on any complaint (AskError) none. Gives what became of each.

    A file that was imported before adds nothing and changes nothing.
    """
    try:
        TypeAdapter(EntryId).validate_python(entry)
    except ValidationError:
        raise AskError(f"{entry!r} is no id of an entry", expected="an id like EDGE-002", where="--entry") from None
    folder = runs / entry / IMPORTED
    path = folder / "findings.json"
    with locked(folder / ".lock"):
        before = _stored(path)
        known = {one["sha256"] for one in _imports(before)}
        findings = list(before.findings) if before else []
        came: list[dict[str, Any]] = []
        complaints: list[Complaint] = []
        for file in files:
            if file.sha256 in known:
                came.append(_account(file, Mapped(), now) | {"imported_before": True})
                continue
            try:
                mapped = map_findings(file.raw, file.name, f"{file.sha256}.json", entry, findings, now)
            except AskError as error:
                complaints += error.complaints
                continue
            known.add(file.sha256)
            findings += mapped.findings
            came.append(_account(file, mapped, now))
        if complaints:
            raise AskError.of(complaints)
        if new := [one for one in came if "imported_before" not in one]:
            document = _document(entry, before, findings, [*_imports(before), *new], now)
            _fits(document, path)
            for file in files:
                _keep(folder / f"{file.sha256}.json", file.raw)
            write_json(path, document)
    return came


def _stored(path: Path) -> Findings | None:
    try:
        return Findings.model_validate_json(path.read_bytes()) if path.exists() else None
    except (OSError, ValidationError) as error:
        found = f"cannot be read: {error}".partition("\n")[0]
        raise AskError(found, expected="the file as it was written", where=str(path), do="put it right first") from error


def _imports(before: Findings | None) -> list[dict[str, Any]]:
    said = ((before.metadata.model_extra or {}) if before else {}).get("imports")
    return [one for one in said if isinstance(one, dict) and "sha256" in one] if isinstance(said, list) else []


def _account(file: Incoming, mapped: Mapped, now: str) -> dict[str, Any]:
    """What became of one file."""
    return {
        "file": file.name,
        "sha256": file.sha256,
        "imported_at": now,
        "added": [finding.id for finding in mapped.findings],
        "known_already": [{"where": where, "id": known} for where, known in mapped.known],
        "not_mapped": [asdict(one) for one in mapped.unmapped],
        "metadata": mapped.metadata,
    }


def _document(entry: str, before: Findings | None, findings: list[Finding], imports: list[dict[str, Any]], now: str) -> dict[str, Any]:
    metadata = {
        "roadmap_entry_id": entry,
        "agent_run_id": before.metadata.agent_run_id if before else str(uuid.uuid4()),
        "started_at": before.metadata.started_at if before else now,
        "completed_at": now,
        "status": "completed",
        "total_findings": len(findings),
        "summary": f"{len(findings)} findings imported from {len(imports)} files",
        "imports": imports,
    }
    return Findings(metadata=Metadata.model_validate(metadata), findings=tuple(findings)).model_dump(mode="json", exclude_none=True)


def _fits(document: dict[str, Any], path: Path) -> None:
    """Raises AskError when what would be stored could not be read again."""
    size = len(json_text(document).encode())
    if size > MAX_BYTES:
        raise AskError(f"with these findings {path} would have {size} bytes", expected=f"at most {MAX_BYTES}", do="import fewer at once")


def _keep(path: Path, raw: bytes) -> None:
    """Writes whole or not at all. Raises LabError."""
    try:
        part = path.with_name(path.name + ".part")
        part.write_bytes(raw)
        os.replace(part, path)
    except OSError as error:
        raise LabError(f"{path} cannot be written: {error.strerror}", do="free some space, then import again") from error
