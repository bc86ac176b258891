"""scripts/links [NAME…] [--minutes 9]: holds every shipped link profile over one board's data link, one after another.

One boot, one session, one far end. Each profile is armed, begun, measured as `runner profile try` does, taken back, and the link proven
to be as before. What is there already is not measured again, so it can be done in pieces; page and chart are written each time.
"""

from __future__ import annotations

import asyncio
import sys
import time

import click

from benchmarks import profiles as shipped_profiles
from benchmarks.links import chart, page
from benchmarks.links.kept import Kept
from benchmarks.machine import describe
from benchmarks.page import into
from benchmarks.profiles import ROOT, Row, in_order, load, save
from runner.cli.known_device import KnownDevice, known_device
from runner.cli.output import Output
from runner.cli.trial import spoken
from runner.errors import RunnerError
from runner.faults.table import figures
from runner.model.profile import Link, Profile
from runner.story import arming
from runner.story.trial import Bench, bench, hold_one

RESULTS, PAGE, CHART = ROOT / "benchmarks" / "links" / "results.json", ROOT / "docs" / "links.md", ROOT / "docs" / "images" / "links.svg"
LONGEST_S = 35.0  # of one train: slow links are judged by fewer packets than `profile try` takes, but 2 % of loss still shows at 9.6 kbit/s
WATCHED_S, WINDOWS = 60.0, 3  # of what comes and goes: so long, or so many times
ONCE_S = 150.0  # an end within so long is waited for
AFTER_S = 5.0  # behind an end: what comes then says how much was sent before
NOT_YET = "nobody has measured it yet: `scripts/links` goes on where it was left"
ATTEMPTS, LONGEST_ATTEMPT_S = 2, 100.0  # as before an execution; what takes longer is measured once


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.option("--device", default="qemu-pi", show_default=True, help="A device of the inventory that has a data link.")
@click.option("--minutes", type=click.FloatRange(0.1, 600), help="Begin no other profile after so long.")
@click.option("--again", is_flag=True, help="Also those that were measured already.")
@click.option("--missed", is_flag=True, help="Also those that were not reached, or not reverted.")
@click.option("--page", "only_page", is_flag=True, help="Make page and chart again from results.json; measure nothing.")
def main(names: tuple[str, ...], device: str, minutes: float | None, again: bool, missed: bool, only_page: bool) -> None:
    """Asked against measured for every shipped link profile (or NAMEs): docs/links.md and its chart."""
    kept = load(RESULTS)
    profiles = shipped()
    kept["profiles"] = {name: value for name, value in kept["profiles"].items() if name in profiles}
    if not only_page:
        kept |= {"device": device, "machine": describe(ROOT)}
        until = time.monotonic() + (minutes or 1e6) * 60
        for name, profile in profiles.items():
            if why := not_alone(profile):
                kept["profiles"][name] = Kept(name, profile.title, _does(profile), why=why).as_json()
        known = {name: Kept.from_json(value) for name, value in kept["profiles"].items()}
        well = {name for name, one in known.items() if one.why or (one.reached and one.reverted)}
        done = {name for name, one in known.items() if one.why or (one.rows and not again and (name in well or not missed))}
        todo = sorted((name for name in names or profiles if name not in done), key=lambda name: name in known)
        say(f"{len(todo)} of {len(profiles)} profiles to measure")
        if todo:
            asyncio.run(_measure(known_device(Output(False, str(ROOT)), device), {name: profiles[name] for name in todo}, kept, until))
    _write(kept)
    results = results_of(kept)
    sys.exit(0 if all(each.reached and each.reverted for each in results if not each.why) else 1)


def shipped() -> dict[str, Profile]:
    """Every profile of ours that does something to a data link."""
    return shipped_profiles.shipped("scripts/links", lambda profile: profile.links)


def not_alone(profile: Profile) -> str:
    """Why a profile cannot be held without a pipeline; "" for one that can."""
    stages = sorted({link.stage for link in profile.links if link.stage})
    return f"it is tied to the stage {', '.join(stages)} of its entry, and is measured in that entry's runs" if stages else ""


def watched_s(links: tuple[Link, ...]) -> float:
    """How long what comes and goes is watched: for its first times, not longer than WATCHED_S, but once to an end within ONCE_S; 0 for what
    is measured at once."""
    if arming.constant(links):
        return 0.0
    ends = [[WATCHED_S if end is None else end + AFTER_S for _, end in link.windows[:WINDOWS]] or [WATCHED_S] for link in links]
    firsts = [first for first in map(min, ends) if first <= ONCE_S]
    return max([min(WATCHED_S, max(map(max, ends))), *firsts])


async def _measure(known: KnownDevice, profiles: dict[str, Profile], kept: Row, until: float) -> None:
    """Each of `profiles` in one session, kept as soon as it is known. Stops where the board is not as it was."""
    link = known.line.data_link or known.type.data_link
    assert link, "an emulated board has one"
    kept["what"] = known.type.title
    async with bench(known.request(say), known.identity, link, _tell) as at:
        for name, profile in profiles.items():
            if time.monotonic() > until:
                return
            asked = profile.links
            say(f"{name}: {_does(profile)}")
            kept["profiles"][name] = (await _one(at, name, profile, asked)).as_json()
            save(RESULTS, kept)


async def _one(at: Bench, name: str, profile: Profile, asked: tuple[Link, ...]) -> Kept:
    one = Kept(name, profile.title, _does(profile), [link.model_dump(mode="json") for link in asked])
    begun = time.monotonic()
    while one.attempts < ATTEMPTS and not one.reached and time.monotonic() - begun < LONGEST_ATTEMPT_S:
        one.attempts += 1
        tried = await hold_one(at, asked, watched_s(asked), 1, _tell, LONGEST_S)
        one.before, one.during, one.after = (tried.measured.get(phase, {}) for phase in ("before", "during", "after"))
        one.came_and_went, one.left = ([] if one.during else tried.rows["during"]), []
    one.seconds = round(time.monotonic() - begun, 1)
    return one


def _does(profile: Profile) -> str:
    return "; ".join(figures(link) for link in profile.links)


def _tell(phase: str, rows: list[Row]) -> None:
    say(spoken(phase, rows))


def results_of(kept: Row) -> list[Kept]:
    """Every shipped profile, in the order of names: as it was measured, or with the reason why not."""
    return in_order(kept, shipped(), Kept.from_json, lambda name, profile: Kept(name, profile.title, _does(profile), why=NOT_YET))


def _write(kept: Row) -> None:
    results = results_of(kept)
    save(RESULTS, kept)
    PAGE.write_text(into(PAGE.read_text(encoding="utf-8"), page.markdown(results, kept)), encoding="utf-8")
    CHART.write_text(chart.svg(results), encoding="utf-8")
    say(f"written: {', '.join(str(path.relative_to(ROOT)) for path in (RESULTS, PAGE, CHART))}")


def say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    try:
        main(prog_name="scripts/links")
    except RunnerError as error:
        say(str(error))
        sys.exit(error.exit_code)
