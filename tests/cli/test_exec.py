"""`runner exec`: what a dry run shows, what a lab's own files change, and what a real run says."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.cli.exec import HOLDING, WAITS, exit_code, judged_s
from runner.farm.lease import Leases, lent
from runner.lab.folder import RunFolder, read_json
from runner.lab.where import builtin_root, state_root
from runner.model.device import DeviceLine
from runner.story.steps import STEPS

REPOSITORY = Path(__file__).parents[2]
Runner = Callable[..., Any]
HELD = """
import sys
from pathlib import Path
from runner.cli.main import main
from runner.farm.lease import Lease, Leases
leases = Leases(Path(sys.argv.pop(1)))
with leases.living("theirs"):
    leases.enqueue(sys.argv[1], "theirs")
    assert isinstance(leases.attempt(sys.argv.pop(1), "theirs", {"for": "somebody's run"}), Lease)
    main()
"""


def test_a_dry_run_shows_the_whole_plan_and_makes_nothing(runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each execution, each cut with its place, and what must hold; no folder, no lease."""
    monkeypatch.chdir(tmp_path)
    said = runner("exec", "EDGE-002", "--cuts", "9", "--seed", "3", "--dry-run")
    assert said.exit_code == 0
    assert "lab: built-in · results in ./runs\n" in said.out
    assert "EDGE-002 Power failure recovery on local" in said.out
    assert "recovery-1/1: the journal, created" in said.out
    assert len(re.findall(r"^  recovery-\d+/\d+: ", said.out, re.MULTILINE)) == 9
    assert "recovery (must hold): finished" in said.out
    assert list(tmp_path.iterdir()) == []


def test_a_plan_in_json_is_the_plan_that_would_be_kept(runner: Runner) -> None:
    """The same arguments give the same plan; --quick and the entry's default are counts of the entry."""
    words = ("--json", "exec", "EDGE-002", "--dry-run")
    plan = runner(*words, "--seed", "3", "--cuts", "9").json["plan"]
    assert runner(*words, "--seed", "3", "--cuts", "9").json["plan"] == plan
    assert (plan["cuts_asked"], plan["seed"], plan["device"]) == (9 + 2, 3, "local")  # the entry caps the stress's at 2
    assert [runner(*words, *more).json["plan"]["cuts_asked"] for more in ((), ("--quick",))] == [12 + 2, 3 + 2]
    assert runner(*words, "--scenario", "baseline").json["plan"]["cuts_asked"] == 0


