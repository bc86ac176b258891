"""One run that is shot at again and again: `exec` is killed, its `resume` is killed, …, until one comes to its end.

    exec ─shot─► resume ─shot─► resume ─shot─► resume ─► judged, and nothing is left
                                     └───────► or another exec takes the device: the run is blocked, and whole

`left_behind` and `untrue` say what must never be: something left, or evidence in which a record is missing or doubled.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from runner.farm.lease import Leases
from runner.judgement.checks import GENERIC
from runner.judgement.integrity import contradictions
from runner.judgement.reading import load_evidence
from runner.lab.folder import RunFolder
from runner.ondevice import journal

from . import small_lab
from .on_a_board import on_the_disk
from .shots import Shot

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND_LIMIT_S = 900.0  # a board beside other boards boots for a minute, several times in one command
GONE_LIMIT_S = 20.0
TRUE = ("nothing_repeated", "promises_kept", "restored_state_true", "every_stage_witnessed")


@dataclass
class Chain:
    """A lab, a state folder and a folder for temporary files of its own; `fired` are the shots that hit."""

    root: Path
    device: str
    kill: Callable[[Chain, str], bool]  # ends a victim that is not the coordinator; False when there is none to end
    more_words: tuple[str, ...] = ()  # of `runner exec`
    fired: list[Shot] = field(default_factory=list)
    missed: list[Shot] = field(default_factory=list)  # points that this run never reached, or where the victim did not live
    said: list[str] = field(default_factory=list)  # the end of what each command printed

    def __post_init__(self) -> None:
        small_lab.make(self.root)
        self.tmp = Path(tempfile.mkdtemp(prefix="kills-"))  # a short name: sockets lie in it

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def exec_words(self) -> list[str]:
        """A new run on the chain's device."""
        return ["exec", "KILL-001", "--device", self.device, *self.more_words]

    @property
    def run(self) -> RunFolder | None:
        """The newest run."""
        return max(RunFolder.every(self.root / "runs"), key=lambda run: run.run_id, default=None)

    def shoot(self, shot: Shot) -> int:
        """Begins or goes on with the run, with one shot at it. The command's exit status; -9 where it was the victim."""
        run = self.run
        words = ["run", "resume", run.run_id] if run and not _concluded(run) else self.exec_words
        plan = self.root / "failpoint"
        plan.write_text(shot.line)
        process = self._start(words, RUNNER_FAILPOINT=str(plan))
        hit = self._attend(process, shot)
        status = process.returncode
        (self.fired if hit else self.missed).append(shot)
        for path in (plan, plan.with_name("failpoint.fired")):
            path.unlink(missing_ok=True)
        return int(status)

    def finish(self) -> int:
        """Resumes until there is nothing more to do; at most a few times, because a victim may have cost a run its lab."""
        status = 3
        for _ in range(4):
            run = self.run
            status = self.command("run", "resume", run.run_id) if run else self.command(*self.exec_words)
            if status in (0, 1) or (self.run and load_evidence(self.run).over):
                break
        return status

    def command(self, *words: str) -> int:
        process = self._start(list(words))
        self._attend(process, None)
        return int(process.returncode)

    def _start(self, words: list[str], **env: str) -> subprocess.Popen[bytes]:
        places = {"RUNNER_STATE": str(self.state), "TMPDIR": str(self.tmp), "PYTHONPATH": str(REPOSITORY)}
        output = (self.root / "output").open("wb")
        with output:
            arguments = [sys.executable, "-m", "runner", "--lab", str(self.root), *words]
            return subprocess.Popen(
                arguments, cwd=self.root, env={**os.environ, **places, **env}, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def _attend(self, process: subprocess.Popen[bytes], shot: Shot | None) -> bool:
        """Waits for a command to end. One that has stopped at its point goes on once the victim is dead. Whether the shot hit."""
        hit = False
        deadline = time.monotonic() + COMMAND_LIMIT_S
        while True:
            pid, status = os.waitpid(process.pid, os.WUNTRACED | os.WNOHANG)
            if pid and os.WIFSTOPPED(status):
                assert shot
                hit = self.kill(self, shot.victim)
                os.kill(process.pid, signal.SIGCONT)
            elif pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                break
            if time.monotonic() > deadline:
                process.kill()
                raise AssertionError(f"a command did not end within {COMMAND_LIMIT_S:g} s: {self._last_words()}")
            time.sleep(0.01)
        self.said.append(f"{' '.join(map(str, process.args[4:]))} → {process.returncode}: {self._last_words()}")
        return hit or (shot is not None and shot.role == shot.victim and (self.root / "failpoint.fired").exists())

    def _last_words(self) -> str:
        return " | ".join((self.root / "output").read_text(errors="replace").strip().splitlines()[-3:])


def _concluded(run: RunFolder) -> bool:
    with contextlib.suppress(Exception):
        return load_evidence(run).over
    return False


# ---- what must never be ------------------------------------------------------------------------------------


def untrue(run: RunFolder) -> list[str]:
    """What is wrong with a run's evidence: contradictions, records missing or doubled, stages repeated, a rule of the format broken."""
    evidence = load_evidence(run)
    wrong = (
        [f"{problem} ({where})" for problem, where in contradictions(run, evidence)] if (evidence.ending or {})["ending"] == "ran" else []
    )
    for scenario in ("baseline", "recovery"):
        for name in TRUE:
            wrong += [f"{scenario}: {name}: {problem}" for problem, _ in GENERIC[name](evidence, scenario)]
    for execution in evidence.executions:
        whole = journal.read(run.device_journal(execution.name).read_bytes())
        if [record.sequence for record in whole] != list(range(1, len(whole) + 1)) or execution.damaged_bytes:
            wrong.append(f"{execution.name}: its mirror is not whole")
        noted = [r.payload["sequence"] for r in evidence.coordinator if r.kind == "mirrored" and r.payload["execution"] == execution.name]
        if len(noted) != len(set(noted)):
            wrong.append(f"{execution.name}: a record was noted twice")
    return wrong


def left_behind(chain: Chain) -> list[str]:
    """What remains of the runs: processes, leases, unfinished runs, temporary files, journals on the device, half-made folders."""
    found = [f"process {p.pid}: {' '.join(p.cmdline())[:150]}" for p in _still_there(chain)]
    leases = Leases(chain.state)
    found += [f"lease: {identity} {held.holder}" for identity, held in leases.every()]
    found += [f"unfinished: {token}" for token, _ in leases.unfinished(chain.device)]
    found += [f"alive file: {path.name}" for path in leases.folder.glob("*.alive")]
    found += [f"temporary: {path}" for path in chain.tmp.iterdir()]
    found += [
        f"half-made: {path}"
        for pattern in (".making-*", "**/*.part")
        for path in (chain.root / "runs" / "KILL-001").glob(pattern)
        if path.is_dir() or path.suffix == ".part"
    ]
    kept = _kept_for_good(chain)
    found += [f"on the device: {name}" for name in sorted(_runs_on_the_device(chain) - kept)]
    found += [f"mount: {line}" for line in Path("/proc/self/mounts").read_text().splitlines() if str(chain.root) in line]
    return found


def _runs_on_the_device(chain: Chain) -> set[str]:
    if chain.device == "local":
        return {path.name for path in (chain.state / "local").glob("*/runs/*") if path.is_dir()}
    return on_the_disk(chain)


def _kept_for_good(chain: Chain) -> set[str]:
    """Runs whose device did not come back in time, which is a result: what of them is not mirrored is never removed."""
    evidence = [load_evidence(run) for run in RunFolder.every(chain.root / "runs")]
    return {e.config["run_token"] for e in evidence if any(x.ended.get("ending") == "not_recovered" for x in e.executions)}


def _still_there(chain: Chain) -> list[psutil.Process]:
    """Processes of this chain; those that are just ending are given a moment."""
    deadline = time.monotonic() + GONE_LIMIT_S
    while True:
        found = list(processes(chain))
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def processes(chain: Chain, *words: str) -> Iterator[psutil.Process]:
    """This chain's processes (by the state folder in their environment) whose command line has all `words`."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("RUNNER_STATE") == str(chain.state) and process.status() != psutil.STATUS_ZOMBIE:
                line = process.cmdline()
                if all(word in line for word in words):
                    yield process


def kill_local(chain: Chain, victim: str) -> bool:
    """Ends the supervisor, the pipeline's process (host) or the bridge between coordinator and supervisor (link)."""
    word = {"supervisor": "start", "host": "host", "link": "attach"}[victim]
    hit = False
    for process in processes(chain):
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            ours = len(line) > 2 and line[1].endswith("__main__.py") and line[2] == word
            if ours or (victim == "link" and line[1:2] == ["-c"] and word in line[3:]):  # the look at a device becomes its bridge
                process.kill()
                hit = True
    return hit


def figures(chains: Iterable[Chain]) -> dict[str, Any]:
    """What was done, for the table in the docs."""
    fired = [shot for chain in chains for shot in chain.fired]
    victims: dict[str, int] = {}
    for shot in fired:
        victims[shot.victim] = victims.get(shot.victim, 0) + 1
    return {
        "kills": len(fired),
        "victims": victims,
        "points": len({(shot.role, shot.point) for shot in fired}),
        "chains": len(list(chains)),
    }


def as_json(chain: Chain) -> str:
    return json.dumps({"fired": [shot._asdict() for shot in chain.fired], "said": chain.said}, indent=1)
