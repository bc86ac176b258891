"""Every rule of the folder: held by a real run, broken by exactly what it is about, and said with the place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.judgement import report
from runner.judgement.conclude import conclude
from runner.judgement.report import self_tests
from runner.judgement.verify import RULES, verify
from runner.lab.archive import archive, plan_archive
from runner.lab.folder import STATEMENT, RunFolder, read_json, seals, write_json, write_text

NOW = "2026-11-21T23:00:00.000Z"
pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def complete_run(real_lab: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A copy of the real run, with every derived file."""
    (original,) = RunFolder.every(real_lab / "runs")
    copy = tmp_path_factory.mktemp("runs") / "EDGE-002" / original.run_id
    shutil.copytree(original.root, copy)
    return complete(RunFolder(copy))


@pytest.fixture
def whole(complete_run: RunFolder, forger: Any) -> Any:
    """A forger of a run whose folder is complete."""
    shutil.rmtree(forger.run.root)
    shutil.copytree(complete_run.root, forger.run.root)
    return forger


def complete(run: RunFolder) -> RunFolder:
    if not (run.root / "research").exists():
        write_text(run.root / "research/README.md", STATEMENT)
    conclusion = conclude(run, NOW)
    report.write(run, conclusion)
    for path, text in self_tests.files(conclusion).items():
        write_text(run.root / path, text)
    return run


def broken(run: RunFolder, *only: str) -> dict[str, list[tuple[str, str]]]:
    """Each broken rule, and its problems."""
    rules = [rule for rule in RULES if rule.name in only]
    return {held.rule.name: list(held.problems) for held in verify(run, NOW, rules) if held.problems}


def idle(run: RunFolder) -> set[str]:
    return {held.rule.name for held in verify(run, NOW) if held.problems is None}


def edit(name: str, **changes: Any) -> Callable[[Any], None]:
    """Changes top-level keys of a JSON file; None takes one out."""

    def act(forger: Any) -> None:
        value = {**read_json(forger.run.root / name), **changes}
        write_json(forger.run.root / name, {key: said for key, said in value.items() if said is not None})

    return act


def put(name: str, text: str = "x\n") -> Callable[[Any], None]:
    return lambda forger: write_text(forger.run.root / name, text)


def take(name: str) -> Callable[[Any], None]:
    def act(forger: Any) -> None:
        path = forger.run.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return act


def link(name: str, target: str) -> Callable[[Any], None]:
    return lambda forger: (forger.run.root / name).symlink_to(target)


def renamed(forger: Any) -> None:
    forger.run = RunFolder(forger.run.root.rename(forger.run.root.with_name("run-2026-13-01-1")))


def among_others(forger: Any) -> None:
    (forger.run.root.parent.parent / "FIN-001").mkdir()
    forger.run = RunFolder(forger.run.root.rename(forger.run.root.parent.parent / "FIN-001" / forger.run.run_id))


def with_finding(**changes: Any) -> Callable[[Any], None]:
    """One finding as it should be, with something changed in it."""
    finding = {
        "id": "EDGE-002-BUG-001",
        "type": "bug",
        "severity": "high",
        "title": "The books are wrong",
        "description": "By one.",
        "status": "open",
        "created_at": NOW,
        "evidence": ["results/journal/coordinator.journal#1"],
        "fingerprint": "0123456789abcdef",
    }
    return edit("findings.json", findings=[{**finding, **changes}])


def log_sealed(name: str) -> Callable[[Any], None]:
    """A log of another name, there since the run."""

    def act(forger: Any) -> None:
        put(f"results/logs/{name}")(forger)
        forger.seal()

    return act


KEY = "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n"
WITNESS, CONFIG = "results/journal/witness.jsonl", "config/run_config.json"

