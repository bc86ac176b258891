"""Deploy: a bundle of 5 MB in 300 files to ten servers, one command in it, and its result of 100 kB back; then the same again unchanged.

The bundle is a new one for every sample, so that nobody's cache helps; the second case finds everything there.
Peers leave files as the network brought them; the product verifies each blob and flushes every file before it says "there".
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import tools
from benchmarks.bench import Bench
from benchmarks.tools import FAST, each
from benchmarks.values import Case, Contender, Goal

COUNT, FILES, BYTES, RESULT_BYTES = 10, 300, 5_000_000, 100_000
TAR, RSYNC = "tar over ssh, curve25519", "rsync, curve25519"


@dataclass(frozen=True)
class Place:
    """Where things lie: what is sent, what comes back, and on the devices (which are this machine) where peers and we put it."""

    root: Path

    @property
    def bundle(self) -> Path:
        return self.root / "bundle"

    @property
    def tar(self) -> Path:
        return self.root / "bundle.tar"

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def there(self) -> Path:
        return self.root / "there"

    @property
    def ours(self) -> Path:
        return self.root / "ours"


def cases(bench: Bench) -> Iterator[Case]:
    place = Place(bench.scratch / "deploy")
    bench.stack.callback(end_supervisors, place.ours)
    fleet, names = bench.fleet, bench.fleet.names(COUNT)
    ssh = f"ssh -F {fleet.config} {FAST}"
    there = f"{place.there}/$d"
    run = "sh ./run result && cat result"
    fetch = f'{ssh} $d "cd {there} && {run}" > {place.results}/$d'
    rsync = f'rsync -a -e "{ssh}" {place.bundle}/ $d:{there}/'

    def again(state: Path, bundle: Path) -> Contender:
        return bench.ours("runner", "deploy_with_runner", fleet.folder, COUNT, fleet.python, bundle, state, "")

    def ours(name: str, state: Path, before: Callable[[], object]) -> Contender:
        made = bench.ours(name, "deploy_with_runner", fleet.folder, COUNT, fleet.python, place.bundle, state, place.results)
        return replace(made, before=before)

    def installed() -> None:
        """Supervisors run there, and have had another bundle."""
        make_bundle(place.root / "other", 1, 1000)
        again(place.ours / "installed", place.root / "other").sample()

    def empty() -> None:
        end_supervisors(place.ours / "first")
        shutil.rmtree(place.ours / "first", ignore_errors=True)

    deploying = [
        ours("runner", place.ours / "installed", installed),
        ours("runner, first time there", place.ours / "first", empty),
        bench.shell(
            TAR,
            ("ssh", "tar"),
            each(
                fleet, COUNT, f'tar -cf - -C {place.bundle} . | {ssh} $d "tar -xf - -C {there} && cd {there} && {run}" > {place.results}/$d'
            ),
        ),
        bench.shell(RSYNC, ("rsync", "ssh"), each(fleet, COUNT, f"{rsync} && {fetch}")),
        bench.shell(
            "scp -r, curve25519",
            ("scp", "ssh"),
            each(fleet, COUNT, f"scp -qr -F {fleet.config} {FAST} {place.bundle}/. $d:{there} && {fetch}"),
        ),
        bench.peer("fabric, a tar", "fabric", "with_fabric", fleet.folder, COUNT, "deploy", place.tar, place.there, place.results),
        tools.pyinfra(bench, "pyinfra, a tar", COUNT, PYINFRA.format(place=place)),
        tools.ansible(bench, tools.ANSIBLE, COUNT, ANSIBLE.format(place=place, host="{{ inventory_hostname }}"), FAST),
    ]
    yield Case(
        title=f"5 MB to {COUNT} servers, run, fetch",
        unit="s",
        contenders=[from_new(contender, place, names) for contender in deploying],
        goals=[Goal(1.15, TAR), Goal(0.15, tools.ANSIBLE)],
    )
    unchanged = [
        again(place.ours / "installed", place.bundle),
        bench.shell(RSYNC, ("rsync", "ssh"), each(fleet, COUNT, rsync)),
    ]
    yield Case(
        title=f"the same to {COUNT} servers again, unchanged",
        unit="s",
        contenders=[replace(contender, before=contender.sample) for contender in unchanged],
        goals=[Goal(0.5, RSYNC)],
    )


PYINFRA = """
files.put(name="put", src="{place.tar}", dest=f"{place.there}/{{host.name}}/bundle.tar")
server.shell(name="run", commands=[f"cd {place.there}/{{host.name}} && tar -xf bundle.tar && sh ./run result"])
files.get(name="get", src=f"{place.there}/{{host.name}}/result", dest=f"{place.results}/{{host.name}}")
"""
ANSIBLE = """
- hosts: all
  gather_facts: false
  tasks:
    - unarchive: {{src: '{place.tar}', dest: '{place.there}/{host}'}}
    - command: {{cmd: 'sh ./run result', chdir: '{place.there}/{host}'}}
    - fetch: {{src: '{place.there}/{host}/result', dest: '{place.results}/{host}', flat: true}}
"""


def from_new(contender: Contender, place: Place, names: list[str]) -> Contender:
    """The contender with a bundle that nobody has seen, and its results looked at: who fetched nothing has not done the work."""

    def before() -> None:
        contender.before()
        make_bundle(place.bundle, FILES, BYTES)
        with tarfile.open(place.tar, "w") as archive:
            archive.add(place.bundle, ".")
        for parent in (place.there, place.results):
            shutil.rmtree(parent, ignore_errors=True)
            parent.mkdir()
        for name in names:
            (place.there / name).mkdir()

    def sample() -> float:
        took_s = contender.sample()
        sizes = {(place.results / name).stat().st_size for name in names}
        if sizes != {RESULT_BYTES}:
            raise RuntimeError(f"results of {sorted(sizes)} bytes were fetched, not of {RESULT_BYTES}")
        return took_s

    return replace(contender, before=before, sample=sample)


def make_bundle(folder: Path, files: int, total_bytes: int) -> None:
    """Files of noise, and `run`, a script that makes its argument: a file of RESULT_BYTES."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number in range(files - 1):
        (folder / f"{number:04}.bin").write_bytes(os.urandom(total_bytes // files))
    (folder / "run").write_text(f'head -c {RESULT_BYTES} /dev/zero > "$1"\n')


def end_supervisors(state: Path) -> None:
    """Ends the supervisors whose state lies below `state`, by the pids in their locks: they would wait two minutes for work."""
    for lock in state.rglob("supervisor.lock"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int(lock.read_text().split()[0])
            if str(lock.parent).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.killpg(pid, signal.SIGKILL)
