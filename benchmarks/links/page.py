"""The results as Markdown, into docs/links.md between its markers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks import profiles
from benchmarks.links.kept import Kept


def markdown(results: Sequence[Kept], about: Mapping[str, Any]) -> str:
    """The whole generated part of the page."""
    return profiles.markdown(results, about, "link", _afterwards([each for each in results if not (each.why or each.reverted)]))


def _afterwards(measured: Sequence[Kept]) -> Iterator[str]:
    """What was not as before when the fault was off: on a busy host that is the host, on another one it would be ours."""
    if measured:
        yield "| not as before | what | measured | asked |"
        yield "|---|---|---|---|"
    for each in measured:
        for row in each.not_as_before:
            yield profiles.line(f"`{each.name}`", row["what"], row["measured"], row["tolerance"])
