"""What was made of the evidence: made once more, is it the same? And does the archive hold what was taken out of the folder?"""

from __future__ import annotations

import hashlib
from itertools import zip_longest

from runner import __version__
from runner.judgement.rules.look import Found, Look, object_of
from runner.lab.archive import contents
from runner.lab.folder import seal


def derived_files(look: Look) -> Found:
    if look.in_progress or (look.moved and not look.folder.archive.is_file()):
        return None  # nothing was derived yet; or what it was derived from was pruned
    made_by = str(object_of(look.evidence.coordinator[0].payload).get("runner_version"))
    hint = f" (the run was made by version {made_by}, this is {__version__})" if made_by != __version__ else ""
    problems = []
    for name, text in sorted(look.derived.items()):
        path, said = look.root / name, text.encode()
        if path.is_file():
            if (found := path.read_bytes()) != said:
                where = f"{name}:{_first_difference(found, said)}"
                problems.append((f"is not what the evidence gives: runner report makes it again{hint}", where))
        elif name not in look.moved:
            problems.append((f"is missing: runner report makes it again{hint}", name))
        elif look.moved[name].get("sha256") != hashlib.sha256(said).hexdigest():
            problems.append((f"lies in the archive, and is not what the evidence gives{hint}", name))
    judge = [look.shown(path) for path in look.files() if look.shown(path).startswith("tests/judge/")]
    return problems + [("does not belong to the judge", name) for name in judge if name not in look.derived]


def _first_difference(found: bytes, said: bytes) -> int:
    lines = zip_longest(found.split(b"\n"), said.split(b"\n"))
    return next(number for number, (one, other) in enumerate(lines, 1) if one != other)


def archive_as_noted(look: Look) -> Found:
    if not look.folder.archive_note.exists():
        return None
    note, where = object_of(look.json(look.folder.archive_note)), look.shown(look.folder.archive_note)
    if not look.folder.archive.is_file():
        return [] if "deleted_at" in note else [(f"{note.get('path')} is not there", where)]
    if note.get("archive") != seal(look.folder.archive):
        return [(f"{note.get('path')} is not the archive that was made", where)]
    inside = contents(look.folder.archive)
    wrong = [name for name, said in inside.items() if look.moved.get(name) != said]
    wrong += [name for name in look.moved if name not in inside and "deleted_at" not in note]
    return [(f"{name} does not lie in the archive as the note says", where) for name in wrong]
