"""What a rule looks at: one folder, read once for all of them, and trusted by none."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from runner.errors import RunnerError
from runner.judgement import report
from runner.judgement.checks import Problem
from runner.judgement.conclude import conclude
from runner.judgement.evidence import Evidence
from runner.judgement.reading import load_evidence
from runner.lab.archive import whole_copy
from runner.lab.folder import RunFolder, archived

MAX_BYTES = 64_000_000  # of a JSON file, and of what is searched for secrets in one file

Found = Iterable[Problem] | None  # what a rule says; None where it does not apply to this run


@dataclass(frozen=True)
class Look:
    """One folder, and what several rules want to know of it. Its files are hostile until a rule has held."""

    folder: RunFolder
    now: str

    @property
    def root(self) -> Path:
        return self.folder.root

    def json(self, path: Path) -> Any:
        """A JSON file; None when it cannot be read, for which `required_files` and `json_readable` stand."""
        try:
            return json.loads(path.read_bytes()) if path.stat().st_size <= MAX_BYTES else None
        except (OSError, ValueError, RecursionError):
            return None

    @cached_property
    def config(self) -> dict[str, Any]:
        return object_of(self.json(self.folder.run_config))

    @cached_property
    def plan(self) -> dict[str, Any]:
        return object_of(self.config.get("test_parameters"))

    @cached_property
    def findings(self) -> dict[str, Any]:
        return object_of(self.json(self.folder.findings))

    @cached_property
    def in_progress(self) -> bool:
        return object_of(self.findings.get("metadata")).get("status") == "in_progress"

    @cached_property
    def evidence(self) -> Evidence:
        return load_evidence(self.folder)

    @cached_property
    def ran(self) -> bool:
        """Whether the run came to its end, so that everything must be there."""
        try:
            return not self.in_progress and self.evidence.ending is not None and self.evidence.ending.get("ending") == "ran"
        except (RunnerError, LookupError, TypeError, AttributeError):
            return True

    @cached_property
    def moved(self) -> dict[str, dict[str, Any]]:
        return archived(self.folder)

    @cached_property
    def derived(self) -> dict[str, str]:
        """Every derived file as it would be made now, as of the moment that the report was generated; an archived run's in a whole copy."""
        text = self.folder.final_report.read_text(encoding="utf-8", errors="replace") if self.folder.final_report.is_file() else ""
        generated = re.search(r"^\| Generated \| (\S+) \|$", text, re.MULTILINE)
        with whole_copy(self.folder) if self.moved else nullcontext(self.folder) as folder:
            return report.derived(conclude(folder, generated[1] if generated else self.now))

    def files(self) -> Iterator[Path]:
        """Every file in the folder, links included and not followed."""
        for top, folders, files in os.walk(self.root):
            folders.sort()
            yield from (Path(top, name) for name in sorted(files))
            yield from (Path(top, name) for name in folders if Path(top, name).is_symlink())

    def shown(self, path: Path) -> str:
        return str(path.relative_to(self.root))

    def there(self, name: str) -> bool:
        """Whether a file of this name is in the folder, or accounted for in its archive."""
        return (self.root / name).is_file() or name in self.moved


def object_of(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
