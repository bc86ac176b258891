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
from dataclasses import replace
from typing import Any

from runner.errors import LabError, RunnerError
from runner.faults.compose import programs_of
from runner.judgement import reached, side_by_side
from runner.model.plan import ExecutionPlan
from runner.model.profile import Link
from runner.model.program import Program
from runner.story.arming import SPARE_S, anchored, arm, before_of, begin, constant, expected_of
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
    assert run.session and run.plan.data_link
    await look(run, plan)
    made, probe = _programs(run, plan), _probe(run, plan.name)
    before = await at_rest(probe)
    if not before["echoes"]:
        raise LabError(f"the data link of {run.plan.device} carries nothing, without any fault", do="runner doctor")
    run.note("link_began", execution=plan.name, who=probe.who, programs=[each.model_dump(mode="json") for each in made], before=before)
    await start_light(probe, expected_of(plan.links))
    await arm(run.session, run.token, made, cap_s(plan))
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
    """After a restart of the device, which has taken everything back: armed again, with what is left of it. May be done again."""
    if not plan.links:
        return
    assert run.session
    await look(run, plan)
    await start_light(_probe(run, plan.name), expected_of(plan.links))
    await arm_again(run, plan, _programs(run, plan))


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
    await run.ground.compare(run.as_found)
    wrong = [row for row in rows if not row["within"]]
    if wrong:
        raise LabError(f"the link is not what it was before: {side_by_side.said(wrong[0])}", do=f"runner device check {run.plan.device}")


async def take_back(run: Run) -> None:
    """Whatever is armed on the device is reverted, and its guard's journal mirrored. Raises LabError, and quarantines, when it stays."""
    assert run.session
    try:
        await run.ground.take_back()
    finally:
        with contextlib.suppress(RunnerError):
            await mirror_guard(run.session, run.token, run.folder, run.log)


async def clear(run: Run) -> None:
    """What a run that was killed left on the link is taken back before anything new begins; then the link must be as that run found it."""
    standing = await replace(run.ground, scarce=True).clear()  # its execution may be under way on the device
    if standing:
        run.note("made_safe_link", programs=standing)


async def let_go(run: Run) -> None:
    """Whatever ended the run: nothing of ours stays on the link, if the device can still be told. Its guard does it otherwise."""
    if run.session is None or not (run.as_found or run.imposed_in):
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


async def look(run: Run, plan: ExecutionPlan) -> None:
    """The fingerprint from right before a fault, each time: what an execution before this one left, or a link that broke in the middle of
    this, is taken back and compared first; a device that was started meanwhile is another one.

    Its group and its small disk, which a device that was started meanwhile has made again by itself, are no part of it.
    """
    if run.plan.type.shared and not plan.links:  # of others' machines only what bears our tags is ours to answer for
        return
    ground = replace(run.ground, scarce=True)
    await ground.settle()
    interface = run.plan.data_link.interface if plan.links and run.plan.data_link else ""
    run.as_found = await ground.found(interface)
    run.note("as_found", fingerprint=run.as_found)


def _programs(run: Run, plan: ExecutionPlan) -> tuple[Program, ...]:
    """The link faults of an execution for this very device."""
    assert run.session and run.plan.data_link and run.as_found
    capabilities = [str(word) for word in run.session.hello.get("capabilities") or ()]
    before = before_of(run.as_found, run.plan.data_link)
    made = programs_of(plan.links, run.plan.data_link, plan.name, run.plan.seed, capabilities, before)
    return anchored(plan.links, made, plan.stages)


def _probe(run: Run, execution: str) -> Probe:
    assert run.session and run.far_end and run.plan.data_link
    who = hashlib.sha256(f"{run.token}/{execution}".encode()).hexdigest()[:16]
    return Probe(run.session, run.far_end, run.plan.data_link.far_end, who, run.clock)


def cap_s(plan: ExecutionPlan) -> float:
    return plan.limit_s * (len(plan.cuts) + 1) + SPARE_S


async def arm_again(run: Run, plan: ExecutionPlan, programs: Sequence[Program]) -> None:
    """After a restart: each program with what is left of its time, and begun where its stage had begun. What is over is left out."""
    assert run.session
    begun = _stages_begun(run, plan)
    for program in programs:
        since_ns = begun.get(f"{program.stage} {program.edge}") if program.stage else None
        elapsed_s = (run.clock.boottime_ns() - since_ns) / 1e9 if since_ns else 0.0
        if program.lasts_s is not None and elapsed_s >= program.lasts_s:
            continue
        await arm(run.session, run.token, (program,), cap_s(plan), elapsed_s)
        if since_ns or not program.stage:
            await run.session.ask("start_program", name=program.name)


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
