"""Reading an entry's folder without running it: each planted defect is found, in its file and line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.errors import Complaint
from runner.lab.check_entry import check_folder, check_names
from runner.lab.load import Reader
from runner.lab.new_entry import new_entry
from runner.lab.where import find_lab
from runner.model.roadmap import RoadmapEntry

ROW = RoadmapEntry(id="FIN-001", phase=4, tier=4, priority="P0", risk="Severe", title="Fraud", section="F", industry="Finance")


@pytest.fixture
def folder(make_lab: Callable[..., Path]) -> Path:
    return new_entry(find_lab(str(make_lab({}))), ROW)


def complaints(folder: Path, row: RoadmapEntry | None = ROW) -> list[Complaint]:
    reader = Reader(find_lab(str(folder.parent.parent)))
    found = reader.entry("FIN-001", "")
    assert found, reader.complaints
    check_folder(reader, "FIN-001", row)
    return reader.complaints


def test_a_new_entry_is_sound(folder: Path) -> None:
    """The negative control: nothing is found where nothing is wrong, in the roadmap or beyond it."""
    assert complaints(folder) == []
    assert complaints(folder, None) == []


def test_industry_and_deployment_mode_may_be_refined(folder: Path) -> None:
    """They are the roadmap's section names, and an entry may know better."""
    assert complaints(folder, ROW.model_copy(update={"industry": "N/A", "deployment_mode": "Edge/IoT"})) == []


@pytest.mark.parametrize(("key", "value"), [("title", "Theft"), ("priority", "P2"), ("risk", "Low")])
def test_an_entry_that_disagrees_with_the_roadmap_is_told_where(folder: Path, key: str, value: str) -> None:
    """What it says, what the roadmap says, and the line."""
    (found,) = complaints(folder, ROW.model_copy(update={key: value}))
    line = next(n for n, text in enumerate((folder / "entry.yaml").read_text().splitlines(), 1) if text.startswith(f"{key}:"))
    assert found.where.endswith(f"entry.yaml:{line}")
    assert found.expected == f"{value!r}, as the roadmap says"


@pytest.mark.parametrize(
    ("file", "before", "after", "said", "where"),
    [
        ("stages/records.py", "class Load:", "class Load", "not Python: expected ':'", "records.py:"),
        ("stages/records.py", "import hashlib", "import runner.lab", "imports `runner`", "records.py:11"),
        ("stages/files.py", "import json", "from runner import lab", "imports `runner`", "files.py:3"),
        ("baseline.py", "def build", "def make", "pipeline 'baseline' has no `build`", "entry.yaml:"),
        ("recovery.py", "from .baseline import build", "", "pipeline 'recovery' has no `build`", "entry.yaml:"),
        ("stress.py", '"tally_4", Tally', '"tally_5", Tally', "builds no stage 'tally_4' (did you mean", "entry.yaml:"),
        (
            "entry.yaml",
            "tally_3, tally_4, total]",
            "tally_3, total]",
            "stage 'tally_4' of pipeline 'stress' is not in `stages`",
            "entry.yaml:",
        ),
        ("entry.yaml", "pipeline: recovery", "pipeline: stress", "pipeline 'stress' builds no stage 'tally'", "entry.yaml:"),
    ],
)
def test_a_planted_defect_is_found(folder: Path, file: str, before: str, after: str, said: str, where: str) -> None:
    """In the file that is to blame; a pipeline that takes over another's `build` is followed there."""
    text = (folder / file).read_text()
    assert before in text
    (folder / file).write_text(text.replace(before, after, 1))
    found = complaints(folder)
    assert any(said in one.found and where in one.where for one in found), found


def test_bytes_that_are_no_text_are_told(folder: Path) -> None:
    """As a complaint about that file, not as a traceback."""
    (folder / "stages" / "odd.py").write_bytes(b"\xff\xfe")
    (found,) = complaints(folder)
    assert found.where.endswith("odd.py:1")


def test_stages_with_computed_names_are_left_to_the_baseline(folder: Path) -> None:
    """What cannot be read is not guessed at."""
    text = (folder / "baseline.py").read_text()
    (folder / "baseline.py").write_text(text.replace('"load", Load', '"lo" + "ad", Load'))
    assert complaints(folder) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\ndef f(:\n", "checks.py:2: not Python: invalid syntax"),
        ("x = " + "-" * 100_000 + "1\n", "checks.py:1: not Python: "),
        ("x = " + "(" * 5000, "checks.py:1: not Python: "),
        ("x = '\0'", "checks.py:1: not Python: "),
        ("#" + "x" * 10_000_000, "checks.py:1: cannot be read: a file of 10000001 bytes"),
        (None, "checks.py:1: cannot be read: no ordinary file"),
    ],
    ids=["syntax", "deep", "parentheses", "zero byte", "10 MB", "a pipe"],
)
def test_checks_that_cannot_be_read_are_one_complaint(folder: Path, text: str | None, said: str) -> None:
    """With file and line; a pipe is not waited for; that the checks it might have held are unknown is not said as well."""
    path = folder / "checks.py"
    path.unlink(missing_ok=True)
    if text is None:
        os.mkfifo(path)
    else:
        path.write_text(text)
    reader = Reader(find_lab(str(folder.parent.parent)))
    check_names(reader, reader.entry_source("FIN-001"), folder, ())
    (found,) = reader.complaints
    assert said in f"{found.where}: {found.found}"
