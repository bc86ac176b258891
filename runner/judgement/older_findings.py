"""Findings that others wrote, as ours: bytes in; findings, and what could not be mapped, out. Pure.

Two shapes are understood: `{metadata, findings[]}`, and an older one of four files (bugs, dx, improvements, strengths), each
`{template, entries[]}`. The tables below are the whole mapping; besides them

    text where an object is due    reproduction → its steps, line by line      impact → business_impact
                                   recommendation → summary                    resolution → resolution_details
    no type                        by the id's letters (BUG-001), else by the file's name, else a bug
    no severity                    by priority, else medium
    a time without a zone          is UTC
    a strength                     an improvement of severity info, tagged `strength`, confirmed
    evidence                       the entry itself, in the copy that is kept of the file

Every original field is kept under `original`. What no table knows, or no schema allows, is left out of the mapped fields and
reported with the place where it stands. The same content (whatever its id) is one finding; one id with two contents is two.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import from_json

from runner.errors import AskError, BrokenPromise
from runner.model.entry import Severity
from runner.model.finding import TYPE_CODES, Finding, FindingStatus

MAX_BYTES = 64_000_000

TYPES = {  # what older files call a type → ours; the older word stays as a tag
    **{name: name for name in TYPE_CODES},
    "strength": "improvement",
    "silent_failure": "reliability",
    "data_loss": "reliability",
    "recovery": "reliability",
    "correctness": "bug",
    "crash": "bug",
    "race_condition": "bug",
    "vulnerability": "security",
    "latency": "performance",
    "scalability": "performance",
    "usability": "dx",
    "ergonomics": "dx",
    "developer_experience": "dx",
    "docs": "documentation",
    "enhancement": "improvement",
    "component_suggestion": "feature_request",
    "stagekind_suggestion": "feature_request",
    "feature": "feature_request",
}
SEVERITIES = {
    **{name: name for name in get_args(Severity)},
    **{"p0": "critical", "p1": "high", "p2": "medium", "p3": "low"},
    **{"blocker": "critical", "major": "high", "moderate": "medium", "minor": "low", "trivial": "low", "none": "info"},
}
STATUSES = {
    **{name: name for name in get_args(FindingStatus)},
    **{"new": "open", "reopened": "open", "fixed": "resolved", "closed": "resolved", "wontfix": "wont_fix"},
}
ALSO = {"created_at": ("timestamp", "date", "discovered_at"), "severity": ("priority",)}  # older names of a field, in this order
KINDS = {"BUG": "bug", "DX": "dx", "IMP": "improvement", "STR": "strength"} | {code: name for name, code in TYPE_CODES.items()}
FILES = {"bug": "bug", "dx": "dx", "improvement": "improvement", "strength": "strength"}  # how the file's name begins → type
TEXT_BECOMES = {
    "reproduction": "steps",
    "impact": "business_impact",
    "recommendation": "summary",
    "resolution": "resolution_details",
}
TIMES = ("%Y%m%d_%H%M%S", "%Y/%m/%d", "%Y/%m/%d %H:%M:%S", "%d %B %Y", "%B %d, %Y", "%d %b %Y", "%b %d, %Y")  # besides ISO 8601
DIRECT = ("title", "description", "component", "device", "tags", "attachments", "related_findings")


@dataclass(frozen=True)
class Unmapped:
    """What an original says that no field of ours could hold, and what was done instead. `where` is the first of `times` places."""

    where: str
    found: str
    did: str
    times: int = 1


@dataclass
class Mapped:
    """One file, mapped. `known` are (place, id of the finding that holds the same content already)."""

    findings: list[Finding] = field(default_factory=list)
    known: list[tuple[str, str]] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)  # the original's own, where it has one
    _notes: dict[tuple[str, str], Unmapped] = field(default_factory=dict)

    @property
    def unmapped(self) -> list[Unmapped]:
        return list(self._notes.values())

    def note(self, where: str, found: str, did: str) -> None:
        """Says a thing once, with how often it was met."""
        before = self._notes.get((found, did), Unmapped(where, found, did, 0))
        self._notes[found, did] = replace(before, times=before.times + 1)


def map_findings(raw: bytes, name: str, copy_name: str, entry: str, existing: Sequence[Finding], now: str) -> Mapped:
    """The file `name` as findings of `entry`, numbered after the `existing` ones, with evidence in `copy_name`.

    Raises AskError when the file is not JSON of one of the two shapes, or too large.
    """
    document, key = _document(raw, name)
    mapped = Mapped()
    if isinstance(document.get("metadata"), dict):
        mapped.metadata = document["metadata"]
    for other in sorted(document.keys() - {"metadata", "template", key}):
        mapped.note(f"{name}#/{_pointer(other)}", f"field {other!r} beside {key!r}", "kept in the copy of the file alone")

    content = {_content(original): one.id for one in existing if isinstance(original := (one.model_extra or {}).get("original"), dict)}
    ids = _Ids(entry, existing, document[key])
    renamed: dict[str, set[str]] = {}  # the original's id → ours
    drafts: list[tuple[str, dict[str, Any]]] = []
    for number, original in enumerate(document[key]):
        where = f"{name}#/{key}/{number}"
        if not isinstance(original, dict):
            mapped.note(where, f"{_short(original)} is no object", "kept in the copy of the file alone")
            continue
        same = _content(original)
        if same in content:
            mapped.known.append((where, content[same]))
        else:
            draft = _draft(original, where, mapped, now)
            draft["id"] = content[same] = ids.take(original.get("id"), draft["type"])
            draft["evidence"] = [f"{copy_name}#/{key}/{number}"]
            draft["fingerprint"] = _own(original.get("fingerprint"), r"[0-9a-f]{16}") or same[:16]
            draft["original"] = original
            drafts.append((where, draft))
        renamed.setdefault(str(original.get("id")), set()).add(content[same])
    for where, draft in drafts:
        if isinstance(draft.get("related_findings"), list):
            draft["related_findings"] = list(_related(draft["related_findings"], renamed, where, mapped))
        mapped.findings.append(_valid(draft, where, mapped))
    return mapped


def _document(raw: bytes, name: str) -> tuple[dict[str, Any], str]:
    """The file's object, and the name of the list in it."""
    expected = "JSON: {metadata, findings[]}, or the older {template, entries[]}"
    if len(raw) > MAX_BYTES:
        raise AskError(f"{len(raw)} bytes", expected=f"at most {MAX_BYTES}", where=name)
    try:
        document = from_json(raw.removeprefix(b"\xef\xbb\xbf"), allow_inf_nan=False)
        json.dumps(document, allow_nan=False)  # 1e999 is read as infinity
    except ValueError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise AskError(f"not JSON: {error}", expected=expected, where=f"{name}:{line[1]}" if line else name) from error
    if isinstance(document, dict):
        for key in ("findings", "entries"):
            if isinstance(document.get(key), list):
                return document, key
    raise AskError(f"{_short(document)} has neither a list `findings` nor a list `entries`", expected=expected, where=name)


