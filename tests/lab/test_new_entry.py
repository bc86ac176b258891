"""A new entry: whole or not at all, never over anything, and sound whatever the roadmap says."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from runner.errors import AskError
from runner.lab.load import Reader
from runner.lab.new_entry import FILES, SUFFIX, new_entry, rendered
from runner.lab.roadmap import read_roadmap
from runner.lab.template import fill
from runner.lab.where import Lab, builtin_root, find_lab
from runner.model.entry import Entry
from runner.model.roadmap import RoadmapEntry

MakeLab = Callable[[dict[str, str]], Path]
REPOSITORY = Path(__file__).parent.parent.parent
ROW = RoadmapEntry(id="FIN-001", phase=4, tier=4, priority="P0", risk="Severe", title="Fraud", section="F", industry="Finance")


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    root = make_lab({})
    (root / "pipelines").mkdir()
    return find_lab(str(root))


def test_a_new_entry_has_everything_that_it_needs(lab: Lab) -> None:
    """Five pipelines, stages, checks, tests, and mock data of all four kinds; nothing is left beside it."""
    folder = new_entry(lab, ROW)
    assert folder == lab.root / "pipelines" / "fin_001"
    pipelines = {f"{name}.py" for name in ("baseline", "stress", "chaos", "adversarial", "recovery")}
    assert pipelines | {"entry.yaml", "checks.py", "stages", "mocks", "tests"} <= {path.name for path in folder.iterdir()}
    for kind in ("happy_path", "edge_cases", "adversarial", "scale"):
        assert len(list((folder / "mocks" / "data" / kind).iterdir())) == 1
    assert [path.name for path in folder.parent.iterdir()] == ["fin_001"]
    reader = Reader(lab)
    assert reader.entry("FIN-001", "")
    reader.finish()


@pytest.mark.parametrize("entry_id", ["FIN-001", "K8S-001", "LLM-REASON-001"])
def test_every_kind_of_id_makes_a_valid_entry(entry_id: str) -> None:
    """Also one of three words."""
    row = read_roadmap(find_lab(str(REPOSITORY))).find(entry_id)
    assert row
    entry = Entry.model_validate(yaml.safe_load(rendered(row)["entry.yaml"]))
    assert (entry.id, entry.title, entry.priority, entry.risk) == (row.id, row.title, row.priority, row.risk)


def test_no_title_can_break_a_file() -> None:
    """Quotes, backslashes, line breaks and slots in a lab's own roadmap: still Python, still YAML, and nothing is filled twice."""
    row = ROW.model_copy(update={"title": 'a """ \\ \n: {{RISK}} # "b', "industry": "x: [", "deployment_mode": "{{ID}}"})
    files = rendered(row)
    for name in (name for name in files if name.endswith(".py")):
        ast.parse(files[name], name)
    entry = Entry.model_validate(yaml.safe_load(files["entry.yaml"]))
    assert (entry.title, entry.industry, entry.deployment_mode) == (row.title, "x: [", "{{ID}}")


def test_a_slot_without_a_word_is_not_left_in_silence() -> None:
    """The negative control of the templates: KeyError, not a file with braces in it."""
    with pytest.raises(KeyError):
        fill("{{NOBODY_KNOWS}}", {})


def test_every_template_is_one_that_is_used() -> None:
    """No file lies among the templates that a new entry would not get."""
    lying = [path for path in FILES.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert [path for path in lying if path.suffix != SUFFIX] == []
    assert len(rendered(ROW)) == len(lying)


def test_its_files_are_as_clean_as_ours(lab: Lab) -> None:
    """By the same rules as the entries in this repository."""
    new_entry(lab, ROW)
    for words in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *words, "--no-cache", "--config", str(REPOSITORY / "pyproject.toml"), "pipelines"]
        done = subprocess.run(command, cwd=lab.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_there_is_never_written_over(lab: Lab) -> None:
    """Not the lab's own, not even an empty folder, and a built-in entry is not hidden by a template."""
    (lab.root / "pipelines" / "fin_001").mkdir()
    with pytest.raises(AskError, match="FIN-001 has a folder already"):
        new_entry(lab, ROW)
    assert list((lab.root / "pipelines" / "fin_001").iterdir()) == []
    with pytest.raises(AskError) as refused:
        new_entry(lab, ROW.model_copy(update={"id": "EDGE-002"}))
    assert "cp -r" in refused.value.complaints[0].do
    assert not (lab.root / "pipelines" / "edge_002").exists()


def test_the_built_in_lab_is_not_written_to(tmp_path: Path) -> None:
    """In a folder without a lab the answer is how to make one."""
    with pytest.raises(AskError) as refused:
        new_entry(Lab(builtin_root(), tmp_path, builtin=True), ROW)
    assert "runner init" in refused.value.complaints[0].do
    assert not (builtin_root() / "pipelines" / "fin_001").exists()


def test_a_generator_that_fails_leaves_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk in the middle: no half folder, and no leftover."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("runner.lab.new_entry.runpy.run_path", full)
    with pytest.raises(AskError, match="No space left"):
        new_entry(lab, ROW)
    assert list((lab.root / "pipelines").iterdir()) == []
