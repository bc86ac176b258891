"""A password that a line echoes is in nothing that is kept or said: `…` stands for it.

    heard ─► Hiding ─► the console log        also where it arrives in pieces: what may be its beginning waits for what comes next
"""

from __future__ import annotations

from collections.abc import Callable

from runner.target.credentials import Secret

INSTEAD = "…".encode()


class Hiding:
    """Writes on to `log`. Without a password it changes nothing, and keeps nothing back."""

    def __init__(self, log: Callable[[bytes], None], password: Secret | None) -> None:
        self._log, self._secret = log, password.reveal().encode() if password else b""
        self._held = b""

    def __call__(self, data: bytes) -> None:
        said = (self._held + data).replace(self._secret, INSTEAD) if self._secret else data
        end = len(said) - _begun(said, self._secret)
        self._held = said[end:]
        if said[:end]:
            self._log(said[:end])

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
