"""Where a run was made, in words that name no host, no user and no path: without them an absolute time says nothing."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def describe(scratch: Path) -> dict[str, str]:
    """Cores, memory, Python, kernel and file system of this machine, and how busy it was."""
    return {
        "cores": f"{os.cpu_count()} × {platform.machine()}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.0f} GB",
        "python": platform.python_version(),
        "system": f"{platform.system()} {number(platform.release())}",
        "file system": file_system(Path("/proc/self/mountinfo").read_text(), scratch),
        "load at the start": f"{os.getloadavg()[0]:.1f}",
    }


def number(release: str) -> str:
    """The version of a kernel without what its builder called it."""
    match = re.match(r"\d+(\.\d+)*", release)
    return match[0] if match else "?"


def file_system(mounts: str, path: Path) -> str:
    """The type of the file system that `path` lies on, by a /proc/self/mountinfo."""
    found = ("", "?")
    for words in (line.split() for line in mounts.splitlines()):
        point = words[4]
        if path.is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, words[words.index("-") + 1])
    return found[1]
