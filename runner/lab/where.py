"""Which lab am I in, and where do built-ins, state and caches lie? Only this module knows.

    --lab, else RUNNER_LAB, else the nearest parent folder with an inventory.yaml, else the built-in lab
    with its results in ./runs

A lab's own file wins over a built-in of the same name, and that is announced.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner.errors import AskError

_PACKAGE = Path(__file__).resolve().parent.parent


def builtin_root() -> Path:
    """The built-in lab: inside the package in a wheel, beside it in a source checkout."""
    packed = _PACKAGE / "builtin"
    return packed if packed.is_dir() else _PACKAGE.parent


def state_root() -> Path:
    """What must outlive a run and belongs to this user: leases, boards, the local device's own disk."""
    chosen = os.environ.get("RUNNER_STATE") or os.environ.get("XDG_STATE_HOME", "~/.local/state") + "/stageflow-runner"
    return Path(chosen).expanduser().absolute()


def cache_root() -> Path:
    """What can be made again: wheels, images."""
    chosen = os.environ.get("RUNNER_CACHE") or os.environ.get("XDG_CACHE_HOME", "~/.cache") + "/stageflow-runner"
    return Path(chosen).expanduser().absolute()


@dataclass(frozen=True)
class Lab:
    """A folder with an inventory and whatever else it overrides, and where its results go."""

    root: Path
    runs: Path
    builtin: bool

    def __str__(self) -> str:
        return f"lab: {'built-in' if self.builtin else self.root} · results in {self.shown(self.runs)}"

    def file(self, relative: str) -> Path | None:
        """The lab's own file, else the built-in one, else None."""
        for root in (self.root, builtin_root()):
            if (root / relative).exists():
                return root / relative
        return None

    def overrides(self, relative: str) -> bool:
        """Whether the lab's own file hides a built-in one."""
        mine, theirs = self.root / relative, builtin_root() / relative
        return mine.exists() and theirs.exists() and mine.resolve() != theirs.resolve()

    def names(self, folder: str, pattern: str) -> Iterator[str]:
        """Sorted names that `pattern` finds below `folder`, here and among the built-ins."""
        found = {path for root in (self.root, builtin_root()) for path in (root / folder).glob(pattern)}
        yield from sorted({str(path.relative_to(path.parents[pattern.count("/")])) for path in found})

    def shown(self, path: Path) -> str:
        """A path as a person would type it: relative to here where that is shorter."""
        try:
            return "./" + str(path.resolve().relative_to(Path.cwd()))
        except ValueError:
            return str(path)


def find_lab(chosen: str | None) -> Lab:
    """The lab that is meant. Raises AskError when a folder was named that is no lab."""
    named = chosen or os.environ.get("RUNNER_LAB")
    if named:
        root = Path(named).expanduser().resolve()
        if not (root / "inventory.yaml").is_file():
            raise AskError(
                f"{root} is not a lab: it has no inventory.yaml",
                expected="a folder with an inventory.yaml",
                where="--lab" if chosen else "RUNNER_LAB",
                do=f"runner init {root}",
            )
        return Lab(root, root / "runs", builtin=False)
    here = Path.cwd()
    for root in (here, *here.parents):
        if (root / "inventory.yaml").is_file():
            return Lab(root, root / "runs", builtin=False)
    return Lab(builtin_root(), here / "runs", builtin=True)
