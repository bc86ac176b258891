"""The logs of the far end: what came to it, line by line.

    link.jsonl        each packet of the light probe, and when packets came for which there was no room
    receipts.jsonl    what its services received from an execution

It writes what a device sent, so nothing is trusted: a line that is not what it must be says nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runner.ondevice.results import has_shape

PROBED: dict[str, type] = {
    **dict.fromkeys(("who", "boot"), str),
    **dict.fromkeys(("started_ms", "sequence", "sent_ns", "received_ns", "echoes", "rtt_us"), int),
}
NOT_LOGGED: dict[str, type] = {"not_logged": int, "received_ns": int}
RECEIVED: dict[str, type] = {"service": str, "execution": str, "boottime_ns": int}


def packets_of(path: Path) -> list[dict[str, Any]]:
    """Each line of the far end's log of light packets that is what it must be."""
    return _lines(path, PROBED)


def not_logged_of(path: Path) -> list[dict[str, Any]]:
    """When packets came to the far end for which its log had no room."""
    return _lines(path, NOT_LOGGED)


def receipts_of(path: Path) -> list[dict[str, Any]]:
    """Each receipt of the far end's services that is what it must be."""
    return _lines(path, RECEIVED)


def _lines(path: Path, shape: dict[str, type]) -> list[dict[str, Any]]:
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [said for line in lines if (said := line_of(line, shape)) is not None]


def line_of(line: bytes, *shapes: dict[str, type]) -> dict[str, Any] | None:
    """What a line says, if it is of one of these shapes; None for whatever else stands there."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) and any(has_shape(said, shape) for shape in shapes) else None
