"""What a device has too little of while an execution runs, and the proof that it had.

    before ─► group and small disk made, with enough of everything ─► armed ─► on ─► tried out: as asked? ─► … the execution …
           ─► taken back ─► cleared ─► after: nothing left, the clock as it was          after a power cut: made by the device, armed again

The faults are programs of the device's own guard, as those of its link are (`links.py`), and only they are taken back here: others may
stand beside them. Runs and `profile try` both go by this.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from runner.clock import Clock
from runner.errors import LabError, RunnerError
from runner.faults.compose import ANYWHERE, programs_of
from runner.faults.kernel import Before
from runner.faults.resources import limits
from runner.judgement import scarcity, side_by_side
from runner.model.plan import ExecutionPlan
from runner.model.profile import Disk, Resources, Scarcity, WrongClock
from runner.model.program import Program
from runner.story.arming import anchored, arm, begin, constant
from runner.story.ground import Ground
from runner.story.left import mirror_guard
from runner.story.links import arm_again, cap_s, look
from runner.story.run import Run
from runner.story.steps import step
from runner.target.session import Session

Row = dict[str, Any]
PROVE_LIMIT_S = 300.0
TRIES, CALM_S = 5, 5.0  # of a proof, and how long a busy machine is given between two
DRIFT_LOOK_S = 5.0  # between two looks at a clock that drifts


def asked_of(faults: Sequence[Scarcity]) -> Row:
    """What the device is told of an execution beforehand: what to make."""
    disk = next((fault for fault in faults if isinstance(fault, Disk)), None)
    few = disk is not None and disk.what == "no_inodes"
    said = {"size_mib": disk.size_mib, "few_inodes": few, "mapped": disk.what == "io_errors"} if disk else None
    return {"confined": any(isinstance(fault, Resources) for fault in faults), "disk": said}


def spec_of(run: Run, plan: ExecutionPlan) -> Row:
    """The part of an execution's spec that is about this; {} for one that has enough of everything."""
    return {"scarcity": asked_of(plan.scarcities)} if plan.scarcities else {}


def programs_for(faults: Sequence[Scarcity], execution: str, seed: int, hello: Row) -> tuple[Program, ...]:
    """Programs for this very device and boot. Raises AskError for what it cannot do."""
    capabilities = [str(word) for word in hello.get("capabilities") or ()]
    before = Before(boot_id=str(hello["boot_id"]), clock_ns=int(hello["wall_ns"]) - int(hello["boottime_ns"]))
    return programs_of(faults, ANYWHERE, execution, seed, capabilities, before)


@step("impose")
async def impose(run: Run, plan: ExecutionPlan) -> None:
    """Everything armed, and in effect where it is from the beginning on, tried out. May be done again.

    Raises LabError where the device cannot have too little of it, or where it has more than was asked.
    """
    if not plan.scarcities:
        return
    assert run.session
    await revert(run.ground, _programs(run, plan))
    await run.session.ask("clear_scarcity", timeout_s=60)
    if not plan.links:  # else its link was looked at, and the device with it
        await look(run, plan)
    before = await state(run.session, run.clock)
    run.scarce_hello = {**run.session.hello, **before["clock"]}
    programs = _programs(run, plan)
    run.note("scarcity_began", execution=plan.name, programs=[each.model_dump(mode="json") for each in programs], before=before)
    asked = asked_of(plan.scarcities)
    await run.session.ask("prepare_scarcity", run=run.token, execution=plan.name, scarcity=asked, timeout_s=120)
    await arm(run.session, run.token, programs, cap_s(plan))
    await begin(run.session, programs)
    held = [fault for fault in plan.scarcities if constant([fault])]
    if held:
        rows, during = await proof(run.session, run.clock, held, before)
        run.note("scarcity_proof", execution=plan.name, rows=rows, during=during)
        run.emit("scarcity_proof", rows=rows)
        wrong = [row for row in rows if not row["within"]]
        if wrong:
            raise LabError(f"fault not reached: {side_by_side.said(wrong[0])}", do="another profile, or a less busy machine")
    run.say(f"too little on the device: {'; '.join(each.steps[0].word for each in programs)}")


