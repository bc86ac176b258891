"""What the data link goes through while an execution runs, and the proof that it did.

    as found ─► before ─► armed ─► on ─► proof: as asked? ─► … the execution, renewed … ─► lifted ─► after: as before?
                            └── after a power cut: armed again, with what is left of it

The faults are the device's own guard's: whatever becomes of us, it takes them back. Foreign state on the link is refused before
anything moves. A device whose link is not afterwards what it was before is quarantined, with the difference.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

from runner.errors import LabError, RunnerError
from runner.farm import health
from runner.faults.bandwidth import paces
from runner.faults.compose import programs_of
from runner.faults.kernel import OFFLOADS, Before
from runner.judgement import reached
from runner.model.plan import ExecutionPlan
from runner.model.profile import Bandwidth, Link, Offline
from runner.model.program import Program
from runner.ondevice.link_probe import ETHERNET_BYTES, IP_UDP_BYTES
from runner.story.left import mirror_guard
from runner.story.measure import LARGE_BYTES, Expected, Probe, measure, start_light, stop_light
from runner.story.run import Run
from runner.story.steps import step
from runner.target.far_end.client import FarEnd
from runner.target.mirror import Mirror
from runner.target.session import Session
from runner.target.transports.base import words

Row = dict[str, Any]

RENEW_S = 60.0  # the guard takes everything back when it has heard of nobody for so long
SPARE_S = 900.0  # beyond an execution's own limit for each of its cuts, until the hard cap
FEATURES = {"tso": ("tx-tcp-segmentation",), "gso": ("tx-generic-segmentation",), "gro": ("rx-gro",)}  # as the kernel itself calls them


@contextlib.asynccontextmanager
async def far_end(run: Run) -> AsyncIterator[None]:
    """The far end of the data link, for as long as this run needs it. Raises LabError where the link leads nowhere."""
    if not run.plan.needs_far_end:
        yield
        return
    assert run.plan.data_link and run.target
    facts = await run.target.power.facts()
    tables = run.folder.pipelines / "mocks" / "far_end"
    opened = FarEnd.open(
        run.folder.journals,
        run.folder.far_end,
        run.folder.far_end / "far_end.log",
        bind=run.plan.data_link.far_end,
        namespace=namespace_of(run.plan.device, facts),
        tables=tables if tables.is_dir() else None,
        services=run.plan.far_end,
    )
    async with opened as run.far_end:
        run.note("far_end", ports=run.far_end.ports, data_nic=facts.get("data_nic", "a network of the lab"))
        yield
    run.far_end = None


def namespace_of(device: str, facts: dict[str, Any]) -> str:
    """Where the other end of a board's data NIC lies; "" for a network of the lab. Raises LabError where it leads nowhere."""
    if facts.get("data_nic", "tap") != "tap":
        raise LabError(f"the data link of {device} leads nowhere: {facts.get('data_nic_reason')}", do="runner doctor")
    return str(facts.get("data_namespace", ""))


@step("impose")
async def impose(run: Run, plan: ExecutionPlan) -> None:
    """The link faults of an execution armed, and in effect where they are from its beginning on, proven to be as asked.

    Raises LabError where somebody else has the link, where it cannot be done, or where it was done and is not as asked.
    """
    if not plan.links:
        return
    assert run.session and run.plan.data_link
    await run.session.ask("revert", name="", timeout_s=120)  # what a link that broke in the middle of this has left
    await _as_found(run)
    made, probe = _programs(run, plan.links, plan.name), _probe(run, plan.name)
    asked = expected_of(plan.links)
    await start_light(probe, Expected())
    before = await measure(probe, Expected())
    if not before["echoes"]:
        raise LabError(f"the data link of {run.plan.device} carries nothing, without any fault", do="runner doctor")
    run.note("link_began", execution=plan.name, who=probe.who, programs=[each.model_dump(mode="json") for each in made], before=before)
    await start_light(probe, asked)
    await arm(run.session, run.token, made, _cap_s(plan))
    steady = [(link, program) for link, program in zip(plan.links, made, strict=True) if constant([link])]
    await begin(run.session, [program for _, program in steady])
    if steady:  # before anything that comes and goes has begun to
        held = [link for link, _ in steady]
        rows, during = await proof(probe, held, expected_of(held), before)
        run.note("link_proof", execution=plan.name, rows=rows, during=during)
        run.emit("link_proof", rows=rows)
        wrong = [row for row in rows if not row["within"]]
        if wrong:
            raise LabError(f"fault not reached: {reached.said(wrong[0])}", do="another profile, or a less busy machine")
    await begin(run.session, [program for program in made if program not in [each for _, each in steady]])
    run.say(f"on the data link: {'; '.join(each.steps[0].word for each in made)}")


