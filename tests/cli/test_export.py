"""`runner run export`: the file and nothing else, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.lab.folder import RunFolder, write_json
from tests.judgement.made_run import MadeRun

Runner = Callable[..., Any]


@pytest.fixture
def lab(make_lab: Callable[..., Path]) -> Path:
    """A lab with one run, of which only the journals say anything."""
    root = make_lab({})
    made = MadeRun(root / "runs")
    made.plan |= {"scenarios": {}}
    made.begin("recovery-1", 1.0)
    made.sample(2.0, "recovery-1", {"hw.temperature{hw.id=thermal_zone0}": 40.0})
    made.end(3.0, "recovery-1")
    made.end(4.0)
    made.conclusion()
    write_json(made.folder.findings, {"metadata": {"completed_at": "2026-01-31T12:00:00.000Z"}, "findings": []})
    return root


@pytest.fixture
def export(runner: Runner, lab: Path) -> Runner:
    return lambda *words: runner("--lab", str(lab), "run", "export", "run-2026-01-31-001", *words)


def test_standard_output_is_the_file_and_nothing_else(export: Runner, tmp_path: Path) -> None:
    """Byte for byte what --output writes: no word of the lab before it, none after it."""
    said = export("--format", "openmetrics")
    assert said.exit_code == 0
    assert said.out.endswith("# EOF\n")
    told = export("--format", "openmetrics", "--output", str(tmp_path / "run.om"))
    assert (tmp_path / "run.om").read_text() == said.out
    assert f"{len(said.out.encode())} bytes of openmetrics in {tmp_path}/run.om" in told.out


def test_a_program_is_told_where_the_file_is(runner: Runner, lab: Path, tmp_path: Path) -> None:
    """--json and the file cannot both have standard output; --output parts them."""
    words = ("--json", "--lab", str(lab), "run", "export", "run-2026-01-31-001", "--format", "ctrf")
    assert runner(*words).json["error"]["expected"] == "--output FILE"
    said = runner(*words, "--output", str(tmp_path / "run.json")).json
    assert (said["format"], said["bytes"]) == ("ctrf", (tmp_path / "run.json").stat().st_size)
    assert json.loads((tmp_path / "run.json").read_text())["reportFormat"] == "CTRF"


def test_a_folder_that_is_not_there_is_to_be_made(export: Runner, tmp_path: Path) -> None:
    """No right is missing and no disk is full: the answer names the folder."""
    said = export("--format", "ctrf", "--output", str(tmp_path / "nowhere" / "run.json"))
    assert said.exit_code == 2
    assert f"mkdir -p {tmp_path}/nowhere" in said.err


def test_another_format_is_refused_with_those_there_are(export: Runner) -> None:
    """By click, in our words."""
    said = export("--format", "xml")
    assert said.exit_code == 2
    assert all(name in said.err for name in ("otlp", "openmetrics", "parquet", "ctrf"))
    assert "Traceback" not in said.err


def test_parquet_is_not_thrown_at_a_terminal(export: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe takes it."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    said = export("--format", "parquet")
    assert (said.exit_code, said.out) == (2, "")


@pytest.mark.parametrize("place", ["missing/run.om", "a-file/run.om", ""], ids=["no folder", "no folder but a file", "a folder"])
def test_a_place_that_takes_no_file_is_said_to_be_so(export: Runner, tmp_path: Path, place: str) -> None:
    """Status 2, no traceback, and nothing half written."""
    (tmp_path / "a-file").touch()
    said = export("--format", "openmetrics", "--output", str(tmp_path / place))
    assert said.exit_code == 2
    assert str(tmp_path / place).rstrip("/") in said.err and "Traceback" not in said.err
    assert not list(tmp_path.rglob("*.part"))


def test_what_was_there_stays_when_the_export_fails(export: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of "whole or not at all": a disk that is full in the middle."""

    def pieces(*_: Any) -> Any:
        yield b"half"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("runner.cli.export.export", pieces)
    (tmp_path / "run.om").write_text("before")
    said = export("--format", "openmetrics", "--output", str(tmp_path / "run.om"))
    assert (said.exit_code, (tmp_path / "run.om").read_text()) == (2, "before")
    assert "No space left" in said.err
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.real
@pytest.mark.parametrize("form", ["otlp", "openmetrics", "parquet", "ctrf"])
def test_a_real_run_goes_to_every_format(runner: Runner, real_run: RunFolder, tmp_path: Path, form: str) -> None:
    """From the folder alone."""
    assert runner("run", "export", str(real_run.root), "--format", form, "--output", str(tmp_path / form)).exit_code == 0
    assert (tmp_path / form).stat().st_size > 1_000
