"""The supervisor's cost: an execution of one stage that only sleeps, sampled and journaled once a second, as every run is.

CPU and memory are the kernel's word about the supervisor's process. Its host (the child in which Stageflow runs the pipeline) is
the pipeline's and reported for itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.measurements.exec import new_lab, runner
from benchmarks.values import Case, Contender, Goal

MEASURED_S, QUICK_S, SETTLING_S = 30.0, 5.0, 2.0
START_LIMIT_S = 120.0
SUPERVISOR, HOST = "runner", "its host, with Stageflow"
ENTRY = """
id: REST-001
title: A pipeline that sleeps
priority: P2
risk: Low
industry: none
deployment_mode: none
limits: { restored_s: 5, running_again_s: 5 }
cuts: { default: 1, quick: 1, bar: 1 }
scenarios:
  baseline:
    pipeline: baseline
    profile: steady
    durability: journaled
    judge: must_hold
    stages: [sleep]
    checks: [{ check: finished, severity: high }]
"""
PIPELINE = """
import asyncio
from stageflow import Pipeline, StageKind, StageOutput

class Sleep:
    async def execute(self, ctx):
        await asyncio.sleep(50)
        return StageOutput.ok({})

def build():
    return Pipeline().with_stage("sleep", Sleep(), StageKind.WORK)
"""


@dataclass(frozen=True)
class Use:
    """What a process used while it was watched: percent of one core, and the largest memory it ever had, in MB."""

    cpu_percent: float
    peak_mb: float


def cases(bench: Bench) -> Iterator[Case]:
    watched_s = QUICK_S if bench.quick else MEASURED_S

    @cache
    def found() -> dict[str, Use]:
        return watch(bench, watched_s)

    said = f"over {watched_s:g} s, the supervisor's own process"
    cpu = [Contender(name, lambda name=name: found()[name].cpu_percent) for name in (SUPERVISOR, HOST)]
    memory = [Contender(name, lambda name=name: found()[name].peak_mb) for name in (SUPERVISOR, HOST)]
    yield Case("supervisor at 1 Hz, of one core", "%", cpu, [Goal(1.0)], said, rounds=1)
    yield Case("supervisor at 1 Hz, memory", "MB", memory, [Goal(20.0)], said, rounds=1)


def watch(bench: Bench, watched_s: float) -> dict[str, Use]:
    """Runs the sleeping pipeline, watches both processes, and ends the run as ^C would."""
    lab = new_lab(bench, "lab-resting")
    folder = lab / "pipelines" / "rest_001"
    folder.mkdir(parents=True)
    for name, text in (("entry.yaml", ENTRY), ("__init__.py", ""), ("baseline.py", PIPELINE), ("checks.py", "")):
        (folder / name).write_text(text)
    argv = [*runner(), "--lab", str(lab), "exec", "REST-001"]
    with open(bench.log, "wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=bench.our_env)
    try:
        _wait_for_the_stage(lab, process)
        lock = bench.scratch / "state" / "local" / "local" / "supervisor.lock"
        supervisor = int(lock.read_text().split()[0])
        pids = {SUPERVISOR: supervisor, HOST: children(supervisor)[0]}
        time.sleep(SETTLING_S)
        began, before = time.monotonic(), {name: cpu_s(pid) for name, pid in pids.items()}
        time.sleep(watched_s)
        took_s = time.monotonic() - began
        return {name: Use((cpu_s(pid) - before[name]) / took_s * 100, peak_mb(pid)) for name, pid in pids.items()}
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        process.wait(60)


def _wait_for_the_stage(lab: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        if any(path.stat().st_size for path in (lab / "runs").glob("REST-001/run-*/results/journal/witness.jsonl")):
            return
        time.sleep(0.05)
    raise RuntimeError(f"the stage did not begin (exit status {process.poll()})")


def cpu_s(pid: int) -> float:
    """User and system time of one process, without its children's."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    return field_kib(Path(f"/proc/{pid}/status").read_text(), "VmHWM") * 1024 / 1e6


def field_kib(status: str, name: str) -> int:
    """A line `name:   123 kB` of a /proc/PID/status."""
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name + ":"))


def children(pid: int) -> list[int]:
    """Pids of the processes that this one started and that still run."""
    return [int(word) for task in Path(f"/proc/{pid}/task").iterdir() for word in (task / "children").read_text().split()]
