"""Runs that are under way, or were: leave one to a process of its own, attach to it, go on with it, end it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli.output import Output
from runner.errors import AskError, LabError

if TYPE_CHECKING:
    from runner.cli.exec import Progress
    from runner.judgement.conclude import Conclusion
    from runner.lab.folder import RunFolder
    from runner.lab.where import Lab

LOOK_S = 0.1
CANCEL_LIMIT_S = 300.0  # an orderly end waits for a device that may be starting


def leave_it_to_another(output: Output, lab: Lab) -> int:
    """Starts the same command in a session of its own and returns once its run has a folder. Raises LabError when it ends before.

    While it waits for the device, what it says is passed on; ^C ends it then.
    """
    from runner.cli.detached import new_log, remove_old
    from runner.lab.folder import RunFolder
    from runner.lab.where import state_root

    folder = state_root() / "detached"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_old(folder, time.time())
    words = [word for word in sys.argv[1:] if word != "--detach"]
    known = {run.root for run in RunFolder.every(lab.runs)}
    with new_log(folder) as (log, file):
        arguments = [sys.executable, "-m", "runner", *words]
        child = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
    said = 0
    try:
        while True:
            ended = child.poll() is not None
            text = log.read_text(encoding="utf-8", errors="replace")
            lines = text[said:].splitlines(keepends=True)
            for line in lines:
                if line.endswith("\n") and line.startswith("  waiting: "):
                    output.say(line.rstrip("\n"))
            said += sum(len(line) for line in lines if line.endswith("\n"))
            new = [run for run in RunFolder.every(lab.runs) if run.root not in known and _carried_out_by(run, child.pid)]
            if new:
                break
            if ended:
                last = text.strip().splitlines()[-1:] or ["it said nothing"]
                kind = AskError if child.returncode == AskError.exit_code else LabError
                raise kind(f"the run ended before it had a folder, with status {child.returncode}: {last[0]}", where=str(log))
            time.sleep(LOOK_S)
    except KeyboardInterrupt:
        child.send_signal(signal.SIGTERM)
        raise
    name = f"{new[0].root.parent.name}/{new[0].run_id}"
    text = f"{name} goes on by itself, as process {child.pid}\nnext: runner run attach {name}   (or run cancel {name})"
    return output.result({"run_dir": str(new[0].root), "run_id": new[0].run_id, "pid": child.pid, "log": str(log)}, text)


def _carried_out_by(run: RunFolder, pid: int) -> bool:
    from runner.farm.lease import Leases
    from runner.lab.where import state_root

    held = Leases(state_root()).holder_of(run.root)
    return held is not None and held.holder.get("pid") == pid


@click.command("attach")
@click.argument("name", metavar="RUN")
@click.pass_obj
def run_attach(output: Output, name: str) -> int:
    """Follow RUN until it ends, from its first line on; ^C only leaves. Exits as its `exec` would, with 3 where it was killed."""
    folder = _find(output, name)
    tail = _Tail(folder.progress)
    try:
        while _under_way(folder):
            tail.say(output)
            time.sleep(LOOK_S)
    except KeyboardInterrupt:
        return output.result({"run_dir": str(folder.root), "left": True}, f"{name} goes on; next: runner run attach {name}")
    tail.say(output)
    return _how_it_ended(output, folder, name)


@click.command("resume")
@click.argument("name", metavar="RUN")
@click.option("--no-wait", is_flag=True, help="Where somebody else holds the device: say who, and do not wait for it.")
@click.pass_obj
def run_resume(output: Output, name: str, no_wait: bool) -> int:
    """Go on with RUN, which was killed, interrupted or blocked, from where its notes say that it was."""
    return _resume(output, name, wait=not no_wait, cancel=False)


@click.command("cancel")
@click.argument("name", metavar="RUN")
@click.option("--now", is_flag=True, help="Do not unwind in order: stop at once. The next run on the device cleans up.")
@click.pass_obj
def run_cancel(output: Output, name: str, now: bool) -> int:
    """End RUN: ask its process to unwind in order, or where that is gone, end what it left on the device."""
    from runner.cli.exec import ONE_REQUEST_S
    from runner.farm.lease import Leases
    from runner.lab.where import state_root

    folder = _find(output, name)
    held = Leases(state_root()).holder_of(folder.root)
    if held is None and _under_way(folder):
        raise AskError(f"{name} is being written to, and no process of this user carries it out", do="wait for it to end")
    if held is None:
        from runner.judgement.reading import load_evidence

        over = False
        with folder.alone(), contextlib.suppress(AskError):  # one that lacks its report is concluded
            over = load_evidence(folder).over and bool(folder.completed_at)
        if over:
            said = f"{name} is over: there was nothing to cancel\nnext: runner run show {name}"
            return output.result({"run_dir": str(folder.root), "cancelled": False}, said)
        return _resume(output, name, wait=True, cancel=True)
    pid = held.holder.get("pid")
    if not isinstance(pid, int) or pid < 2:
        raise LabError(f"the lease file does not say which process carries out {name}", where=str(Leases(state_root()).path))
    for _ in range(2 if now else 1):
        with contextlib.suppress(ProcessLookupError):  # it has ended by now
            os.kill(pid, signal.SIGINT)
        time.sleep(2 * ONE_REQUEST_S)
    deadline = time.monotonic() + CANCEL_LIMIT_S
    with output.waiting(f"{name} to end", CANCEL_LIMIT_S):
        while _under_way(folder):
            if time.monotonic() > deadline:
                raise LabError(f"{name} did not end within {CANCEL_LIMIT_S:g} s", do=f"runner run cancel {name} --now")
            time.sleep(LOOK_S)
    text = f"{name} has ended\nnext: runner run resume {name}   (to go on with it after all)"
    return output.result({"run_dir": str(folder.root), "cancelled": True}, text)


def _resume(output: Output, name: str, *, wait: bool, cancel: bool) -> int:
    import asyncio

    from runner.cli.exec import carry_out
    from runner.judgement.reading import load_evidence
    from runner.story.execute import plan_of

    folder = _find(output, name)
    with folder.alone():  # who carries it out, or reports on it, is heard of at once
        evidence = load_evidence(folder)
        plan = plan_of(folder, evidence)

    def story(progress: Progress) -> Coroutine[Any, Any, Conclusion]:
        from runner.story.execute import resume

        return resume(folder, lab, progress, wait=wait, cancel=cancel)

    lab = output.lab(quiet=True)
    if evidence.over:
        output.say(f"{name} has ended already, at {evidence.completed_at}: nothing is gone on with. It is concluded again:")
    return asyncio.run(carry_out(output, lab, plan, story))


def _find(output: Output, name: str) -> RunFolder:
    from runner.lab.folder import RunFolder

    return RunFolder.find(output.lab().runs, name)


def _under_way(folder: RunFolder) -> bool:
    try:
        with folder.alone():
            return False
    except AskError:
        return True


def _how_it_ended(output: Output, folder: RunFolder, name: str) -> int:
    """The exit status that the run itself had, tightened as its `exec` was told; a killed one has none, and is blocked until somebody
    goes on with it."""
    from runner.cli.exec import exit_code
    from runner.judgement.conclude import conclude
    from runner.judgement.reading import load_evidence
    from runner.model.outcome import SEVERITIES

    evidence = load_evidence(folder)
    if evidence.ending is None:
        raise LabError(f"{name} was killed before it came to its end", do=f"runner run resume {name}")
    conclusion = conclude(folder, folder.completed_at)
    told = evidence.plan.get("fail_on")
    severities = [finding.severity for finding in conclusion.findings]
    code = exit_code(conclusion.outcome.exit_code, severities, told if told in SEVERITIES else None)
    return output.result({**conclusion.as_json(), "exit_code": code}, "", code)


class _Tail:
    """Whole lines of a file as it grows; the file need not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0

    def say(self, output: Output) -> None:
        """What has come since."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.decode("utf-8", "replace").splitlines():
            output.say(line)
