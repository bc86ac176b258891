"""The data disk of a board, and what a power cut takes from it.

    guest ── virtio ── QEMU ── NBD ──> log filter ──> cache filter ──> file
                                       (evidence)     (volatile)       (what survives SIGKILL)

What the log says, and what follows from it, is read by `runner/disk_log.py`. QEMU is told `discard=ignore`, so a
board's trims do not get here.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from runner.errors import LabError
from runner.target.emulation.image import SBIN


def create_data_disk(path: Path, size_mib: int) -> None:
    """A complete ext4 file system in a sparse file (nothing is left to initialise later); nothing is done if it exists.

    Blocks have 4096 bytes, as the write cache has. After a failure there is no file.
    """
    if path.exists():
        return
    fresh = path.with_suffix(f".{os.getpid()}")
    options = ["-t", "ext4", "-b", "4096", "-q", "-F", "-m", "0", "-L", "data"]
    extended = "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"
    try:
        with open(fresh, "wb") as file:
            file.truncate(size_mib << 20)
        command = ["mke2fs", *options, "-E", extended, str(fresh)]
        subprocess.run(command, env={**os.environ, "PATH": SBIN}, check=True, capture_output=True, timeout=300)
        fresh.rename(path)
    except (OSError, subprocess.SubprocessError) as error:
        fresh.unlink(missing_ok=True)
        said = getattr(error, "stderr", None) or b""
        raise LabError(f"no data disk was made: {error}\n{said.decode(errors='replace')}", where=str(path)) from error


def nbdkit_arguments(disk: str, socket: str, log: str) -> list[str]:
    """nbdkit's command line: the log outermost, so that it sees what the guest asked, then the volatile cache.

    All paths are relative to the folder it is started in; the detour through /proc keeps the socket's path short.
    """
    return [
        "nbdkit", "--foreground", "--exit-with-parent", "--unix", f"/proc/self/cwd/{socket}",
        "--filter=log", "--filter=cache", "file", disk, f"logfile={log}", "logappend=true",
        "cache=writeback", "cache-min-block-size=4096",
    ]  # fmt: skip
