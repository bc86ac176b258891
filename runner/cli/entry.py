"""`entry`: the roadmap and its entries: what there is, what comes next, and a new one from nothing to green."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from runner.cli.output import Output, columns, file_text
from runner.errors import AskError, Complaint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.lab.load import Reader
    from runner.lab.roadmap import Tried
    from runner.lab.where import Lab
    from runner.model.entry import Entry
    from runner.model.roadmap import Roadmap, RoadmapEntry

OPEN = ("open", "confirmed", "in_progress")  # a finding that nobody has settled
ROW = ("id", "phase", "priority", "risk", "state", "here", "title")


@click.group()
def entry() -> None:
    """The roadmap: list, show, next; make, check and brief an entry."""


@entry.command("list")
@click.option("--tier", type=click.IntRange(1, 10), help="Only this tier of the roadmap.")
@click.option("--phase", type=click.IntRange(1, 5), help="Only this phase of the execution order.")
@click.option("--priority", type=click.Choice(["P0", "P1", "P2"], case_sensitive=False), help="Only this priority.")
@click.option("--industry", help="Only industries with this word in their name.")
@click.option("--untested", is_flag=True, help="Only entries without a completed run.")
@click.option("--here", "here_only", is_flag=True, help="Only entries that have a pipeline folder.")
@click.pass_obj
def entry_list(output: Output, /, industry: str | None, untested: bool, here_only: bool, **wanted: Any) -> int:
    """Every entry of the roadmap, and those of this lab's own; tested or not is read from runs/."""
    from runner.lab.roadmap import STATES

    rows, broken = _rows(output.lab())
    industries = {row["industry"] for row in rows if row["industry"]}
    if industry and not any(industry.lower() in name.lower() for name in industries):
        from runner.lab.yaml_source import nearest, one_of

        raise AskError(
            f"no industry is called {industry!r}{nearest(industry, industries)}",
            expected=one_of(industries, industry, "runner entry list"),
            where="--industry",
        )
    chosen = [
        row
        for row in rows
        if all(value is None or row[key] == value for key, value in wanted.items())
        and (not industry or industry.lower() in (row["industry"] or "").lower())
        and not (untested and row["state"] == "tested")
        and not (here_only and not row["here"])
    ]
    cells = [["-" if row[key] is None else _cell(row[key]) for key in ROW] for row in chosen]
    counts = ", ".join(f"{sum(row['state'] == state for row in chosen)} {state}" for state in STATES)
    text = f"{columns(ROW, cells)}\n{len(chosen)} of {len(rows)} entries: {counts}"
    text += "".join(f"\nbroken: {one.where}: {one.found}" for one in broken) + "\nnext: runner entry next"
    told = [{"where": one.where, "found": one.found, "expected": one.expected, "do": one.do} for one in broken]
    return output.result({"entries": chosen, "broken": told}, text)


def _cell(value: object) -> object:
    return ("yes" if value else "-") if isinstance(value, bool) else value


@entry.command("show")
@click.argument("name")
@click.pass_obj
def entry_show(output: Output, name: str) -> int:
    """One entry: its row of the roadmap, its runs, and its scenarios, checks and limits if it has a folder."""
    from runner.lab.load import folder_name
    from runner.lab.roadmap import state_of

    known = Known(output.lab(), name, "runner entry show")
    value = {
        "roadmap": known.row.model_dump(mode="json") if known.row else None,
        "state": state_of(known.runs),
        "runs": [asdict(run) for run in known.runs],
        "open_findings": known.open_findings,
        "entry": known.entry.model_dump(mode="json") if known.entry else None,
    }
    row = known.row
    lines = [f"{row.id} {row.title}", f"{row.priority}, {row.risk} · phase {row.phase} · tier {row.tier}, {row.section}"] if row else []
    lines += [f"industry: {row.industry} · deployment mode: {row.deployment_mode}"] if row else [f"{known.id} is not in the roadmap"]
    lines += [str(value["state"])]
    lines += [f"  {run.run_id}  {run.device}  {run.status}  {run.verdict}  {run.summary}" for run in known.runs]
    lines += [f"  open: {one['id']} ({one['severity']}) {one['title']}" for one in known.open_findings]
    if known.entry:
        lines += ["", file_text(known.lab, f"pipelines/{folder_name(known.id)}/entry.yaml")]
    else:
        lines += [f"no folder here; to make one: runner entry new {known.id}"]
    return output.result(value, "\n".join(lines))


