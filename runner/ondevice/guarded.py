"""The guard as its supervisor sees it: started when it is needed, asked over its socket, and never waited for when it is not.

    every second:  is anything armed? ──no──► nothing
                         │ yes
                   is the guard's lock held? ──yes──► nothing: that is the guard, or whoever takes over
                         │ no
                   a guard is started, which goes by what is on the disk

Without an armed program none of this does more than look into two folders.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
import sys
import time
from typing import Any

from .journal import boot_id
from .say import say

FOLDER, LOCK = "guard", "lock"  # in the state folder: what is armed, and in it whose file says who is the guard
SOCKET, MARKS = "guard.sock", "programs"  # in the folder of sockets
SECOND_LOCK = "guard.lock"  # there, too: it is held beside the first, which a dead disk may not let anybody open
KEEP_S = 1.0  # how often it is looked whether a guard that is needed is there
CALM_S = 60.0  # a guard that ends again and again is started less and less often, but so often
START_LIMIT_S = 45.0  # a guard that takes over waits for what a killed one was doing
ANSWER_LIMIT_S = 55.0
LOG_LIMIT_BYTES = 256 * 1024
FILE_LIMIT_BYTES = 32 << 20  # of one program: more than the longest request makes


class GuardGone(OSError):
    """The guard did not answer; it, or its twin, goes on by what is on the disk."""


class Guarded:
    """`state` and `runtime` are the two folders that a guard and its supervisor share."""

    def __init__(self, state: str, runtime: str) -> None:
        self._state, self._runtime = state, runtime
        self._started_s, self._pause_s = 0.0, 0.0  # when `look` has started a guard, and how soon it may be done again

    def keep(self) -> None:
        """As long as there is something to be taken back there is a guard, whoever is killed and whether or not anybody asks. For ever."""
        while True:
            try:
                self.look(time.monotonic())
            except Exception as error:  # whatever it was: it is looked again
                say(f"no guard could be started: {type(error).__name__}: {error}")
            time.sleep(KEEP_S)

    def look(self, now_s: float) -> None:
        """Starts a guard, if one is needed and none is there."""
        if not self.needed():
            self._pause_s = 0.0
        elif self.alive():
            self._pause_s = self._pause_s if now_s - self._started_s < CALM_S else 0.0
        elif now_s - self._started_s >= self._pause_s:
            self._started_s, self._pause_s = now_s, min(CALM_S, max(2 * KEEP_S, 2 * self._pause_s))
            say(f"armed are {', '.join(self.armed()) or 'none'}, and no guard is there: one is started")
            self.start()

    def needed(self) -> bool:
        """Whether a guard has still something to do: to take a program back, or to wait for somebody behind one that cut the only path."""
        return bool(self.armed() or unreached(self._runtime))

    def armed(self) -> list[str]:
        """The names of programs that are on the disk."""
        return armed(self._state, self._runtime)

    def runs(self) -> set[str]:
        """The runs whose programs they are."""
        return {str(kept.get("run")) for kept in _kept(self._state, self._runtime)}

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
        try:
            small = not os.path.exists(path) or os.path.getsize(path) < LOG_LIMIT_BYTES
            log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | (0 if small else os.O_TRUNC), 0o600)
        except OSError:  # a full disk costs what the guard has to say, and no guard
            log = os.open(os.devnull, os.O_WRONLY)
        try:
            command = [sys.executable, os.path.abspath(sys.argv[0]), "guard", self._state, self._runtime, "start"]
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, timeout=30, check=False)
        finally:
            os.close(log)

    def alive(self) -> bool:
        """Whether somebody is the guard: one of its locks is held. It need not answer yet."""
        return any(map(_is_held, lock_paths(self._state, self._runtime)))

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


def lock_paths(state: str, runtime: str) -> tuple[str, str]:
    """Who holds both, as far as they can be opened, is the guard."""
    return os.path.join(state, FOLDER, LOCK), os.path.join(runtime, SECOND_LOCK)


def open_lock(path: str) -> int | None:
    """A file to lock, for reading where the disk takes nothing any more: that is enough for a lock. None: it cannot be opened at all."""
    for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
        try:
            return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        except OSError as error:
            wrong = error
    say(f"{path} cannot be opened: {wrong}")
    return None


def _is_held(path: str) -> bool:
    try:
        lock = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(lock)


def armed(state: str, runtime: str = "") -> list[str]:
    """The names of the programs that are on this device's disk; by their marks in `runtime`, where the disk does not say it any more."""
    try:
        return sorted(name[: -len(".json")] for name in os.listdir(os.path.join(state, FOLDER)) if name.endswith(".json"))
    except FileNotFoundError:
        return []
    except OSError:
        return sorted(standing(runtime)) if runtime else []


