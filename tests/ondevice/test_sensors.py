"""Sensors as files: what is read from the port, what the files say, how their folders are had; and mounts of our own, in a namespace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.ondevice import sensors
from runner.ondevice.sensors import Sensors, covers, find_port, latest, mounted

PATHS = {"sensor": "/sys/class/thermal/thermal_zone0/temp", "clock": "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"}
SAID = {"die_c": 79.2514, "mhz": 600.0, "flags": 0x50005}


def test_files_say_what_kernels_say(tmp_path: Path) -> None:
    """Thousandths of a degree, kilohertz, and the flags as vcgencmd prints them; beside each that it is emulated."""
    made = Sensors(str(tmp_path), PATHS, "by a model\n")
    made.make()
    made.show(SAID)
    assert (tmp_path / "sensor" / "temp").read_text() == "79251\n"
    assert (tmp_path / "clock" / "scaling_cur_freq").read_text() == "600000\n"
    assert (tmp_path / "throttled").read_text() == "throttled=0x50005\n"
    assert (tmp_path / "sensor" / "type").read_text() == "emulated-thermal_zone0\n"
    assert (tmp_path / "sensor" / "emulated").read_text() == (tmp_path / "clock" / "emulated").read_text() == "by a model\n"


def test_the_last_whole_line_counts() -> None:
    """Older ones are passed over, half of one waits for the rest, and what is none of ours is nothing."""
    first, second = (b'{"die_c": %d, "mhz": 1500, "flags": 0}\n' % c for c in (40, 41))
    assert latest(first + second + b'{"die_c": 4') == ({"die_c": 41, "mhz": 1500, "flags": 0}, b'{"die_c": 4')
    assert latest(first + b"noise\n" + b'{"die_c": "hot", "mhz": 1, "flags": 0}\n') == ({"die_c": 40, "mhz": 1500, "flags": 0}, b"")
    assert latest(b"\xff\n[]\n") == (None, b"")
    assert len(latest(b"x" * 10**6)[1]) == sensors.LINE_LIMIT_BYTES, "no line is waited for that long"


def test_a_port_is_found_by_its_name(tmp_path: Path) -> None:
    """A name that no port has is refused: a file of that name in /dev would be nobody's port."""
    for port, name in (("vport1p1", "witness"), ("vport1p2", "sensors")):
        (tmp_path / port).mkdir()
        (tmp_path / port / "name").write_text(name + "\n")
    assert find_port("sensors", str(tmp_path)) == "/dev/vport1p2"
    with pytest.raises(LookupError, match="it has witness, sensors"):
        find_port("other", str(tmp_path))
    with pytest.raises(LookupError, match="it has none"):
        find_port("sensors", str(tmp_path / "nowhere"))


def test_a_folder_that_is_missing_is_laid_over_the_one_above_it(tmp_path: Path) -> None:
    """One that is there is covered as it is, and links are followed to what they mean."""
    (tmp_path / "cpu0").mkdir()
    (tmp_path / "zone").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "zone")
    real = os.path.realpath(tmp_path)
    assert covers(f"{tmp_path}/link/temp") == [("bind", f"{real}/zone")]
    assert covers(f"{tmp_path}/cpu0/cpufreq/cur") == [("overlay", f"{real}/cpu0"), ("bind", f"{real}/cpu0/cpufreq")]


def test_only_mounts_of_our_name_are_ours(tmp_path: Path) -> None:
    """The latest first, because it may lie upon another."""
    (tmp_path / "mounts").write_text(
        "sysfs /sys sysfs rw 0 0\nrunner-sensors /run/runner-sensors tmpfs rw 0 0\n"
        "other /sys/class/thermal tmpfs rw 0 0\nrunner-sensors /sys/class/thermal tmpfs rw 0 0\n"
    )
    assert mounted(str(tmp_path / "mounts")) == ["/sys/class/thermal", "/run/runner-sensors"]


IN_A_NAMESPACE = """
import json, os, sys
from runner.ondevice import sensors
root = sys.argv[1]
port = os.path.join(root, "port")
os.mkfifo(port)
keep = os.open(port, os.O_RDWR)
os.write(keep, b'{"die_c": 55.5, "mhz": 1000, "flags": 0}\\n')
sensors.find_port = lambda name: port
real = os.path.join(root, "class", "zone"); os.makedirs(real); open(os.path.join(real, "temp"), "w").write("real\\n")
os.makedirs(os.path.join(root, "cpu0")); open(os.path.join(root, "cpu0", "online"), "w").write("1\\n")
told = {"port": "sensors", "sensor": real + "/temp", "clock": root + "/cpu0/cpufreq/scaling_cur_freq", "says": "emulated\\n"}
folder = os.path.join(root, "folder")
def read(path):
    try:
        return open(path).read().strip()
    except OSError:
        return None
seen = {"start": sensors.start(told, folder)}
seen["on"] = [read(told["sensor"]), read(told["clock"]), read(root + "/cpu0/online"), len(sensors.mounted())]
seen["again"] = sensors.start({**told, "port": "x", "sensor": None}, folder)
seen["start2"] = sensors.start(told, folder) if os.write(keep, b'{"die_c": 60, "mhz": 600, "flags": 4}\\n') else None
seen["on2"] = [read(told["sensor"]), read(told["clock"])]
seen["stop"] = [sensors.stop(folder), sensors.stop(folder)]
seen["off"] = [read(told["sensor"]), read(told["clock"]), read(root + "/cpu0/online"), len(sensors.mounted()), os.path.exists(folder)]
print(json.dumps(seen))
"""


def _may_mount() -> bool:
    line = ["unshare", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "none", "/mnt"]
    return sys.platform == "linux" and subprocess.run(line, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _may_mount(), reason="this machine lets nobody like us mount in a namespace of our own")
def test_what_was_hidden_is_there_again(tmp_path: Path) -> None:
    """The sensors lie over a file that is there and one that is not; taken back, twice, both are as they were, and nothing is mounted.

    A start that fails in between takes back what the one before it made, its reader too: that would take the lines of the next one.
    """
    repository = Path(__file__).resolve().parents[2]
    line = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", IN_A_NAMESPACE, str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "PYTHONPATH": str(repository)})
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert (seen["start"], seen["on"]) == (0, ["55500", "1000000", "1", 4])
    assert seen["again"] == 1
    assert (seen["start2"], seen["on2"]) == (0, ["60000", "600000"])
    assert seen["stop"] == [0, 0]
    assert seen["off"] == ["real", None, "1", 0, False]