BREAKING: dict[str, tuple[Callable[[Any], Any], str, str]] = {  # what is done → the rule, where
    "another folder name": (renamed, "run_folder_name", "."),
    "another run id": (edit(CONFIG, run_id="run-2026-01-01-001"), "run_folder_name", f"{CONFIG}#/run_id"),
    "among another entry's runs": (among_others, "run_folder_name", ".."),
    "no report": (take("FINAL_REPORT.md"), "required_files", "FINAL_REPORT.md"),
    "an empty readme": (lambda f: f.run.readme.write_text(""), "required_files", "README.md"),
    "no findings": (take("findings.json"), "required_files", "findings.json"),
    "no research for the first run": (take("research"), "required_folders", "research"),
    "no evaluation": (take("dx_evaluation"), "required_folders", "dx_evaluation"),
    "no tests": (take("tests"), "required_folders", "tests"),
    "no JSON": (put("dx_evaluation/scores.json", '{\n"overall_score": }\n'), "json_readable", "dx_evaluation/scores.json:2"),
    "a field less": (edit(CONFIG, industry=None), "run_config_fields", CONFIG),
    "a field of another kind": (
        edit("config/environment.json", memory_gb="much"),
        "environment_fields",
        "config/environment.json#/memory_gb",
    ),
    "an empty environment": (put("config/environment.json", "{}\n"), "environment_fields", "config/environment.json"),
    "another severity": (with_finding(severity="bad"), "findings_valid", "findings.json#/findings/0/severity"),
    "a wrong total": (edit("findings.json", findings=[{}]), "findings_valid", "findings.json#/findings/0/id"),
    "another id": (with_finding(id="EDGE-003-BUG-001"), "finding_ids", "findings.json#/findings/0/id"),
    "evidence that is not there": (with_finding(evidence=["results/logs/run_x.log"]), "references", "findings.json#/findings/0"),
    "a record that is not there": (
        with_finding(evidence=["results/journal/coordinator.journal#9999"]),
        "references",
        "findings.json#/findings/0",
    ),
    "a line that is not there": (with_finding(evidence=[f"{WITNESS}:9999"]), "references", "findings.json#/findings/0"),
    "a place that is not there": (with_finding(evidence=[f"{CONFIG}#/test_parameters/nope"]), "references", "findings.json#/findings/0"),
    "evidence outside": (with_finding(evidence=["../../../x"]), "references", "findings.json#/findings/0"),
    "a pipeline less": (take("pipelines/baseline.py"), "pipeline_files", "pipelines/baseline.py"),
    "a category less": (take("tests/test_security.py"), "test_files", "tests/test_security.py"),
    "a category more": (put("tests/test_beauty.py", ""), "test_files", "tests/test_beauty.py"),
    "a log of another name": (log_sealed("out.log"), "log_names", "results/logs/out.log"),
    "a trace of another name": (put("results/traces/today.json", "{}"), "trace_names", "results/traces/today.json"),
    "mock data of another name": (put("pipelines/mocks/data/edge_cases/all.csv"), "mock_names", "pipelines/mocks/data/edge_cases/all.csv"),
    "a metric less": (take("results/metrics/latency.json"), "metrics_files", "results/metrics/latency.json"),
    "a score of eleven": (
        put("dx_evaluation/scores.json", '{"overall_score": 4, "categories": {"clarity": {"score": 11}}}'),
        "dx_scores",
        "dx_evaluation/scores.json#/categories/clarity/score",
    ),
    "a journal with a tail": (
        lambda f: f.recovery.write_bytes(f.recovery.read_bytes() + b"\0"),
        "journals_whole",
        "results/journal/device-recovery-1.journal",
    ),
    "no coordinator's journal": (take("results/journal/coordinator.journal"), "journals_whole", "results/journal/coordinator.journal"),
    "a witness line more": (lambda f: f.run.witness.write_text(f.run.witness.read_text() + "{}\n"), "evidence_unaltered", WITNESS),
    "a report that was edited": (
        lambda f: f.run.final_report.write_text("# Better\n" + f.run.final_report.read_text()),
        "derived_files",
        "FINAL_REPORT.md:1",
    ),
    "half a file": (put("config/run_config.json.part"), "nothing_half_written", "config/run_config.json.part"),
    "a link that leads out": (link("research/passwd", "/etc/passwd"), "links_stay_inside", "research/passwd"),
    "a private key": (put("research/notes.md", f"# Notes\n\n{KEY}"), "no_secrets", "research/notes.md:3"),
}


