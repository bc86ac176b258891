"""`device power`: is it on, and on, off, cut by hand.

    status          looks, and changes nothing
    on, off, cut    under the device's lease, so never while a run holds it; taken, done, given back. A quarantined device obeys,
                    too: how else could somebody look at it? It stays quarantined, and that is said

A board that was put on stays on for as long as it was told to (`--for`); then its keeper ends, and the board with it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from runner.cli.known_device import KnownDevice, known_device
from runner.cli.output import Output
from runner.errors import AskError, LabError

if TYPE_CHECKING:
    from runner.farm.lease import Quarantine

UNITS_S = {"s": 1, "m": 60, "h": 3600}
LONGEST_S = 24 * 3600


@click.command("power")
@click.argument("name")
@click.argument("verb", type=click.Choice(["status", "on", "off", "cut"]), default="status")
@click.option("--for", "duration", default="10m", show_default=True, metavar="TIME", help="How long a board stays on: 90 or 90s, 30m, 2h.")
@click.pass_obj
def device_power(output: Output, name: str, verb: str, duration: str) -> int:
    """Whether device NAME is on (status, which only looks), or put it on, off in order, or cut its power at once."""
    import asyncio

    from runner.cli.check import shown

    duration_s = seconds(duration, "to stay on", "runner help device power")
    device = known_device(output, name)
    if verb == "status":
        value = asyncio.run(status(device))
        value, text = {**value, "held_by": held_by(device)}, status_text(device, value)
    else:
        value, said = asyncio.run(_act(output, device, verb, duration_s))
        text = f"{name}: {said}"
    if stays := quarantine_of(device):
        text += f"\n{name}: still {stays}\nnext: runner device check {name}"
    return output.result({"device": name, **value, "quarantine": shown(stays)}, text)


def seconds(text: str, purpose: str, do: str) -> float:
    """`90`, `90s`, `30m`, `2h` in seconds. Raises AskError for anything else, and for more than a day; `purpose` says what the time is
    for ("to stay on"), `do` where the command's option is explained."""
    found = re.fullmatch(r"([0-9]{1,5})([smh]?)", text)
    duration_s = int(found[1]) * UNITS_S[found[2] or "s"] if found else 0
    if not 0 < duration_s <= LONGEST_S:
        raise AskError(f"{text!r} is no time {purpose}", expected="seconds (90), or 90s, 30m, 2h; at most 24h", where="--for", do=do)
    return float(duration_s)


async def status(device: KnownDevice) -> dict[str, Any]:
    """`on` (None: nobody knows), and what else is known; nothing is changed, and nothing is made."""
    if device.emulated:
        facts = await device.board_facts()
        if not facts or not facts["on"]:
            return {"on": False, "last_end": facts["last_end"] if facts else ""}
        keys = ("port", "power_ons", "lease_left_s", "accelerator", "frozen")
        return {"on": True, "since": facts["on_since"]["wall_s"], **{key: facts[key] for key in keys}}
    if device.type.power == "process":
        from runner.clock import SystemClock
        from runner.target.power.process import ProcessPower

        pid = ProcessPower(device.folder, device.folder, SystemClock())._running()
        return {"on": pid is not None, **({"supervisor_pid": pid} if pid else {})}
    return {"on": None}


async def is_on(device: KnownDevice) -> bool | None:
    """None: nobody knows."""
    found: bool | None = (await status(device))["on"]
    return found


def status_text(device: KnownDevice, value: dict[str, Any]) -> str:
    name, holder = device.name, held_by(device)
    lines = [f"held by {holder}"] if holder else []
    if value["on"] is None:
        lines.append(f"its power driver {device.type.power!r} does not say whether it is on")
    elif not value["on"]:
        last = f", {value['last_end']}" if value.get("last_end") else ""
        lines += [f"off{last}", *([] if device.is_this_machine else [f"next: runner device power {name} on"])]
    elif device.emulated:
        left = f"its keeper ends it in {value['lease_left_s']:.0f} s unless somebody renews"
        frozen = ", but its emulator is stopped" if value["frozen"] else ""
        way = f"SSH at 127.0.0.1:{value['port']}" if device.networked else "reached over its serial line alone"
        lines += [f"on{frozen}, {way}, {left}", f"next: {device.shell}"]
    else:
        lines.append(f"on: its supervisor runs as process {value['supervisor_pid']}")
    first, *more = lines
    return "\n".join([f"{name}: {first}", *more])


def held_by(device: KnownDevice) -> str:
    """Who holds the device's lease now, in words; "" when nobody does."""
    from runner.farm.lease import Leases, described
    from runner.lab.where import state_root

    leases = Leases(state_root())
    if not leases.path.exists():  # to look must not make it
        return ""
    return next((described(held) for identity, held in leases.every() if identity == device.identity and held.alive), "")


def quarantine_of(device: KnownDevice) -> Quarantine | None:
    """Why the device is lent to no run; None where nothing stands against it."""
    from runner.farm.lease import Leases
    from runner.lab.where import state_root

    leases = Leases(state_root())
    return leases.quarantined(device.identity) if leases.path.exists() else None  # to look must not make it


def outstanding(device: KnownDevice) -> bool:
    """Whether something of ours is known that may be left on the device."""
    from runner.farm.lease import Leases
    from runner.lab.where import state_root

    leases = Leases(state_root())
    return leases.path.exists() and leases.outstanding(device.identity)  # to look must not make it


async def _act(output: Output, device: KnownDevice, verb: str, duration_s: float) -> tuple[dict[str, Any], str]:
    """Does it under the lease; what is known afterwards, and the same in words. Raises LabError, naming the holder of a taken device."""
    from runner.farm.lease import Taken, lent
    from runner.lab.where import state_root
    from runner.target.drivers import make_target

    name = device.name
    if verb == "on" and device.is_this_machine and not (device.folder / "at-boot").exists():
        found = f"{name} has no supervisor to start yet: a run installs it"
        raise LabError(found, expected="a device that a run was on", do=f"runner exec EDGE-002 --device {name} --quick")
    if verb == "cut" and not (await status(device))["on"]:
        raise LabError(f"{name} is off, so its power cannot be cut", expected="a device that is on", do=f"runner device power {name} on")
    try:
        async with lent(state_root(), device.identity, f"device power {name} {verb}", wait=False, for_check=True, name=name) as lease:
            power = (await make_target(device.request(output.say, holding=lease))).power
            with output.waiting(f"{name} to go {'on' if verb == 'on' else 'off'}"):
                if verb == "cut":
                    return _cut(await power.cut())
                if verb == "off":
                    await power.off()
                    return {"on": False}, "off"
                await power.on()
                await power.keep_on(duration_s)
    except Taken as error:
        do = f"wait until that has ended; to look: runner device power {name}"
        raise LabError(error.complaints[0].found, expected="a free device", do=do) from error
    if device.emulated:
        said = f"on for {duration_s:g} s, or until a run on it ends"
        if device.networked:
            said += f"; SSH answers in some seconds\nnext: {device.shell}"
        return {"on": True, "for_s": duration_s}, said
    return {"on": True}, "on" + (
        "; its supervisor ends by itself when it has had nothing to do for 120 s" if device.is_this_machine else ""
    )


def _cut(facts: dict[str, Any]) -> tuple[dict[str, Any], str]:
    lost = facts.get("writes_lost", {}).get("count")
    return {"on": False, "cut": facts}, f"cut: {facts['method']}" + (f"; {lost} unflushed writes lost" if lost is not None else "")
