"""A profile tried on a device, without a pipeline: applied, measured against what was asked, reverted, proven to be reverted.

    lease ─► power on ─► clear ─► as found ─► before ─► on, measured again and again ─► reverted ─► after: as before?

Also the way back by hand: `revert` takes back what a run that is dead has left on a device.
"""

from __future__ import annotations

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
from runner.lab.where import state_root
from runner.model.device import DataLink
from runner.model.profile import Link, Profile
from runner.story import links
from runner.story.measure import Expected, Probe, measure, start_light, stop_light
from runner.target.drivers import Request, make_target
from runner.target.far_end.client import FarEnd
from runner.target.session import Session
from runner.target.target import Target

Row = dict[str, Any]
Tell = Callable[[str, list[Row]], None]  # "before", "during", "after": what was measured, row by row


@dataclass
class Tried:
    """What a trial found. `rows` by phase; `left` is what is not as it was."""

    words: list[str] = field(default_factory=list)  # what was on, as its steps say it
    rows: dict[str, list[Row]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    @property
    def reached(self) -> bool:
        """Whether the last measurement under the fault was as asked."""
        return all(row["within"] for row in self.rows.get("during", ()))

    @property
    def reverted(self) -> bool:
        return not self.left and all(row["within"] for row in self.rows.get("after", ()))


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


async def try_out(request: Request, identity: str, link: DataLink, asked: Sequence[Link], for_s: float, seed: int, tell: Tell) -> Tried:
    """Holds `asked` over the data link for about `for_s`, and measures. Raises LabError where that cannot be done.

    Afterwards, whatever happened, nothing of it is on the link, or the device is quarantined.
    """
    tried, token = Tried(), f"try.{secrets.token_hex(4)}"
    purpose = f"profile try on {request.name}"
    async with at_hand(request, identity, purpose, wait=True) as (target, session, lease), _far_end(target, link) as far_end:
        await clear(session, lease, request)
        found = await links.fingerprint_of(session)
        if foreign := health.foreign(found, link.interface):
            raise LabError(f"somebody else has the data link of {request.name}: {foreign[0]}", do="take it away there; nothing was touched")
        capabilities = [str(word) for word in session.hello.get("capabilities") or ()]
        programs = programs_of(asked, link, "try", seed, capabilities, links.before_of(found, link.interface))
        probe = Probe(session, far_end, link.far_end, secrets.token_hex(8), request.clock)
        await start_light(probe, Expected())
        before = await measure(probe, Expected())
        tell("before", _as_rows(before))
        expected = links.expected_of(asked)
        lease.leases.expect(identity, found["boot_id"], found)
        await links.arm(session, token, programs, for_s + links.SPARE_S)
        try:
            await start_light(probe, expected)
            await links.begin(session, programs)
            tried.words = [program.steps[0].word for program in programs]
            await _hold(target, probe, lease, asked, expected, before, for_s, tried, tell)
        finally:
            await stop_light(probe)
            tried.left = [str(each) for each in (await session.ask("revert", name="", timeout_s=120))["left"]]
        await start_light(probe, Expected())
        tried.rows["after"] = reached.restored(before, await measure(probe, Expected()))
        tell("after", tried.rows["after"])
        await stop_light(probe)
        tried.left += health.differences(found, await links.fingerprint_of(session))
        _conclude(lease, request.name, token, tried.left)
        await session.ask("forget", run=token)
    return tried


async def _hold(
    target: Target, probe: Probe, lease: Lease, asked: Sequence[Link], expected: Expected, before: dict[str, Any], for_s: float,
    tried: Tried, tell: Tell,
) -> None:  # fmt: skip
    """Measures again and again until the time is up, once at least, and renews meanwhile."""
    dumped = [link.model_dump(mode="json") for link in asked]
    until = probe.clock.boottime_ns() + int(for_s * 1e9)
    while True:
        await _renew(target, probe.session, lease)
        tried.rows["during"] = reached.compare(dumped, before, await measure(probe, expected))
        tell("during", tried.rows["during"])
        left_s = (until - probe.clock.boottime_ns()) / 1e9
        if left_s <= 0:
            return
        await probe.clock.sleep(min(2.0, left_s))


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


async def _renew(target: Target, session: Session, lease: Lease) -> None:
    lease.renew()
    await target.power.renew(LEASE_S)
    await session.ask("renew", timeout_s=30)


async def clear(session: Session, lease: Lease, request: Request) -> list[Row]:
    """What somebody who is gone left on the link is taken back; returns which programs that were.

    Raises LabError, and quarantines, when some of it stays.
    """
    standing: list[Row] = (await session.ask("programs"))["programs"]
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
async def _far_end(target: Target, link: DataLink) -> AsyncIterator[FarEnd]:
    facts = await target.power.facts()
    namespace = links.namespace_of(target.name, facts)
    with tempfile.TemporaryDirectory(prefix="runner-far-end-") as folder:
        place = Path(folder)
        async with FarEnd.open(place, place / "store", place / "log", bind=link.far_end, namespace=namespace) as far_end:
            yield far_end
