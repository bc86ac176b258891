"""Damaged run folders: `run list`, `run verify` and `run prune` say what is wrong and what to type, and it works."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import LabError
from runner.judgement.damaged import damage
from runner.lab.aside import set_aside
from runner.lab.folder import RunFolder, write_json
from tests.judgement.made_run import GENERATED_AT, MadeRun

Runner = Callable[..., Any]
NAME = "EDGE-002/run-2026-01-31-001"
ASIDE, AGAIN = f"runner run prune --damaged {NAME}", f"runner report {NAME}"


def anew(folder: RunFolder) -> None:
    shutil.rmtree(folder.root)
    folder.root.mkdir()


def in_place_of(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, tuple[Callable[[RunFolder], object], str, str]] = {
    "no plan": (lambda f: f.run_config.unlink(), "config/run_config.json cannot be read: No such file or directory", ASIDE),
    "plan of bytes": (lambda f: f.run_config.write_bytes(b"\xff\x00"), "config/run_config.json cannot be read: ", ASIDE),
    "plan of a list": (lambda f: f.run_config.write_text("[]"), "config/run_config.json: this is no configuration of a run", ASIDE),
    "plan without an end": (lambda f: f.run_config.write_text("[" * 100_000), "config/run_config.json cannot be read: ", ASIDE),
    "a folder for a plan": (lambda f: in_place_of(f.run_config), "config/run_config.json cannot be read: Is a directory", ASIDE),
    "no config": (lambda f: shutil.rmtree(f.run_config.parent), "config/run_config.json cannot be read: ", ASIDE),
    "nothing": (anew, "config/run_config.json cannot be read: ", ASIDE),
    "no journals": (lambda f: shutil.rmtree(f.journals), "results/journal/coordinator.journal cannot be read: ", ASIDE),
    "a folder for a journal": (lambda f: in_place_of(f.coordinator_journal), "results/journal/coordinator.journal cannot be read: ", ASIDE),
    "empty journal": (lambda f: f.coordinator_journal.write_bytes(b""), "coordinator.journal is damaged behind record 0", ASIDE),
    "journal of bytes": (lambda f: f.coordinator_journal.write_bytes(os.urandom(999)), "coordinator.journal is damaged behind", ASIDE),
    "no findings": (lambda f: f.findings.unlink(), "findings.json cannot be read: No such file or directory", AGAIN),
    "findings of bytes": (lambda f: f.findings.write_bytes(b"\xff"), "findings.json cannot be read: ", AGAIN),
    "findings of a list": (lambda f: f.findings.write_text("[]"), "findings.json: it holds no status and no list of findings", AGAIN),
}


@pytest.fixture
def folder(make_lab: Callable[..., Path]) -> RunFolder:
    """A run that came to its end, in a lab of its own."""
    made = MadeRun(make_lab({}) / "runs")
    made.begin("recovery-1", 1.0)
    made.end(3.0, "recovery-1")
    made.end(4.0)
    made.conclusion()
    about = {"status": "completed", "verdict": "PASS", "started_at": GENERATED_AT, "completed_at": GENERATED_AT}
    write_json(made.folder.findings, {"metadata": about, "findings": []})
    made.folder.final_report.write_text("# Final report\n")
    return made.folder


@pytest.fixture
def run(runner: Runner, folder: RunFolder) -> Runner:
    return lambda *words: runner("--lab", str(folder.root.parents[2]), *words)


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_damaged_is_said_with_what_helps(run: Runner, folder: RunFolder, name: str) -> None:
    """By all three, in the same words; nothing is our bug, and nothing is changed."""
    spoil, found, do = DAMAGES[name]
    spoil(folder)
    before = sorted(folder.root.rglob("*"))
    listed, verified, pruned = run("run", "list"), run("run", "verify", NAME), run("run", "prune")
    assert [one.exit_code for one in (listed, verified, pruned)] == [0, 1, 0]
    for said in (listed.out, verified.out, pruned.out):
        assert (found in said, do in said) == (True, True), said
    assert "Traceback" not in listed.err + verified.err + pruned.err
    (row,) = run("--json", "run", "list").json["runs"]
    assert (row["status"], row["run_dir"]) == ("unreadable", str(folder.root))
    assert do in run("--json", "run", "verify", NAME).json["damaged"]
    assert sorted(folder.root.rglob("*")) == before


@pytest.mark.parametrize("words", [("show",), ("attach",), ("resume",), ("cancel",), ("export", "--format", "ctrf")], ids=" ".join)
@pytest.mark.parametrize("name", DAMAGES)
def test_every_other_command_refuses_it_in_a_sentence(run: Runner, folder: RunFolder, name: str, words: tuple[str, ...]) -> None:
    """Or does what it can do without what is damaged; it is never our bug."""
    DAMAGES[name][0](folder)
    said = run("run", words[0], NAME, *words[1:])
    assert (said.exit_code in (0, 2, 3), "Traceback" in said.err) == (True, False), said.err


def test_a_whole_run_is_not_called_damaged(run: Runner, folder: RunFolder) -> None:
    """The negative control: no word of it, and it is not to be set aside."""
    assert damage(folder) is None
    (row,) = run("--json", "run", "list").json["runs"]
    assert (row["status"], row["device"]) == ("completed", "qemu-pi")
    assert "damaged" not in run("run", "prune").out + run("run", "verify", NAME).out
    said = run("run", "prune", "--damaged", NAME)
    assert (said.exit_code, f"{NAME} is not damaged" in said.err) == (2, True)
    assert folder.root.is_dir()


def test_a_damaged_run_is_set_aside_whole(run: Runner, folder: RunFolder) -> None:
    """A dry run moves nothing. Then it is in nobody's list, each byte of it lies beside, and a second one finds room, too."""
    for number in ("", "-2"):
        folder.run_config.parent.mkdir(parents=True, exist_ok=True)
        folder.run_config.write_text("nonsense")
        assert f"{NAME}: would be set aside" in run("run", "prune", "--damaged", "--dry-run", NAME).out
        assert folder.root.is_dir()
        place = folder.root.parent / "damaged" / (folder.root.name + number)
        said = run("--json", "run", "prune", "--damaged", NAME)
        assert (said.exit_code, said.json["runs"][0]["set_aside"]) == (0, str(place))
        assert (place / "config" / "run_config.json").read_text() == "nonsense"
        assert run("--json", "run", "list").json["runs"] == []