def test_a_new_lab_can_plan_at_once(runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`init`, then `exec` from a folder inside of it."""
    assert runner("init", str(tmp_path / "lab")).exit_code == 0
    monkeypatch.chdir(tmp_path / "lab" / "devices")
    said = runner("exec", "EDGE-002", "--dry-run")
    assert said.exit_code == 0
    assert said.out.startswith(f"lab: {tmp_path / 'lab'} · results in")


def test_a_labs_own_device_type_is_announced(runner: Runner, make_lab: Callable[..., Path]) -> None:
    """Whose file it is that wins is said before anything happens."""
    own = (builtin_root() / "devices/local-process.yaml").read_text().replace("this machine", "my machine")
    said = runner("--lab", str(make_lab({"devices/local-process.yaml": own})), "exec", "EDGE-002", "--dry-run")
    assert "using this lab's own devices/local-process.yaml" in said.out
    assert "on local (my machine" in said.out


@pytest.mark.real
def test_a_real_run_is_made_as_it_was_planned(real_lab: Path) -> None:
    """The kept plan is the one asked for; nine crashes; every file that a run owes is there."""
    (run,) = RunFolder.every(real_lab / "runs")
    plan = read_json(run.run_config)["test_parameters"]
    assert (plan["entry"], plan["device"], plan["cuts_asked"], plan["seed"]) == ("EDGE-002", "local", 9, 3)
    for path in (run.readme, run.findings, run.final_report, run.environment, run.witness, run.pipelines / "checks.py"):
        assert path.is_file(), path
    assert read_json(run.environment)["dependencies"]["stageflow-core"] == plan["stageflow"]


@pytest.mark.real
def test_a_run_whose_lab_fails_is_blocked_and_keeps_its_folder(runner_process: Callable[..., Any], tmp_path: Path) -> None:
    """No index and an empty cache: exit 3, one object with the error, a folder that says blocked, and no verdict."""
    env = {"RUNNER_CACHE": str(tmp_path / "cache"), "RUNNER_STATE": str(tmp_path / "state"), "PIP_NO_INDEX": "1"}
    done = runner_process("--json", "exec", "EDGE-002", "--quick", cwd=tmp_path, **env)
    assert done.returncode == 3, done.stderr
    said = json.loads(done.stdout)
    assert (said["status"], said["verdict"], said["error"]["kind"]) == ("blocked", None, "lab")
    assert "the pinned wheels cannot be fetched" in said["error"]["found"]
    (run,) = RunFolder.every(tmp_path / "runs")
    assert said["run_dir"] == str(run.root)
    assert read_json(run.findings)["metadata"]["status"] == "blocked"


@pytest.mark.real
def test_a_device_in_use_is_refused_before_a_folder_is_made(run_python: Callable[..., Any], tmp_path: Path) -> None:
    """Where nobody wants to wait: exit 3, by whom and for what; nothing of the other's run is touched."""
    state = str(tmp_path / "state")
    words = ("--json", "exec", "EDGE-002", "--no-wait")
    done = run_python(HELD, state, DeviceLine(type="local-process").identity("local"), *words, cwd=tmp_path, RUNNER_STATE=state)
    assert done.returncode == 3, done.stderr
    assert "for somebody's run" in json.loads(done.stdout)["error"]["found"]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("words", [("exec", "EDGE-002"), ("profile", "try", "steady")], ids=" ".join)
def test_a_quarantined_device_is_refused_with_the_check_of_that_very_device(
    runner: Runner, make_lab: Callable[..., Path], words: tuple[str, ...]
) -> None:
    """Exit 3, why, and a command that can be copied as it stands; nothing was made."""
    lab = make_lab({"inventory.yaml": "devices: {yard: {type: qemu-arm64}}\n"})
    Leases(state_root()).quarantine(DeviceLine(type="qemu-arm64").identity("yard"), "t1", ["+ firewall: table inet foo"])
    said = runner("--json", "--lab", str(lab), *words, "--device", "yard")
    error = said.json["error"]
    assert (said.exit_code, error["do"]) == (3, "runner device check yard")
    assert "+ firewall: table inet foo" in error["found"]
    assert not (lab / "runs").exists()


@pytest.mark.real
def test_a_device_in_use_is_waited_for(tmp_path: Path) -> None:
    """With a line that says for whom; no folder is made before the device is free, and then the run is made (blocked, without wheels)."""
    state = tmp_path / "state"
    env = {"RUNNER_STATE": str(state), "RUNNER_CACHE": str(tmp_path / "cache"), "PIP_NO_INDEX": "1", "PYTHONPATH": str(REPOSITORY)}
    identity = DeviceLine(type="local-process").identity("local")

    async def story() -> tuple[int | None, str]:
        async with lent(state, identity, "somebody's run"):
            argv = (sys.executable, "-m", "runner", "exec", "EDGE-002", "--quick")
            pipe, both = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
            waiting = await asyncio.create_subprocess_exec(*argv, cwd=tmp_path, env={**os.environ, **env}, stdout=pipe, stderr=both)
            assert waiting.stdout
            said = b""
            while b"somebody's run" not in said:
                line = await waiting.stdout.readline()
                assert line, said
                said += line
            assert not (tmp_path / "runs").exists()
        return await asyncio.wait_for(waiting.wait(), 60), said.decode()

    code, said = asyncio.run(asyncio.wait_for(story(), 120))
    assert f"waiting: {identity} is held by" in said
    assert code == 3
    assert [read_json(run.findings)["metadata"]["status"] for run in RunFolder.every(tmp_path / "runs")] == ["blocked"]


def test_every_step_that_lasts_says_what_is_waited_for() -> None:
    """Also the last two, for which no device is needed. A lease says itself for whom it waits; a folder and a cut are made at once."""
    assert [name for name in STEPS if name not in WAITS] == ["lease", "folder", "cut"]
    assert set(WAITS) <= set(STEPS)
    assert set(HOLDING) <= set(WAITS)


@pytest.mark.parametrize("name", ["impose", "lift"])
def test_what_is_waited_for_is_true_of_every_fault(name: str) -> None:
    """A link that fails, too little of something, heat: these steps are the same for all of them."""
    said = WAITS[name].format(device="pi")
    assert "faults" in said and "pi" in said and "link" not in said


@pytest.mark.parametrize(
    ("code", "severities", "fail_on", "expected"),
    [
        (0, ["critical"], None, 0),
        (0, ["critical"], "critical", 1),
        (0, ["high", "low"], "critical", 0),
        (0, ["low"], "medium", 0),
        (0, ["medium"], "medium", 1),
        (0, [], "info", 0),
        (3, ["critical"], "info", 3),
        (130, [], "info", 130),
    ],
)
def test_fail_on_tightens_what_passed_and_nothing_else(code: int, severities: list[str], fail_on: str | None, expected: int) -> None:
    """Observed findings can be made to fail a CI job; a lab's failure stays the lab's."""
    assert exit_code(code, severities, fail_on) == expected


@pytest.mark.parametrize(("took_s", "waited_s", "judged"), [(12.6, 11.2, 1.4), (6.7, 7.5, 0.0), (0.2, None, 0.2), (None, None, None)])
def test_what_is_said_of_restarts_is_what_is_judged(took_s: float | None, waited_s: float | None, judged: float | None) -> None:
    """A limit stands behind the figure: the host's wait is no part of it, and never more of it than there is."""
    row = {"restored_s": took_s, "restored_host_wait_s": waited_s}
    assert judged_s(row, "restored") == (None if judged is None else pytest.approx(judged))
