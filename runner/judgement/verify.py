"""Is a run folder as the format has it? Every rule by name, and where each is broken.

    RULES   name │ the rule in one sentence │ a function: Look → problems, or None where the rule does not apply to this run

A problem is a sentence and a place (`path`, `path:line`, `path#record`, `path#/json/pointer`), as in findings. A run under way,
blocked or killed breaks no rule by being so. Judging runs the folder's own pipelines/checks.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import ValidationError

from runner import __version__
from runner.errors import RunnerError
from runner.judgement import report
from runner.judgement.checks import Problem
from runner.judgement.conclude import conclude
from runner.judgement.evidence import Evidence
from runner.judgement.far_end_lines import PROBED, RECEIVED, line_of
from runner.judgement.guard_journal import GUARD, GUARD_RECORDS
from runner.judgement.integrity import INTEGRITY, questions
from runner.judgement.reading import load_evidence
from runner.lab.archive import contents, whole_copy
from runner.lab.folder import RunFolder, archived, seal
from runner.model.entry import Category
from runner.model.finding import TYPE_CODES, Findings
from runner.ondevice import journal
from runner.ondevice.results import has_shape

MAX_BYTES = 64_000_000  # of a JSON file, and of what is searched for secrets in one file

Found = Iterable[Problem] | None


class Rule(NamedTuple):
    name: str
    sentence: str
    broken: Callable[[Look], Found]


class Held(NamedTuple):
    """One rule, and what became of it."""

    rule: Rule
    problems: tuple[Problem, ...] | None  # None: the rule does not apply

    def as_json(self) -> dict[str, Any]:
        said = "not applicable" if self.problems is None else "broken" if self.problems else "holds"
        problems = [{"found": found, "where": where} for found, where in self.problems or ()]
        return {"rule": self.rule.name, "sentence": self.rule.sentence, "result": said, "problems": problems}


def verify(folder: RunFolder, now: str, rules: Iterable[Rule] = ()) -> list[Held]:
    """Every rule, or only `rules`, on one folder. Reads only; whatever stands there, it ends in problems, not in an exception."""
    look = Look(folder, now)
    held = []
    for rule in rules or RULES:
        try:
            found = rule.broken(look)
            held.append(Held(rule, None if found is None else tuple(found)))
        except (RunnerError, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            said = str(error).partition("\n")[0].replace(f"{folder.root}/", "")
            held.append(Held(rule, ((f"cannot be looked at: {type(error).__name__}: {said}", "."),)))
    return held


@dataclass(frozen=True)
class Look:
    """One folder, and what several rules want to know of it. Its files are hostile until a rule has held."""

    folder: RunFolder
    now: str

    @property
    def root(self) -> Path:
        return self.folder.root

    def json(self, path: Path) -> Any:
        """A JSON file; None when it cannot be read, for which `required_files` and `json_readable` stand."""
        try:
            return json.loads(path.read_bytes()) if path.stat().st_size <= MAX_BYTES else None
        except (OSError, ValueError, RecursionError):
            return None

    @cached_property
    def config(self) -> dict[str, Any]:
        return _object(self.json(self.folder.run_config))

    @cached_property
    def plan(self) -> dict[str, Any]:
        return _object(self.config.get("test_parameters"))

    @cached_property
    def findings(self) -> dict[str, Any]:
        return _object(self.json(self.folder.findings))

    @cached_property
    def in_progress(self) -> bool:
        return _object(self.findings.get("metadata")).get("status") == "in_progress"

    @cached_property
    def evidence(self) -> Evidence:
        return load_evidence(self.folder)

    @cached_property
    def ran(self) -> bool:
        """Whether the run came to its end, so that everything must be there."""
        try:
            return not self.in_progress and self.evidence.ending is not None and self.evidence.ending.get("ending") == "ran"
        except (RunnerError, LookupError, TypeError, AttributeError):
            return True

    @cached_property
    def moved(self) -> dict[str, dict[str, Any]]:
        return archived(self.folder)

    @cached_property
    def derived(self) -> dict[str, str]:
        """Every derived file as it would be made now, as of the moment that the report was generated; an archived run's in a whole copy."""
        text = self.folder.final_report.read_text(encoding="utf-8", errors="replace") if self.folder.final_report.is_file() else ""
        generated = re.search(r"^\| Generated \| (\S+) \|$", text, re.MULTILINE)
        with whole_copy(self.folder) if self.moved else nullcontext(self.folder) as folder:
            return report.derived(conclude(folder, generated[1] if generated else self.now))

    def files(self) -> Iterator[Path]:
        """Every file in the folder, links included and not followed."""
        for top, folders, files in os.walk(self.root):
            folders.sort()
            yield from (Path(top, name) for name in sorted(files))
            yield from (Path(top, name) for name in folders if Path(top, name).is_symlink())

    def shown(self, path: Path) -> str:
        return str(path.relative_to(self.root))

    def there(self, name: str) -> bool:
        """Whether a file of this name is in the folder, or accounted for in its archive."""
        return (self.root / name).is_file() or name in self.moved


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


