"""The guard as its supervisor sees it: started when it is needed, asked over its socket, and never waited for when it is not.

Without an armed program on the disk none of this does more than look into one folder.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from typing import Any

from .journal import boot_id

FOLDER, SOCKET = "guard", "guard.sock"
START_LIMIT_S = 45.0  # a guard that takes over waits for what a killed one was doing
ANSWER_LIMIT_S = 55.0
LOG_LIMIT_BYTES = 256 * 1024


class GuardGone(OSError):
    """The guard did not answer; it, or its twin, goes on by what is on the disk."""


class Guarded:
    """`state` and `runtime` are the two folders that a guard and its supervisor share."""

    def __init__(self, state: str, runtime: str) -> None:
        self._state, self._runtime = state, runtime

    def armed(self) -> list[str]:
        """The names of programs that are on the disk."""
        return armed(self._state)

    def runs(self) -> set[str]:
        """The runs whose programs they are."""
        return {str(kept.get("run")) for kept in _kept(self._state)}

    def ask(self, do: str, *, heard: bool = True, **words: Any) -> dict[str, Any]:
        """One request's answer, by a guard that is started if there is none. Raises ValueError for what it refuses, or GuardGone."""
        question = json.dumps({"do": do, "heard": heard, **words}).encode() + b"\n"
        line, deadline = self._exchange(do, question), time.monotonic() + START_LIMIT_S
        while not line and do != "arm" and time.monotonic() < deadline:  # killed meanwhile: whoever takes over can be asked again
            time.sleep(0.1)
            line = self._exchange(do, question)
        if not line:
            raise GuardGone(f"the guard ended while it was asked to {do}; its successor reverts what was only half armed")
        answer = json.loads(line)
        if "error" in answer:
            raise ValueError(answer["error"])
        return dict(answer["ok"])

    def _exchange(self, do: str, question: bytes) -> bytes:
        """The answer's line; b"" from a guard that ended instead. Raises GuardGone for one that says nothing."""
        connection = self._connect()
        with connection:
            try:
                connection.settimeout(ANSWER_LIMIT_S)
                connection.sendall(question)
                with connection.makefile("rb") as stream:
                    return stream.readline()
            except (ConnectionError, BrokenPipeError):
                return b""
            except OSError as error:
                raise GuardGone(f"the guard did not answer {do!r}: {error}") from error

    def ask_if_armed(self, do: str, *, heard: bool = True, **words: Any) -> dict[str, Any] | None:
        """The same, where a program is armed; None where there is none."""
        return self.ask(do, heard=heard, **words) if self.armed() else None

    def start(self) -> None:
        """A guard runs soon, if none does. One more beside it ends by itself: a lock says who is the guard."""
        import subprocess

        path = os.path.join(self._state, "guard.log")
        small = not os.path.exists(path) or os.path.getsize(path) < LOG_LIMIT_BYTES
        with open(path, "ab" if small else "wb") as log:
            command = [sys.executable, os.path.abspath(sys.argv[0]), "guard", self._state, self._runtime, "start"]
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, timeout=30, check=False)

    def alive(self) -> bool:
        connection = self._try()
        if connection is not None:
            connection.close()
        return connection is not None

    def _connect(self) -> socket.socket:
        """A connection, sooner or later: the guard that is started may have to wait for the lock of one that just died."""
        deadline, started = time.monotonic() + START_LIMIT_S, 0.0
        while True:
            connection = self._try()
            if connection is not None:
                return connection
            now = time.monotonic()
            if now > deadline:
                raise GuardGone(f"no guard answers on this device; see {os.path.join(self._state, 'guard.log')}")
            if now - started > 2:
                started = now
                self.start()
            time.sleep(0.02)

    def _try(self) -> socket.socket | None:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(os.path.join(self._runtime, SOCKET))
            return connection
        except OSError:
            connection.close()
            return None


def armed(state: str) -> list[str]:
    """The names of the programs that are on this device's disk."""
    try:
        return sorted(name[: -len(".json")] for name in os.listdir(os.path.join(state, FOLDER)) if name.endswith(".json"))
    except OSError:
        return []


def _kept(state: str) -> list[dict[str, Any]]:
    """What their files say. One that is not whole was never armed."""
    found = []
    for name in armed(state):
        try:
            with open(os.path.join(state, FOLDER, name + ".json")) as file:
                kept = json.load(file)
            found += [kept] if isinstance(kept, dict) else []
        except (OSError, ValueError):
            continue
    return found


def revert_what_another_boot_left(state: str, runtime: str) -> None:
    """At boot, before anything else. Whatever goes wrong is said aloud, and stays for the guard, which tries again."""
    boot = boot_id()
    if all(kept.get("boot") == boot for kept in _kept(state)):
        return
    from . import guard

    try:
        done = guard.revert_here(state, runtime, why="another boot", only_other_boots=True)
        if done and (done["reverted"] or done["left"]):
            print(f"of another boot: reverted {done['reverted']}, left {done['left']}", file=sys.stderr, flush=True)
    except Exception as error:
        print(f"of another boot: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def by_hand(state: str, socket_path: str, name: str = "") -> int:
    """`revert` from a command line on the device, with or without a guard. Prints what was reverted; 1 when something is left."""
    runtime = os.path.dirname(socket_path)
    guarded = Guarded(state, runtime)
    names = [known for known in guarded.armed() if name in ("", known)]
    if not names:
        print(f"{name} is not armed on this device" if name else "no program is armed on this device")
        return 0
    from . import guard

    done = None
    if not guarded.alive():
        done = guard.revert_here(state, runtime, name, why="asked")
    if done is None:
        try:
            done = guarded.ask("revert", name=name, why="asked")
        except OSError as error:
            print(f"{error}\nits pid is in {os.path.join(state, FOLDER, 'lock')}: kill it, its twin goes on", file=sys.stderr)
            return 1
    for reverted in done["reverted"]:
        print(f"reverted {reverted}")
    for left in done["left"]:
        print(f"left {left}")
    return 1 if done["left"] else 0
