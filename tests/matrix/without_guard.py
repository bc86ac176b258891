"""A supervisor whose guard arms and applies, and never takes anything back: for it, every cell must fail."""

from __future__ import annotations

from runner.target.bundle import make_zip, supervisor_sources

FILE, WORDS = "ondevice/watch.py", "            left = self._undo()\n"
INSTEAD = "            left = self._undo() if by_hand else threading.Event().wait()\n"  # a boot, and whoever does it by hand, still can


def never_reverting() -> bytes:
    """The zip. The words that are changed must stand there once."""
    sources = supervisor_sources()
    text = sources[FILE].decode()
    assert text.count(WORDS) == 1, f"{FILE} holds {text.count(WORDS)} × {WORDS!r}"
    sources[FILE] = text.replace(WORDS, INSTEAD).encode()
    return make_zip(sources)
