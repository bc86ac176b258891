"""The roadmap as data: made from the document and nothing else, and what runs make of it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest

from runner.errors import AskError
from runner.lab.check_entry import check_folder
from runner.lab.load import Reader
from runner.lab.roadmap import MAX_CHARS, here, known_id, next_entry, read_roadmap, state_of, tried
from runner.lab.where import Lab, find_lab
from runner.model.entry import Entry
from runner.model.roadmap import PRIORITIES, RISKS, Roadmap

REPOSITORY = Path(__file__).parent.parent.parent
MakeLab = Callable[[dict[str, str]], Path]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """scripts/make_roadmap.py, without running it."""
    spec = importlib.util.spec_from_file_location("make_roadmap", REPOSITORY / "scripts" / "make_roadmap.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def document(script: ModuleType) -> str:
    return str(script.ROADMAP.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def lab() -> Lab:
    return find_lab(str(REPOSITORY))


@pytest.fixture(scope="module")
def roadmap(lab: Lab) -> Roadmap:
    return read_roadmap(lab)


# ---- the data -------------------------------------------------------------------------------------------------


def test_the_data_are_what_the_document_says(script: ModuleType, document: str) -> None:
    """Made again from docs/ROADMAP.md they are the same, byte for byte."""
    assert script.render(script.read(document)) == script.DATA.read_text(encoding="utf-8")


def test_a_changed_document_is_noticed(script: ModuleType, document: str) -> None:
    """The negative control: one word in one row."""
    changed = document.replace("| EDGE-002 | Power failure recovery | P0 |", "| EDGE-002 | Power failure recovery | P1 |")
    assert changed != document
    assert script.render(script.read(changed)) != script.DATA.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "| CORE-004 | UUID collision in high-scale deployments | P0 |",
            "| CORE-004 | UUID collision | P7 |",
            r"line \d+ is not understood",
        ),
        ("| CORE-002 |", "| CORE-001 |", "tells CORE-001 a second time"),
        ("- WORK-001, WORK-002", "- WORK-001", "does not say 'WORK-001, WORK-002' any more"),
        ("- DX improvements", "- DX improvements\n- Quantum pipelines", "says 'Quantum pipelines', and RULES"),
        ("## Tier 1: Core", "## Tier one: Core", r"line \d+ is not understood"),
    ],
)
def test_what_is_not_understood_stops_the_script(script: ModuleType, document: str, before: str, after: str, said: str) -> None:
    """No row and no bullet is passed over in silence."""
    assert before in document
    with pytest.raises(ValueError, match=said):
        script.read(document.replace(before, after))


def test_there_are_308_entries_each_once(roadmap: Roadmap) -> None:
    """Ten tiers, five phases, all ids different."""
    assert len(roadmap.entries) == len({row.id for row in roadmap.entries}) == 308
    assert {row.tier for row in roadmap.entries} == set(range(1, 11))
    assert {row.phase for row in roadmap.entries} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("phase", "ids"),
    [
        (1, ["CORE-001", "DAG-001", "CONTRACT-001", "GUARD-001", "GUARD-004", "WORK-001", "WORK-002"]),
        (2, ["GUARD-005", "GUARD-007", "WORK-003", "TRANSFORM-001", "AGENT-001", "LLM-REASON-001", "LLM-SYS-007"]),
        (3, ["K8S-001", "EDGE-002", "AIRGAP-001", "CHAOS-001", "CHAOS-014"]),
        (4, ["FIN-001", "DEF-008", "ENERGY-005", "LEGAL-007"]),
        (5, ["CORE-005", "DAG-004", "OBS-001", "SEC-001", "DX-001", "PERF-012"]),
    ],
)
def test_each_phase_holds_what_the_document_names(roadmap: Roadmap, phase: int, ids: list[str]) -> None:
    """The first phase that means an entry has it; what none means is continuous work."""
    assert {row.id: row.phase for row in roadmap.entries if row.id in ids} == dict.fromkeys(ids, phase)


def test_industries_and_deployment_modes_are_the_sections_of_their_tiers(roadmap: Roadmap) -> None:
    """Tier 4 names industries, tier 3 deployment modes; everywhere else it is N/A."""
    rows = {row.id: row for row in roadmap.entries}
    assert (rows["ENERGY-005"].industry, rows["ENERGY-005"].deployment_mode) == ("Energy & Utilities", "N/A")
    assert (rows["EDGE-002"].industry, rows["EDGE-002"].deployment_mode) == ("N/A", "Edge/IoT")
    assert len({row.industry for row in roadmap.entries}) == 13 + 1
    assert {row.tier for row in roadmap.entries if row.industry != "N/A"} == {4}
    assert {row.tier for row in roadmap.entries if row.deployment_mode != "N/A"} == {3}


def test_the_roadmap_and_the_entries_speak_of_the_same_priorities_and_risks() -> None:
    """One vocabulary, in one order, in both models."""
    assert get_args(Entry.model_fields["priority"].annotation) == PRIORITIES
    assert get_args(Entry.model_fields["risk"].annotation) == RISKS


def test_every_entry_here_agrees_with_the_roadmap(lab: Lab, roadmap: Roadmap) -> None:
    """Id, title, priority and risk, and a folder that can be read; each entry of this repository is one of the roadmap's."""
    assert "EDGE-002" in here(lab)
    for entry_id in here(lab):
        reader = Reader(lab)
        found, row = reader.entry(entry_id, ""), roadmap.find(entry_id)
        assert found and row
        check_folder(reader, entry_id, row)
        reader.finish()


