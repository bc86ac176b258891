"""A password that a line echoes is in nothing that is kept or said: `…` stands for it.

    heard ─► Hiding ─► the console log        also where it arrives in pieces: what may be its beginning waits for what comes next

An echo that the line damaged cannot be told from text. So what comes behind a password that was typed is not kept either, until the line
ends: a login that does not echo ends it at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from runner.target.credentials import Secret

INSTEAD = "…".encode()
ECHO_BYTES = 512  # more is no echo, whatever became of its line's end
_LINE = re.compile(rb"[^\r\n]*")


class Hiding:
    """Writes on to `log`. Without a password it changes nothing, and keeps nothing back."""

    def __init__(self, log: Callable[[bytes], None], password: Secret | None) -> None:
        self._log, self._secret = log, password.reveal().encode() if password else b""
        self._held = b""
        self._echo_bytes = 0  # so many may still be the echo of what was typed

    def typed(self, data: bytes) -> None:
        """What goes to the other end; what comes next is its echo, if it is one."""
        if self._secret and self._secret in data:
            self._echo_bytes = ECHO_BYTES

    def __call__(self, data: bytes) -> None:
        data = self._without_echo(data) if self._echo_bytes else data
        said = (self._held + data).replace(self._secret, INSTEAD) if self._secret else data
        end = len(said) - _begun(said, self._secret)
        self._held = said[end:]
        if said[:end]:
            self._log(said[:end])

    def _without_echo(self, data: bytes) -> bytes:
        found = _LINE.match(data)
        length = min(len(found[0]) if found else 0, self._echo_bytes)
        instead = INSTEAD if length and self._echo_bytes == ECHO_BYTES else b""
        self._echo_bytes = 0 if length < len(data) else self._echo_bytes - length
        return instead + data[length:]

    def rest(self) -> None:
        """Nothing comes behind what was kept back: it may have been the beginning of the password, and is not told."""
        if self._held:
            self._held = b""
            self._log(INSTEAD)


def hidden(said: bytes, password: Secret | None) -> bytes:
    """The same without the password, and without its beginning at the end."""
    secret = password.reveal().encode() if password else b""
    if not secret:
        return said
    said = said.replace(secret, INSTEAD)
    begun = _begun(said, secret)
    return said[: len(said) - begun] + INSTEAD if begun else said


def _begun(said: bytes, secret: bytes) -> int:
    """How many bytes at the end may be the secret's first ones."""
    return next((length for length in range(min(len(secret) - 1, len(said)), 0, -1) if said.endswith(secret[:length])), 0)
