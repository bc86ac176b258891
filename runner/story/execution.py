"""One execution of one pipeline, with the cuts that fall into it.

    begin, or go on ─► (hold reached ─► cut ─► power on ─► recovered ─► follow on)* ─► ended

What goes wrong with the *software under test* (a hold never reached, no recovery within the limit, records
lost) is a result: it is noted in the coordinator's journal and ends the execution. Only the lab's own failures
raise. A link that breaks without a cut is neither: we attach again and read on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from runner.errors import LabError, RunnerError
from runner.lab.folder import write_text
from runner.model.plan import CutPlan, ExecutionPlan
from runner.ondevice import failpoints
from runner.ondevice.journal import Record
from runner.ondevice.results import ENDS
from runner.story import faults, heat, scarcity
from runner.story.damage import LostAlready, damage, locate
from runner.story.left import catch_up, drain, lent_again, noting
from runner.story.run import Run, stage_durations
from runner.story.steps import step
from runner.target.mirror import Diverged, Mirror
from runner.target.session import RemoteError, holds_shape
from runner.target.transports.base import LinkLost, words

Result = TypeVar("Result")


class ExecutionRefused(LabError):
    """The device found a journal that it would not go on with, and says why."""


HOPELESS = ("diverged", "not_recovered", "stuck")  # endings after which this device has nothing more to show in this run
MAX_REATTACHMENTS = 5
GIVE_UP_S = 15.0
OUT_OF_TIME = "the time limit is over"


async def run_execution(run: Run, plan: ExecutionPlan) -> str:
    """Runs `plan` and returns how it ended: as the device's journal says, or "limit", "diverged", "not_recovered" …

    Raises LabError when the lab cannot go on.
    """
    assert run.session
    run.emit("execution_began", execution=plan)
    began_ns = run.clock.boottime_ns()
    if plan.name not in run.past.begun:
        run.note("execution_began", execution=plan.name, scenario=plan.scenario, plan=plan.model_dump(mode="json"))
    mirror = Mirror(run.folder.device_journal(plan.name))
    try:
        ending = await _live(run, plan, mirror)
        if ending == "limit":
            ending = await _give_up(run, plan, mirror)
    except ExecutionRefused as error:
        ending = "refused"
        _refusal(run, plan, "device", str(error))
    except Diverged as error:
        ending = "diverged"
        run.note("diverged", execution=plan.name, mirrored=mirror.sequence, found=str(error))
        if any(cut.tamper for cut in plan.cuts) and not isinstance(error, LostAlready):
            ending = await _refuse(run, plan, str(error))  # the device is well; only what it kept is not
    finally:
        run.session.mirror = None  # a late record must not meet a closed file
        await _keep_log(run, plan)
        mirror.close()
    if ending == "refused" and mirror.records and mirror.records[-1].kind == "refused":
        _refusal(run, plan, "device", str(mirror.records[-1].payload.get("reason", "")))
    run.note("execution_ended", execution=plan.name, ending=ending, mirrored=mirror.sequence, chain=mirror.chain)
    run.past.begun.discard(plan.name)
    run.endings.append(ending)
    if not plan.cuts:
        run.baseline_s.update(stage_durations(mirror.records))
    earlier = sum(cut.hold in run.past.cut for cut in plan.cuts)
    run.emit("execution_ended", execution=plan, ending=ending, duration_s=(run.clock.boottime_ns() - began_ns) / 1e9, earlier=earlier)
    return ending


@step("drain")
async def _keep_log(run: Run, plan: ExecutionPlan) -> None:
    """What the pipeline printed, into results/logs; where the device no longer answers there is none."""
    assert run.session
    with contextlib.suppress(RunnerError):  # whatever ended the session has been heard of already
        said = await run.session.ask("log", run=run.token, execution=plan.name, timeout_s=GIVE_UP_S)
        left_out = said["bytes"] - len(said["text"].encode())
        head = f"[the first {left_out} bytes were left on the device]\n" if left_out > 0 else ""
        write_text(run.folder.log(plan.name, run.clock.wall_ns()), head + said["text"])


async def _live(run: Run, plan: ExecutionPlan, mirror: Mirror) -> str:
    assert run.session
    held = await linked(run, lambda: _start(run, plan, mirror))
    pending = {cut.hold: cut for cut in plan.cuts if cut.hold not in run.past.cut}
    while pending:
        found = held or await _next(run, plan, mirror)
        if found is None:
            return "limit"
        if isinstance(found, Record):  # a random cut may come so late that the holds behind it are passed: not made, not a failure
            run.note("missed", execution=plan.name, holds=list(pending), ended=found.kind)
            return _ending(found)
        cut = pending.pop(found["hold"], None)
        if cut is None:
            raise _stands_again(plan, found)
        await _cut(run, plan, cut, await _standing(run, plan, cut, mirror))
        if not await _recover(run, plan, cut):
            return "not_recovered"
        await linked(run, lambda: faults.impose_again(run, plan))
        held = await linked(run, lambda: _follow(run, plan, mirror, f"after the cut at {cut.hold}"))  # noqa: B023 - awaited at once
    end = held or await _next(run, plan, mirror)
    if isinstance(end, dict):
        raise _stands_again(plan, end)
    return _ending(end) if end else "limit"


def _ending(record: Record) -> str:
    """How an execution ended, by its last record; one that we ourselves gave up, before we were killed, ran out of time."""
    return "limit" if record.kind == "abandoned" and record.payload.get("reason") == OUT_OF_TIME else record.kind


@step("start")
async def _start(run: Run, plan: ExecutionPlan, mirror: Mirror) -> dict[str, Any] | None:
    """The execution under way on the device: begun, or gone on with where an earlier coordinator of this run was killed.

    Returns the hold at which it stands already. Raises LabError when the device was lent to somebody else meanwhile; all that
    it wrote is mirrored then.
    """
    assert run.session
    if plan.name in run.past.begun:
        catch_up(run.log, plan.name, mirror)
        known = mirror.sequence
        # "" is no journal's chain: the device says how far it is, and not one record comes before it is noted that we were away
        state = await run.session.ask("follow", run=run.token, execution=plan.name, from_sequence=1, chain="")
        if known and not state["written"] and not state.get("refused") and not any(cut.hold in run.past.cut for cut in plan.cuts):
            raise LabError(
                "the device does not know this run any more: its state was removed, or it is another device", do=run.plan.command
            )
        there = state["written"] or known or state.get("refused")
        if there:
            run.note("returned", execution=plan.name, mirrored=known, written=state["written"], **run.session.identity)
        if state["written"] and (state.get("ended") or not state["current"]):
            whole = await drain(run.session, run.token, plan.name, mirror, run.log) != "stuck"
            if lent_again(mirror.records):
                run.note("superseded", by="another run", whole=whole)
                run.superseded = whole
                found = f"the device was lent to somebody else while {plan.name} was under way; what it wrote until then is mirrored"
                raise LabError(found, do=run.plan.command)
        if there:
            return await _follow(run, plan, mirror, "after the coordinator was gone")
    _listen(run, plan, mirror)
    run.past.begun.add(plan.name)  # should the link break now, nobody knows whether it has
    await run.session.ask("begin", spec=_spec(run, plan))
    return None


def _stands_again(plan: ExecutionPlan, held: dict[str, Any]) -> RunnerError:
    """A hold that was cut already is durably marked as used before anybody stands there; who stands there again lost the mark."""
    if held["hold"] in {cut.hold for cut in plan.cuts}:
        return Diverged(f"the device stands at {held['hold']} again: it lost the record that it had been there")
    return LabError(f"the device stands at {held['hold']}, where no cut was planned")


@step("hold")
async def _next(run: Run, plan: ExecutionPlan, mirror: Mirror) -> Record | dict[str, Any] | None:
    """What comes next: the last record, a hold that was reached, or None when the time is up.

    A link that breaks meanwhile is joined again. Raises LabError when it cannot be, and when the device says that it cannot go on.
    """
    for _ in range(MAX_REATTACHMENTS):
        assert run.session
        waiting: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(run.session.record(lambda record: record.kind in ENDS)),
            asyncio.ensure_future(run.session.event("held", "broken")),
        ]
        try:
            done, _pending = await asyncio.wait(waiting, timeout=plan.limit_s, return_when=asyncio.FIRST_COMPLETED)
            found = [task.result() for task in waiting if task in done]
        except LinkLost as error:
            run.emit("say", text=f"{error}; attaching again")
            held = await _reattach(run, plan, mirror, error)
            if held:
                return held
            continue
        finally:
            for task in waiting:
                task.cancel()
        if found and isinstance(found[0], dict) and found[0]["event"] == "broken":
            raise _cannot_go_on(found[0]["error"])
        return found[0] if found else None
    raise LabError(f"the link to the device broke {MAX_REATTACHMENTS} times in one wait")


async def _standing(run: Run, plan: ExecutionPlan, cut: CutPlan, mirror: Mirror) -> dict[str, Any]:
    """Where the device stands, asked right before it is cut there. Raises LabError when it has gone on by itself."""
    assert run.session
    try:
        held = ((await run.session.ask("hello")).get("execution") or {}).get("held")
    except LinkLost as error:
        run.say(f"{error}; attaching again")
        held = await _reattach(run, plan, mirror, error)
    if not isinstance(held, dict) or held.get("hold") != cut.hold or not holds_shape(held):
        raise LabError(f"the device gave up waiting at {cut.hold}: this coordinator was away for too long")
    return held


async def linked(run: Run, act: Callable[[], Awaitable[Result]]) -> Result:
    """`act`, once more with a new session each time the link breaks in it. It must be one that may be done again."""
    for _ in range(MAX_REATTACHMENTS):
        try:
            return await act()
        except LinkLost as error:
            run.say(f"{error}; attaching again")
            await relink(run, str(error))
    raise LabError(f"the link to the device broke {MAX_REATTACHMENTS} times in one step")


async def _ask(run: Run, do: str, **arguments: Any) -> dict[str, Any]:
    assert run.session
    return await run.session.ask(do, **arguments)


async def relink(run: Run, why: str, **facts: Any) -> None:
    """A new session, after a silence that nobody caused."""
    assert run.target and run.session
    silent_ns = run.clock.boottime_ns()
    await run.session.close()
    run.session = await run.target.recover(run.target.type.boot_limit_s, by_itself=False)
    silence_s = round((run.clock.boottime_ns() - silent_ns) / 1e9, 3)
    run.note("reattached", error=why, silence_s=silence_s, **run.session.identity, **facts)


@step("cut")
async def _cut(run: Run, plan: ExecutionPlan, cut: CutPlan, held: dict[str, Any]) -> None:
    """Takes the power away, here or a planned fraction into the stage's body, and notes what is known of it."""
    assert run.session and run.target
    facts = ("hold", "stage", "point", "sequence", "written", "flushed")
    run.note("held", execution=plan.name, **{key: held[key] for key in facts})
    written = held["written"]
    tamper = cut.tamper
    place = await linked(run, lambda: locate(run, plan, tamper)) if tamper else None
    if cut.fraction is not None:
        await linked(run, lambda: _ask(run, "proceed"))
        await run.clock.sleep(cut.fraction * run.baseline_s.get(cut.stage.partition("@")[0], 0.1))
        written = max(written, run.session.progress["written"])
    run.note("cutting", execution=plan.name, hold=cut.hold)
    done = await run.target.power.cut()
    failpoints.reached("cut.done")
    await run.session.close()
    run.note(
        "cut",
        execution=plan.name,
        hold=cut.hold,
        stage=cut.stage,
        point="random" if cut.fraction is not None else cut.point,
        loss=run.target.loss,
        written=written,
        witness_lines=run.target.home.witness.lines().count(b"\n"),
        facts=done,
        **({"damage": cut.tamper.damage} if cut.tamper else {}),
    )
    run.emit("cut", execution=plan, cut=cut, facts=done)
    if cut.tamper and place:
        mirrored = run.session.mirror.sequence if run.session.mirror else 0
        await damage(run, plan, cut.hold, cut.tamper, place, held["flushed"], mirrored)


