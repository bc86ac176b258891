"""`run`, `report`: look at runs, and make their derived files again."""

from __future__ import annotations

from typing import Any

import click

from runner.cli.output import Output, columns
from runner.errors import AskError


class RunGroup(click.Group):
    """Knows that people type `runner run EDGE-002` and mean `runner exec EDGE-002`."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            do = f"runner exec {' '.join(args)}"
            raise AskError(f"`runner run` has no command {args[0]!r}", expected="list or show", do=do)
        return super().resolve_command(ctx, args)


@click.group(cls=RunGroup)
def run() -> None:
    """List and show runs."""


@run.command("list")
@click.pass_obj
def run_list(output: Output) -> int:
    """Every run of this lab, oldest first."""
    from runner.lab.folder import RunFolder, read_json

    rows: list[dict[str, Any]] = []
    for folder in RunFolder.every(output.lab().runs):
        row = {"run_id": folder.run_id, "entry": folder.root.parent.name, "run_dir": str(folder.root)}
        try:
            about = read_json(folder.findings)["metadata"]
            device = read_json(folder.run_config)["test_parameters"]["device"]
            said = {"status": about["status"], "verdict": about.get("verdict", ""), "summary": about.get("summary", "")}
            rows.append({**row, "device": device, **said})
        except (AskError, KeyError, TypeError) as error:  # one damaged folder does not hide the others
            rows.append({**row, "device": "?", "status": "unreadable", "verdict": "", "summary": str(error).partition("\n")[0]})
    keys = ("run_id", "entry", "device", "status", "verdict", "summary")
    text = columns(keys, [[row[key] for key in keys] for row in rows]) if rows else "no run yet: runner exec EDGE-002"
    return output.result({"runs": rows}, text)


@run.command("show")
@click.argument("name")
@click.pass_obj
def run_show(output: Output, name: str) -> int:
    """One run's report: NAME is a run id, ENTRY/run id, or a folder."""
    from runner.judgement.conclude import conclude
    from runner.lab.folder import RunFolder, read_json

    folder = RunFolder.find(output.lab().runs, name)
    conclusion = conclude(folder, read_json(folder.findings)["metadata"]["completed_at"])
    return output.result({"run": conclusion.as_json()}, folder.final_report.read_text(encoding="utf-8"))


@click.command()
@click.argument("name")
@click.pass_obj
def report(output: Output, name: str) -> int:
    """Make NAME's findings, report and metrics again from its journals. Exits 0 or 1 as the verdict says, 3 without one."""
    from runner.clock import SystemClock, iso
    from runner.judgement import report as writer
    from runner.judgement.conclude import conclude
    from runner.lab.folder import RunFolder

    lab = output.lab()
    folder = RunFolder.find(lab.runs, name)
    conclusion = conclude(folder, iso(SystemClock().wall_ns()))
    writer.write(folder, conclusion)
    verdict = (conclusion.outcome.verdict or conclusion.outcome.status or "").replace("_", " ").upper()
    text = f"{verdict} · {conclusion.reason}\n{lab.shown(folder.final_report)}"
    code = min(conclusion.outcome.exit_code, 3)
    return output.result({**conclusion.as_json(), "exit_code": code}, text, code)
