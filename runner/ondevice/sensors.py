"""The sensors of a board that has none: what its keeper says at a virtio port lies where a kernel with sensors would have it.

    /dev/vportNpM ── lines ──► reader ──► FOLDER, a tmpfs "runner-sensors"      thermal/…/temp, cpufreq/…/scaling_cur_freq, throttled
                                             │ bind                             (m°C)           (kHz)                      (as vcgencmd)
                                             └──► over the usual paths, which it hides; beside each a file `emulated` that says so

`sensors start` makes all of it, `sensors stop` takes it back: what was hidden is there again. Every mount bears the name
"runner-sensors", and by that it is found. Where the directory of a file does not exist, the nearest one above it is covered by an
overlay of itself with the missing ones (sysfs lets nobody make a directory). The reader holds a lock in the tmpfs, so there is no
pid that could be stale, and ends by itself when the tmpfs is no longer where it was.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any, Callable

from . import heat
from .background import started
from .say import say

NAME = "runner-sensors"  # of every mount
FOLDER = f"/run/{NAME}"
READER = "reader"  # in the folder: whose lock it is, that is the reader
PORTS, MOUNTS = "/sys/class/virtio-ports", "/proc/self/mounts"
FIRST_LINE_S, STOP_S, LOOK_S = 15.0, 10.0, 0.5
LINE_LIMIT_BYTES = 65536
WRONG, NOT_HERE = 64, 1


class Sensors:
    """The files of one set of sensors, below `folder`. Each is replaced as a whole: nobody reads half a number."""

    def __init__(self, folder: str, paths: dict[str, str], says: str) -> None:
        """`paths` are the usual ones of "sensor" and "clock", and where there is one of "throttled"; `says` is what `emulated` says."""
        self._folder, self._paths, self._says = folder, paths, says

    def make(self) -> None:
        """A place for each file; those that say what it is are written."""
        for word, path in self._paths.items():
            place = self.place(word)
            os.makedirs(place, exist_ok=True)
            write(os.path.join(place, "emulated"), self._says)
            if word == "sensor":
                write(os.path.join(place, "type"), f"emulated-{os.path.basename(os.path.dirname(path))}\n")

    def place(self, word: str) -> str:
        """The folder in ours that stands for the directory of a usual path."""
        return os.path.join(self._folder, word)

    def show(self, said: dict[str, Any]) -> None:
        """What was said is what is read from here on. Raises OSError when there is no room, KeyError or ValueError for what is none."""
        write(os.path.join(self.place("sensor"), os.path.basename(self._paths["sensor"])), f"{round(float(said['die_c']) * 1000)}\n")
        write(os.path.join(self.place("clock"), os.path.basename(self._paths["clock"])), f"{round(float(said['mhz']) * 1000)}\n")
        write(os.path.join(self._folder, "throttled"), heat.throttled_text(int(said["flags"])) + "\n")


def write(path: str, text: str) -> None:
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)


def find_port(name: str, ports: str = PORTS) -> str:
    """The device of the virtio port of this name. Raises LookupError: a name that is none would quietly be a file in /dev."""
    found = []
    for port in sorted(os.listdir(ports)) if os.path.isdir(ports) else []:
        try:
            with open(os.path.join(ports, port, "name")) as file:
                found.append(file.read().strip())
        except OSError:
            continue
        if found[-1] == name:
            return f"/dev/{port}"
    raise LookupError(f"this machine has no port {name!r}; it has {', '.join(found) or 'none'}")


def latest(data: bytes) -> tuple[dict[str, Any] | None, bytes]:
    """The last whole line of what came, read, if it is one of ours; and what is left behind it."""
    *lines, rest = data.split(b"\n")
    for line in reversed(lines):
        try:
            said = json.loads(line)
            if isinstance(said, dict) and all(type(said.get(name)) in (int, float) for name in ("die_c", "mhz", "flags")):
                return said, rest
        except ValueError:
            continue
    return None, rest[-LINE_LIMIT_BYTES:]


def covers(path: str) -> list[tuple[str, str]]:
    """How the directory of a usual path is had: (kind, where), in order, "overlay" only where it is missing in one that is not empty."""
    wanted = os.path.dirname(path)
    there = wanted
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    if there == wanted:
        return [("bind", os.path.realpath(there))]
    return [("overlay", os.path.realpath(there)), ("bind", os.path.join(os.path.realpath(there), os.path.relpath(wanted, there)))]


def start(told: dict[str, Any], folder: str = FOLDER) -> int:
    """The sensors lie over the usual paths when this returns 0, and show what the keeper says. Else nothing of it is there.

    What an earlier start has left goes first: its reader would take the lines of this one.
    """
    if mounted():
        stop(folder)
    try:
        port = find_port(told["port"])
        paths = {word: told[word] for word in ("sensor", "clock")}
        os.makedirs(folder, mode=0o755, exist_ok=True)
        _mount("-t", "tmpfs", "-o", "mode=755,size=1m", NAME, folder)
        sensors = Sensors(folder, paths, told["says"])
        sensors.make()
        if not started("the sensors' reader", lambda ready: _read(sensors, port, folder, ready), FIRST_LINE_S):
            raise OSError(f"nothing is said at {port}: see the keeper's log")
        for word in paths:
            _cover(sensors.place(word), paths[word], os.path.join(folder, "lower", word))
        return 0
    except (OSError, LookupError, TypeError, subprocess.SubprocessError) as error:
        say(f"no sensors: {error}")
        stop(folder)
        return NOT_HERE


def _cover(ours: str, path: str, lower: str) -> None:
    for kind, where in covers(path):
        if kind == "overlay":
            os.makedirs(os.path.join(lower, os.path.relpath(os.path.dirname(path), _nearest(path))), exist_ok=True)
            _mount("-t", "overlay", "-o", f"lowerdir={lower}:{where}", NAME, where)
        else:
            _mount("--bind", ours, where)


def _nearest(path: str) -> str:
    there = os.path.dirname(path)
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    return there


def _mount(*arguments: str) -> None:
    wrong = _run(["mount", *arguments])
    if wrong:
        raise OSError(f"mount {' '.join(arguments)}: {wrong}")


def _run(argv: list[str]) -> str:
    """What was wrong, or ""."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=STOP_S, check=False)
    return done.stderr.decode("utf-8", "replace").strip()[-200:] or "it failed" if done.returncode else ""


