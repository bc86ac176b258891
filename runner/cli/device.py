"""`device`: what stands in the inventory, who holds it, and what is quarantined; the host keys that are pinned; and, from files of
their own, shell, console, power, provision and check."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from runner.cli.check import device_check, shown
from runner.cli.fit_thermal import device_fit_thermal
from runner.cli.known_device import known_device
from runner.cli.output import Output, columns
from runner.cli.power import device_power, held_by
from runner.cli.provision import device_provision
from runner.cli.shell import device_console, device_shell
from runner.cli.trial import device_revert
from runner.errors import AskError, Complaint

if TYPE_CHECKING:
    from runner.farm.lease import Held, Quarantine
    from runner.lab.load import Reader
    from runner.lab.where import Lab


@click.group()
def device() -> None:
    """List and show devices; their power, shell, console, host keys and health."""


@device.command("list")
@click.pass_obj
def device_list(output: Output) -> int:
    """The inventory, and which device is free, quarantined or not to be used: of the leases of this user on this host."""
    rows, complaints = of_the_files(output.lab())
    if complaints:
        raise AskError.of(complaints)
    held, quarantined = _held(), _quarantined()
    cells = []
    keys = ("name", "type", "cut", "link", "title")
    for row in rows:
        identity = row.pop("identity")
        found = quarantined.get(identity)
        row |= {"lease": _shown(held.get(identity)), "quarantine": shown(found)}
        free = "cannot be used" if row["unusable"] else str(found or "free")
        cells.append([*(row[key] or "-" for key in keys), row["lease"]["holder"] if row["lease"] else free])
    return output.result({"devices": rows}, "\n".join([columns((*keys, "held by"), cells), *unusable(rows)]))


def of_the_files(lab: Lab) -> tuple[list[dict[str, Any]], list[Complaint]]:
    """What the lab's files say of each device, and each complaint about them once."""
    from runner.lab.remembered import remembered

    rows, complaints = remembered(lab, "devices", ("inventory.yaml", "devices/*.yaml"), _rows)
    if not complaints and not all(row["ours"] for row in rows):  # a driver of somebody else may have come by now, or be gone
        from runner.lab.load import Reader

        reader = Reader(lab)
        rows, complaints = _rows(reader), reader.complaints
    for row in rows:
        del row["ours"]
    return rows, list(dict.fromkeys(complaints))


def unusable(rows: list[dict[str, Any]]) -> list[str]:
    """Why devices among `rows` cannot be used, and what to do, for a person."""
    return [str(Complaint(**why)) for row in rows for why in row["unusable"]]


def _rows(reader: Reader) -> list[dict[str, Any]]:
    """What the lab's files say of each device; who holds it is never in here."""
    from runner.target.drivers import known_line, lacking, ours

    found = reader.inventory()
    rows: list[dict[str, Any]] = []
    if not found:
        return rows
    inventory, source = found
    for name, line in inventory.devices.items():
        device_type = known_line(reader, source, name, line)
        if device_type:
            row: dict[str, Any] = {"name": name, "type": line.type, "title": device_type.title, "cut": device_type.loss}
            row["tags"], link = list(line.tags), line.data_link or device_type.data_link
            row["link"] = link.interface if link else None  # on which link faults act
            row["unusable"] = [asdict(why) for why in lacking(reader, name, line, device_type)]
            rows.append({**row, "identity": line.identity(name), "ours": ours(device_type)})
    return rows


def _held() -> dict[str, Held]:
    """The leases whose holders live, by identity; to look makes no lease file."""
    from runner.farm.lease import Leases
    from runner.lab.where import state_root

    leases = Leases(state_root())
    return {identity: held for identity, held in leases.every() if held.alive} if leases.path.exists() else {}


def _quarantined() -> dict[str, Quarantine]:
    """The devices that are lent to no run before they are checked, by identity; to look makes no lease file."""
    from runner.farm.lease import Leases
    from runner.lab.where import state_root

    leases = Leases(state_root())
    return leases.every_quarantine() if leases.path.exists() else {}


def _shown(held: Held | None) -> dict[str, Any] | None:
    from runner.farm.lease import who

    return {"holder": who(held.holder), "since": held.holder.get("since"), "fence": held.fence} if held else None


@device.command("show")
@click.argument("name")
@click.pass_obj
def device_show(output: Output, name: str) -> int:
    """One device: what its line, its type and its heat say, and where; who holds it, and why it is quarantined or cannot be used."""
    from runner.cli.device_words import device_text
    from runner.lab.load import Reader

    found = known_device(output, name, for_use=False)
    known = {**found.line.model_dump(mode="json"), **found.type.model_dump(mode="json"), "type": found.line.type}
    lines = [device_text(found, Reader(output.lab(quiet=True))), *map(str, found.unusable)]
    if holder := held_by(found):
        lines.append(f"held by {holder}")
    why = _quarantined().get(found.identity)
    if why:
        lines += [f"quarantined since {why.since}:", *(f"  {each}" for each in why.differences), f"next: runner device check {name}"]
    value = {"device": {"name": name, **known}, "quarantine": shown(why), "unusable": [asdict(each) for each in found.unusable]}
    return output.result(value, "\n".join(lines))


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
    if not line.host:
        raise AskError(
            f"{name} has no `address` of a network in the inventory, so there is no key to pin",
            expected="a device that is reached over a network; the keys of emulated boards are made here and always checked",
            do="runner device list",
        )

    async def shown_now() -> str:
        with output.waiting(f"{name} to show its host key"):
            return await ssh.fetch_host_key(line.host, line.port)

    before = ssh.pinned(state_root(), name)
    key = asyncio.run(shown_now())
    path = ssh.pin_file(state_root(), name)
    private_text(private_folder(state_root(), path.parent.name) / path.name, key + "\n")
    now = ssh.fingerprint(key)
    said = f"{name}: pinned {now}" + (f" (before: {ssh.fingerprint(before)})" if before else "")
    return output.result({"device": name, "fingerprint": now, "replaced": before != "" and before != key}, said)


_COMMANDS = (device_shell, device_console, device_power, device_provision, device_check, device_revert, device_fit_thermal)
for command in _COMMANDS:
    device.add_command(command)
