"""What every test may ask for: a clock turned by hand, a lab made of text, the command line, and one real run.

Each test has a state folder of its own. The cache of wheels is shared over all tests on purpose (RUNNER_CACHE, else
the user's own), so that the package index is asked once.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runner.cli.main import main
from runner.lab.folder import RunFolder

REPOSITORY = Path(__file__).resolve().parent.parent


LONGEST_FIRST = ("test_kills_on_a_board.py", "test_kills.py", "test_matrix.py", "test_real_power_cut.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`scripts/test` runs what is `heavy` behind everything else, and of that what takes longest first: of two who share the files, none
    is left with a long one when the other has nothing to do any more."""
    for item in items:
        if item.get_closest_marker("qemu"):
            item.add_marker("heavy")
    items.sort(key=lambda item: LONGEST_FIRST.index(item.path.name) if item.path.name in LONGEST_FIRST else len(LONGEST_FIRST))


@pytest.fixture(autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's leases, boards or lab."""
    monkeypatch.setenv("RUNNER_STATE", str(tmp_path_factory.mktemp("state")))
    for name in ("RUNNER_LAB", "RUNNER_FAILPOINT", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "CLICOLOR"):
        monkeypatch.delenv(name, raising=False)


class HandClock:
    """A clock that moves only when it is told to, or slept on."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def boottime_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return 1_795_000_000_000_000_000 + self.now_ns

    async def sleep(self, duration_s: float) -> None:
        self.now_ns += int(duration_s * 1e9)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def make_lab(tmp_path: Path) -> Callable[..., Path]:
    """`make_lab({"inventory.yaml": text, …})` writes those files and gives the folder."""

    def make(files: dict[str, str]) -> Path:
        root = tmp_path / "lab"
        for name, text in {"inventory.yaml": "devices: {local: {type: local-process}}\n", **files}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return root

    return make


@dataclass(frozen=True)
class Said:
    """How one command ended, and what it said."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output as the one JSON object that it must be."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        assert value["exit_code"] == self.exit_code
        return value


@pytest.fixture
def runner(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`runner("entry", "list")`: the command line, in this process."""

    def run(*words: str) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words)
        return Said(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run_python(code, *words, cwd=…, **env)`: a process of its own that imports this checkout."""

    def run(code: str, *words: str, cwd: Path = REPOSITORY, limit_s: float = 300, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **env},
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def runner_process(run_python: Callable[..., Any]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`runner_process("entry", "list", cwd=…, **env)`: the command line, in a process of its own."""
    return functools.partial(run_python, "from runner.cli.main import main; main()")


@pytest.fixture(scope="session")
def real_lab(tmp_path_factory: pytest.TempPathFactory, runner_process: Callable[..., Any]) -> Path:
    """A new lab in which EDGE-002's recovery ran once for real: nine crashes on the local device."""
    return _lab_after(tmp_path_factory, runner_process, "--scenario", "recovery", "--cuts", "9")


@pytest.fixture(scope="session")
def whole_lab(tmp_path_factory: pytest.TempPathFactory, runner_process: Callable[..., Any]) -> Path:
    """A new lab in which all five scenarios of EDGE-002 ran once for real, on the local device."""
    return _lab_after(tmp_path_factory, runner_process)


def _lab_after(tmp_path_factory: pytest.TempPathFactory, runner_process: Callable[..., Any], *words: str) -> Path:
    root, state = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("state")
    for line in (("init", str(root)), ("--lab", str(root), "exec", "EDGE-002", "--seed", "3", *words)):
        done = runner_process(*line, cwd=root, RUNNER_STATE=str(state))
        assert done.returncode == 0, done.stdout + done.stderr
    return root


@pytest.fixture
def real_run(real_lab: Path, tmp_path: Path) -> RunFolder:
    """A copy of the run of `real_lab`, to be forged at will."""
    return _copy_of_its_run(real_lab, tmp_path)


@pytest.fixture
def whole_run(whole_lab: Path, tmp_path: Path) -> RunFolder:
    """A copy of the run of `whole_lab`, to be forged at will."""
    return _copy_of_its_run(whole_lab, tmp_path)


def _copy_of_its_run(lab: Path, tmp_path: Path) -> RunFolder:
    (original,) = RunFolder.every(lab / "runs")
    copy = tmp_path / "runs" / original.root.parent.name / original.run_id
    shutil.copytree(original.root, copy)
    return RunFolder(copy)
