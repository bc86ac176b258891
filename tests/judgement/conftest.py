"""Forging: a real run's journals, rewritten with right checksums and numbers, as somebody who knows the format would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.judgement.conclude import conclude
from runner.lab.folder import RunFolder, seals
from runner.ondevice import journal
from runner.ondevice.journal import Record

Change = Callable[[Record], dict[str, Any] | None]


class Forger:
    """Changes one run folder, and tells which checks notice."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.recovery = run.device_journal("recovery-1")

    def rewrite(self, path: Path, change: Change) -> None:
        """Each record's payload as `change` gives it; None leaves the record out. Numbers and checksums are right again."""
        kept: list[bytes] = []
        for record in journal.read_file(str(path)):
            payload = change(record)
            if payload is not None:
                written = (record.boot_id, record.boottime_ns, record.wall_ns, record.kind)
                kept.append(journal.encode(len(kept) + 1, *written, payload).raw)
        path.write_bytes(journal.FILE_HEADER + b"".join(kept))

    def insert(self, path: Path, before: int, kind: str, payload: dict[str, Any]) -> None:
        """One more record, in the place of the one with that number."""
        kept: list[bytes] = []
        for record in journal.read_file(str(path)):
            clocks = (record.boot_id, record.boottime_ns, record.wall_ns)
            more = [(kind, payload)] if record.sequence == before else []
            for each in (*more, (record.kind, record.payload)):
                kept.append(journal.encode(len(kept) + 1, *clocks, *each).raw)
        path.write_bytes(journal.FILE_HEADER + b"".join(kept))

    def drop(self, path: Path, kind: str, number: int = 0) -> None:
        """Leaves out the n-th record of a kind."""
        self.rewrite(path, self._nth(path, kind, number, lambda payload: None))

    def change(self, path: Path, kind: str, number: int = 0, **changes: Any) -> None:
        """Changes fields of the n-th record of a kind."""
        self.rewrite(path, self._nth(path, kind, number, lambda payload: {**payload, **changes}))

    def seal(self, *, begun: bool = True) -> None:
        """Makes the coordinator's own word on how the journal ended, and the hashes of the evidence, fit what was forged; if `begun`,
        also its word on what had been planned when the run began."""
        records = journal.read_file(str(self.recovery))
        chain = journal.GENESIS
        for record in records:
            chain = journal.chain_on(chain, record.raw)

        def sealed(record: Record) -> dict[str, Any]:
            ended = record.kind == "execution_ended" and record.payload["execution"] == "recovery-1"
            changed = {"mirrored": len(records), "chain": chain} if ended else {"files": seals(self.run)} if record.kind == "sealed" else {}
            if begun and record.kind == "run_began":
                changed = {"files": {name: said for name, said in seals(self.run).items() if name in record.payload["files"]}}
            return {**record.payload, **changed}

        self.rewrite(self.run.coordinator_journal, sealed)

    def red(self) -> set[str]:
        """`scenario: check` for each check that must hold and does not; the chaos of every run is observed to lose something."""
        results = conclude(self.run, "now").results
        return {f"{result.scenario}: {result.check}" for result in results if not result.held and result.judge == "must_hold"}

    def _nth(self, path: Path, kind: str, number: int, act: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Change:
        chosen = [record for record in journal.read_file(str(path)) if record.kind == kind][number].sequence
        return lambda record: act(record.payload) if record.sequence == chosen else record.payload


@pytest.fixture
def forger(real_run: RunFolder) -> Forger:
    return Forger(real_run)
