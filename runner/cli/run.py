"""`run`, `report`: look at runs, make their derived files again, check their folders, and make old ones small."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli.export import run_export
from runner.cli.output import Output, columns
from runner.cli.under_way import run_attach, run_cancel, run_resume
from runner.errors import AskError

if TYPE_CHECKING:
    from runner.judgement.verify import Rule
    from runner.lab.archive import Fate
    from runner.lab.folder import RunFolder


class RunGroup(click.Group):
    """Knows that people type `runner run EDGE-002` and mean `runner exec EDGE-002`."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            from runner.lab.yaml_source import nearest

            if not nearest(args[0], self.commands):
                do = f"runner exec {' '.join(args)}"
                others = ", ".join(name for name in self.commands if name not in ("list", "show"))
                raise AskError(f"`runner run` has no command {args[0]!r}", expected=f"list or show; also {others}", do=do)
        return super().resolve_command(ctx, args)


@click.group(cls=RunGroup)
def run() -> None:
    """Runs: list, show, verify, archive, prune, export; attach to one, cancel it, resume it."""


@run.command("list")
@click.pass_obj
def run_list(output: Output) -> int:
    """Every run of this lab, oldest first."""
    from runner.judgement.damaged import damage
    from runner.lab.folder import RunFolder, read_json

    rows: list[dict[str, Any]] = []
    for folder in RunFolder.every(output.lab().runs):
        row = {"run_id": folder.run_id, "entry": folder.root.parent.name, "run_dir": str(folder.root)}
        if found := damage(folder):  # one damaged folder does not hide the others
            said = {"status": "unreadable", "verdict": "", "summary": str(found)}
            rows.append({**row, "device": "?", **said})
            continue
        about = read_json(folder.findings)["metadata"]
        device = read_json(folder.run_config)["test_parameters"]["device"]
        said = {"status": about["status"], "verdict": about.get("verdict", ""), "summary": about.get("summary", "")}
        rows.append({**row, "device": device, **said, **_killed(folder, said["status"])})
    keys = ("run_id", "entry", "device", "status", "verdict", "summary")
    text = columns(keys, [[row[key] for key in keys] for row in rows]) if rows else "no run yet: runner exec EDGE-002"
    return output.result({"runs": rows}, text)


def _killed(folder: RunFolder, status: str) -> dict[str, str]:
    """What is to be said of a run that calls itself under way, when nobody carries it out."""
    if status != "in_progress":
        return {}
    try:
        with folder.alone():
            return {"status": "killed", "summary": f"killed under way: runner run resume {folder.root.parent.name}/{folder.run_id}"}
    except AskError:
        return {}


@run.command("show")
@click.argument("name")
@click.pass_obj
def run_show(output: Output, name: str) -> int:
    """One run's report: NAME is a run id, ENTRY/run id, or a folder."""
    from runner.judgement.conclude import conclude
    from runner.lab.folder import RunFolder

    folder = RunFolder.find(output.lab().runs, name)
    if not folder.final_report.is_file():
        name = f"{folder.root.parent.name}/{folder.run_id}"
        raise AskError(f"{name} has no report", expected=str(folder.final_report), do=f"runner report {name}")
    with output.waiting(f"{folder.run_id} to be judged"):
        conclusion = conclude(folder, folder.completed_at)
    return output.result({"run": conclusion.as_json()}, folder.final_report.read_text(encoding="utf-8", errors="replace"))


