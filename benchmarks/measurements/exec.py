"""`runner exec` on an up-to-date device: from the start of its process to the first stage body, and how soon a killed device is back.

Nothing is watched from here: the witness line of the first stage carries the device's boot-time clock, which the run's own hello
relates to ours, and the restart clocks are read from its journals, as its report reads them. The floor is Stageflow by itself:
import the pipeline, build it. A board is on, and has booted, when `exec` begins; `exec` proves its disk first, by a power cut.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import CONTENDERS, Bench
from benchmarks.children import timed, told
from benchmarks.values import Case, Contender
from runner.judgement.conclude import cut_rows
from runner.judgement.reading import load_evidence
from runner.judgement.timeline import Timeline
from runner.lab.folder import RunFolder

WORDS = ("exec", "EDGE-002", "--quick", "--scenario", "recovery")
FLOOR = "Stageflow alone: import, build"
PYTHON = "python -c pass"


def cases(bench: Bench) -> Iterator[Case]:
    for device in ("local", "qemu-pi") if bench.boards else ("local",):
        yield from _cases_on(bench, device)


def _cases_on(bench: Bench, device: str) -> Iterator[Case]:
    lab = new_lab(bench, f"lab-{device}")
    execute(bench, lab, device)  # supervisor installed, environment unpacked: as it is from the second run on
    done: list[RunFolder] = []

    def first_stage_ms() -> float:
        if device != "local":
            timed([*runner(), "--lab", str(lab), "device", "power", device, "on"], bench.our_env, bench.log)
        began_ns = boottime_ns()
        done.append(execute(bench, lab, device))
        return (first_line_ns(done[-1]) - began_ns) / 1e6

    def clocks_ms(clock: str) -> Contender:
        folders = iter(done)  # one run for each round, made by the first case
        return Contender("runner", lambda: restart_ms(next(folders), clock))

    floor, python = [], []
    if device == "local":
        floor = [Contender(FLOOR, lambda: by_hand_ms(bench))]
        python = [Contender(PYTHON, lambda: timed([sys.executable, "-c", "pass"], bench.env, bench.log) * 1e3)]
    yield Case(f"exec to the first stage, {device}", "ms", [Contender("runner", first_stage_ms), *floor])
    yield Case(f"killed, to the next stage, {device}", "ms", [clocks_ms("running_again_s"), *floor])
    yield Case(f"killed, to the state restored, {device}", "ms", [clocks_ms("restored_s"), *python])


def new_lab(bench: Bench, name: str) -> Path:
    lab = bench.scratch / name
    timed([*runner(), "init", str(lab)], bench.our_env, bench.log)
    return lab


def execute(bench: Bench, lab: Path, device: str) -> RunFolder:
    """One whole run; its folder."""
    timed([*runner(), "--lab", str(lab), *WORDS, "--device", device], bench.our_env, bench.log)
    return list(RunFolder.every(lab / "runs"))[-1]


def first_line_ns(folder: RunFolder) -> float:
    """When the first stage body announced itself, by this machine's boot-time clock."""
    evidence = load_evidence(folder)
    first = json.loads(folder.witness.read_text().splitlines()[0])
    at_s = Timeline(evidence).device_s(first["boot"], int(first["boottime_ns"]))
    assert at_s is not None, "the boot in which the first stage ran said hello"
    return evidence.coordinator[0].boottime_ns + at_s * 1e9


def restart_ms(folder: RunFolder, clock: str) -> float:
    """The median of a clock over the cuts of a run, from the start of the supervisor's process."""
    return statistics.median(row[clock] * 1e3 for row in cut_rows(load_evidence(folder)) if row[clock] is not None)


def by_hand_ms(bench: Bench) -> float:
    """The run's own pipeline and environment, where they were unpacked for it, without anything of ours."""
    trees = bench.scratch / "state" / "local" / "local" / "trees"
    environment, pipelines = (next(trees.glob(f"*/{name}")).parent for name in ("stageflow", "edge_002"))
    argv = [sys.executable, str(CONTENDERS / "stageflow_by_hand.py"), str(environment), str(pipelines), "edge_002.baseline"]
    return told(argv, {**bench.env, "START_NS": str(boottime_ns())})


def boottime_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def runner() -> list[str]:
    return [str(Path(sys.executable).parent / "runner")]
