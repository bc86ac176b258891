"""What every Markdown file of a run has in common."""

from __future__ import annotations

from typing import Any

from runner.judgement.conclude import Conclusion

NOT_PART = "Not part of this run."


def verdict_words(conclusion: Conclusion) -> str:
    return conclusion.outcome.verdict or f"no verdict ({conclusion.outcome.status})"


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    """A Markdown table; cells are one line and cannot break out of their column."""

    def line(cells: tuple[Any, ...]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(head), "|" + " --- |" * len(head), *[line(row) for row in rows], ""]
