"""The same run on an emulated arm64 board, where a cut takes everything that was not flushed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.disk_log import read_power_ons
from runner.farm.lease import LEASE_S, lent
from runner.judgement.conclude import Conclusion
from runner.lab.where import cache_root
from runner.ondevice import journal
from runner.target.emulation.processes import STOP_LIMIT_S

from . import sabotage
from .conftest import failed

pytestmark = pytest.mark.qemu
Run = Callable[..., Conclusion]
TRIES = 3  # a name that nobody flushed may be on the disk all the same: the file system flushes by itself every five seconds


def test_real_power_cuts_are_survived_and_proven(run_edge_002: Run) -> None:
    """Cuts around each flush and inside a body: what was promised is there, what was not is gone, and the disk proves it; both journals
    agree on every promise.

    There may by chance be nothing to lose, most of all while the supervisor looks at what it finds, for the file system flushes by itself
    every five seconds: the run makes up for such a cut, ahead of a flush. The disk's proof is tried again where that fell into it.
    """
    points = (("", "created"), ("screen", "before_flush"), ("aggregate", "after_flush"), ("", "during_resume"), ("ledger", "after_ack"))
    conclusion = run_edge_002(*points, device="qemu-pi")
    assert failed(conclusion) == set()
    assert conclusion.outcome.verdict == "PASS_WITH_CONCERNS"
    evidence = conclusion.evidence
    proof = evidence.note("disk_proof")
    assert proof
    assert proof["found"] == {"write_cache": "write back", "fsync_arrived": True, "flushed": "new", "unflushed": "old"}
    assert sum(cut.counted for cut in evidence.cuts) == 5
    assert all(cut.loss == "power_loss" and cut.writes_lost is not None for cut in evidence.cuts)
    assert any(cut.point == "before_flush" and cut.records_lost and cut.writes_lost for cut in evidence.cuts)
    assert len({cut.recovered["boot_id"] for cut in evidence.cuts if cut.recovered}) == len(evidence.cuts)
    seen = [line.stage for line in evidence.of("recovery")[0].witnessed]
    (ahead,) = (cut for cut in evidence.of("recovery")[0].cuts if cut.point == "before_flush")
    assert (seen.count("screen"), seen.count("aggregate"), seen.count("ledger")) == (2 if ahead.records_lost else 1, 1, 1)
    console = (conclusion.folder.journals / "console.log").read_text(errors="replace")
    assert console.count("recovery complete") >= 5
    proofs = sum(record.kind == "disk_proof" for record in evidence.coordinator)
    power_ons = read_power_ons((conclusion.folder.journals / "disk.log").read_bytes())
    assert len(power_ons) == 1 + proofs + len(evidence.cuts)  # one more than there were cuts of any kind
    assert journaled(conclusion) == mirrored(conclusion) != set()


def journaled(conclusion: Conclusion) -> set[int]:
    """The promises in the device's own journal of recovery-1."""
    return {record.sequence for record in conclusion.evidence.of("recovery")[0].records if record.kind != "sample"}


def mirrored(conclusion: Conclusion) -> set[int]:
    """Those that the coordinator says it has mirrored, one by one."""
    said = [record.payload for record in journal.read_file(str(conclusion.folder.coordinator_journal)) if record.kind == "mirrored"]
    return {payload["sequence"] for payload in said if payload["execution"] == "recovery-1"}


BEHIND_EACH_PROMISE = (("screen", "after_ack"), ("aggregate", "after_ack"), ("train", "after_ack"))  # the first that costs one is the last


def test_a_supervisor_whose_fsync_does_nothing_is_caught(run_edge_002: Run) -> None:
    """Nothing that it keeps survives a real cut, not even its own installed self: it never gets past the disk proof. Where that came so
    late that the kernel had written the installed files by itself (after half a minute), its journal does not survive what follows."""
    broken = sabotage.using(sabotage.supervisor_with(sabotage.FSYNC_DOES_NOTHING))
    conclusion = run_edge_002(*BEHIND_EACH_PROMISE, device="qemu-pi", boot_limit_s=40, adjust=broken)
    ended = conclusion.outcome.status, conclusion.outcome.verdict, conclusion.outcome.exit_code
    assert ended == ("blocked", None, 3) or (ended == ("completed", "FAIL", 1) and "promises_kept" in failed(conclusion))


def test_a_journal_that_is_never_flushed_is_caught(run_edge_002: Run) -> None:
    """Records that were acknowledged and never flushed are gone after a real cut, and the run fails for exactly that.

    The file system flushes by itself every five seconds; where that fell between a promise and the cut behind it, the next cut shows it.
    """
    broken = sabotage.using(sabotage.supervisor_with(sabotage.JOURNAL_IS_NEVER_FLUSHED))
    conclusion = run_edge_002(*BEHIND_EACH_PROMISE, device="qemu-pi", adjust=broken)
    assert "promises_kept" in failed(conclusion)
    assert conclusion.outcome.verdict == "FAIL"


def test_a_journal_without_folder_fsync_is_caught(run_edge_002: Run) -> None:
    """A journal whose name was never flushed is gone after a cut right behind its first record."""
    broken = sabotage.using(sabotage.supervisor_with(sabotage.NO_FOLDER_FSYNC))
    for _ in range(TRIES):
        conclusion = run_edge_002(("", "created"), device="qemu-pi", adjust=broken)
        if failed(conclusion) or conclusion.trouble:
            break
    assert "promises_kept" in failed(conclusion)


@pytest.mark.long
def test_ignoring_the_journal_is_caught_on_a_board_too(run_edge_002: Run) -> None:
    """The witness outside of the board counts stage starts that no disk of the board remembers."""
    broken = sabotage.using(sabotage.supervisor_with(sabotage.SAYS_RESTORED_AND_REPEATS))
    conclusion = run_edge_002(("screen", "after_ack"), device="qemu-pi", adjust=broken)
    assert failed(conclusion) == {"nothing_repeated"}


def test_a_board_outlives_its_killed_coordinator_and_then_ends(tmp_path: Path) -> None:
    """After SIGKILL of `exec` the board stays powered, as in real life; its keeper's lease ends, and nothing remains."""
    state = tmp_path / "state"
    environment = {**os.environ, "RUNNER_STATE": str(state), "RUNNER_CACHE": str(cache_root())}
    command = [sys.executable, "-m", "runner", "exec", "EDGE-002", "--device", "qemu-pi"]
    coordinator = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    assert coordinator.stdout
    assert any("baseline-1" in line for line in coordinator.stdout)
    coordinator.kill()
    coordinator.wait()
    coordinator.stdout.close()
    pids = [row["pid"] for row in json.loads((state / "boards" / "qemu-pi" / "pids.json").read_text())]
    assert len(pids) >= 2
    assert all(Path(f"/proc/{pid}").exists() for pid in pids), "the board lost its power with its coordinator"
    deadline = time.monotonic() + LEASE_S + 4 * STOP_LIMIT_S  # and an orderly close: so long may each step of it take
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "the board is still on"
        time.sleep(1)

    async def have_it() -> None:
        async with lent(state, "qemu-pi", "afterwards", wait=False):
            pass

    asyncio.run(have_it())  # a dead holder holds nothing
    assert str(state) not in Path("/proc/mounts").read_text()  # boards of other tests may be at work
