"""Every path inside a run folder, and the only code that makes one.

runs/EDGE-002/run-2026-11-21-001/
    README.md  findings.json  FINAL_REPORT.md      made from the rest by `runner report`, as are
    report.html  junit.xml  requirements.txt       these, and tests/: the folder judges itself
    config/run_config.json  config/environment.json
    results/journal/                               the truth: never rewritten, kept for ever
        coordinator.journal                        what only the coordinator saw
        device-<execution>.journal                 the device's own journal, mirrored record by record
        witness.jsonl                              who outside saw which stage start
        disk.log  console.log                      emulated boards: each disk request, and the console
        device-guard.journal                       link faults: what the device's guard did, and took back
        link.jsonl  receipts.jsonl                 what came to the far end of the data link: probe packets; records, uploads, messages
        heat.jsonl                                 heat over the device: load, temperature, clock and flags, tick by tick
    pipelines/                                     what ran, and the entry's checks.py
    results/metrics/  results/traces/              derived, too
    results/logs/                                  run_*.log: what a pipeline printed; its analysis is derived
    results/progress.log                           what `runner exec` printed; no evidence
    research/  mocks/  dx_evaluation/              "not part of this run", until somebody fills them
    results/archived.json                          after 90 days: what was moved to ../archive/run-2026-11-21-001.tar.gz
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runner.errors import AskError, LabError
from runner.lab.lock import locked

RESERVE_BYTES = 256 * 1024
_RUN_ID = re.compile(r"run-\d{4}-\d\d-\d\d-\d{3}")
STATEMENT = "not part of this run\n"
DAMAGED = "damaged"  # beside the runs of an entry: those that were set aside
ARCHIVED = ("results/logs", "results/metrics", "results/traces", "mocks/data/scale")  # not kept for ever


class RunFolder:
    """Paths of one run; `root.name` is the run id, but for a folder that is still being made."""

    def __init__(self, root: Path, run_id: str = "") -> None:
        self.root = root
        self.run_id = run_id or root.name
        self.readme = root / "README.md"
        self.findings = root / "findings.json"
        self.final_report = root / "FINAL_REPORT.md"
        self.run_config = root / "config" / "run_config.json"
        self.environment = root / "config" / "environment.json"
        self.reserve = root / "config" / "reserve"  # room for the last words of a run whose disk is full; gone when it has ended
        self.journals = root / "results" / "journal"
        self.coordinator_journal = self.journals / "coordinator.journal"
        self.witness = self.journals / "witness.jsonl"
        self.link_log = self.journals / "link.jsonl"
        self.receipts = self.journals / "receipts.jsonl"
        self.heat_log = self.journals / "heat.jsonl"
        self.far_end = root / "results" / "far_end"  # what the far end keeps of what it received; no evidence
        self.metrics = root / "results" / "metrics"
        self.logs = root / "results" / "logs"
        self.progress = root / "results" / "progress.log"  # what `runner exec` printed, for whoever attaches; no evidence
        self.dx = root / "dx_evaluation"
        self.pipelines = root / "pipelines"  # what ran: a copy of the entry, its checks.py included
        self.archive = root.parent / "archive" / f"{root.name}.tar.gz"
        self.archive_note = root / "results" / "archived.json"  # what lies in the archive; it stays here

    def device_journal(self, execution: str) -> Path:
        return self.journals / f"device-{execution}.journal"

    def log(self, execution: str, wall_ns: int) -> Path:
        """Where the log of one execution that ended at `wall_ns` goes."""
        stamp = datetime.fromtimestamp(wall_ns / 1e9, tz=UTC).strftime("%Y%m%d_%H%M%S")
        return self.logs / f"run_{execution}_{stamp}.log"

    @classmethod
    def create(cls, runs: Path, entry: str, wall_ns: int, fill: Callable[[RunFolder], None] = lambda folder: None) -> RunFolder:
        """A new folder with the next free number of today, and in it what `fill` puts there.

        Safe when two coordinators ask at once, and made whole or not at all: it gets its name last, and what a killed one
        left half-made is removed by the next. Raises LabError when the disk or its rights do not allow it.
        """
        day = datetime.fromtimestamp(wall_ns / 1e9, tz=UTC).strftime("%Y-%m-%d")
        try:
            (runs / entry).mkdir(parents=True, exist_ok=True)
            with locked(runs / entry / ".making.lock"):
                for half_made in (runs / entry).glob(".making-*/"):
                    shutil.rmtree(half_made)
                places = (f"run-{day}-[0-9][0-9][0-9]", f"{DAMAGED}/run-{day}-[0-9][0-9][0-9]*")
                taken = [int(path.name[15:18]) for place in places for path in (runs / entry).glob(place)]
                number = max(taken, default=0) + 1
                if number > 999:
                    raise LabError(f"{entry} has 999 runs of {day} already", do="archive some of them")
                run_id = f"run-{day}-{number:03}"
                new = cls(runs / entry / f".making-{run_id}", run_id)
                for path in (new.run_config.parent, new.journals, new.metrics, new.logs, new.dx):
                    path.mkdir(parents=True)
                (new.dx / "README.md").write_text(STATEMENT)
                new.keep_room()
                fill(new)
                os.rename(new.root, runs / entry / run_id)
                return cls(runs / entry / run_id)
        except OSError as error:  # shutil's own errors have no strerror
            why = error.strerror or str(error)[:300]
            raise LabError(f"no run folder can be made in {runs}: {why}", do="free or grant the place") from error

    def keep_room(self) -> None:
        """Takes the reserve's room on the disk. Raises OSError."""
        with self.reserve.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """For whoever writes into this folder: a run while it lasts, a report, an archiving. Raises AskError while another one does.

        The kernel lets go of it when its holder ends, however it ends.
        """
        try:
            fd = os.open(self.root, os.O_RDONLY)
        except OSError as error:
            raise AskError(f"{self.root} cannot be opened: {error.strerror}", expected="a run's folder") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            found = f"{self.run_id} is under way, or being written to by another command"
            raise AskError(found, do=f"runner run attach {self.run_id}") from error
        finally:
            os.close(fd)

    @property
    def completed_at(self) -> str:
        """When findings.json says that the run ended. Raises AskError when it does not say."""
        said = read_json(self.findings)
        metadata = said.get("metadata") if isinstance(said, dict) else None
        if not isinstance(metadata, dict) or not isinstance(metadata.get("completed_at"), str):
            raise AskError(f"{self.findings} does not say when the run ended", expected="metadata.completed_at", do="runner report")
        return str(metadata["completed_at"])

    @classmethod
    def find(cls, runs: Path, name: str) -> RunFolder:
        """The run that a person means: a path, `EDGE-002/run-…`, or a run id. Raises AskError, with what there is."""
        if (Path(name) / "config" / "run_config.json").is_file():
            return cls(Path(name).resolve())
        known = list(cls.every(runs))
        matching = [run for run in known if name in (run.run_id, f"{run.root.parent.name}/{run.run_id}", str(run.root))]
        if len(matching) == 1:
            return matching[0]
        shown = [f"{run.root.parent.name}/{run.run_id}" for run in (matching or known)][-5:]
        found = f"{len(matching)} runs are called {name!r}" if matching else f"no run is called {name!r}"
        expected = "one of " + ", ".join(shown) if shown else "a run; there is none yet in " + str(runs)
        raise AskError(found, expected=expected, do="runner run list" if shown else "runner exec EDGE-002")

    @classmethod
    def every(cls, runs: Path) -> Iterable[RunFolder]:
        """All runs below `runs`, oldest first, whatever is left of each."""
        for path in sorted(runs.glob("*/run-*"), key=lambda path: (path.name, path.parent.name)):
            ours = _RUN_ID.fullmatch(path.name) and path.is_dir()  # one that has lost even its plan is a run yet
            if (ours or (path / "config").is_dir()) and str(path.relative_to(runs)).isprintable():
                yield cls(path)