def _draft(original: dict[str, Any], where: str, mapped: Mapped, now: str) -> dict[str, Any]:
    """The original's fields in ours, before the schema has looked at them."""
    used = {"id", "fingerprint", "evidence", "type", "status", *DIRECT, *TEXT_BECOMES, *ALSO, "updated_at", "resolved_at"}
    used |= {other for names in ALSO.values() for other in names}
    for unknown in sorted(original.keys() - used):
        mapped.note(f"{where}/{_pointer(unknown)}", f"field {unknown!r}", "kept under `original` alone")

    kind, word = _kind(original, where, mapped)
    draft: dict[str, Any] = {"type": TYPES[kind]}
    draft |= copy.deepcopy({name: original[name] for name in DIRECT if original.get(name) not in (None, "")})
    draft["title"], draft["description"] = _title(original, where, mapped), _description(original)
    tags = draft.get("tags", [])
    if isinstance(tags, list) and word != draft["type"]:
        draft["tags"] = [*tags, word]

    severity = "info" if kind == "strength" else _choice(original, "severity", SEVERITIES, where, mapped)
    if severity is None:
        mapped.note(where, "no severity and no priority that is known", "severity medium")
    draft["severity"] = severity or "medium"
    draft["status"] = _choice(original, "status", STATUSES, where, mapped) or ("confirmed" if kind == "strength" else "open")

    for name in ("created_at", "updated_at", "resolved_at"):
        if (moment := _moment(original, name, where, mapped)) is not None:
            draft[name] = moment
    if "created_at" not in draft:
        about = as_moment(mapped.metadata.get("completed_at"))
        mapped.note(where, "no time that could be read", f"created_at is the time of {'its run' if about else 'the import'}")
        draft["created_at"] = about or now

    for name, main in TEXT_BECOMES.items():
        value = original.get(name)
        if value in (None, "", [], {}):
            continue
        if isinstance(value, dict):
            draft[name] = copy.deepcopy(value)
        elif isinstance(value, str):
            lines = [line.strip() for line in value.splitlines() if line.strip()]
            draft[name] = {main: lines if main == "steps" else value}
        elif main == "steps" and isinstance(value, list):
            draft[name] = {main: copy.deepcopy(value)}
        else:
            mapped.note(f"{where}/{name}", f"{name} is {_short(value)}", "kept under `original` alone")
    return draft