def test_a_whole_folder_holds_every_rule(whole: Any) -> None:
    """And what does not apply to it is said to be so."""
    assert broken(whole.run) == {}
    assert {"dx_scores", "archive_as_noted"} <= idle(whole.run)
    assert len({rule.name for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("name", BREAKING)
def test_each_rule_is_broken_by_what_it_is_about(whole: Any, name: str) -> None:
    """With the place; verifying changes nothing, and ends in words whatever is wrong."""
    act, rule, where = BREAKING[name]
    act(whole)
    before = seals(whole.run)
    found = broken(whole.run, rule)
    assert rule in found
    assert any(place.startswith(where) for _, place in found[rule]), found[rule]
    assert seals(whole.run) == before


# in tests/judgement/test_integrity.py, test_link_reports.py, test_heat.py, below, and with the self tests
BROKEN_ELSEWHERE = {"cuts_as_planned", "journals_as_mirrored", "mirror_complete", "archive_as_noted", "losses_recounted"}
BROKEN_ELSEWHERE |= {"guard_records", "guard_let_go", "far_end_lines", "faults_as_planned", "planned_as_begun", "heat_recomputed"}


def test_each_rule_is_broken_by_something(whole: Any) -> None:
    """No rule without a test that breaks it; the archive's and the disk's own ones have theirs below, and with the self tests."""
    assert {rule for _, rule, _ in BREAKING.values()} | BROKEN_ELSEWHERE == {rule.name for rule in RULES}


@pytest.mark.parametrize("evidence", [f"{WITNESS}:1", f"{CONFIG}#/test_parameters/cuts/bar", "results/journal/coordinator.journal#1"])
def test_evidence_that_is_there_holds(whole: Any, evidence: str) -> None:
    """The negative control: a line, a place in JSON, a record."""
    with_finding(evidence=[evidence])(whole)
    assert broken(whole.run, "references", "finding_ids") == {}


def test_what_people_filled_in_is_fine(whole: Any) -> None:
    """Research and an evaluation by hand."""
    put("research/hypotheses.md", "# Hypotheses\n")(whole)
    put("research/README.md", "# What was read\n")(whole)
    put("dx_evaluation/scores.json", '{"overall_score": 3.8, "categories": {"clarity": {"score": 4, "notes": ""}}}')(whole)
    report.write(whole.run, conclude(whole.run, NOW))
    assert broken(whole.run) == {}


def test_runs_that_never_ended_break_no_rule_by_it(forger: Any, tmp_path: Path) -> None:
    """Under way, blocked early, killed: what cannot be there yet is not asked for."""
    shutil.copytree(forger.run.root, tmp_path / "killed" / forger.run.run_id)
    killed = type(forger)(RunFolder(tmp_path / "killed" / forger.run.run_id))

    forger.change(forger.run.coordinator_journal, "run_ended", ending="lab", error="no answer")
    write_json(forger.run.environment, {})
    forger.seal()
    shutil.rmtree(forger.run.metrics)
    assert broken(complete(forger.run)) == {}
    assert "environment_fields" in idle(forger.run)

    killed.drop(killed.run.coordinator_journal, "run_ended")
    killed.drop(killed.run.coordinator_journal, "sealed")
    report.write_in_progress(killed.run)
    killed.run.coordinator_journal.write_bytes(killed.run.coordinator_journal.read_bytes() + b"half a rec")
    assert broken(killed.run) == {}
    assert {"journals_whole", "derived_files", "evidence_unaltered"} <= idle(killed.run)


def test_an_archived_run_holds_every_rule_and_is_judged_the_same(whole: Any) -> None:
    """What was moved is accounted for by its hash; what is missing without a word is not, nor an archive that was changed."""
    write_text(whole.run.logs / "run_recovery-1_20261121_000000.log", "a\nb\n")
    whole.seal()
    complete(whole.run)
    (fate,) = plan_archive(whole.run.root.parent.parent, [whole.run], 10**19, 0)
    assert "results/metrics/latency.json" in fate.files
    before = conclude(whole.run, NOW)
    archive(whole.run, fate.files, 10**18)
    assert not whole.run.logs.exists()
    assert broken(whole.run) == {}
    after = conclude(whole.run, NOW)
    assert (after.row, after.reason, after.results) == (before.row, before.reason, before.results)

    note = read_json(whole.run.archive_note)
    log = "results/logs/run_recovery-1_20261121_000000.log"
    write_json(whole.run.archive_note, {**note, "files": {**note["files"], log: {"bytes": 4, "sha256": "0" * 64}}})
    assert {"evidence_unaltered", "archive_as_noted"} <= set(broken(whole.run))
    write_json(whole.run.archive_note, note)
    whole.run.archive.write_bytes(b"another")
    assert set(broken(whole.run)) == {"archive_as_noted", "derived_files"}  # nobody can make the report from it
    whole.run.archive.unlink()
    assert set(broken(whole.run)) == {"archive_as_noted"}
    whole.run.archive_note.unlink()
    assert {"evidence_unaltered", "metrics_files"} <= set(broken(whole.run))


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", '{"metadata": 1, "findings": 2}', "[" * 50_000, json.dumps({"metadata": {}, "findings": [1]})]
)
def test_hostile_files_are_problems_and_not_exceptions(whole: Any, text: str) -> None:
    """Each JSON file replaced by anything: the answer is still a list of rules."""
    for path in (whole.run.findings, whole.run.run_config, whole.run.environment):
        before = path.read_bytes()
        path.write_text(text)
        assert broken(whole.run)
        path.write_bytes(before)
