"""What a device says about itself is true, and its canary tells an honest disk from one that is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.ondevice import facts
from runner.ondevice.facts import Canary
from runner.ondevice.frames import PROTOCOL_VERSION
from runner.ondevice.journal import boottime_ns

TICK_NS = 10_000_000


def test_a_process_knows_when_it_started(run_python: Callable[..., Any]) -> None:
    """The start lies between the moment before it was started and its own first reading of the same clock, to a tick."""
    before = boottime_ns()
    done = run_python("from runner.ondevice import facts, journal; print(facts.process_started_ns(), journal.boottime_ns())")
    started, read = (int(word) for word in done.stdout.split())
    assert before - TICK_NS <= started <= read <= boottime_ns()


def test_hello_says_versions_first_then_who_and_when(tmp_path: Path) -> None:
    """The first answer is plain JSON and begins with the protocol; its clocks are read now."""
    before = boottime_ns()
    said = facts.hello(str(tmp_path), "ab" * 32, 17)
    assert next(iter(said)) == "protocol"
    assert (said["protocol"], said["supervisor_sha256"], said["supervisor_started_ns"]) == (PROTOCOL_VERSION, "ab" * 32, 17)
    assert before <= said["boottime_ns"] <= boottime_ns()
    assert len(bytes.fromhex(said["boot_id"])) == 16
    assert json.loads(json.dumps(said)) == said


def test_the_benchmark_takes_a_measurable_time() -> None:
    """The same work takes more than nothing, so that a slowdown can be a ratio."""
    assert facts.benchmark()["duration_s"] > 0.001


def test_a_prepared_canary_is_old(tmp_path: Path) -> None:
    """Both blocks read old after `prepare`, and after the one flush that the disk server must see."""
    canary = Canary(str(tmp_path))
    assert set(canary.prepare()) == {"write_cache"}
    assert canary.read() == {"flushed": "old", "unflushed": "old"}
    canary.flush_once()
    assert canary.read() == {"flushed": "old", "unflushed": "old"}


def test_without_a_power_cut_both_blocks_are_new(tmp_path: Path) -> None:
    """A process crash loses no write: on this machine the canary never claims a power loss."""
    canary = Canary(str(tmp_path))
    canary.prepare()
    try:
        canary.write()
    except OSError:
        pytest.skip("this file system knows no O_DIRECT")
    assert canary.read() == {"flushed": "new", "unflushed": "new"}


@pytest.mark.parametrize(("offset", "expected"), [(0, ("garbage", "old")), (5000, ("old", "garbage"))])
def test_a_block_that_is_neither_is_garbage(tmp_path: Path, offset: int, expected: tuple[str, str]) -> None:
    """One wrong byte in a block is neither old nor new."""
    canary = Canary(str(tmp_path))
    canary.prepare()
    with (tmp_path / "canary").open("r+b") as file:
        file.seek(offset)
        file.write(b"\x00")
    assert tuple(canary.read().values()) == expected


def test_a_write_cache_is_what_the_kernel_says_or_unknown(tmp_path: Path) -> None:
    """Never a guess."""
    assert facts.write_cache(str(tmp_path)) in ("write back", "write through", "unknown")


def test_who_is_forked_goes_on_with_the_wait_of_who_forked(run_python: Any) -> None:
    """The supervisor that serves is the child of the process that was started: what that one waited is part of its restart."""
    code = """
import os
from runner.ondevice import facts
waits = iter([2.5, 0.25])
class File(list):
    def __enter__(self): return self
    def __exit__(self, *words): pass
    def read(self): return f"0 {int(next(waits) * 1e9)} 1"
facts.open = lambda path: File()
facts.os.listdir = lambda path: ["1"]
facts.about_to_fork()
print(facts.waited_s())
"""
    assert run_python(code).stdout == "2.75\n"
