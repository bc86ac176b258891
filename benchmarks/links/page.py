"""The results as Markdown, into docs/links.md between its markers: first how many, then a table with a row for each thing asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.links.kept import Kept


def markdown(results: Sequence[Kept], about: Mapping[str, Any]) -> str:
    """The whole generated part of the page."""
    return "\n".join(_lines(results, about))


def _lines(results: Sequence[Kept], about: Mapping[str, Any]) -> Iterator[str]:
    measured = [each for each in results if not each.why]
    yield "| measured | |"
    yield "|---|---|"
    yield f"| on | {about['device']}: {about['what']} |"
    yield f"| with | {', '.join(f'{key} {value}' for key, value in sorted(about['machine'].items()))} |"
    yield f"| reached | {sum(each.reached for each in measured)} of {len(measured)} profiles |"
    yield f"| reverted, and the link proven to be as before | {sum(each.reverted for each in measured)} of {len(measured)} |"
    yield ""
    yield "| profile | what | asked | measured | tolerance | within | s |"
    yield "|---|---|---|---|---|---|---|"
    for each in measured:
        for place, row in enumerate(each.rows or [dict.fromkeys(("what", "asked", "measured", "tolerance"), "–") | {"within": False}]):
            head, took = (f"`{each.name}`", f"{each.seconds:.0f}") if place == 0 else ("", "")
            cells = (head, row["what"], row["asked"], row["measured"], row["tolerance"], "yes" if row["within"] else "**no**", took)
            yield "| " + " | ".join(map(_cell, cells)) + " |"
    yield ""
    yield from _afterwards([each for each in measured if not each.reverted])
    yield ""
    skipped = [each for each in results if each.why]
    if skipped:
        yield "Not measured here:"
        yield ""
        yield from (f"- `{each.name}`: {each.why}" for each in skipped)


def _afterwards(measured: Sequence[Kept]) -> Iterator[str]:
    """What was not as before when the fault was off: on a busy host that is the host, on another one it would be ours."""
    if measured:
        yield "| not as before | what | measured | asked |"
        yield "|---|---|---|---|"
    for each in measured:
        for row in each.not_as_before:
            yield "| " + " | ".join(map(_cell, (f"`{each.name}`", row["what"], row["measured"], row["tolerance"]))) + " |"


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