# ---- names and files ----------------------------------------------------------------------------------------------------


def run_folder_name(look: Look) -> Iterator[Problem]:
    if not re.fullmatch(r"run-\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])-\d{3}", look.root.name):
        yield f"the folder is called {look.root.name!r}", "."
    if look.config and look.config.get("run_id") != look.root.name:
        yield f"run_id is {look.config.get('run_id')!r}, the folder {look.root.name!r}", "config/run_config.json#/run_id"
    entry, parent = look.config.get("roadmap_entry_id"), look.root.parent.name
    if re.fullmatch(r"[A-Z0-9]+(-[A-Z0-9]+)*-\d{3}", parent) and entry and parent != entry:
        yield f"a run of {entry} lies among those of {parent}", ".."


def required_files(look: Look) -> Iterator[Problem]:
    folder = look.folder
    for path in (folder.readme, folder.findings, folder.final_report, folder.run_config, folder.environment):
        if not path.is_file():
            yield "is missing", look.shown(path)
        elif not path.stat().st_size:
            yield "is empty", look.shown(path)


def required_folders(look: Look) -> Iterator[Problem]:
    wanted = {"dx_evaluation": True, "pipelines": bool(look.plan.get("executions")), "results/journal": True}
    wanted |= dict.fromkeys(("tests", "results"), look.ran)
    earlier = [path for path in look.root.parent.glob("run-*") if path.is_dir() and path.name < look.root.name]
    wanted["research"] = not earlier and not look.in_progress
    for name, needed in wanted.items():
        if needed and not (look.root / name).is_dir():
            yield "is missing" + (": this is the first run of its entry" if name == "research" else ""), name


def json_readable(look: Look) -> Iterator[Problem]:
    for path in look.files():
        if path.suffix == ".json" and path.is_file() and look.shown(path).partition("/")[0] != "pipelines":
            try:
                json.loads(path.read_bytes())
            except (ValueError, RecursionError) as error:
                line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
                yield f"is no JSON: {getattr(error, 'msg', error)}", look.shown(path) + line


def category_files(look: Look) -> Found:
    folder = look.root / "tests"
    if not folder.is_dir():
        return None
    wanted = {"__init__.py", "conftest.py", *(f"test_{category}.py" for category in get_args(Category))}
    there = {path.name for path in folder.glob("*.py")}
    missing = [("is missing", f"tests/{name}") for name in sorted(wanted - there)]
    return missing + [("is none of the six categories", f"tests/{name}") for name in sorted(there - wanted) if name.startswith("test_")]


def pipeline_files(look: Look) -> Found:
    planned = look.plan.get("executions")
    if not isinstance(planned, list):
        return None
    modules = {str(_object(one).get("module")) for one in planned}
    wanted = [f"pipelines/{name}.py" for name in ("__init__", *sorted(modules))]
    return [("is missing, and was planned to run", name) for name in wanted if not (look.root / name).is_file()]


