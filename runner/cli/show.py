"""`run`, `report`, `entry`, `device`, `profile`: look, and change nothing but derived files and pinned keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from runner.cli.output import Output, columns
from runner.errors import AskError
from runner.lab.load import Reader, entry_id_of
from runner.lab.where import Lab


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


@click.group()
def entry() -> None:
    """List and show roadmap entries."""


@entry.command("list")
@click.pass_obj
def entry_list(output: Output) -> int:
    """Entries that have pipelines here."""
    lab = output.lab()
    reader = Reader(lab)
    entries = [reader.entry(entry_id_of(name), "runner entry list") for name in lab.names("pipelines", "*/entry.yaml")]
    reader.finish()
    rows = [
        {
            "id": found[0].id,
            "priority": found[0].priority,
            "risk": found[0].risk,
            "title": found[0].title,
            "scenarios": list(found[0].scenarios),
        }
        for found in entries
        if found
    ]
    text = columns(("id", "priority", "risk", "title"), [[row[key] for key in ("id", "priority", "risk", "title")] for row in rows])
    return output.result({"entries": rows}, text)


@entry.command("show")
@click.argument("name")
@click.pass_obj
def entry_show(output: Output, name: str) -> int:
    """One entry: scenarios, checks, limits."""
    reader = Reader(output.lab())
    found = reader.entry(name, "runner entry show")
    reader.finish()
    assert found
    return output.result(
        {"entry": found[0].model_dump(mode="json")}, _file(reader.lab, f"pipelines/{name.lower().replace('-', '_')}/entry.yaml")
    )


@click.group()
def device() -> None:
    """List and show devices; pin their host keys."""


@device.command("list")
@click.pass_obj
def device_list(output: Output) -> int:
    """The inventory."""
    reader = Reader(output.lab())
    found = reader.inventory()
    rows: list[dict[str, Any]] = []
    if found:
        for name, line in found[0].devices.items():
            device_type = reader.device_type(line.type, found[1].where(("devices", name, "type")))
            if device_type:
                rows.append({"name": name, "type": line.type, "title": device_type.title, "cut": device_type.loss, "tags": list(line.tags)})
    reader.finish()
    keys = ("name", "type", "cut", "title")
    return output.result({"devices": rows}, columns(keys, [[row[key] for key in keys] for row in rows]))


@device.command("show")
@click.argument("name")
@click.pass_obj
def device_show(output: Output, name: str) -> int:
    """One device: its line and its type."""
    from runner.story.plan import Asked, find_device

    reader = Reader(output.lab())
    found = find_device(Asked(entry="", device=name), reader)
    reader.finish()
    assert found
    line, device_type = found
    shown = {**line.model_dump(mode="json"), **device_type.model_dump(mode="json"), "type": line.type}
    lines = [f"{key}: {part}" for key, part in shown.items() if part not in ("", None, [])]
    return output.result({"device": {"name": name, **shown}}, "\n".join([name, *lines]))


@device.command("trust")
@click.argument("name")
@click.pass_obj
def device_trust(output: Output, name: str) -> int:
    """Pin the SSH host key that device NAME shows now, in place of the one pinned before."""
    import asyncio

    from runner.lab.where import state_root
    from runner.story.plan import Asked, find_device
    from runner.target.transports import ssh

    reader = Reader(output.lab())
    found = find_device(Asked(entry="", device=name), reader)
    reader.finish()
    assert found
    line, _ = found
    if not line.address:
        raise AskError(
            f"{name} has no `address` in the inventory, so there is no key to pin",
            expected="a device that is reached over a network; the keys of emulated boards are made here and always checked",
        )
    before = ssh.pinned(state_root(), name)
    key = asyncio.run(ssh.fetch_host_key(line.address, line.port))
    path = ssh.pin_file(state_root(), name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(key + "\n", encoding="ascii")
    now = ssh.fingerprint(key)
    said = f"{name}: pinned {now}" + (f" (before: {ssh.fingerprint(before)})" if before else "")
    return output.result({"device": name, "fingerprint": now, "replaced": before != "" and before != key}, said)


@click.group()
def profile() -> None:
    """List and show profiles."""


@profile.command("list")
@click.pass_obj
def profile_list(output: Output) -> int:
    """Every profile, what it does and what it severs."""
    reader = Reader(output.lab())
    names = [Path(path).stem for path in reader.lab.names("profiles", "*.yaml")]
    found = {name: reader.profile(name, "runner profile list") for name in names}
    reader.finish()
    rows = [
        {"name": name, "title": p.title, "faults": [fault.fault for fault in p.faults], "severs": list(p.severs)}
        for name, p in found.items()
        if p
    ]
    text = columns(
        ("name", "faults", "severs", "title"), [(r["name"], ",".join(r["faults"]), ",".join(r["severs"]) or "-", r["title"]) for r in rows]
    )
    return output.result({"profiles": rows}, text)


@profile.command("show")
@click.argument("name")
@click.pass_obj
def profile_show(output: Output, name: str) -> int:
    """One profile, as its file says it."""
    reader = Reader(output.lab())
    found = reader.profile(name, "runner profile show")
    reader.finish()
    assert found
    return output.result({"profile": {"name": name, **found.model_dump(mode="json")}}, _file(reader.lab, f"profiles/{name}.yaml"))


def _file(lab: Lab, relative: str) -> str:
    path = lab.file(relative)
    assert path
    return f"{lab.shown(path)}\n\n{path.read_text(encoding='utf-8').rstrip()}"
