"""The tools that we are compared with: Python ones in a virtual environment of their own, the others as Debian installs them.

A peer that cannot be had is named as missing, with the reason, wherever it would have stood.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.values import Missing

PYTHON_PEERS = ("paramiko", "fabric", "parallel-ssh", "ansible-core", "pyinfra", "asyncssh")
PROGRAMS = {"ssh": ("ssh", "-V"), "scp": (), "rsync": ("rsync", "--version"), "sshd": (), "tar": ("tar", "--version")}
PROGRAMS |= {"sz": ("sz", "--version"), "rz": ()}
INSTALL_LIMIT_S = 600
_VERSIONS = "import importlib.metadata as m, json; print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}))"


@dataclass(frozen=True)
class Peers:
    """What there is: Python peers by version, programs by path; and of the others why not."""

    python: Path
    versions: dict[str, str]
    programs: dict[str, str]
    why_not: dict[str, str]

    def need(self, *names: str) -> None:
        """Raises Missing when one of `names` is not there."""
        for name in names:
            if name in self.why_not:
                raise Missing(self.why_not[name])
            if name not in self.versions and name not in self.programs:
                raise Missing("not looked for")

    def program(self, name: str) -> str:
        """The path of a program, of Debian's or of a Python peer's. Raises Missing."""
        if name in self.programs:
            return self.programs[name]
        if (self.python.parent / name).exists():
            return str(self.python.parent / name)
        raise Missing(self.why_not.get(name, "not installed"))


def find_peers(folder: Path, say: Callable[[str], None], wanted: Iterable[str] = PYTHON_PEERS) -> Peers:
    """The peers, installed into the virtual environment at `folder` where they are not; what fails is in `why_not`."""
    python, why_not = folder / "bin" / "python", dict[str, str]()
    if not python.exists():
        say("making a virtual environment for the tools that are compared")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    there = _versions(python)
    for name in (name for name in wanted if name not in there):
        say(f"installing {name}")
        command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", name]
        try:
            done = subprocess.run(command, capture_output=True, timeout=INSTALL_LIMIT_S, check=False)
            if done.returncode:
                why_not[name] = "pip could not install it"
        except subprocess.TimeoutExpired:
            why_not[name] = f"pip needed more than {INSTALL_LIMIT_S} s"
    there = _versions(python)
    versions = {name: there[name] for name in wanted if name in there}
    programs = {name: path for name in PROGRAMS if (path := shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin"))}
    why_not |= {name: "not installed" for name in PROGRAMS if name not in programs}
    for name, ask in PROGRAMS.items():
        if name in programs and ask:
            versions[name] = _said_version([programs[name], *ask[1:]])
    return Peers(python, versions, programs, why_not)


def _versions(python: Path) -> dict[str, str]:
    done = subprocess.run([str(python), "-c", _VERSIONS], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _said_version(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    match = re.search(r"\d+(\.\d+)+\w*", done.stdout + done.stderr)
    return match[0] if match else "?"
