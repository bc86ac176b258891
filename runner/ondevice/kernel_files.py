"""Small files of the kernel's: /proc, /sys, control groups. What cannot be read says nothing; what cannot be written is an OSError."""

from __future__ import annotations


def raw(path: str) -> bytes:
    """All that a file says; b"" where it is not there, or says nothing to us."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def text(path: str) -> str:
    return raw(path).decode("utf-8", "replace")


def put(path: str, value: str) -> None:
    """Raises OSError where the kernel refuses."""
    with open(path, "w") as file:
        file.write(value)
