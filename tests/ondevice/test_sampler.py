"""Telemetry: real names and real numbers where the kernel gives them, a gap where it does not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from runner.ondevice import sampler
from runner.ondevice.sampler import Sampler, sample

LINUX = {
    "system.cpu.time{cpu.mode=idle}",
    "system.cpu.time{cpu.mode=busy}",
    "system.memory.usage{system.memory.state=used}",
    "system.memory.linux.available",
    "system.disk.io{disk.io.direction=read}",
    "system.disk.io{disk.io.direction=write}",
    "system.network.io{network.io.direction=receive}",
    "system.network.io{network.io.direction=transmit}",
    "system.network.packet.dropped",
}
EVERYWHERE = {"system.filesystem.usage{system.filesystem.state=used}", "process.cpu.time", "process.memory.usage"}

# lines of /proc/stat and /proc/meminfo as a Linux 6.18 on x86-64 printed them
STAT = "cpu  88497 0 30439 440586 1261 0 322 127 0 0\ncpu0 37725 0 11993 230845 220 0 91 60 0 0\n"
MEMINFO = "MemTotal:       24684092 kB\nMemFree:        24401200 kB\nMemAvailable:   24352776 kB\nDirty:              2412 kB\n"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_linux_gives_names_of_opentelemetry(tmp_path: Path) -> None:
    """Every expected metric is there with a number that makes sense; temperature only where there is a sensor."""
    reading = sample(str(tmp_path))
    expected = LINUX | EVERYWHERE | ({"hw.temperature{hw.id=thermal_zone0}"} & set(reading))
    assert set(reading) == expected
    assert reading["system.cpu.time{cpu.mode=busy}"] > 0
    assert reading["system.memory.usage{system.memory.state=used}"] > 1e6
    assert all(value >= 0 for value in reading.values())


def test_what_a_kernel_printed_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Busy time leaves out idle and waiting for the disk; memory is in bytes."""
    printed = {"/proc/stat": STAT, "/proc/meminfo": MEMINFO}
    monkeypatch.setattr(sampler, "_lines", lambda path: [line.split() for line in printed[path].splitlines()])
    monkeypatch.setattr(sampler.os, "sysconf", lambda name: 100)
    assert sampler._cpu() == {"system.cpu.time{cpu.mode=idle}": 4418.47, "system.cpu.time{cpu.mode=busy}": 1193.85}
    assert sampler._memory() == {
        "system.memory.usage{system.memory.state=used}": (24684092 - 24352776) * 1024,
        "system.memory.linux.available": 24352776 * 1024,
    }


def test_what_cannot_be_read_is_left_out_and_never_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc and /sys only what the process knows by itself remains."""

    def missing(path: str, *words: Any) -> Any:
        raise FileNotFoundError(path)

    monkeypatch.setattr(sampler, "_lines", missing)
    monkeypatch.setattr(sampler, "open", missing, raising=False)
    assert set(sample(str(tmp_path))) == EVERYWHERE


def test_no_disk_and_no_link_are_a_gap_and_never_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has only loopback and no disk gives no figure for either."""
    monkeypatch.setattr(sampler, "_lines", lambda path: [["head"], ["head"], ["lo:", *["0"] * 16]] if "net" in path else [])
    assert sampler._disk() == {}
    assert sampler._network() == {}


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


def test_what_the_supervisor_knows_stands_beside_each_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is at that moment."""
    monkeypatch.setattr(sampler, "SAMPLE_INTERVAL_S", 0.001)
    written: list[dict[str, Any]] = []

    def write(payload: dict[str, Any]) -> None:
        written.append(payload)
        if len(written) == 2:
            thread.stop()

    thread = Sampler(str(tmp_path), write, lambda: None, lambda: {"link_probe": {"sent": len(written)}})
    thread.start()
    thread.join(10)
    assert [each["link_probe"] for each in written] == [{"sent": 0}, {"sent": 1}]


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


@pytest.mark.parametrize(
    ("says", "read"),
    [
        (("81250\n", "600000\n", "throttled=0x60006\n"), {"milli_c": 81250, "khz": 600000, "throttled": 0x60006}),
        (("81250\n", "", "warm\n"), {"milli_c": 81250}),
        ((None, None, "throttled=0x0\n"), {"throttled": 0}),
    ],
)
def test_sensors_are_read_where_stages_find_them(tmp_path: Path, says: tuple[str | None, ...], read: dict[str, int]) -> None:
    """By the settings that heat gives an execution; what is not there, or no figure, is left out. Without heat there is nothing to read."""
    settings = {name: str(tmp_path / name) for name in sampler.SENSORS.values()}
    for path, said in zip(settings.values(), says, strict=True):
        if said is not None:
            Path(path).write_text(said)
    assert sampler.sensors(settings) == read
    assert sampler.sensors({"FAR_END_HTTP": "http://192.0.2.1"}) == {}