async def impose_again(run: Run, plan: ExecutionPlan) -> None:
    """After a restart of the device, which has taken everything back: armed again, with what is left of it. May be done again."""
    if not plan.scarcities:
        return
    assert run.session
    if not plan.links and run.session.hello["boot_id"] != (run.scarce_hello or {}).get("boot_id"):
        await look(run, plan)  # a device that was started, and not a process that was killed
    run.scarce_hello = {**run.session.hello, **(await state(run.session, run.clock))["clock"]}
    programs = _programs(run, plan)
    kept = {str(each.get("name")) for each in await run.ground.standing() if each.get("state") in ("armed", "begun")}
    programs = tuple(program for program in programs if program.name not in kept)  # a process was killed, and not the device
    await revert(run.ground, programs)
    await arm_again(run, plan, programs)


@step("lift")
async def lift(run: Run, plan: ExecutionPlan) -> None:
    """Everything taken back, proven by the guard's signs and by what the device says of itself. May be done again.

    Raises LabError, and quarantines the device, where something stays.
    """
    if not plan.scarcities:
        return
    assert run.session
    try:
        await revert(run.ground, _programs(run, plan))
    finally:
        with contextlib.suppress(RunnerError):
            await mirror_guard(run.session, run.token, run.folder, run.log)
    began = [record.payload for record in run.log.records if record.kind == "scarcity_began" and record.payload["execution"] == plan.name]
    rows, after = await as_before(run.session, run.clock, began[-1]["before"], plan.scarcities)
    run.note("scarcity_lifted", execution=plan.name, rows=rows, after=after)
    wrong = [row for row in rows if not row["within"]]
    if wrong:
        run.ground.quarantine([side_by_side.said(row) for row in wrong])
    if not plan.links and run.as_found is not None:  # else it is compared when the link is lifted
        await run.ground.compare(run.as_found)


async def state(session: Session, clock: Clock) -> Row:
    """Limits, small disk and clocks of the device, and in which boot; ours beside its clocks."""
    return _beside(clock, session.hello["boot_id"], await session.ask("scarcity", timeout_s=60))


def _beside(clock: Clock, boot_id: str, said: Row) -> Row:
    return {"boot_id": boot_id, **said, "clock": {**(said.get("clock") or {}), "here_ns": clock.wall_ns()}}


async def proof(session: Session, clock: Clock, faults: Sequence[Scarcity], before: Row) -> tuple[list[Row], Row]:
    """Asked and measured, row by row, and the numbers themselves; some times more where it was not within: a machine may be busy."""
    rows, during, asked = [], Row(), [fault.model_dump(mode="json") for fault in faults]
    for number in range(TRIES):
        if number:
            await clock.sleep(CALM_S)
        during = await state(session, clock)
        for fault in faults:
            if isinstance(fault, Resources):
                during["tried"] = await session.ask("prove_scarcity", limits=limits(fault), timeout_s=PROVE_LIMIT_S)
            elif isinstance(fault, WrongClock) and fault.drift_ppm:
                await clock.sleep(DRIFT_LOOK_S)
                during["clock_later"] = (await state(session, clock))["clock"]
        rows = scarcity.compare(asked, before, during)
        if all(row["within"] for row in rows):
            break
    return rows, during


async def as_before(session: Session, clock: Clock, before: Row, faults: Sequence[Scarcity]) -> tuple[list[Row], Row]:
    """What is left once everything was taken back, and how the clock stands."""
    after = _beside(clock, session.hello["boot_id"], await session.ask("clear_scarcity", timeout_s=60))
    return scarcity.restored(before, after, [fault.model_dump(mode="json") for fault in faults]), after


async def revert(ground: Ground, programs: Sequence[Program]) -> None:
    """These programs, and no others, are taken back. Raises LabError, and quarantines, where one stays."""
    left: list[str] = []
    for program in programs:
        said = await ground.session.ask("revert", name=program.name, timeout_s=180)
        left += [str(each) for each in said.get("left") or ()]
    if left:
        ground.quarantine(left)


def _programs(run: Run, plan: ExecutionPlan) -> tuple[Program, ...]:
    assert run.session
    made = programs_for(plan.scarcities, plan.name, run.plan.seed, run.scarce_hello or run.session.hello)
    return anchored(plan.scarcities, made, plan.stages)
