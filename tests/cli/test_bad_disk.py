"""The coordinator's disk fills up in the middle of a run: blocked, said so, and all that was mirrored is still there.

a mount namespace of the test's own ─► runs/ is a tmpfs ─► the baseline has ended: the rest of it is filled ─► room again
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.lab.where import builtin_root
from runner.ondevice import journal

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="a mount namespace needs root"),
]

# what happens inside of the namespace; everything it finds goes to one JSON object
STORY = """
import json, os, pathlib, subprocess, sys
runs = pathlib.Path("runs")
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(runs)], check=True)
runner = [sys.executable, "-m", "runner"]

def fill():
    with open(runs / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass

def said(*words):
    done = subprocess.run([*runner, *words], capture_output=True, text=True)
    return {"exit": done.returncode, "out": done.stdout, "err": done.stderr}

found = {}
process = subprocess.Popen([*runner, "exec", "EDGE-002", "--quick", "--scenario", "recovery"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1)
for line in process.stdout:
    if line.startswith("baseline-1"):
        fill()
found["exec"] = {"exit": process.wait(), "err": process.stderr.read()}
(folder,) = runs.glob("EDGE-002/run-*")
found["journals"] = {path.name: path.read_bytes().hex() for path in folder.glob("results/journal/*.journal")}
found["list, full"] = said("run", "list")
os.unlink(runs / "filler")
found["list"] = said("run", "list")
found["report"] = said("report", folder.name)
found["show"] = said("run", "show", folder.name)
found["again"] = said("exec", "EDGE-002", "--quick", "--scenario", "baseline")
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    lab, state = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("state")
    (lab / "inventory.yaml").write_text("devices: {local: {type: local-process}}\n")
    (lab / "runs").mkdir()
    (lab / "state").write_text(str(state))
    environment = {**os.environ, "PYTHONPATH": str(builtin_root()), "RUNNER_STATE": str(state)}
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", STORY]
    done = subprocess.run(command, cwd=lab, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    value["left"] = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(state).encode() in _bytes(path)]
    return dict(value)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_full_disk_blocks_the_run_and_says_which(found: dict[str, Any]) -> None:
    """Exit 3, a sentence with the place and the system's word; no traceback."""
    assert found["exec"]["exit"] == 3, found["exec"]
    assert "/runs/EDGE-002/" in found["exec"]["err"]
    assert "cannot be written: No space left on device" in found["exec"]["err"]
    assert "do: free some space" in found["exec"]["err"]
    assert "Traceback" not in found["exec"]["err"]


def test_what_was_mirrored_stays_readable(found: dict[str, Any], tmp_path: Path) -> None:
    """The baseline's journal is whole to its last record, and the coordinator's own to where the disk was full."""
    for name, text in found["journals"].items():
        (tmp_path / name).write_bytes(bytes.fromhex(text))
    kinds = [record.kind for record in journal.read_file(str(tmp_path / "device-baseline-1.journal"))]
    assert (kinds[0], kinds[-1]) == ("began", "finished")
    assert journal.read_file(str(tmp_path / "coordinator.journal"))


def test_the_lab_goes_on_when_there_is_room_again(found: dict[str, Any]) -> None:
    """Lists work while the disk is full and after; the run can be shown and its report made again; the next run passes."""
    assert (found["list, full"]["exit"], found["list"]["exit"]) == (0, 0)
    assert "run-" in found["list, full"]["out"]
    assert found["report"]["exit"] == 3
    assert found["show"]["exit"] == 0
    assert found["again"]["exit"] == 0, found["again"]


def test_the_report_made_again_says_blocked(found: dict[str, Any]) -> None:
    """By the disk, in the system's word; not that somebody killed the coordinator."""
    assert "BLOCKED · " in found["report"]["out"], found["report"]["out"]
    assert "No space left on device" in found["report"]["out"]


def test_no_process_is_left(found: dict[str, Any]) -> None:
    """Neither of the blocked run nor of the one after it."""
    assert found["left"] == []
