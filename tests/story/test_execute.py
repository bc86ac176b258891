"""A whole run on this machine: real processes, real crashes, and supervisors that must not pass."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.judgement.conclude import Conclusion
from runner.ondevice import journal
from runner.target.target import Target
from runner.target.transports.base import LinkLost

from . import sabotage
from .conftest import failed

pytestmark = pytest.mark.real
Run = Callable[..., Conclusion]

EVERY_POINT = (
    ("", "created"),
    ("ingest", "before_flush"),
    ("aggregate", "after_flush"),
    ("", "during_resume"),
    ("train", "started"),
    ("ledger", "after_ack"),
)


def test_every_kind_of_cut_is_survived(run_edge_002: Run) -> None:
    """Crashes at every point, one during a resume: nothing repeated, nothing lost, same state as the baseline."""
    conclusion = run_edge_002(*EVERY_POINT)
    assert failed(conclusion) == set()
    assert conclusion.outcome.verdict == "PASS_WITH_CONCERNS"
    assert conclusion.cuts == {"asked": 6, "made": 6, "vacuous": 0, "counted": 6}


def test_the_run_folder_holds_everything_required(run_edge_002: Run) -> None:
    """The five required files, both journals and the witness are there, and findings.json says what the verdict says."""
    folder = run_edge_002(("screen", "started")).folder
    for path in (folder.readme, folder.findings, folder.final_report, folder.run_config, folder.environment):
        assert path.stat().st_size > 0, path
    assert {record.kind for record in journal.read_file(str(folder.coordinator_journal))} >= {"cut", "held", "mirrored", "recovered"}
    assert journal.read_file(str(folder.device_journal("recovery-1")))[-1].kind == "finished"
    assert folder.witness.read_bytes().count(b"\n") == 7 + 8  # seven stages, one of them twice: the one in flight
    metadata = json.loads(folder.findings.read_text())["metadata"]
    assert (metadata["status"], metadata["total_findings"]) == ("completed", 0)
    assert (folder.dx / "README.md").exists()


def test_what_was_in_flight_and_nothing_else_begins_again(run_edge_002: Run) -> None:
    """By the witness: a stage that was cut in its body begins twice, one cut behind its flush begins once."""
    conclusion = run_edge_002(("screen", "started"), ("train", "after_flush"))
    seen = [line.stage for line in conclusion.evidence.of("recovery")[0].witnessed]
    assert (seen.count("screen"), seen.count("train"), len(seen)) == (2, 1, 8)


def test_a_process_crash_is_no_power_loss(run_edge_002: Run) -> None:
    """What was written and never flushed survives a crash of the process: this is why a local cut is not called a power cut."""
    conclusion = run_edge_002(("screen", "before_flush"))
    seen = [line.stage for line in conclusion.evidence.of("recovery")[0].witnessed]
    assert seen.count("screen") == 1
    assert [(cut.loss, cut.records_lost) for cut in conclusion.evidence.cuts] == [("process_crash", 0)]
    assert "never a power cut" in conclusion.folder.final_report.read_text()


def test_a_second_run_pushes_nothing(run_edge_002: Run) -> None:
    """Blobs that the device has are not sent again."""
    first, second = (run_edge_002(("seal", "after_ack")) for _ in range(2))
    assert (first.evidence.note("pushed") or {})["bytes"] > 1_000_000
    assert (second.evidence.note("pushed") or {})["bytes"] == 0


def test_a_supervisor_that_ignores_its_journal_is_caught(run_edge_002: Run) -> None:
    """Running finished stages again is seen by the witness and by the restored state."""
    conclusion = run_edge_002(("train", "after_ack"), adjust=sabotage.using(sabotage.supervisor_with(sabotage.IGNORES_ITS_JOURNAL)))
    assert failed(conclusion) >= {"nothing_repeated", "restored_state_true"}
    assert (conclusion.outcome.verdict, conclusion.outcome.exit_code) == ("FAIL", 1)


def test_a_supervisor_that_lies_about_replaying_is_caught_by_the_witness(run_edge_002: Run) -> None:
    """One that records a perfect restore and then repeats everything is caught from outside alone."""
    conclusion = run_edge_002(("train", "after_ack"), adjust=sabotage.using(sabotage.supervisor_with(sabotage.SAYS_RESTORED_AND_REPEATS)))
    assert failed(conclusion) == {"nothing_repeated"}


def tearing(target: Target, archive: bytes | None = None) -> None:
    """Leaves a torn tail behind the journal at every power-on, before the supervisor starts."""
    power_on = target.power.on

    async def on() -> None:
        if list(Path(target.home.state).rglob("runs/*/recovery-1/journal")):
            sabotage.torn_tail(Path(target.home.state))
        await power_on()

    target.power.on = on  # type: ignore[method-assign]
    if archive:
        target.supervisor = archive


def test_a_torn_tail_is_cut_off(run_edge_002: Run) -> None:
    """The real supervisor drops a torn record, says how many bytes it dropped, and finishes right."""
    conclusion = run_edge_002(("screen", "after_flush"), adjust=tearing)
    assert failed(conclusion) == set()
    assert conclusion.evidence.of("recovery")[0].of_kind("restored")[0].payload["tail_cut_bytes"] > 0


def test_a_journal_without_crc_is_caught_on_a_torn_tail(run_edge_002: Run) -> None:
    """A supervisor that believes a torn record restores a state that nobody acknowledged."""
    broken = sabotage.supervisor_with(sabotage.NO_CRC)
    conclusion = run_edge_002(("screen", "after_flush"), adjust=lambda target: tearing(target, broken))
    assert "promises_kept" in failed(conclusion)
    assert conclusion.outcome.verdict == "FAIL"


def test_a_pipeline_that_takes_too_long_fails_and_does_not_block(run_edge_002: Run) -> None:
    """Not ending within the limit is a result about the software under test; its journal is drained to the end."""
    conclusion = run_edge_002(("train", "after_ack"), limit_s=0.02)
    assert (conclusion.outcome.status, conclusion.outcome.verdict) == ("completed", "FAIL")
    assert [execution.ended["ending"] for execution in conclusion.evidence.executions] == ["limit", "limit"]
    assert conclusion.evidence.of("baseline")[0].records[-1].kind == "abandoned"


def test_stages_that_were_not_planned_are_refused(run_edge_002: Run) -> None:
    """A pipeline with other stages than the entry says would leave stages uncut without anybody noticing."""
    conclusion = run_edge_002(stages=("ingest", "seal"))
    assert "planned: ingest, seal" in next(result for result in conclusion.results if result.check == "finished").problems[0][0]


def test_a_link_that_breaks_is_joined_again(run_edge_002: Run) -> None:
    """A broken link without a cut costs nothing: the next session reads on where the mirror ends."""
    conclusion = run_edge_002(("train", "after_ack"), adjust=breaking_the_first_link)
    assert failed(conclusion) == set()
    again = [record.payload for record in conclusion.evidence.coordinator if record.kind == "reattached"]
    assert [note.get("execution", "baseline-1") for note in again] == ["baseline-1"]  # none is named where it broke while that was begun


def breaking_the_first_link(target: Target) -> None:
    """The stream breaks on which a stage is first heard of; later ones hold."""
    stream_of = target.transport.stream
    broken: list[object] = []

    async def stream(argv: object) -> object:
        made = await stream_of(argv)  # type: ignore[arg-type]
        read = made.read

        async def breaking() -> bytes:
            data = await read()
            if broken in ([], [made]) and (b"host_ready" in data or b"stage_started" in data or b"stage_finished" in data):
                broken[:] = [made]
                raise LinkLost("somebody stumbled over the cable")
            return data

        made.read = breaking  # type: ignore[method-assign]
        return made

    target.transport.stream = stream  # type: ignore[method-assign,assignment]


def test_native_durability_is_observed_and_never_a_mask(run_edge_002: Run) -> None:
    """Run natively, Stageflow does everything again after a crash: found and reported, without failing the run."""
    conclusion = run_edge_002(("train", "after_ack"), durability="native", judge="observe")
    assert "nothing_repeated" in failed(conclusion)
    assert (conclusion.outcome.verdict, conclusion.outcome.exit_code) == ("PASS_WITH_CONCERNS", 0)
    assert any(finding.severity == "critical" for finding in conclusion.findings)


def test_a_type_that_calls_a_crash_a_power_loss_is_refused(run_edge_002: Run) -> None:
    """What a cut is called is checked against the driver that makes it, before anything moves."""
    conclusion = run_edge_002(("train", "after_ack"), loss="power_loss")
    assert conclusion.outcome.exit_code == 3
    assert "process_crash" in str(conclusion.trouble)


def test_a_random_cut_that_comes_late_is_no_failure(run_edge_002: Run) -> None:
    """When the pipeline has passed the next holds before the power goes, those cuts are missed, and made up for."""
    conclusion = run_edge_002(("screen", "started"), ("aggregate", "after_ack"), fraction=(0.5, None), adjust=cutting_late)
    assert failed(conclusion) == set()
    assert conclusion.outcome.verdict == "PASS_WITH_CONCERNS"
    assert conclusion.cuts["counted"] >= 2


def cutting_late(target: Target) -> None:
    """The first cut waits until the execution has reached its next hold, or its end."""
    power_cut, cuts = target.power.cut, []

    async def cut() -> dict[str, object]:
        cuts.append(1)
        if len(cuts) == 1:
            await asyncio.sleep(0.5)  # the fault itself: a coordinator that is slow to act
        return await power_cut()

    target.power.cut = cut  # type: ignore[method-assign]


def test_a_hold_that_the_device_gave_up_is_the_labs_trouble(run_edge_002: Run) -> None:
    """A coordinator that was away for longer than the device waits does not judge the device by that."""
    impatient = sabotage.supervisor_with(("holds.py", "HOLD_LIMIT_S = 120.0", "HOLD_LIMIT_S = 0.0"))
    conclusion = run_edge_002(("screen", "after_flush"), adjust=sabotage.using(impatient))
    assert (conclusion.outcome.status, conclusion.outcome.exit_code) == ("blocked", 3)
    assert "gave up waiting" in str(conclusion.trouble)


def test_a_restart_that_never_says_when_it_was_restored_is_caught(run_edge_002: Run) -> None:
    """No measurement is no proof: a supervisor that leaves out its clock does not pass for it."""
    silent = sabotage.supervisor_with(
        ("execution.py", '.make("resumed", {"restored_flushed_ns": boottime_ns(), "waited_s": waited_s()})', '.make("unheard", {})')
    )
    assert "restored_in_time" in failed(run_edge_002(("screen", "after_flush"), adjust=sabotage.using(silent)))


def test_a_killed_coordinator_leaves_nothing_for_long(tmp_path: Path) -> None:
    """After SIGKILL of `exec` the device finishes by itself, its supervisor ends, the lease is free, the next run works."""
    script = tmp_path / "coordinator.py"
    script.write_text(COORDINATOR)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["", str(Path(__file__).parents[2])])}
    coordinator = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment)
    assert coordinator.stdout
    assert "execution_began" in iter(coordinator.stdout.readline, "").__next__()
    coordinator.send_signal(signal.SIGKILL)
    coordinator.wait()
    state = Path(os.environ["RUNNER_STATE"])
    pid = int((state / "local" / "local" / "supervisor.lock").read_text().split()[0])
    deadline = time.monotonic() + 60
    while _alive(pid):
        assert time.monotonic() < deadline, "the supervisor is still there"
        time.sleep(0.1)
    again = subprocess.run([sys.executable, "-m", "runner", "exec", "EDGE-002", "--quick"], cwd=tmp_path, env=environment, timeout=300)
    assert again.returncode == 0


COORDINATOR = """
import asyncio, pathlib
from runner.lab.where import Lab, builtin_root
from runner.story.execute import execute
from runner.story.plan import Asked, make_plan
from tests.story import sabotage
lab = Lab(builtin_root(), pathlib.Path("runs"), builtin=True)
impatient = sabotage.supervisor_with(("supervisor.py", "IDLE_LIMIT_S = 120.0", "IDLE_LIMIT_S = 1.0"))
def emit(event, **facts):
    if event == "execution_began":
        print(event, flush=True)
asyncio.run(execute(make_plan(Asked("EDGE-002", cuts=12), lab), lab, emit, adjust=sabotage.using(impatient)))
"""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
