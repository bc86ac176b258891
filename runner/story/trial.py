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
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.errors import AskError, Complaint, LabError, RunnerError
from runner.farm import health
from runner.farm.lease import LEASE_S, Lease, lent
from runner.faults.compose import compose, programs_of
from runner.judgement import reached
from runner.judgement.evidence import GUARD, changes, guard_of, packets_of
from runner.lab.where import state_root
from runner.model.device import DataLink
from runner.model.profile import Link, Profile
from runner.story import links
from runner.story.left import DRAIN_LIMIT_S
from runner.story.measure import LONGEST_S, Expected, Probe, measure, start_light, stop_light
from runner.target.drivers import Request, make_target
from runner.target.far_end.client import FarEnd
from runner.target.mirror import Mirror
from runner.target.session import Session
from runner.target.target import Target

Row = dict[str, Any]
Tell = Callable[[str, list[Row]], None]  # "before", "during", "after": what was measured, row by row
RENEW_EVERY_S = 20.0
RESTS, CALM_MS = 4, 30.0
NAME = "try"  # programs are named as those of an execution of this name


@dataclass
class Tried:
    """What a trial found. `rows` by phase; `left` is what is not as it was. The rest is what the rows were read from."""

    words: list[str] = field(default_factory=list)  # what was on, as its steps say it
    rows: dict[str, list[Row]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    measured: dict[str, Row] = field(default_factory=dict)  # by phase, as `measure` gives it
    faults: list[Row] = field(default_factory=list)  # what the guard did and when
    packets: list[Row] = field(default_factory=list)  # of the light probe, that came to the far end

    @property
    def reached(self) -> bool:
        """Whether it was as asked, by what was measured last; not so where nothing was."""
        return bool(self.rows.get("during")) and all(row["within"] for row in self.rows["during"])

    @property
    def reverted(self) -> bool:
        return not self.left and all(row["within"] for row in self.rows.get("after", ()))


@dataclass(frozen=True)
class Bench:
    """A device at hand, and its data link, which is nobody's."""

    request: Request
    identity: str
    link: DataLink
    target: Target
    session: Session
    lease: Lease
    far_end: FarEnd
    evidence: Path  # the folder of the far end's log; a guard's journal is put beside it
    found: dict[str, Any]  # the fingerprint before anything
    before: Row  # what the link carries without a fault


def links_of(profiles: Sequence[tuple[str, Profile]], link: DataLink | None) -> tuple[Link, ...]:
    """The link faults of profiles that can be tried alone. Raises AskError with every complaint."""
    composed, problems = compose(list(profiles), link, ())
    if problems:
        raise AskError.of([Complaint(each.found, each.expected, f"profiles/{each.profile}.yaml", each.do) for each in problems])
    if not composed.links:
        found = f"{', '.join(name for name, _ in profiles)} does nothing to the data link"
        raise AskError(found, expected="a profile with bandwidth, offline or jamming", do="runner profile list")
    return composed.links


@contextlib.asynccontextmanager
async def at_hand(request: Request, identity: str, purpose: str, *, wait: bool) -> AsyncIterator[tuple[Target, Session, Lease]]:
    """The device under our lease, on, its session open; renewed for LEASE_S from each `renew`. Off again afterwards, if it was off."""
    async with lent(state_root(), identity, purpose, wait=wait, say=request.say, clock=request.clock) as lease:
        target = await make_target(Request(**{**vars(request), "holding": lease}))
        session = await target.bring_up(request.say)
        try:
            yield target, session, lease
        finally:
            with contextlib.suppress(RunnerError):
                await session.ask("release", timeout_s=10)
            await session.close()
            await target.shut_down()


@contextlib.asynccontextmanager
async def bench(request: Request, identity: str, link: DataLink, tell: Tell) -> AsyncIterator[Bench]:
    """The device at hand for one profile after another, its link measured as it was found.

    Raises LabError where somebody else has the link, or it carries nothing; nothing was touched then.
    """
    purpose = f"profile try on {request.name}"
    async with at_hand(request, identity, purpose, wait=True) as (target, session, lease), _far_end(target, link) as (far_end, evidence):
        await clear(session, lease, request)
        found = await links.fingerprint_of(session)
        if foreign := health.foreign(found, link.interface):
            raise LabError(f"somebody else has the data link of {request.name}: {foreign[0]}", do="take it away there; nothing was touched")
        probe = Probe(session, far_end, link.far_end, secrets.token_hex(8), request.clock)
        before = await _at_rest(probe)
        tell("before", _as_rows(before))
        if not before["echoes"]:
            raise LabError(f"the data link of {request.name} carries nothing, without any fault", do="runner doctor")
        yield Bench(request, identity, link, target, session, lease, far_end, evidence, found, before)


async def _at_rest(probe: Probe) -> Row:
    """The calmest of up to RESTS measurements: a board that has just started is busy, and would excuse any round trip afterwards."""
    found: list[Row] = []
    await start_light(probe, Expected())
    while len(found) < RESTS and not (found and 0 < (found[-1]["rtt_p95_ms"] or 0) <= CALM_MS):
        found.append(await measure(probe, Expected()))
    await stop_light(probe)
    return min(found, key=lambda measured: measured["rtt_p95_ms"] if measured["echoes"] else float("inf"))


async def try_out(request: Request, identity: str, link: DataLink, asked: Sequence[Link], for_s: float, seed: int, tell: Tell) -> Tried:
    """Holds `asked` over the data link for about `for_s`, and measures. Raises LabError where that cannot be done.

    Afterwards, whatever happened, nothing of it is on the link, or the device is quarantined.
    """
    async with bench(request, identity, link, tell) as at:
        return await hold_one(at, asked, for_s, seed, tell)


async def hold_one(at: Bench, asked: Sequence[Link], for_s: float, seed: int, tell: Tell, longest_s: float = LONGEST_S) -> Tried:
    """The same on a bench, on which another one may follow: `asked` is off again, and the link as it was, when this returns.

    Raises LabError where it cannot be done, and where something of it stays: the device is quarantined then.
    """
    session, token = at.session, f"try.{secrets.token_hex(4)}"
    capabilities = [str(word) for word in session.hello.get("capabilities") or ()]
    programs = programs_of(asked, at.link, NAME, seed, capabilities, links.before_of(at.found, at.link.interface))
    tried = Tried(words=[program.steps[0].word for program in programs], measured={"before": at.before})
    probe = Probe(session, at.far_end, at.link.far_end, secrets.token_hex(8), at.request.clock)
    expected, dumped = links.expected_of(asked), [link.model_dump(mode="json") for link in asked]
    at.lease.leases.expect(at.identity, at.found["boot_id"], at.found)
    await _renew(at)
    await links.arm(session, token, programs, for_s + links.SPARE_S)
    try:
        await start_light(probe, expected)
        await links.begin(session, programs)
        if links.constant(asked):
            async for tried.measured["during"] in _again_and_again(at, probe, expected, for_s, longest_s):
                tried.rows["during"] = reached.compare(dumped, at.before, tried.measured["during"])
                tell("during", tried.rows["during"])
        else:
            await _wait(at, for_s)
    finally:
        await stop_light(probe)
        tried.left = [str(each) for each in (await session.ask("revert", name="", timeout_s=120))["left"]]
    tried.faults = changes(await _guard_journal(at, token), NAME)
    tried.packets = [line for line in packets_of(at.evidence / "link.jsonl") if line["who"] == probe.who]
    if not links.constant(asked):
        tried.rows["during"] = reached.from_link_log(tried.faults, tried.packets)
        tell("during", tried.rows["during"])
    await start_light(probe, Expected())
    tried.measured["after"] = await measure(probe, Expected())
    await stop_light(probe)
    tried.rows["after"] = reached.restored(at.before, tried.measured["after"])
    tell("after", tried.rows["after"])
    tried.left += health.differences(at.found, await links.fingerprint_of(session))
    _conclude(at.lease, at.request.name, token, tried.left)
    await session.ask("forget", run=token)
    return tried


async def _again_and_again(at: Bench, probe: Probe, expected: Expected, for_s: float, longest_s: float) -> AsyncIterator[Row]:
    """Measurements until the time is up, one at least; renewed meanwhile."""
    until = probe.clock.boottime_ns() + int(for_s * 1e9)
    while True:
        await _renew(at)
        yield await measure(probe, expected, longest_s)
        left_s = (until - probe.clock.boottime_ns()) / 1e9
        if left_s <= 0:
            return
        await probe.clock.sleep(min(2.0, left_s))


async def _wait(at: Bench, for_s: float) -> None:
    until = at.request.clock.boottime_ns() + int(for_s * 1e9)
    while (left_s := (until - at.request.clock.boottime_ns()) / 1e9) > 0:
        await _renew(at)
        await at.request.clock.sleep(min(RENEW_EVERY_S, left_s))


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


async def revert(request: Request, identity: str) -> list[Row]:
    """Takes back what is armed on a device, under its lease; returns what that was. Raises LabError when some of it stays, or the
    device is held: what a living run holds is that run's."""
    async with at_hand(request, identity, f"device revert {request.name}", wait=False) as (_, session, lease):
        return await clear(session, lease, request)


async def _renew(at: Bench) -> None:
    at.lease.renew()
    await at.target.power.renew(LEASE_S)
    await at.session.ask("renew", timeout_s=30)


async def clear(session: Session, lease: Lease, request: Request) -> list[Row]:
    """What somebody who is gone left on the link is taken back; returns which programs that were.

    Raises LabError, and quarantines, when some of it stays.
    """
    standing = await links.standing_programs(session)
    for each in standing:
        request.say(f"taken back: {links.left_behind(each)}")
    done = await session.ask("revert", name="", timeout_s=120)
    if done["left"]:
        _conclude(lease, request.name, "", [str(each) for each in done["left"]])
    return standing


def _conclude(lease: Lease, name: str, token: str, left: list[str]) -> None:
    """Nothing is left: nothing is expected of the device any more. Else it is quarantined, and LabError raised."""
    if not left:
        lease.leases.forget_expected(lease.identity)
        return
    lease.leases.quarantine(lease.identity, token, left)
    raise LabError(f"{name} is not as it was before, and quarantined: {left[0]}", do=f"runner device check {name}")


@contextlib.asynccontextmanager
async def _far_end(target: Target, link: DataLink) -> AsyncIterator[tuple[FarEnd, Path]]:
    facts = await target.power.facts()
    namespace = links.namespace_of(target.name, facts)
    with tempfile.TemporaryDirectory(prefix="runner-far-end-") as folder:
        place = Path(folder)
        async with FarEnd.open(place, place / "store", place / "log", bind=link.far_end, namespace=namespace) as far_end:
            yield far_end, place
