"""What runs that did not come to their end have left on a device, before anything new begins there.

    our own (we are its resume)   is gone on with; nothing to do here
    another run of this host      its journal is mirrored into its own folder, to the last record; then its execution is ended, and
                                  the run concluded as blocked: the device was lent again
    one that still has somebody   (a stopped process) or whose folder is gone: only its execution is ended. Its journal stays on the
    or of another host            device, for its own coordinator to fetch

Nothing that is not mirrored is ever removed from a device.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from runner.clock import iso
from runner.judgement import report
from runner.judgement.conclude import conclude
from runner.judgement.damaged import UNREADABLE
from runner.judgement.evidence import BY_THE_OPERATOR, SET_ASIDE
from runner.judgement.guard_journal import GUARD
from runner.judgement.reading import load_evidence
from runner.lab.folder import RunFolder, seals
from runner.model.plan import ExecutionPlan
from runner.ondevice.journal import Journal, Record
from runner.ondevice.results import ENDS
from runner.story.run import Past, Run, note, past_of
from runner.story.steps import step
from runner.target.growing import GrowingFile
from runner.target.mirror import Diverged, Mirror
from runner.target.session import Session
from runner.target.transports.base import LinkLost

SUPERSEDED_BY = "superseded by "
DRAIN_LIMIT_S = 60.0  # without a single new record


@step("make_safe")
async def settle(run: Run) -> None:
    """Every other run's business on this device is mirrored where it can be, and ended."""
    assert run.session
    left = run.session.hello.get("execution")
    going_on = left if isinstance(left, dict) and not left.get("ended") and left.get("run") != run.token else None
    if going_on:
        await run.session.ask("abandon", reason=f"{SUPERSEDED_BY}{run.token}")
        run.note("made_safe", abandoned=going_on)
        run.say(f"ended what {going_on.get('run')} had left running")
    for token, root in run.lease.leases.unfinished(run.plan.identity):
        if token != run.token:
            await _settle(run, token, RunFolder(root))


async def _settle(run: Run, token: str, old: RunFolder) -> None:
    """One run of this host that was killed or interrupted: mirrored, and concluded as blocked. One that was killed
    behind its end only lacks its report."""
    assert run.session
    leases, name = run.lease.leases, f"{old.root.parent.name}/{old.run_id}"
    try:
        gone = not old.root.exists() or load_evidence(old).config["run_token"] != token
    except UNREADABLE as error:
        run.say(f"{name} is damaged, and cannot be concluded; what it left on the device stays there: {str(error).partition(chr(10))[0]}")
        run.say(f"next: runner run verify {name}")
        return
    if gone:
        run.say(f"{old.root} is gone: what its run left on the device stays there")
        leases.concluded(token)
        return
    try:
        with old.alone():
            evidence = load_evidence(old)
            whole = bool((evidence.note("superseded") or {}).get("whole"))
            if not evidence.over:
                log = Journal.open(str(old.coordinator_journal))
                whole = await _drain_all(run.session, token, old, log)
                found = f"the device was lent to {run.token} before this run had come to its end"
                note(log, "superseded", {"by": run.token, "whole": whole})
                old.reserve.unlink(missing_ok=True)
                _collect(run, old, past_of(evidence))
                note(log, "sealed", {"files": seals(old)})
                note(log, "run_ended", {"ending": "lab", "error": found + ("; all that it wrote is mirrored" if whole else "")})
                log.close()
            report.write(old, conclude(old, iso(run.clock.wall_ns())))
    except LinkLost:
        raise
    except UNREADABLE as error:  # its coordinator lives, or its folder cannot be read or written
        with contextlib.suppress(*UNREADABLE):
            if load_evidence(old).over:
                return  # it is writing its report
        run.say(f"{old.run_id} could not be concluded, its journal stays on the device: {error}")
        return
    run.session.mirror = None
    if whole:
        await run.session.ask("forget", run=token)
    leases.concluded(token)
    run.note("settled", run=token, whole=whole)
    run.say(f"{old.run_id} had been left unfinished; it is concluded now" + (", with all that it wrote mirrored" if whole else ""))


def _collect(run: Run, old: RunFolder, past: Past) -> None:
    """What others wrote about the old run on this machine (a board's witness, console, disk requests), into its own folder."""
    assert run.target
    witness = run.target.home.witness
    files = {"witness": witness.file, **run.target.power.evidence()}
    if Path(witness.path_on_device) == run.folder.witness:  # a device that writes into each run's folder itself
        del files["witness"]
    for name, mark in (past.marks or {}).items():
        if name in files:
            file = GrowingFile(files[name].path)
            file.rewind(mark)
            (old.witness if name == "witness" else old.journals / name).write_bytes(file.new_bytes())