@step("recover")
async def _recover(run: Run, plan: ExecutionPlan, cut: CutPlan) -> bool:
    """Power on, and whether the supervisor answered within the device's limit. Raises LabError if the power itself failed."""
    assert run.target
    powered_ns = run.clock.boottime_ns()
    try:
        run.session = await run.target.recover(run.target.type.boot_limit_s)
    except LinkLost as error:
        facts = await run.target.power.facts()
        if facts.get("on") is False or facts.get("frozen"):
            why = "was frozen by somebody" if facts.get("frozen") else f"lost its power: {facts.get('last_end')}"
            raise LabError(f"the board {why} while it was starting") from error
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
        **run.session.identity,
        power_on_boottime_ns=powered_ns,
        host_wait_s=await run.target.power.waited_s(),
        board_boot_s=max(0.0, round((read_ns - age_ns - powered_ns) / 1e9, 3)),
        error_bound_s=round((hello["answered_boottime_ns"] - hello["asked_boottime_ns"]) / 2e9 + 0.01, 3),
    )
    return True


async def _reattach(run: Run, plan: ExecutionPlan, mirror: Mirror, why: LinkLost) -> dict[str, Any] | None:
    """A new session, and the mirror read on from its end; the hold at which the device stands, if any."""
    await relink(run, str(why), execution=plan.name)
    await faults.still_imposed(run, plan)
    return await _follow(run, plan, mirror, "after a broken link")


