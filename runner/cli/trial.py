"""`profile try` and `device revert`: a profile on a device without a pipeline, and the way back by hand."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from runner.cli.known_device import KnownDevice, device_names, known_device
from runner.cli.output import Output, columns
from runner.errors import AskError, LabError

if TYPE_CHECKING:
    from runner.faults.compose import Composed
    from runner.model.plan import HeatPlan

Row = dict[str, Any]
HEAD = ("", "asked", "measured", "tolerance", "")
# Else the device would be quarantined, and the command have ended with that:
NOT_AS_FAST = "taken back, and the device's state is as before, but its link DOES NOT CARRY what it did: a busy host makes a slow board"


@click.command("try")
@click.argument("names", metavar="NAME…", nargs=-1, required=True)
@click.option("--device", default="local", show_default=True, help="A device of the inventory.")
@click.option("--for", "duration", metavar="TIME", help="How long: 30, 30s, 5m; measuring may go on. [default: 10s; heat: its own day]")
@click.option("--seed", type=int, default=1, show_default=True, help="Chooses the times of what happens by chance.")
@click.pass_obj
def profile_try(output: Output, names: tuple[str, ...], device: str, duration: str | None, seed: int) -> int:
    """Hold profiles over a device or its data link: apply them, measure asked against measured, revert, and prove it."""
    import asyncio

    from runner.cli.power import is_on, seconds
    from runner.lab.load import Reader
    from runner.story.heat_trial import day_s, try_heat
    from runner.story.scarce_trial import try_scarce
    from runner.story.trial import faults_of, try_out

    known, for_s = known_device(output, device), seconds(duration or "10s", "to hold a profile for", "runner help profile try")
    link, request = known.data_link, known.request(output.say)
    try:
        asked, heat = _planned(output, names, known)
    except AskError as error:
        do = _elsewhere(output, names)
        raise AskError.of(replace(each, do=do or each.do) for each in error.complaints) from error

    verdicts: dict[str, list[tuple[Any, ...]]] = {}

    def tell(phase: str, rows: list[Row]) -> None:
        """What is measured again and again is news only where it is judged otherwise."""
        before, verdicts[phase] = verdicts.get(phase), [(row["what"], row.get("asked"), row.get("within")) for row in rows]
        if before != verdicts[phase]:
            output.say(spoken(phase, rows))

    refuse = partial(faults_of, names, Reader(output.lab(quiet=True)), request, link)
    held = partial(is_on, known)
    if heat is not None:
        work = try_heat(request, known.identity, heat, for_s if duration else day_s(heat), tell, held, refuse)
    elif asked.scarcities:
        work = try_scarce(request, known.identity, asked.scarcities, for_s, seed, tell, held, refuse)
    else:
        assert link
        work = try_out(request, known.identity, link, asked.links, for_s, seed, tell, held, refuse)
    tried = asyncio.run(output.awaited(f"{device} to answer, and to be measured", work))
    value: dict[str, Any] = {"device": device, "profiles": list(names), "on": tried.words, "rows": tried.rows}
    value |= {"reached": tried.reached, "reverted": tried.reverted}
    of_link = not asked.scarcities and heat is None
    reverted = f"reverted: the {'link' if of_link else 'device'} is as it was"
    said = f"{'reached' if tried.reached else 'NOT REACHED'}, {reverted if tried.reverted else NOT_AS_FAST if of_link else 'NOT AS IT WAS'}"
    code = 0 if tried.reached and tried.reverted else LabError.exit_code
    then = "" if tried.reverted else f"\nnext: runner device check {device}, and try again on a less busy machine"
    return output.result(value, f"{device}: {'; '.join(tried.words)}\n{said}{then}", code)


def _planned(output: Output, names: tuple[str, ...], device: KnownDevice) -> tuple[Composed, HeatPlan | None]:
    """What profiles do to a device, and their heat, as far as files say it. Raises AskError with every complaint."""
    from runner.lab.load import Reader
    from runner.story.heat_trial import plan_of
    from runner.story.trial import faults_of

    reader, request = Reader(output.lab(quiet=True)), device.request(output.say)
    asked = faults_of(names, reader, request, device.data_link)
    heat = plan_of(names, reader, request) if asked.heat else None
    if device.data_link is None and not asked.scarcities and heat is None:
        raise AskError(f"{device.name} has no data link", expected="a device that has one", do="runner device list")
    return asked, heat


def _elsewhere(output: Output, names: tuple[str, ...]) -> str:
    """How profiles are tried on those devices of the inventory where no file keeps them from it; "" where there is none."""
    fit: list[str] = []
    for name in device_names(output):
        with contextlib.suppress(AskError):
            _planned(output, names, known_device(output, name, quiet=True))
            fit.append(name)
    others = f"; or on {', '.join(fit[1:])}" if fit[1:] else ""
    return f"runner profile try {' '.join(names)} --device {fit[0]}{others}" if fit else ""


def spoken(phase: str, rows: list[Row]) -> str:
    """Rows of `judgement/side_by_side.py` for a terminal: a table of asked and measured, or a line where nothing was asked."""
    if not any("asked" in row for row in rows):
        return f"{phase}: " + "; ".join(f"{row['what']} {row['measured']}" for row in rows)
    verdict = {True: "ok", False: "OUTSIDE", None: ""}
    cells = [[str(row.get(key, "")) for key in ("what", "asked", "measured", "tolerance")] + [verdict[row.get("within")]] for row in rows]
    return f"{phase}\n{columns(HEAD, cells)}"


@click.command("revert")
@click.argument("name", required=False)
@click.option("--all", "every", is_flag=True, help="Every device that is on, or may have something left.")
@click.pass_obj
def device_revert(output: Output, name: str | None, every: bool) -> int:
    """Take back what a dead run left on device NAME or its link, and say what it was. What a living run holds is refused.

    A quarantine stays, and is said: only `device check` lifts it. A device that is off is put on for the time; with --all only where
    something of ours is known that may be left there.
    """
    import asyncio

    if bool(name) == every:
        raise AskError("one device, or --all of them", expected="runner device revert NAME, or --all", do="runner device list")
    rows: list[dict[str, Any]] = []
    said: list[str] = []
    failed: list[LabError] = []
    for device in [known_device(output, name)] if name else _every_device(output):
        try:
            row, words = (asyncio.run(_let_alone(device)) if every else None) or asyncio.run(_reverted(output, device))
            rows.append({"device": device.name, **row})
            said += words
        except LabError as error:
            if not every:
                raise
            output.say(f"{device.name}: {error}")
            failed.append(error)
            rows.append({"device": device.name, "error": error.complaints[0].found})
    return output.result({"devices": rows}, "\n".join(said), LabError.exit_code if failed else 0)


async def _reverted(output: Output, device: KnownDevice) -> tuple[dict[str, Any], list[str]]:
    """Does it; what is to be said of it, for a program and for a person. Raises LabError."""
    from runner.cli.check import shown
    from runner.cli.power import is_on, quarantine_of
    from runner.story.trial import revert

    work = revert(device.request(output.say), device.identity, partial(is_on, device))
    names = [program["name"] for program in await output.awaited(f"{device.name} to answer", work)]
    said, stays = [f"{device.name}: {', '.join(names) or 'nothing was left'}"], quarantine_of(device)
    said += [f"{device.name}: still {stays}", f"next: runner device check {device.name}"] if stays else []
    return {"reverted": names, "quarantine": shown(stays), "looked": True}, said


async def _let_alone(device: KnownDevice) -> tuple[dict[str, Any], list[str]] | None:
    """The same of a device that `--all` passes over: it cannot be used, or is off, and nothing of ours is known to be left. None where
    it is to be looked at. Raises LabError for one that cannot be, and may have something left."""
    from runner.cli.power import is_on, outstanding

    may_be_left = outstanding(device)
    if device.unusable and may_be_left:
        raise LabError.of(device.unusable)
    if device.unusable:
        return {"error": device.unusable[0].found, "reverted": [], "looked": False}, [str(why) for why in device.unusable]
    if may_be_left or await is_on(device) is not False:
        return None
    said = f"{device.name}: off, and nothing of ours is known to be left; to look all the same: runner device revert {device.name}"
    return {"reverted": [], "quarantine": None, "looked": False}, [said]


def _every_device(output: Output) -> list[KnownDevice]:
    """Those of the inventory, also those that cannot be used. Raises AskError for what is wrong in a file."""
    return [known_device(output, name, quiet=True, for_use=False) for name in device_names(output)]
