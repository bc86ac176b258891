"""Inside a GitHub workflow: findings as annotations, and the verdict with its tables as the step's summary.

    findings ─► `::error title=…::…` lines, which GitHub reads from either stream
    verdict  ─► appended to the file that GITHUB_STEP_SUMMARY names

Elsewhere it does nothing. Nothing here changes how a command ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.judgement.conclude import Conclusion

MOST = 10  # annotations of one level that GitHub shows of one step
SUMMARY_LIMIT_BYTES = 900_000  # GitHub drops a step's summary above 1 MiB, whole
LEVELS = {"critical": "error", "high": "error", "medium": "warning", "low": "notice", "info": "notice"}


def announce(conclusion: Conclusion, environment: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Says each finding by `say` and appends the summary, where `environment` is a GitHub step's. Never raises for its disk."""
    if environment.get("GITHUB_ACTIONS") != "true":
        return
    for line in annotated(conclusion):
        say(line)
    path = environment.get("GITHUB_STEP_SUMMARY")
    if path:
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write(summary(conclusion))
        except OSError as error:
            say(command("warning", "step summary", f"{path} cannot be written: {error.strerror}"))


def annotated(conclusion: Conclusion) -> Iterator[str]:
    """One line per finding, the worst first. In a run that passes nothing is an error: what was observed is a warning."""
    from runner.judgement.report.markdown import by_severity

    run, outcome = f"{conclusion.evidence.plan['entry']} {conclusion.folder.run_id}", conclusion.outcome
    if outcome.verdict is None:
        yield command("error", f"{run}: {outcome.status}", conclusion.reason)
    given = dict.fromkeys(LEVELS.values(), 0)
    for finding in by_severity(conclusion.findings):
        level = LEVELS[finding.severity]
        level = "warning" if level == "error" and outcome.exit_code == 0 else level
        given[level] += 1
        if given[level] <= MOST:
            yield command(level, f"{finding.id} ({finding.severity}): {finding.title}", finding.description)


def command(level: str, title: str, message: str) -> str:
    """A workflow command. What would end it, or one of its properties, is escaped as GitHub reads it."""
    escaped = title.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A").replace(":", "%3A").replace(",", "%2C")
    said = message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::{level} title={escaped}::{said}"


def summary(conclusion: Conclusion) -> str:
    """The verdict with its reason, the findings, and the tables of checks and cuts, as Markdown."""
    from runner.judgement.report.final_report import check_table, cut_table
    from runner.judgement.report.markdown import by_severity, table, verdict_words, words

    plan = conclusion.evidence.plan
    findings = [(f.id, f.severity, words(f.title)) for f in by_severity(conclusion.findings)]
    parts = [
        [f"## {words(plan['entry'])} on {words(plan['device'])}: {verdict_words(conclusion)}", "", f"{words(conclusion.reason)}.", ""],
        ["### Findings", "", *table(("id", "severity", "title"), findings)] if findings else [],
        ["### Cuts", "", *cut_table(conclusion)] if conclusion.cuts["made"] else [],
        ["### Checks", "", *check_table(conclusion.results)] if conclusion.results else [],
    ]
    text = ""
    for part in parts:
        more = "\n".join(part)
        if len((text + more).encode()) > SUMMARY_LIMIT_BYTES:
            return text + "\nThe rest is in FINAL_REPORT.md.\n"
        text += more + ("\n" if part else "")
    return text
