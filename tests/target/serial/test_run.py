"""A whole run over a serial line: this machine as a device that nobody reaches but by a console, and boards with a real power loss."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.judgement.conclude import conclude
from runner.lab.folder import RunFolder
from runner.target.line_simulator import LineSimulator, Noise

pytestmark = [pytest.mark.real, pytest.mark.heavy]
TYPE = """
title: this machine behind a serial line
arch: native
transport: serial
power: process
loss: process_crash
boot_limit_s: 120
stage_timeout_s: 60
"""


def test_edge_002_recovers_over_a_line_that_flips_bits(tmp_path: Path, runner_process: Callable[..., Any]) -> None:
    """Three crashes; nothing is repeated, no record is missing, nothing is blocked; and what must be sent is said before it is."""
    lab, home = tmp_path / "lab", tmp_path / "home"
    (lab / "devices").mkdir(parents=True)
    home.mkdir()
    (lab / "devices" / "wire.yaml").write_text(TYPE)
    far = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(home), "PS1": "# "}
    with LineSimulator(["sh", "-i"], Noise(seed=3, flips=1e-5), environment=far) as line:
        (lab / "inventory.yaml").write_text(f"devices:\n  wire: {{type: wire, address: 'serial://{line.path}?baud=115200'}}\n")
        words = ("--lab", str(lab), "exec", "EDGE-002", "--device", "wire", "--scenario", "recovery", "--quick")
        done = runner_process(*words, cwd=tmp_path, limit_s=560, RUNNER_STATE=str(tmp_path / "state"))
    assert done.returncode in (0, 1), done.stdout + done.stderr  # 1: a busy host is later than its limit
    assert "recovery-1   7 stages" in done.stdout and "3 crashes   ok" in done.stdout
    assert "0 repeated" in done.stdout
    assert re.search(r"wire lacks \d\.\d MB of wheels and", done.stdout)
    assert "`runner device provision wire` lays it there beforehand" in done.stdout
    assert (tmp_path / "state" / "consoles" / "wire" / "console.log").stat().st_size


@pytest.mark.qemu
@pytest.mark.parametrize(
    ("device", "cuts"),
    [
        ("qemu-serial", 2),
        pytest.param("qemu-serial", 3, marks=pytest.mark.long),  # the third is one of the restart itself
        pytest.param("qemu-serial-uart", 3, marks=pytest.mark.long),
        pytest.param("qemu-raspi3b", 2, marks=pytest.mark.long),
    ],
)
def test_edge_002_recovers_from_power_cuts_over_the_line_alone(
    tmp_path: Path, runner_process: Callable[..., Any], device: str, cuts: int
) -> None:
    """A board whose kernel talks on the line, and one with a line of its own: every check but those of time holds over real power
    losses and the one that proves the disk, each followed by a boot, a login, and the journal read on. Nobody came in by its SSH
    server, which the one that is a Raspberry Pi 3B does not even have, and the folder keeps every rule."""
    environment = {"cwd": tmp_path / "lab", "RUNNER_STATE": str(tmp_path / "s")}
    assert runner_process("init", str(tmp_path / "lab")).returncode == 0
    words = ("exec", "EDGE-002", "--device", device, "--scenario", "recovery", "--quick", "--cuts", str(cuts))
    done = runner_process(*words, limit_s=2400 if device == "qemu-raspi3b" else 900, **environment)
    (folder,) = RunFolder.every(tmp_path / "lab" / "runs")
    crashed = done.returncode == 3 and "QEMU signal 11" in done.stdout + done.stderr  # QEMU 7.2 does that once in many hundred boots
    if crashed:  # the lab's failure: the run is blocked, and gone on with as anybody would
        done = runner_process("run", "resume", folder.run_id, limit_s=900, **environment)
    conclusion = conclude(folder, "2026-01-01T00:00:00.000Z")
    evidence, late = conclusion.evidence, {"restored_in_time", "running_again_in_time"}  # which another board beside it makes it
    assert {result.check for result in conclusion.results if result.problems} <= late, done.stdout + done.stderr
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert evidence.plan["type"]["transport"] == "serial"
    assert sum(cut.counted for cut in evidence.cuts) >= cuts
    assert all(cut.loss == "power_loss" and cut.recovered for cut in evidence.cuts)
    console = (folder.journals / "console.log").read_text(errors="replace")
    boots = 1 + sum(record.kind == "disk_proof" for record in evidence.coordinator) + len(evidence.cuts) + crashed
    assert console.count("Linux version") == boots
    served = "Not backgrounding" in console  # the words of an SSH server; below, of one that is used
    assert served == (device != "qemu-raspi3b") and "Child connection from" not in console
    heard = (tmp_path / "s" / "consoles" / device / "console.log").read_text(errors="replace")
    assert heard.count(f"{device} login: root") >= boots - crashed
    assert ("Linux version" in heard) == (device != "qemu-serial-uart")
    assert "baud" not in done.stdout  # an emulator's tty does not keep to one
    assert re.search(r"putting \d+ kB through the console", done.stdout) and re.search(r"pushed \d\.\d MB", done.stdout)
    assert runner_process("run", "verify", str(folder.root), limit_s=120, **environment).returncode == 0
