"""What is installed is named with its version and its hash; whether something is known against it is asked, and never guessed."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

from runner.errors import LabError
from runner.target import bundle
from runner.target.bundle import fetch_wheels, sha256, stageflow_versions

ROOT = Path(__file__).resolve().parent.parent.parent
LOCK = ROOT / "requirements.lock"
TEXT = LOCK.read_text(encoding="utf-8")
PIN = re.compile(r"([a-z0-9-]+)==(\S+)(?: ; [^\\\n]+)?((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n")


def script(name: str) -> ModuleType:
    """A program of `scripts/` as a module, not run."""
    spec = spec_from_loader(name, SourceFileLoader(name, str(ROOT / "scripts" / name)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", autouse=True)
def _no_bytecode() -> None:
    """Programs leave no `lockc` beside them."""
    sys.dont_write_bytecode = True


def not_locked(wanted: list[str], lock: str) -> list[str]:
    """Requirements that no pin of a lock fulfils."""
    pins = {name: version for name, version, _ in PIN.findall(lock)}
    asked = [Requirement(each) for each in wanted]
    return [str(each) for each in asked if not each.specifier.contains(pins.get(script("lock").plain(each.name), ""), prereleases=True)]


def test_every_dependency_is_locked() -> None:
    """To run, to build, and each extra: there is a pin, and its version is one that pyproject.toml allows. Else: scripts/lock."""
    assert not_locked(script("lock").requirements(), TEXT) == []


def test_what_is_not_locked_would_be_found() -> None:
    """The negative control: a package that is missing, and one of a version that is not allowed."""
    without = PIN.sub(lambda pin: "" if pin[1] == "asyncssh" else pin[0], TEXT)
    assert not_locked(["asyncssh>=2.18", "click>=8.1"], without) == ["asyncssh>=2.18"]
    assert not_locked(["click>=8.1"], re.sub(r"click==\S+", "click==7.0", TEXT)) == ["click>=8.1"]


def test_every_line_of_the_lock_has_a_hash() -> None:
    """Nothing stands there but comments and pins with hashes: no index, no address, no path of some machine."""
    assert PIN.sub("", re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE)) == ""


@pytest.mark.real
def test_pip_takes_the_lock(tmp_path: Path) -> None:
    """`pip install --require-hashes` reads it whole; with a hash exchanged it refuses to install."""

    def pip(lock: Path, *words: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--dry-run",
            "--require-hashes",
            "--only-binary",
            ":all:",
            *words,
            "-r",
            str(lock),
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)

    done = pip(LOCK)
    assert done.returncode == 0, done.stderr
    (pin,) = (found[0] for found in PIN.finditer(TEXT) if found[1] == "iniconfig")
    wrong = tmp_path / "wrong.lock"
    wrong.write_text(re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", pin))
    refused = pip(wrong, "--ignore-installed", "--no-deps")
    assert refused.returncode != 0
    assert "DO NOT MATCH" in refused.stderr


def test_a_wheel_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    """The cache is only a cache: a wheel of the right name with other bytes is never sent to a device."""
    hello = {"python_version": "3.11.2", "machine": "aarch64", "platform": "linux", "libc": "glibc"}
    version = stageflow_versions()[-1]
    lock = (Path(bundle.__file__).parent.parent / "locks" / f"stageflow-{version}.txt").read_bytes()
    folder = tmp_path / "wheels" / f"{version}-aarch64-linux-glibc-3.11-{sha256(lock)[:12]}"
    folder.mkdir(parents=True)
    (folder / "whole").touch()
    (folder / f"stageflow_core-{version}-py3-none-any.whl").write_bytes(b"another")
    with pytest.raises(LabError, match="not the pinned wheel any more"):
        fetch_wheels(version, hello, tmp_path, lambda text: None)


# ---- the audit ------------------------------------------------------------------------------------------------------------------

CLEAN = '{"dependencies": [{"name": "click", "version": "8.5", "vulns": []}, {"name": "pip", "version": "26", "vulns": []}]}'
KNOWN = CLEAN.replace('"26", "vulns": []', '"26", "vulns": [{"id": "PYSEC-1", "fix_versions": ["27"], "aliases": ["CVE-1"]}]')
SILENT = '{"dependencies": [{"name": "click", "version": "8.5", "vulns": []}, {"name": "pip", "skip_reason": "not found"}]}'


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        (CLEAN, 0, "2 packages asked about"),
        (KNOWN, 1, "pip 26: PYSEC-1, mended in 27"),
        (SILENT, 3, "nobody answered for 1 packages: pip"),
        ('{"dependencies": []}', 3, "nobody answered for 2"),
        ("", 3, "no answer"),
        ("[]", 3, "no answer"),
    ],
)
def test_an_audit_is_green_only_when_everything_was_asked_about(said: str, status: int, words: str) -> None:
    """What the service skipped, and a service that is not reached, are no clean result."""
    found, lines = script("audit").judge(["click", "pip"], said)
    assert (found, words in lines[0]) == (status, True), lines


def test_an_audit_that_reached_nobody_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 3, and words that cannot be taken for a result; a second service is asked first."""
    asked: list[str] = []

    def ask(service: str) -> tuple[str, str]:
        asked.append(service)
        return SILENT if service == "pypi" else "", "connection refused"

    assert script("audit").audit("click==8.5 \\\npip==26 \\\n", ask) == 3
    assert asked == ["pypi", "osv"]
    assert "NOT AUDITED" in capsys.readouterr().out
