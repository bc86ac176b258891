"""`device provision`: what runs on a device need, laid there beforehand, so that a slow line carries next to nothing later."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from runner.cli.known_device import KnownDevice, known_device
from runner.cli.output import Output
from runner.errors import AskError, LabError

if TYPE_CHECKING:
    from runner.story.provision import Supply


@click.command("provision")
@click.argument("name")
@click.option("--over", type=click.Choice(["serial", "ssh"]), help="Another way to it than its type's: ssh, for one on a serial line.")
@click.option("--entry", "entries", multiple=True, help="Also the pipelines of this entry, and what it alone needs; may be repeated.")
@click.option("--stageflow", metavar="VERSION", help="The Stageflow release (default: that of the entries).")
@click.pass_obj
def device_provision(output: Output, name: str, over: str | None, entries: tuple[str, ...], stageflow: str | None) -> int:
    """Lay onto device NAME what its runs need: supervisor, Stageflow and its wheels. A second time sends nothing."""
    import asyncio

    from runner.cli.power import is_on
    from runner.farm.lease import Taken
    from runner.story.provision import provision
    from runner.target.rate import size_words

    device = known_device(output, name)
    way = _over(device, over)
    supplies = _supplies(output, entries, stageflow)
    work = provision(way.request(output.say), device.identity, supplies, partial(is_on, device))
    try:
        done = asyncio.run(output.awaited(f"{name} to take what its runs need", work))
    except Taken as error:
        do = f"wait until that has ended; to look: runner device power {name}"
        raise LabError(error.complaints[0].found, expected="a free device", do=do) from error
    value = {
        "device": name, "over": way.type.transport, "sent_bytes": done.sent_bytes, "supervisor_bytes": done.supervisor_bytes,
        **{f"{kind}_bytes": size for kind, size in done.kinds.items()},
        "stageflow": sorted({supply.stageflow for supply in supplies}), "entries": list(entries),
    }  # fmt: skip
    parts = {"supervisor": done.supervisor_bytes, **done.kinds}
    sent = ", ".join(f"{size_words(size)} of {kind}" for kind, size in parts.items() if size)
    said = f"{name}: sent {sent}" if sent else f"{name}: sent 0 bytes, everything is there"
    then = entries[0] if entries else "EDGE-002"
    return output.result({"provisioned": value}, f"{said}\nnext: runner exec {then} --device {name}")


def _over(device: KnownDevice, transport: str | None) -> KnownDevice:
    """Raises AskError for a way that does not lead there."""
    if transport is None or transport in device.transports:
        return device.over(transport) if transport else device
    do = "leave --over out"
    if transport == "ssh" and device.line.over_serial:
        do = f"write into inventory.yaml what it is called there: {device.name}: {{ …, network: HOST }}"
    found = f"{device.name} is not reached over {transport}"
    raise AskError(found, expected=f"one of {', '.join(device.transports)}", where="--over", do=do)


def _supplies(output: Output, entries: tuple[str, ...], stageflow: str | None) -> list[Supply]:
    """What was asked for, Stageflow alone if no entry was. Raises AskError with every complaint."""
    from runner.lab.load import Reader
    from runner.lab.yaml_source import nearest, one_of
    from runner.model.entry import Entry
    from runner.story.provision import Supply
    from runner.target.bundle import stageflow_versions

    reader, supplies = Reader(output.lab(quiet=True)), list[Supply]()
    for each in entries:
        if found := reader.entry(each, "runner device provision"):
            supplies.append(Supply(stageflow or found[0].stageflow, found[0].id, reader.entry_folder(found[0].id)))
    if not entries:
        supplies.append(Supply(stageflow or str(Entry.model_fields["stageflow"].default)))
    for version in {supply.stageflow for supply in supplies} - set(stageflow_versions()):
        found_wrong = f"Stageflow {version!r} is not pinned here{nearest(version, stageflow_versions())}"
        reader.complain(found_wrong, one_of(stageflow_versions()), "--stageflow", "take one of these, or leave --stageflow out")
    reader.finish()
    return supplies
