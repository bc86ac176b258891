"""Every ending as one of ours: whatever was raised, said as found, expected, where and do, in a sentence of bounded length.

RunnerError                                      as it is
a word that no command knows (click)             AskError
a right that is missing, a name that is too long AskError
a disk that is full or broken                    LabError
anything else                                    BrokenPromise: our bug, and what to send
"""

from __future__ import annotations

import contextlib
import errno
import re
import traceback
from dataclasses import replace
from pathlib import Path

import click

from runner.errors import AskError, BrokenPromise, LabError, RunnerError

OF_THE_FILES = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.ELOOP}
OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
MAX_CHARS = 500  # more is no sentence
MAX_EXPECTED = 5000  # a list of names may be long


def ours(error: Exception, runs: Path | None = None, began_s: float = 0.0) -> RunnerError:
    """The error of this product that `error` is, every line of it bounded. For a bug, a run made in `runs` since `began_s` is named."""
    said = _ours(error, runs, began_s)
    said.complaints = tuple(
        replace(
            one,
            found=short(one.found, MAX_CHARS),
            expected=short(one.expected, MAX_EXPECTED),
            where=_one_line(short(one.where, MAX_CHARS)),
            do=_one_line(short(one.do, MAX_CHARS)),
        )
        for one in said.complaints
    )
    return said


def _ours(error: Exception, runs: Path | None, began_s: float) -> RunnerError:
    if isinstance(error, RunnerError):
        return error
    if isinstance(error, click.ClickException):
        return _asked(error)
    if isinstance(error, OSError):
        name = "" if error.filename is None else str(error.filename)
        if error.errno == errno.ENAMETOOLONG:
            return AskError(f"{short(name, 60)!r} is longer than the name of any file can be", expected="at most 255 bytes")
        if error.errno in OF_THE_FILES and name:
            do = "grant the right, or name another place"
            return AskError(f"{name}: {error.strerror}", expected="a place that may be read and written", do=do)
        if error.errno in OF_THE_DISK:
            return LabError(f"{name or 'the disk'}: {error.strerror}", do="free some space; what was written before is kept")
    return _bug(error, runs, began_s)


def _asked(error: click.ClickException) -> AskError:
    """click's sentence, with the nearest name and all names where it has a list of them."""
    from runner.lab.yaml_source import nearest, one_of

    context = getattr(error, "ctx", None)
    found, expected, listed = error.format_message(), "", f"{context.command_path if context else 'runner'} --help"
    if found.startswith("Usage:"):  # click's way of saying so is the whole help text
        found = "Missing command."
    command = context.command if context else None
    name = getattr(error, "command_name", "")
    param, where = getattr(error, "param", None), ""
    kind = getattr(param, "type", None)
    said_of = param.opts[0] if isinstance(param, click.Option) else ""
    if isinstance(command, click.Group) and (name or found == "Missing command."):
        names = command.list_commands(context)  # type: ignore[arg-type] # there is a command, so there is its context
        found, expected = (f"no command is called {name!r}{nearest(name, names)}" if name else found), one_of(names, name or "", listed)
    elif said_of and isinstance(error, click.MissingParameter):
        found, expected = f"{said_of} is missing", one_of(map(str, kind.choices)) if isinstance(kind, click.Choice) else "a value for it"
    elif said_of and isinstance(kind, click.types.IntParamType):
        quoted = re.search(r"^'(.*)' is not a valid|^(-?\d+) is not in the range", getattr(error, "message", ""))
        if quoted:
            found = f"{quoted[1]!r} is no whole number" if quoted[1] is not None else f"{quoted[2]} is out of range"
        where, expected = said_of, "a whole number"
        if isinstance(kind, click.IntRange):
            expected += f" from {kind.min} to {kind.max}"
    elif isinstance(kind, click.Choice):
        choices = [str(choice) for choice in kind.choices]
        said = found.rpartition("' is not one of ")[0].rpartition("'")[2]
        found, expected = found.partition(" is not one of ")[0] + nearest(said, choices), one_of(choices, said, listed)
    return AskError(found, expected=expected, where=where, do=listed)


def _bug(error: Exception, runs: Path | None, began_s: float) -> BrokenPromise:
    frames = traceback.extract_tb(error.__traceback__)
    inner = next((frame for frame in reversed(frames) if "/runner/" in frame.filename), None)
    folder = _made_since(runs, began_s)
    do = "this is our bug: please report it with the traceback above, the command line and what `runner doctor` prints"
    do += f", and send the folder {folder}" if folder else "; no run folder was made"
    where = f"runner/{inner.filename.rpartition('/runner/')[2]}:{inner.lineno}" if inner else ""
    said = BrokenPromise(f"{type(error).__name__}: {error}", where=where, do=do)
    said.__cause__ = error
    return said


def _made_since(runs: Path | None, began_s: float) -> Path | None:
    """The newest run folder in `runs` that was made since then."""
    made: list[tuple[float, Path]] = []
    with contextlib.suppress(OSError):  # whatever else is wrong, the bug is told
        for path in runs.glob("*/run-*") if runs else ():
            if (changed_s := path.stat().st_mtime) >= began_s:
                made.append((changed_s, path))
    return max(made, default=(0.0, None))[1]


def short(text: str, chars: int) -> str:
    """`text`, its middle left out where it is longer than so many characters."""
    return text if len(text) <= chars else f"{text[: chars * 3 // 4]} … {text[-chars // 5 :]}"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in text)
