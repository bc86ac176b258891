"""Argument lists, run for a program: with a limit, without a shell, and never outliving the guard unnoticed.

An act that begins with "@supervisor" is one of ours: whoever makes programs does not know where this supervisor lies, nor its Python.

Each process inherits the descriptor of a lock file. When the guard is killed in the middle of an act, the lock is held
until that act has ended, too; whoever takes over waits for it, so that nothing is applied behind an undo.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any

from .guarded import open_lock

ACT_LIMIT_S = 30.0
OUTPUT_LIMIT_BYTES = 1 << 20
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
SUPERVISOR = "@supervisor"
WORDS = 200  # of what a failed act printed


class Acts:
    """Runs acts and looks at signs; holds the lock at `path` from its making on, or at `instead` where the disk is dead."""

    def __init__(self, path: str, instead: str = "", wait_s: float = ACT_LIMIT_S + 5) -> None:
        """Waits for acts of a guard that was killed, but not longer than an act may take."""
        self._environment = {**ENVIRONMENT, "RUNNER_STATE": os.path.dirname(os.path.dirname(os.path.abspath(path)))}
        self._lock = open_lock(path)
        if self._lock is None and instead:
            self._lock = open_lock(instead)
        if self._lock is None:
            return
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                time.sleep(0.02)

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def all(self, acts: list[dict[str, Any]]) -> list[str]:
        """Runs each act, whatever becomes of those before it; what went wrong, in words."""
        return [wrong for wrong in (self.one(act) for act in acts) if wrong]

    def one(self, act: dict[str, Any]) -> str:
        """Why one act failed, or "". Never raises."""
        status, printed = self._run(act["argv"], act.get("input", ""))
        if status == 0:
            return ""
        said = " ".join(printed.split())[-WORDS:]
        return f"{' '.join(act['argv'])[:WORDS]}: {'exit status ' + str(status) if isinstance(status, int) else status}: {said}"

    def seen(self, sign: dict[str, Any]) -> str:
        """What is seen of a program by this sign, in words, or "". What cannot be looked at counts as seen.

        A tool that is not there has left nothing, and one that fails because what it looks at is gone prints nothing.
        """
        status, printed = self._run(sign["argv"], "")
        name = " ".join(sign["argv"])[:WORDS]
        line = next((line for line in printed.splitlines() if sign["contains"] in line), None)
        if line is not None:
            return f"{name} shows {line.strip()[:WORDS]}"
        return f"{name} cannot be run: {status}" if isinstance(status, str) and status != NOT_THERE else ""

    def _run(self, argv: list[str], text: str) -> tuple[Any, str]:
        """Exit status and all that was printed; a word instead of the status for what did not come to an end."""
        try:
            process = subprocess.Popen(
                _here(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/", env=self._environment,
                start_new_session=True, pass_fds=[] if self._lock is None else [self._lock],
            )  # fmt: skip
        except FileNotFoundError:
            return NOT_THERE, ""
        except Exception as error:
            return f"{type(error).__name__}: {error}", ""
        try:
            output = _talk(process, text.encode(), time.monotonic() + ACT_LIMIT_S)
        except Exception as error:  # time is up, or it closed its input
            try:  # noqa: SIM105 - contextlib is not imported on a device for this
                os.killpg(process.pid, signal.SIGKILL)  # a session of its own: whatever it has started, too
            except OSError:
                pass
            process.wait()
            if isinstance(error, _TooMuch):
                return f"it printed more than {OUTPUT_LIMIT_BYTES} bytes", error.output.decode("utf-8", "replace")
            late = isinstance(error, subprocess.TimeoutExpired)
            return f"no end within {ACT_LIMIT_S:g} s" if late else f"{type(error).__name__}: {error}", ""
        finally:
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()
        return process.returncode, output.decode("utf-8", "replace")


class _TooMuch(Exception):
    """What a command has printed was cut off here."""

    def __init__(self, output: bytes) -> None:
        super().__init__("too much was printed")
        self.output = output


def _talk(process: subprocess.Popen[bytes], text: bytes, deadline_s: float) -> bytes:
    """Gives a command its input, and returns what it prints until its end. No more of it is ever held than the limit.

    Raises subprocess.TimeoutExpired or _TooMuch; whether the command has read its input does not matter.
    """
    assert process.stdin is not None and process.stdout is not None
    inlet, outlet, output, rest = process.stdin.fileno(), process.stdout.fileno(), b"", memoryview(text)
    for each in (inlet, outlet):
        os.set_blocking(each, False)
    poll = select.poll()
    poll.register(outlet, select.POLLIN)
    poll.register(inlet, select.POLLOUT)
    while True:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise subprocess.TimeoutExpired(process.args, ACT_LIMIT_S)
        ready = [handle for handle, _ in poll.poll(left_s * 1000 + 1)]
        if inlet in ready:
            try:
                rest = rest[os.write(inlet, rest[:65536]) :] if rest else rest
            except OSError:  # it does not read any more
                rest = rest[:0]
            if not rest:
                poll.unregister(inlet)
                process.stdin.close()
        if outlet in ready:
            more = os.read(outlet, 65536)
            output += more
            if len(output) > OUTPUT_LIMIT_BYTES:
                raise _TooMuch(output[:OUTPUT_LIMIT_BYTES])
            if not more:
                process.wait(max(0.0, deadline_s - time.monotonic()))
                return output


NOT_THERE = "not there"


def _here(argv: list[str]) -> list[str]:
    """With this supervisor's own command in the place of its name: its zip, or the folder that it was unpacked into."""
    if argv[0] != SUPERVISOR:
        return argv
    return [sys.executable, "-S", "-E", os.path.dirname(os.path.dirname(os.path.abspath(__file__))), *argv[1:]]