@run.command("verify")
@click.argument("name")
@click.pass_obj
def run_verify(output: Output, name: str) -> int:
    """Hold NAME's folder against the format: which rule is broken, and where. Exits 1 when one is. Runs the folder's checks.py."""
    from runner.clock import SystemClock, iso
    from runner.judgement.damaged import damage
    from runner.judgement.verify import verify
    from runner.lab.folder import RunFolder

    folder = RunFolder.find(output.lab().runs, name)
    with output.waiting(f"{folder.run_id} to be held against every rule"):
        damaged = damage(folder)
        held = verify(folder, iso(SystemClock().wall_ns()))
    broken, idle = [one for one in held if one.problems], [one.rule.name for one in held if one.problems is None]
    told: dict[str, list[Rule]] = {}
    for one in broken:
        (found, where), *more = one.problems or ()
        said = found if where == "." or found.startswith(f"{where} ") else f"{where}: {found}"  # some rules name the file in their sentence
        told.setdefault(said + (f" (+{len(more)} more: --json)" if more else ""), []).append(one.rule)
    lines = [f"{said} [{_named(rules)}]" for said, rules in told.items()]
    lines.append(
        f"{folder.run_id}: {len(held) - len(broken) - len(idle)} rules hold, {len(broken)} broken, {len(idle)} do not apply: "
        f"{', '.join(idle) or '-'}"
    )
    lines += [f"damaged: {damaged.complaint.found}", f"next: {damaged.complaint.do}"] if damaged else []
    value = {"run_dir": str(folder.root), "rules": [one.as_json() for one in held], "damaged": str(damaged) if damaged else None}
    return output.result(value, "\n".join(lines), 1 if broken or damaged else 0)


def _named(rules: Sequence[Rule]) -> str:
    """Which rule is broken, and what it says; of several that are so by one cause their names alone."""
    return f"{rules[0].name}: {rules[0].sentence}" if len(rules) == 1 else ", ".join(rule.name for rule in rules)


@run.command("archive")
@click.argument("names", nargs=-1, metavar="[RUN]...")
@click.option("--older-than", default="90d", show_default=True, metavar="AGE", help="Only runs that ended so long ago: 90d, 12w, 36h.")
@click.option("--restore", is_flag=True, help="Put back what was archived of the named runs.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, with sizes, and do nothing.")
@click.pass_obj
def run_archive(output: Output, names: tuple[str, ...], older_than: str, restore: bool, dry_run: bool) -> int:
    """Compress what is not kept for ever: logs, traces, metrics and mock data of scale, of runs older than 90 days.

    Findings, reports, configuration, journals, pipelines and tests stay in the folder, which can still be judged.
    """
    from runner.clock import SystemClock
    from runner.lab import archive as archiving

    runs, now = output.lab().runs, SystemClock().wall_ns()
    if restore:
        return _restore(output, _chosen(runs, names) if names else [], dry_run)
    age_s = archiving.parse_age(older_than)
    with output.waiting("the runs to be looked at"):
        fates = archiving.plan_archive(runs, _chosen(runs, names), now, age_s)
    return _carry_out(output, fates, dry_run, "archive", lambda fate: archiving.archive(fate.run, fate.files, now))


@run.command("prune")
@click.argument("names", nargs=-1, metavar="[RUN]...")
@click.option("--older-than", default="365d", show_default=True, metavar="AGE", help="Only runs that ended so long ago: 365d, 52w.")
@click.option("--damaged", is_flag=True, help="Set the named runs aside, whole: those from which nothing can be concluded any more.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, with sizes, and do nothing.")
@click.pass_obj
def run_prune(output: Output, names: tuple[str, ...], older_than: str, damaged: bool, dry_run: bool) -> int:
    """Delete archives of old runs. Never a run folder, and nothing that a finding, a decision or a link refers to."""
    from runner.cli.damaged import put_aside, tell
    from runner.clock import SystemClock
    from runner.lab import archive as archiving

    runs, now = output.lab().runs, SystemClock().wall_ns()
    if damaged:
        return put_aside(output, _chosen(runs, names) if names else [], dry_run)
    tell(output, _chosen(runs, names))
    age_s = archiving.parse_age(older_than)
    with output.waiting("the runs to be looked at"):
        fates = archiving.plan_prune(runs, _chosen(runs, names), now, age_s)
    return _carry_out(output, fates, dry_run, "delete", lambda fate: archiving.prune(fate.run, now))


run.add_command(run_export)
for command in (run_attach, run_resume, run_cancel):
    run.add_command(command)


