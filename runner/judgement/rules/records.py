"""The evidence: journals that are whole, records and lines of the shape that their writers give them, and the judge's own questions."""

from __future__ import annotations

from collections.abc import Callable

from runner.judgement.checks import Problem
from runner.judgement.far_end_lines import NOT_LOGGED, PROBED, RECEIVED, line_of
from runner.judgement.guard_journal import GUARD, GUARD_RECORDS, not_armed
from runner.judgement.integrity import questions
from runner.judgement.rules.look import Found, Look
from runner.ondevice import journal
from runner.ondevice.results import has_shape


def journals_whole(look: Look) -> Found:
    if look.in_progress:
        return None  # its last record may be half written, and is read up to there
    problems = []
    for path in sorted(look.folder.journals.glob("*.journal")):
        data = path.read_bytes()
        records = journal.read(data)
        whole = len(journal.FILE_HEADER) + sum(len(record.raw) for record in records)
        if not data.startswith(journal.FILE_HEADER):
            problems.append(("does not begin as a journal does", look.shown(path)))
        elif len(data) != whole:
            problems.append((f"{len(data) - whole} bytes behind the last whole record", f"{look.shown(path)}#{len(records)}"))
    if not look.folder.coordinator_journal.is_file():
        problems.append(("is missing", look.shown(look.folder.coordinator_journal)))
    return problems


def asked_of_the_judge(name: str) -> Callable[[Look], Found]:
    """One of the questions that the judge asks, too."""

    def integrity(look: Look) -> Found:
        question = None if look.in_progress else questions(look.evidence).get(name)
        return question(look.folder, look.evidence) if question else None

    return integrity


def guard_records(look: Look) -> Found:
    path = look.folder.device_journal(GUARD)
    if look.in_progress or not path.is_file():
        return None
    wrong = [r for r in journal.read(path.read_bytes()) if not has_shape(r.payload, GUARD_RECORDS.get(r.kind, {}))]
    return [(f"this {record.kind!r} lacks what such a record says", f"{look.shown(path)}#{record.sequence}") for record in wrong]


def guard_let_go(look: Look) -> Found:
    """Of a run that was cut short the guard's last records may not have been fetched: then only what came first is asked for."""
    path = look.folder.device_journal(GUARD)
    if look.in_progress or not path.is_file():
        return None
    said, unarmed = "was carried out, and nothing armed it before", not_armed(look.evidence.guard)
    problems: list[Problem] = [(f"{r.payload['program']} {said}", f"{look.shown(path)}#{r.sequence}") for r in unarmed]
    armed: dict[str, str] = {}  # program → the last that was heard of it
    for record in look.evidence.guard:
        program, where = str(record.payload.get("program", "")), f"{look.shown(path)}#{record.sequence}"
        if record.kind == "armed" or (record.kind in ("step", "revert_failed") and program in armed):
            armed[program] = where
        elif record.kind == "reverted":
            armed.pop(program, None)
    left = armed.items() if look.ran else ()
    return problems + [(f"{program} was armed, and nothing says that it was taken back", where) for program, where in left]


def far_end_lines(look: Look) -> Found:
    kinds = {look.folder.link_log: [PROBED, NOT_LOGGED], look.folder.receipts: [RECEIVED]}
    if look.in_progress or not any(path.is_file() for path in kinds):
        return None
    problems: list[Problem] = []
    for path, shapes in kinds.items():
        lines = path.read_bytes().split(b"\n") if path.is_file() else [b""]
        if lines.pop() and look.ran:
            problems.append(("ends in the middle of a line", f"{look.shown(path)}:{len(lines) + 1}"))
        for number, line in enumerate(lines, 1):
            if line_of(line, *shapes) is None:
                problems.append(("is no line that the far end writes", f"{look.shown(path)}:{number}"))
                break  # one is enough to know, and a million would be no more
    return problems
