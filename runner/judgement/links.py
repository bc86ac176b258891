"""Was each link fault that was planned there, for as long as it was asked, and as it was asked? Read from the evidence again, whoever
said so before. What is asked is the plan's; what nothing in the evidence shows is not reached.

    on, taken back      the guard's journal beside the execution's own: each planned program by its name
    constant faults     measured at once, with everything armed: the numbers in `link_proof`, compared anew
    timed ones          the light probe's packets at the far end, inside and outside of the guard's own windows
    afterwards          the numbers in `link_lifted`, beside those from before: the link is what it was

A fault that was not reached says nothing about the software under test: the run is blocked, never a pass.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from runner.judgement import reached, side_by_side
from runner.judgement.asked import constant, named
from runner.judgement.checks import Problem
from runner.judgement.evidence import Evidence, Execution
from runner.judgement.link_notes import measured_of
from runner.judgement.timed import from_link_log
from runner.judgement.windows import NEVER_NS, Window, windows
from runner.ondevice.journal import Record

Row = dict[str, Any]

MARKS = ("stage_started", "stage_finished", "finished", "failed")  # records that say how far an execution has come


def rows(evidence: Evidence, execution: Execution) -> list[Row]:
    """Asked and measured of an execution's link faults, each with `within`; none for an execution without them."""
    began, proof, lifted = (note(evidence, kind, execution.name) for kind in ("link_began", "link_proof", "link_lifted"))
    links = planned(evidence, execution)
    if not links:
        return []
    if began is None:
        return [_missing("link faults", "they never began")]
    before = measured_of(began["before"])
    asked, changes = named(links, execution.name), evidence.faults(execution.name)
    found = [row for program, link in asked.items() for row in was_there(evidence, execution, program, link, changes)]
    if proof:
        found += reached.compare(links, before, measured_of(proof["during"]))
    else:
        held = [program for program, link in asked.items() if constant(link)]
        found += [_missing(f"{program}, measured at once", "nobody did") for program in held]
    lines, unlogged = evidence.link(execution.name), evidence.not_logged(execution.name)
    found += from_link_log(changes, lines, asked, before, unlogged, evidence.sent_by(execution.name))
    after = measured_of(lifted["after"]) if lifted else None
    found += reached.restored(before, after) if after else [_missing("the link afterwards", "nobody measured it")]
    return found


def not_reached(evidence: Evidence) -> list[Problem]:
    """What of the link faults is not as it was asked, of executions that came to their end."""
    return [
        (f"{execution.name}: {side_by_side.said(row)}", execution.journal_file)
        for execution in evidence.executions
        if execution.ended.get("ending") in ("finished", "failed", "limit")
        for row in rows(evidence, execution)
        if not row["within"]
    ]


def planned(evidence: Evidence, execution: Execution) -> list[Row]:
    """The link faults that an execution was to have."""
    return planned_for(evidence, execution.name)


def planned_for(evidence: Evidence, name: str) -> list[Row]:
    """The link faults of the execution of this name, one that was set aside included; none if nobody planned it."""
    return list(evidence.planned(name).get("links") or ())


def note(evidence: Evidence, kind: str, execution: str) -> dict[str, Any] | None:
    """What the coordinator noted last of a kind about an execution."""
    found = [r.payload for r in evidence.coordinator if r.kind == kind and r.payload["execution"] == execution]
    return found[-1] if found else None


# ---- whether it was there, by the guard's word ----------------------------------------------------------------------------------


class _Boot(NamedTuple):
    """What an execution noted in one boot: its first mark, its last, and each stage's time, to NEVER_NS where nothing says its end."""

    first: Record
    last: Record
    stages: list[tuple[int, int]]


def was_there(evidence: Evidence, execution: Execution, program: str, link: Row, changes: list[Row]) -> list[Row]:
    """Two rows: that a planned program was on when it had to be, and that it was not taken back before its time."""
    return _held(evidence, execution, program, changes, all_along=constant(link))


def was_there_all_along(evidence: Evidence, execution: Execution, program: str) -> list[Row]:
    """The same of a program that is on from before the first stage to the end, whatever it does within that time."""
    return _held(evidence, execution, program, evidence.faults(execution.name), all_along=True)


def _held(evidence: Evidence, execution: Execution, program: str, changes: list[Row], *, all_along: bool) -> list[Row]:
    spans = windows([change for change in changes if change["program"] == program])
    own = [record for record in evidence.guard if record.payload.get("program") == program]
    boots = _boots(execution)
    on = _on_all_along(program, spans, boots) if all_along else _on_in_a_stage(program, spans, boots)
    if not spans:
        armed = any(record.kind == "armed" for record in own)
        on["measured"] = "never: " + ("it was armed, and no step put it on" if armed else "the guard knows nothing of it")
    return [on, *_taken_back(program, own, boots, _boots_after_cuts(evidence, execution))]


def _boots(execution: Execution) -> dict[str, _Boot]:
    """Boot id → what was noted in it; boots in which nothing of the execution ran are not there."""
    found: dict[str, _Boot] = {}
    open_stages: dict[tuple[str, str], int] = {}
    for record in (record for record in execution.records if record.kind in MARKS):
        boot = found.get(record.boot_id, _Boot(record, record, []))
        found[record.boot_id] = boot._replace(last=record)
        key = (record.boot_id, str(record.payload.get("stage")))
        if record.kind == "stage_started":
            open_stages[key] = len(boot.stages)
            boot.stages.append((record.boottime_ns, NEVER_NS))
        elif record.kind == "stage_finished" and key in open_stages:
            place = open_stages.pop(key)
            boot.stages[place] = (boot.stages[place][0], record.boottime_ns)
    return found