def _kind(original: dict[str, Any], where: str, mapped: Mapped) -> tuple[str, str]:
    """A key of TYPES, and the original's own word for it."""
    letters = re.search(r"(?:^|-)([A-Z]+)-[0-9]+$", str(original.get("id"))[-40:])
    by_id = KINDS.get(letters[1]) if letters else None
    by_file = next((kind for stem, kind in FILES.items() if PurePath(where.partition("#")[0]).name.lower().startswith(stem)), None)
    instead = by_id or by_file or "bug"
    said = original.get("type")
    if said in (None, ""):
        if not (by_id or by_file):
            mapped.note(where, "no type, and neither id nor file name tells it", f"type {instead}")
        return instead, instead
    word = _word(said)
    if word in TYPES:
        return ("strength" if by_id == "strength" else word), word
    mapped.note(f"{where}/type", f"type {_short(said)}", f"type {TYPES[instead]}, the word kept as a tag")
    return instead, word


def _title(original: dict[str, Any], where: str, mapped: Mapped) -> str:
    for name in ("title", "description"):
        if words := " ".join(_text(original.get(name)).split()):
            if name != "title":
                mapped.note(where, "no title", "the beginning of the description")
            return words if len(words) <= 300 else words[:299] + "…"
    mapped.note(where, "neither title nor description", "titled by its id")
    return f"untitled {_short(original.get('id'))}"


def _description(original: dict[str, Any]) -> str:
    return _text(original.get("description")) or _text(original.get("title"))


def _choice(original: dict[str, Any], name: str, table: dict[str, str], where: str, mapped: Mapped) -> str | None:
    """The first of a field's names whose word the table knows."""
    for key in (name, *ALSO.get(name, ())):
        if (said := original.get(key)) in (None, ""):
            continue
        if (word := _word(said)) in table:
            return table[word]
        mapped.note(f"{where}/{key}", f"{key} {_short(said)}", "kept under `original` alone")
    return None


def _moment(original: dict[str, Any], name: str, where: str, mapped: Mapped) -> str | None:
    for key in (name, *ALSO.get(name, ())):
        if (said := original.get(key)) in (None, ""):
            continue
        if moment := as_moment(said):
            return moment
        mapped.note(f"{where}/{key}", f"{key} {_short(said)} is no time that is known", "kept under `original` alone")
    return None


def as_moment(said: Any) -> str | None:
    """A time in any of the known styles (ISO 8601, TIMES, seconds or milliseconds since 1970) as `runner.clock.iso` writes it."""
    try:
        if isinstance(said, int | float) and not isinstance(said, bool):
            moment = datetime.fromtimestamp(said / 1000 if said > 1e11 else said, tz=UTC)
        else:
            moment = _parsed(str(said).strip())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parsed(text: str) -> datetime:
    for style in TIMES:
        try:
            return datetime.strptime(text, style)
        except ValueError:
            continue
    return datetime.fromisoformat(text.removesuffix(" UTC"))


