"""What stands in the lease file, read as what it must be: SQLite keeps a word where a number was meant, and other programs can write.

    a cell ─► text · whole · an_id · parsed ─► a value, or ValueError in words

Nobody acts on a row that says what none of ours does.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

Kind = TypeVar("Kind", dict[str, Any], list[Any])
_ID = re.compile(r"[A-Za-z0-9 _-]{1,64}")  # an asker's id is part of a file's name


def text(cell: Any, what: str) -> str:
    if not isinstance(cell, str):
        raise ValueError(f"{what} is {_short(cell)}, and no text")
    return cell


def whole(cell: Any, what: str) -> int:
    if type(cell) is not int:
        raise ValueError(f"{what} is {_short(cell)}, and no whole number")
    return cell


def is_id(cell: Any) -> bool:
    return isinstance(cell, str) and _ID.fullmatch(cell) is not None


def an_id(cell: Any) -> str:
    if not isinstance(cell, str) or not is_id(cell):
        raise ValueError(f"{_short(cell)} is no id of an asker")
    return cell


def parsed(cell: Any, what: str, kind: type[Kind]) -> Kind:
    """The JSON that a cell holds, an object (`dict`) or a list."""
    try:
        said = json.loads(text(cell, what))
    except (ValueError, RecursionError):
        raise ValueError(f"{what} is {_short(cell)}, and no JSON") from None
    if not isinstance(said, kind):
        raise ValueError(f"{what} is {_short(cell)}, and no {'object' if kind is dict else 'list'}")
    return said


def _short(cell: Any) -> str:
    said = repr(cell[:40] if isinstance(cell, str | bytes) else cell)
    return said if len(said) <= 60 else said[:57] + "…"