def _chosen(runs: Path, names: tuple[str, ...]) -> list[RunFolder]:
    """The runs that were named, or all. Only those of this lab: what refers to them is looked for there."""
    from runner.lab.folder import RunFolder

    found = [RunFolder.find(runs, name) for name in names] or list(RunFolder.every(runs))
    for folder in found:
        if not folder.root.resolve().is_relative_to(runs.resolve()):
            raise AskError(f"{folder.root} is no run of this lab", expected=f"a folder below {runs}", do="name its lab with --lab")
    return found


def _carry_out(output: Output, fates: list[Fate], dry_run: bool, verb: str, act: Callable[[Fate], int | None]) -> int:
    """Does to each run what was decided, or only tells. The first that fails ends it; what was done before stays done."""
    lines, rows = [], []
    said = f"would {verb}" if dry_run else f"{verb}d"
    for fate in fates:
        name = f"{fate.run.root.parent.name}/{fate.run.run_id}"
        done = None
        if not (dry_run or fate.left):
            with output.waiting(f"{name} to be {verb}d"):
                done = act(fate)
        if fate.left:
            lines.append(f"{name}: left: {fate.left}")
        else:
            became = f" → {done} bytes in {fate.run.archive}" if done is not None else ""
            lines.append(f"{name}: {said} {len(fate.files)} files, {fate.bytes} bytes{became}")
            lines += [f"    {size:>12}  {path}" for path, size in fate.files.items()] if dry_run else []
        files = [{"path": path, "bytes": size} for path, size in fate.files.items()]
        rows.append({"run_dir": str(fate.run.root), "left": fate.left, "bytes": fate.bytes, "files": files, "archive_bytes": done})
    gone = [fate for fate in fates if not fate.left]
    asked = f"{len(fates) - len(gone)} of {len(fates)} that it was asked of"
    lines.append(f"{said}: {len(gone)} runs, {sum(fate.bytes for fate in gone)} bytes; left: {asked}")
    return output.result({"dry_run": dry_run, "runs": rows}, "\n".join(lines))


def _restore(output: Output, chosen: list[RunFolder], dry_run: bool) -> int:
    from runner.lab.archive import contents, restore

    if not chosen:
        raise AskError("no run is named", expected="runner run archive --restore RUN", do="runner run list")
    back = {}
    for folder in chosen:
        with output.waiting(f"{folder.root.parent.name}/{folder.run_id} to be restored"):
            back[folder] = sorted(contents(folder.archive)) if dry_run and folder.archive.is_file() else restore(folder)
    rows = [{"run_dir": str(folder.root), "restored": names} for folder, names in back.items()]
    said = [
        f"{folder.root.parent.name}/{folder.run_id}: {'would be ' * dry_run}restored: {len(names)} files" for folder, names in back.items()
    ]
    return output.result({"dry_run": dry_run, "runs": rows}, "\n".join(said))


@click.command()
@click.argument("name")
@click.pass_obj
def report(output: Output, name: str) -> int:
    """Make NAME's findings, report and metrics again from its journals. Exits 0 or 1 as the verdict says, 3 without one."""
    from runner.cli.github import announce
    from runner.clock import SystemClock, iso
    from runner.judgement import report as writer
    from runner.judgement.conclude import conclude
    from runner.lab.folder import RunFolder

    lab = output.lab()
    folder = RunFolder.find(lab.runs, name)
    if folder.archive_note.exists():
        gone = not folder.archive.exists()
        do = "leave it as it is: what the report was made from is gone" if gone else f"runner run archive --restore {name}"
        raise AskError(f"{folder.run_id} is archived, and its report is made from logs, too", expected="a whole folder", do=do)
    with folder.alone(), output.waiting(f"{folder.run_id} to be judged, and its report to be written"):
        conclusion = conclude(folder, iso(SystemClock().wall_ns()))
        writer.write(folder, conclusion)
    announce(conclusion, os.environ, output.say)
    verdict = (conclusion.outcome.verdict or conclusion.outcome.status or "").replace("_", " ").upper()
    text = f"{verdict} · {conclusion.reason}\n{lab.shown(folder.final_report)}"
    code = min(conclusion.outcome.exit_code, 3)
    return output.result({**conclusion.as_json(), "exit_code": code}, text, code)
