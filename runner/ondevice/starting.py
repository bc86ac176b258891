"""How a supervisor becomes the one of its state folder, at a coordinator's word or at boot.

    what another boot left is undone ─► the device is taken ─► at-boot hook ─► the lock ─► restored, a guard is seen to ─► it answers
                                        77: somebody else's                    ours already: 0        `start` returns here

The lock file says who holds it: "PID HASH". A killed process holds no lock, whatever the file says.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shlex
import shutil
import signal
import socket
import sys
import threading
import time

from . import facts, failpoints
from .claim import NOT_YOURS, Claims, NotYours
from .guarded import revert_what_another_boot_left
from .journal import fsync_file, fsync_folder
from .supervisor import Supervisor, own_sha256

START_LIMIT_S = 60.0
WRONG, UNAVAILABLE = 64, 70  # exit statuses: what was asked for makes no sense; a supervisor does not start, or does not end


def start(state: str, socket_path: str, claim: str = "") -> int:
    """Makes sure that this very supervisor runs and answers. Returns an exit status: 0, it does; NOT_YOURS, see below.

    One with another hash is ended first. A second `start` beside a running one changes nothing but the claim: with one
    (JSON) the device is taken for it before anything else, or everything stays as it is and standard error names the holder.
    """
    failpoints.play("supervisor")
    started_ns, runtime = facts.process_started_ns(), os.path.dirname(socket_path)
    os.makedirs(state, mode=0o700, exist_ok=True)
    os.makedirs(runtime, mode=0o700, exist_ok=True)
    revert_what_another_boot_left(state, runtime)
    claims = Claims(state, runtime)
    if claim:
        try:
            claims.take(json.loads(claim))
        except NotYours as error:
            print(error, file=sys.stderr)
            return NOT_YOURS
        except ValueError as error:
            print(error, file=sys.stderr)
            return WRONG
    _write_at_boot(state, [sys.executable, os.path.abspath(sys.argv[0]), "start", state, socket_path])
    lock = os.open(os.path.join(state, "supervisor.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    status = _become_the_one(lock)
    if status is not None:
        return status
    ready, tell_ready = os.pipe()
    facts.about_to_fork()
    if os.fork():
        os.close(tell_ready)
        readable, _, _ = select.select([ready], [], [], START_LIMIT_S)
        return 0 if readable and os.read(ready, 1) == b"+" else UNAVAILABLE
    _stand_alone(state, lock)
    _serve(state, socket_path, started_ns, claims, tell_ready)
    return 0


def _become_the_one(lock: int) -> int | None:
    """None when the lock is ours; else the exit status. One of another version is ended for it."""
    deadline = time.monotonic() + START_LIMIT_S
    while not _lock(lock):
        pid, _, sha256 = os.pread(lock, 200, 0).decode().strip().partition(" ")
        if sha256 == own_sha256():
            return 0
        if pid:
            try:  # noqa: SIM105 - contextlib costs a slow board 50 ms of every restart
                os.kill(int(pid), signal.SIGTERM)
            except ProcessLookupError:
                pass
        if time.monotonic() > deadline:
            print(f"supervisor {pid} does not end", file=sys.stderr)
            return UNAVAILABLE
        time.sleep(0.05)
    os.ftruncate(lock, 0)  # a pid from before a crash or a boot must not be taken for ours
    return None


def _stand_alone(state: str, lock: int) -> None:
    """A session of its own, which ends as a whole; the lock names it, and what it prints goes to its log."""
    os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(os.getpgid(0), signal.SIGKILL))
    os.pwrite(lock, f"{os.getpid()} {own_sha256()}".encode(), 0)
    _to_log(os.path.join(state, "supervisor.log"))


def _serve(state: str, socket_path: str, started_ns: int, claims: Claims, tell_ready: int) -> None:
    """Restores what was cut short, says that it is ready, and answers until nobody needs it any more."""
    if os.path.exists(socket_path):
        os.unlink(socket_path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(socket_path)
    listener.listen(8)
    supervisor = Supervisor(state, started_ns, claims, os.path.dirname(socket_path))
    supervisor.restore()
    os.write(tell_ready, b"+")
    os.close(tell_ready)
    threading.Thread(target=supervisor.guarded.keep, daemon=True, name="guarded").start()
    supervisor.serve(listener)
    shutil.rmtree(os.path.dirname(socket_path), ignore_errors=True)


def _write_at_boot(state: str, argv: list[str]) -> None:
    """The hook by which the device starts this supervisor itself, durable; nothing is written where it stands already."""
    path, text = os.path.join(state, "at-boot"), f"#!/bin/sh\nexec {shlex.join(argv)}\n".encode()
    try:
        with open(path, "rb") as file:
            if file.read() == text:
                return
    except FileNotFoundError:
        pass
    with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700), "wb") as file:
        file.write(text)
        file.flush()
        fsync_file(file.fileno())
    os.rename(path + ".new", path)
    fsync_folder(state)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def _to_log(path: str) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for fd, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(fd, target)
