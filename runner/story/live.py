"""The device made live for one run, and everything undone afterwards, in order, whatever happens.

    power on, open ─► renewed: lease, keeper, the device's own claim ─► … ─► unwind, shielded from cancellation

Losing the lease cancels the run; nothing is done to the device from then on, not even switching it off.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from runner.errors import LabError, RunnerError
from runner.judgement.evidence import SET_ASIDE
from runner.lab.folder import seals
from runner.lab.where import cache_root, state_root
from runner.ondevice.journal import Journal
from runner.ondevice.results import ENDS
from runner.story import heat, links
from runner.story.run import Run
from runner.story.signs_of_life import lease_kept, signs_of_life
from runner.story.steps import step
from runner.target.drivers import Request, make_target
from runner.target.session import NotOurs
from runner.target.target import Target
from runner.target.transports.base import LinkLost


@contextlib.asynccontextmanager
async def live_target(run: Run, adjust: Callable[[Target], None]) -> AsyncIterator[None]:
    """The device powered, ours, its session open. Afterwards all of it undone."""
    place = state_root(), cache_root(), run.folder.witness
    request = Request(run.plan.device, run.plan.line, run.plan.type, *place, run.clock, run.say, run.lease)
    run.target = target = await make_target(request)
    adjust(target)
    _mark_evidence(run, target)

    def lost(error: LabError) -> None:  # whoever says so: somebody else's device is not even switched off
        run.lost = run.lost or error

    try:
        async with signs_of_life(run.lease, target, run.clock, lambda: run.session, on_lost=lost, say=run.say):
            await _open(run, target)
            yield
    finally:
        async with lease_kept(run.lease, target, run.clock, on_lost=lost, say=run.say):
            await _to_the_end(_unwind(run, target))


@step("open")
async def _open(run: Run, target: Target) -> None:
    run.session = await target.bring_up(run.say)
    facts = await target.power.facts()
    run.note("power_on", facts=facts, loss=target.loss)
    run.emit("powered", facts=facts)
    if run.past.unrecovered is None:
        run.note("hello", **run.session.hello)
        return
    execution, hold = run.past.unrecovered  # its coordinator was killed before it saw the device come back from this cut
    now_ns = run.clock.boottime_ns()  # nobody saw when its power came back
    host_wait_s = await target.power.waited_s()
    waited = {"power_on_boottime_ns": now_ns, "host_wait_s": host_wait_s, "board_boot_s": None, "error_bound_s": None}
    run.note("recovered", execution=execution, hold=hold, **run.session.identity, **waited)


def _mark_evidence(run: Run, target: Target) -> None:
    """From where on the files that others write (disk.log, console, witness) are this run's: noted once, and kept over a resume."""
    files = {"witness": target.home.witness.file, **target.power.evidence()}
    if run.past.marks is None:
        run.note("evidence_from", marks={name: file.mark for name, file in files.items()})
        return
    for name, mark in run.past.marks.items():
        if name in files:
            files[name].rewind(mark)


async def _to_the_end(unwinding: Awaitable[None]) -> None:
    """Waits for `unwinding` through any number of cancellations: an unwinding that began is finished."""
    task = asyncio.ensure_future(unwinding)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    task.result()


@step("unwind")
async def _unwind(run: Run, target: Target) -> None:
    """Everything off, in order. Each step is tried whatever became of the one before, and none hides the first failure."""
    _make_room(run)
    steps: tuple[Callable[[], Any], ...] = (
        lambda: _leave(run, target),
        lambda: collect_evidence(run),
        lambda: target.transport.close() if run.lost else target.shut_down(),  # _leave may have heard that it is lost
        lambda: collect_evidence(run),
        lambda: seal(run),
    )
    if run.lost is not None:
        steps = (lambda: _close(run), target.transport.close, lambda: seal(run))
    failed: list[str] = []
    for number, act in enumerate(steps, 1):
        try:
            done = act()
            if done is not None:
                await done
        except Exception as error:
            run.say(f"unwinding: {error}")
            with contextlib.suppress(LabError):
                run.note("unwind_failed", step=number, error=f"{type(error).__name__}: {error}")
            failed.append(str(error))
    if failed and run.completed:  # a run that is judged by what could not be collected would be judged wrongly
        raise LabError(f"the run could not be unwound in order: {failed[0]}", do="free what is named, then: runner run resume")


def _make_room(run: Run) -> None:
    """The room that was kept for last words is given free, and a journal that a full disk had broken is opened anew."""
    with contextlib.suppress(OSError):
        run.folder.reserve.unlink(missing_ok=True)
        run.log.close()
        run.log = Journal.open(run.log.path)


async def _leave(run: Run, target: Target) -> None:
    """The device let go, in order. What a run that is over left there is forgotten, when every journal of it was mirrored to its end.

    A run that is not over (interrupted, or the lab failed) leaves its execution as it is: `resume` goes on with it, and
    whoever holds the device before that mirrors it first.
    """
    if run.session is None:
        return
    if not _all_mirrored(run):
        run.note("kept_on_device", run=run.token)
    await links.let_go(run)
    await heat.let_go(run)
    with contextlib.suppress(RunnerError):  # the session may have ended with what ended the run
        try:
            await _let_go(run)
        except LinkLost:
            if run.completed:
                await run.session.close()
                run.session = await target.recover(run.plan.type.boot_limit_s, by_itself=False)
                await _let_go(run)
        except NotOurs as error:
            run.lost = error
            run.say(f"the device was not let go, and nothing more is done to it: {error}")
    await run.session.close()


def _all_mirrored(run: Run) -> bool:
    """Whether the device may forget this run: it is over, and every journal of it was mirrored to its end."""
    return run.superseded or (run.completed and bool(run.endings) and all(ending in (*ENDS, SET_ASIDE, "limit") for ending in run.endings))


async def _let_go(run: Run) -> None:
    assert run.session
    if run.completed:
        await run.session.ask("abandon", reason="the run is over", timeout_s=10)
    if _all_mirrored(run):
        await run.session.ask("forget", run=run.token, timeout_s=10)
    await run.session.ask("release", timeout_s=10)


async def _close(run: Run) -> None:
    if run.session is not None:
        await run.session.close()


def seal(run: Run) -> None:
    run.note("sealed", files=seals(run.folder))


def collect_evidence(run: Run) -> None:
    """Copies what others wrote about this run (witness, console, disk requests) into its folder."""
    assert run.target
    lines = run.target.home.witness.lines()
    if Path(run.target.home.witness.path_on_device) != run.folder.witness:
        run.folder.witness.write_bytes(lines)
    for name, file in run.target.power.evidence().items():
        data = file.new_bytes()
        if data or name != heat.LOG:  # most runs have no heat
            (run.folder.journals / name).write_bytes(data)
