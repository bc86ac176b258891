"""A profile tried on a device, without a pipeline: applied, measured against what was asked, reverted, proven to be reverted.

    lease ─► power on ─► clear ─► as found ─► before ┬─► armed ─► on, measured ─► reverted ─► after: as before? ─┐
                                                     └──────────────── the next one ◄───────────────────────────┘

What is asked from the beginning to the end is measured again and again; what comes and goes is read from the far end's log of the
light probe, beside the guard's own journal. Also the way back by hand: `revert` takes back what a run that is dead has left.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from runner.errors import LabError, RunnerError
from runner.farm.lease import Lease, lent
from runner.faults.compose import Composed, compose, programs_of, too_roomy, without_heat
from runner.judgement import reached
from runner.judgement.asked import named
from runner.judgement.far_end_lines import not_logged_of, packets_of
from runner.judgement.guard_journal import GUARD, changes, guard_of
from runner.judgement.timed import from_link_log
from runner.lab.load import Reader
from runner.lab.where import state_root
from runner.model.device import DataLink, Size
from runner.model.profile import Link
from runner.story.arming import SPARE_S, arm, before_of, begin, constant, expected_of
from runner.story.ground import Ground, under_way
from runner.story.left import DRAIN_LIMIT_S
from runner.story.links import as_before, namespace_of
from runner.story.measure import LONGEST_S, Expected, Probe, at_rest, measure, start_light, stop_light
from runner.story.plan import refuse_a_shared_clock, sized
from runner.story.signs_of_life import LOST, signs_of_life
from runner.target.drivers import Request, make_target
from runner.target.far_end.client import FarEnd
from runner.target.mirror import Mirror
from runner.target.session import Session
from runner.target.target import Target

Row = dict[str, Any]
IsOn = Callable[[], Awaitable[bool | None]]  # None: nobody knows
Refuse = Callable[..., object]  # (capabilities, *, heats=False, has=None) raises AskError for what a device with these cannot do
Tell = Callable[[str, list[Row]], None]  # "before", "during", "after": what was measured, row by row
NAME = "try"  # programs are named as those of an execution of this name


@dataclass
class Tried:
    """What a trial found: `rows` by phase. The rest is what they were read from."""

    words: list[str] = field(default_factory=list)  # what was on, as its steps say it
    rows: dict[str, list[Row]] = field(default_factory=dict)
    measured: dict[str, Row] = field(default_factory=dict)  # by phase, as `measure` gives it
    faults: list[Row] = field(default_factory=list)  # what the guard did and when
    packets: list[Row] = field(default_factory=list)  # of the light probe, that came to the far end

    @property
    def reached(self) -> bool:
        """Whether it was as asked, by what was measured last; not so where nothing was."""
        return bool(self.rows.get("during")) and all(row["within"] for row in self.rows["during"])

    @property
    def reverted(self) -> bool:
        """Whether the link carries again what it did; that the device is as it was is made sure of, or it is quarantined."""
        return bool(self.rows.get("after")) and all(row["within"] for row in self.rows["after"])


@dataclass(frozen=True)
class Bench:
    """A device at hand, and its data link, which is nobody's."""

    request: Request
    link: DataLink
    target: Target
    session: Session
    lease: Lease
    far_end: FarEnd
    evidence: Path  # the folder of the far end's log; a guard's journal is put beside it
    ground: Ground
    found: dict[str, Any]  # the fingerprint before anything
    before: Row  # what the link carries without a fault


def faults_of(
    names: Sequence[str],
    reader: Reader,
    request: Request,
    link: DataLink | None,
    capabilities: Collection[str] | None = None,
    *,
    heats: bool = False,
    has: Size | None = None,
) -> Composed:
    """What profiles do that can be tried alone; nothing for `steady`, which proves it.

    Raises AskError with every complaint, each with its file and line. `capabilities` are the device's own word, None until it was asked;
    `heats`: something outside of the device slows it down, so that it need not be able to; `has`: what it has, in all.
    """
    profiles = [(name, sized(reader, name, profile)) for name in names if (profile := reader.profile(name, "runner profile try"))]
    for name, profile in profiles:
        refuse_a_shared_clock(reader, name, profile, request.name, request.type)
    reader.finish()
    composed, problems = compose(profiles, link, (), capabilities)
    problems += () if heats or capabilities is None else without_heat(profiles, capabilities)
    problems += too_roomy(profiles, has) if has else ()
    for each in problems:
        where = reader.profile_source(each.profile).where(each.path)
        staged = bool(each.path) and each.path[-1] == "stage"
        expected = "a profile that waits for no stage: a trial has none" if staged else each.expected
        reader.complain(each.found, expected, where, each.do)
    for name, profile in profiles:
        if profile.cutting and profile.cutting.fault != "steady":
            found = f"{name} cuts the power, or damages what it left, and no pipeline runs here that could go on"
            where = reader.profile_source(name).where(("faults",))
            reader.complain(found, "a profile of the link, of heat, or of what a device has too little of", where, "runner profile list")
    if sum(map(bool, (composed.links, composed.scarcities, composed.heat))) > 1:
        reader.complain(f"{', '.join(names)}: of link, device and heat more than one", "one kind of fault at a time", "profile try")
    reader.finish()
    return composed


