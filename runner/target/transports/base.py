"""What a transport is: three verbs towards a device, and nothing about what is said over them.

    run     one command, with input, to its end
    stream  one command, joined to us by a byte stream
    close   the end; safe to call twice

A transport's own library errors never leave its file: they become `LinkLost` (it was there and is gone)
or LabError (it never was). `check_transport` in `conformance.py` is the contract, executable.

No device is trusted: a command's output is bounded (`everything`), a device that takes nothing more is given up
(`STALLED_S`), and its words become one short line (`words`) before they stand in any sentence of ours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runner.errors import LabError

READ_BYTES = 262144
MAX_OUTPUT_BYTES = 8 << 20  # of one command's output, and of its errors; what we run there says far less
STALLED_S = 60.0  # a device that takes none of what is written to it for so long is given up


class LinkLost(LabError):
    """The link to the device broke, or its other end went away. The device may well be working on."""


class NoSuchCommand(LinkLost):
    """The other end has no such command, or may not run it; nothing has happened. (Over SSH: exit status 127 or 126.)"""


class LinkRefused(LabError):
    """The device, or we, said no: a wrong host key, no permission. Waiting does not help."""


@dataclass(frozen=True)
class Endpoint:
    """Where SSH listens and how both sides prove who they are; "" and None mean: as the user's own files say. Or the tty of its line."""

    host: str
    port: int | None
    user: str
    host_public_key: str = ""
    client_key: Path | None = None
    line: str = ""


@dataclass(frozen=True)
class Completed:
    exit_status: int
    stdout: bytes
    stderr: bytes


class Stream(Protocol):
    """Both directions of one running command's standard input and output; bytes are never changed."""

    async def read(self) -> bytes:
        """Some bytes, or b"" once the other side has ended. Raises LinkLost."""

    async def write(self, data: bytes) -> None:
        """Returns when the bytes are on their way and memory is bounded. Raises LinkLost, also after STALLED_S."""

    async def close(self) -> None:
        """Ends the command's input and lets go of it. Never raises; safe to call twice."""


class Transport(Protocol):
    async def open(self) -> None:
        """Reaches the device once. Raises LabError, saying what was tried and what answered."""

    async def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float = 60.0) -> Completed:
        """Runs `argv` exactly as given (no shell between us and it).

        Raises LinkLost, also when time is up, and LinkRefused when it says more than MAX_OUTPUT_BYTES.
        """

    async def stream(self, argv: Sequence[str]) -> Stream:
        """Starts `argv` and joins us to it. Raises LinkLost."""

    async def close(self) -> None:
        """Lets go of the device. Never raises; safe to call twice; `open` may be called again after it."""


async def everything(read: Callable[[int], Awaitable[bytes]], name: str) -> bytes:
    """All that command `name` says, read to its end. Raises LinkRefused beyond MAX_OUTPUT_BYTES: no device fills our memory."""
    said = bytearray()
    while piece := await read(READ_BYTES):
        said += piece
        if len(said) > MAX_OUTPUT_BYTES:
            raise LinkRefused(f"{name} says more than {MAX_OUTPUT_BYTES >> 20} MiB on the device, and is not listened to any longer")
    return bytes(said)


def words(said: bytes | str, limit: int = 300) -> str:
    """A device's words as part of a sentence: one line, at most `limit` characters, none that moves a cursor or hides text."""
    text = said[: 4 * limit].decode("utf-8", "replace") if isinstance(said, bytes) else said[: 4 * limit]
    line = "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"