async def _follow(run: Run, plan: ExecutionPlan, mirror: Mirror, when: str) -> dict[str, Any] | None:
    """Reads on from the mirror's end; returns the hold at which the execution stands already. Raises Diverged."""
    assert run.session
    _listen(run, plan, mirror)
    state = await run.session.follow(run.token, plan.name, mirror)
    if state.get("refused"):
        raise ExecutionRefused(str(state["refused"])[:500])
    if state.get("broken"):
        raise _cannot_go_on(state["broken"])
    if not state["agrees"]:
        known, now = mirror.sequence, state["written"]
        raise Diverged(f"{when}: the {known} records that were acknowledged are not what the device's journal ({now} now) begins with")
    if not state["current"] and not state.get("ended"):
        raise Diverged(f"{when}: the device does not go on with {plan.name}, and has not come to its end")
    held: dict[str, Any] | None = state.get("held")
    return held


def _cannot_go_on(error: object) -> LabError:
    """Not how the pipeline ended: the device itself has failed, and goes on when it is started anew."""
    do = "look at the device's disk and memory; then: runner run resume"
    return LabError(f"the device's supervisor cannot go on: {words(str(error))}", do=do)


def _listen(run: Run, plan: ExecutionPlan, mirror: Mirror) -> None:
    assert run.session
    run.session.mirror = mirror
    run.session.on_record = _noting(run, plan)


