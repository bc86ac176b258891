"""What a transport is: three verbs towards a device, and nothing about what is said over them.

    run     one command, with input, to its end
    stream  one command, joined to us by a byte stream
    close   the end; safe to call twice

A transport's own library errors never leave its file: they become `LinkLost` (it was there and is gone)
or LabError (it never was). `check_transport` in `conformance.py` is the contract, executable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runner.errors import LabError


class LinkLost(LabError):
    """The link to the device broke, or its other end went away. The device may well be working on."""


class Refused(LabError):
    """The device, or we, said no: a wrong host key, no permission. Waiting does not help."""


@dataclass(frozen=True)
class Endpoint:
    """Where SSH listens and how both sides prove who they are; "" and None mean: as the user's own files say."""

    host: str
    port: int | None
    user: str
    host_public_key: str = ""
    client_key: Path | None = None


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
        """Returns when the bytes are on their way and memory is bounded. Raises LinkLost."""

    async def close(self) -> None:
        """Ends the command's input and lets go of it. Never raises; safe to call twice."""


class Transport(Protocol):
    async def open(self) -> None:
        """Reaches the device once. Raises LabError, saying what was tried and what answered."""

    async def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float = 60.0) -> Completed:
        """Runs `argv` exactly as given (no shell between us and it). Raises LinkLost, also when time is up."""

    async def stream(self, argv: Sequence[str]) -> Stream:
        """Starts `argv` and joins us to it. Raises LinkLost."""

    async def close(self) -> None:
        """Lets go of the device. Never raises; safe to call twice; `open` may be called again after it."""