def _related(said: list[Any], renamed: dict[str, set[str]], where: str, mapped: Mapped) -> Iterator[str]:
    """The ids of related findings, as they are called here."""
    for one in said:
        now = renamed.get(str(one), set())
        if len(now) != 1:
            found = f"related finding {_short(one)}, an id that {len(now)} in this file have"
            mapped.note(f"{where}/related_findings", found, "kept as it is")
        yield next(iter(now)) if len(now) == 1 else str(one)


def _valid(draft: dict[str, Any], where: str, mapped: Mapped) -> Finding:
    """A finding without whatever the schema does not allow; each such part is noted.

    What one look finds goes at once: with a look for each, a file of a hundred thousand wrong parts would take hours.
    """
    while True:
        try:
            return Finding.model_validate(draft)
        except ValidationError as error:
            wrong: dict[tuple[str, ...], str] = {}
            for problem in error.errors(include_url=False, include_input=False):
                wrong.setdefault(_innermost(draft, [str(key) for key in problem["loc"]]), problem["msg"])
            for path, why in wrong.items():
                _drop(draft, path, where, mapped, why)


def _innermost(draft: dict[str, Any], path: list[str]) -> tuple[str, ...]:
    """The path to the innermost field on it that is there and stands in no list."""
    here, depth = draft.get(path[0]), 1
    while depth < len(path) and isinstance(here, dict) and path[depth] in here:
        here, depth = here[path[depth]], depth + 1
    return tuple(path[:depth])


def _drop(draft: dict[str, Any], path: tuple[str, ...], where: str, mapped: Mapped, why: str) -> None:
    """Takes a field out, unless it went together with what it stood in."""
    if path[0] in ("id", "type", "severity", "title", "description", "status", "created_at", "evidence", "fingerprint"):
        raise BrokenPromise(f"{where}: {path[0]}: {why}", do="please report this, with the file")
    here = draft
    for key in path[:-1]:
        here = here.get(key, {})
    if path[-1] in here:
        found = f"{'.'.join(path)} is {_short(here.pop(path[-1]))}: {why}"
        mapped.note("/".join([where, *map(_pointer, path)]), found, "kept under `original` alone")


class _Ids:
    """Hands out ids: an entry's own where it is one of ours and free, else the next number of its type."""

    def __init__(self, entry: str, existing: Sequence[Finding], originals: list[Any]) -> None:
        self._pattern = re.compile(rf"{re.escape(entry)}-({'|'.join(TYPE_CODES.values())})-([0-9]{{3,6}})")
        self._entry = entry
        self._used = {finding.id for finding in existing}
        own = (original.get("id") for original in originals if isinstance(original, dict))
        self._last: dict[str, int] = {}
        for said in self._used.union(said for said in own if isinstance(said, str)):
            if found := self._pattern.fullmatch(said):
                self._last[found[1]] = max(self._last.get(found[1], 0), int(found[2]))

    def take(self, own: Any, kind: str) -> str:
        code = TYPE_CODES[kind]
        mine = self._pattern.fullmatch(own) if isinstance(own, str) else None
        if mine and mine[1] == code and own not in self._used:
            chosen = mine[0]
        else:
            self._last[code] = self._last.get(code, 0) + 1
            chosen = f"{self._entry}-{code}-{self._last[code]:03}"
        self._used.add(chosen)
        return chosen


def _content(original: dict[str, Any]) -> str:
    """What makes two entries the same: all of them but the id."""
    rest = {key: value for key, value in original.items() if key != "id"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _own(said: Any, pattern: str) -> str | None:
    return said if isinstance(said, str) and re.fullmatch(pattern, said) else None


def _word(said: Any) -> str:
    return re.sub(r"[\s-]+", "_", _text(said).strip().lower())[:80]


def _text(said: Any) -> str:
    return said if isinstance(said, str) else "" if said is None else json.dumps(said, ensure_ascii=False)


def _short(said: Any) -> str:
    text = repr(said)
    return text if len(text) <= 60 else text[:59] + "…"


def _pointer(key: str) -> str:
    """One step of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")
