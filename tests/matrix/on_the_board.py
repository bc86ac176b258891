"""The eye: a process on the board beside all who are under test. It looks, kills and changes things, and nobody there knows it.

    python3 -c THIS TREE STATE RUNTIME        a JSON line in, a JSON line out, until its input ends

It needs neither supervisor nor guard, and renews nothing. Standard library, and the product's own readers of fingerprints and
journals out of TREE, the folder of the installed supervisor.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SUPERVISOR, GUARD, BOTH_GUARDS = "supervisor", "guard", "guard and twin"


class Eye:
    def __init__(self, tree: str, state: str, runtime: str) -> None:
        self._tree, self._state, self._runtime = tree, state, runtime

    def _run(self, argv: list[str], text: str = "") -> tuple[int, str]:
        """As the guard does: an act of the supervisor's own is done by its own code."""
        ours = [sys.executable, "-S", "-E", self._tree]
        return run([*ours, *argv[1:]] if argv[0] == "@supervisor" else argv, text, {"RUNNER_STATE": self._state})

    def do_look(self, signs: list[dict[str, Any]]) -> dict[str, Any]:
        """What is armed by the disk, how far it has come by its guard's marks, and which signs of it the kernel shows."""
        printed = {tuple(sign["argv"]): "" for sign in signs}
        for argv in printed:
            printed[argv] = self._run(list(argv))[1]
        seen = [sign["contains"] for sign in signs if any(sign["contains"] in line for line in printed[tuple(sign["argv"])].splitlines())]
        armed = self._files(os.path.join(self._state, "guard"))
        return {"now_ns": boottime_ns(), "armed": armed, "marks": self._marks(), "seen": seen}

    def do_kill(self, whom: str) -> dict[str, Any]:
        """SIGKILL; they are gone when this answers. `marks` is how far it had come at that moment."""
        pids, marks = self._pids(whom), self._marks()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        while any(command_of(pid) for pid in pids):
            time.sleep(0.005)
        return {"pids": pids, "marks": marks, "now_ns": boottime_ns()}

    def do_journal(self, run: str) -> dict[str, Any]:
        """What the guard noted of a run."""
        from ondevice.journal import read_file

        path = os.path.join(self._state, "runs", run, "guard", "journal")
        records = read_file(path) if os.path.exists(path) else []
        return {"records": [[record.kind, record.payload] for record in records][-60:]}

    def do_fingerprint(self) -> dict[str, Any]:
        from ondevice.fingerprint import fingerprint

        return {"fields": fingerprint()}

    def do_train(self, far_end: str, port: int, who: str, duration_s: float, rate_kbit_s: float, size: int, echo: bool) -> dict[str, Any]:
        from ondevice.link_probe import LinkProbe

        return dict(LinkProbe().train(far_end, port, who, duration_s, rate_kbit_s, size, echo))

    def do_acts(self, acts: list[dict[str, Any]]) -> dict[str, Any]:
        """Runs each, whatever becomes of the others; exit status and words of each."""
        done = [self._run(act["argv"], act.get("input", "")) for act in acts]
        return {"done": [[status, said[-300:]] for status, said in done]}

    def do_turn_clock(self, by_s: float) -> dict[str, Any]:
        time.clock_settime(time.CLOCK_REALTIME, time.time() + by_s)
        return {}

    def do_scrub(self, undo: list[dict[str, Any]]) -> dict[str, Any]:
        """By force: guards dead, undone by us, their files gone. For a guard that does not do it itself."""
        self.do_kill(BOTH_GUARDS)
        self.do_acts(undo)
        for folder in (os.path.join(self._state, "guard"), os.path.join(self._runtime, "programs")):
            for name in self._files(folder):
                os.unlink(os.path.join(folder, name))
        return {}

    def _files(self, folder: str) -> list[str]:
        return sorted(name for name in os.listdir(folder) if name.endswith(".json")) if os.path.isdir(folder) else []

    def _marks(self) -> dict[str, dict[str, Any]]:
        found = {}
        folder = os.path.join(self._runtime, "programs")
        for name in self._files(folder):
            try:
                with open(os.path.join(folder, name)) as file:
                    said = json.load(file)
                found[name] = {key: said[key] for key in ("state", "doing", "done", "armed_ns", "asked")}
            except (OSError, ValueError):
                continue
        return found

    def _pids(self, whom: str) -> list[int]:
        """Of the guards, the one that holds their lock is the guard."""
        place = {SUPERVISOR: "supervisor.lock", GUARD: os.path.join("guard", "lock")}.get(whom)
        if place is None:
            return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if {"guard", self._state} <= set(command_of(pid))]
        try:
            with open(os.path.join(self._state, place)) as file:
                pid = int((file.read().split() or ["0"])[0])
        except (OSError, ValueError):
            return []
        return [pid] if pid and self._state in command_of(pid) else []


def command_of(pid: int) -> list[str]:
    """Its words; [] when it has ended, reaped or not."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode("utf-8", "replace").split("\0")[:-1]
    except OSError:
        return []


def run(argv: list[str], text: str, more: dict[str, str]) -> tuple[int, str]:
    try:
        done = subprocess.run(
            argv, input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30,
            env={"PATH": PLACES, "LC_ALL": "C", **more},
        )
        return done.returncode, done.stdout.decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError) as error:
        return -1, str(error)


def boottime_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def main(tree: str, state: str, runtime: str) -> None:
    sys.path.insert(0, tree)
    eye = Eye(tree, state, runtime)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"ok": getattr(eye, f"do_{asked.pop('do')}")(**asked)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
