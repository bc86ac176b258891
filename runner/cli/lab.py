"""`schema`, `init`, `doctor`: the lab itself and the machine it stands on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli.output import Output, columns
from runner.errors import AskError

if TYPE_CHECKING:
    from runner.target.emulation.machine import MachineSpec

SCHEMAS = ("inventory", "device", "profile", "entry", "findings")


@click.command()
@click.argument("name", type=click.Choice(SCHEMAS))
@click.pass_obj
def schema(output: Output, name: str) -> int:
    """Print the JSON Schema of a lab file, for an editor or a program."""
    import json

    from pydantic import BaseModel

    from runner.model.device import DeviceType, Inventory
    from runner.model.entry import Entry
    from runner.model.finding import Findings, findings_schema
    from runner.model.profile import Profile

    models: dict[str, type[BaseModel]] = dict(zip(SCHEMAS, (Inventory, DeviceType, Profile, Entry, Findings), strict=True))
    found = findings_schema() if name == "findings" else models[name].model_json_schema()
    return output.result({"json_schema": found}, json.dumps(found, indent=2))


@click.command()
@click.argument("folder", required=False)
@click.pass_context
def init(ctx: click.Context, folder: str | None) -> int:
    """Make a lab in FOLDER (else in --lab, else here): an inventory with the built-in devices, and empty folders for your own."""
    from runner.lab.where import builtin_root, expanded

    output, named = ctx.ensure_object(Output), ctx.find_root().params["lab"]
    if folder and named:
        do = f"runner init {shlex.quote(folder)}"
        raise AskError(f"two folders are named: --lab {named} and {folder}", expected="one of them", where="--lab", do=do)
    root = Path(os.path.realpath(expanded(folder or named or ".", "runner init")))
    if os.path.lexists(root / "inventory.yaml"):
        raise AskError(f"{root} is a lab already", where=str(root / "inventory.yaml"), do="edit it, or choose another folder")
    try:
        for name in ("devices", "profiles", "pipelines", "runs"):
            (root / name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(builtin_root() / "inventory.yaml", root / "inventory.yaml")
    except OSError as error:
        found, do = f"{error.filename or root} cannot be written: {error.strerror}", "grant the place, or name another: runner init FOLDER"
        raise AskError(found, expected="a folder that may be written", do=do) from error
    follow = f"cd {shlex.quote(str(root))} && runner device list && runner exec EDGE-002"
    return output.result({"lab": str(root)}, f"a lab in {root}\nnext: {follow}")


@click.command()
@click.pass_obj
def doctor(output: Output) -> int:
    """Say what this machine can do: local runs, emulated boards with a real power cut, KVM, a data NIC, serial ports."""
    of_the_lab, why = _lab(output)
    rows = [*_facts(), of_the_lab]
    missing = sorted({package for row in rows for package in row["missing"]})
    text = columns(("what", "state", "missing"), [(row["what"], row["state"], " ".join(row["missing"]) or "-") for row in rows])
    text = "\n".join([text, *why])
    if missing:
        install = f"apt-get install --no-install-recommends {' '.join(missing)}"
        text += f"\nto get a real power cut: {install}\nthen: runner exec EDGE-002 --device qemu-pi"
    return output.result({"facts": rows, "missing_packages": missing}, text)


def _lab(output: Output) -> tuple[dict[str, Any], list[str]]:
    """Which lab is used here, and whether its inventory, device types and profiles can be read; if not, what shows why. And why devices
    of it cannot be used."""
    from runner.cli.device import of_the_files, unusable
    from runner.cli.show import of_the_profiles

    try:
        lab = output.lab(quiet=True)
    except AskError as error:
        first = error.complaints[0]
        return {"what": "lab", "state": f"wrong: {first.found}" + (f"; do: {first.do}" if first.do else ""), "missing": []}, []
    devices, mistakes = of_the_files(lab)
    wrong = [
        f"{len(complaints)} mistake{'s' if len(complaints) > 1 else ''} in {files}: `{shows}` shows them"
        for files, shows, complaints in (
            ("inventory.yaml or devices/", "runner device list", mistakes),
            ("profiles/", "runner profile list", of_the_profiles(lab)[1]),
        )
        if complaints
    ]
    state, names = "; ".join(wrong) or f"sound: {lab}".replace("lab: ", ""), [row["name"] for row in devices if row["unusable"]]
    state += f"; cannot be used: {', '.join(names)}" if names else ""
    return {"what": "lab", "state": state, "missing": []}, unusable(devices)


def _facts() -> list[dict[str, Any]]:
    from runner.target.emulation.machine import ARM64, X86_64, MachineSpec
    from runner.target.emulation.tap import Tap, open_tap
    from runner.target.serial.port import access, ports

    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("asyncssh", "pydantic", "click"))
    rows: list[dict[str, Any]] = [
        {"what": "python", "state": f"{platform.python_version()}, {packages}", "missing": []},
        {"what": "local device", "state": "ready: a cut is a process crash", "missing": []},
    ]
    raspi3b = MachineSpec(machine="raspi3b", login="console")
    rows += [_board(device, spec) for device, spec in (("qemu-pi", ARM64), ("qemu-x86", X86_64), ("qemu-raspi3b", raspi3b))]
    kvm = "may be used (a probe boot decides)" if os.access("/dev/kvm", os.R_OK | os.W_OK) else "not to be had: emulation without it"
    tap = open_tap()
    if isinstance(tap, Tap):
        tap.close()
    nic = "tap in a network namespace of its own" if isinstance(tap, Tap) else f"leads nowhere, so no link fault: {tap}"
    return [
        *rows,
        {"what": "kvm for qemu-x86", "state": kvm, "missing": []},
        {"what": "data NIC of emulated boards", "state": nic, "missing": []},
        {"what": "serial ports", "state": "; ".join(map(access, ports())) or "no adapter is plugged in", "missing": []},
    ]


def _board(device: str, spec: MachineSpec) -> dict[str, Any]:
    """Whether an emulated board can be had: its packages, a QEMU that knows its machine; and whether its image is made by now."""
    from runner.lab.where import cache_root
    from runner.target.emulation.image import is_made, missing_tools
    from runner.target.emulation.machine import has_machine

    missing = missing_tools([spec.arch])
    image = "made" if is_made(spec.image, cache_root() / "images") else "not made"
    state = f"ready: a real power loss; image {image}"
    if missing:
        state = "needs packages"
    elif not has_machine(spec):
        state = f"not to be had: this QEMU has no machine {spec.machine}"
    return {"what": device, "state": state, "missing": missing}
