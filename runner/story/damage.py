"""Damaging what lies on a device's disk, between the cut and the power coming back; and saying exactly what was done.

at the hold   locate: where the file's bytes lie, and all that was promised is the coordinator's, too
power off     damage: read, write the planned bytes where they lie, read again, note it
"""

from __future__ import annotations

import hashlib
from typing import Any

from runner.errors import LabError
from runner.faults import tamper
from runner.model.plan import ExecutionPlan, TamperPlan
from runner.ondevice import journal
from runner.story.run import Run
from runner.target.mirror import Diverged


class LostAlready(Diverged):
    """Before anything was damaged, the disk lacked what had been promised: that is the software's own doing."""


async def locate(run: Run, plan: ExecutionPlan, planned: TamperPlan) -> dict[str, Any]:
    """Where that which is to be damaged lies on the device's disk; asked while the device still stands at the hold."""
    assert run.session
    module = f"{run.plan.pipeline_folder}/{plan.module}.py"
    return await run.session.ask("locate", what=module if planned.damage == "changed_pipeline" else "journal")


async def damage(run: Run, plan: ExecutionPlan, hold: str, planned: TamperPlan, place: dict[str, Any], flushed: int, mirrored: int) -> None:
    """Writes the damage into the device's storage while its power is off, and notes each byte range of it.

    `flushed` records were promised, and the first `mirrored` of them are the coordinator's, too: one of those is hit. The
    others could be torn off the end, and nobody who goes by the records would know of it.

    Raises LabError when the device's storage cannot be reached, and LostAlready when it lacks what was promised before any damage.
    """
    assert run.target
    storage = run.target.power.storage()
    if storage is None:
        raise LabError(f"nobody reaches the disk of {run.target.name} while it is off", do="leave out the scenarios that damage it")
    content = storage.read(place)
    if not content:
        raise LabError(f"the device says that {place['path']!r} is empty: there is nothing to damage")
    promised = len(content)
    foreign, spans = b"", []
    if planned.damage != "changed_pipeline":
        records = journal.read(content)[:flushed]
        if len(records) < flushed:
            raise LostAlready(f"after the cut at {hold}: {flushed} records were promised, the undamaged disk holds {len(records)}")
        spans = journal.spans(records[:mirrored])
        if not spans:
            raise LabError(f"nothing had been promised before the cut at {hold}: there is nothing to damage")
        promised = spans[-1][1]
        foreign = run.folder.device_journal(run.plan.executions[0].name).read_bytes()
    made = tamper.edits(planned, content, promised, foreign, spans)
    run.lease.confirm()
    for edit in made:
        storage.write(place, edit.offset, edit.data)
    after = storage.read(place)
    if after == content:
        raise LabError(f"writing to the disk of {run.target.name} changed nothing: damage not reached")
    run.note(
        "damaged",
        execution=plan.name,
        hold=hold,
        damage=planned.damage,
        file=place["path"],
        promised_bytes=promised,
        edits=[{"offset": edit.offset, "bytes": len(edit.data)} for edit in made],
        sha256_before=hashlib.sha256(content).hexdigest(),
        sha256_after=hashlib.sha256(after).hexdigest(),
    )
    run.emit("damaged", damage=planned.damage)
