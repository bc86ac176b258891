"""scripts/heat-and-scarcity [NAME…] [--minutes 9]: tries every shipped profile of heat and of scarcity on one board, one after another.

    profile ── runner --json profile try NAME ──► asked and measured, and back again ──► results.json ──► docs/heat-and-scarcity.md

The command itself is used, as an operator would. What is there already is not tried again, so it can be done in pieces.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import click

from benchmarks import profiles as shipped_profiles
from benchmarks.heat_and_scarcity import page
from benchmarks.heat_and_scarcity.kept import Kept, kept_of
from benchmarks.machine import describe
from benchmarks.page import into
from benchmarks.profiles import ROOT, Row, in_order, load, save
from runner.cli.known_device import known_device
from runner.cli.output import Output
from runner.errors import RunnerError
from runner.model.profile import Profile

RESULTS, PAGE = ROOT / "benchmarks" / "heat_and_scarcity" / "results.json", ROOT / "docs" / "heat-and-scarcity.md"
NOT_YET = "nobody has tried it yet: `scripts/heat-and-scarcity` goes on where it was left"
NOT_ALONE = {"edge-001-brisk": "it comes and goes within ten seconds, too soon for a trial to time it; EDGE-001's runs on `local` do"}
ATTEMPTS, LIMIT_S = 2, 1200.0  # a busy machine may be calmer the second time; no day of a profile lasts so long


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.option("--device", default="qemu-pi", show_default=True, help="A device of the inventory.")
@click.option("--minutes", type=click.FloatRange(0.1, 600), help="Begin no other profile after so long.")
@click.option("--again", is_flag=True, help="Also those that were tried already.")
@click.option("--missed", is_flag=True, help="Also those that were not reached, or not reverted.")
@click.option("--page", "only_page", is_flag=True, help="Make the page again from results.json; try nothing.")
def main(names: tuple[str, ...], device: str, minutes: float | None, again: bool, missed: bool, only_page: bool) -> None:
    """Asked against measured for every shipped profile of heat and scarcity (or NAMEs): docs/heat-and-scarcity.md."""
    kept = load(RESULTS)
    profiles = shipped()
    if unknown := [name for name in names if name not in profiles]:
        raise click.UsageError(f"no profile of heat or scarcity is called {unknown[0]!r}")
    if not only_page:
        known = known_device(Output(False, str(ROOT)), device)
        kept |= {"device": device, "what": known.type.title, "machine": describe(ROOT)}
        done = {name for name, value in kept["profiles"].items() if not again and not (missed and _is_missed(Kept.from_json(value)))}
        _try([name for name in names or profiles if name in names or name not in done], profiles, kept, minutes)
    _write(kept, profiles)
    sys.exit(1 if any(_is_missed(each) for each in results_of(kept, profiles) if not each.why) else 0)


def _try(names: list[str], profiles: dict[str, Profile], kept: Row, minutes: float | None) -> None:
    """One by one, kept as soon as it is known; none is begun after so many minutes."""
    until = time.monotonic() + (minutes or 1e6) * 60
    for name in names:
        if time.monotonic() > until:
            return
        kept["profiles"][name] = _tried(name, profiles[name], str(kept["device"])).as_json()
        _write(kept, profiles)


def shipped() -> dict[str, Profile]:
    """Every profile of ours that makes a device warm, or leaves it too little."""
    return shipped_profiles.shipped("scripts/heat-and-scarcity", lambda profile: profile.scarcities or profile.heat)


def results_of(kept: Row, profiles: dict[str, Profile]) -> list[Kept]:
    """Every shipped profile, in the order of names: as it was tried, or with the reason why not."""
    return in_order(kept, profiles, Kept.from_json, lambda name, profile: Kept(name, profile.title, why=NOT_YET))


def _tried(name: str, profile: Profile, device: str) -> Kept:
    command = [sys.executable, "-m", "runner", "--json", "--lab", str(ROOT), "profile", "try", name, "--device", device]
    found = Kept(name, profile.title, why=NOT_ALONE.get(name, ""))
    if found.why:
        return found
    for attempt in range(1, ATTEMPTS + 1):
        say(f"{name}: {profile.title}")
        began = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S, check=False)
        answer = json.loads(done.stdout.strip().splitlines()[-1])
        found = kept_of(name, profile.title, answer, time.monotonic() - began, attempt)
        say(f"  {found.verdict}")
        if found.why or not _is_missed(found):
            break
    return found


def _is_missed(found: Kept) -> bool:
    return not found.why and not (found.reached and found.reverted)


def _write(kept: Row, profiles: dict[str, Profile]) -> None:
    kept["profiles"] = {name: value for name, value in kept["profiles"].items() if name in profiles}
    save(RESULTS, kept)
    text = page.markdown(results_of(kept, profiles), kept)
    PAGE.write_text(into(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")


def say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    try:
        main(prog_name="scripts/heat-and-scarcity")
    except RunnerError as error:
        say(str(error))
        sys.exit(error.exit_code)
