"""HTML by construction: whatever is not markup already is escaped, and made one line without control characters.

    tag("td", "<img onerror=…>", class_="n")   →   <td class="n">&lt;img onerror=…&gt;</td>

So the report has no place where a device's words could become anything but words. Attribute names are Python's: `class_`
is `class`, `aria_label` is `aria-label`. Nothing here reads or writes a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, TypeAlias

from runner.judgement.judge import one_line

MAX_ROWS = 1_000  # of one table: a page must open, whatever a device wrote
_EMPTY = {"rect", "line", "path", "use"}  # SVG shapes are closed in themselves when nothing is in them
_VOID = {"meta", "input", "br"}


class Markup(str):
    """Text that is HTML already, and as long as it is."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | Iterable[Child] | None"


def tag(name: str, /, *children: Child, **attributes: Any) -> Markup:
    """One element. An attribute that is None or False is left out, one that is True has no value."""
    words = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None and value is not False)
    inside = join(*children)
    if not inside and name in _EMPTY:
        return Markup(f"<{name}{words}/>")
    return Markup(f"<{name}{words}>" if name in _VOID else f"<{name}{words}>{inside}</{name}>")


def join(*children: Child) -> Markup:
    """Several one behind the other."""
    return Markup("".join(_text(child) for child in children))


def _text(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, (str, int, float)):
        return escape(clean(str(child)), quote=False)
    return join(*child)


def _attribute(key: str, value: Any) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{value if isinstance(value, Markup) else escape(clean(str(value)))}"'


def clean(text: str, longest: int = 2000) -> str:
    """One printable line of at most that many characters; what was cut off is said by an ellipsis."""
    line = text if text.isprintable() else one_line(text[: longest + 1])
    return line if len(line) <= longest else line[: longest - 1] + "…"


def shown(value: Any) -> str:
    """A value as a cell has it: a dash for what is not known, two decimals at most."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Child]], *, id: str | None = None) -> Markup:
    """A table that scrolls inside its own container; the first cell of each row is its header, numbers stand right."""
    body = [tag("tr", tag("th", row[0], scope="row"), [_cell(cell) for cell in row[1:]]) for row in rows[:MAX_ROWS]]
    more = tag("p", f"{len(rows) - MAX_ROWS} more rows are in the journals.", class_="note") if len(rows) > MAX_ROWS else None
    whole = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", [tag("th", name, scope="col") for name in head])),
        tag("tbody", body),
        id=id,
    )
    return join(tag("div", whole, class_="scroll", role="region", aria_label=caption, tabindex="0"), more)


def _cell(cell: Child) -> Markup:
    value = cell is None or isinstance(cell, (int, float))
    return tag("td", shown(cell) if value else cell, class_="n" if value and not isinstance(cell, bool) else None)


def facts(rows: Iterable[tuple[str, Child]]) -> Markup:
    """Names and what they are."""
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in rows])


def commands(*lines: str) -> Markup:
    """Lines to be typed."""
    return tag("pre", Markup("\n".join(map(join, lines))), tabindex="0")


def details(summary: str, *children: Child, id: str | None = None) -> Markup:
    return tag("details", tag("summary", summary), children, id=id)
