"""What is shipped to a device, each as bytes named by their hash: supervisor, pipelines, and Python wheels.

Zips are byte-reproducible: sorted names, one fixed date, no compression level that a library may change.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner import ondevice
from runner.errors import AskError, LabError

_PACKAGE = Path(__file__).resolve().parent.parent
FETCH_LIMIT_S = 300
OWN_LOCK = "requirements.lock"  # beside an entry.yaml: the wheels that the entry needs beside Stageflow
_NOT_SHIPPED = {"entry.yaml", "checks.py", OWN_LOCK}
_LEFT_OUT = ("__pycache__", "tests")  # folders: nothing on the device needs them, and they must not change its hash


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_zip(files: dict[str, bytes]) -> bytes:
    """A zip of `files` that depends on their names and bytes alone."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            archive.writestr(info, files[name])
    return buffer.getvalue()


def supervisor_sources() -> dict[str, bytes]:
    """The files of the supervisor's zip: this product's `ondevice` folder and nothing else."""
    folder = Path(ondevice.__file__).parent
    files = {f"ondevice/{path.name}": path.read_bytes() for path in folder.glob("*.py")}
    files["__main__.py"] = files.pop("ondevice/__main__.py")
    return files


def supervisor_zip() -> bytes:
    return make_zip(supervisor_sources())


def pipeline_sources(folder: Path, name: str) -> dict[str, bytes]:
    """An entry's pipelines, stages and data as the files of one package called `name`."""
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file() and path.name not in _NOT_SHIPPED}
    shipped = {inside: path for inside, path in files.items() if not any(p in _LEFT_OUT or p.startswith(".") for p in inside.parts)}
    return {f"{name}/{inside}": path.read_bytes() for inside, path in shipped.items()}


@dataclass(frozen=True)
class Bundle:
    """Blobs by hash, and the trees that are unpacked from them on the device."""

    blobs: dict[str, bytes]
    pipeline_blob: str
    pipeline_files: dict[str, str]  # path → SHA-256: goes into the journal, so that a restart can refuse another pipeline
    environment_blobs: tuple[str, ...]
    dependencies: dict[str, str]

    @property
    def pipeline_tree(self) -> str:
        return tree_name((self.pipeline_blob,))

    @property
    def environment_tree(self) -> str:
        return tree_name(self.environment_blobs)

    def kinds(self, missing: Collection[str]) -> dict[str, list[bytes]]:
        """Those of its blobs that are `missing`, by what they are to a person."""
        wheels = [self.blobs[sha256] for sha256 in self.environment_blobs if sha256 in missing]
        return {"wheels": wheels, "pipelines": [self.blobs[self.pipeline_blob]] if self.pipeline_blob in missing else []}


@dataclass(frozen=True)
class Environment:
    """What pipelines import: wheels by hash, in the order in which they are unpacked, and the version of each."""

    blobs: dict[str, bytes]
    dependencies: dict[str, str]

    @property
    def tree(self) -> str:
        return tree_name(self.blobs)


def tree_name(blobs: Iterable[str]) -> str:
    return sha256("\n".join(blobs).encode())


def make_bundle(pipelines: Path, name: str, wheels: Iterable[Path]) -> Bundle:
    """Everything for one device. Raises AskError for two wheels of one package: only one of them would be there on the device."""
    sources = pipeline_sources(pipelines, name)
    pipeline = make_zip(sources)
    environment = make_environment(wheels)
    hashes = {path: sha256(data) for path, data in sources.items()}
    blobs = {sha256(pipeline): pipeline, **environment.blobs}
    return Bundle(blobs, sha256(pipeline), hashes, tuple(environment.blobs), environment.dependencies)


def make_environment(wheels: Iterable[Path]) -> Environment:
    """The wheels of one tree, in the order of their names. Raises AskError as `make_bundle`."""
    blobs: dict[str, bytes] = {}
    dependencies: dict[str, str] = {}
    for wheel in sorted(wheels, key=lambda path: path.name):
        data = wheel.read_bytes()
        package, version = wheel.name.split("-")[:2]
        known_as = package.replace("_", "-").lower()
        if sha256(data) in blobs:  # an entry may pin what Stageflow needs, too
            continue
        if known_as in dependencies:
            found = f"two wheels of {known_as}: {dependencies[known_as]}, and {version} in {wheel.name}"
            raise AskError(found, expected=f"one: what Stageflow needs is not in an entry's {OWN_LOCK}, or the same wheel")
        blobs[sha256(data)] = data
        dependencies[known_as] = version
    return Environment(blobs, dependencies)


# ---- wheels -------------------------------------------------------------------------------------------------


def stageflow_versions() -> list[str]:
    """The Stageflow versions that have a lock file, oldest first."""
    names = [path.stem.removeprefix("stageflow-") for path in (_PACKAGE / "locks").glob("stageflow-*.txt")]
    return sorted(names, key=lambda version: [int(part) for part in version.split(".")])