@entry.command("next")
@click.option("--runnable", is_flag=True, help="Only entries that have a pipeline folder.")
@click.pass_obj
def entry_next(output: Output, runnable: bool) -> int:
    """The next entry without a completed run, in execution order: phase, then priority, then risk."""
    from runner.lab.roadmap import here, next_entry, read_roadmap, state_of, tried

    lab = output.lab()
    runs, folders = tried(lab.runs), here(lab)
    row, why = next_entry(read_roadmap(lab), runs, folders if runnable else None)
    if row is None:
        return output.result({"entry": None, "why": why}, why)
    do = f"runner exec {row.id}" if row.id in folders else f"runner entry new {row.id}"
    found = {**row.model_dump(mode="json"), "state": state_of(runs.get(row.id, [])), "here": row.id in folders}
    return output.result({"entry": found, "why": why, "do": do}, f"{row.id} {row.title}\nwhy: {why}\nnext: {do}")


@entry.command("new")
@click.argument("name")
@click.pass_obj
def entry_new(output: Output, name: str) -> int:
    """Make a folder for entry NAME of the roadmap, from templates: it runs at once, and is then yours to change."""
    from runner.lab.new_entry import new_entry
    from runner.lab.roadmap import known_id, read_roadmap

    lab = output.lab()
    roadmap = read_roadmap(lab)
    row = roadmap.find(known_id(name, roadmap, (), "runner entry new"))
    assert row
    folder = new_entry(lab, row)
    shown = lab.shown(folder)
    follow = f"runner entry check {row.id} && runner exec {row.id} --scenario baseline"
    text = f"{shown}\nnext: {follow}\nthen: {shown}/entry.yaml says how to make it yours"
    return output.result({"id": row.id, "folder": str(folder)}, text)


@entry.command("check")
@click.argument("name")
@click.option("--device", help="Plan for this device of the inventory (default: local, else the first).")
@click.pass_obj
def entry_check(output: Output, name: str, device: str | None) -> int:
    """Read all of entry NAME without running any of it: every complaint at once, each with its file and line."""
    from runner.judgement.checks import GENERIC
    from runner.lab.check_entry import check_folder, check_names
    from runner.lab.load import Reader, entry_file
    from runner.lab.roadmap import here, known_id, read_roadmap
    from runner.story.plan import Asked, check_stageflow, make_plan

    lab = output.lab()
    roadmap = read_roadmap(lab)
    entry_id = known_id(name, roadmap, here(lab), "runner entry check")
    row = roadmap.find(entry_id)
    reader = Reader(lab)
    if lab.file(entry_file(entry_id)) is None:
        reader.entry(entry_id, "runner entry check")
        reader.finish()
    inventory, found = reader.inventory(), reader.entry(entry_id, "runner entry check")
    source = reader.entry_source(entry_id)
    check_folder(reader, entry_id, row)
    check_names(reader, source, reader.entry_folder(entry_id), GENERIC)
    check_stageflow(reader, source)
    devices = list(inventory[0].devices) if inventory else []
    planned = device or _fitting(reader, found[0] if found else None, devices)
    complaints: list[Complaint] = list(reader.complaints)
    plan = None
    try:
        plan = make_plan(Asked(entry_id, device=planned), lab)
    except AskError as error:
        complaints += error.complaints
    if complaints or plan is None:
        raise AskError.of(dict.fromkeys(complaints))
    checks = sum(len(scenario.checks) for scenario in plan.scenarios.values())
    about = "agrees with the roadmap" if row else "is not in the roadmap: nothing to compare with"
    text = f"{entry_id} is sound: {len(plan.scenarios)} scenarios, {checks} checks, {plan.cuts_asked} cuts; it {about}"
    checked = {"id": entry_id, "scenarios": list(plan.scenarios), "checks": checks, "in_roadmap": row is not None}
    return output.result({"checked": checked}, f"{text}\nnext: runner exec {entry_id} --device {planned} --scenario baseline")