def seals(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of all that a judgement rests on: evidence, plan, and what ran and checks it.

    All but the coordinator's own journal, which is where these are kept.
    """
    found = (*folder.journals.glob("*"), *folder.logs.glob("run_*.log"))
    places = (*found, folder.run_config, folder.environment, *folder.pipelines.rglob("*"))
    evidence = sorted(path for path in places if path.is_file() and path != folder.coordinator_journal and path.suffix != ".pyc")
    return {str(path.relative_to(folder.root)): seal(path) for path in evidence}


def seal(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of one file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def archived(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each file that was moved to the run's archive, as the note left behind says; nothing without one.

    What is kept for ever is never among them, whatever the note says. Raises AskError when the note is damaged.
    """
    if not folder.archive_note.exists():
        return {}
    note = read_json(folder.archive_note)
    if not isinstance(note, dict) or not isinstance(note.get("files"), dict):
        raise AskError(f"{folder.archive_note} is no note of an archive", expected="the file as `runner run archive` wrote it")
    return {name: said for name, said in note["files"].items() if may_be_archived(name)}


def may_be_archived(name: str) -> bool:
    """Whether a path inside a run folder is one of those that are not kept for ever."""
    return ".." not in name.split("/") and name.startswith(tuple(f"{place}/" for place in ARCHIVED))


def write_json(path: Path, value: Any) -> None:
    """Writes whole or not at all; LabError (the coordinator's disk) when it cannot."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """JSON as every file of a run folder has it."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write_text(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")  # two writers of one file must not share it
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise LabError(f"{path} cannot be written: {error.strerror}", do="free some space; what was mirrored is kept") from error


def read_json(path: Path) -> Any:
    """A JSON file of a run folder. Raises AskError naming the file when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise AskError(f"{path} cannot be read: {why}", expected="the file as `runner exec` wrote it") from error