async def impose_again(run: Run, plan: ExecutionPlan) -> None:
    """After a restart of the device, which has taken everything back: armed again, with what is left of it."""
    if not plan.links:
        return
    assert run.session
    notes = [record for record in run.log.records if record.kind == "link_began" and record.payload["execution"] == plan.name]
    began = notes[-1].boottime_ns
    begun = {"": began, **_stages_begun(run, plan)}
    for program in _programs(run, plan.links, plan.name):
        since = begun.get(f"{program.stage} {program.edge}" if program.stage else "")
        elapsed_s = (run.clock.boottime_ns() - since) / 1e9 if since else 0.0
        if program.lasts_s is not None and elapsed_s >= program.lasts_s:
            continue
        await arm(run.session, run.token, (program,), _cap_s(plan), elapsed_s)
        if since:
            await run.session.ask("start_program", name=program.name)
    await start_light(_probe(run, plan.name), expected_of(plan.links))


@step("lift")
async def lift(run: Run, plan: ExecutionPlan) -> None:
    """Everything taken back, proven: by the guard's signs, by the fingerprint, and by what the link carries again."""
    if not plan.links:
        return
    assert run.session
    probe = _probe(run, plan.name)
    counted = await stop_light(probe)
    await take_back(run)
    await start_light(probe, Expected())
    after = await measure(probe, Expected())
    await stop_light(probe)
    before = next(record.payload["before"] for record in reversed(run.log.records) if record.kind == "link_began")
    rows = reached.restored(before, after)
    run.note("link_lifted", execution=plan.name, rows=rows, after=after, light=counted)
    assert run.as_found
    await _compare(run, run.as_found)
    wrong = [row for row in rows if not row["within"]]
    if wrong:
        raise LabError(f"the link is not what it was before: {reached.said(wrong[0])}", do=f"runner device check {run.plan.device}")


async def take_back(run: Run) -> None:
    """Whatever is armed on the device is reverted, and its guard's journal mirrored. Raises LabError, and quarantines, when it stays."""
    assert run.session
    standing = await standing_programs(run.session)
    done = await run.session.ask("revert", name="", timeout_s=120) if standing else {"reverted": [], "left": []}
    await mirror_guard(run.session, run.token, run.folder, run.log)
    if done["left"]:
        _quarantine(run, [str(each) for each in done["left"]])


async def clear(run: Run) -> None:
    """What a run that was killed left on the link is taken back before anything new begins; then the link must be as that run found it."""
    assert run.session
    standing = await standing_programs(run.session)
    for each in standing:
        run.say(f"taken back: {left_behind(each)}")
    if standing:
        done = await run.session.ask("revert", name="", timeout_s=120)
        run.note("made_safe_link", programs=standing, **done)
        if done["left"]:
            _quarantine(run, [str(each) for each in done["left"]])
    expected = run.lease.leases.expected(run.plan.identity)
    if expected is not None:
        await _compare(run, expected[1])