def unreached(runtime: str) -> list[dict[str, Any]]:
    """Programs of this boot that are reverted, and wait for somebody to reach the device: their marks are all that is left of them."""
    return [kept for reverted, kept in _marked(runtime) if reverted]


def standing(runtime: str) -> dict[str, dict[str, Any]]:
    """Programs of this boot that are not, by name: what is needed to take each back, for whoever cannot read it from the disk."""
    return {kept["program"]["name"]: kept for reverted, kept in _marked(runtime) if not reverted}


def _marked(runtime: str) -> list[tuple[bool, dict[str, Any]]]:
    found: list[tuple[bool, dict[str, Any]]] = []
    try:
        names = sorted(os.listdir(os.path.join(runtime, MARKS)))
    except OSError:
        names = []
    if names:
        from .programs import REVERTED, check_kept
    for name in names:
        try:
            said = read_json(os.path.join(runtime, MARKS, name))
            check_kept(said["kept"])
            if said["boot"] == boot_id() and name == said["kept"]["program"]["name"] + ".json":
                found.append((said["state"] == REVERTED, said["kept"]))
        except Exception:  # noqa: S112 - one that is odd, whatever it is: it keeps nobody from the others
            continue
    return found


def read_json(path: str) -> Any:
    """What a file of ours holds. Raises OSError, or ValueError for what is none: no regular file, too long, or no JSON."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not be waited for
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("it is no regular file")
        found = b""
        while len(found) <= FILE_LIMIT_BYTES:
            more = os.read(handle, 1 << 20)
            if not more:
                break
            found += more
        else:
            raise ValueError(f"it is longer than {FILE_LIMIT_BYTES} bytes")
    finally:
        os.close(handle)
    try:
        return json.loads(found)
    except (RecursionError, MemoryError) as error:
        raise ValueError(f"it cannot be read: {type(error).__name__}") from error


def _kept(state: str, runtime: str = "") -> list[dict[str, Any]]:
    """What their files say, or their marks. One that is not whole was never armed."""
    found = []
    for name in armed(state, runtime):
        try:
            kept = read_json(os.path.join(state, FOLDER, name + ".json"))
        except Exception:
            kept = standing(runtime).get(name) if runtime else None
        found += [kept] if isinstance(kept, dict) else []
    return found


def revert_what_another_boot_left(state: str, runtime: str) -> None:
    """At boot, before anything else. Whatever goes wrong is said aloud, and stays for the guard, which tries again."""
    boot = boot_id()
    if all(kept.get("boot") == boot for kept in _kept(state)):
        return
    from . import guard
    from .programs import ANOTHER_BOOT

    try:
        done = guard.revert_here(state, runtime, why=ANOTHER_BOOT, only_other_boots=True)
        if done and (done["reverted"] or done["left"]):
            say(f"of another boot: reverted {done['reverted']}, left {done['left']}")
    except Exception as error:
        say(f"of another boot: {type(error).__name__}: {error}")


def by_hand(state: str, socket_path: str, name: str = "") -> int:
    """`revert` from a command line on the device, with or without a guard. Prints what was reverted; 1 when something is left."""
    runtime = os.path.dirname(socket_path)
    guarded = Guarded(state, runtime)
    names = [known for known in guarded.armed() if name in ("", known)]
    if not names:
        say(f"{name} is not armed on this device" if name else "no program is armed on this device", sys.stdout)
        return 0
    from . import guard
    from .programs import ASKED

    done = None
    try:
        if not guarded.alive():
            done = guard.revert_here(state, runtime, name, why=ASKED)
        if done is None:
            done = guarded.ask("revert", heard=False, name=name, why=ASKED)  # whoever stands before the device has not come over the link
    except GuardGone as error:
        say(f"{error}\nits pid is in {os.path.join(runtime, SECOND_LOCK)}: kill it, its twin goes on")
        return 1
    except (OSError, ValueError) as error:
        say(f"{', '.join(names)} cannot be reverted: {error}")
        return 1
    for reverted in done["reverted"]:
        say(f"reverted {reverted}", sys.stdout)
    for left in done["left"]:
        say(f"left {left}", sys.stdout)
    return 1 if done["left"] else 0
