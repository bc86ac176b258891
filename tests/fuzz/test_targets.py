"""Made-up inputs for every target: any bytes, and documents that are nearly right, which reach further."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st

from runner.judgement import older_findings
from tests.fuzz.made_up import JUNK, budgets, holds, near
from tests.fuzz.targets import FILES, TARGETS, fuzz_evidence, fuzz_findings, fuzz_yaml

CORPUS = Path(__file__).with_name("corpus")
GOOD = {"inventory": "over-a-network", "type": "qemu-arm64", "profile": "power-cuts", "entry": "small"}


def as_json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, indent=1).encode()  # which is YAML, too


@budgets(quick=25, long=500)
@pytest.mark.parametrize("target", TARGETS)
def test_any_bytes(target: str, examples: int) -> None:
    """A target says by itself what is true of them."""
    holds(TARGETS[target], st.binary(max_size=300), examples=examples)


@budgets(quick=25, long=500)
@pytest.mark.parametrize("noun", FILES)
def test_files_of_a_lab_that_are_nearly_right(noun: str, examples: int) -> None:
    """Parts left out, exchanged and added: a value, or complaints with a line each."""
    good = yaml.safe_load((CORPUS / noun / GOOD[noun]).read_text())
    holds(lambda document: fuzz_yaml(noun, as_json(document)), near(good), examples=examples)


@budgets(quick=25, long=500)
def test_findings_that_are_nearly_right(examples: int) -> None:
    """Both shapes, every field; what nobody can map is left out, and every row is accounted for."""
    full, older = (json.loads((CORPUS / "findings" / name).read_text()) for name in ("full", "older"))
    rows = st.lists(near(full["findings"][0]) | near(older["entries"][0]) | near(older["entries"][1]), max_size=4)
    documents = st.fixed_dictionaries({"findings": rows}) | st.fixed_dictionaries({"template": JUNK, "entries": rows})
    holds(lambda document: fuzz_findings(as_json(document)), documents, examples=examples)


@budgets(quick=25, long=500)
@pytest.mark.parametrize("file", ["device", "coordinator"])
def test_run_folders_that_are_nearly_right(file: str, examples: int) -> None:
    """A journal of a good run, records left out, doubled and changed, each with a right number and sum again."""
    said = (line.partition(" ") for line in (CORPUS / "evidence" / file).read_text().splitlines()[1:])
    lines = [near(json.loads(payload)).map(lambda payload, kind=kind: f"{kind} {json.dumps(payload)}") for kind, _, payload in said]
    some = st.lists(st.one_of(lines), max_size=12) | st.tuples(*lines)
    holds(lambda said: fuzz_evidence("\n".join([file, *said]).encode()), some, examples=examples)


def test_thousands_of_wrong_parts_are_found_in_a_few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much of one finding is wrong, it is not validated once for each part: that would take hours."""
    looks = 0
    real = older_findings.Finding.model_validate

    def counted(draft: Any) -> Any:
        nonlocal looks
        looks += 1
        return real(draft)

    monkeypatch.setattr(older_findings.Finding, "model_validate", counted)
    wrong = {
        "title": "x",
        "tags": [1, 2],
        "reproduction": {"environment": {"dependencies": {f"a{number}": number for number in range(500)}}},
    }
    mapped = older_findings.map_findings(as_json({"findings": [wrong]}), "a.json", "b.json", "EDGE-002", [], "now")
    assert looks == 2
    assert len(mapped.unmapped) == 500 + len(["tags", "no severity", "no type", "no time"])
