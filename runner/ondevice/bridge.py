"""Joins a coordinator's stream to the supervisor's socket. It imports next to nothing: a slow board pays for that at every attach."""

from __future__ import annotations

import os
import select
import socket
import sys

NOBODY_THERE = 69  # exit status of `attach` when no supervisor answers


def attach(socket_path: str) -> int:
    """Bridges standard input and output to the supervisor until either side ends."""
    try:
        connection = join(socket_path)
    except OSError as error:
        print(f"no supervisor answers at {socket_path}: {error.strerror}", file=sys.stderr)
        return NOBODY_THERE
    relay(connection)
    return 0


def join(socket_path: str) -> socket.socket:
    """A connection to the supervisor that listens there. Raises OSError where none does."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(socket_path)
    return connection


def join_ours(state: str, script: str, socket_path: str) -> socket.socket | None:
    """The same, if the supervisor that runs in `state` is the one installed at `script`, by its word in the lock; else None."""
    try:
        with open(os.path.join(state, "supervisor.lock")) as file:
            ours = file.read().split()[1:] == [os.path.basename(os.path.dirname(script))]
        return join(socket_path) if ours else None
    except OSError:
        return None


def relay(connection: socket.socket) -> None:
    """Passes on what standard input and the supervisor say, until either ends."""
    ends = {0: connection.fileno(), connection.fileno(): 1}
    while True:
        readable, _, _ = select.select(list(ends), [], [])
        for source in readable:
            data = os.read(source, 262144)
            if not data:
                return
            view = memoryview(data)
            while view:
                view = view[os.write(ends[source], view) :]
