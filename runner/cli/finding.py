"""`finding`: what the runs found, what became of it, and what others found elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from runner.cli.output import Output, columns, plain
from runner.errors import AskError, Complaint
from runner.model.finding import STATUS_AFTER, TYPE_CODES, Decision, FindingStatus, Resolution
from runner.model.outcome import SEVERITIES

if TYPE_CHECKING:
    from runner.judgement.collection import Case, Collection, Sighting
    from runner.lab.where import Lab

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group()
def finding() -> None:
    """List, show, settle, gather, export and import findings."""


def filters(command: Command) -> Command:
    """The options that choose findings."""
    for name, kind, text in (
        ("device", None, "Found on this device."),
        ("status", click.Choice(get_args(FindingStatus)), "As it stands today."),
        ("type", click.Choice(list(TYPE_CODES)), "Of this type."),
        ("severity", click.Choice(SEVERITIES), "As bad as this."),
        ("entry", None, "Of this entry of the roadmap."),
    ):
        command = click.option(f"--{name}", type=kind, help=text)(command)
    return command


@finding.command("list")
@filters
@click.pass_obj
def finding_list(output: Output, /, **wanted: str | None) -> int:
    """One row per finding, worst first, with the runs that saw it."""
    lab = output.lab()
    collection = _collect(output, lab.runs)
    _known(lab, collection, wanted)
    rows = [case.row() for case in collection.cases if _wanted(case, wanted)]
    keys = ("severity", "type", "status", "id", "fingerprint", "runs", "first_run", "last_run", "title")
    shown = [[_status(row) if key == "status" else row[key] for key in keys] for row in rows]
    text = columns(keys, shown) if rows else "no such finding"
    return output.result({"findings": rows, "damaged": _told(collection.damaged)}, text)


@finding.command("show")
@click.argument("name", metavar="ID|FINGERPRINT")
@click.pass_obj
def finding_show(output: Output, name: str) -> int:
    """One finding with its evidence: an id, ENTRY/run-…/ID, or a fingerprint."""
    collection = _collect(output)
    case, seen = collection.find(name)
    value = {
        "finding": case.present(seen),
        "regressed": case.regressed,
        "folder": str(seen.folder),
        "seen_in": [one.ref for one in case.sightings],
        "decisions": [one.model_dump(mode="json", exclude_none=True) for one in case.decisions],
    }
    return output.result({**value, "damaged": _told(collection.damaged)}, _page(output, case, seen))


@finding.command("resolve")
@click.argument("name", metavar="ID|FINGERPRINT")
@click.option("--as", "how", type=click.Choice(list(STATUS_AFTER)), required=True, help="What became of it.")
@click.option("--details", required=True, help="What was done, or why nothing is.")
@click.option("--by", "resolved_by", metavar="NAME", help="Who decided.")
@click.option("--commit", "commit_hash", metavar="HASH", help="The change that fixes it.")
@click.option("--pr", "pr_link", metavar="LINK", help="Where that change was reviewed.")
@click.option("--release", "release_version", metavar="VERSION", help="The release that has it.")
@click.option("--verify", "verification_steps", metavar="STEP", multiple=True, help="How to see that it is so; may be repeated.")
@click.pass_obj
def finding_resolve(output: Output, /, name: str, how: Any, details: str, **said: Any) -> int:
    """Settle a finding, in every run that saw it. What a later run finds again, though fixed, is open again."""
    if not details.strip():
        raise AskError("--details says nothing", expected="what was done, or why nothing is")
    resolution = Resolution(resolution_type=how, resolution_details=details, **said)
    return _decide(output, name, STATUS_AFTER[how], resolution)


@finding.command("confirm")
@click.argument("name", metavar="ID|FINGERPRINT")
@click.pass_obj
def finding_confirm(output: Output, name: str) -> int:
    """Say that a finding is real."""
    return _decide(output, name, "confirmed")


@finding.command("start")
@click.argument("name", metavar="ID|FINGERPRINT")
@click.pass_obj
def finding_start(output: Output, name: str) -> int:
    """Say that somebody works on a finding."""
    return _decide(output, name, "in_progress")


@finding.command("reopen")
@click.argument("name", metavar="ID|FINGERPRINT")
@click.pass_obj
def finding_reopen(output: Output, name: str) -> int:
    """Take back what was decided about a finding."""
    return _decide(output, name, "open")


@finding.command("aggregate")
@click.pass_obj
def finding_aggregate(output: Output) -> int:
    """Write runs/aggregated_findings.json: every finding of every run, as it stands today."""
    from runner.judgement.collection import write_aggregate

    lab = output.lab()
    collection = _collect(output, lab.runs)
    path, value = write_aggregate(lab.runs, collection, _now())
    counts = {key: part for key, part in value.items() if key not in ("findings", "not_read")}
    said = f"{value['total_findings']} findings ({value['distinct_findings']} distinct) of {value['total_runs']} runs"
    lines = [said, *(f"{key}: " + ", ".join(f"{n} {name}" for name, n in value[key].items()) for key in ("by_severity", "by_status"))]
    return output.result(
        {**counts, "file": str(path), "damaged": _told(collection.damaged)}, "\n".join([*lines, lab.shown(path).removeprefix("./")])
    )


@finding.group("export")
def finding_export() -> None:
    """Findings for other programs."""


@finding_export.command("csv")
@click.option("--output", "file", metavar="FILE", help="Where to (default: standard output).")
@filters
@click.pass_obj
def finding_export_csv(output: Output, /, file: str | None, **wanted: str | None) -> int:
    """One row per finding, for a spreadsheet; no cell can become a formula."""
    from runner.judgement.spreadsheet import csv_text

    lab = output.lab(quiet=file is None)
    collection = _collect(output, lab.runs, quiet=file is None)
    _known(lab, collection, wanted)
    cases = [case for case in collection.cases if _wanted(case, wanted)]
    text = csv_text(cases)
    value = {"rows": len(cases), "damaged": _told(collection.damaged)}
    if file is None:
        return output.result({**value, "csv": text}, text.rstrip("\n"))
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise AskError(f"{file} cannot be written: {error.strerror}", do="free or grant the place") from error
    return output.result({**value, "file": file}, f"{len(cases)} findings in {file}")


@finding.command("import")
@click.argument("files", metavar="FILE…", nargs=-1, required=True)
@click.option("--entry", required=True, metavar="ID", help="The entry of the roadmap that they are about.")
@click.pass_obj
def finding_import(output: Output, files: tuple[str, ...], entry: str) -> int:
    """Add findings made elsewhere: a findings.json, or files of the older shape. The same ones twice add nothing."""
    from runner.judgement.imported import import_findings, read_files

    came = import_findings(output.lab().runs, entry.upper(), read_files([Path(file) for file in files]), _now())
    lines = []
    for one in came:
        added, known = len(one["added"]), len(one["known_already"])
        said = "imported before, nothing added" if "imported_before" in one else f"{added} added, {known} known already"
        lines.append(f"{one['file']}: {said}")
        for note in one["not_mapped"]:
            times = f" ({note['times']} times)" if note["times"] > 1 else ""
            lines.append(f"  not mapped: {note['where']}: {note['found']}{times}: {note['did']}")
    shown = [{key: part for key, part in one.items() if key != "metadata"} for one in came]
    return output.result({"imports": shown}, "\n".join(lines))


def _now() -> str:
    from runner.clock import SystemClock, iso

    return iso(SystemClock().wall_ns())


def _collect(output: Output, runs: Path | None = None, *, quiet: bool = False) -> Collection:
    """Everything there is; what could not be read is said on the way."""
    from runner.judgement.collection import collect

    collection = collect(runs or output.lab().runs)
    for damage in collection.damaged:
        if quiet and not output.as_json:
            click.echo(plain(f"left out: {damage}"), err=True)
        else:
            output.say(f"left out: {damage}")
    return collection


def _known(lab: Lab, collection: Collection, wanted: dict[str, str | None]) -> None:
    """Raises AskError for an entry or a device that neither the lab nor any finding knows: no finding of it proves nothing."""
    from runner.lab.load import Reader
    from runner.lab.roadmap import here, known_id, read_roadmap
    from runner.lab.yaml_source import nearest, one_of

    seen = [one for case in collection.cases for one in case.sightings]
    entry, device = wanted.get("entry"), wanted.get("device")
    if entry is not None and entry.upper() not in (entries := {one.entry for one in seen}):
        known_id(entry, read_roadmap(lab), [*here(lab), *entries], "--entry")
    if device is not None and device not in (devices := {one.finding.device for one in seen if one.finding.device}):
        inventory = Reader(lab).inventory()  # a broken one is `runner device list`'s to say
        names = {*devices, *(inventory[0].devices if inventory else ())}
        if device not in names:
            found = f"no device is called {device!r}{nearest(device, names)}"
            raise AskError(found, expected=one_of(names, device, "runner device list"), where="--device", do="runner device list")


def _wanted(case: Case, wanted: dict[str, str | None]) -> bool:
    found = case.latest.finding
    has: dict[str, set[str | None]] = {
        "entry": {case.latest.entry, case.latest.entry.lower()},
        "severity": {found.severity},
        "type": {found.type},
        "status": {case.status},
        "device": {seen.finding.device for seen in case.sightings},
    }
    return all(value is None or value in has[key] for key, value in wanted.items())


def _decide(output: Output, name: str, status: FindingStatus, resolution: Resolution | None = None) -> int:
    from runner.judgement import decisions

    lab = output.lab()
    case, seen = _collect(output, lab.runs).find(name)
    found = seen.finding
    about = {"fingerprint": found.fingerprint, "finding": found.id, "run": f"{seen.entry}/{seen.run}"}
    decisions.append(lab.runs, Decision(**about, status=status, resolution=resolution, at=_now()))
    value = {"id": found.id, "fingerprint": found.fingerprint, "before": case.status, "status": status}
    return output.result(value, f"{found.id}: {case.status} → {status}")


def _page(output: Output, case: Case, seen: Sighting) -> str:
    """A finding as a person reads it."""
    found, row = seen.finding, case.row()
    lines = [
        f"{found.id}  {found.title}",
        f"{found.severity} {found.type}, {_status(row)} · fingerprint {found.fingerprint}",
        f"{row['component']} · device {found.device or 'not said'} · {found.created_at}",
        "",
        found.description,
        "",
        f"evidence in {output.lab(quiet=True).shown(seen.folder)}:",
        *(f"  {where}" for where in found.evidence),
    ]
    for name in ("reproduction", "impact", "recommendation", "resolution"):
        part = case.present(seen).get(name)
        if said := [(key, value) for key, value in (part or {}).items() if value not in ("", [], {})]:
            lines += [f"{name}:", *(f"  {key.replace('_', ' ')}: {_words(value)}" for key, value in said)]
    lines += ["seen in:", *(f"  {one.ref}" for one in case.sightings)]
    if case.decisions:
        lines += ["decided:", *(f"  {one.at} {one.status}" for one in case.decisions)]
    return "\n".join(lines)


def _words(value: Any) -> str:
    return " · ".join(map(str, value)) if isinstance(value, list) else str(value)


def _status(row: dict[str, Any]) -> str:
    return f"{row['status']} again" if row["regressed"] else str(row["status"])


def _told(damaged: tuple[Complaint, ...]) -> list[dict[str, str]]:
    return [{"where": damage.where, "found": damage.found} for damage in damaged]
