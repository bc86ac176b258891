"""What the JSON files say: their fields, findings that are valid by their schema, and evidence that leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from runner.judgement.checks import Problem
from runner.judgement.rules.look import Found, Look, object_of
from runner.model.finding import TYPE_CODES, Findings
from runner.ondevice import journal


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
    findings = [object_of(one) for one in look.findings.get("findings") or ()]
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
    findings = [object_of(one) for one in look.findings.get("findings") or ()]
    if not findings:
        return None
    problems = []
    for number, finding in enumerate(findings):
        attached = [str(object_of(one).get("path")) for one in finding.get("attachments") or ()]
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


def dx_scores(look: Look) -> Found:
    path = look.root / "dx_evaluation" / "scores.json"
    if not path.is_file():
        return None
    value, where = object_of(look.json(path)), look.shown(path)
    scores = {"overall_score": value.get("overall_score")}
    scores |= {f"categories/{name}/score": object_of(one).get("score") for name, one in object_of(value.get("categories")).items()}
    wrong = {key: score for key, score in scores.items() if not (isinstance(score, int | float) and 1 <= score <= 5)}
    return [(f"{score!r:.40} is no score from 1 to 5", f"{where}#/{key}") for key, score in wrong.items()]
