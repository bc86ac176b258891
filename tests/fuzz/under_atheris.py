"""One target inside atheris, with our coverage and PyYAML's as its guide: `python -m tests.fuzz.under_atheris TARGET -runs=9 CORPUS`."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["runner", "yaml"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
