"""The results as Markdown, into docs/heat-and-scarcity.md between its markers: first how many, then a row for each thing asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.heat_and_scarcity.kept import Kept

NOTHING = {"what": "–", "asked": "–", "measured": "–", "tolerance": "–", "within": False}


def markdown(results: Sequence[Kept], about: Mapping[str, Any]) -> str:
    """The whole generated part of the page."""
    return "\n".join(_lines(results, about))


def _lines(results: Sequence[Kept], about: Mapping[str, Any]) -> Iterator[str]:
    tried = [each for each in results if not each.why]
    yield "| measured | |"
    yield "|---|---|"
    yield f"| on | {about['device']}: {about['what']} |"
    yield f"| with | {', '.join(f'{key} {value}' for key, value in sorted(about['machine'].items()))} |"
    yield f"| reached | {sum(each.reached for each in tried)} of {len(tried)} profiles |"
    yield f"| reverted, and the device proven to be as before | {sum(each.reverted for each in tried)} of {len(tried)} |"
    yield ""
    yield "| profile | what | asked | measured | tolerance | within | s |"
    yield "|---|---|---|---|---|---|---|"
    for each in tried:
        for place, row in enumerate(each.during or [NOTHING | {"measured": each.trouble or "nothing"}]):
            head, took = (f"`{each.name}`", f"{each.seconds:.0f}") if place == 0 else ("", "")
            cells = (head, row["what"], row["asked"], row["measured"], row["tolerance"], "yes" if row["within"] else "**no**", took)
            yield "| " + " | ".join(map(_cell, cells)) + " |"
    yield ""
    yield from (f"- `{each.name}`: {_cell(each.verdict)}" for each in tried if not (each.reached and each.reverted))
    yield ""
    skipped = [each for each in results if each.why]
    if skipped:
        yield "Not tried here:"
        yield ""
        yield from (f"- `{each.name}`: {_cell(each.why)}" for each in skipped)


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
