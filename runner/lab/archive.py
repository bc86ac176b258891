"""Old runs made small: what is not kept for ever moves into one file, and later may go.

    runs/EDGE-002/run-…-001/results/logs/…  ─┐ archive: .part, fsync, read back, rename   runs/EDGE-002/archive/run-…-001.tar.gz
                            results/traces/… ─┘ then the note, and only then is deleted    run-…-001/results/archived.json (hashes)

Killed at any moment, each file is whole in the folder or whole in the archive, and doing it again ends it. The folder keeps
its findings, reports, configuration, journals, pipelines and tests: it can still be judged (but not reported upon again:
reports read the logs, so restore first). `prune` deletes archives, never
folders, and none that anything else refers to.

What is decided (`plan_…`, a Fate per run, with its reason) is apart from what is done.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from runner.clock import iso
from runner.errors import AskError, LabError
from runner.lab.folder import ARCHIVED, RunFolder, archived, json_text, may_be_archived, read_json, seal
from runner.lab.lock import locked

_UNITS_S = {"d": 86_400, "w": 7 * 86_400, "h": 3_600}

Seals = dict[str, dict[str, Any]]  # path inside the run folder → its size and SHA-256


@dataclass(frozen=True)
class Fate:
    """What is to happen to one run: `files` (path → bytes) go, or it is left for a reason."""

    run: RunFolder
    left: str = ""
    files: dict[str, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(self.files.values())


def parse_age(text: str) -> int:
    """`90d`, `12w`, `36h` in seconds. Raises AskError."""
    match = re.fullmatch(r"(\d{1,5})([dwh])", text)
    if not match:
        raise AskError(f"{text!r} is no age", expected="a number of days, weeks or hours: 90d, 12w, 36h", where="--older-than")
    return int(match[1]) * _UNITS_S[match[2]]


# ---- what is to happen ------------------------------------------------------------------------------------------------


def plan_archive(runs: Path, chosen: Iterable[RunFolder], wall_ns: int, older_than_s: int) -> list[Fate]:
    """For each run: the files that go, or why it is left. Files that a link anywhere below `runs` leads to stay where they are."""
    linked = _link_targets(runs)
    fates = []
    for run in chosen:
        left = _too_young(run, wall_ns, older_than_s)
        files = {} if left else {name: size for name, size in _movable(run) if not _within(run.root / name, linked)}
        fates.append(Fate(run, left or ("" if files else "nothing left to archive"), files))
    return fates


def plan_prune(runs: Path, chosen: Iterable[RunFolder], wall_ns: int, older_than_s: int) -> list[Fate]:
    """For each run that has an archive: the archive, or why it is left."""
    linked, referring = _link_targets(runs), _Referring(runs)
    fates = []
    for run in chosen:
        if run.archive.is_file():
            left = _too_young(run, wall_ns, older_than_s) or referring.to(run) or _not_as_noted(run)
            if _within(run.archive, linked):
                left = left or "a link leads to its archive"
            fates.append(Fate(run, left, {} if left else {str(run.archive): run.archive.stat().st_size}))
    return fates


def _too_young(run: RunFolder, wall_ns: int, older_than_s: int) -> str:
    """Why a run is not old enough, or "". Its age counts from its end, by findings.json; one under way has none."""
    try:
        about = read_json(run.findings)["metadata"]
        ended = datetime.fromisoformat(about.get("completed_at") or about["started_at"])
        status = about["status"]
    except (AskError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        return f"findings.json does not say when it ended ({type(error).__name__})"
    if status == "in_progress":
        return "in progress, or killed: runner report ends it"
    age_s = wall_ns / 1e9 - ended.replace(tzinfo=ended.tzinfo or UTC).timestamp()
    return "" if age_s >= older_than_s else f"{max(0, int(age_s // 86_400))} days old, {older_than_s / 86_400:g} are asked for"


def _movable(run: RunFolder) -> Iterator[tuple[str, int]]:
    """Every regular file that is not kept for ever, and its size; nothing that a link stands for."""
    root = run.root.resolve()
    for place in ARCHIVED:
        if (run.root / place).resolve() != root / place:
            continue
        for path in sorted((root / place).rglob("*")):
            if path.is_file() and path.resolve() == path and not path.name.endswith(".part"):
                yield str(path.relative_to(root)), path.stat().st_size


def _link_targets(runs: Path) -> set[Path]:
    """Where the symbolic links below `runs` lead."""
    links = (Path(top, name) for top, folders, files in os.walk(runs) for name in (*folders, *files))
    return {path.resolve() for path in links if path.is_symlink()}


def _within(path: Path, targets: set[Path]) -> bool:
    """Whether one of `targets` is this file, or a folder that it lies in."""
    resolved = path.resolve()
    return not targets.isdisjoint((resolved, *resolved.parents))


def _not_as_noted(run: RunFolder) -> str:
    """Why nobody can say what the archive holds, or ""."""
    try:
        noted = read_json(run.archive_note) if run.archive_note.exists() else {}
        same = noted["archive"] == seal(run.archive)
    except (AskError, KeyError, TypeError, RecursionError):
        same = False
    return "" if same else "its archive is not the one that its folder's note describes"


class _Referring:
    """Whether anything below `runs` refers to a run's archived files. In doubt it does."""

    def __init__(self, runs: Path) -> None:
        places = (*runs.glob("*/run-*/findings.json"), *runs.glob("*/imported/*.json"), runs / "decisions.jsonl")
        self.texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in places if path.is_file()}
        self.related = {path: _related(text) for path, text in self.texts.items()}

    def to(self, run: RunFolder) -> str:
        """Who refers to `run`, or ""."""
        own = _json(self.texts.get(run.findings, ""))
        if any(name in text for name in archived(run) for text in _strings(own)):
            return "a finding of its own has an archived file as evidence"
        ids = {found["id"] for found in _findings(own) if isinstance(found.get("id"), str)}
        for path, text in self.texts.items():
            if path != run.findings and (run.run_id in text or ids & self.related[path]):
                return f"{path.parent.name}/{path.name} refers to it"
        return ""


