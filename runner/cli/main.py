"""`runner`: every subcommand by name, imported only when it is used, so that `--help` stays instant.

This file, and what it imports from `runner.cli`, is the only code that prints or exits.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner import __version__
from runner.cli.output import Output, lose, settled
from runner.errors import AskError, LabError, RunnerError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS: dict[str, tuple[str, str]] = {
    "exec": ("runner.cli.exec:exec_", "Run an entry of the roadmap on a device."),
    "run": ("runner.cli.run:run", "Runs: list, show, verify, archive, prune, export; attach to one, cancel it, resume it."),
    "report": ("runner.cli.run:report", "Make a run's conclusions again from its folder."),
    "finding": ("runner.cli.finding:finding", "List, show and settle findings; gather, export, import them."),
    "entry": ("runner.cli.entry:entry", "The roadmap: list, show, next; make, check and brief an entry."),
    "device": ("runner.cli.device:device", "List and show devices; their power, shell, console, host keys and health."),
    "profile": ("runner.cli.show:profile", "List and show profiles; try them on a device."),
    "schema": ("runner.cli.lab:schema", "Print the JSON Schema of a lab file."),
    "init": ("runner.cli.lab:init", "Make a new lab, here or in a folder."),
    "doctor": ("runner.cli.lab:doctor", "Say what this machine can do, and what is missing."),
    "help": ("runner.cli.help:help_", "Explain a topic: exit-codes, labs, leases, power-cuts …"),
    "completion": ("runner.cli.completion:completion", "Print the completion script of bash, zsh or fish."),
}
HELP = {"-h", "--help", "--version"}
COMPLETE = "_RUNNER_COMPLETE"  # a shell asks what the Tab key offers


class Interrupted(RunnerError):
    """^C before a run had begun; one that has begun ends with a folder that says so."""

    kind = "interrupted"
    exit_code = 130


class Lazy(click.Group):
    """A group that imports a command's module when, and only when, it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:
            from runner.lab.yaml_source import nearest, one_of

            found = f"no command is called {args[0]!r}{nearest(args[0], COMMANDS)}"
            raise AskError(found, expected=one_of(COMMANDS, args[0], "runner --help"), do="runner --help")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from runner.cli.completion import commands

        return [*commands(COMMANDS, incomplete), *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="runner")
@click.option("--lab", metavar="FOLDER", help="The lab to use (else RUNNER_LAB, else the nearest inventory.yaml, else the built-in one).")
@click.option("--json", "as_json", is_flag=True, help="Standard output is exactly one JSON object, also on failure.")
@click.pass_context
def cli(ctx: click.Context, lab: str | None, as_json: bool) -> None:
    """Hurt edge devices on purpose, and prove what survived.

    Exit status: 0 passed · 1 a check failed · 2 your files or flags · 3 the lab · 4 our bug · 130 interrupted.
    """
    ctx.obj = Output(as_json, lab)


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script. Every ending goes through one place: a sentence or a JSON object, and the exit status."""
    os.umask(os.umask(0o077) | 0o022)  # whatever it says, nobody else may write to what we make
    if COMPLETE in os.environ:
        from runner.cli.completion import answer

        answer(cli)
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    as_json = "--json" in words
    if as_json:
        words = ["--json", *(word for word in words if word != "--json")]  # it may stand anywhere
    output, began_s = Output(as_json, None), time.time()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # asked to end is asked to end, however it is said
    status = _ended(words, output, began_s)
    try:
        settled()
    except RunnerError as error:
        Output(False, None).fail(error)  # a sentence also with --json: its one object would go where the rest did not
        status = status or error.exit_code
    sys.exit(status)


def _ended(words: list[str], output: Output, began_s: float) -> int:
    """Runs the command; its exit status, everything said."""
    try:
        return _run(words, output)
    except (click.Abort, KeyboardInterrupt):
        output.note("")  # behind the terminal's ^C
        output.fail(Interrupted("interrupted"))
        return Interrupted.exit_code
    except BrokenPipeError as error:  # nobody reads a help text or a list any more; a run's own output never comes here
        lose(error, sys.stdout)
        return 0
    except Exception as error:
        if isinstance(error, OSError) and _printing(error):
            lose(error, sys.stdout)  # `settled` says so
            return LabError.exit_code
        from runner.cli.endings import ours

        said = ours(error, _runs(words), began_s)
        if said.__cause__ is error:  # our bug: nothing else has a traceback
            import traceback

            output.note("".join(traceback.format_exception(error)).rstrip())  # made plain: it may hold a device's words
        output.fail(said)
        return said.exit_code


def _run(words: list[str], output: Output) -> int:
    """The command itself. Asked for a help text together with --json, that is the one object."""
    if "" in words:
        before = ["runner", *words][words.index("")]
        raise AskError(f"the word behind {before!r} is empty", expected="a name or a value", do="look for a variable that is not set")
    if not (output.as_json and HELP & set(words)):
        return _command(words)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = _command(words)
    if said.getvalue().startswith("{"):  # the word was the value of an option, and the command has answered
        output.write(said.getvalue())
        return status
    if "--version" in words and not {"-h", "--help"} & set(words):
        return output.result({"version": __version__}, "", status)
    return output.result({"help": said.getvalue()}, "", status)


def _command(words: list[str]) -> int:
    """As click's `main` does it, which ends the process with 1 where nobody reads any more."""
    try:
        with cli.make_context("runner", list(words)) as context:
            status = cli.invoke(context)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    return status if isinstance(status, int) else 0


def _printing(error: OSError) -> bool:
    """Whether it is click's own printing, of a help text, that met the error."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code is click.echo.__code__


def _runs(words: list[str]) -> Path | None:
    """Where this command's runs go, as far as that can be known."""
    from runner.lab.where import find_lab

    with contextlib.suppress(RunnerError, OSError):
        return find_lab(words[words.index("--lab") + 1] if "--lab" in words[:-1] else None).runs
    return None
