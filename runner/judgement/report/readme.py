"""README.md: what this run was, in one screen, and how to check it."""

from __future__ import annotations

from runner.judgement.conclude import Conclusion, command_again
from runner.judgement.report.markdown import verdict_words


def files(conclusion: Conclusion) -> dict[str, str]:
    return {"README.md": _readme(conclusion)}


def _readme(conclusion: Conclusion) -> str:
    config, outcome = conclusion.evidence.config, conclusion.outcome
    key = [f"- {f.severity}: {f.title} (`{f.id}`)" for f in conclusion.findings] or ["- none"]
    plan = conclusion.evidence.plan
    return "\n".join(
        [
            f"# {config['roadmap_entry_id']}: {config['roadmap_entry_title']}",
            "",
            f"**Run ID**: {conclusion.folder.run_id}  ",
            f"**Status**: {outcome.status}  ",
            f"**Started**: {config['started_at']}  ",
            f"**Completed**: {conclusion.completed_at}  ",
            "",
            "## Quick Summary",
            "",
            f"{verdict_words(conclusion)} on device `{plan['device']}` ({plan['type']['title']}). {conclusion.reason}.",
            "",
            "## Key Findings",
            "",
            *key,
            "",
            "## Files",
            "",
            f"- `findings.json` - {len(conclusion.findings)} findings logged",
            "- `FINAL_REPORT.md` - Detailed analysis",
            "- `results/journal/` - both journals and the witness: everything else is computed from these",
            "",
            "## How to Reproduce",
            "",
            "```bash",
            command_again(plan),
            f"runner report {conclusion.folder.run_id}    # the same conclusions again, from this folder alone",
            "```",
            "",
        ]
    )