@pytest.mark.parametrize("name", ["plan of a list", "journal of bytes"])
def test_who_stumbles_over_it_is_told_what_helps(run: Runner, folder: RunFolder, name: str) -> None:
    """The same command as by the list, wherever it is met."""
    DAMAGES[name][0](folder)
    assert f"do: {ASIDE}" in run("run", "show", NAME).err


def test_an_archive_goes_with_its_run(run: Runner, folder: RunFolder) -> None:
    """It is nobody's else; and where the folder stays, it stays."""
    folder.archive.parent.mkdir()
    folder.archive.write_bytes(b"archive")
    folder.run_config.write_text("nonsense")
    assert run("run", "prune", "--damaged", NAME).exit_code == 0
    assert not folder.archive.exists()
    assert RunFolder(folder.root.parent / "damaged" / folder.root.name).archive.read_bytes() == b"archive"


def test_a_folder_that_cannot_be_moved_stays_with_its_archive(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said with where it is and what to do."""
    rename = os.rename

    def refusing(old: Path, new: Path) -> None:
        if old == folder.root:
            raise OSError(28, "No space left on device")
        rename(old, new)

    folder.archive.parent.mkdir()
    folder.archive.write_bytes(b"archive")
    monkeypatch.setattr(os, "rename", refusing)
    with pytest.raises(LabError) as failed:
        set_aside(folder)
    (said,) = failed.value.complaints
    assert said.found.endswith("cannot be moved: No space left on device")
    assert (said.where, bool(said.expected), bool(said.do)) == (str(folder.root), True, True)
    assert (folder.archive.read_bytes(), folder.root.is_dir()) == (b"archive", True)


def test_a_number_that_was_set_aside_is_not_given_again(run: Runner, folder: RunFolder) -> None:
    """What refers to the damaged run refers to no other."""
    folder.run_config.unlink()
    assert run("run", "prune", "--damaged", NAME).exit_code == 0
    runs, day_ns = folder.root.parents[1], 1_769_860_000_000_000_000  # 2026-01-31
    assert RunFolder.create(runs, "EDGE-002", day_ns).run_id == "run-2026-01-31-002"


def test_what_can_be_mended_is_not_set_aside(run: Runner, folder: RunFolder) -> None:
    """Findings are made again from the rest; and somebody has to say which run."""
    folder.findings.unlink()
    said = run("run", "prune", "--damaged", NAME)
    assert (said.exit_code, f"do: {AGAIN}" in said.err) == (2, True)
    assert run("run", "prune", "--damaged").exit_code == 2
    assert folder.root.is_dir()


def test_a_run_that_somebody_writes_to_is_not_set_aside(run: Runner, folder: RunFolder) -> None:
    """It is where it was."""
    folder.run_config.unlink()
    with folder.alone():
        assert run("run", "prune", "--damaged", NAME).exit_code == 2
    assert folder.root.is_dir()


def test_a_report_that_is_gone_is_made_again_by_another_command(run: Runner, folder: RunFolder) -> None:
    """`run show` names it."""
    folder.final_report.unlink()
    said = run("run", "show", NAME)
    assert (said.exit_code, f"do: {AGAIN}" in said.err) == (2, True)
