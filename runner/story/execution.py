"""One execution of one pipeline, with the cuts that fall into it.

    begin ─► (hold reached ─► cut ─► power on ─► recovered ─► follow on)* ─► ended

What goes wrong with the *software under test* (a hold never reached, no recovery within the limit, records
lost) is noted in the coordinator's journal as a result and ends the execution; only the lab's own failures
raise.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from runner.errors import LabError
from runner.model.plan import CutPlan, ExecutionPlan
from runner.ondevice.execution import ENDS
from runner.ondevice.journal import Record
from runner.target.mirror import Diverged, Mirror
from runner.target.transports.base import LinkLost

if TYPE_CHECKING:
    from runner.story.execute import Run


HOPELESS = ("diverged", "not_recovered")  # endings after which this device has nothing more to show in this run


async def run_execution(run: Run, plan: ExecutionPlan) -> str:
    """Runs `plan` and returns how it ended: as the device's journal says, or "limit", "diverged", "not_recovered" …

    Raises LabError when the lab cannot go on.
    """
    run.emit("execution_began", execution=plan)
    began = run.clock.boottime_ns()
    mirror = Mirror(run.folder.device_journal(plan.name))
    try:
        ending = await _live(run, plan, mirror)
    except Diverged as error:
        ending = "diverged"
        run.note("diverged", execution=plan.name, mirrored=mirror.sequence, found=str(error))
    finally:
        mirror.close()
    run.note("execution_ended", execution=plan.name, ending=ending, mirrored=mirror.sequence, chain=mirror.chain)
    if not plan.cuts:
        run.baseline_s.update(_durations(mirror))
    took_s = (run.clock.boottime_ns() - began) / 1e9
    run.emit("execution_ended", execution=plan, ending=ending, duration_s=took_s)
    return ending


async def _live(run: Run, plan: ExecutionPlan, mirror: Mirror) -> str:
    assert run.session and run.bundle and run.target
    run.note("execution_began", execution=plan.name, scenario=plan.scenario)
    run.session.mirror = mirror
    run.session.on_record = lambda record: _note_mirrored(run, plan, record)
    await run.session.ask("begin", spec=_spec(run, plan))
    state: dict[str, Any] = {"held": None}
    for cut in plan.cuts:
        held = await _reach(run, plan, cut, state["held"])
        if held is None:
            return "ended_before_its_cuts" if any(r.kind in ENDS for r in mirror.records) else "limit"
        await _cut(run, plan, cut, held)
        if not await _recover(run, plan, cut):
            return "not_recovered"
        run.session.on_record = lambda record: _note_mirrored(run, plan, record)
        state = await run.session.follow(mirror)
        if not state["agrees"]:
            raise Diverged(f"after the cut at {cut.hold} the device has {state['written']} records, or others than it had")
    try:
        end = await _patiently(run, plan, run.session.record(lambda record: record.kind in ENDS))
    except asyncio.TimeoutError:
        return "limit"
    return end.kind


async def _reach(run: Run, plan: ExecutionPlan, cut: CutPlan, held: dict[str, Any] | None) -> dict[str, Any] | None:
    """Waits until execution stands at the cut's hold; None when it ended or ran out of time before."""
    assert run.session
    if held and held["hold"] == cut.hold:
        return held
    waiting = [
        asyncio.ensure_future(run.session.event("held", "broken")),
        asyncio.ensure_future(run.session.record(lambda record: record.kind in ENDS)),
    ]
    try:
        done, _ = await asyncio.wait(waiting, timeout=plan.limit_s, return_when=asyncio.FIRST_COMPLETED)
        if waiting[0] not in done:
            for task in done:
                task.result()  # a lost link is an error of the lab
            return None
        event: dict[str, Any] = waiting[0].result()  # type: ignore[assignment]
    finally:
        for task in waiting:
            task.cancel()
    if event["event"] == "broken":
        raise LabError(f"the supervisor cannot go on: {event['error']}", do="look at the device's disk")
    return event


