"""Joins a coordinator's stream to the supervisor's socket. It imports next to nothing: a slow board pays for that at every attach."""

from __future__ import annotations

import os
import select
import socket
import sys

NOBODY_THERE = 69  # exit status of `attach` when no supervisor answers


def attach(socket_path: str) -> int:
    """Bridges standard input and output to the supervisor until either side ends."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(socket_path)
    except OSError as error:
        print(f"no supervisor answers at {socket_path}: {error.strerror}", file=sys.stderr)
        return NOBODY_THERE
    ends = {0: connection.fileno(), connection.fileno(): 1}
    while True:
        readable, _, _ = select.select(list(ends), [], [])
        for source in readable:
            data = os.read(source, 262144)
            if not data:
                return 0
            view = memoryview(data)
            while view:
                view = view[os.write(ends[source], view) :]
