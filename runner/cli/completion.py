"""`completion`: what the Tab key offers.

    shell ── _RUNNER_COMPLETE=bash_complete COMP_WORDS=… ──► main ──► answer ──► click's parser: what stands at the cursor?
                                                                         └────► VALUES, ARGUMENTS: which names fit there?

Names come from the lab at hand, read as little as possible: files are not validated, so a broken lab still completes
what can be read of it. A Tab never prints an error, and what is not a plain name (a file called `$(reboot)`, or one with
an escape in it) is never offered to a shell.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete
from click.shell_completion import _resolve_context as context_of
from click.shell_completion import _resolve_incomplete as at_the_cursor

from runner.cli.output import Output
from runner.lab.where import Lab, find_lab

SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
HOW = {
    "bash": 'eval "$(runner completion bash)"   in ~/.bashrc (bash 4.4 or later)',
    "zsh": 'eval "$(runner completion zsh)"   in ~/.zshrc, behind compinit',
    "fish": "runner completion fish > ~/.config/fish/completions/runner.fish",
}
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@+-]*")
MOST = 1000  # names that are offered at once
MOST_NUMBERS = 20  # of a range; of a longer one none is offered
RUNS_READ, FILE_BYTES = 200, 4_000_000  # findings are looked for in so many runs, the newest first, and in files so large


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_obj
def completion(output: Output, shell: str) -> int:
    """Print the completion script of SHELL, for example: eval "$(runner completion bash)" """
    from runner.cli.main import COMPLETE, cli

    made = SHELLS[shell](cli, {}, "runner", COMPLETE)
    script = made.source_template % made.source_vars()  # `source()` would ask bash for its version, and print
    return output.result({"shell": shell, "script": script, "how": HOW[shell]}, f"# {HOW[shell]}\n{script}".rstrip())


def answer(cli: click.Command) -> None:
    """Answers a shell, and exits with 0. Nothing is said on standard error, and no error comes out, whatever the lab is like."""
    said = ""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere), contextlib.suppress(BaseException):
        shell, _, instruction = os.environ["_RUNNER_COMPLETE"].partition("_")
        if instruction == "complete":
            said = _complete(SHELLS[shell], cli)
    with contextlib.suppress(OSError):
        sys.stdout.write(said and f"{said}\n")
        sys.stdout.flush()
    sys.exit(0)


def _complete(shell: type[ShellComplete], cli: click.Command) -> str:
    made = shell(cli, {}, "runner", "")
    words, incomplete = made.get_completion_args()
    words = [word for word in words if word != "="]  # bash splits --device=pi in three
    items = offered(cli, words, incomplete)
    return "\n".join(made.format_completion(item) for item in items)


def offered(cli: click.Command, words: list[str], incomplete: str) -> list[CompletionItem]:
    """What fits behind `runner WORDS…` where `incomplete` has been typed already."""
    whole = words[:-1] if words and words[-1].startswith("-") else words  # an option that still lacks its value would hide the rest
    context = context_of(cli, {}, "runner", list(whole))
    what, incomplete = at_the_cursor(context, list(words), incomplete)
    names = _names_for(what, context) if isinstance(what, click.Parameter) else None
    kind = what.type if isinstance(what, click.Parameter) else None
    if isinstance(kind, click.Choice):  # as they are shown: click offers those in either case in small letters
        fold = str if kind.case_sensitive else str.lower
        return [CompletionItem(str(each)) for each in kind.choices if fold(str(each)).startswith(fold(incomplete))]
    if isinstance(kind, click.IntRange) and kind.min is not None and kind.max is not None and kind.max - kind.min < MOST_NUMBERS:
        every = map(str, range(int(kind.min), int(kind.max) + 1))
        return [CompletionItem(number) for number in every if number.startswith(incomplete)]
    if names is None:
        return what.shell_complete(context, incomplete)
    if isinstance(names, str):
        return [CompletionItem(incomplete, type=names)]
    fitting = (name for name in names(_Place(context)) if name.startswith(incomplete) and SAFE.fullmatch(name))
    return [CompletionItem(name) for name in itertools.islice(dict.fromkeys(fitting), MOST)]


def commands(table: Mapping[str, tuple[str, str]], incomplete: str) -> list[CompletionItem]:
    """The commands of a table, without importing any of them."""
    return [CompletionItem(name, help=text) for name, (_, text) in table.items() if name.startswith(incomplete)]


class _Place:
    """Where names are looked for: the lab that is meant, and the words that stand on the line already."""

    def __init__(self, context: click.Context) -> None:
        self.lab: Lab = find_lab(context.find_root().params.get("lab"))
        self.said = context.params


def _devices(place: _Place) -> Iterable[str]:
    return _keys(place.lab.file("inventory.yaml"), "devices")


def _profiles(place: _Place) -> Iterable[str]:
    return [Path(name).stem for name in place.lab.names("profiles", "*.yaml")]


def _entries_here(place: _Place) -> Iterable[str]:
    from runner.lab.roadmap import here

    return here(place.lab)


def _entries(place: _Place) -> Iterable[str]:
    """Those that have a folder first, then the roadmap's, picked from its text: to parse all of it would be felt."""
    yield from _entries_here(place)
    roadmap = place.lab.file("pipelines/roadmap.yaml")
    yield from re.findall(r'^ *- *\{? *id: *"?([A-Za-z0-9-]+)', _text(roadmap) if roadmap else "", re.MULTILINE)


