"""The pages and the code say the same: what is written exists, and every command that exists is written about."""

from __future__ import annotations

import pkgutil
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from runner.cli.main import COMMANDS, cli
from runner.farm.lease import MARGIN_S
from tests.kills.campaign import SUPERSEDED_EVERY

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "runner"
PAGES = [path for pattern in ("*.md", "docs/[a-z]*.md", "docs/faults/*.md", "[a-z]*/README.md") for path in sorted(ROOT.glob(pattern))]
README, ARCHITECTURE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "ARCHITECTURE.md"))
BLOCK = re.compile(r"^ *```[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def code(text: str) -> list[str]:
    """What stands in a page as code: lines of blocks, and spans."""
    return [line for block in BLOCK.findall(text) for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))


# ---- figures ------------------------------------------------------------------------------------------------------------


ORDINALS = {2: "second", 3: "third", 4: "fourth", 5: "fifth"}


@every_page
def test_the_margin_of_a_lease_is_the_one_in_the_code(page: Path) -> None:
    """Wherever a page gives it in seconds: whoever writes a power driver keeps below it."""
    said = re.findall(r"margin of (\d+) s", page.read_text(encoding="utf-8"))
    assert {float(one) for one in said} <= {MARGIN_S}


def test_a_page_gives_the_margin_of_a_lease() -> None:
    """So that the test above looks at something."""
    assert "margin of" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_how_often_another_run_takes_the_device_is_what_the_campaign_does() -> None:
    """In the page on kills, as an ordinal."""
    text = " ".join((ROOT / "docs" / "surviving.md").read_text(encoding="utf-8").split())
    assert f"in every {ORDINALS[SUPERSEDED_EVERY]} chain another run takes the device" in text


# ---- commands -----------------------------------------------------------------------------------------------------------


def below(command: click.Command) -> dict[str, click.Command]:
    """The commands of a group; nothing below any other command."""
    if command is cli:
        targets = {name: target.partition(":") for name, (target, _) in COMMANDS.items()}
        return {name: getattr(import_module(module), attribute) for name, (module, _, attribute) in targets.items()}
    return command.commands if isinstance(command, click.Group) else {}


def every_command(command: click.Command = cli, words: str = "") -> Iterator[str]:
    """Each command that does something, by its words."""
    for name, inner in below(command).items():
        yield from every_command(inner, f"{words}{name} ") if isinstance(inner, click.Group) else [words + name]


def complaints(text: str) -> list[str]:
    """Each `runner …` in a page's code whose words are no command, or whose options are not that command's."""
    wrong = []
    for said in (said for line in code(text) for said in re.findall(r"(?:^|[$&;(] ?)runner ((?:[a-z]|--)[^#|&;)…]*)", line)):
        command, known = cli, {"--json", "--lab", "--help", "--version"}
        for word in (word for word in said.split() if not word.startswith("-")):
            if not isinstance(command, click.Group):
                break
            if word not in below(command):
                wrong.append(f"runner {said}: no command {word!r}")
                break
            command = below(command)[word]
        known |= {option for parameter in command.params for option in parameter.opts}
        wrong += [f"runner {said}: no option {word}" for word in re.findall(r"(?<!\S)--[a-z-]+", said) if word not in known]
    return wrong


@every_page
def test_every_command_that_a_page_shows_exists(page: Path) -> None:
    """In examples and in sentences, with each of its options."""
    assert complaints(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("line", ["runner exce EDGE-002", "runner run verfy RUN", "cd x && runner finding list --severty low"])
def test_a_command_that_is_none_is_found(line: str) -> None:
    """The negative control, in a block and in a sentence."""
    assert len(complaints(f"```console\n$ {line}\n```\n")) == len(complaints(f"say `{line}`")) == 1


def undocumented(table: str) -> set[str]:
    """Commands that no code in the text begins with."""
    spans = [span.removeprefix("runner ") + " " for span in code(table)]
    return {command for command in every_command() if not any(span.startswith(command + " ") for span in spans)}


def test_no_command_is_undocumented() -> None:
    """The README's table names each command there is."""
    table = README.partition("\n## The commands\n")[2].partition("\n## ")[0]
    assert undocumented(table) == set()
    assert undocumented(table.replace("run verify", "run very")) == {"run verify"}  # the negative control


def test_the_demo_says_how_long_it_takes() -> None:
    """On the page, before it is typed, and by itself, before it runs: on a board and without one."""
    for text in (README, (ROOT / "scripts" / "demo").read_text(encoding="utf-8")):
        assert ("two minutes" in text, "about ten seconds" in text) == (True, True)


# ---- links and paths ------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """A page's headings as GitHub makes links of them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE) if page.suffix == ".md" else []
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_every_link_resolves(page: Path) -> None:
    """Relative links and pictures lead to files of this repository, and to headings that are there."""
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    for name, _, place in (link.partition("#") for link in links if "://" not in link):
        target = page.parent / name if name else page
        assert target.is_file(), name
        assert not place or place in anchors(target), f"{name}#{place}"


@pytest.mark.parametrize("name", sorted({span for span in code(ARCHITECTURE) if re.fullmatch(r"[\w./-]*\w(\.py|\.md|\.yaml|/)", span)}))
def test_every_path_that_the_architecture_names_exists(name: str) -> None:
    """From the repository's root, from `runner/`, or inside one room."""
    assert any((place / name).exists() for place in (ROOT, PACKAGE, *PACKAGE.iterdir()))


DOTTED = re.compile(r"`((?:story|judgement|farm|faults|target|lab|model)\.(?!py`)[\w.]+)`")


@pytest.mark.parametrize("name", sorted(set(DOTTED.findall(ARCHITECTURE))))
def test_every_name_that_the_architecture_names_exists(name: str) -> None:
    """`story.plan.make_plan` is a function of that module, `farm.lease` a module."""
    assert pkgutil.resolve_name(f"runner.{name}")


@every_page
def test_prose_is_at_most_130_wide(page: Path) -> None:
    """Rows of tables, and what a program printed, may be wider."""
    prose = BLOCK.sub("", page.read_text(encoding="utf-8")).splitlines()
    assert [line for line in prose if len(line) > 130 and not line.startswith("|")] == []


INSTALL = re.compile(r"pip install (?:-\S+ )*(['\"]?)(\.|stageflow-runner)(?:\[([\w-]+)\])?\1")


def installs() -> Iterator[tuple[str, str, str]]:
    """(file, what is installed, its extra) of every line in a page, a topic or our code that says how to install this product."""
    for path in (*PAGES, *sorted(PACKAGE.rglob("*.py")), *sorted(PACKAGE.rglob("*.txt")), *sorted((ROOT / "scripts").glob("*.sh"))):
        yield from ((str(path.relative_to(ROOT)), what, extra) for _, what, extra in INSTALL.findall(path.read_text(encoding="utf-8")))


def test_what_is_said_about_installing_works_from_a_checkout() -> None:
    """No index has this product, so `pip install .`, with extras that pyproject.toml has."""
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    found = list(installs())
    assert {extra for _, _, extra in found} >= {"", "far-end", "keyring", "parquet", "passphrase"}
    assert [each for each in found if each[1] != "." or each[2] not in {"", *extras}] == []
    assert INSTALL.findall("pip install 'stageflow-runner[parquet]'") == [("'", "stageflow-runner", "parquet")]
