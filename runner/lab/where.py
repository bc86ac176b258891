"""Which lab am I in, and where do built-ins, state and caches lie? Only this module knows.

    --lab, else RUNNER_LAB, else the nearest parent folder with an inventory.yaml, else the built-in lab
    with its results in ./runs

A lab's own file wins over a built-in of the same name, and that is announced.
"""

from __future__ import annotations

import errno
import os
import shlex
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
    return expanded(chosen, "RUNNER_STATE").absolute()


def cache_root() -> Path:
    """What can be made again: wheels, images."""
    chosen = os.environ.get("RUNNER_CACHE") or os.environ.get("XDG_CACHE_HOME", "~/.cache") + "/stageflow-runner"
    return expanded(chosen, "RUNNER_CACHE").absolute()


def expanded(name: str, where: str) -> Path:
    """The path that a person typed, `~` filled in. Raises AskError where nobody is called so."""
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise AskError(f"{name!r}: {str(error).lower().rstrip('.')}", expected="a folder", where=where) from error


@dataclass(frozen=True)
class Lab:
    """A folder with an inventory and whatever else it overrides, and where its results go."""

    root: Path
    runs: Path
    builtin: bool

    def __str__(self) -> str:
        return f"lab: {'built-in' if self.builtin else self.root} · results in {self.shown(self.runs)}"

    def file(self, relative: str) -> Path | None:
        """The lab's own file, else the built-in one, else None. One of its own that cannot be read is its own all the same."""
        for root in (self.root, builtin_root()):
            if _stands(root / relative):
                return root / relative
        return None

    def overrides(self, relative: str) -> bool:
        """Whether the lab's own file hides a built-in one."""
        mine, theirs = self.root / relative, builtin_root() / relative
        return _stands(mine) and _stands(theirs) and mine.resolve() != theirs.resolve()

    def names(self, folder: str, pattern: str) -> Iterator[str]:
        """Sorted names that `pattern` finds below `folder`, here and among the built-ins.

        Raises AskError when the lab's own folder cannot be read: what is in it must not be passed over in silence.
        """
        try:
            os.listdir(self.root / folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            where = str(self.root / folder)
            raise AskError(f"cannot be read: {error.strerror}", expected="a folder that you may read", where=where) from error
        found = {path for root in (self.root, builtin_root()) for path in (root / folder).glob(pattern)}
        yield from sorted({str(path.relative_to(path.parents[pattern.count("/")])) for path in found})

    def shown(self, path: Path) -> str:
        """A path as a person would type it: relative to here where that is shorter."""
        try:
            return "./" + str(Path(os.path.abspath(path)).relative_to(Path.cwd()))
        except (OSError, ValueError):  # elsewhere; here is gone
            return str(path)


def _stands(path: Path) -> bool:
    """Whether anything has this name: a broken link and what may not be looked at do."""
    try:
        path.lstat()
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
    except ValueError:
        return False
    return True


def find_lab(chosen: str | None) -> Lab:
    """The lab that is meant. Raises AskError when a folder was named that is no lab, or when here is nowhere."""
    named = chosen or os.environ.get("RUNNER_LAB")
    if named:
        where = "--lab" if chosen else "RUNNER_LAB"
        root = Path(os.path.realpath(expanded(named, where)))  # a link to itself stays what it is
        if not root.is_dir() or not _stands(root / "inventory.yaml"):
            found = "it has no inventory.yaml" if root.is_dir() else "it is no folder" if _stands(root) else "there is nothing"
            expected, do = "a folder with an inventory.yaml", f"runner init {shlex.quote(str(root))}"
            raise AskError(f"{root} is not a lab: {found}", expected=expected, where=where, do=do)
        return Lab(root, root / "runs", builtin=False)
    try:
        here = Path.cwd()
    except OSError as error:
        raise AskError("the current folder is gone", expected="a folder that is there", do="cd to one, or name a lab with --lab") from error
    if not os.access(here, os.R_OK | os.X_OK):
        raise AskError(f"{here} may not be read", expected="a folder that you may read", do="cd to one, or name a lab with --lab")
    for root in (here, *here.parents):
        if os.path.lexists(root / "inventory.yaml"):
            return Lab(root, root / "runs", builtin=False)
    return Lab(builtin_root(), here / "runs", builtin=True)