def _industries(place: _Place) -> Iterable[str]:
    """Words of their names: one is enough to choose by."""
    roadmap = place.lab.file("pipelines/roadmap.yaml")
    named = re.findall(r'\bindustry: *"?([^",}\n]+)', _text(roadmap) if roadmap else "")
    return sorted({word for name in named for word in re.findall(r"[A-Za-z]{3,}", name)})


def _scenarios(place: _Place) -> Iterable[str]:
    from runner.lab.load import folder_name

    chosen = place.said.get("entry")
    for entry in [chosen] if chosen else _entries_here(place):
        yield from _keys(place.lab.file(f"pipelines/{folder_name(entry)}/entry.yaml"), "scenarios")


def _runs(place: _Place) -> Iterator[str]:
    """Newest first, by the name that only one run has, and then by run ids."""
    from runner.lab.folder import RunFolder

    found = list(RunFolder.every(place.lab.runs))[::-1]
    yield from (f"{run.root.parent.name}/{run.run_id}" for run in found)
    yield from (run.run_id for run in found)


def _findings(place: _Place) -> Iterator[str]:
    """Ids of the newest runs first; those that several runs have are told apart as ENTRY/RUN/ID."""
    import json

    from runner.lab.folder import RunFolder

    for run in list(RunFolder.every(place.lab.runs))[: -RUNS_READ - 1 : -1]:
        with contextlib.suppress(ValueError, OSError, TypeError, KeyError):
            for finding in json.loads(_text(run.findings))["findings"]:
                yield from (str(finding["id"]), f"{run.root.parent.name}/{run.run_id}/{finding['id']}")


def _topics(place: _Place) -> Iterable[str]:
    from runner.cli.help import topics
    from runner.cli.main import COMMANDS

    return [*topics(), *COMMANDS]


Names = Callable[[_Place], Iterable[str]]
# What an option's value, and what the argument of a command, is a name of; `dir` and `file` are left to the shell.
OPTIONS: dict[str, Names | str] = {
    "--device": _devices, "--profile": _profiles, "--scenario": _scenarios, "--entry": _entries, "--lab": "dir", "--output": "file",
    "--industry": _industries,
}  # fmt: skip
ARGUMENTS: dict[str, Names | str] = {
    "exec": _entries_here, "run": _runs, "report": _runs, "finding": _findings, "entry": _entries, "device": _devices,
    "profile": _profiles, "help": _topics, "init": "dir", "finding import": "file",
}  # fmt: skip


def _names_for(what: click.Parameter, context: click.Context) -> Names | str | None:
    """The names that fit for one option or argument; None where click knows best (choices, flags)."""
    if isinstance(what.type, click.Choice):
        return None
    if isinstance(what, click.Option):
        return next((OPTIONS[name] for name in what.opts if name in OPTIONS), None)
    if what.name == "command":  # what is run on a device is the device's
        return None
    words = context.command_path.split()[1:]
    return ARGUMENTS.get(" ".join(words)) or ARGUMENTS.get(words[0])


def _keys(path: Path | None, key: str) -> list[str]:
    """The keys below one key of a YAML file, whatever else is wrong with it."""
    from runner.lab.yaml_source import Source

    found: Any = Source(path, "").data if path else None
    below = found.get(key) if isinstance(found, dict) else None
    return list(below) if isinstance(below, dict) else []


def _text(path: Path) -> str:
    """A file's text, up to a limit; nothing where it is no file."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(FILE_BYTES).decode("utf-8", "replace")
