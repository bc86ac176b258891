"""README.md: what this run was, in one screen, and how to check it."""

from __future__ import annotations

from runner.judgement.conclude import Conclusion
from runner.judgement.findings import command_again
from runner.judgement.report.markdown import by_severity, code, verdict_words, words

FILES = {
    "report.html": "the same in a browser, with its timelines; opens offline",
    "junit.xml": "each check as a test case",
    "config/": "what was planned, on which device, with which software",
    "pipelines/": "what ran, with the entry's own checks and mock data",
    "tests/": "every check again, from the journals alone",
    "results/journal/": "both journals and the witness: everything else is computed from these",
    "results/metrics/, results/traces/, results/logs/": "what was measured; traces for Perfetto; logs and their analysis",
}


def files(conclusion: Conclusion) -> dict[str, str]:
    return {"README.md": _readme(conclusion)}


def _readme(conclusion: Conclusion) -> str:
    evidence, outcome = conclusion.evidence, conclusion.outcome
    config, plan = evidence.config, evidence.plan
    key = [f"- {f.severity}: {words(f.title)} (`{f.id}`)" for f in by_severity(conclusion.findings)] or ["- none"]
    where = f"runs/{config['roadmap_entry_id']}/{conclusion.folder.run_id}"
    return "\n".join(
        [
            f"# {config['roadmap_entry_id']}: {words(config['roadmap_entry_title'])}",
            "",
            f"**Run ID**: {conclusion.folder.run_id}  ",
            f"**Status**: {outcome.status}  ",
            f"**Started**: {config['started_at']}  ",
            f"**Completed**: {evidence.completed_at or 'never: the coordinator was killed'}  ",
            "",
            "## Quick Summary",
            "",
            f"{verdict_words(conclusion)} on device {code(plan['device'])} ({words(plan['type']['title'])}). {words(conclusion.reason)}.",
            "",
            "## Key Findings",
            "",
            *key,
            "",
            "## Files",
            "",
            f"- `findings.json` - {len(conclusion.findings)} findings logged",
            "- `FINAL_REPORT.md` - Detailed analysis",
            *[f"- `{name}` - {what}" for name, what in FILES.items()],
            "",
            "## How to Reproduce",
            "",
            "Judge this run again, with pytest and this folder alone:",
            "",
            "```bash",
            f"cd {where}",
            "pip install -r requirements.txt",
            "pytest tests/ -v",
            "```",
            "",
            "Make its reports again, or the whole run once more with the same seed, in the lab's folder:",
            "",
            "```bash",
            f"runner report {where}",
            command_again(plan),
            "```",
            "",
        ]
    )
