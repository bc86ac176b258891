"""What every Markdown file of a run has in common: a device's words stay words, whatever they look like."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from runner.judgement.conclude import Conclusion
from runner.judgement.judge import one_line
from runner.model.finding import Finding
from runner.model.outcome import SEVERITIES

NOT_PART = "Not part of this run."
NOT_MEASURED = "not measured"


def verdict_words(conclusion: Conclusion) -> str:
    return conclusion.outcome.verdict or f"no verdict ({conclusion.outcome.status})"


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first; equals as they stand."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def words(text: object) -> str:
    """One line of plain text: no tag, link, emphasis or code can come of it."""
    escaped = one_line(str(text)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]])", r"\\\1", escaped)


def code(text: object, limit: int = 200) -> str:
    """One line as code, its first `limit` characters; the fence is longer than any that stands in it."""
    line = one_line(str(text))[:limit] or " "
    fence = "`" * (max((len(found) for found in re.findall("`+", line)), default=0) + 1)
    pad = " " if line[0] == "`" or line[-1] == "`" else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def link(where: str) -> str:
    """A place in the run folder (`file`, `file#record`, `file:line`) as a link to the file; anything else as code."""
    path = re.split(r"#|:\d+$", where)[0]
    inside = path and re.fullmatch(r"[\w./ -]+", path) and not path.startswith("/") and ".." not in PurePosixPath(path).parts
    return f"[{code(where)}]({quote(path)})" if inside else code(where)


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    """A Markdown table; cells are one line and cannot break out of their column."""

    def line(cells: tuple[Any, ...]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(head), "|" + " --- |" * len(head), *[line(row) for row in rows], ""]
