"""A profile of scarcity tried on a device, without a pipeline: made, armed, tried out against what was asked, taken back, proven to be.

    lease ─► power on ─► clear ─► before ─► made ─► armed ─► on, tried out until the time is over ─► taken back ─► after: nothing left?

As `trial.py` does it with a link. What comes and goes is tried out while the guard says that it is on.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from runner.errors import LabError
from runner.farm import health
from runner.judgement import clocks, side_by_side
from runner.model.profile import Scarcity
from runner.story import scarcity
from runner.story.arming import SPARE_S, arm
from runner.story.ground import Ground, under_way
from runner.story.plan import size_of
from runner.story.trial import NAME, IsOn, Refuse, Tell, Tried, at_hand, capabilities_of, nobody_knows
from runner.target.drivers import Request
from runner.target.session import Session

Row = dict[str, Any]
LOOK_S = 1.0


async def try_scarce(
    request: Request,
    identity: str,
    faults: Sequence[Scarcity],
    for_s: float,
    seed: int,
    tell: Tell,
    is_on: IsOn = nobody_knows,
    refuse: Refuse = lambda capabilities, has: None,
) -> Tried:
    """Holds `faults` for about `for_s`, and tries them out. Raises LabError where that cannot be done, and what `refuse` raises at what
    the device can; nothing was touched then.

    Afterwards, whatever happened, nothing of it is on the device, or it is quarantined.
    """
    held = at_hand(request, identity, f"profile try on {request.name}", wait=True, is_on=is_on)
    async with held as (target, session, lease):
        refuse(capabilities_of(session), has=size_of(session.hello))
        ground = Ground(request.name, identity, session, lease.leases, "a trial", request.say)
        if under_way(session.hello):  # its pipeline is in the very group
            found = f"{session.hello['execution'].get('run')} left an execution under way on {request.name}"
            raise LabError(found, do="runner run resume, or runner run cancel")
        await ground.clear()
        await target.power.cool()  # what a dead run heats would be renewed by us, and be over everything that is tried
        await session.ask("clear_scarcity", timeout_s=60)
        token, before = f"try.{secrets.token_hex(4)}", await scarcity.state(session, request.clock)
        programs = scarcity.programs_for(faults, NAME, seed, {**session.hello, **before["clock"]})
        tried = Tried(words=[program.steps[0].word for program in programs] or ["nothing"], measured={"before": before})
        tell("before", now(before))
        asked = scarcity.asked_of(faults)
        try:
            await session.ask("prepare_scarcity", run=token, execution=NAME, scarcity=asked, timeout_s=120)
            await arm(session, token, programs, for_s + SPARE_S)
            for program in programs:
                await session.ask("start_program", name=program.name)
            await _hold(request, session, faults, [each.name for each in programs], for_s, before, tried, tell)
        finally:
            await scarcity.revert(ground, programs)
        tried.rows["after"], tried.measured["after"] = await scarcity.as_before(session, request.clock, before, faults)
        tell("after", tried.rows["after"])
        wrong = [side_by_side.said(row) for row in tried.rows["after"] if not row["within"]]
        wrong += [] if request.type.shared else health.left_of_ours(await ground.fingerprint())
        if wrong:
            ground.quarantine(wrong)
        await session.ask("forget", run=token)
        return tried


async def _hold(
    request: Request, session: Session, faults: Sequence[Scarcity], names: list[str], for_s: float, before: Row, tried: Tried, tell: Tell
) -> None:
    """Until the time is up, and once at least: what is on at that moment is tried out."""
    until = request.clock.boottime_ns() + int(for_s * 1e9)
    while True:
        standing = {each["name"]: bool(each["on"]) for each in (await session.ask("programs"))["programs"]}
        on = [fault for fault, name in zip(faults, names, strict=True) if standing.get(name)]
        if on:
            rows, tried.measured["during"] = await scarcity.proof(session, request.clock, on, before)
            tried.rows["during"] = rows
            tell("during", rows)
        if request.clock.boottime_ns() >= until:
            break
        await request.clock.sleep(LOOK_S)
    if not tried.rows.get("during"):
        raise LabError(f"nothing of it came on within {for_s:g} s", do="try it for longer: --for 60s")


def now(state: Row) -> list[Row]:
    """What the device says, where nothing was asked."""
    versions = state.get("versions") or {}
    offset_s = clocks.offset_s(state.get("clock") or {})
    return [
        {"what": "control groups", "measured": ", ".join(f"{name} (v{version})" for name, version in sorted(versions.items())) or "none"},
        {"what": "wall clock ahead of boot-time clock", "measured": "unknown" if offset_s is None else f"{offset_s:.1f} s"},
    ]