def platform_options(hello: dict[str, Any]) -> list[str]:
    """pip's options for a device with these facts; none when it is like the coordinator, where pip knows best.

    Raises AskError for a machine that has no pinned wheels.
    """
    python = ".".join(str(hello["python_version"]).split(".")[:2])
    machine = str(hello["machine"])
    import platform as here

    mine = (f"{sys.version_info.major}.{sys.version_info.minor}", here.machine(), sys.platform, here.libc_ver()[0])
    if mine == (python, machine, hello["platform"], hello["libc"]):
        return []
    libc = "manylinux" if hello["libc"] == "glibc" else "musllinux"
    tags = {"manylinux": ("manylinux2014", "manylinux_2_17", "manylinux_2_28"), "musllinux": ("musllinux_1_1", "musllinux_1_2")}
    if hello["platform"] != "linux" or machine not in ("aarch64", "x86_64", "armv7l"):
        raise AskError(
            f"no wheels are pinned for {hello['platform']} on {machine}",
            expected="Linux on aarch64, x86_64 or armv7l, or the same system as the coordinator's",
        )
    platforms = [option for tag in tags[libc] for option in ("--platform", f"{tag}_{machine}")]
    return [*platforms, "--python-version", python, "--implementation", "cp"]


def fetch_wheels(stageflow: str, hello: dict[str, Any], cache: Path, say: Callable[[str], None]) -> list[Path]:
    """The pinned wheels of one Stageflow for one device, hash-checked by pip against our lock, from the cache if there.

    Raises AskError when the device's Python is too old for Stageflow, LabError when they cannot be had.
    """
    lock = _PACKAGE / "locks" / f"stageflow-{stageflow}.txt"
    if _python_of(hello) < (3, 11):
        raise AskError(f"the device has Python {hello['python_version']}", expected="Python 3.11 or newer: Stageflow needs it")
    return _fetch(lock, stageflow, f"Stageflow {stageflow}", hello, cache, say)


def fetch_own_wheels(pipelines: Path, hello: dict[str, Any], cache: Path, say: Callable[[str], None]) -> list[Path]:
    """The wheels that an entry needs beside Stageflow: what the lock in its folder pins, as above; none where there is no lock."""
    lock = pipelines / OWN_LOCK
    return _fetch(lock, "own", "what the entry needs", hello, cache, say) if lock.is_file() else []


def _python_of(hello: dict[str, Any]) -> tuple[int, int]:
    version = re.match(r"(\d{1,3})\.(\d{1,3})\.", hello["python_version"])
    return (int(version[1]), int(version[2])) if version else (0, 0)


def _fetch(lock: Path, name: str, noun: str, hello: dict[str, Any], cache: Path, say: Callable[[str], None]) -> list[Path]:
    """Each wheel of a lock that a device like this one takes. The cache's folder is named by the device and the lock's content."""
    options = platform_options(hello)
    about = f"{name}-{hello['machine']}-{hello['platform']}-{hello['libc']}-{'.'.join(map(str, _python_of(hello)))}"
    folder = cache / "wheels" / re.sub(r"[^A-Za-z0-9.-]", "_", f"{about}-{sha256(lock.read_bytes())[:12]}")
    if not (folder / "whole").exists():
        say(f"fetching {noun} for {hello['machine']} (kept in the cache afterwards)")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="fetching-", dir=folder) as place:  # whoever looks meanwhile sees no half of a wheel
            _download(lock, place, options, hello)
            for wheel in Path(place).glob("*.whl"):
                wheel.replace(folder / wheel.name)
        (folder / "whole").touch()
    wheels, pins = sorted(folder.glob("*.whl")), lock.read_text(encoding="utf-8")
    for wheel in wheels:  # the cache is only a cache: what it holds is checked each time
        if f"sha256:{sha256(wheel.read_bytes())}" not in pins:
            raise LabError(f"{wheel} is not the pinned wheel any more", expected=f"a hash of {lock.name}", do=f"remove {folder}")
    return wheels


def _download(lock: Path, place: str, options: list[str], hello: dict[str, Any]) -> None:
    command = [sys.executable, "-m", "pip", "download", "-q", "--only-binary", ":all:", "--require-hashes", "--no-deps"]
    command += ["-d", place, *options, "-r", str(lock)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"the pinned wheels did not arrive within {FETCH_LIMIT_S} s", do="check the way to a package index") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise LabError(
            f"the pinned wheels cannot be fetched: {said}",
            expected=f"every wheel of {lock.name}, by its hash; a package that has no wheel for {hello['machine']} cannot be used",
            where=f"{lock}:{_line_of(said, lock.read_text(encoding='utf-8'))}",
            do="give the coordinator access to a package index once; afterwards the cache is enough",
        )


def _line_of(said: str, pins: str) -> int:
    """The line of a lock that pip speaks of: the pin that it names, else the first."""
    lines = enumerate(pins.splitlines(), 1)
    return next((number for number, line in lines if "==" in line and line.split()[0] in said.replace("'", " ").split()), 1)
