"""Was each link fault what was asked, for as long as it was asked? Read from the evidence again, whoever said so before.

    constant faults     measured at once, with everything armed: the numbers in `link_proof`, compared anew
    timed ones          the light probe's packets at the far end, inside and outside of the guard's own windows
    afterwards          the numbers in `link_lifted`, beside those from before: the link is what it was

A fault that was not reached says nothing about the software under test: the run is blocked, never a pass.
"""

from __future__ import annotations

from typing import Any

from runner.judgement import reached
from runner.judgement.checks import Problem
from runner.judgement.evidence import Evidence, Execution

Row = dict[str, Any]


def rows(evidence: Evidence, execution: Execution) -> list[Row]:
    """Asked and measured of an execution's link faults, each with `within`; none for an execution without them."""
    began, proof, lifted = (note(evidence, kind, execution.name) for kind in ("link_began", "link_proof", "link_lifted"))
    links = planned(evidence, execution)
    if not links:
        return []
    if began is None:
        return [_missing("link faults", "they never began")]
    found = reached.compare(links, began["before"], proof["during"]) if proof else []
    found += reached.from_link_log(evidence.faults(execution.name), evidence.link(execution.name))
    found += reached.restored(began["before"], lifted["after"]) if lifted else [_missing("the link afterwards", "nobody measured it")]
    return found


def not_reached(evidence: Evidence) -> list[Problem]:
    """What of the link faults is not as it was asked, of executions that came to their end."""
    return [
        (f"{execution.name}: {reached.said(row)}", execution.journal_file)
        for execution in evidence.executions
        if execution.ended.get("ending") in ("finished", "failed", "limit")
        for row in rows(evidence, execution)
        if not row["within"]
    ]


def planned(evidence: Evidence, execution: Execution) -> list[Row]:
    """The link faults that an execution was to have."""
    for one in evidence.plan["executions"]:
        if one["name"] == execution.stands_for:
            return list(one.get("links") or ())
    began = next((r.payload for r in evidence.coordinator if r.kind == "execution_began" and r.payload["execution"] == execution.name), {})
    return list((began.get("plan") or {}).get("links") or ())  # an extra one, which was not planned at first


def note(evidence: Evidence, kind: str, execution: str) -> dict[str, Any] | None:
    """What the coordinator noted last of a kind about an execution."""
    found = [r.payload for r in evidence.coordinator if r.kind == kind and r.payload["execution"] == execution]
    return found[-1] if found else None


def _missing(what: str, why: str) -> Row:
    return {"what": what, "asked": "measured", "measured": why, "tolerance": "", "within": False}
