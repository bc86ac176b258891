"""A real board's clocks, limited and put back, in folders that are made to look like a Raspberry Pi 4's and a Jetson's.

No hardware is here: what a real kernel answers to these files was not seen. The files of a kernel that refuses, or does something else,
are played by a folder that cannot be written, and by files that nobody changes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from runner.ondevice import frequency, own_heat
from runner.ondevice.frequency import Clocks, back, capabilities, nearest, read, seen
from runner.target.bundle import supervisor_zip

PI_4 = {"policy0": (1_500_000, 1_500_000, 600_000, "600000 700000 800000 900000 1000000 1100000 1200000 1300000 1400000 1500000")}
JETSON = {"policy0": (1_479_000, 1_479_000, 102_000, "102000 204000 518400 921600 1479000"), "policy4": (921_600, 1_300_000, 102_000, "")}


@pytest.fixture
def board(tmp_path: Path) -> Path:
    return made(tmp_path / "cpufreq", PI_4)


def made(folder: Path, policies: dict[str, tuple[int, int, int, str]]) -> Path:
    for name, (now, most, least, steps) in policies.items():
        (folder / name).mkdir(parents=True)
        said = {"scaling_max_freq": now, "cpuinfo_max_freq": most, "cpuinfo_min_freq": least, "scaling_available_frequencies": steps}
        for file, value in said.items():
            if value != "":
                (folder / name / file).write_text(f"{value}\n")
    return folder


def limits(folder: Path) -> dict[str, int]:
    return {path.name: int((path / "scaling_max_freq").read_text()) for path in sorted(folder.iterdir())}


def busy(proc: Path, seconds: float) -> None:
    """So much processor time was spent on this made board; twice as much was idle."""
    ticks = round(seconds * os.sysconf("SC_CLK_TCK"))
    proc.mkdir(exist_ok=True)
    (proc / "stat").write_text(f"cpu  {ticks} 0 0 {2 * ticks} 7 0 0 0 0 0\ncpu0 0\n")


@pytest.mark.parametrize(
    ("share", "khz"), [(1000 / 1500, 1_000_000), (0.5, 700_000), (0.49, 700_000), (0.1, 600_000), (0.9, 1_300_000), (2.0, 1_500_000)]
)
def test_the_step_that_is_nearest_to_the_share(board: Path, share: float, khz: int) -> None:
    """Of those that the kernel names, within what the clock can."""
    assert nearest(read(str(board))["policy0"], share) == khz


def test_a_clock_without_steps_takes_any_number_and_never_more_than_before(tmp_path: Path) -> None:
    """Each group of cores has its own; one that somebody has limited already stays limited."""
    policies = read(str(made(tmp_path / "cpufreq", JETSON)))
    assert nearest(policies["policy0"], 0.6) == 921_600
    assert [nearest(policies["policy4"], share) for share in (0.5, 0.9)] == [650_000, 921_600]


def test_limited_and_put_back_to_what_was_read_before(tmp_path: Path) -> None:
    """Of a clock that was limited by somebody already: to that limit, and not to all that it can."""
    folder = made(tmp_path / "cpufreq", JETSON)
    before = limits(folder)
    busy(tmp_path / "proc", 1)
    clocks = Clocks(read(str(folder)), str(folder), str(tmp_path / "proc"))
    clocks.limit(0.4)
    assert limits(folder) == {"policy0": 518_400, "policy4": 520_000}
    assert clocks.release() == [] and limits(folder) == before
    clocks.limit(0.4)
    clocks.limit(1.0)
    assert limits(folder) == before


@pytest.fixture
def firmware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A file as a firmware's, in Hz, below a folder that stands for /sys."""
    monkeypatch.setattr(frequency, "KERNELS", f"{tmp_path}/sys/")
    (tmp_path / "sys").mkdir()
    (tmp_path / "sys" / "max_rate").write_text("1479000000\n")
    return {"file": f"{tmp_path}/sys/max_rate", "full": 1_479_000_000, "least": 115_200_000}


