"""`profile try` and `device revert`: a profile on a device without a pipeline, and the way back by hand."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from runner.cli.known_device import known_device
from runner.cli.output import Output, columns
from runner.errors import AskError, LabError

HEAD = ("", "asked", "measured", "tolerance", "")
# Else the device would be quarantined, and the command have ended with that:
NOT_AS_FAST = "taken back, and the device's state is as before, but its link DOES NOT CARRY what it did: a busy host makes a slow board"


@click.command("try")
@click.argument("names", metavar="NAME…", nargs=-1, required=True)
@click.option("--device", default="qemu-pi", show_default=True, help="A device of the inventory that has a data link.")
@click.option("--for", "duration", default="10s", show_default=True, metavar="TIME", help="How long: 30, 30s, 5m; measuring may go on.")
@click.option("--seed", type=int, default=1, show_default=True, help="Chooses the times of what happens by chance.")
@click.pass_obj
def profile_try(output: Output, names: tuple[str, ...], device: str, duration: str, seed: int) -> int:
    """Hold profiles over a device's data link: apply them, measure asked against measured, revert, and prove it."""
    import asyncio

    from runner.cli.power import is_on, seconds
    from runner.lab.load import Reader
    from runner.story.trial import links_of, try_out

    known, for_s = known_device(output, device), seconds(duration, "to hold a profile for", "runner help profile try")
    link = known.line.data_link or known.type.data_link
    asked = links_of(names, Reader(output.lab(quiet=True)), link)
    if link is None:  # not reached: links_of has complained
        raise AskError(f"{device} has no data link", expected="a device that has one", do="runner device list")

    def tell(phase: str, rows: list[dict[str, Any]]) -> None:
        output.say(f"{phase}\n" + table(rows))

    refuse = partial(links_of, names, Reader(output.lab(quiet=True)), link)
    work = try_out(known.request(output.say), known.identity, link, asked, for_s, seed, tell, partial(is_on, known), refuse)
    tried = asyncio.run(output.awaited(f"{device} to answer, and its link to be measured", work))
    value: dict[str, Any] = {"device": device, "profiles": list(names), "on": tried.words, "rows": tried.rows}
    value |= {"reached": tried.reached, "reverted": tried.reverted}
    said = f"{'reached' if tried.reached else 'NOT REACHED'}, {'reverted: the link is as it was' if tried.reverted else NOT_AS_FAST}"
    code = 0 if tried.reached and tried.reverted else LabError.exit_code
    then = "" if tried.reverted else f"\nnext: runner device check {device}, and try again on a less busy machine"
    return output.result(value, f"{device}: {'; '.join(tried.words)}\n{said}{then}", code)


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of `judgement/side_by_side.py` for a terminal."""
    verdict = {True: "ok", False: "OUTSIDE", None: ""}
    cells = [[str(row.get(key, "")) for key in ("what", "asked", "measured", "tolerance")] + [verdict[row.get("within")]] for row in rows]
    return columns(HEAD, cells)


@click.command("revert")
@click.argument("name", required=False)
@click.option("--all", "every", is_flag=True, help="Every device of the inventory that has a data link.")
@click.pass_obj
def device_revert(output: Output, name: str | None, every: bool) -> int:
    """Take back what a dead run left on the link of device NAME, and say what it was. What a living run holds is refused.

    A quarantine stays, and is said: only `device check` lifts it.
    """
    import asyncio

    from runner.cli.check import shown
    from runner.cli.power import is_on
    from runner.farm.lease import Leases
    from runner.lab.load import Reader
    from runner.lab.where import state_root
    from runner.story.trial import revert

    if bool(name) == every:
        raise AskError("one device, or --all of them", expected="runner device revert NAME, or --all", do="runner device list")
    names = [name] if name else []
    if every:
        reader = Reader(output.lab(quiet=True))
        inventory = reader.inventory()
        reader.finish()
        assert inventory
        devices = (known_device(output, each, quiet=True) for each in inventory[0].devices)
        names = [each.name for each in devices if each.line.data_link or each.type.data_link]
    rows: list[dict[str, Any]] = []
    said: list[str] = []
    failed: list[LabError] = []
    for each in names:
        known = known_device(output, each, quiet=bool(rows or failed))
        try:
            work = revert(known.request(output.say), known.identity, partial(is_on, known))
            done = asyncio.run(output.awaited(f"{each} to answer", work))
            stays = Leases(state_root()).quarantined(known.identity)
            rows.append({"device": each, "reverted": [program["name"] for program in done], "quarantine": shown(stays)})
            said.append(f"{each}: {', '.join(rows[-1]['reverted']) or 'nothing was left'}")
            said += [f"{each}: still {stays}", f"next: runner device check {each}"] if stays else []
        except LabError as error:
            if not every:
                raise
            output.say(f"{each}: {error}")
            failed.append(error)
            rows.append({"device": each, "error": error.complaints[0].found})
    return output.result({"devices": rows}, "\n".join(said), LabError.exit_code if failed else 0)
