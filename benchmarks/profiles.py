"""Shipped profiles that are tried one after another on one board: which there are, what is kept of them, and the table of their page.

    profiles/*.yaml ──shipped──► tried, one by one ──► results.json ──in_order──► a Tried for each ──markdown──► the page

`results.json` is an object with `device`, `what`, `machine` and `profiles`, by name. It is written behind each, so that a measurement can
be done in pieces.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from runner.cli.output import Output
from runner.lab.load import Reader
from runner.model.profile import Profile

ROOT = Path(__file__).resolve().parent.parent
Row = dict[str, Any]  # {"what", "asked", "measured", "tolerance", "within"}
NOTHING = {"what": "–", "asked": "–", "measured": "nothing", "tolerance": "–", "within": False}


class Tried(Protocol):
    """One profile, as a page shows it: its rows, or why there are none."""

    @property
    def name(self) -> str: ...

    @property
    def why(self) -> str:
        """Why nobody tried it here; "" for one that was."""

    @property
    def rows(self) -> Sequence[Row]: ...

    @property
    def reached(self) -> bool: ...

    @property
    def reverted(self) -> bool: ...

    @property
    def seconds(self) -> float: ...


One = TypeVar("One")


def shipped(who: str, belongs: Callable[[Profile], object]) -> dict[str, Profile]:
    """Those of ours that belong to a page, by name, in order. `who` reads them, for what is said of one that cannot be read."""
    reader = Reader(Output(False, str(ROOT)).lab(quiet=True))
    names = sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml"))
    found = {name: reader.profile(name, who) for name in names}
    reader.finish()
    return {name: profile for name, profile in found.items() if profile and belongs(profile)}


def load(results: Path) -> Row:
    return dict(json.loads(results.read_text(encoding="utf-8"))) if results.exists() else {"profiles": {}}


def save(results: Path, kept: Row) -> None:
    results.write_text(json.dumps(kept, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def in_order(kept: Row, profiles: Mapping[str, Profile], of: Callable[[Row], One], not_yet: Callable[[str, Profile], One]) -> list[One]:
    """Every profile as it was tried, or as one that nobody has tried yet."""
    known = {name: of(value) for name, value in kept["profiles"].items()}
    return [known[name] if name in known else not_yet(name, profile) for name, profile in profiles.items()]


def markdown(results: Sequence[Tried], about: Mapping[str, Any], whole: str, outside: Iterable[str]) -> str:
    """The generated part of a page: how many, a row for each thing asked, what was `outside` (lines), and what was not tried.

    `whole`: what was proven to be as before, once a profile was over.
    """
    return "\n".join(_lines(results, about, whole, outside))


def _lines(results: Sequence[Tried], about: Mapping[str, Any], whole: str, outside: Iterable[str]) -> Iterator[str]:
    tried = [each for each in results if not each.why]
    yield "| measured | |"
    yield "|---|---|"
    yield f"| on | {about['device']}: {about['what']} |"
    yield f"| with | {', '.join(f'{key} {value}' for key, value in sorted(about['machine'].items()))} |"
    yield f"| reached | {sum(each.reached for each in tried)} of {len(tried)} profiles |"
    yield f"| reverted, and the {whole} proven to be as before | {sum(each.reverted for each in tried)} of {len(tried)} |"
    yield ""
    yield "| profile | what | asked | measured | tolerance | within | s |"
    yield "|---|---|---|---|---|---|---|"
    for each in tried:
        for place, row in enumerate(each.rows or [NOTHING]):
            head, took = (f"`{each.name}`", f"{each.seconds:.0f}") if place == 0 else ("", "")
            yield line(head, row["what"], row["asked"], row["measured"], row["tolerance"], "yes" if row["within"] else "**no**", took)
    yield ""
    yield from outside
    yield ""
    if skipped := [each for each in results if each.why]:
        yield "Not tried here:"
        yield ""
        yield from (f"- `{each.name}`: {cell(each.why)}" for each in skipped)


def line(*cells: object) -> str:
    """A row of a table."""
    return f"| {' | '.join(map(cell, cells))} |"


def cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
