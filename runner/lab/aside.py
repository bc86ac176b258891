"""A damaged run is set aside, whole: it is in nobody's way any more, and nothing of it is lost.

runs/EDGE-002/run-2026-11-21-001/ ─► runs/EDGE-002/damaged/run-2026-11-21-001/      its number is not given again
"""

from __future__ import annotations

import os
from pathlib import Path

from runner.errors import LabError
from runner.lab.folder import DAMAGED, RunFolder
from runner.lab.lock import locked


def set_aside(run: RunFolder) -> Path:
    """Moves the folder, and gives its new place. Raises AskError while somebody writes into it, LabError when it cannot be moved:
    it is where it was then."""
    entry = run.root.parent
    try:
        with run.alone(), locked(entry / ".making.lock"):
            (entry / DAMAGED).mkdir(exist_ok=True)
            place, number = entry / DAMAGED / run.root.name, 1
            while os.path.lexists(place):
                number += 1
                place = entry / DAMAGED / f"{run.root.name}-{number}"
            os.rename(run.root, place)
            return place
    except OSError as error:
        raise LabError(
            f"{run.root} cannot be moved: {error.strerror}", do=f"grant the place, or move it away by hand: {run.root}"
        ) from error
