"""The example workflow is no decoration: it is YAML, its commands parse, its paths exist, and it asks for little."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.lab.where import cache_root

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "examples" / "github-workflow.yml").read_text()


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    """Its one job."""
    (found,) = yaml.safe_load(TEXT)["jobs"].values()
    return dict(found)


def steps(job: dict[str, Any], key: str) -> list[Any]:
    return [step[key] for step in job["steps"] if key in step]


def commands(job: dict[str, Any]) -> list[list[str]]:
    """Every `runner …` line of its `run:` steps, once per device of the matrix."""
    lines = [line.strip() for run in steps(job, "run") for line in run.splitlines() if line.strip().startswith("runner ")]
    devices = job["strategy"]["matrix"]["device"]
    return [shlex.split(line.replace("${{ matrix.device }}", device))[1:] for line in lines for device in devices]


def test_every_command_parses(job: dict[str, Any], runner: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a dry run, in an empty folder as after the installation; by --help where there is no dry run."""
    monkeypatch.chdir(tmp_path)
    assert {words[0] for words in commands(job)} == {"exec", "doctor"}
    for words in commands(job):
        said = runner(*words, "--dry-run" if words[0] == "exec" else "--help")
        assert said.exit_code == 0, said.err


def test_a_misspelt_flag_would_be_found(runner: Callable[..., Any]) -> None:
    """The negative control of the above."""
    assert runner("exec", "EDGE-002", "--device", "local", "--quik", "--dry-run").exit_code == 2


def test_every_path_exists(job: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What names the image is in this repository; the cache and the uploads are where the runner puts things."""
    hashed = [path for call in re.findall(r"hashFiles\(([^)]+)\)", TEXT) for path in re.findall(r"'([^']+)'", call)]
    assert hashed == ["runner/target/emulation/image.py", "runner/target/emulation/guest.py"]
    assert all((ROOT / path).is_file() for path in hashed)
    monkeypatch.delenv("RUNNER_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (cached,) = [step["with"]["path"] for step in job["steps"] if "actions/cache" in step.get("uses", "")]
    assert Path(cached).expanduser() == cache_root() / "images" / "x86_64-*"
    assert 'cache / "images"' in (ROOT / "runner" / "target" / "power" / "qemu.py").read_text()
    uploaded = [step["with"]["path"] for step in job["steps"] if "upload-artifact" in step.get("uses", "")]
    assert uploaded == ["runs/", "runs/*/*/junit.xml"]


def test_what_names_the_image_is_what_the_cache_is_keyed_by() -> None:
    """The recipe is made of nothing but the two hashed files."""
    from runner.target.emulation import guest, image

    source = Path(image.__file__).read_text()
    recipe = re.search(r"recipe = \[([^\]]+)\]", source)
    assert recipe
    for name in re.findall(r"[A-Z_]{4,}", recipe[1]):
        assert f"\n{name} = " in source or hasattr(guest, name), name


def test_results_are_kept_whatever_happened(job: dict[str, Any]) -> None:
    """Both uploads happen after a failure, too."""
    assert [step["if"] for step in job["steps"] if "upload-artifact" in step.get("uses", "")] == ["always()", "always()"]


def test_it_may_read_and_nothing_else_and_every_action_is_pinned(job: dict[str, Any]) -> None:
    """Minimal permissions; each `uses:` names a major version or a commit; no secret, no pull_request_target."""
    assert yaml.safe_load(TEXT)["permissions"] == {"contents": "read"}
    assert "permissions" not in job
    assert all(re.fullmatch(r"[\w.-]+/[\w./-]+@(v\d+|[0-9a-f]{40})", action) for action in steps(job, "uses"))
    assert not re.search(r"secrets\.|pull_request_target", TEXT)


def test_no_expression_of_a_stranger_reaches_a_shell(job: dict[str, Any]) -> None:
    """Only the matrix, which stands in the file itself, is put into a command."""
    assert {found for run in steps(job, "run") for found in re.findall(r"\$\{\{\s*(.+?)\s*\}\}", run)} <= {"matrix.device"}


def test_the_kvm_step_is_harmless_where_there_is_none(job: dict[str, Any]) -> None:
    """Everything in it happens only if the device is there."""
    (step,) = [step for step in job["steps"] if "/dev/kvm" in step.get("name", "")]
    lines = step["run"].strip().splitlines()
    assert (lines[0], lines[-1]) == ("if [ -e /dev/kvm ]; then", "fi")
