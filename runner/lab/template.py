"""Templates: text in which `{{NAME}}` stands for a word. They lie in `templates/` beside this file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"
_SLOT = re.compile(r"\{\{([A-Z_]+)\}\}")


def fill(text: str, words: Mapping[str, str]) -> str:
    """`text` with each slot filled, once: what is filled in is never read as a template. KeyError for a word that is missing."""
    return _SLOT.sub(lambda slot: words[slot[1]], text)
