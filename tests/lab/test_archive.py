"""Archiving: old runs only, nothing lost wherever it is killed, and nothing deleted that anything refers to."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from runner.errors import AskError, LabError
from runner.lab import archive as archiving
from runner.lab.archive import Fate, archive, contents, parse_age, plan_archive, plan_prune, prune, restore
from runner.lab.folder import RunFolder, archived, read_json, write_json, write_text

DAY_S = 86_400
ENDED_NS = 1_795_262_400_000_000_000  # 2026-11-21T12:00:00Z
LATER_NS = ENDED_NS + 100 * DAY_S * 1_000_000_000

MOVED = {
    "results/logs/run_recovery-1_20261121_120000.log": "began\nended\n",
    "results/logs/_stats.json": "{}",
    "results/metrics/latency.json": "{}",
    "results/traces/trace_20261121_120000_recovery.json": "[]" * 1000,
    "mocks/data/scale/readings_valid_1m.csv": "1,2,3\n" * 10_000,
}
KEPT = {
    "README.md": "# run",
    "FINAL_REPORT.md": "# report",
    "config/environment.json": "{}",
    "results/journal/witness.jsonl": "{}\n",
    "results/screenshots/README.md": "none",
    "pipelines/checks.py": "",
    "pipelines/mocks/data/happy_path/readings_valid_10.csv": "1\n",
    "tests/test_reliability.py": "",
}


def make_run(runs: Path, run_id: str = "run-2026-11-21-001", entry: str = "EDGE-002", **metadata: Any) -> RunFolder:
    """A run that ended at noon, with something in each folder."""
    run = RunFolder(runs / entry / run_id)
    for name, text in {**MOVED, **KEPT}.items():
        write_text(run.root / name, text)
    write_json(run.run_config, {"run_id": run_id})
    about = {"status": "completed", "started_at": "2026-11-21T11:00:00.000Z", "completed_at": "2026-11-21T12:00:00.000Z", **metadata}
    write_json(run.findings, {"metadata": about, "findings": []})
    return run


def files(run: RunFolder) -> dict[str, str]:
    return {str(path.relative_to(run.root)): path.read_text() for path in run.root.rglob("*") if path.is_file()}


def plan(run: RunFolder, wall_ns: int = LATER_NS, days: int = 90) -> Fate:
    (fate,) = plan_archive(run.root.parent.parent, [run], wall_ns, days * DAY_S)
    return fate


def archive_it(run: RunFolder) -> None:
    archive(run, plan(run).files, LATER_NS)


# ---- archive ------------------------------------------------------------------------------------------------------------


def test_what_is_not_kept_for_ever_moves_and_comes_back(tmp_path: Path) -> None:
    """Logs, metrics, traces and data of scale go into one file; a note says what lies there; restoring gives the same folder."""
    run = make_run(tmp_path)
    before = files(run)
    assert set(plan(run).files) == set(MOVED)
    archive_it(run)
    left = files(run)
    note = json.loads(left.pop("results/archived.json"))
    assert left == {name: text for name, text in before.items() if name not in MOVED}
    assert set(note["files"]) == set(archived(run)) == set(contents(run.archive)) == set(MOVED)
    assert note["path"] == "../archive/run-2026-11-21-001.tar.gz"
    assert (run.root / note["path"]).resolve() == run.archive.resolve()
    assert not (run.root / "results" / "logs").exists()
    assert plan(run).left == "nothing left to archive"
    assert sorted(restore(run)) == sorted(MOVED)
    assert files(run) == before
    assert not run.archive.exists()


def test_the_same_folder_gives_the_same_archive(tmp_path: Path) -> None:
    """Byte for byte, whoever made it: no owner and no time of packing is in it."""
    run = make_run(tmp_path)
    archive_it(run)
    first = run.archive.read_bytes()
    restore(run)
    archive_it(run)
    assert run.archive.read_bytes() == first


@pytest.mark.parametrize(
    ("wall_ns", "metadata", "left"),
    [
        (ENDED_NS + 90 * DAY_S * 10**9, {}, ""),
        (ENDED_NS + (90 * DAY_S - 1) * 10**9, {}, "89 days old, 90 are asked for"),
        (LATER_NS, {"status": "in_progress"}, "in progress, or killed: runner report ends it"),
        (LATER_NS, {"completed_at": "soon"}, "findings.json does not say when it ended (ValueError)"),
        (0, {}, "0 days old, 90 are asked for"),
    ],
)
def test_only_runs_that_ended_long_enough_ago(tmp_path: Path, wall_ns: int, metadata: dict[str, Any], left: str) -> None:
    """To the second; one under way is never touched, nor one of which nobody knows when it ended."""
    assert plan(make_run(tmp_path, **metadata), wall_ns).left == left


@pytest.mark.parametrize(("text", "days"), [("90d", 90), ("2w", 14), ("48h", 2), ("0d", 0)])
def test_an_age_is_a_number_and_a_unit(text: str, days: int) -> None:
    """Days, weeks, hours."""
    assert parse_age(text) == days * DAY_S


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1y", "999999d", "1d "])
def test_another_age_is_refused(text: str) -> None:
    """With what may stand there."""
    with pytest.raises(AskError, match="90d, 12w, 36h"):
        parse_age(text)


class Killed(BaseException):
    """As a SIGKILL: nothing of ours runs on from there."""


def test_killed_anywhere_nothing_is_lost_and_again_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each call that changes the disk: every file is whole in the folder or in a whole archive, and a second attempt completes."""
    for step in range(1, 100):
        run = make_run(tmp_path / str(step))
        whole = files(run)
        calls = 0

        def dies(real: Any, at: int = step) -> Any:
            def call(*words: Any, **more: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == at:
                    raise Killed
                return real(*words, **more)

            return call

        with monkeypatch.context() as patch:
            for name in ("fsync", "replace", "unlink", "rmdir"):
                patch.setattr(os, name, dies(getattr(os, name)))
            try:
                archive_it(run)
            except Killed:
                pass
            else:
                break
        packed = contents(run.archive) if run.archive.exists() else {}
        there = files(run)
        noted = archived(run)
        assert noted.items() <= packed.items()  # the note never speaks of what is not there
        assert all(there.get(name) == text or name in noted for name, text in whole.items())
        archive(run, plan(run).files, LATER_NS)
        assert not set(MOVED) & set(files(run))
        restore(run)
        assert files(run) == whole
    assert step > 10  # it was killed that often, and came through in the end


def test_an_archive_that_does_not_read_back_deletes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One member with another hash is enough; the half-made archive is removed."""
    run = make_run(tmp_path)
    before = files(run)
    monkeypatch.setattr(archiving, "contents", lambda path: {name: {"bytes": 0, "sha256": "0"} for name in MOVED})
    with pytest.raises(LabError, match="did not read back"):
        archive_it(run)
    assert files(run) == before
    assert [path.name for path in run.archive.parent.iterdir()] == [".lock"]


def test_a_damaged_archive_is_neither_added_to_nor_restored(tmp_path: Path) -> None:
    """A flipped byte, a cut tail: the folder stays as it is."""
    for damage in (lambda data: data[:-9], lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:]):
        run = make_run(tmp_path / str(id(damage)))
        archive_it(run)
        run.archive.write_bytes(damage(run.archive.read_bytes()))
        write_text(run.root / "results/logs/run_new.log", "later")
        before = files(run)
        for act in (archive_it, restore):
            with pytest.raises(LabError, match="is damaged"):
                act(run)
        assert files(run) == before


def test_what_came_later_is_added(tmp_path: Path) -> None:
    """Made again after archiving: what is new goes in, what is the same is only deleted, what is archived stays so."""
    run = make_run(tmp_path)
    archive_it(run)
    write_text(run.root / "results/metrics/latency.json", "{}")
    write_text(run.root / "results/metrics/throughput.json", '{"new": 1}')
    archive_it(run)
    assert set(contents(run.archive)) == {*MOVED, "results/metrics/throughput.json"}
    restore(run)
    assert files(run)["results/metrics/throughput.json"] == '{"new": 1}'


def test_what_a_link_leads_to_stays_where_it_is(tmp_path: Path) -> None:
    """From another run, to a file or to a folder; and a link is no file to be packed."""
    run, other = make_run(tmp_path), make_run(tmp_path, "run-2026-11-22-001")
    (other.root / "compared.json").symlink_to(run.root / "results/metrics/latency.json")
    (other.root / "traces").symlink_to(os.path.relpath(run.root / "results/traces", other.root))
    (run.root / "results/logs/run_elsewhere.log").symlink_to("/etc/hostname")
    gone = {"results/metrics/latency.json", "results/traces/trace_20261121_120000_recovery.json"}
    assert set(plan(run).files) == set(MOVED) - gone


def test_a_folder_that_is_a_link_is_not_packed(tmp_path: Path) -> None:
    """What lies elsewhere is not this run's to move."""
    run, elsewhere = make_run(tmp_path), tmp_path / "elsewhere"
    (run.root / "results/logs").rename(elsewhere)
    (run.root / "results/logs").symlink_to(elsewhere)
    assert not any(name.startswith("results/logs") for name in plan(run).files)


@pytest.mark.parametrize("name", ["../../escaped", "results/journal/witness.jsonl", "results/logs/../../findings.json", "/etc/x"])
def test_an_archive_with_anything_else_in_it_is_refused(tmp_path: Path, name: str) -> None:
    """Whoever put it there: nothing that is kept for ever is written over, nothing outside of the folder is touched."""
    run = make_run(tmp_path)
    archive_it(run)
    with tarfile.open(run.archive, "w:gz") as tar:
        member = tarfile.TarInfo("placeholder")
        member.name = name
        tar.addfile(member)
    before = files(run)
    with pytest.raises(LabError, match="none of what is archived"):
        restore(run)
    assert files(run) == before


def test_a_note_cannot_account_for_what_is_kept_for_ever(tmp_path: Path) -> None:
    """A journal that is gone is gone, whatever the note says."""
    run = make_run(tmp_path)
    archive_it(run)
    note = read_json(run.archive_note)
    write_json(run.archive_note, {**note, "files": {**note["files"], "results/journal/witness.jsonl": {"bytes": 3, "sha256": "0"}}})
    assert set(archived(run)) == set(MOVED)


# ---- prune --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def old_run(tmp_path: Path) -> RunFolder:
    """A run that was archived, with a finding, among others."""
    run = make_run(tmp_path)
    write_json(run.findings, {**read_json(run.findings), "findings": [finding("results/journal/witness.jsonl:1")]})
    archive_it(run)
    make_run(tmp_path, "run-2026-11-22-001")
    return run


def finding(evidence: str, **more: Any) -> dict[str, Any]:
    return {"id": "EDGE-002-REL-007", "evidence": [evidence], **more}


def why_left(run: RunFolder, days: int = 90) -> str:
    fates = plan_prune(run.root.parent.parent, RunFolder.every(run.root.parent.parent), LATER_NS, days * DAY_S)
    (fate,) = (fate for fate in fates if fate.run.root == run.root)
    assert bool(fate.left) != bool(fate.files)
    return fate.left


def test_pruning_deletes_the_archive_and_leaves_the_note(old_run: RunFolder) -> None:
    """The folder stays, with the hashes of what went and when; runs without an archive are not spoken of."""
    assert why_left(old_run) == ""
    before = files(old_run)
    prune(old_run, LATER_NS)
    assert not old_run.archive.exists()
    note = json.loads(files(old_run)["results/archived.json"])
    assert note["deleted_at"].startswith("2027-03-01")
    assert set(archived(old_run)) == set(MOVED)
    assert {**files(old_run), "results/archived.json": ""} == {**before, "results/archived.json": ""}
    with pytest.raises(AskError, match="is not there"):
        restore(old_run)


def test_what_was_pruned_stays_accounted_for_when_more_is_archived(old_run: RunFolder) -> None:
    """Metrics made again and archived again do not make the note forget the logs."""
    prune(old_run, LATER_NS)
    write_text(old_run.root / "results/metrics/latency.json", "{}")
    archive_it(old_run)
    assert set(contents(old_run.archive)) == {"results/metrics/latency.json"}
    assert set(archived(old_run)) == set(MOVED)


def refer(runs: Path, how: str) -> None:
    """Something that refers to the old run or to what was archived of it."""
    other = RunFolder(runs / "EDGE-002" / "run-2026-11-22-001")
    old = RunFolder(runs / "EDGE-002" / "run-2026-11-21-001")
    text = json.dumps({"findings": [{"id": "EDGE-002-BUG-001", "related_findings": ["EDGE-002-REL-007"]}]})
    match how:
        case "its own evidence":
            write_json(
                old.findings, {**read_json(old.findings), "findings": [finding("results/logs/run_recovery-1_20261121_120000.log:2")]}
            )
        case "another run's evidence":
            write_json(other.findings, {"findings": [finding("../run-2026-11-21-001/results/logs/_stats.json")]})
        case "related findings":
            write_text(other.findings, text)
        case "related findings, with the way":
            write_text(other.findings, text.replace("EDGE-002-REL", "EDGE-002/x/EDGE-002-REL"))
        case "imported":
            write_text(runs / "EDGE-002" / "imported" / "findings.json", text)
        case "decided":
            write_text(runs / "decisions.jsonl", '{"fingerprint": "1", "run": "EDGE-002/run-2026-11-21-001"}\n')
        case "linked":
            (other.root / "old.tar.gz").symlink_to(old.archive)
        case "another archive":
            old.archive.write_bytes(b"other")
        case "no note":
            old.archive_note.unlink()


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("nothing", ""),
        ("its own evidence", "a finding of its own"),
        ("another run's evidence", "run-2026-11-22-001/findings.json refers to it"),
        ("related findings", "run-2026-11-22-001/findings.json refers to it"),
        ("related findings, with the way", "run-2026-11-22-001/findings.json refers to it"),
        ("imported", "imported/findings.json refers to it"),
        ("decided", "decisions.jsonl refers to it"),
        ("linked", "a link leads to its archive"),
        ("another archive", "not the one that its folder's note describes"),
        ("no note", "not the one that its folder's note describes"),
    ],
)
def test_nothing_is_deleted_that_anything_refers_to(old_run: RunFolder, how: str, why: str) -> None:
    """Evidence, related findings, imported ones, decisions, links; and of what nobody can tell what it is, nothing either."""
    refer(old_run.root.parent.parent, how)
    left = why_left(old_run)
    assert why in left
    assert bool(left) == bool(why)


def test_a_younger_archive_is_left(old_run: RunFolder) -> None:
    """By the run's age, not by the archive's."""
    assert why_left(old_run, 365) == "100 days old, 365 are asked for"