async def _drain_all(session: Session, token: str, old: RunFolder, log: Journal) -> bool:
    """Mirrors every execution that the run began and did not end. Whether all of it is here now."""
    ended = {record.payload["execution"] for record in log.records if record.kind == "execution_ended"}
    whole = True
    for name in [record.payload["execution"] for record in log.records if record.kind == "execution_began"]:
        if name in ended:
            continue
        mirror = Mirror(old.device_journal(name))
        try:
            ending = await drain(session, token, name, mirror, log)
        except Diverged as error:
            ending = "diverged"
            note(log, "diverged", {"execution": name, "mirrored": mirror.sequence, "found": str(error)})
        finally:
            session.mirror = None
            mirror.close()
        whole = whole and ending not in ("diverged", "stuck")
        note(log, "execution_ended", {"execution": name, "ending": ending, "mirrored": mirror.sequence, "chain": mirror.chain})
    if any(record.kind in ("link_began", "scarcity_began", "heat_began") for record in log.records):
        await mirror_guard(session, token, old, log)
    return whole


async def mirror_guard(session: Session, token: str, folder: RunFolder, log: Journal) -> None:
    """The journal of a run's guard, as far as it is written: what was done to the device's link, and taken back."""
    mirror = Mirror(folder.device_journal(GUARD))
    try:
        await drain(session, token, GUARD, mirror, log)
    finally:
        session.mirror = None
        mirror.close()
        if not mirror.records:
            mirror.path.unlink()


async def drain(session: Session, token: str, execution: str, mirror: Mirror, log: Journal) -> str:
    """Reads a journal that nobody writes any more to its end, each record noted in `log`. Returns how it ended: by its last
    record, "stuck" when the device says that there is more and does not send it.

    Raises Diverged when it is no continuation of what is mirrored.
    """
    catch_up(log, execution, mirror)
    session.on_record = noting(log, execution)
    state = await session.follow(token, execution, mirror)
    if not state["agrees"]:
        raise Diverged(
            f"{mirror.sequence} records were mirrored; they are not what the device's journal ({state['written']} now) begins with"
        )
    try:
        while mirror.sequence < state["written"]:
            here = mirror.sequence
            await asyncio.wait_for(session.record(lambda record: record.sequence > here), DRAIN_LIMIT_S)  # noqa: B023 - awaited at once
    except asyncio.TimeoutError:
        return "stuck"
    return mirror.records[-1].kind if mirror.records else "never began"


def lent_again(records: list[Record]) -> bool:
    """Whether an execution that nobody writes any more was ended by another run's coming, and not by anything of its own."""
    end = next((record for record in records if record.kind in ENDS), None)
    return end is None or (end.kind == "abandoned" and str(end.payload.get("reason", "")).startswith(SUPERSEDED_BY))


async def give_up_own(run: Run) -> None:
    """What this very run left on the device is ended, and mirrored."""
    assert run.session
    await run.session.ask("abandon", reason="cancelled by the operator")
    run.superseded = await _drain_all(run.session, run.token, run.folder, run.log)
    run.note("superseded", by=BY_THE_OPERATOR, whole=run.superseded)


async def set_aside(run: Run, execution: ExecutionPlan) -> None:
    """An execution that nobody can go on with is ended; its evidence stays, and nothing is judged by it."""
    assert run.session
    await run.session.ask("abandon", reason="set aside: its coordinator was killed while its disk was being damaged, or its link was")
    mirror = Mirror(run.folder.device_journal(execution.name))
    try:
        await drain(run.session, run.token, execution.name, mirror, run.log)
    except Diverged:
        pass  # so much of the damage had been done
    finally:
        run.session.mirror = None
        mirror.close()
    end_as(run, execution, SET_ASIDE)
    run.say(f"{execution.name} is set aside, and made again")


def end_as(run: Run, execution: ExecutionPlan, ending: str) -> None:
    """Notes the end of an execution that an earlier process of this run had begun."""
    mirror = Mirror(run.folder.device_journal(execution.name))
    mirror.close()
    run.note("execution_ended", execution=execution.name, ending=ending, mirrored=mirror.sequence, chain=mirror.chain)
    run.past.begun.discard(execution.name)
    run.past.ended[execution.name] = ending
    run.endings.append(ending)


def catch_up(log: Journal, execution: str, mirror: Mirror) -> None:
    """Notes what is mirrored and was not noted: a coordinator was killed between the two."""
    notes = [record.payload for record in log.records if record.kind == "mirrored"]
    known = max((said["sequence"] for said in notes if said["execution"] == execution), default=0)
    for record in mirror.records[known:]:
        noting(log, execution)(record)


def noting(log: Journal, execution: str) -> Callable[[Record], None]:
    """Notes each promise of the device that is on the coordinator's own disk; samples are not worth a flush each."""

    def on_record(record: Record) -> None:
        if record.kind != "sample":
            note(log, "mirrored", {"execution": execution, "sequence": record.sequence, "kind": record.kind})

    return on_record