def _noting(run: Run, plan: ExecutionPlan) -> Callable[[Record], None]:
    write = noting(run.log, plan.name)

    def note(record: Record) -> None:
        write(record)
        heat.hear(run, plan, record)
        if record.kind != "sample":
            run.emit("record", execution=plan, record=record)

    return note


async def _refuse(run: Run, plan: ExecutionPlan, reason: str) -> str:
    """Ends an execution whose journal is not the one that was mirrored: "refused"; "stuck" when the device does not obey."""
    assert run.session
    try:
        await linked(run, lambda: _ask(run, "abandon", reason=f"refused by the coordinator: {reason}", timeout_s=GIVE_UP_S))
    except RemoteError:
        return "stuck"
    _refusal(run, plan, "coordinator", reason)
    return "refused"


def _refusal(run: Run, plan: ExecutionPlan, by: str, reason: str) -> None:
    """A journal is not gone on with: who says so, and why."""
    run.note("refused", execution=plan.name, by=by, reason=reason)
    run.emit("refused", by=by, reason=reason)


async def _give_up(run: Run, plan: ExecutionPlan, mirror: Mirror) -> str:
    """Ends an execution that ran out of time, its journal drained: "limit"; or "stuck" when the device does not obey."""
    assert run.session
    for _ in range(MAX_REATTACHMENTS):
        try:
            await run.session.ask("abandon", reason=OUT_OF_TIME, timeout_s=GIVE_UP_S)
            async with asyncio.timeout(GIVE_UP_S):
                await run.session.record(lambda record: record.kind in ENDS)
            return "limit"
        except LinkLost as error:
            await _reattach(run, plan, mirror, error)
        except (RemoteError, asyncio.TimeoutError):
            break
    return "stuck"


def _spec(run: Run, plan: ExecutionPlan) -> dict[str, Any]:
    """What the device is told once, and keeps in its journal's first record."""
    assert run.bundle and run.target
    spec: dict[str, Any] = {
        "run": run.token,
        "execution": plan.name,
        "durability": plan.durability,
        "stages": list(plan.stages),
        "lanes": plan.lanes,
        "holds": [{"hold": cut.hold, "stage": cut.stage, "point": cut.point} for cut in plan.cuts],
        "pipeline": {
            "tree": run.bundle.pipeline_tree,
            "files": run.bundle.pipeline_files,
            "module": f"{run.plan.pipeline_folder}.{plan.module}",
        },
        "environment": {"tree": run.bundle.environment_tree},
        "witness": run.target.home.witness.path_on_device,
        "stage_timeout_s": run.plan.type.stage_timeout_s,
        "under_faults": plan.under_faults,
        "settings": run.plan.settings(plan.name),
        **scarcity.spec_of(run, plan),
    }
    return heat.spec_of(run, plan, spec)
