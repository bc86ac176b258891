"""What a device says on its console, kept on this machine: one writer (who has the port), as many readers as like.

DEVICE/console.log      what was heard outside of packets, as it came          DEVICE/console.log.1      what was before that
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from runner.lab.private import FILE, private_folder

KEPT_BYTES = 8 << 20
FOLDER, NAME = "consoles", "console.log"


def console_path(state: Path, device: str) -> Path:
    """Where a device's console log is, or will be: nothing is made, so whoever only reads may ask."""
    return state / FOLDER / device / NAME


def console_folder(state: Path, device: str) -> Path:
    """The folder that it lies in, made; nobody else may read it: consoles show what people type."""
    return private_folder(state, FOLDER, device)


class ConsoleLog:
    """Appends. A disk that is full costs words of the log, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def __call__(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            if self.path.exists() and self.path.stat().st_size > KEPT_BYTES:
                self.path.replace(self.path.with_name(NAME + ".1"))
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, FILE)
            try:
                os.write(fd, data)
            finally:
                os.close(fd)