def test_a_limit_of_the_firmwares_goes_with_the_clocks(tmp_path: Path, board: Path, firmware: dict[str, Any]) -> None:
    """In its own unit, never below its least, and put back with them; what it was is said in the same words."""
    file = Path(firmware["file"])
    busy(tmp_path / "proc", 1)
    before = read(str(board), firmware)
    assert list(before) == ["policy0", str(file)]
    clocks = Clocks(before, str(board), str(tmp_path / "proc"))
    clocks.limit(2 / 3)
    assert (limits(board), int(file.read_text())) == ({"policy0": 1_000_000}, 986_000_000)
    assert clocks.counted().throttled == 1
    assert seen({str(file): 1_479_000_000}, str(board)) == [f"limited {file} to 986000000 instead of 1479000000"]
    clocks.limit(0.01)
    assert int(file.read_text()) == 115_200_000
    assert clocks.release() == [] and (limits(board), int(file.read_text())) == ({"policy0": 1_500_000}, 1_479_000_000)


def test_a_firmware_that_takes_no_limit_is_seen(tmp_path: Path, board: Path, firmware: dict[str, Any]) -> None:
    """Its file is not there, or says no number: nothing is read of it. Nor is any other file than one of the kernel's."""
    Path(firmware["file"]).write_text("auto\n")
    assert list(read(str(board), firmware)) == ["policy0"]
    for file in (f"{tmp_path}/elsewhere", f"{tmp_path}/sys/../elsewhere", ""):
        with pytest.raises(ValueError, match="is no clock"):
            read(str(board), {**firmware, "file": file})
        with pytest.raises(ValueError, match="is no clock"):
            Clocks({file: {"limit": 1}}, str(board))


def test_what_ran_counts_by_its_clock(tmp_path: Path, board: Path) -> None:
    """A second of work at two thirds of the clock is two thirds of a second at the full one: load is what it was. A limit of ours that is
    in force is counted each time that somebody looks."""
    proc = tmp_path / "proc"
    busy(proc, 10)
    clocks = Clocks(read(str(board)), str(board), str(proc))
    busy(proc, 12)
    assert clocks.counted()[:3] == (2_000_000_000, 0, 0)
    clocks.limit(2 / 3)
    busy(proc, 15)
    assert clocks.counted()[:3] == (4_000_000_000, 0, 1)
    (board / "policy0" / "scaling_max_freq").write_text("1500000\n")
    assert clocks.counted().throttled == 1, "somebody put it up again"


