"""A damaged run is set aside, whole: it is in nobody's way any more, and nothing of it is lost.

runs/EDGE-002/run-2026-11-21-001/               ─► runs/EDGE-002/damaged/run-2026-11-21-001/      its number is not given again
runs/EDGE-002/archive/run-2026-11-21-001.tar.gz ─► runs/EDGE-002/damaged/archive/run-2026-11-21-001.tar.gz
"""

from __future__ import annotations

import os
from pathlib import Path

from runner.errors import LabError
from runner.lab.folder import DAMAGED, RunFolder
from runner.lab.lock import locked


def set_aside(run: RunFolder) -> Path:
    """Moves the folder, and its archive with it; gives the folder's new place. Raises AskError while somebody writes into it,
    LabError when it cannot be moved: both are where they were then. Killed between the two, doing it again ends it."""
    entry = run.root.parent
    try:
        with run.alone(), locked(entry / ".making.lock"):
            (entry / DAMAGED).mkdir(exist_ok=True)
            place, number = entry / DAMAGED / run.root.name, 1
            while os.path.lexists(place):
                number += 1
                place = entry / DAMAGED / f"{run.root.name}-{number}"
            _move(run, RunFolder(place))
            return place
    except OSError as error:
        found, expected = f"{run.root} cannot be moved: {error.strerror}", f"a folder that may be moved into {entry / DAMAGED}"
        raise LabError(found, expected=expected, where=str(run.root), do="grant the place, or move it away by hand") from error


def _move(run: RunFolder, to: RunFolder) -> None:
    archived = run.archive.is_file()
    if archived:
        to.archive.parent.mkdir(exist_ok=True)
        os.rename(run.archive, to.archive)
    try:
        os.rename(run.root, to.root)
    except OSError:
        if archived:
            os.rename(to.archive, run.archive)
        raise