def _on_all_along(program: str, spans: list[Window], boots: dict[str, _Boot]) -> Row:
    """In each boot in which a stage ran: on before the first thing that the execution notes of a stage, and until the last one.

    While the device boots after a cut, and until it is armed again, nothing of the execution runs, and nothing is asked.
    """
    wrong = [
        f"not from {_named(boot.first)} to {_named(boot.last)}, {(boot.last.boottime_ns - boot.first.boottime_ns) / 1e9:.1f} s of one boot"
        for name, boot in boots.items()
        if not any(each.boot == name and each.from_ns <= boot.first.boottime_ns and each.to_ns >= boot.last.boottime_ns for each in spans)
    ]
    said = wrong[0] if wrong else f"on, in {len(boots)} {'boot' if len(boots) == 1 else 'boots'}"
    return _row(f"{program}, on", "from before the first stage to the end", said, "", bool(boots) and not wrong)


def _named(mark: Record) -> str:
    return " ".join(str(word) for word in (mark.kind, mark.payload.get("stage", "")) if word)


def _on_in_a_stage(program: str, spans: list[Window], boots: dict[str, _Boot]) -> Row:
    """At least once, while a stage ran: what is on before the first one, or behind the last one, hits nothing."""
    met = any(each.from_ns < to_ns and each.to_ns > from_ns for each in spans for from_ns, to_ns in _stages_of(boots, each.boot))
    closed_s = sum(each.to_ns - each.from_ns for each in spans if each.to_ns < NEVER_NS) / 1e9
    cut = sum(each.to_ns == NEVER_NS for each in spans)
    said = f"{len(spans) - cut} times to its end, {closed_s:.1f} s" + (f"; {cut} times until the power went" if cut else "")
    return _row(f"{program}, on", "while a stage runs", said if met else f"{said}; never while a stage ran", "", met)


def _stages_of(boots: dict[str, _Boot], boot: str) -> list[tuple[int, int]]:
    return boots[boot].stages if boot in boots else []


def _taken_back(program: str, own: list[Record], boots: dict[str, _Boot], after_cuts: set[str]) -> list[Row]:
    """At its own end; or when it was asked, or for any other reason, behind the execution's end or before anything of it ran in that
    boot; or by a boot, if the power was cut and that was noted. A revert that is done twice, because the guard was killed within it,
    is judged by the first: from then on the fault was not what it was. And behind the last arming, and the last step, the guard says
    that it is taken back: that it was before, by a boot, says nothing of what came then. Nothing is said of a program that was never
    armed."""
    reverts = [record for record in own if record.kind == "reverting"]
    put_on = [record.sequence for record in own if record.kind in ("armed", "step", "reverting")]
    let_go = [record.sequence for record in own if record.kind == "reverted"]
    if not put_on:
        return []
    what, asked = f"{program}, taken back", "at its end, or behind the execution's"
    for revert in reverts:
        if early := _too_early(revert, boots, after_cuts):
            return [_row(what, asked, f"{revert.payload['why']}, {early}", "", False)]
    if not reverts or max(let_go, default=0) < max(put_on):
        return [_row(what, asked, "nothing says that it was", "", False)]
    return [_row(what, asked, str(reverts[-1].payload["why"]), "", True)]


def _too_early(revert: Record, boots: dict[str, _Boot], after_cuts: set[str]) -> str:
    """Why a revert took away what should have stayed; "" where it did not."""
    why = revert.payload["why"]
    if why == "its end":
        return ""
    if why == "another boot":
        return "" if revert.boot_id in after_cuts else "and no cut of the power is noted before that boot"
    boot = boots.get(revert.boot_id)
    if boot is None or revert.boottime_ns <= boot.first.boottime_ns:
        return ""  # nothing of the execution ran yet in this boot
    last_boot = list(boots)[-1]
    if revert.boot_id == last_boot and revert.boottime_ns >= boot.last.boottime_ns:
        return ""
    left_s = (boot.last.boottime_ns - revert.boottime_ns) / 1e9
    return "while a stage ran" if left_s <= 0 else f"{left_s:.1f} s before the last that the execution notes in that boot"


def _boots_after_cuts(evidence: Evidence, execution: Execution) -> set[str]:
    """The boots that began because the power was cut, as the coordinator noted; it may have been killed at the cut itself."""
    found = {str(cut.recovered["boot_id"]) for cut in execution.cuts if cut.recovered}
    cutting = False
    for record in evidence.coordinator:
        if record.payload.get("execution") == execution.name:
            cutting = cutting or record.kind == "cutting"
            if record.kind == "returned" and cutting:
                found.add(str(record.payload["boot_id"]))
    return found


def _row(what: str, asked: str, measured: str, tolerance: str, within: bool) -> Row:
    return {"what": what, "asked": asked, "measured": measured, "tolerance": tolerance, "within": within}


def _missing(what: str, why: str) -> Row:
    return _row(what, "measured", why, "", False)
