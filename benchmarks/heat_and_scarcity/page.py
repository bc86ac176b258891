"""The results as Markdown, into docs/heat-and-scarcity.md between its markers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import profiles
from benchmarks.heat_and_scarcity.kept import Kept


def markdown(results: Sequence[Kept], about: Mapping[str, Any]) -> str:
    """The whole generated part of the page."""
    outside = [each for each in results if not (each.why or (each.reached and each.reverted))]
    return profiles.markdown(results, about, "device", [f"- `{each.name}`: {profiles.cell(each.verdict)}" for each in outside])