def _related(text: str) -> set[str]:
    """The last words of all `related_findings`: an id, however long the way to it is written."""
    listed = [found.get("related_findings") for found in _findings(_json(text))]
    return {str(one).rpartition("/")[2] for related in listed if isinstance(related, list) for one in related}


def _findings(value: Any) -> list[dict[str, Any]]:
    found = value.get("findings") if isinstance(value, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _strings(inner)


# ---- doing it ---------------------------------------------------------------------------------------------------------


def archive(run: RunFolder, files: Iterable[str], wall_ns: int) -> int:
    """Moves `files` (paths inside the folder) into the run's archive; gives the archive's size in bytes.

    What the archive holds already stays in it, unless the folder has a newer file of that name. Raises LabError when anything
    cannot be written or does not read back as it was; then nothing was deleted.
    """
    with run.alone(), locked(run.archive.parent / ".lock"), _told(run.archive):
        here = {name: seal(run.root / name) for name in files}
        there = contents(run.archive) if run.archive.exists() else {}
        if any(there.get(name) != said for name, said in here.items()):
            _pack(run, here, there)
            there |= here
        _note(run, there, {"archived_at": iso(wall_ns)})
        for name, said in here.items():
            path = run.root / name
            if seal(path) == said:  # changed meanwhile: it stays, and is archived the next time
                path.unlink()
        for place in ARCHIVED:
            _remove_empty(run.root / place)
        return run.archive.stat().st_size


def restore(run: RunFolder) -> list[str]:
    """Puts everything back where it was and removes the archive. A file that is there already stays as it is.

    Raises AskError when there is no archive, LabError when it is damaged; the archive is then still there.
    """
    if not run.archive.is_file():
        raise AskError(f"{run.archive} is not there", expected="an archive that `runner run archive` made", where=str(run.archive_note))
    with run.alone(), locked(run.archive.parent / ".lock"), _told(run.archive):
        there = contents(run.archive)
        if not there.items() <= archived(run).items():
            raise LabError(f"{run.archive} does not hold what {run.archive_note} says", do="nothing was restored; look at both")
        root, back = run.root.resolve(), []
        with tarfile.open(run.archive, "r:gz") as tar:
            for member in tar:
                path = run.root / member.name
                if path.exists():
                    continue
                if not path.resolve().is_relative_to(root):
                    raise LabError(f"{path} would lie outside of the run folder", do="remove the link that leads there")
                path.parent.mkdir(parents=True, exist_ok=True)
                _write_whole(path, _chunks(_opened(tar, member)))
                os.utime(path, (member.mtime, member.mtime))
                back.append(member.name)
        run.archive_note.unlink()
        run.archive.unlink()
        return back


@contextlib.contextmanager
def whole_copy(run: RunFolder) -> Iterator[RunFolder]:
    """A copy of an archived run as it was before, for as long as it is looked at. Raises as `restore` does."""
    with tempfile.TemporaryDirectory(prefix="runner-") as place:
        copy = RunFolder(Path(place) / run.run_id)
        shutil.copytree(run.root, copy.root, symlinks=True)
        copy.archive.parent.mkdir()
        copy.archive.symlink_to(run.archive.resolve())
        restore(copy)
        yield copy


def prune(run: RunFolder, wall_ns: int) -> None:
    """Deletes the run's archive. Its note stays, with the hashes of what is gone, and when it went."""
    with run.alone(), locked(run.archive.parent / ".lock"), _told(run.archive):
        note = read_json(run.archive_note)
        _write_whole(run.archive_note, [json_text({**note, "deleted_at": iso(wall_ns)}).encode()])
        run.archive.unlink()


def contents(path: Path) -> Seals:
    """Size and SHA-256 of everything in an archive, read to its end. Raises LabError when it is damaged or holds what it must not."""
    found: Seals = {}
    try:
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                if not member.isreg() or not may_be_archived(member.name):
                    raise LabError(f"{path} holds {member.name!r}, which is none of what is archived")
                digest = hashlib.sha256()
                for chunk in _chunks(_opened(tar, member)):
                    digest.update(chunk)
                found[member.name] = {"bytes": member.size, "sha256": digest.hexdigest()}
        with gzip.open(path) as packed:  # its own checksum stands at the end
            for _ in _chunks(packed):
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise LabError(f"{path} is damaged: {error}", do="nothing was deleted; keep the folder as it is") from error
    return found


def _pack(run: RunFolder, here: Seals, there: Seals) -> None:
    """The archive, made anew: what is here, and what only the old archive holds. In its place only when it read back as it should."""
    run.archive.parent.mkdir(parents=True, exist_ok=True)
    part = run.archive.with_name(run.archive.name + ".part")
    with part.open("wb") as file:
        with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed, tarfile.open(fileobj=packed, mode="w", dereference=True) as tar:
            if there:
                with tarfile.open(run.archive, "r:gz") as old:
                    for member in old:
                        if member.name not in here:
                            tar.addfile(member, _opened(old, member))
            for name in here:
                tar.add(run.root / name, name, recursive=False, filter=_anonymous)
        file.flush()
        os.fsync(file.fileno())
    if contents(part) != there | here:
        part.unlink()
        raise LabError(f"{part} did not read back as what was written", do="nothing was deleted; look at the disk")
    os.replace(part, run.archive)
    _sync_folder(run.archive.parent)


def _note(run: RunFolder, there: Seals, said: dict[str, Any]) -> None:
    """What lies in the archive now, and what ever did: an archive may have been pruned before."""
    before = read_json(run.archive_note) if run.archive_note.exists() else {}
    where = {"path": os.path.relpath(run.archive, run.root), "archive": seal(run.archive)}
    files = dict(sorted((archived(run) | there).items()))
    _write_whole(run.archive_note, [json_text({**before, **where, **said, "files": files}).encode()])


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Whose files they were on this machine is nobody's business."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _write_whole(path: Path, chunks: Iterable[bytes]) -> None:
    """Whole or not at all, and durable when this returns."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _opened(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    if file is None:
        raise LabError(f"{member.name!r} is no file")
    return file


def _chunks(file: Any) -> Iterator[bytes]:
    while chunk := file.read(1 << 20):
        yield chunk


def _remove_empty(folder: Path) -> None:
    """Removes folders that hold nothing any more, from the innermost on."""
    if folder.is_dir() and not folder.is_symlink():
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                with contextlib.suppress(OSError):
                    path.rmdir()
        with contextlib.suppress(OSError):
            folder.rmdir()


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the disk refuses is the lab's fault."""
    try:
        yield
    except OSError as error:
        raise LabError(f"{error.filename or path}: {error.strerror or error}", do="free or grant the place, then do it again") from error
