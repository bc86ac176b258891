"""scripts/terminal_svg.py: a picture of what was printed, and of nothing else."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "terminal_svg.py"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("terminal_svg", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn(picture: str) -> list[str]:
    return ["".join(text.itertext()).replace("\N{NO-BREAK SPACE}", " ") for text in ET.fromstring(picture).iter(f"{SVG}text")]


def test_a_command_is_run_on_a_terminal_and_drawn(script: ModuleType, tmp_path: Path) -> None:
    """The typed line, then what it printed, spaces and all."""
    said = "import sys; print(sys.stdout.isatty(), ' two  spaces', '<&>')"
    assert script.main(str(tmp_path / "it.svg"), [sys.executable, "-c", said]) == 0
    typed, *printed = drawn((tmp_path / "it.svg").read_text(encoding="utf-8"))
    assert typed.startswith("$ ")
    assert printed[-1].endswith("True  two  spaces <&>")


def test_a_command_that_fails_gives_its_status_and_no_picture(script: ModuleType, tmp_path: Path) -> None:
    """The negative control: an old picture is not replaced by an error message."""
    assert script.main(str(tmp_path / "it.svg"), [sys.executable, "-c", "raise SystemExit(3)"]) == 3
    assert not (tmp_path / "it.svg").exists()


def test_what_steers_a_terminal_is_not_drawn_and_long_lines_go_on_below(script: ModuleType) -> None:
    """Neither colours nor titles nor carriage returns."""
    lines = script.lines_of(["a", "b c"], "\x1b[1;31mred\x1b[0m\r\n\x1b]0;title\x07" + "x" * 100 + "\r\n")
    assert lines == ["$ a 'b c'", "red", "x" * script.COLUMNS, "x" * (100 - script.COLUMNS)]


def test_the_picture_needs_nothing_from_elsewhere(script: ModuleType) -> None:
    """No link, script, style sheet or font; the verdict has a colour of its own."""
    picture = script.svg(["$ a", "PASS · all", "words"])
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")
    assert {element.tag.removeprefix(SVG) for element in ET.fromstring(picture).iter()} == {"svg", "title", "rect", "text"}
    assert len({text.get("fill") for text in ET.fromstring(picture).iter(f"{SVG}text")}) == 3
