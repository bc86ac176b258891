"""SECURITY.md promises nothing without a test, and no dependency is here without a reason."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from tests.security.test_dependencies import script

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ADVERSARIES = ("A hostile device", "A hostile bundle", "A hostile lab file", "Other users of the host")
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def between(name: str, text: str) -> str:
    """The part of a page that is marked by this name."""
    return text.partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of each row of every table, without its head."""
    lines = [line.strip().strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in cells] for cells in lines if cells[-1].strip() not in ("test", "upkeep")]


@functools.cache
def functions_of(name: str) -> frozenset[str]:
    """The functions of a test file; none where there is no such file."""
    path = ROOT / "tests" / name
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def unkept(text: str) -> list[str]:
    """Promises without three cells or without a test, and tests that do not exist."""
    wrong = []
    for cells in rows(between("threats", text)):
        named = TEST.findall(cells[-1])
        wrong += [cells[0]] if len(cells) != 3 or not named or TEST.sub("", cells[-1]).strip() else []
        wrong += [f"{file}::{test}" for file, test in named if test not in functions_of(file)]
    return wrong


def test_every_promise_has_a_test() -> None:
    """Each line of each adversary's table names tests that are there."""
    assert unkept(TEXT) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("| try | stop | `security/test_document.py::test_that_is_none` |", "security/test_document.py::test_that_is_none"),
        ("| try | stop | `security/test_nothing.py::test_x` |", "security/test_nothing.py::test_x"),
        ("| try | stop | by review |", "try"),
        ("| try | stop |", "try"),
    ],
)
def test_a_promise_without_a_test_is_found(line: str, found: str) -> None:
    """The negative control: a name that is wrong, a file that is not there, words in place of a test."""
    assert unkept(f"<!-- threats -->\n| what | what | test |\n|---|---|---|\n{line}\n<!-- /threats -->") == [found]


def test_all_four_adversaries_are_there() -> None:
    """Each has a table of its own, and what is not protected has a section."""
    parts = dict(zip(*[iter(re.split(r"^## (.+)$", TEXT, flags=re.MULTILINE)[1:])] * 2, strict=True))
    assert [name for name in ADVERSARIES if len(rows(parts[name])) < 5] == []
    assert len(parts["What is not protected"].split("\n- ")) > 5


def test_every_dependency_has_its_reason() -> None:
    """What pyproject.toml asks for, to run, build and test, stands in the table with licence and upkeep."""
    plain = script("lock").plain
    told = {plain(cells[0].strip("`")): cells for cells in rows(between("dependencies", TEXT))}
    asked = {plain(re.split(r"[^A-Za-z0-9._-]", each)[0]) for each in script("lock").requirements()}
    assert asked - set(told) == set()
    assert [name for name, cells in told.items() if len(cells) != 4 or not all(cells)] == []
