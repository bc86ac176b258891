"""`run export`: a run for other programs, to a file or to standard output."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click

from runner.cli.output import Output, lose
from runner.errors import AskError
from runner.judgement.export import FORMATS, TEXT, export


@click.command("export")
@click.argument("name", metavar="RUN")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    required=True,
    help="otlp: trace, metrics and findings as JSON lines; openmetrics: for Prometheus; parquet: a row per reading; ctrf: the checks.",
)
@click.option("--output", "file", metavar="FILE|-", default="-", help="Where to (default: standard output).")
@click.pass_obj
def run_export(output: Output, name: str, form: str, file: str) -> int:
    """RUN's telemetry, trace and checks in a format that other programs read. Runs the folder's checks.py."""
    from runner.judgement.conclude import conclude
    from runner.lab.folder import RunFolder

    lab = output.lab(quiet=file == "-")
    if file == "-" and output.as_json:
        do = f"runner --json run export {shlex.quote(name)} --format {form} --output FILE"
        raise AskError("--json and the export both want standard output", expected="--output FILE", where="--output", do=do)
    if file == "-" and form not in TEXT and sys.stdout.isatty():
        raise AskError(f"{form} is nothing to look at", expected="--output FILE, or a pipe", where="--output", do="--output FILE")
    folder = RunFolder.find(lab.runs, name)
    with output.waiting(f"{folder.run_id} to be judged"):
        conclusion = conclude(folder, folder.completed_at)
    pieces = export(conclusion, form)
    if file == "-":
        try:
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        except OSError as error:
            lose(error, sys.stdout)
        return 0
    with output.waiting(f"{file} to be written"):
        written = _write(Path(file), pieces)
    return output.result({"run_id": folder.run_id, "format": form, "file": file, "bytes": written}, f"{written} bytes of {form} in {file}")


def _write(path: Path, pieces: Iterator[bytes]) -> int:
    """The file, whole or not at all; its length. Raises AskError when it cannot be written; what was there stays then."""
    if path.exists() and not path.is_file():
        raise AskError(f"{path} is no file", expected="--output FILE, or - for standard output")
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as out:
            written = sum(out.write(piece) for piece in pieces)
        os.replace(part, path)
    except OSError as error:
        there = path.parent.is_dir()
        do = "free or grant the place" if there else f"make the folder, or name another: mkdir -p {shlex.quote(str(path.parent))}"
        raise AskError(f"{path} cannot be written: {error.strerror}", expected="a folder that is there", where="--output", do=do) from error
    finally:
        with suppress(OSError):
            part.unlink()
    return written
