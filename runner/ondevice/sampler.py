"""Telemetry: what the device feels, once a second, by the names OpenTelemetry gives these things.

Names are those of the semantic conventions for system, process and hardware metrics, with the attribute that tells
two readings apart in braces: `system.disk.io{disk.io.direction=write}`. Units are the conventions' too: bytes, seconds,
ratios from 0 to 1, degrees Celsius. What cannot be read is left out: a gap is a gap, never a zero. Every sample carries
what taking samples costs (`process.*`); the boot id is in the record that holds it.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from typing import Any, Callable

from .kernel_files import text

SAMPLE_INTERVAL_S = 1.0
ZONE = "/sys/class/thermal/thermal_zone0/temp"
SENSORS = {"milli_c": "SENSOR_TEMPERATURE", "khz": "SENSOR_CLOCK", "throttled": "SENSOR_THROTTLED"}  # the settings that name their files
FLUSH_INTERVAL_S = 5.0  # the seconds of telemetry that a power cut may cost: declared, see ARCHITECTURE.md


def sample(data_folder: str) -> dict[str, float]:
    """One reading: counters since boot (`*.time`, `*.io`, `*.count`) and gauges."""
    reading: dict[str, float] = {}
    for source in (_cpu, _memory, _disk, _network, _thermal):
        try:
            reading.update(source())
        except (OSError, ValueError, IndexError, KeyError):
            continue
    usage = os.statvfs(data_folder)
    reading["system.filesystem.usage{system.filesystem.state=used}"] = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
    own = resource.getrusage(resource.RUSAGE_SELF)
    reading["process.cpu.time"] = round(own.ru_utime + own.ru_stime, 3)
    reading["process.memory.usage"] = float(own.ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024))
    return reading


def sensors(settings: dict[str, Any]) -> dict[str, int]:
    """What stages are told to read under heat, as they read it: {"milli_c", "khz", "throttled"}. What cannot be read is left out."""
    found: dict[str, int] = {}
    for word, setting in SENSORS.items():
        said = text(str(settings[setting]))[:64].strip() if setting in settings else ""
        try:
            found[word] = int(said[len("throttled=") :] if said.startswith("throttled=") else said, 0)
        except ValueError:
            continue
    return found


def _lines(path: str) -> list[list[str]]:
    with open(path) as file:
        return [line.split() for line in file]


def _cpu() -> dict[str, float]:
    ticks = [int(word) for word in _lines("/proc/stat")[0][1:9]]
    hertz = os.sysconf("SC_CLK_TCK")
    idle = ticks[3] + ticks[4]
    return {"system.cpu.time{cpu.mode=idle}": idle / hertz, "system.cpu.time{cpu.mode=busy}": (sum(ticks) - idle) / hertz}


def _memory() -> dict[str, float]:
    kib = {words[0]: float(words[1]) for words in _lines("/proc/meminfo")}
    return {
        "system.memory.usage{system.memory.state=used}": (kib["MemTotal:"] - kib["MemAvailable:"]) * 1024,
        "system.memory.linux.available": kib["MemAvailable:"] * 1024,
    }


def _disk() -> dict[str, float]:
    whole = [words for words in _lines("/proc/diskstats") if os.path.exists(f"/sys/block/{words[2]}/device")]
    if not whole:
        return {}
    return {
        "system.disk.io{disk.io.direction=read}": sum(float(words[5]) for words in whole) * 512,
        "system.disk.io{disk.io.direction=write}": sum(float(words[9]) for words in whole) * 512,
    }


def _network() -> dict[str, float]:
    links = [line for line in _lines("/proc/net/dev")[2:] if line[0] != "lo:"]
    if not links:
        return {}
    return {
        "system.network.io{network.io.direction=receive}": sum(float(words[1]) for words in links),
        "system.network.io{network.io.direction=transmit}": sum(float(words[9]) for words in links),
        "system.network.packet.dropped": sum(float(words[4]) + float(words[12]) for words in links),
    }


def _thermal() -> dict[str, float]:
    with open(ZONE) as file:
        return {"hw.temperature{hw.id=thermal_zone0}": int(file.read()) / 1000}


class Sampler(threading.Thread):
    """Calls `write` each second with a sample and what `beside` says, and `flush` every FLUSH_INTERVAL_S, until `stop`."""

    def __init__(
        self, folder: str, write: Callable[[dict[str, Any]], None], flush: Callable[[], None], beside: Callable[[], dict[str, Any]] = dict
    ) -> None:
        super().__init__(daemon=True, name="sampler")
        self._folder, self._write, self._flush, self._beside = folder, write, flush, beside
        self._stopped = threading.Event()

    def run(self) -> None:
        flushed = time.monotonic()
        while not self._stopped.wait(SAMPLE_INTERVAL_S):
            try:
                self._write({"metrics": sample(self._folder), **self._beside()})
                if time.monotonic() - flushed >= FLUSH_INTERVAL_S:
                    self._flush()
                    flushed = time.monotonic()
            except OSError:
                return  # the journal is broken or closed; whoever needs it hears of it from the journal itself

    def stop(self) -> None:
        self._stopped.set()