def test_a_kernel_that_does_something_else_is_heard(tmp_path: Path, board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel says afterwards counts, and not that it took the word."""
    busy(tmp_path / "proc", 1)
    clocks = Clocks(read(str(board)), str(board), str(tmp_path / "proc"))
    monkeypatch.setattr(frequency, "put", lambda path, value: None)
    with pytest.raises(OSError, match="policy0 may have 1500000, though it was told 1000000"):
        clocks.limit(2 / 3)
    monkeypatch.undo()
    clocks.limit(2 / 3)
    monkeypatch.setattr(frequency, "put", lambda path, value: None)
    assert clocks.release() == ["limited policy0 to 1000000 instead of 1500000"]


def test_a_board_that_says_nothing_of_its_clocks_has_none_to_limit(tmp_path: Path, board: Path) -> None:
    """And so no capability; a folder that is not there is no error."""
    assert read(str(tmp_path / "nothing")) == {} and capabilities(str(tmp_path / "nothing")) == []
    with pytest.raises(OSError, match="no clock can be limited"):
        Clocks({}, str(tmp_path))
    assert capabilities(str(board)) == (["cpufreq"] if os.geteuid() == 0 else [])
    (board / "policy0" / "cpuinfo_max_freq").unlink()
    assert read(str(board)) == {}


def test_back_may_be_done_at_any_time_and_says_what_stays(board: Path, tmp_path: Path) -> None:
    """As every undo: what is as it was is no error. What cannot be put back is one line, and so is its sign."""
    assert back({"policy0": 1_500_000}, str(board)) == [] == seen({"policy0": 1_500_000}, str(board))
    (board / "policy0" / "scaling_max_freq").write_text("600000\n")
    assert seen({"policy0": 1_500_000}, str(board)) == ["limited policy0 to 600000 instead of 1500000"]
    assert back({"policy0": 1_500_000}, str(board)) == []
    assert back({"policy9": 1_500_000}, str(board)) == ["limited policy9 to None instead of 1500000"]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "supervisor.zip"
    path.write_bytes(supervisor_zip())
    return path


def call(archive: Path, *words: str, state: Path, told: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    line, environment = [sys.executable, "-S", "-E", str(archive), *words], {**os.environ, "RUNNER_STATE": str(state)}
    return subprocess.run(line, input=json.dumps(told), capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_the_acts_as_the_guard_runs_them(board: Path, archive: Path, tmp_path: Path) -> None:
    """Back and shown; other words do nothing."""
    (board / "policy0" / "scaling_max_freq").write_text("600000\n")
    assert "limited policy0 to 600000" in call(archive, "frequency", "shown", str(board), "policy0=1500000", state=tmp_path).stdout
    assert call(archive, "frequency", "back", str(board), "policy0=1500000", state=tmp_path).returncode == 0
    assert call(archive, "frequency", "shown", str(board), "policy0=1500000", state=tmp_path).stdout.strip() == ""
    assert call(archive, "frequency", "back", str(board), "policy9=1500000", state=tmp_path).returncode == frequency.FAILED
    no_clocks = [("back", str(board), word) for word in ("../x=1", "a=b", "/etc/x=1", "/sys/../x=1", "=1", "policy0=-5", "policy0=1_000")]
    for words in ((), ("up", str(board)), *no_clocks):
        assert call(archive, "frequency", *words, state=tmp_path).returncode == frequency.WRONG
    assert limits(board) == {"policy0": 1_500_000}


BODY = {"die_j_k": 3.0, "board_j_k": 40.0, "die_to_board_k_w": 4.0, "board_to_air_k_w": 6.0, "idle_w": 3.0, "busy_w": 3.0}
THROTTLE = {"full_mhz": 1500, "steps": [[70, 600, "throttled"]], "hysteresis_k": 2, "critical_c": 95}
HOT: dict[str, Any] = {"body": BODY, "throttle": THROTTLE, "timeline": [[0, 60]], "starts_at_c": 80.0, "renew_s": 300, "cap_s": 300}


@pytest.mark.real
def test_the_loop_lowers_a_boards_own_clocks_and_puts_them_back(board: Path, archive: Path, tmp_path: Path) -> None:
    """The same loop, told of clocks: within a tick they are at the model's, its sensors say so, and at its end they are what they were."""
    folder = tmp_path / "heater"
    told = {
        "sensor": f"{folder}/sensor/temp", "clock": f"{folder}/clock/scaling_cur_freq", "says": "by a model\n", "heat": HOT,
        "clocks": {"folder": str(board), "before": read(str(board))},
    }  # fmt: skip
    assert call(archive, "heater", "start", state=tmp_path, told=told).returncode == 0
    try:
        deadline = time.monotonic() + 30
        while limits(board) != {"policy0": 600_000}:
            assert time.monotonic() < deadline, "the clock was never limited"
            time.sleep(0.02)
        while (folder / "clock" / "scaling_cur_freq").read_text().strip() != "600000":
            assert time.monotonic() < deadline, "its sensors do not say so"
            time.sleep(0.02)
        while own_heat.said(str(tmp_path)).get("nr_throttled", 0) < 2:
            assert time.monotonic() < deadline, "nobody counts that it is limited"
            time.sleep(0.02)
    finally:
        assert call(archive, "heater", "stop", state=tmp_path).returncode == 0
    assert limits(board) == {"policy0": 1_500_000}
