"""`device`, `profile`: look, and change nothing but pinned keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from runner.cli.output import Output, columns, file_text
from runner.errors import AskError
from runner.lab.load import Reader


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
    return output.result({"profile": {"name": name, **found.model_dump(mode="json")}}, file_text(reader.lab, f"profiles/{name}.yaml"))
