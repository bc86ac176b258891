"""Telemetry: real names and real numbers where the kernel gives them, a gap where it does not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from runner.ondevice import sampler
from runner.ondevice.sampler import Sampler, sample

LINUX = {
    "system.cpu.time",
    "system.cpu.time.busy",
    "system.memory.usage",
    "system.memory.linux.available",
    "system.memory.linux.dirty",
    "system.disk.io.read",
    "system.disk.io.write",
    "system.network.io.receive",
    "system.network.io.transmit",
    "system.network.packet.dropped",
}
EVERYWHERE = {"system.filesystem.usage", "process.cpu.time", "process.memory.usage"}

# lines of /proc/stat and /proc/meminfo as a Linux 6.18 on x86-64 printed them
STAT = "cpu  88497 0 30439 440586 1261 0 322 127 0 0\ncpu0 37725 0 11993 230845 220 0 91 60 0 0\n"
MEMINFO = "MemTotal:       24684092 kB\nMemFree:        24401200 kB\nMemAvailable:   24352776 kB\nDirty:              2412 kB\n"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_linux_gives_names_of_opentelemetry(tmp_path: Path) -> None:
    """Every expected metric is there with a number that makes sense; temperature only where there is a sensor."""
    reading = sample(str(tmp_path))
    expected = LINUX | EVERYWHERE | ({"hw.temperature"} & set(reading))
    assert set(reading) == expected
    assert 0 < reading["system.cpu.time.busy"] <= reading["system.cpu.time"]
    assert reading["system.memory.usage"] > 1e6
    assert all(value >= 0 for value in reading.values())


def test_what_a_kernel_printed_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Busy time leaves out idle and waiting for the disk; memory is in bytes."""
    printed = {"/proc/stat": STAT, "/proc/meminfo": MEMINFO}
    monkeypatch.setattr(sampler, "_lines", lambda path: [line.split() for line in printed[path].splitlines()])
    monkeypatch.setattr(sampler.os, "sysconf", lambda name: 100)
    assert sampler._cpu() == {"system.cpu.time.busy": 1193.85, "system.cpu.time": 5612.32}
    assert sampler._memory() == {
        "system.memory.usage": (24684092 - 24352776) * 1024,
        "system.memory.linux.available": 24352776 * 1024,
        "system.memory.linux.dirty": 2412 * 1024,
    }


def test_what_cannot_be_read_is_left_out_and_never_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc and /sys only what the process knows by itself remains."""

    def missing(path: str, *words: Any) -> Any:
        raise FileNotFoundError(path)

    monkeypatch.setattr(sampler, "_lines", missing)
    monkeypatch.setattr(sampler, "open", missing, raising=False)
    assert set(sample(str(tmp_path))) == EVERYWHERE


def test_the_sampler_ends_with_its_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that is broken or closed ends sampling; it is not hammered, and nothing is raised into nowhere."""
    monkeypatch.setattr(sampler, "SAMPLE_INTERVAL_S", 0.001)
    written: list[dict[str, Any]] = []

    def write(payload: dict[str, Any]) -> None:
        written.append(payload)
        if len(written) == 3:
            raise OSError("the journal is closed")

    thread = Sampler(str(tmp_path), write, lambda: None)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert len(written) == 3
    assert set(written[0]["metrics"]) >= EVERYWHERE


def test_samples_are_flushed_within_the_declared_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After FLUSH_INTERVAL_S a flush follows the sample; with 0 it follows each one."""
    monkeypatch.setattr(sampler, "SAMPLE_INTERVAL_S", 0.001)
    monkeypatch.setattr(sampler, "FLUSH_INTERVAL_S", 0.0)
    done: list[str] = []

    def flush() -> None:
        done.append("flush")
        if len(done) >= 4:
            thread.stop()

    thread = Sampler(str(tmp_path), lambda payload: done.append("write"), flush)
    thread.start()
    thread.join(10)
    assert done == ["write", "flush", "write", "flush"]