async def nobody_knows() -> bool | None:
    return None


@contextlib.asynccontextmanager
async def at_hand(
    request: Request, identity: str, purpose: str, *, wait: bool, for_check: bool = False, is_on: IsOn = nobody_knows
) -> AsyncIterator[tuple[Target, Session, Lease]]:
    """The device under our lease, on, its session open; renewed from the beginning to the end.

    Afterwards it is off again, unless it `is_on` before, which is asked under the lease; whatever came up to then. One that is
    somebody else's by now is left as it is.
    """
    how: dict[str, Any] = {"wait": wait, "for_check": for_check, "name": request.name, "say": request.say, "clock": request.clock}
    lost: list[LabError] = []
    session: Session | None = None
    async with lent(state_root(), identity, purpose, **how) as lease:
        was_on = await is_on()
        target = await make_target(Request(**{**vars(request), "holding": lease}))
        try:
            async with signs_of_life(lease, target, request.clock, lambda: session, on_lost=lost.append):
                session = await target.bring_up(request.say)
                yield target, session, lease
        finally:
            if session is not None:
                try:
                    if not lost:
                        await session.ask("release", timeout_s=10)
                except LOST as error:
                    lost.append(error)
                except RunnerError:
                    pass  # what ended the session has been heard of already
                await session.close()
            await (target.transport.close() if lost or was_on else target.shut_down())


@contextlib.asynccontextmanager
async def bench(request: Request, identity: str, link: DataLink, tell: Tell, is_on: IsOn = nobody_knows) -> AsyncIterator[Bench]:
    """The device at hand for one profile after another, its link measured as it was found.

    Raises LabError where somebody else has the link, or it carries nothing; nothing was touched then.
    """
    purpose = f"profile try on {request.name}"
    held = at_hand(request, identity, purpose, wait=True, is_on=is_on)
    async with held as (target, session, lease), _far_end(target, link) as (far_end, evidence):
        ground = Ground(request.name, identity, session, lease.leases, "a trial", request.say, scarce=under_way(session.hello))
        await ground.clear()
        await target.power.cool()  # what a dead run heats would be renewed by us, and be over everything that is tried
        found = await ground.found(link.interface)
        probe = Probe(session, far_end, link.far_end, secrets.token_hex(8), request.clock)
        before = await at_rest(probe)
        tell("before", _as_rows(before))
        if not before["echoes"]:
            raise LabError(f"the data link of {request.name} carries nothing, without any fault", do="runner doctor")
        yield Bench(request, link, target, session, lease, far_end, evidence, ground, found, before)


async def try_out(
    request: Request,
    identity: str,
    link: DataLink,
    asked: Sequence[Link],
    for_s: float,
    seed: int,
    tell: Tell,
    is_on: IsOn = nobody_knows,
    refuse: Refuse = lambda capabilities: None,
) -> Tried:
    """Holds `asked` over the data link for about `for_s`, and measures. Raises LabError where that cannot be done, and what `refuse`
    raises at what the device can; nothing was touched then.

    Afterwards, whatever happened, nothing of it is on the link, or the device is quarantined.
    """
    async with bench(request, identity, link, tell, is_on) as at:
        refuse(capabilities_of(at.session))
        return await hold_one(at, asked, for_s, seed, tell)


