"""What the data link goes through while an execution runs, and the proof that it did.

    as found ─► before ─► armed ─► on ─► proof: as asked? ─► … the execution, renewed … ─► lifted ─► after: as before?
                            └── after a power cut: armed again, with what is left of it

The faults are the device's own guard's: whatever becomes of us, it takes them back. What is asked from the beginning to the end is
on, and proven, before the execution begins; the time of everything else begins with a stage, the first one unless a profile says
another. Whose the link was, and whether it is again what it was: `ground.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from runner.errors import LabError, RunnerError
from runner.faults.compose import programs_of
from runner.judgement import reached, side_by_side
from runner.model.plan import ExecutionPlan
from runner.model.profile import Link
from runner.model.program import Program
from runner.story.arming import SPARE_S, arm, before_of, begin, constant, expected_of
from runner.story.ground import Ground
from runner.story.left import mirror_guard
from runner.story.measure import Expected, Probe, at_rest, measure, start_light, stop_light
from runner.story.run import Run
from runner.story.steps import step
from runner.target.far_end.client import FarEnd
from runner.target.mirror import Mirror

Row = dict[str, Any]


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


async def served(run: Run) -> None:
    """Raises LabError if the far end is gone, or could not keep what it received: then it failed, and not the software that sent."""
    if run.far_end is not None:
        broken = (await run.far_end.ask("counts")).get("broken")
        if broken:
            raise LabError(f"the far end could not keep what it received: {broken}", do="free some space; look at results/far_end")


def namespace_of(device: str, facts: dict[str, Any]) -> str:
    """Where the other end of a board's data NIC lies; "" for a network of the lab. Raises LabError where it leads nowhere."""
    if facts.get("data_nic", "tap") != "tap":
        raise LabError(f"the data link of {device} leads nowhere: {facts.get('data_nic_reason')}", do="runner doctor")
    return str(facts.get("data_namespace", ""))


@step("impose")
async def impose(run: Run, plan: ExecutionPlan) -> None:
    """The link faults of an execution armed, and in effect where they are from its beginning on, proven to be as asked.

    May be done again. Raises LabError where somebody else has the link, where it cannot be done, or where it is not as asked.
    """
    if not plan.links:
        return
    assert run.session
    await _look(run)
    made, probe = _programs(run, plan), _probe(run, plan.name)
    before = await at_rest(probe)
    if not before["echoes"]:
        raise LabError(f"the data link of {run.plan.device} carries nothing, without any fault", do="runner doctor")
    run.note("link_began", execution=plan.name, who=probe.who, programs=[each.model_dump(mode="json") for each in made], before=before)
    await start_light(probe, expected_of(plan.links))
    await arm(run.session, run.token, made, _cap_s(plan))
    await begin(run.session, made)
    held = [link for link in plan.links if constant([link])]
    if held:
        rows, during = await proof(probe, held, expected_of(held), before)
        run.note("link_proof", execution=plan.name, rows=rows, during=during)
        run.emit("link_proof", rows=rows)
        wrong = [row for row in rows if not row["within"]]
        if wrong:
            raise LabError(f"fault not reached: {side_by_side.said(wrong[0])}", do="another profile, or a less busy machine")
    run.say(f"on the data link: {'; '.join(each.steps[0].word for each in made)}")


async def impose_again(run: Run, plan: ExecutionPlan) -> None:
    """After a restart of the device, which has taken everything back: armed again, with what is left of it; its pipelines stand until then.
    May be done again."""
    if not plan.links:
        return
    assert run.session
    await _look(run)
    await start_light(_probe(run, plan.name), expected_of(plan.links))
    begun = _stages_begun(run, plan)
    for program in _programs(run, plan):
        since = begun.get(f"{program.stage} {program.edge}") if program.stage else None
        elapsed_s = (run.clock.boottime_ns() - since) / 1e9 if since else 0.0
        if program.lasts_s is not None and elapsed_s >= program.lasts_s:
            continue
        await arm(run.session, run.token, (program,), _cap_s(plan), elapsed_s)
        if since or not program.stage:
            await run.session.ask("start_program", name=program.name)
    await run.session.ask("under_faults")


async def still_imposed(run: Run, plan: ExecutionPlan) -> None:
    """After a broken link, behind which the supervisor may have been started anew: in the same boot its faults are what they were."""
    if plan.links and run.session and run.as_found and run.session.hello["boot_id"] == run.as_found["boot_id"]:
        await run.session.ask("under_faults")


