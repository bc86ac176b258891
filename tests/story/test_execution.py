"""Whose fault it is when a device does not come back after a cut; and what is noted of an absence, whoever is killed behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.errors import LabError
from runner.judgement.checks import promises_kept, really_rebooted
from runner.judgement.reading import load_evidence
from runner.lab.folder import RunFolder
from runner.model.plan import CutPlan
from runner.ondevice import journal
from runner.ondevice.journal import Journal, Record
from runner.story.execution import _recover, _start
from runner.story.run import Past, note
from runner.target.mirror import Mirror
from runner.target.transports.base import LinkLost
from tests.judgement.made_run import MadeRun


@pytest.mark.parametrize(
    ("facts", "labs_fault"),
    [({"on": True, "frozen": True}, True), ({"on": False, "last_end": "killed"}, True), ({"on": True}, False), ({}, False)],
)
def test_a_board_that_lost_its_emulator_is_not_judged(facts: dict[str, Any], labs_fault: bool, clock: Any) -> None:
    """Frozen or dead underneath: the lab's trouble. On and silent: a result, which fails the run."""

    async def recover(limit_s: float) -> None:
        raise LinkLost("no answer")

    async def said() -> dict[str, Any]:
        return facts

    notes: list[str] = []
    target = SimpleNamespace(recover=recover, type=SimpleNamespace(boot_limit_s=1), power=SimpleNamespace(facts=said))
    run: Any = SimpleNamespace(target=target, clock=clock, note=lambda kind, **_: notes.append(kind), emit=lambda *_, **__: None)
    plan: Any = SimpleNamespace(name="recovery-1")
    cut = CutPlan(hold="recovery-1/1", stage="a", point="started")
    if labs_fault:
        with pytest.raises(LabError, match="while it was starting"):
            asyncio.run(_recover(run, plan, cut))
    else:
        assert asyncio.run(_recover(run, plan, cut)) is False
    assert notes == ([] if labs_fault else ["not_recovered"])


# ---- an absence --------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The coordinator is gone, between one record and the next."""


class Kept:
    """A device that holds an execution's journal, which nobody writes any more; a coordinator is killed when it has had `bears` records."""

    def __init__(self, run: MadeRun) -> None:
        self.records = journal.read(journal.FILE_HEADER + b"".join(run.journals["recovery-1"]))
        self.identity = {"boot_id": run.boot_id, "supervisor_started_ns": 10**9}
        self.bears, self.mirror = len(self.records), None
        self.on_record: Callable[[Record], None] = lambda record: None

    async def ask(self, do: str, from_sequence: int, chain: str, **_: Any) -> dict[str, Any]:
        """As a supervisor does: it sends nothing to whom it does not agree with; else its records may overtake its answer."""
        assert do == "follow"
        ours = journal.GENESIS
        for record in self.records[: from_sequence - 1]:
            ours = journal.chain_on(ours, record.raw)
        agrees = chain == ours
        for record in self.records[from_sequence - 1 :] if agrees else ():
            if not self.bears:
                raise Killed
            self.bears -= 1
            if self.mirror is not None and self.mirror.take(record.raw):
                self.mirror.flush()
                self.on_record(record)
        return {"agrees": agrees, "written": len(self.records), "current": True, "ended": True}

    async def follow(self, run: str, execution: str, mirror: Mirror) -> dict[str, Any]:
        self.mirror = mirror  # type: ignore[assignment]
        return await self.ask("follow", from_sequence=mirror.sequence + 1, chain=mirror.chain)


def come_back(folder: RunFolder, device: Kept, clock: Any) -> None:
    """One life of a coordinator that goes on with the execution."""
    log, mirror = Journal.open(str(folder.coordinator_journal)), Mirror(folder.device_journal("recovery-1"))
    note(log, "resumed", {})
    run: Any = SimpleNamespace(
        session=device, past=Past(begun={"recovery-1"}), log=log, token="R", clock=clock, emit=lambda *_, **__: None,
        note=lambda kind, **facts: note(log, kind, facts),
    )  # fmt: skip
    plan: Any = SimpleNamespace(name="recovery-1", cuts=())
    try:
        asyncio.run(_start(run, plan, mirror))
    finally:
        log.close()
        mirror.close()


@pytest.mark.parametrize("promised", [0, 99], ids=["kept", "lost"])
@pytest.mark.parametrize("bears", range(6))
def test_a_second_kill_while_the_absence_is_mirrored_changes_nothing(tmp_path: Path, clock: Any, bears: int, promised: int) -> None:
    """However much of it was mirrored by then: nobody is accused of a restart in it, and what a cut lost in it is found."""
    made = MadeRun(tmp_path)
    made.begin("recovery-1")
    made.stage("recovery-1", "ingest", 2.0, 3.0)
    known = len(made.journals["recovery-1"])
    made.note(3, "held", execution="recovery-1", hold="recovery-1/1", flushed=promised)
    made.note(3, "cutting", execution="recovery-1", hold="recovery-1/1")
    made.restart(7, "recovery-1")
    made.restart(10, "recovery-1")
    made.device(12, "recovery-1", "finished", state_sha256="")
    device, folder = Kept(made), made.folder
    made.conclusion()
    path = folder.device_journal("recovery-1")
    path.write_bytes(journal.FILE_HEADER + b"".join(made.journals["recovery-1"][:known]))
    device.bears = bears
    if bears < len(device.records) - known:
        with pytest.raises(Killed):
            come_back(folder, device, clock)
        device.bears = len(device.records)
    come_back(folder, device, clock)
    evidence = load_evidence(folder)
    assert len(evidence.executions[0].records) == len(device.records)
    assert really_rebooted(evidence, "recovery") == []
    lost = [f"recovery-1/1: 99 records were promised, {found} came back" for found in (known, known + 2) if promised]
    assert [problem for problem, _ in promises_kept(evidence, "recovery")] == lost