async def hold_one(at: Bench, asked: Sequence[Link], for_s: float, seed: int, tell: Tell, longest_s: float = LONGEST_S) -> Tried:
    """The same on a bench, on which another one may follow: `asked` is off again, and the link as it was, when this returns.

    Raises LabError where it cannot be done, and where something of it stays: the device is quarantined then.
    """
    session, token = at.session, f"try.{secrets.token_hex(4)}"
    programs = programs_of(asked, at.link, NAME, seed, capabilities_of(session), before_of(at.found, at.link))
    tried = Tried(words=[program.steps[0].word for program in programs] or ["nothing"], measured={"before": at.before})
    probe = Probe(session, at.far_end, at.link.far_end, secrets.token_hex(8), at.request.clock)
    expected, dumped = expected_of(asked), [link.model_dump(mode="json") for link in asked]
    at.ground.expect(at.found)
    await arm(session, token, programs, for_s + SPARE_S)
    try:
        await start_light(probe, expected)
        await begin(session, programs)
        if constant(asked):
            async for tried.measured["during"] in _again_and_again(at, probe, expected, for_s, longest_s):
                compared = partial(reached.compare, dumped) if dumped else reached.restored
                tried.rows["during"] = compared(at.before, tried.measured["during"])
                tell("during", tried.rows["during"])
        else:
            await at.request.clock.sleep(for_s)
    finally:
        await stop_light(probe)
        await at.ground.take_back()
    tried.faults = changes(await _guard_journal(at, token), NAME)
    tried.packets = [line for line in packets_of(at.evidence / "link.jsonl") if line["who"] == probe.who]
    if not constant(asked):
        unlogged = [line for line in not_logged_of(at.evidence / "link.jsonl") if line.get("who") in (None, "", probe.who)]
        tried.rows["during"] = from_link_log(tried.faults, tried.packets, named(dumped, NAME), at.before, unlogged)
        tell("during", tried.rows["during"])
    tried.rows["after"], tried.measured["after"] = await as_before(probe, at.before)
    tell("after", tried.rows["after"])
    await at.ground.compare(at.found)
    await session.ask("forget", run=token)
    return tried


def capabilities_of(session: Session) -> list[str]:
    """What the device says that its kernel and its tools can do."""
    return [str(word) for word in session.hello.get("capabilities") or ()]


async def _again_and_again(at: Bench, probe: Probe, expected: Expected, for_s: float, longest_s: float) -> AsyncIterator[Row]:
    """Measurements until the time is up, one at least."""
    until = probe.clock.boottime_ns() + int(for_s * 1e9)
    while True:
        yield await measure(probe, expected, longest_s)
        left_s = (until - probe.clock.boottime_ns()) / 1e9
        if left_s <= 0:
            return
        await probe.clock.sleep(min(2.0, left_s))


async def _guard_journal(at: Bench, token: str) -> list[Any]:
    """The records of this trial's guard, all that it wrote. Raises LabError when the device holds some of them back."""
    mirror = Mirror(at.evidence / f"{token}.journal")
    try:
        state = await at.session.follow(token, GUARD, mirror)
        while mirror.sequence < state["written"]:
            here = mirror.sequence
            await asyncio.wait_for(at.session.record(lambda record: record.sequence > here), DRAIN_LIMIT_S)  # noqa: B023 - awaited at once
    except asyncio.TimeoutError:
        raise LabError(f"the guard's journal on {at.request.name} has more records than are sent") from None
    finally:
        at.session.mirror = None
        mirror.close()
    return guard_of(mirror.path)


def _as_rows(measured: dict[str, Any]) -> list[Row]:
    """What was measured, where nothing was asked."""
    lost = {way: measured[way]["sent"] - measured[way]["received"] for way in ("up", "down")}
    counted = [{"what": f"lost {way}", "measured": f"{lost[way]} of {measured[way]['sent']}"} for way in ("up", "down")]
    return [{"what": "round trip", "measured": f"{measured['rtt_p50_ms']} ms, 95 % in {measured['rtt_p95_ms']} ms"}, *counted]


async def revert(request: Request, identity: str, is_on: IsOn = nobody_knows) -> list[Row]:
    """Takes back what is armed on a device, under its lease; returns what that was. Raises LabError when some of it stays, or the
    device is held: what a living run holds is that run's."""
    held = at_hand(request, identity, f"device revert {request.name}", wait=False, for_check=True, is_on=is_on)
    async with held as (target, session, lease):
        ground = Ground(request.name, identity, session, lease.leases, "a revert by hand", request.say, scarce=under_way(session.hello))
        strays = await ground.clear_strays()
        if strays.left:
            ground.quarantine([f"left by a fault of ours: {each}" for each in strays.left])
        hot = ((await target.power.facts()).get("heat") or {}).get("on")
        left = (await target.power.cool())["left"]
        if left:
            ground.quarantine([f"it is slowed down by {path}" for path in left])
        removed = [{"name": each, "state": "left"} for each in strays.removed]
        return [*await ground.clear(), *([{"name": "heat", "state": "begun"}] if hot else []), *removed]


@contextlib.asynccontextmanager
async def _far_end(target: Target, link: DataLink) -> AsyncIterator[tuple[FarEnd, Path]]:
    facts = await target.power.facts()
    namespace = namespace_of(target.name, facts)
    with tempfile.TemporaryDirectory(prefix="runner-far-end-") as folder:
        place = Path(folder)
        async with FarEnd.open(place, place / "store", place / "log", bind=link.far_end, namespace=namespace) as far_end:
            yield far_end, place