async def _cut(run: Run, plan: ExecutionPlan, cut: CutPlan, held: dict[str, Any]) -> None:
    """Takes the power away, here or a planned fraction into the stage's body, and notes what is known of it."""
    assert run.session and run.target
    run.note("held", execution=plan.name, **{key: held[key] for key in ("hold", "stage", "point", "sequence", "written", "flushed")})
    if cut.fraction is not None:
        await run.session.ask("proceed")
        await run.clock.sleep(cut.fraction * run.baseline_s.get(cut.stage, 0.1))
    known = {**held, **run.session.progress} if cut.fraction is not None else held
    facts = await run.target.power.cut()
    await run.session.close()
    run.note(
        "cut",
        execution=plan.name,
        hold=cut.hold,
        stage=cut.stage,
        point="random" if cut.fraction is not None else cut.point,
        loss=run.target.loss,
        written=max(known["written"], held["written"]),
        witness_lines=run.target.home.witness.lines().count(b"\n"),
        facts=facts,
    )
    run.emit("cut", execution=plan, cut=cut, facts=facts)


async def _recover(run: Run, plan: ExecutionPlan, cut: CutPlan) -> bool:
    """Power on, and whether the supervisor answered within the device's limit."""
    assert run.target
    powered = run.clock.boottime_ns()
    try:
        run.session = await run.target.recover(run.target.type.boot_limit_s)
    except LinkLost as error:
        run.note("not_recovered", execution=plan.name, hold=cut.hold, error=str(error))
        run.emit("say", text=str(error))
        return False
    hello = run.session.hello
    read_ns = (hello["asked_boottime_ns"] + hello["answered_boottime_ns"]) // 2  # our clock when the device read its own
    age_ns = hello["boottime_ns"] - hello["supervisor_started_ns"]
    run.note(
        "recovered",
        execution=plan.name,
        hold=cut.hold,
        boot_id=hello["boot_id"],
        supervisor_started_ns=hello["supervisor_started_ns"],
        power_on_boottime_ns=powered,
        board_boot_s=max(0.0, round((read_ns - age_ns - powered) / 1e9, 3)),
        error_bound_s=round((hello["answered_boottime_ns"] - hello["asked_boottime_ns"]) / 2e9 + 0.01, 3),
    )
    return True


async def _patiently(run: Run, plan: ExecutionPlan, waiting: Any) -> Record:
    found: Record = await asyncio.wait_for(waiting, plan.limit_s)
    return found


def _spec(run: Run, plan: ExecutionPlan) -> dict[str, Any]:
    """What the device is told once, and keeps in its journal's first record."""
    assert run.bundle and run.target
    return {
        "run": run.token,
        "execution": plan.name,
        "durability": plan.durability,
        "stages": list(plan.stages),
        "holds": [{"hold": cut.hold, "stage": cut.stage, "point": cut.point} for cut in plan.cuts],
        "pipeline": {
            "tree": run.bundle.pipeline_tree,
            "files": run.bundle.pipeline_files,
            "module": f"{run.plan.pipeline_folder}.{plan.module}",
        },
        "environment": {"tree": run.bundle.environment_tree},
        "witness": run.target.home.witness.path_on_device,
        "stage_timeout_s": run.plan.type.stage_timeout_s,
    }


def _note_mirrored(run: Run, plan: ExecutionPlan, record: Record) -> None:
    """Promises of the device that the coordinator has on its own disk; samples are not worth a flush each."""
    if record.kind != "sample":
        run.note("mirrored", execution=plan.name, sequence=record.sequence, kind=record.kind)
        run.emit("record", execution=plan, record=record)


def _durations(mirror: Mirror) -> dict[str, float]:
    ends = [record.payload for record in mirror.records if record.kind == "stage_finished"]
    return {end["stage"]: end["duration_ns"] / 1e9 for end in ends}
