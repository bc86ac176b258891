"""Damaged runs: told of where runs are gone through, and set aside by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from runner.cli.output import Output
from runner.errors import AskError

if TYPE_CHECKING:
    from runner.lab.folder import RunFolder


def tell(output: Output, chosen: Iterable[RunFolder]) -> None:
    """A line for each damaged run: what is wrong with it, and what to type."""
    from runner.judgement.damaged import damage

    for folder in chosen:
        if found := damage(folder):
            output.say(f"{_name(folder)}: damaged: {found}")


def put_aside(output: Output, chosen: list[RunFolder], dry_run: bool) -> int:
    """Sets damaged runs aside. Raises AskError, and moves nothing, where one of them is not damaged, or can be mended."""
    from runner.judgement.damaged import damage
    from runner.lab.aside import set_aside

    if not chosen:
        raise AskError("no run is named", expected="runner run prune --damaged RUN", do="runner run list")
    found = {folder: damage(folder) for folder in chosen}
    for folder, wrong in found.items():
        if wrong is None or wrong.mended:
            said = f"{_name(folder)} is not damaged" if wrong is None else f"{_name(folder)} can be mended: {wrong.complaint.found}"
            do = "leave it where it is" if wrong is None else wrong.complaint.do
            raise AskError(said, expected="a run from which nothing can be concluded any more", do=do)
    rows, lines = [], []
    for folder in chosen:
        place = None if dry_run else set_aside(folder)
        rows.append({"run_dir": str(folder.root), "damaged": str(found[folder]), "set_aside": str(place) if place else None})
        lines.append(f"{_name(folder)}: would be set aside" if place is None else f"{_name(folder)}: set aside, whole, as {place}")
    return output.result({"dry_run": dry_run, "runs": rows}, "\n".join(lines))


def _name(folder: RunFolder) -> str:
    return f"{folder.root.parent.name}/{folder.run_id}"