async def standing_programs(session: Session) -> list[Row]:
    """What is armed on the device, by its own word; what is no program is not shown, and is taken back with the rest."""
    return [each for each in (await session.ask("programs"))["programs"] if isinstance(each, dict)]


def left_behind(program: dict[str, Any]) -> str:
    """A program that stands on a device, as a person is told of it."""
    said = words(str(program.get("word") or program.get("state")), 80)
    return f"{words(str(program.get('name')), 80)} ({said}), left by {words(str(program.get('holder') or 'nobody known'))}"


# ---- arming, for whoever holds faults over a link ---------------------------------------------------------------------


async def arm(session: Session, token: str, programs: Sequence[Program], cap_s: float, elapsed_s: float = 0.0) -> None:
    """Each program's undo and deadline are on the device's disk when this returns; none is in effect. Raises LabError."""
    for program in programs:
        await session.ask(
            "arm", program=program.model_dump(mode="json"), run=token, renew_s=RENEW_S, cap_s=cap_s, elapsed_s=elapsed_s, timeout_s=120
        )


async def begin(session: Session, programs: Sequence[Program]) -> None:
    for program in programs:
        if not program.stage:
            await session.ask("start_program", name=program.name)


def constant(links: Sequence[Link]) -> bool:
    """Whether what is asked is the case from the beginning to the end, so that it can be measured at once. Of a trace, that is
    its range."""
    return all(
        not link.at_s and not link.stage and link.for_s is None
        and (isinstance(link, Bandwidth | Offline) or getattr(link, "jammer", "random") != "random")
        for link in links
    )  # fmt: skip


def expected_of(links: Sequence[Link]) -> Expected:
    """The slowest that the links get, as far as whoever measures must know it."""
    up, down, trip, largest, packets = [], [], 0.0, LARGE_BYTES, Expected().packets
    for link in links:
        if isinstance(link, Bandwidth):
            limits = [way.payload_bytes + IP_UDP_BYTES + ETHERNET_BYTES for way in (link.up, link.down) if way.payload_bytes]
            largest = min([largest, *limits])
            up += [pace.rate_kbit_s for pace in paces(link.up) if pace.rate_kbit_s]
            down += [pace.rate_kbit_s for pace in paces(link.down) if pace.rate_kbit_s]
            trip += sum(max(pace.delay_ms for pace in paces(way)) + way.jitter_ms for way in (link.up, link.down))
            packets = max(packets, _packets_for(link))
    return Expected(min(up, default=None), min(down, default=None), trip, largest, packets)


def _packets_for(link: Bandwidth) -> int:
    """How many small packets tell the losses that are asked from none: what is lost on the way up is not sent down."""
    up, down = (way.model_dump(mode="json") for way in (link.up, link.down))
    arriving = max(0.01, 1 - reached.asked_loss(up))
    return math.ceil(1.2 * max(reached.packets_needed(up), reached.packets_needed(down) / arriving))


def before_of(fingerprint: dict[str, Any], interface: str) -> Before:
    """What an undo must put back on `interface`, read from a device's fingerprint."""
    on = {line.partition(" ")[2] for line in fingerprint["offloads"] if line.partition(" ")[0] == interface}
    offloads = tuple(short for short in OFFLOADS if any(name in on for name in FEATURES[short]))
    routes = [line for line in fingerprint["routes"] if f" dev {interface} " in f"{line} " and "table local" not in line]
    kept = tuple(line for line in routes if "proto kernel" not in line)
    addresses = [line.split() for line in fingerprint["addresses"] if line.startswith(f"{interface} inet6 ") and "scope global" in line]
    return Before(offloads=offloads, routes=kept, addresses=tuple(words[2] for words in addresses))


# ---- inside -------------------------------------------------------------------------------------------------------------


