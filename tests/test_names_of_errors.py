"""Errors are told apart by their names, wherever they are caught."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import runner


def test_no_two_errors_have_one_name() -> None:
    """A name says what was refused, lost or denied; two rooms with one word for two things would be read as one. What begins with an
    underscore never leaves its file."""
    named: Counter[str] = Counter()
    for path in Path(runner.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any(_is_error(base) for base in node.bases):
                named[node.name] += 1
    assert named["LinkRefused"] == named["JournalRefused"] == named["ExecutionRefused"] == 1
    assert [name for name, times in named.items() if times > 1 and not name.startswith("_")] == []


def _is_error(base: ast.expr) -> bool:
    word = base.id if isinstance(base, ast.Name) else base.attr if isinstance(base, ast.Attribute) else ""
    return word.endswith(("Error", "Exception", "Lost", "Refused", "Broken", "Promise"))