def mounted(mounts: str = MOUNTS) -> list[str]:
    """Where something of ours is mounted, the latest first."""
    with open(mounts, encoding="utf-8", errors="replace") as file:
        return [line.split(" ")[1] for line in file if line.split(" ")[0] == NAME][::-1]


def stop(folder: str = FOLDER) -> int:
    """Nothing of the sensors is left when this returns 0: neither the reader nor a mount; what was hidden is there again."""
    deadline = time.monotonic() + STOP_S
    _end_reader(folder, deadline)
    while mounted() and time.monotonic() < deadline:
        for place in mounted():  # lazily: whoever reads a sensor at this moment keeps nobody
            _run(["umount", "-l", place])
    try:  # noqa: SIM105 - contextlib is not imported on a device for this
        os.rmdir(folder)
    except OSError:
        pass
    left = mounted()
    if left:
        say(f"left: {', '.join(left)}")
    return NOT_HERE if left else 0


def _end_reader(folder: str, deadline: float) -> None:
    while time.monotonic() < deadline:
        try:
            lock = os.open(os.path.join(folder, READER), os.O_RDWR)
        except OSError:
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            said = os.read(lock, 32).strip()
            if said.isdigit() and int(said) > 1:  # it holds the lock at this moment, so it is no other process
                try:  # noqa: SIM105
                    os.kill(int(said), signal.SIGKILL)
                except ProcessLookupError:
                    pass
        finally:
            os.close(lock)
        time.sleep(0.02)


def _read(sensors: Sensors, port: str, folder: str, ready: Callable[[], None]) -> None:
    """Shows each line until the tmpfs is no longer where it was; it is `ready` when the first one is shown."""
    lock = os.open(os.path.join(folder, READER), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    device, here = os.open(port, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), os.stat(folder).st_dev
    rest, first = b"", True
    while _is(folder, here):
        came, _, _ = select.select([device], [], [], LOOK_S)
        try:
            data = os.read(device, LINE_LIMIT_BYTES) if came else b""
        except BlockingIOError:
            continue
        if came and not data:  # nobody is at the other end
            time.sleep(LOOK_S)
        said, rest = latest(rest + data)
        if said is not None:
            sensors.show(said)
            if first:
                ready()
            first = False


def _is(folder: str, device: int) -> bool:
    try:
        return os.stat(folder).st_dev == device
    except OSError:
        return False


def main(arguments: list[str]) -> int:
    if arguments == ["start"]:
        try:
            told = json.loads(sys.stdin.read())
        except ValueError as error:
            say(f"no sensors: {error}")
            return WRONG
        return start(told)
    if arguments == ["stop"]:
        return stop()
    say("usage: sensors start | stop")
    return WRONG