def _fitting(reader: Reader, entry: Entry | None, devices: Sequence[str]) -> str:
    """The device with which an entry is planned when nobody names one: `local`, or for an entry with a far end one that has a data link;
    where there is no such one the first that can be used."""
    from runner.story.plan import Asked, find_device
    from runner.target.drivers import lacking

    linked = bool(entry and entry.far_end)
    first = "local" if "local" in devices or not devices else devices[0]
    for name in devices if linked or first != "local" else ():
        found = find_device(Asked(entry.id if entry else "", device=name), reader, for_use=False)
        if found and not lacking(reader, name, *found) and (found[0].data_link or found[1].data_link or not linked):
            return name
    return first


@entry.command("brief")
@click.argument("name")
@click.option("--device", default="local", show_default=True, help="A device of the inventory.")
@click.pass_obj
def entry_brief(output: Output, name: str, device: str) -> int:
    """The brief for an AI agent that tests entry NAME on a device, as Markdown; --json gives variables and sections."""
    from runner.lab.brief import make_brief
    from runner.story.plan import Asked, find_device

    known = Known(output.lab(quiet=True), name, "runner entry brief")
    found = find_device(Asked(entry=known.id, device=device), known.reader)
    known.reader.finish()
    assert found
    runs = known.lab.shown(known.lab.runs).removeprefix("./")
    brief = make_brief(known.row, known.entry, (device, *found), known.runs, known.open_findings, runs)
    sections = [{"title": section.title, "text": section.text} for section in brief.sections]
    return output.result({"brief": {"variables": brief.variables, "device": device, "sections": sections}}, brief.markdown())


class Known:
    """All that a lab knows of one entry today. Raises AskError for a name that nobody knows, and for files that are wrong."""

    def __init__(self, lab: Lab, name: str, where: str) -> None:
        from runner.judgement.collection import collect
        from runner.lab.load import Reader
        from runner.lab.roadmap import here, known_id, read_roadmap, tried

        roadmap: Roadmap = read_roadmap(lab)
        folders = here(lab)
        self.lab = lab
        self.id = known_id(name, roadmap, folders, where)
        self.row: RoadmapEntry | None = roadmap.find(self.id)
        self.reader: Reader = Reader(lab)
        found = self.reader.entry(self.id, where) if self.id in folders else None
        self.reader.finish()
        self.entry: Entry | None = found[0] if found else None
        self.runs: list[Tried] = tried(lab.runs, self.id).get(self.id, [])
        cases = collect(lab.runs).cases
        self.open_findings = [case.row() for case in cases if case.latest.entry == self.id and case.status in OPEN]


def _rows(lab: Lab) -> tuple[list[dict[str, Any]], list[Complaint]]:
    """Every entry as one flat row: what the lab's files say of it, and then what its runs do."""
    from runner.lab.remembered import remembered
    from runner.lab.roadmap import RELATIVE, state_of, tried

    rows, complaints = remembered(lab, "entries", (RELATIVE, "pipelines/*/entry.yaml"), _said_by_files)
    runs = tried(lab.runs)
    for row in rows:
        found = runs.get(row["id"], [])
        row.update(state=state_of(found), runs=len(found))
    return rows, complaints


def _said_by_files(reader: Reader) -> list[dict[str, Any]]:
    """The roadmap's rows in its order, then those of the lab's own. An entry.yaml refines its row.

    One that is broken hides no other: it keeps what the roadmap says of it, and what is wrong is told apart.
    """
    from runner.lab.roadmap import here, read_roadmap

    roadmap = read_roadmap(reader.lab)
    entries = {entry_id: reader.entry(entry_id, "runner entry list") for entry_id in here(reader.lab)}
    rows: dict[str, dict[str, Any]] = {row.id: row.model_dump(mode="json") for row in roadmap.entries}
    for entry_id, found in entries.items():
        keys = ("id", "title", "priority", "risk", "industry", "deployment_mode")
        nothing = {**dict.fromkeys(("phase", "tier", "section", *keys)), "id": entry_id}
        rows[entry_id] = {**nothing, **rows.get(entry_id, {}), **({key: getattr(found[0], key) for key in keys} if found else {})}
    for entry_id, row in rows.items():
        found = entries.get(entry_id)
        row["here"] = entry_id in entries
        row["scenarios"] = list(found[0].scenarios) if found else []
    return list(rows.values())
