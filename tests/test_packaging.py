"""What `pip install .` gives: a wheel that carries its own lab and works in an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`runner` in a clean virtual environment, installed from the wheel and not from this checkout."""
    place = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", str(place / "dist"), str(ROOT)], check=True, capture_output=True)
    venv.create(place / "venv", with_pip=True)
    (wheel,) = (place / "dist").glob("stageflow_runner-*.whl")
    subprocess.run([str(place / "venv" / "bin" / "pip"), "install", "-q", str(wheel)], check=True, capture_output=True)
    return place / "venv" / "bin" / "runner"


@pytest.mark.real
def test_an_installed_runner_works_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    """No checkout, no lab: the built-in lab is used, results land in ./runs, and the first words say so."""
    outside = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [str(installed), "exec", "EDGE-002", "--quick", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=outside, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("lab: built-in · results in ./runs")
    said = json.loads(done.stdout)
    assert said["verdict"] == "PASS_WITH_CONCERNS"
    assert Path(said["run_dir"]).parent.parent == tmp_path / "runs"


@pytest.mark.real
def test_it_brings_no_package_named_like_a_lab_folder(installed: Path) -> None:
    """`devices`, `profiles` and `pipelines` are data inside `runner`, not importable packages of their own."""
    python = installed.parent / "python"
    for name in ("devices", "profiles", "pipelines", "tests"):
        found = subprocess.run([str(python), "-c", f"import {name}"], cwd="/", capture_output=True)
        assert found.returncode, f"{name} is importable"
