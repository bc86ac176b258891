"""What is shipped depends on nothing but its content, and fits the device that it is for."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from runner.errors import AskError, LabError
from runner.lab.where import cache_root
from runner.ondevice import facts
from runner.target import bundle
from runner.target.bundle import (
    OWN_LOCK,
    fetch_own_wheels,
    fetch_wheels,
    make_bundle,
    make_zip,
    pipeline_sources,
    platform_options,
    sha256,
    stageflow_versions,
    supervisor_zip,
)

FILES = {"b.py": b"2", "a/__init__.py": b"", "a/data.csv": bytes(range(256))}


@pytest.fixture
def pipelines(tmp_path: Path) -> Path:
    """An entry's folder, with what is not to be shipped in it."""
    root = tmp_path / "edge_009"
    for name in ("__init__.py", "baseline.py", "entry.yaml", "checks.py", "stages/a.py", "stages/__pycache__/a.cpython-311.pyc"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def names(data: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.namelist()


def test_a_zip_is_its_names_and_bytes_alone() -> None:
    """Any order, any day: the same bytes; and the names are sorted."""
    data = make_zip(FILES)
    assert data == make_zip(dict(reversed(FILES.items())))
    assert names(data) == sorted(FILES)
    assert data != make_zip({**FILES, "b.py": b"3"})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.read("a/data.csv") == FILES["a/data.csv"]


def test_what_a_pipeline_is_does_not_change_with_the_clock(pipelines: Path) -> None:
    """Touched files give the same hash, so that a second run pushes nothing; verdicts and caches stay here."""
    before = make_zip(pipeline_sources(pipelines, "edge_009"))
    for path in pipelines.rglob("*"):
        os.utime(path, (0, 0))
    assert make_zip(pipeline_sources(pipelines, "edge_009")) == before
    assert names(before) == ["edge_009/__init__.py", "edge_009/baseline.py", "edge_009/stages/a.py"]


def test_the_supervisor_is_the_ondevice_folder_and_nothing_else() -> None:
    """Every file of it, with `__main__` at the top where Python looks for it; the same bytes each time."""
    ondevice = Path(facts.__file__).parent
    expected = {f"ondevice/{path.name}" for path in ondevice.glob("*.py")} - {"ondevice/__main__.py"} | {"__main__.py"}
    assert set(names(supervisor_zip())) == expected
    assert supervisor_zip() == supervisor_zip()


@pytest.mark.parametrize(("words", "status", "said"), [([], 64, "usage: "), (["attach", "/none"], 69, "no supervisor answers")])
def test_the_supervisors_zip_runs_by_itself(tmp_path: Path, words: list[str], status: int, said: str) -> None:
    """With Python alone, from an empty folder, without this project to be found."""
    path = tmp_path / "supervisor.zip"
    path.write_bytes(supervisor_zip())
    done = subprocess.run([sys.executable, "-I", path, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(said)


def test_a_bundle_names_everything_by_hash(pipelines: Path, tmp_path: Path) -> None:
    """Blobs by their own hash, trees by their blobs in order, dependencies by name and version."""
    wheels = [tmp_path / "typing_extensions-4.16.0-py3-none-any.whl", tmp_path / "pydantic-2.14.3-py3-none-any.whl"]
    for wheel in wheels:
        wheel.write_text(wheel.name)
    made = make_bundle(pipelines, "edge_009", wheels)
    assert all(sha256(data) == name for name, data in made.blobs.items())
    assert set(made.blobs) == {made.pipeline_blob, *made.environment_blobs}
    assert made.dependencies == {"pydantic": "2.14.3", "typing-extensions": "4.16.0"}
    assert make_bundle(pipelines, "edge_009", wheels[::-1]) == made
    assert made.environment_tree != made.pipeline_tree
    assert made.pipeline_files["edge_009/baseline.py"] == sha256(b"baseline.py")
    assert set(made.pipeline_files) == set(names(made.blobs[made.pipeline_blob]))


def hello(**facts: str) -> dict[str, Any]:
    return {"python_version": "3.11.2", "platform": "linux", "machine": "aarch64", "libc": "glibc", **facts}


@pytest.mark.parametrize(
    ("device", "platforms", "python"),
    [
        (hello(), ["manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_28_aarch64"], "3.11"),
        (hello(machine="armv7l"), ["manylinux2014_armv7l", "manylinux_2_17_armv7l", "manylinux_2_28_armv7l"], "3.11"),
        (hello(libc=""), ["musllinux_1_1_aarch64", "musllinux_1_2_aarch64"], "3.11"),
        (
            hello(machine="x86_64", python_version="3.13.0rc1"),
            ["manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64"],
            "3.13",
        ),
    ],
    ids=["aarch64", "armv7l", "musl", "another Python"],
)
def test_wheels_are_asked_for_by_the_devices_platform(device: dict[str, Any], platforms: list[str], python: str) -> None:
    """Architecture, C library and Python are the device's, never the coordinator's."""
    options = platform_options(device)
    assert [value for flag, value in itertools.pairwise(options) if flag == "--platform"] == platforms
    assert options[options.index("--python-version") + 1] == python
    assert options[-2:] == ["--implementation", "cp"]


def test_a_device_like_the_coordinator_needs_no_options(tmp_path: Path) -> None:
    """There pip knows best; that is also how a Mac's own local device works."""
    assert platform_options(facts.hello(str(tmp_path), "", 0)) == []


@pytest.mark.parametrize(
    "device", [hello(machine="riscv64"), hello(platform="darwin", machine="arm64", libc=""), hello(platform="freebsd14")]
)
def test_a_device_without_wheels_is_refused_by_name(device: dict[str, Any]) -> None:
    """What it is, and what would do."""
    with pytest.raises(AskError, match=f"no wheels are pinned for {device['platform']} on {device['machine']}") as refused:
        platform_options(device)
    assert "aarch64, x86_64 or armv7l" in refused.value.complaints[0].expected


def test_versions_that_have_a_lock_are_known_oldest_first() -> None:
    """By number, not by letter."""
    assert stageflow_versions() == sorted(stageflow_versions(), key=lambda version: tuple(map(int, version.split("."))))
    assert "1.2.0" in stageflow_versions()


def test_a_python_too_old_for_stageflow_is_told_before_anything_is_fetched(tmp_path: Path) -> None:
    """The supervisor runs there; Stageflow does not."""
    with pytest.raises(AskError, match=r"the device has Python 3\.9\.2"):
        fetch_wheels("1.2.0", hello(python_version="3.9.2"), tmp_path, print)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.real
def test_without_an_index_and_a_cache_the_lab_is_to_blame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip's last line is passed on, with what to do; nothing half-fetched counts as there."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for _ in range(2):
        with pytest.raises(LabError, match="the pinned wheels cannot be fetched: ERROR: No matching distribution") as failed:
            fetch_wheels("1.2.0", facts.hello(str(tmp_path), "", 0), tmp_path, print)
    assert "access to a package index once" in failed.value.complaints[0].do


@pytest.mark.real
def test_wheels_in_the_cache_are_not_fetched_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After the first time no pip runs, and nothing is said."""
    told: list[str] = []
    device = facts.hello(str(tmp_path), "", 0)
    fetched = fetch_wheels("1.2.0", device, cache_root(), lambda text: None)
    monkeypatch.setattr(bundle.subprocess, "run", None)
    assert fetch_wheels("1.2.0", device, cache_root(), told.append) == fetched
    assert told == []
    assert any(wheel.name.startswith("stageflow_core-1.2.0") for wheel in fetched)


# ---- wheels of an entry's own -----------------------------------------------------------------------------------


class Index:
    """Stands for pip and an index: `wheels` by name; each that the lock pins by hash is downloaded."""

    def __init__(self, **wheels: bytes) -> None:
        self.wheels = {f"{name}-py3-none-any.whl": data for name, data in wheels.items()}
        self.commands: list[list[str]] = []

    def run(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        lock = Path(command[command.index("-r") + 1]).read_text()
        found = {name: data for name, data in self.wheels.items() if sha256(data) in lock}
        for name, data in found.items():
            Path(command[command.index("-d") + 1], name).write_bytes(data)
        said = "ERROR: Could not find a version\nERROR: No matching distribution found for six==1.17.0"
        return subprocess.CompletedProcess(command, 0 if found else 1, "", "" if found else said)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Index:
    made = Index(**{"six-1.17.0": b"six", "six-1.18.0": b"six, newer", "pydantic-2.14.3": b"pydantic"})
    monkeypatch.setattr(bundle.subprocess, "run", made.run)
    return made


def pin(pipelines: Path, *wheels: bytes) -> None:
    text = "# what the stages import\n" + "".join(f"six==1.17.0 --hash=sha256:{sha256(data)}\n" for data in wheels)
    (pipelines / OWN_LOCK).write_text(text)


def test_an_entry_without_a_lock_needs_nothing_of_its_own(pipelines: Path, tmp_path: Path, index: Index) -> None:
    """No pip runs, and nothing is made in the cache."""
    assert fetch_own_wheels(pipelines, hello(), tmp_path / "cache", print) == []
    assert index.commands == []
    assert not (tmp_path / "cache").exists()


def test_who_looks_while_wheels_are_fetched_sees_none_of_them(
    pipelines: Path, tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two coordinators with one cache that is empty: neither takes what the other has half of."""
    pin(pipelines, b"six")
    seen: list[list[Path]] = []

    def run(command: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
        done = index.run(command, **how)
        seen.append(list((tmp_path / "cache").glob("wheels/*/*.whl")))
        return done

    monkeypatch.setattr(bundle.subprocess, "run", run)
    (wheel,) = fetch_own_wheels(pipelines, hello(), tmp_path / "cache", print)
    assert (seen, wheel.read_bytes()) == ([[]], b"six")
    assert sorted(path.name for path in wheel.parent.iterdir()) == [wheel.name, "whole"]


def test_an_entrys_own_wheels_are_fetched_for_the_device_by_hash_and_kept(pipelines: Path, tmp_path: Path, index: Index) -> None:
    """By pip, as Stageflow's are: wheels only, hashes required, the device's platform. The second time from the cache."""
    pin(pipelines, b"six")
    told: list[str] = []
    (wheel,) = fetch_own_wheels(pipelines, hello(), tmp_path, told.append)
    assert (wheel.name, wheel.read_bytes()) == ("six-1.17.0-py3-none-any.whl", b"six")
    (command,) = index.commands
    assert {"--require-hashes", "--no-deps", "--only-binary", ":all:", "manylinux2014_aarch64"} <= set(command)
    assert told == ["fetching what the entry needs for aarch64 (kept in the cache afterwards)"]
    assert fetch_own_wheels(pipelines, hello(), tmp_path, told.append) == [wheel]
    assert len(index.commands) == len(told) == 1
    fetch_own_wheels(pipelines, hello(machine="armv7l"), tmp_path, told.append)
    assert "manylinux2014_armv7l" in index.commands[1]


def test_a_changed_lock_is_another_environment_and_the_same_pipeline(pipelines: Path, tmp_path: Path, index: Index) -> None:
    """What is imported changes with it; the lock itself is not shipped, so the pipeline's hash does not."""
    made = []
    for wheels in ((b"six",), (b"six, newer",), (b"six",)):
        pin(pipelines, *wheels)
        made.append(make_bundle(pipelines, "edge_009", fetch_own_wheels(pipelines, hello(), tmp_path, print)))
    first, changed, again = made
    assert changed.environment_tree != first.environment_tree == again.environment_tree
    assert changed.pipeline_tree == first.pipeline_tree
    assert changed.dependencies == {"six": "1.18.0"}
    assert not any(OWN_LOCK in name for name in changed.pipeline_files)


def test_a_wheel_in_the_cache_that_is_not_the_pinned_one_is_refused(pipelines: Path, tmp_path: Path, index: Index) -> None:
    """The cache is only a cache."""
    pin(pipelines, b"six")
    (wheel,) = fetch_own_wheels(pipelines, hello(), tmp_path, print)
    wheel.write_bytes(b"six, and something else")
    with pytest.raises(LabError, match="is not the pinned wheel any more"):
        fetch_own_wheels(pipelines, hello(), tmp_path, print)


def test_what_has_no_wheel_for_the_device_is_told_with_the_line_of_its_pin(pipelines: Path, tmp_path: Path, index: Index) -> None:
    """A package that comes as sources only is not built: neither here nor on the device. Nothing half-fetched counts as there."""
    pin(pipelines, b"its sources")
    for _ in range(2):
        with pytest.raises(LabError, match="No matching distribution found for six") as failed:
            fetch_own_wheels(pipelines, hello(), tmp_path, print)
    (complaint,) = failed.value.complaints
    assert complaint.where == f"{pipelines / OWN_LOCK}:2"
    assert "no wheel for aarch64" in complaint.expected


def test_two_wheels_of_one_package_are_refused(pipelines: Path, tmp_path: Path, index: Index) -> None:
    """Only one of them would be there on the device. The very same wheel twice is one."""
    pin(pipelines, b"pydantic")
    (same,) = fetch_own_wheels(pipelines, hello(), tmp_path, print)
    other = tmp_path / "Pydantic-2.13.0-py3-none-any.whl"
    other.write_bytes(b"an older one")
    assert len(make_bundle(pipelines, "edge_009", [same, same]).environment_blobs) == 1
    with pytest.raises(AskError, match=r"two wheels of pydantic: 2\.13\.0, and 2\.14\.3"):
        make_bundle(pipelines, "edge_009", [same, other])


@pytest.mark.real
def test_def_008s_client_is_one_wheel_for_every_architecture(tmp_path: Path) -> None:
    """From an index, for a board and for this machine: the same bytes."""
    def_008 = Path(bundle.__file__).parents[2] / "pipelines" / "def_008"
    devices = [facts.hello(str(tmp_path), "", 0), hello(), hello(machine="armv7l"), hello(libc="")]
    fetched = [fetch_own_wheels(def_008, device, cache_root(), lambda text: None) for device in devices]
    assert {tuple(wheel.name for wheel in wheels) for wheels in fetched} == {("paho_mqtt-2.2.0-py3-none-any.whl",)}
