"""Whoever is killed, wherever: the run comes to its end, no record is missing or doubled, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from runner.lab.folder import RunFolder
from runner.ondevice import journal
from runner.story.steps import STEPS
from runner.target.emulation.disk import create_data_disk
from runner.target.emulation.image import SBIN

from .campaign import VICTIMS, Campaign, one_chain
from .chain import Chain, figures, kill_local, left_behind, untrue
from .on_a_board import runs_on
from .shots import AT_STEPS, IN_WRITES, Shot, board_shots, shots

KILLS = int(os.environ.get("RUNNER_KILLS", "200"))


def test_every_step_and_every_write_is_shot_at() -> None:
    """Before and after each step, and in each half of a write; at everybody who lives there."""
    fired = shots(1, ("coordinator", "supervisor", "host", "link"))
    at_coordinator = {shot.point for shot in fired if shot.victim == "coordinator"}
    assert at_coordinator == {*AT_STEPS, *IN_WRITES}
    assert {point.partition(".")[0] for point in AT_STEPS} == set(STEPS)
    assert {shot.victim for shot in fired} == {"coordinator", "supervisor", "host", "link"}
    assert sum(len(chain) for chain in board_shots()) >= 20
    at_keeper = {shot.point.partition(".")[0] for shot in shots(1, VICTIMS["qemu-pi"]) if shot.victim == "keeper"}
    assert at_keeper == {"open", "make_safe", "prove", "push", "environment", "start", "hold", "cut", "recover", "drain", "unwind"}


@pytest.mark.real
@pytest.mark.heavy
def test_killed_at_any_moment_it_comes_to_its_end(tmp_path: Path) -> None:
    """Hundreds of kills on this machine, over every point."""
    campaign = Campaign(tmp_path, KILLS, "local", seed=1)
    campaign.carry_out(jobs=2)
    print(figures(campaign.chains))
    assert campaign.wrong == []
    assert campaign.kills >= KILLS
    assert len({shot.point for chain in campaign.chains for shot in chain.fired}) >= 30  # of the 41; some come too late in a short run


@pytest.fixture(scope="module")
def survivor(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A chain of three kills that came to its end."""
    chain = Chain(tmp_path_factory.mktemp("chain"), "local", kill_local)
    mine = [Shot("coordinator", point, 1, "coordinator") for point in ("push.after", "cut.done", "recover.after")]
    assert one_chain(chain, mine, superseded=False) == []
    assert chain.fired == mine
    return chain


@pytest.mark.real
class TestTheSearch:
    """What must never be is found when it is there."""

    def forged(self, survivor: Chain, tmp_path: Path) -> RunFolder:
        assert survivor.run
        return RunFolder(Path(shutil.copytree(survivor.run.root, tmp_path / survivor.run.run_id)))

    def test_nothing_is_found_in_what_is_whole(self, survivor: Chain, tmp_path: Path) -> None:
        assert untrue(self.forged(survivor, tmp_path)) == []
        assert left_behind(survivor) == []

    def test_a_missing_record_is_found(self, survivor: Chain, tmp_path: Path) -> None:
        """The last record of a mirrored journal is taken away."""
        run = self.forged(survivor, tmp_path)
        path = run.device_journal("recovery-1")
        records = journal.read_file(str(path))
        path.write_bytes(path.read_bytes()[: -len(records[-1].raw)])
        assert any("recovery-1" in problem for problem in untrue(run))

    def test_a_doubled_record_is_found(self, survivor: Chain, tmp_path: Path) -> None:
        """The last record is there twice: the file is read up to the first, and is longer than that."""
        run = self.forged(survivor, tmp_path)
        path = run.device_journal("recovery-1")
        records = journal.read_file(str(path))
        path.write_bytes(path.read_bytes() + records[-1].raw)
        assert "recovery-1: its mirror is not whole" in untrue(run)

    def test_a_stage_that_ran_twice_is_found(self, survivor: Chain, tmp_path: Path) -> None:
        """A line of the witness is there twice."""
        run = self.forged(survivor, tmp_path)
        lines = run.witness.read_bytes().splitlines(keepends=True)
        run.witness.write_bytes(b"".join([*lines, lines[-1]]))
        assert any("began twice in one life" in problem for problem in untrue(run))

    def test_a_process_and_a_lock_that_are_left_are_found(self, survivor: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
        import subprocess
        import sys

        from . import chain as module

        monkeypatch.setattr(module, "GONE_LIMIT_S", 0.0)
        arguments = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        with subprocess.Popen(arguments, env={**os.environ, "RUNNER_STATE": str(survivor.state)}, stdin=subprocess.PIPE) as process:
            (survivor.state / "leases" / "forgotten.alive").touch()
            found = left_behind(survivor)
            (survivor.state / "leases" / "forgotten.alive").unlink()
            process.communicate()
        assert [one for one in found if one.startswith(f"process {process.pid}")]
        assert "alive file: forgotten.alive" in found


@pytest.mark.real
def test_a_run_that_is_left_on_the_disk_of_a_board_is_found(tmp_path: Path) -> None:
    """What the search of a board's chains looks at: nothing on a new disk, and then the run that somebody left there."""
    if shutil.which("debugfs", path=SBIN) is None:
        pytest.skip("needs Debian's e2fsprogs")
    disk = tmp_path / "disk"
    create_data_disk(disk, 64)
    asked = ("mkdir runner", "mkdir runner/runs", "mkdir runner/runs/EDGE-002.run-2026-11-22-001.5904279c")
    found, tools = [], {**os.environ, "PATH": SBIN}
    for request in asked:
        subprocess.run(["debugfs", "-w", "-R", request, str(disk)], env=tools, check=True, capture_output=True)
        found.append(runs_on(disk))
    assert found == [set(), set(), {"EDGE-002.run-2026-11-22-001.5904279c"}]
    subprocess.run(["debugfs", "-w", "-R", f"write {__file__} runner/runs/current", str(disk)], env=tools, check=True, capture_output=True)
    assert runs_on(disk) == found[-1]  # says which run is current, and is none
