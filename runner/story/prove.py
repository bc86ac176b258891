"""Before the first cut counts: proof that this device's disk can lose what was not flushed, and only that.

    1  the kernel reports a write-back cache
    2  an fsync on the device arrives as a flush at the disk server
    3  after a cut, a flushed canary block is new and an unflushed one is old

A disk that swallows flushes, or one that keeps everything, would make every later cut worthless: the fault is
then *not reached*, the run is blocked, and nothing passes.
"""

from __future__ import annotations

from typing import Any

from runner.errors import LabError
from runner.story.run import Run
from runner.story.steps import step

EXPECTED = {"write_cache": "write back", "fsync_arrived": True, "flushed": "new", "unflushed": "old"}


ATTEMPTS = 3  # the file system may flush by itself between the unflushed block and the cut; then it is tried again


@step("prove")
async def prove_disk(run: Run) -> None:
    """Does the three steps on a device whose cuts are power losses, once in a run's life. Raises LabError when one does not hold."""
    assert run.target
    if run.past.proven or run.target.loss != "power_loss" or not any(execution.cuts for execution in run.plan.executions):
        return
    for _ in range(ATTEMPTS):
        found = await _try_once(run)
        if found["unflushed"] != "new":
            break
    run.emit("disk_proof", found=found)
    if found != EXPECTED:
        wrong = ", ".join(f"{key} is {found[key]!r}" for key in EXPECTED if found[key] != EXPECTED[key])
        raise LabError(f"the disk of {run.target.name} does not lose what was not flushed: {wrong}", expected=str(EXPECTED))


async def _try_once(run: Run) -> dict[str, Any]:
    assert run.session and run.target
    power = run.target.power
    prepared = await run.session.ask("canary", step="prepare")
    before = await power.disk()
    await run.session.ask("canary", step="flush_once")
    after = await power.disk()
    await run.session.ask("canary", step="write")
    facts = await power.cut()
    await run.session.close()
    run.session = await run.target.recover(run.target.type.boot_limit_s)
    read = await run.session.ask("canary", step="read")
    found = {**prepared, "fsync_arrived": after["flushes"] > before["flushes"], **read}
    run.note("disk_proof", found=found, expected=EXPECTED, cut=facts, flushes=[before["flushes"], after["flushes"]])
    run.note("reattached", **run.session.identity)
    return found