async def proof(probe: Probe, links: Sequence[Link], asked: Expected, before: dict[str, Any]) -> tuple[list[Row], Row]:
    """Asked and measured, row by row, and the numbers themselves; a second time where the first was not within, because a machine
    may be busy for a moment."""
    rows, during = [], {}
    for _ in range(2):
        during = await measure(probe, asked)
        rows = reached.compare([link.model_dump(mode="json") for link in links], before, during)
        if all(row["within"] for row in rows):
            break
    return rows, during


def _programs(run: Run, links: Sequence[Link], name: str) -> tuple[Program, ...]:
    assert run.session and run.plan.data_link and run.as_found
    capabilities = [str(word) for word in run.session.hello.get("capabilities") or ()]
    before = before_of(run.as_found, run.plan.data_link.interface)
    return programs_of(links, run.plan.data_link, name, run.plan.seed, capabilities, before)


def _probe(run: Run, execution: str) -> Probe:
    assert run.session and run.far_end and run.plan.data_link
    who = hashlib.sha256(f"{run.token}/{execution}".encode()).hexdigest()[:16]
    return Probe(run.session, run.far_end, run.plan.data_link.far_end, who, run.clock)


def _cap_s(plan: ExecutionPlan) -> float:
    return plan.limit_s * (len(plan.cuts) + 1) + SPARE_S


def _stages_begun(run: Run, plan: ExecutionPlan) -> dict[str, int]:
    """"stage edge" → when we heard of it, by our own clock; a fault that began with it has been on since then."""
    found: dict[str, int] = {}
    path = run.folder.device_journal(plan.name)
    mirror = Mirror(path)
    mirror.close()
    kinds = {"stage_started": "start", "stage_finished": "end"}
    named = {record.sequence: f"{record.payload['stage']} {kinds[record.kind]}" for record in mirror.records if record.kind in kinds}
    for record in run.log.records:
        if record.kind == "mirrored" and record.payload["execution"] == plan.name and record.payload["sequence"] in named:
            found.setdefault(named[record.payload["sequence"]], record.boottime_ns)
    return found


async def fingerprint_of(session: Session) -> dict[str, Any]:
    return health.read((await session.ask("fingerprint", timeout_s=120))["fields"])


async def _as_found(run: Run) -> None:
    """The fingerprint from before the first fault, once in a run; kept where whoever comes next finds it, should we be killed."""
    assert run.session and run.plan.data_link
    if run.as_found is not None:
        return
    found = await fingerprint_of(run.session)
    foreign = [*health.foreign(found, run.plan.data_link.interface), *health.left_of_ours(found)]
    if foreign:
        do = "take it away there, or choose another device; nothing was touched"
        raise LabError(f"somebody else has the data link of {run.plan.device}: {foreign[0]}", do=do)
    run.as_found = found
    run.note("as_found", fingerprint=found)
    run.lease.leases.expect(run.plan.identity, found["boot_id"], found)


async def _compare(run: Run, before: dict[str, Any]) -> None:
    """Quarantines, and raises LabError, where the device is not what it was. One that was booted since only must not bear our tags."""
    assert run.session
    now = await fingerprint_of(run.session)
    same_boot = now["boot_id"] == before["boot_id"]
    changed = health.differences(before, now) if same_boot else health.left_of_ours(now)
    if changed:
        _quarantine(run, changed)
    run.lease.leases.forget_expected(run.plan.identity)


def _quarantine(run: Run, found: list[str]) -> None:
    run.lease.leases.quarantine(run.plan.identity, run.token, found)
    run.note("quarantined", found=found)
    raise LabError(
        f"{run.plan.device} is not as it was before, and quarantined: {found[0]}" + (f" (+{len(found) - 1})" if found[1:] else ""),
        do=f"runner device check {run.plan.device}",
    )


async def let_go(run: Run) -> None:
    """Whatever ended the run: nothing of ours stays on the link, if the device can still be told. Its guard does it otherwise."""
    if run.session is None or run.as_found is None:
        return
    with contextlib.suppress(RunnerError):
        await take_back(run)
