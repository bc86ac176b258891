"""A whole run over a serial line: this machine as a device that nobody reaches but by a console."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
