"""What was found of one profile, as it is kept in results.json: the answer of `runner --json profile try`, and what it means.

    answer ──kept_of──► Kept ──► rows: asked, measured, tolerance, within; reached; reverted; or why there is nothing
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from benchmarks.profiles import NOTHING, Row

REFUSED = 2  # the exit status of what cannot be asked of this device: nothing was tried


@dataclass
class Kept:
    """One profile. `why` says why nothing was tried, `trouble` what stopped it."""

    name: str
    title: str
    on: list[str] = field(default_factory=list)  # what was on, in the words of the product
    during: list[Row] = field(default_factory=list)
    after: list[Row] = field(default_factory=list)
    reached: bool = False
    reverted: bool = False
    seconds: float = 0.0
    attempts: int = 0
    trouble: str = ""
    why: str = ""

    def as_json(self) -> Row:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Row) -> Self:
        return cls(**value)

    @property
    def rows(self) -> list[Row]:
        """What was asked and measured; what stopped it stands where the figures would."""
        return self.during or [NOTHING | ({"measured": self.trouble} if self.trouble else {})]

    @property
    def verdict(self) -> str:
        """In words: what a reader must know of it."""
        if self.why or self.trouble:
            return self.why or self.trouble
        outside = [str(row["what"]) for row in self.during if not row["within"]]
        said = "reached" if self.reached else f"not reached: {', '.join(outside) or 'nothing was measured'}"
        left = [str(row["what"]) for row in self.after if not row["within"]]
        return said if self.reverted else f"{said}; NOT AS IT WAS AFTERWARDS: {', '.join(left) or 'nobody looked'}"


def kept_of(name: str, title: str, answer: Mapping[str, Any], seconds: float, attempts: int) -> Kept:
    """What the command's answer says. One that is refused was not tried; one that was stopped has its reason."""
    found = Kept(name, title, seconds=round(seconds, 1), attempts=attempts)
    if "error" in answer:
        said = str(answer["error"]["found"])
        refused = answer["exit_code"] == REFUSED
        return Kept(name, title, why=said) if refused else Kept(**{**found.as_json(), "trouble": said})
    rows = answer["rows"]
    found.on, found.during, found.after = list(answer["on"]), list(rows.get("during", ())), list(rows.get("after", ()))
    found.reached, found.reverted = bool(answer["reached"]), bool(answer["reverted"])
    return found
