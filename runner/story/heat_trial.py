"""A profile of heat tried on a device, without a pipeline: told, warmed by work on every core, timed at each clock, cooled, proven to be.

    lease ─► power on ─► clear ─► rest ─► told ─► full ─► warm, every core works: timed at each clock ─► cool ─► after: as before?

As `trial.py` does it with a link. The day of a profile takes as long as its pace says; how long it is tried may be less, or more.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from typing import Any

from runner.errors import RunnerError
from runner.faults import thermal
from runner.judgement import slowed
from runner.lab.load import Reader
from runner.model.plan import HeatPlan
from runner.story.arming import SPARE_S
from runner.story.ground import Ground, under_way
from runner.story.heat import Heating, as_before, at_rest
from runner.story.plan import heat_of
from runner.story.trial import NAME, IsOn, Refuse, Tell, Tried, at_hand, capabilities_of, nobody_knows
from runner.target.drivers import Request

Row = dict[str, Any]
LOOK_S = 2.0
STILL_S = 30.0  # so much longer than it is looked at every core works


def plan_of(names: Sequence[str], reader: Reader, request: Request) -> HeatPlan | None:
    """The heat of profiles, over this device; None where they have none. Raises AskError with every complaint."""
    profiles = {name: profile for name in names if (profile := reader.profile(name, "runner profile try"))}
    plan = heat_of(reader, profiles, request.type, request.name)
    if plan is not None and plan.asked.stage:
        expected = "a profile that waits for no stage: a trial has none"
        reader.complain(f"its heat waits for the stage {plan.asked.stage!r}", expected, "runner profile try")
    reader.finish()
    return plan


def day_s(plan: HeatPlan) -> float:
    """How long a profile's own day is, in real seconds; a minute where its air stays as it is."""
    last_s = plan.asked.timeline[-1][0]
    return plan.asked.for_s or (last_s / plan.asked.pace if last_s else 60.0)


async def try_heat(
    request: Request,
    identity: str,
    plan: HeatPlan,
    for_s: float,
    tell: Tell,
    is_on: IsOn = nobody_knows,
    refuse: Refuse = lambda capabilities, heats: None,
) -> Tried:
    """Heats a device by `plan` for about `for_s` while all of its cores work. Raises LabError where that cannot be done, and what `refuse`
    raises at what the device can; nothing was touched then.

    Each clock that a busy board has for long enough by the model is to be timed, or the heat was not reached.
    Afterwards, whatever happened, nothing slows it down, or it is quarantined.
    """
    held = at_hand(request, identity, f"profile try on {request.name}", wait=True, is_on=is_on)
    async with held as (target, session, lease):
        refuse(capabilities_of(session), heats=bool(target.power.heats))
        ground = Ground(request.name, identity, session, lease.leases, "a trial", request.say, scarce=under_way(session.hello))
        token, own, state = f"try.{secrets.token_hex(4)}", not target.power.heats, target.home.state
        heating = Heating(target.power, session, plan, f"{NAME}.thermal-1", state, own, for_s + SPARE_S, token, NAME)

        await ground.clear()
        await heating.cool(ground)
        await heating.look_at_clocks(request.type)
        found = None if request.type.shared else await ground.fingerprint()
        if found is not None:
            ground.expect(found)
        rest = await at_rest(session, heating.by, beside=heating.beside)
        here = f", {rest['own']['duration_s']:g} s here" if rest["own"] else ""
        tell("before", [_row("fixed work", f"{rest['device'][heating.by]:g} s there{here}")])
        tried = Tried(words=[thermal.figures(plan)], measured={"before": rest})
        try:
            await heating.tell()
            full = await heating.full()
            await session.ask("burn", for_s=for_s + STILL_S, confined=heating.confined)
            await heating.warm()
            until = request.clock.boottime_ns() + int(for_s * 1e9)
            while request.clock.boottime_ns() < until:
                sample = await heating.look()
                if sample is not None:
                    tell(f"at {sample['said'][-1]['model_s']:.0f} s of the model", _now(sample, full, heating.by))
                await request.clock.sleep(LOOK_S)
            tried.measured["during"] = {"full": full, "samples": heating.samples, "heat": await heating.said()}
            tried.rows["during"] = slowed.compare(plan.told, full, heating.samples, heating.by)
            tried.rows["during"] += slowed.not_timed(plan.told, for_s, heating.samples)
            tell("during", tried.rows["during"])
        finally:
            with contextlib.suppress(RunnerError):  # whatever ended the session: the work ends with its time, and nothing waits for it
                await session.ask("burn", for_s=0)
            left = await heating.cool(ground)
        after = tried.measured["after"] = await as_before(session, heating.by, rest)
        tried.rows["after"] = slowed.restored(rest, after, left, heating.by)
        tell("after", tried.rows["after"])
        if left:
            ground.quarantine([f"it is slowed down by {path}" for path in left])
        if found is not None:
            await ground.compare(found)
        await session.ask("forget", run=token)
        return tried


def _now(sample: Row, full: Row, by: str) -> list[Row]:
    """One sample, where nothing is judged yet."""
    said, ratio = sample["said"][-1], full["device"][by] / sample["device"][by]
    clock = f"{sample['mhz']:g} MHz, {ratio:.2f} of the full clock's speed" + ("" if sample["steady"] else " (the clock changed meanwhile)")
    return [_row("die", f"{said['die_c']:.1f} °C"), _row("clock", clock)]


def _row(what: str, measured: str) -> Row:
    return {"what": what, "measured": measured}
