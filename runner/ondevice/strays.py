"""Control groups with our tag that a supervisor of another state folder left, or one whose state folder was thrown away.

    a process names its state folder: a supervisor, a guard     in use: let alone, and nobody's leftover
    nobody does, and no process is in it                        removed
    nobody does, and processes are in it                        left, with what removes it; that is for a person to type

It is looked before, and the kernel itself removes no group with a process in it: nobody is ever moved out of one here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import time
from collections.abc import Callable, Iterator

from .cgroup import MOUNTS, PROBE, TAG, WORK, Group, hierarchies, key_of
from .kernel_files import raw, text

AGAIN_S = 3.0  # so much later it is looked once more whether the maker of a group lives
_OURS = re.compile(f"{TAG}([0-9a-f]{{8}})(?:{PROBE}|{WORK})?")


def clear_strays(
    state: str, *, idle: Callable[[], bool], mounts: str = MOUNTS, proc: str = "/proc", again_s: float = AGAIN_S
) -> dict[str, list[str]]:
    """{"removed", "in_use"}: folders; {"left"}: a sentence for each, its folder first.

    `idle`: whether the supervisor of `state` that asks has nothing armed and nothing under way, so that a group of its own is nobody's,
    too.
    """
    found: dict[str, list[str]] = {"removed": [], "in_use": [], "left": []}
    groups = list(_groups(mounts))  # before their makers are looked for: whoever comes later has made none of these
    living = _living(proc) if groups else set()
    if any(key not in living for _, key in groups):
        time.sleep(again_s)  # between a crash and the start behind it a run has no process at all
        living |= _living(proc)
    living -= {key_of(state)} if idle() else set()
    for folder, key in groups:
        members = text(os.path.join(folder, "cgroup.procs")).split()
        if key in living:
            found["in_use"].append(folder)
        elif members:
            pids = " ".join(pid for pid in members if pid != "0")  # which is what one of another container is called here
            end = f"kill {pids} && " if pids else ""
            found["left"].append(f"{folder}: its maker is gone, and processes are in it; to remove it: {end}rmdir {folder}")
        else:
            try:
                os.rmdir(folder)
                found["removed"].append(folder)
            except FileNotFoundError:
                continue  # whoever made it has been quicker
            except OSError as error:
                inner = sorted((path for path, *_ in os.walk(folder)), key=len, reverse=True)
                found["left"].append(f"{folder}: {error.strerror}; to remove it: rmdir {' '.join(map(shlex.quote, inner))}")
    if found["removed"]:
        Group(state, mounts=mounts).stand_down()
    return found


def _groups(mounts: str) -> Iterator[tuple[str, str]]:
    """Each group of ours on this machine, and by what its maker's state folder is known."""
    for root in dict.fromkeys(folder for _, folder, _ in hierarchies(mounts)):
        with contextlib.suppress(OSError):  # one that may not be read holds none of which we could know
            for name in sorted(os.listdir(root)):
                if found := _OURS.fullmatch(name):
                    yield os.path.join(root, name), found[1]


def _living(proc: str) -> set[str]:
    """By what the state folders are known that any process was started with."""
    words = {word for name in os.listdir(proc) if name.isdigit() for word in raw(f"{proc}/{name}/cmdline").split(b"\0")}
    return {key_of(os.fsdecode(word)) for word in words if word.startswith(b"/")}