def _named(place: str, pattern: str, allowed: str) -> Callable[[Look], Found]:
    """Every file in a folder of the run must be called so."""

    def names(look: Look) -> Found:
        found = [path for path in sorted(look.root.glob(place)) if path.is_file() and not path.name.startswith(("README", "."))]
        return [(f"is not called {allowed}", look.shown(path)) for path in found if not re.fullmatch(pattern, path.name)] if found else None

    return names


def metrics_files(look: Look) -> Found:
    if not look.ran or look.in_progress:
        return None
    names = [f"results/metrics/{name}.json" for name in ("latency", "throughput", "resource_usage")]
    return [("is missing", name) for name in names if not look.there(name)]


def nothing_half_written(look: Look) -> Found:
    return [("was never finished", look.shown(path)) for path in look.files() if path.name.endswith((".part", ".new"))]


def links_stay_inside(look: Look) -> Iterator[Problem]:
    root = look.root.resolve()
    for path in look.files():
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            yield f"leads out of the folder, to {os.readlink(path)}", look.shown(path)


_SECRETS = {
    "a private key": re.compile(rb"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----\s*[A-Za-z0-9+/]"),
    "an access key": re.compile(rb"\b(AKIA|ASIA)[A-Z0-9]{16}\b"),
    "an access token": re.compile(rb"\b(gh[pousr]_[A-Za-z0-9]{36,}|glpat-[A-Za-z0-9_-]{20,}|xox[abpr]-[A-Za-z0-9-]{20,})"),
}


def no_secrets(look: Look) -> Iterator[Problem]:
    for path in look.files():
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                data = file.read(MAX_BYTES)
            for what, pattern in _SECRETS.items():
                if match := pattern.search(data):
                    yield f"looks like {what}", f"{look.shown(path)}:{_line_of(data, match.start())}"


