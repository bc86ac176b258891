"""`runner help`: every topic fits a terminal, and what it says of commands and outcomes is true."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import pytest

from runner.cli.help import title_of, topics
from runner.cli.main import COMMANDS, cli
from runner.model.outcome import TABLE

Runner = Callable[..., Any]
TOPICS = topics()

every_topic = pytest.mark.parametrize("name", TOPICS)


def test_without_a_word_every_topic_is_listed_in_one_line(runner: Runner) -> None:
    """Name and what it is about, in a terminal's width; the same for a program."""
    said = runner("help")
    assert said.exit_code == 0
    for name, path in TOPICS.items():
        assert re.search(rf"^{name} +{re.escape(title_of(path))}$", said.out, re.MULTILINE)
    assert max(map(len, said.out.splitlines())) <= 80
    assert [row["topic"] for row in runner("--json", "help").json["topics"]] == list(TOPICS)


WANTED = ("exit-codes", "labs", "leases", "links", "resume", "power-cuts", "findings", "verdicts", "environment", "ci")


@pytest.mark.parametrize("name", WANTED)
def test_what_people_ask_for_is_there(name: str) -> None:
    """The topics that nobody may take away."""
    assert name in TOPICS


@every_topic
def test_a_topic_fits_a_terminal(runner: Runner, name: str) -> None:
    """At most 80 wide and 60 long, as it is printed."""
    lines = runner("help", name).out.splitlines()
    assert len(lines) <= 60
    assert [line for line in lines if len(line) > 80] == []
    assert lines[1] == ""


@every_topic
def test_a_topic_refers_only_to_what_there_is(name: str) -> None:
    """`See also` leads to topics."""
    text = TOPICS[name].read_text(encoding="utf-8")
    assert set(re.findall(r"runner help ([a-z-]+)", text)) <= set(TOPICS)


def command_lines(text: str) -> list[list[str]]:
    """The words of each `runner …` that stands in a text, up to the gap before a remark."""
    found = re.findall(r"(?:^ *|[`(|] ?|&& )runner ((?:[^`\s)&|]+ ?)+)", text, re.MULTILINE)
    return [line.split() for line in found]


def wrong_in(text: str) -> list[str]:
    """Commands and options of a text that do not exist."""
    wrong = []
    for words in command_lines(text):
        command: click.Command = cli
        context = click.Context(cli)
        known = {"--json", "--lab", "--help", "--version"}
        for word in words:
            if not isinstance(command, click.Group) or word.startswith("-"):
                break
            found = command.get_command(context, word)
            if found is None:
                wrong.append(f"runner {' '.join(words)}: no command {word!r}")
                break
            command = found
        known |= {name for parameter in command.params for name in parameter.opts}
        ours = words[: words.index("--")] if "--" in words else words
        wrong += [f"runner {' '.join(words)}: no option {word}" for word in ours if word.startswith("--") and word not in known]
    return wrong


@every_topic
def test_every_command_that_a_topic_shows_exists(name: str) -> None:
    """With each of its options."""
    assert wrong_in(TOPICS[name].read_text(encoding="utf-8")) == []


def shown_by(texts: Iterable[str]) -> set[str]:
    """The commands that these texts show, each as the words that lead to it."""
    found = set()
    for words in (words for text in texts for words in command_lines(text)):
        command: click.Command = cli
        for place, word in enumerate(words, 1):
            inner = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
            if inner is None:
                break
            command = inner
            found.add(" ".join(words[:place]))
    return found


def test_every_command_on_a_device_or_a_profile_is_in_a_topic() -> None:
    """Those that somebody needs in a hurry are found by `runner help` alone; a text that shows none is seen through."""
    shown = shown_by(path.read_text(encoding="utf-8") for path in TOPICS.values())
    for group in ("device", "profile"):
        command = cli.get_command(click.Context(cli), group)
        assert isinstance(command, click.Group)
        assert {f"{group} {name}" for name in command.list_commands(click.Context(command)) if name != "show"} <= shown
    assert shown_by(["A title.\n\nNo command.\n"]) == set()


@pytest.mark.parametrize("word", ["profile", "guard", "quarantine", "revert", "check", "bandwidth", "offline", "jamming"])
def test_the_topic_of_links_speaks_of(runner: Runner, word: str) -> None:
    """What a fault over a link is, who takes it back, and what becomes of a device that is not as it was."""
    assert word in runner("help", "links").out


@pytest.mark.parametrize("command", ["runner device revert ", "runner device check "])
def test_the_topic_of_devices_names_the_way_back(runner: Runner, command: str) -> None:
    """Of a device that a dead run has left its fault on."""
    assert command in runner("help", "devices").out


@pytest.mark.parametrize("line", ["    runner exce EDGE-002", "say `runner run verfy RUN`", "    runner device power x --force    at once"])
def test_a_command_that_is_none_is_found(line: str) -> None:
    """The negative control."""
    assert len(wrong_in(f"A title.\n\n{line}\n")) == 1


def test_the_exit_codes_are_those_of_the_table(runner: Runner) -> None:
    """Each row of model/outcome.py stands in the topic, in its words; none is copied into the text."""
    said = runner("help", "exit-codes").out
    for name, row in TABLE.items():
        (line,) = [line for line in said.splitlines() if line.startswith(name.replace("_", " ") + "  ")]
        cells = [row.exit_code, row.status or "-", row.verdict or "-", row.junit or "-"]
        assert line.removeprefix(name.replace("_", " ")).split() == [str(cell) for cell in cells]
    assert "must hold failed badly" not in TOPICS["exit-codes"].read_text(encoding="utf-8")


def test_a_topic_may_be_typed_as_one_speaks(runner: Runner) -> None:
    """With blanks or capitals."""
    assert runner("help", "Exit", "codes") == runner("help", "exit-codes")


def test_a_wrong_topic_is_answered_with_the_nearest(runner: Runner) -> None:
    """Exit 2, and where the list is."""
    said = runner("--json", "help", "lease")
    assert (said.exit_code, said.json["error"]["do"]) == (2, "runner help")
    assert "did you mean 'leases'?" in said.json["error"]["found"]


@pytest.mark.parametrize("words", [("exec",), ("run", "list"), ("finding", "export", "csv"), ("device",)], ids=" ".join)
def test_the_help_of_a_command_is_its_own(runner: Runner, words: tuple[str, ...]) -> None:
    """`runner help run list` says what `runner run list --help` says."""
    assert runner("help", *words).out.strip() == runner(*words, "--help").out.strip()


def test_no_command_hides_a_topic() -> None:
    """One word, one meaning: only `completion` is both, and the topic says what the command does."""
    assert set(COMMANDS) & set(TOPICS) == {"completion"}


def test_topics_lie_inside_the_package() -> None:
    """So that a wheel carries them: hatch packs all of `runner/`."""
    import runner as package

    assert package.__file__
    assert all(path.is_relative_to(Path(package.__file__).parent) for path in TOPICS.values())
