"""What every measurement is given: where to work, whom to compare with, and servers when it asks for them."""

from __future__ import annotations

import compileall
import contextlib
import os
import shutil
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.children import timed
from benchmarks.peers import Peers
from benchmarks.servers import Fleet, fleet
from benchmarks.values import Contender
from runner.lab.where import cache_root

ROOT = Path(__file__).resolve().parent.parent
CONTENDERS = Path(__file__).resolve().parent / "contenders"
_NOT_PASSED_ON = ("SSH_AUTH_SOCK", "RUNNER_LAB", "GITHUB_ACTIONS", "PYTHONDONTWRITEBYTECODE")


@dataclass
class Bench:
    scratch: Path  # on a real disk; gone afterwards
    peers: Peers
    quick: bool
    boards: bool
    stack: contextlib.ExitStack  # what measurements leave running is ended by it

    @property
    def largest(self) -> int:
        """How many devices at most."""
        return 10 if self.quick else 100

    @cached_property
    def fleet(self) -> Fleet:
        """The servers, started when they are first asked for."""
        self.peers.need("sshd", "ssh")
        return self.stack.enter_context(fleet(self.peers.programs["sshd"], self.scratch / "fleet", self.largest))

    @cached_property
    def installed(self) -> Path:
        """The product as an installer leaves it: a copy with its built-in lab, compiled. From a checkout it may be compiled anew at
        every start."""
        folder, but_caches = self.scratch / "installed", shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "runner", folder / "runner", ignore=but_caches)
        for name in ("devices", "profiles", "pipelines"):
            shutil.copytree(ROOT / name, folder / "runner" / "builtin" / name, ignore=but_caches)
        shutil.copy(ROOT / "inventory.yaml", folder / "runner" / "builtin")
        compileall.compile_dir(folder, quiet=1)
        return folder

    @property
    def env(self) -> dict[str, str]:
        """The environment of every contender: this one's, with a home and a state of the benchmark's own, and nobody's keys."""
        kept = {key: value for key, value in os.environ.items() if key not in _NOT_PASSED_ON}
        return {
            **kept,
            "HOME": str(self.scratch / "fleet" / "home"),
            "RUNNER_STATE": str(self.scratch / "state"),
            "RUNNER_CACHE": str(cache_root()),
            "PYTHONPATH": "",
            "ANSIBLE_HOME": str(self.scratch / "ansible"),
        }

    @property
    def our_env(self) -> dict[str, str]:
        """The same for the product and for what is measured through it: they find it installed."""
        return {**self.env, "PYTHONPATH": str(self.installed)}

    @property
    def log(self) -> Path:
        return self.scratch / "contender.log"

    def ours(self, name: str, program: str, *words: object) -> Contender:
        """The product, through a program of `contenders/` that runs in this very Python."""
        argv = [sys.executable, str(CONTENDERS / f"{program}.py"), *map(str, words)]
        return Contender(name, lambda: timed(argv, self.our_env, self.log))

    def peer(self, name: str, needs: str, program: str, *words: object) -> Contender:
        """A Python peer, through a program of `contenders/` that runs in the peers' Python."""

        def sample() -> float:
            self.peers.need(needs)
            return timed([str(self.peers.python), str(CONTENDERS / f"{program}.py"), *map(str, words)], self.env, self.log)

        return Contender(name, sample)

    def shell(self, name: str, needs: tuple[str, ...], script: str, **env: str) -> Contender:
        """A peer that is a program: as a line of shell, which is how it would be used for many devices at once."""

        def sample() -> float:
            self.peers.need(*needs)
            return timed(["/bin/sh", "-ec", script], {**self.env, **env}, self.log)

        return Contender(name, sample)
