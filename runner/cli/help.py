"""`help TOPIC`: what one needs to know at a terminal, in a page of it. The texts lie in `topics/`, one file each.

The first line of a file says what it is about and stands in the list; `{outcomes}` becomes the table of `model/outcome.py`.
"""

from __future__ import annotations

from pathlib import Path

import click

from runner.cli.output import Output, columns
from runner.errors import AskError

FOLDER = Path(__file__).parent / "topics"


@click.command("help")
@click.argument("words", nargs=-1, metavar="[TOPIC|COMMAND…]")
@click.pass_context
def help_(ctx: click.Context, words: tuple[str, ...]) -> int:
    """Explain a TOPIC, or how COMMAND is used; without a word, list the topics."""
    output: Output = ctx.obj
    found = topics()
    if not words:
        rows = {name: title_of(path) for name, path in found.items()}
        text = "\n".join(f"{name:<{max(map(len, rows))}}  {title}" for name, title in rows.items())
        listed = [{"topic": name, "title": title} for name, title in rows.items()]
        return output.result({"topics": listed}, f"{text}\n\nnext: runner help TOPIC, or runner help COMMAND")
    name = " ".join(words).lower().replace(" ", "-").replace("_", "-")
    if name in found:
        text = text_of(found[name])
        return output.result({"topic": name, "title": title_of(found[name]), "text": text}, text)
    return _of_command(ctx, output, words, found)


def topics() -> dict[str, Path]:
    """Each topic's file by its name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.txt"))}


def title_of(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].rstrip(".")


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8").rstrip().replace("{outcomes}", outcomes())


def outcomes() -> str:
    """The table of everything that a run can come to, as it is applied."""
    from runner.model.outcome import TABLE

    rows = [(name.replace("_", " "), row.exit_code, row.status or "-", row.verdict or "-", row.junit or "-") for name, row in TABLE.items()]
    return columns(("what happened", "exit", "status", "verdict", "JUnit"), rows)


def _of_command(ctx: click.Context, output: Output, words: tuple[str, ...], found: dict[str, Path]) -> int:
    """`runner help run list` is `runner run list --help`. Raises AskError, with the nearest name, for what is neither."""
    from runner.lab.yaml_source import nearest, one_of

    context = ctx.find_root()
    for word in words:
        group = context.command
        command = group.get_command(context, word) if isinstance(group, click.Group) else None
        if command is None:
            known = [*found, *(group.list_commands(context) if isinstance(group, click.Group) else [])]
            asked = f"no topic and no command is called {' '.join(words)!r}{nearest(word, known)}"
            raise AskError(asked, expected=one_of(found, word, "runner help") + ", or a command", do="runner help")
        context = click.Context(command, context, word)
    text = context.get_help()
    return output.result({"command": context.command_path, "text": text}, text)
