"""What only this user may read: folders of 0700 and files of 0600, whatever the umask says.

    private_folder(state, "local", "pi-04")     state ► local ► pi-04, each made, checked and closed

In a place that others write to, too (the temp folder), a name can be taken before we come. So a folder counts
only if it is no link and belongs to us; a stranger's is refused, never used and never removed.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from runner.errors import LabError

FOLDER, FILE = 0o700, 0o600
OTHERS_WRITE = 0o022


def private_folder(root: Path, *below: str) -> Path:
    """`root` and each folder named `below` it: there, ours and 0700; returns the last one.

    Raises LabError for a link, for what is no folder, for another user's, and for one of ours that others could write to
    and did. Nothing inside of a refused one was touched.
    """
    folder = root
    try:
        for parent in reversed(root.parents):
            if not parent.exists():
                parent.mkdir(mode=FOLDER, exist_ok=True)
        _close(folder)
        for name in below:
            folder = folder / name
            _close(folder)
    except OSError as error:
        raise LabError(f"{folder} cannot be made: {error.strerror}", do="grant the place, or set RUNNER_STATE") from error
    return folder


def private_text(path: Path, text: str) -> None:
    """Writes a file of 0600, whole or not at all, in place of what was there before. Raises LabError."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.unlink(missing_ok=True)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE)
        with open(fd, "w", encoding="utf-8") as file:
            os.fchmod(fd, FILE)  # a umask can take away
            file.write(text)
        os.replace(part, path)
    except OSError as error:
        raise LabError(f"{path} cannot be written: {error.strerror}", do="free or grant the place, or set RUNNER_STATE") from error


def _close(folder: Path) -> None:
    """Makes one folder, or takes one that is ours; afterwards it is 0700."""
    folder.mkdir(mode=FOLDER, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise LabError(f"{folder} is a link", expected="a folder of your own", do="look at where it leads, then remove it")
    if found.st_uid != os.geteuid():
        raise LabError(
            f"{folder} belongs to user {found.st_uid}, not to you",
            expected=f"a folder of user {os.geteuid()}",
            do="ask that user to remove it, or set RUNNER_STATE to a place of your own",
        )
    if found.st_mode & OTHERS_WRITE:
        strangers = sorted(entry.name for entry in os.scandir(folder) if entry.stat(follow_symlinks=False).st_uid != found.st_uid)
        if strangers:
            raise LabError(
                f"others may write to {folder}, and somebody did: {strangers[0]!r} is not yours",
                expected="a folder that only you can write to",
                do=f"look at it, then remove it and: chmod 700 {folder}",
            )
    if stat.S_IMODE(found.st_mode) != FOLDER:
        folder.chmod(FOLDER)