@step("lift")
async def lift(run: Run, plan: ExecutionPlan) -> None:
    """Everything taken back, proven: by the guard's signs, by the fingerprint, and by what the link carries again. May be done again."""
    if not plan.links:
        return
    assert run.session
    probe = _probe(run, plan.name)
    counted = await stop_light(probe)
    await take_back(run)
    mine = [record.payload for record in run.log.records if record.kind == "link_began" and record.payload["execution"] == plan.name]
    rows, after = await as_before(probe, mine[-1]["before"])
    run.note("link_lifted", execution=plan.name, rows=rows, after=after, light=counted)
    assert run.as_found
    await _ground(run).compare(run.as_found)
    wrong = [row for row in rows if not row["within"]]
    if wrong:
        raise LabError(f"the link is not what it was before: {side_by_side.said(wrong[0])}", do=f"runner device check {run.plan.device}")


async def take_back(run: Run) -> None:
    """Whatever is armed on the device is reverted, and its guard's journal mirrored. Raises LabError, and quarantines, when it stays."""
    assert run.session
    try:
        await _ground(run).take_back()
    finally:
        with contextlib.suppress(RunnerError):
            await mirror_guard(run.session, run.token, run.folder, run.log)


async def clear(run: Run) -> None:
    """What a run that was killed left on the link is taken back before anything new begins; then the link must be as that run found it."""
    standing = await _ground(run).clear()
    if standing:
        run.note("made_safe_link", programs=standing)


async def let_go(run: Run) -> None:
    """Whatever ended the run: nothing of ours stays on the link, if the device can still be told. Its guard does it otherwise."""
    if run.session is None or run.as_found is None:
        return
    with contextlib.suppress(RunnerError):
        await take_back(run)


async def as_before(probe: Probe, before: Row) -> tuple[list[Row], Row]:
    """What the link carries again, beside what it did before; as in a proof, a second time where the first was not within."""
    rows, after = [], {}
    for _ in range(2):
        after = await at_rest(probe)
        rows = reached.restored(before, after)
        if all(row["within"] for row in rows):
            break
    return rows, after


async def proof(probe: Probe, links: Sequence[Link], asked: Expected, before: Row) -> tuple[list[Row], Row]:
    """Asked and measured, row by row, and the numbers themselves; a second time where the first was not within, because a machine
    may be busy for a moment."""
    rows, during = [], {}
    for _ in range(2):
        during = await measure(probe, asked)
        rows = reached.compare([link.model_dump(mode="json") for link in links], before, during)
        if all(row["within"] for row in rows):
            break
    return rows, during


# ---- inside -------------------------------------------------------------------------------------------------------------


def _ground(run: Run) -> Ground:
    assert run.session
    return Ground(run.plan.device, run.plan.identity, run.session, run.lease.leases, run.token, run.say)


async def _look(run: Run) -> None:
    """The fingerprint from right before a fault, each time: what an execution before this one left, or a link that broke in the middle of
    this, is taken back and compared first; a device that was started meanwhile is another one."""
    assert run.plan.data_link
    ground = _ground(run)
    await ground.settle()
    run.as_found = await ground.found(run.plan.data_link.interface)
    run.note("as_found", fingerprint=run.as_found)


def _programs(run: Run, plan: ExecutionPlan) -> tuple[Program, ...]:
    """The link faults of an execution for this very device. What is not on from the beginning waits for a stage: the first one, where
    its profile names none, because how long a board needs until then says nothing about the software."""
    assert run.session and run.plan.data_link and run.as_found
    capabilities = [str(word) for word in run.session.hello.get("capabilities") or ()]
    before = before_of(run.as_found, run.plan.data_link)
    made = programs_of(plan.links, run.plan.data_link, plan.name, run.plan.seed, capabilities, before)
    first = plan.stages[0].partition("@")[0]
    return tuple(
        program if program.stage or constant([link]) else program.model_copy(update={"stage": first, "edge": "start"})
        for link, program in zip(plan.links, made, strict=True)
    )


def _probe(run: Run, execution: str) -> Probe:
    assert run.session and run.far_end and run.plan.data_link
    who = hashlib.sha256(f"{run.token}/{execution}".encode()).hexdigest()[:16]
    return Probe(run.session, run.far_end, run.plan.data_link.far_end, who, run.clock)


def _cap_s(plan: ExecutionPlan) -> float:
    return plan.limit_s * (len(plan.cuts) + 1) + SPARE_S


def _stages_begun(run: Run, plan: ExecutionPlan) -> dict[str, int]:
    """"stage edge" → when we heard of it, by our own clock; a fault that began with it has been on since then."""
    found: dict[str, int] = {}
    mirror = Mirror(run.folder.device_journal(plan.name))
    mirror.close()
    kinds = {"stage_started": "start", "stage_finished": "end"}
    named = {
        record.sequence: f"{record.payload['stage'].partition('@')[0]} {kinds[record.kind]}"
        for record in mirror.records
        if record.kind in kinds
    }
    for record in run.log.records:
        if record.kind == "mirrored" and record.payload["execution"] == plan.name and record.payload["sequence"] in named:
            found.setdefault(named[record.payload["sequence"]], record.boottime_ns)
    return found