def test_a_labs_own_roadmap_wins_and_is_told_where_it_is_wrong(make_lab: MakeLab) -> None:
    """With file and line, as every file of a lab."""
    own = 'entries:\n  - {id: MY-001, phase: 1, tier: 1, priority: P0, risk: Low, title: "Mine", section: "S"}\n'
    assert [row.id for row in read_roadmap(find_lab(str(make_lab({"pipelines/roadmap.yaml": own})))).entries] == ["MY-001"]
    with pytest.raises(AskError) as refused:
        read_roadmap(find_lab(str(make_lab({"pipelines/roadmap.yaml": own.replace("phase: 1", "phase: 6")}))))
    assert refused.value.complaints[0].where.endswith("roadmap.yaml:2")


def test_an_unknown_id_is_told_with_the_nearest(roadmap: Roadmap) -> None:
    """In either case; a folder's own id counts, too."""
    assert known_id("edge-002", roadmap, (), "") == "EDGE-002"
    assert known_id("mine-001", roadmap, ["MINE-001"], "") == "MINE-001"
    with pytest.raises(AskError) as refused:
        known_id("EGDE-002", roadmap, (), "here")
    assert refused.value.complaints[0].found == "no entry is called 'EGDE-002' (did you mean 'EDGE-002'?)"


# ---- what runs make of it ---------------------------------------------------------------------------------------


def make_run(runs: Path, entry: str, number: int, findings: object) -> None:
    """A run folder with this as its findings.json."""
    root = runs / entry / f"run-2026-11-21-{number:03}"
    (root / "config").mkdir(parents=True)
    (root / "config" / "run_config.json").write_text(json.dumps({"test_parameters": {"device": "local"}}))
    (root / "findings.json").write_text(findings if isinstance(findings, str) else json.dumps(findings))


def told(status: str) -> dict[str, object]:
    return {"metadata": {"status": status, "verdict": "PASS", "summary": "s"}, "findings": []}


def test_tested_is_what_the_runs_say(tmp_path: Path) -> None:
    """Completed once is tested; anything else is an attempt, also a folder that cannot be read; nothing is untested."""
    for number, status in enumerate(("failed", "completed", "blocked"), 1):
        make_run(tmp_path, "EDGE-001", number, told(status))
    for number, findings in enumerate(
        (told("blocked"), told("in_progress"), "{", "[]", '{"metadata": []}', '{"metadata": {}}', "[" * 9999), 1
    ):
        make_run(tmp_path, "EDGE-003", number, findings)
    runs = tried(tmp_path)
    assert {entry: state_of(found) for entry, found in runs.items()} == {"EDGE-001": "tested", "EDGE-003": "attempted"}
    assert [run.status for run in runs["EDGE-003"]] == ["blocked", "in_progress", *["unreadable"] * 5]
    assert state_of([]) == "untested"
    assert list(tried(tmp_path, "EDGE-001")) == ["EDGE-001"]


def test_what_a_run_says_is_bounded_and_cannot_break_a_line(tmp_path: Path) -> None:
    """Summaries quote devices: long, and with characters that would move a cursor."""
    make_run(tmp_path, "EDGE-001", 1, {"metadata": {"status": "completed", "summary": "a\n# b\x1b[2J" + "x" * 9999}})
    (run,) = tried(tmp_path)["EDGE-001"]
    assert run.summary.startswith("a # b [2J")
    assert len(run.summary) == MAX_CHARS
    assert run.summary.isprintable()


def test_the_next_entry_is_the_first_open_one_in_execution_order(roadmap: Roadmap, tmp_path: Path) -> None:
    """Phase, then priority, then risk, then the roadmap's order; a completed run takes an entry out, an attempt does not."""
    turns = [(row.phase, row.priority, RISKS.index(row.risk)) for row in sorted(roadmap.entries, key=lambda row: row.turn)]
    assert turns == sorted(turns)
    row, why = next_entry(roadmap, {})
    assert row is not None
    assert row.id == "CORE-001"
    assert "phase 1, P0, Catastrophic" in why
    make_run(tmp_path, "CORE-001", 1, told("completed"))
    make_run(tmp_path, "CORE-008", 1, told("blocked"))
    row, why = next_entry(roadmap, tried(tmp_path))
    assert row is not None
    assert row.id == "CORE-008"
    assert why.startswith("attempted 1 time and never completed")


def test_a_lower_phase_comes_before_a_higher_priority(roadmap: Roadmap, tmp_path: Path) -> None:
    """Only among some entries: a P2 of phase 2 before a P0 of phase 3; and when all are tested, none."""
    assert next_entry(roadmap, {}, ["EDGE-002", "GUARD-009"])[0] == roadmap.find("GUARD-009")
    make_run(tmp_path, "EDGE-002", 1, told("completed"))
    assert next_entry(roadmap, tried(tmp_path), ["EDGE-002"]) == (None, "every entry that has a folder is tested")