def _line_of(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


# ---- what the JSON files say ----------------------------------------------------------------------------------------------


def _fields(name: str, wanted: Mapping[str, type | tuple[type, ...]], value: Any) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield "is no JSON object", name
        return
    for key, kind in wanted.items():
        if key not in value:
            yield f"{key} is missing", name
        elif not isinstance(value[key], kind):
            yield f"{key} is {value[key]!r:.60}", f"{name}#/{key}"


def run_config_fields(look: Look) -> Found:
    what = ("roadmap_entry_id", "roadmap_entry_title", "priority", "risk_class", "industry", "deployment_mode")
    which = ("run_id", "started_at", "agent_model", "stageflow_version")
    return _fields(
        "config/run_config.json", {**dict.fromkeys(what + which, str), "test_parameters": dict}, look.json(look.folder.run_config)
    )


def environment_fields(look: Look) -> Found:
    value = look.json(look.folder.environment)
    if value == {} and not look.ran:
        return None  # it ended before the device was asked
    texts = dict.fromkeys(("python_version", "os", "cpu", "gpu"), str)
    return _fields("config/environment.json", {**texts, "memory_gb": (int, float), "dependencies": dict}, value)


def findings_valid(look: Look) -> Iterator[Problem]:
    try:
        Findings.model_validate(look.json(look.folder.findings))
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            yield problem["msg"], "findings.json#/" + "/".join(str(key) for key in problem["loc"])
        return
    about, total = look.findings["metadata"], len(look.findings["findings"])
    if about.get("total_findings", total) != total:
        yield f"{about['total_findings']} findings are announced, {total} are there", "findings.json#/metadata/total_findings"
    for key in ("roadmap_entry_id", "agent_run_id"):
        if look.config and about[key] != look.config.get(key, about[key]):
            yield f"{key} is not the one in config/run_config.json", f"findings.json#/metadata/{key}"


def finding_ids(look: Look) -> Found:
    findings = [_object(one) for one in look.findings.get("findings") or ()]
    if not findings:
        return None
    problems, seen = [], set()
    for number, finding in enumerate(findings):
        where, code = f"findings.json#/findings/{number}/id", TYPE_CODES.get(str(finding.get("type")), "?")
        name, entry = str(finding.get("id")), look.config.get("roadmap_entry_id", "")
        if not re.fullmatch(rf"{re.escape(entry)}-{code}-\d{{3,}}", name):
            problems.append((f"{name!r} is not {entry}-{code}-NNN", where))
        if name in seen:
            problems.append((f"{name!r} is there twice", where))
        seen.add(name)
    return problems


def references(look: Look) -> Found:
    findings = [_object(one) for one in look.findings.get("findings") or ()]
    if not findings:
        return None
    problems = []
    for number, finding in enumerate(findings):
        attached = [str(_object(one).get("path")) for one in finding.get("attachments") or ()]
        for reference in (*map(str, finding.get("evidence") or ()), *attached):
            if why := _nowhere(look, reference):
                problems.append((f"{reference[:200]} {why}", f"findings.json#/findings/{number}"))
    return problems


def _nowhere(look: Look, reference: str) -> str:
    """Why `file`, `file:line`, `file#record` or `file#/json/pointer` leads nowhere, or ""."""
    name, _, inside = reference.partition("#")
    file, _, line = name.rpartition(":") if re.search(r":\d+$", name) else (name, "", "")
    path = look.root / file
    if not path.resolve().is_relative_to(look.root.resolve()):
        return "lies outside of the folder"
    if not path.is_file():
        return "" if file in look.moved else "is not there"
    if line and not 1 <= int(line) <= path.read_bytes().count(b"\n") + 1:
        return "has no such line"
    if inside.startswith("/"):
        return "" if _points(look.json(path), inside) else "has no such place"
    if inside and not (inside.isdecimal() and 1 <= int(inside) <= len(journal.read(path.read_bytes()))):
        return "has no such record"
    return ""


def _points(value: Any, pointer: str) -> bool:
    """Whether a JSON pointer leads somewhere in `value`."""
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return False
    return True


# ---- the evidence ---------------------------------------------------------------------------------------------------------


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


def _asked(name: str) -> Callable[[Look], Found]:
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
    problems: list[Problem] = []
    armed: dict[str, str] = {}  # program → the last that was heard of it
    for record in look.evidence.guard:
        program, where = str(record.payload.get("program", "")), f"{look.shown(path)}#{record.sequence}"
        if record.kind == "armed":
            armed[program] = where
        elif record.kind == "step" and program not in armed:
            problems.append((f"{program} was carried out, and nothing armed it before", where))
        elif record.kind in ("step", "revert_failed") and program in armed:
            armed[program] = where
        elif record.kind == "reverted":
            armed.pop(program, None)
    left = armed.items() if look.ran else ()
    return problems + [(f"{program} was armed, and nothing says that it was taken back", where) for program, where in left]


def far_end_lines(look: Look) -> Found:
    of_probe: list[dict[str, type]] = [PROBED, {"not_logged": int}]
    kinds = {look.folder.link_log: of_probe, look.folder.receipts: [RECEIVED]}
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


def derived_files(look: Look) -> Found:
    if look.in_progress or (look.moved and not look.folder.archive.is_file()):
        return None  # nothing was derived yet; or what it was derived from was pruned
    made_by = str(_object(look.evidence.coordinator[0].payload).get("runner_version"))
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
    note, where = _object(look.json(look.folder.archive_note)), look.shown(look.folder.archive_note)
    if not look.folder.archive.is_file():
        return [] if "deleted_at" in note else [(f"{note.get('path')} is not there", where)]
    if note.get("archive") != seal(look.folder.archive):
        return [(f"{note.get('path')} is not the archive that was made", where)]
    inside = contents(look.folder.archive)
    wrong = [name for name, said in inside.items() if look.moved.get(name) != said]
    wrong += [name for name in look.moved if name not in inside and "deleted_at" not in note]
    return [(f"{name} does not lie in the archive as the note says", where) for name in wrong]


def _scores(look: Look) -> Found:
    path = look.root / "dx_evaluation" / "scores.json"
    if not path.is_file():
        return None
    value, where = _object(look.json(path)), look.shown(path)
    scores = {"overall_score": value.get("overall_score")}
    scores |= {f"categories/{name}/score": _object(one).get("score") for name, one in _object(value.get("categories")).items()}
    wrong = {key: score for key, score in scores.items() if not (isinstance(score, int | float) and 1 <= score <= 5)}
    return [(f"{score!r:.40} is no score from 1 to 5", f"{where}#/{key}") for key, score in wrong.items()]


_LOG = r"run_.+\.log|run_.+_(analysis\.md|(stats|errors)\.json)|_(analysis\.md|(stats|errors)\.json)"
_MOCK = r"[A-Za-z0-9-]+(_[A-Za-z0-9-]+)+_\d+[kKmMgG]?(\.[a-z0-9]+)+"

RULES: tuple[Rule, ...] = (
    Rule("run_folder_name", "The folder is called run-{YYYY}-{MM}-{DD}-{SEQ}, and its configuration says the same", run_folder_name),
    Rule("required_files", "README.md, findings.json, FINAL_REPORT.md, run_config.json and environment.json are there", required_files),
    Rule("required_folders", "Folders are there that this run needs", required_folders),
    Rule("json_readable", "Every .json file is JSON", json_readable),
    Rule("run_config_fields", "run_config.json has the fields of the format", run_config_fields),
    Rule("environment_fields", "environment.json has the fields of the format", environment_fields),
    Rule("findings_valid", "findings.json is valid by its schema, and about this run", findings_valid),
    Rule("finding_ids", "Findings are called {ENTRY}-{TYPE}-{NNN}, each differently", finding_ids),
    Rule("references", "Everything that a finding names as evidence is there", references),
    Rule("pipeline_files", "Every pipeline that was planned is there", pipeline_files),
    Rule("test_files", "tests/ has one file for each of the six categories, and no other", category_files),
    Rule("log_names", "Logs are called run_*.log", _named("results/logs/*.log", _LOG, "run_*.log")),
    Rule(
        "trace_names",
        "Traces are called trace_{YYYYMMDD}_{HHMMSS}_{scenario}.json",
        _named("results/traces/*", r"trace_\d{8}_\d{6}_.+\.json", "trace_{timestamp}_{scenario}.json"),
    ),
    Rule(
        "mock_names",
        "Mock data is called {scenario}_{variant}_{size}.{ext}",
        _named("**/mocks/data/*/*", _MOCK, "{scenario}_{variant}_{size}.{ext}"),
    ),
    Rule("metrics_files", "latency.json, throughput.json and resource_usage.json are there", metrics_files),
    Rule("dx_scores", "Scores in dx_evaluation/scores.json are numbers from 1 to 5", _scores),
    Rule("journals_whole", "Every journal is whole to its last byte", journals_whole),
    Rule("guard_records", "Every record of the guard's journal says what one of its kind must", guard_records),
    Rule("guard_let_go", "What the guard did to the link was armed before, and taken back afterwards", guard_let_go),
    Rule("far_end_lines", "Every line of the far end's logs is one that it writes", far_end_lines),
    *(Rule(name, (check.__doc__ or name).strip().rstrip("."), _asked(name)) for name, check in INTEGRITY.items()),
    Rule("derived_files", "Derived files are what the evidence gives", derived_files),
    Rule("archive_as_noted", "The archive holds what the note in the folder says", archive_as_noted),
    Rule("nothing_half_written", "No file was left half written", nothing_half_written),
    Rule("links_stay_inside", "No symbolic link leads out of the folder", links_stay_inside),
    Rule("no_secrets", "No file holds what looks like a private key or an access token", no_secrets),
)
