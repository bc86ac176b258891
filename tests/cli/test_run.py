"""`run verify`, `run archive`, `run prune`: what a person and a program are told, and the exit status."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.lab.folder import RunFolder, write_json, write_text

Runner = Callable[..., Any]
LOG = "results/logs/run_recovery-1_20200101_120000.log"


@pytest.fixture
def lab(make_lab: Callable[..., Path]) -> Path:
    """A lab with a run of long ago, and one under way."""
    root = make_lab({})
    for run_id, status in (("run-2020-01-01-001", "completed"), ("run-2020-01-02-001", "in_progress")):
        run = RunFolder(root / "runs" / "EDGE-002" / run_id)
        write_json(run.run_config, {"run_id": run_id})
        about = {"status": status, "started_at": "2020-01-01T11:00:00.000Z", "completed_at": "2020-01-01T12:00:00.000Z"}
        write_json(run.findings, {"metadata": about, "findings": []})
        write_text(run.root / LOG, "hello\n")
    return root


def old(lab: Path) -> RunFolder:
    return RunFolder(lab / "runs" / "EDGE-002" / "run-2020-01-01-001")


def tree(lab: Path) -> set[str]:
    return {str(path.relative_to(lab)) for path in lab.rglob("*")}


def test_a_dry_run_says_what_would_happen_with_sizes_and_does_nothing(runner: Runner, lab: Path) -> None:
    """Each file by name, each run that is left with its reason; not a byte moves."""
    before = tree(lab)
    said = runner("--lab", str(lab), "run", "archive", "--dry-run")
    assert "EDGE-002/run-2020-01-01-001: would archive 1 files, 6 bytes" in said.out
    assert f"6  {LOG}" in said.out
    assert "EDGE-002/run-2020-01-02-001: left: in progress" in said.out
    assert tree(lab) == before
    first, second = runner("--json", "--lab", str(lab), "run", "archive", "--dry-run").json["runs"]
    assert (first["files"], first["archive_bytes"]) == ([{"path": LOG, "bytes": 6}], None)
    assert second["left"].startswith("in progress")


def test_archive_restore_prune(runner: Runner, lab: Path) -> None:
    """The whole life of old logs, by hand."""
    name, words = "run-2020-01-01-001", ("--lab", str(lab), "run")
    assert "archived 1 files, 6 bytes → " in runner(*words, "archive", name).out
    assert not (old(lab).root / LOG).exists()
    assert "restored: 1 files" in runner(*words, "archive", "--restore", name).out
    assert (old(lab).root / LOG).read_text() == "hello\n"
    assert runner(*words, "archive").exit_code == 0
    assert "would delete 1 files" in runner(*words, "prune", "--dry-run").out
    assert old(lab).archive.exists()
    assert "deleted 1 files" in runner(*words, "prune").out
    assert not old(lab).archive.exists()
    assert runner(*words, "archive", "--restore", name).exit_code == 2
    assert runner(*words, "archive", "--restore").exit_code == 2


def test_the_age_decides(runner: Runner, lab: Path) -> None:
    """Also for a run that is named; and an age that is none is refused."""
    words = ("--lab", str(lab), "run", "archive", "run-2020-01-01-001")
    assert "1 runs" not in runner(*words, "--older-than", "99999d").out
    assert (old(lab).root / LOG).exists()
    assert "90d, 12w, 36h" in runner(*words, "--older-than", "soon").err


def test_only_runs_of_this_lab(runner: Runner, lab: Path, tmp_path: Path) -> None:
    """What refers to another one cannot be looked for."""
    elsewhere = tmp_path / "run-2020-01-01-001"
    shutil.copytree(old(lab).root, elsewhere)
    for verb in ("archive", "prune"):
        assert "is no run of this lab" in runner("--lab", str(lab), "run", verb, str(elsewhere)).err


def test_an_archived_run_is_not_reported_upon_again(runner: Runner, lab: Path) -> None:
    """A report without the logs would write over the one that was made with them."""
    runner("--lab", str(lab), "run", "archive")
    said = runner("--lab", str(lab), "report", "run-2020-01-01-001")
    assert said.exit_code == 2
    assert "runner run archive --restore run-2020-01-01-001" in said.err


def test_a_folder_that_is_hardly_one_breaks_rules_and_nothing_else(runner: Runner, lab: Path) -> None:
    """Each cause once, with the place, and the rules that it breaks; status 1; all of them for a program. No class of ours is named."""
    said = runner("--lab", str(lab), "run", "verify", "run-2020-01-01-001")
    assert said.exit_code == 1
    *lines, damaged, after = said.out.splitlines()
    assert damaged == "damaged: config/run_config.json: this is no configuration of a run"
    assert after == "next: runner run prune --damaged EDGE-002/run-2020-01-01-001"
    assert any(line.startswith("README.md: is missing (+") and "[required_files: " in line for line in lines)
    rules = runner("--json", "--lab", str(lab), "run", "verify", "run-2020-01-01-001").json["rules"]
    broken = [rule["rule"] for rule in rules if rule["result"] == "broken"]
    *causes, count = lines[1:]  # behind the lab
    assert count.startswith("run-2020-01-01-001: ") and f" {len(broken)} broken" in count
    told = [name for line in causes for name in line.rpartition(" [")[2].rstrip("]").partition(": ")[0].split(", ")]
    assert sorted(told) == sorted(broken) and len(causes) < len(broken)
    assert "AskError" not in said.out
    assert {"found", "where"} == set(rules[1]["problems"][0])


@pytest.mark.real
def test_of_a_run_that_was_altered_it_is_said_where(runner: Runner, real_run: RunFolder, make_lab: Callable[..., Path]) -> None:
    """A witness line more: the rule by name, the file."""
    real_run.witness.write_text(real_run.witness.read_text() + "{}\n")
    said = runner("--lab", str(make_lab({})), "run", "verify", str(real_run.root))
    assert said.exit_code == 1
    assert "\nresults/journal/witness.jsonl is not what it was when the run ended [evidence_unaltered: " in said.out


def test_what_was_meant_is_named(runner: Runner) -> None:
    """`run` with a word that is no command lists those that are."""
    assert "list or show; also verify, archive, prune" in runner("run", "EDGE-002").err
