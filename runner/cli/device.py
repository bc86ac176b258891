"""`device`: what stands in the inventory; the host keys that are pinned; and, from files of their own, shell, console and power."""

from __future__ import annotations

from typing import Any

import click

from runner.cli.known_device import known_device
from runner.cli.output import Output, columns
from runner.cli.power import device_power
from runner.cli.shell import device_console, device_shell
from runner.errors import AskError
from runner.lab.load import Reader


@click.group()
def device() -> None:
    """List and show devices; their power, shell, console and host keys."""


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
    found = known_device(output, name)
    shown = {**found.line.model_dump(mode="json"), **found.type.model_dump(mode="json"), "type": found.line.type}
    lines = [f"{key}: {part}" for key, part in shown.items() if part not in ("", None, [])]
    return output.result({"device": {"name": name, **shown}}, "\n".join([name, *lines]))


@device.command("trust")
@click.argument("name")
@click.pass_obj
def device_trust(output: Output, name: str) -> int:
    """Pin the SSH host key that device NAME shows now, in place of the one pinned before."""
    import asyncio

    from runner.lab.private import private_folder, private_text
    from runner.lab.where import state_root
    from runner.target.transports import ssh

    line = known_device(output, name).line
    if not line.address:
        raise AskError(
            f"{name} has no `address` in the inventory, so there is no key to pin",
            expected="a device that is reached over a network; the keys of emulated boards are made here and always checked",
            do="runner device list",
        )

    async def shown_now() -> str:
        with output.waiting(f"{name} to show its host key"):
            return await ssh.fetch_host_key(line.address, line.port)

    before = ssh.pinned(state_root(), name)
    key = asyncio.run(shown_now())
    path = ssh.pin_file(state_root(), name)
    private_text(private_folder(state_root(), path.parent.name) / path.name, key + "\n")
    now = ssh.fingerprint(key)
    said = f"{name}: pinned {now}" + (f" (before: {ssh.fingerprint(before)})" if before else "")
    return output.result({"device": name, "fingerprint": now, "replaced": before != "" and before != key}, said)


for command in (device_shell, device_console, device_power):
    device.add_command(command)
