#!/usr/bin/env python3
"""docs/ROADMAP.md → pipelines/roadmap.yaml: the roadmap as data, one line per entry.

    python scripts/make_roadmap.py        after every change of docs/ROADMAP.md; a test compares the two

    ## Tier 4: Industry Verticals              tier
    ### 4.11 Energy & Utilities                section; in tier 4 the industry, in tier 3 the deployment mode
    | ENERGY-001 | Smart grid … | P0 | Severe |
    **Phase 4 (Weeks 13-20): …**               phase, by RULES below, which quote the document's own words
    - Finance, Healthcare, Defense (highest risk)

Nothing is guessed: a line that is none of these, an entry told twice, a bullet without a rule and a rule
without its bullet each stop the script, with the line's number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
ROADMAP = REPOSITORY / "docs" / "ROADMAP.md"
DATA = REPOSITORY / "pipelines" / "roadmap.yaml"
HEADER = """\
# The roadmap as data, made by scripts/make_roadmap.py from docs/ROADMAP.md: edit that file and run the script, not this one.
# Whether an entry was tested is not kept here; `runner entry list` reads it from runs/.
"""

Row = dict[str, Any]
# Each bullet of "Execution Priority Order", and which entries it means. An entry belongs to the first phase that means
# it, so "remaining" needs no words; what no bullet means (the rest of tier 1, tiers 6 and 8) is continuous work: phase 5.
RULES: dict[tuple[int, str], Callable[[Row], bool]] = {
    (1, "All P0 items from Tier 1 (CORE, DAG, CONTRACT)"): lambda row: row["tier"] == 1 and row["priority"] == "P0",
    (1, "GUARD-001 through GUARD-004"): lambda row: row["id"] in ("GUARD-001", "GUARD-002", "GUARD-003", "GUARD-004"),
    (1, "WORK-001, WORK-002"): lambda row: row["id"] in ("WORK-001", "WORK-002"),
    (2, "Remaining Tier 2 items"): lambda row: row["tier"] == 2,
    (2, "LLM failure modes (Tier 5)"): lambda row: row["tier"] == 5,
    (3, "Tier 3 deployment modes"): lambda row: row["tier"] == 3,
    (3, "Chaos engineering (Tier 7)"): lambda row: row["tier"] == 7,
    (4, "Finance, Healthcare, Defense (highest risk)"): lambda row: row["tier"] == 4,
    (4, "Remaining verticals in priority order"): lambda row: row["tier"] == 4,
    (5, "DX improvements"): lambda row: row["tier"] == 9,
    (5, "Performance optimization"): lambda row: row["tier"] == 10,
    (5, "New failure mode discovery"): lambda row: True,
}

TIER = re.compile(r"## Tier (\d+): ")
SECTION = re.compile(r"### \d+\.\d+ (.+)")
ENTRY = re.compile(r"\| ([A-Z0-9-]+-\d{3}) \| (.+?) \| (P[012]) \| (Catastrophic|Severe|High|Moderate|Low) \|")
PHASE = re.compile(r"\*\*Phase (\d) ")
TABLE_HEAD = ("| ID |", "|----|")


def read(markdown: str) -> list[Row]:
    """Every entry in the document's order. Raises ValueError, with the line, for what is not understood."""
    rows: list[Row] = []
    bullets: dict[tuple[int, str], int] = {}
    tier, section, phase, seen = 0, "", 0, set()
    for number, line in enumerate(markdown.splitlines(), 1):
        if line.startswith("## "):
            heading = TIER.match(line)
            tier, section, phase = int(heading[1]) if heading else 0, "", 0
        elif found := SECTION.fullmatch(line):
            section = found[1]
        elif found := PHASE.match(line):
            phase = int(found[1])
        elif phase and line.startswith("- "):
            bullets[phase, line[2:].strip()] = number
        elif line.startswith("|") and not line.startswith(TABLE_HEAD):
            cells = ENTRY.fullmatch(line.strip())
            if not (cells and tier and section):
                raise ValueError(f"line {number} is not understood: {line}")
            if cells[1] in seen:
                raise ValueError(f"line {number} tells {cells[1]} a second time")
            seen.add(cells[1])
            rows.append(_row(tier, section, *cells.groups()))
    for rule in RULES:
        if rule not in bullets:
            raise ValueError(f"phase {rule[0]} does not say {rule[1]!r} any more: change RULES in scripts/make_roadmap.py")
    for (phase, bullet), number in bullets.items():
        if (phase, bullet) not in RULES:
            raise ValueError(f"line {number}: phase {phase} says {bullet!r}, and RULES in scripts/make_roadmap.py has no rule for it")
    return [{"id": row["id"], "phase": phase_of(row), **row} for row in rows]


def _row(tier: int, section: str, entry_id: str, title: str, priority: str, risk: str) -> Row:
    return {
        "id": entry_id,
        "tier": tier,
        "priority": priority,
        "risk": risk,
        "title": title,
        "section": section,
        "industry": section if tier == 4 else "N/A",
        # without the word that only says that it is one
        "deployment_mode": section.removesuffix(" Deployment").removesuffix(" Environments") if tier == 3 else "N/A",
    }


def phase_of(row: Row) -> int:
    """The first phase that means this entry; the last bullet means every one."""
    return next(phase for (phase, _), means in RULES.items() if means(row))


def render(rows: list[Row]) -> str:
    """The rows as YAML, one line each: JSON is YAML, so a title may hold any character."""
    lines = ["  - {" + ", ".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in row.items()) + "}" for row in rows]
    return HEADER + "entries:\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    made = read(ROADMAP.read_text(encoding="utf-8"))
    DATA.write_text(render(made), encoding="utf-8")
    print(f"{DATA}: {len(made)} entries")
