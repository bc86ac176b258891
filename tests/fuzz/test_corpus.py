"""The kept corpus, replayed; and atheris, for as many inputs as a pipeline has time for."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")
REPOSITORY = Path(__file__).resolve().parents[2]
LARGEST_CORPUS_BYTES = 200_000

guided = pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has wheels for Linux on x86-64 only")


def fuzz(target: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz.campaign", target, "--seed", "1", *words]
    return subprocess.run(command, cwd=REPOSITORY, env={**os.environ, **env}, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.parametrize(
    ("target", "name"), [(folder.name, path.name) for folder in sorted(CORPUS.iterdir()) for path in sorted(folder.iterdir())]
)
def test_what_was_kept_breaks_nothing(target: str, name: str) -> None:
    """Every input made by hand, and every one that once broke something."""
    TARGETS[target]((CORPUS / target / name).read_bytes())


def test_every_target_has_a_corpus_and_it_is_small() -> None:
    """No folder without a target either; and a page says what each is."""
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < LARGEST_CORPUS_BYTES
    page = (REPOSITORY / "docs" / "fuzzing.md").read_text(encoding="utf-8")
    assert [target for target in TARGETS if f"| `{target}` |" not in page] == []


@guided
@pytest.mark.real
@pytest.mark.parametrize("target", TARGETS)
def test_four_thousand_guided_inputs_break_nothing(target: str, tmp_path: Path) -> None:
    """Guided by coverage, from the corpus on; what they reach goes elsewhere."""
    kept = sorted((CORPUS / target).iterdir())
    done = fuzz(target, "--runs", "4000", "--finds", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted((CORPUS / target).iterdir()) == kept
    assert list((tmp_path / "finds").iterdir())


@guided
@pytest.mark.real
def test_a_broken_reader_leaves_a_crasher_and_exits_1(tmp_path: Path) -> None:
    """The negative control: with one that takes each last record for torn, the campaign ends at once and says which file broke it."""
    broken = "from runner.ondevice import journal\nhonest = journal.read\njournal.read = lambda data: honest(data)[:-1]\n"
    (tmp_path / "sitecustomize.py").write_text(broken)
    finds = tmp_path / "finds"
    done = fuzz("journal", "--runs", "4000", "--finds", str(finds), PYTHONPATH=os.pathsep.join([str(tmp_path), str(REPOSITORY)]))
    (crasher,) = finds.glob("crash-*")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"broken by {crasher}" in done.stdout
    TARGETS["journal"](crasher.read_bytes())  # the honest reader passes it
