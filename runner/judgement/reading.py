"""A run folder in, evidence out: its journals and logs, read side by side. Nothing is concluded here.

    config/run_config.json       what was planned
    device-<execution>.journal   what the device promised, record by record
    coordinator.journal          what only the coordinator saw: mirrored, held, cut, recovered, diverged
    witness.jsonl                which stage bodies really began, in order
    device-guard.journal         what the device's guard did to its link, and took back: guard_journal.py
    link.jsonl  receipts.jsonl   what came to the far end of that link: far_end_lines.py
    heat.jsonl                   what whoever heated the device counted and computed, tick by tick: heat_log.py

Standard library only, and no hardware: the same folder gives the same evidence on any machine.
"""

from __future__ import annotations

import json
import re
from itertools import takewhile
from typing import Any, NamedTuple

from runner.errors import AskError
from runner.judgement import heat_log
from runner.judgement.evidence import BY_THE_OPERATOR, SET_ASIDE, Cut, Evidence, Execution, Witnessed
from runner.judgement.far_end_lines import not_logged_of, packets_of, receipts_of
from runner.judgement.guard_journal import GUARD, guard_of
from runner.judgement.link_notes import FAULTS, has_faults, not_of_a_link
from runner.judgement.scarcity_notes import SCARCITIES, has_scarcities
from runner.lab.folder import RunFolder, read_json
from runner.ondevice import journal
from runner.ondevice.journal import Record
from runner.ondevice.results import ENDS, has_shape, well_formed

_CONFIG: dict[str, type] = {
    "roadmap_entry_id": str,
    "roadmap_entry_title": str,
    "run_id": str,
    "run_token": str,
    "started_at": str,
    "agent_run_id": str,
}
_PLAN: dict[str, type] = {
    **dict.fromkeys(("entry", "device", "stageflow"), str),
    **dict.fromkeys(("type", "cuts", "limits", "scenarios"), dict),
    **dict.fromkeys(("cuts_asked", "seed"), int),
    "executions": list,
}
TICK_NS = 10_000_000  # by which a kernel counts when a process began
_EXECUTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")  # an execution's name is part of a file's name
_LINE: dict[str, type] = {"execution": str, "stage": str, "life": int, "boot": str, "boottime_ns": int}
_NOTES: dict[str, dict[str, type]] = {  # what the coordinator's records must hold, where anything is concluded from them
    "execution_began": {"execution": str, "scenario": str},
    "execution_ended": {"execution": str, "ending": str, "mirrored": int, "chain": str},
    "diverged": {"execution": str, "mirrored": int, "found": str},
    "refused": {"execution": str, "by": str, "reason": str},
    "damaged": {"execution": str, "hold": str},
    "mirrored": {"execution": str, "sequence": int, "kind": str},
    "cutting": {"execution": str, "hold": str},
    "held": {"execution": str, "hold": str, "flushed": int},
    "missed": {"execution": str, "holds": list},
    "cut": {
        **dict.fromkeys(("execution", "hold", "stage", "point", "loss"), str),
        **dict.fromkeys(("written", "witness_lines"), int),
        "facts": dict,
    },
    "recovered": {"hold": str, "boot_id": str, "supervisor_started_ns": int, "power_on_boottime_ns": int},
    "returned": {"execution": str, "mirrored": int, "written": int, "boot_id": str, "supervisor_started_ns": int},
    "reattached": {"boot_id": str, "supervisor_started_ns": int},
    "hello": {"boot_id": str, "supervisor_started_ns": int},
    "disk_proof": {"found": dict, "expected": dict},
    "benchmark": {"slowdown": float},
    "link_began": {"execution": str, "who": str, "programs": list, "before": dict},
    "link_proof": {"execution": str, "during": dict},
    "as_found": {"fingerprint": dict},
    "link_lifted": {"execution": str, "after": dict},
    "scarcity_began": {"execution": str, "programs": list, "before": dict},
    "scarcity_proof": {"execution": str, "during": dict},
    "scarcity_lifted": {"execution": str, "after": dict},
    "own_speed": {"execution": str, "own": list},
    "heat_began": {"execution": str, "told": dict, "by": str, "rest": dict},
    "heat_full": {"execution": str, "sample": dict},
    "heat_proof": {"execution": str, "samples": list},
    "heat_lifted": {"execution": str, "after": dict, "left": list},
    "sealed": {"files": dict},
    "run_ended": {"ending": str},
}


def load_evidence(folder: RunFolder) -> Evidence:
    """Everything a judgement needs. Raises AskError when the folder's configuration cannot be read."""
    config = config_of(folder)
    coordinator = coordinator_of(folder)
    witnessed = _witness(folder, config["run_token"])
    ended = {r.payload["execution"]: r.payload for r in coordinator if r.kind == "execution_ended"}
    diverged = {r.payload["execution"]: r.payload for r in coordinator if r.kind == "diverged"}
    executions = []
    for began in (record.payload for record in coordinator if record.kind == "execution_began"):
        name = began["execution"]
        if ended.get(name, {}).get("ending") == SET_ASIDE:
            continue
        path = folder.device_journal(name)
        data = path.read_bytes() if path.exists() else b""
        records = list(takewhile(well_formed, journal.read(data)))
        whole = len(journal.FILE_HEADER) + sum(len(record.raw) for record in records)
        executions.append(
            Execution(
                name=name,
                scenario=began["scenario"],
                journal_file=str(path.relative_to(folder.root)),
                records=records,
                damaged_bytes=max(0, len(data) - whole),
                cuts=_cuts(coordinator, name, records, str(folder.coordinator_journal.relative_to(folder.root))),
                witnessed=[line for line in witnessed if line.execution == name],
                ended=ended.get(name, {}),
                diverged=diverged.get(name),
            )
        )
    last = next((record for record in reversed(coordinator) if record.kind in ("run_ended", "resumed", "superseded")), None)
    ending = last.payload if last is not None and last.kind == "run_ended" else None
    if last is not None and last.kind == "superseded":  # its end was to be noted next
        by = last.payload.get("by")
        ending = {"ending": "interrupted" if by == BY_THE_OPERATOR else "lab", "error": f"the device was lent again, to {by}"}
    guard, probed, received = guard_of(folder.device_journal(GUARD)), packets_of(folder.link_log), receipts_of(folder.receipts)
    unlogged = not_logged_of(folder.link_log)
    heated = heat_log.read(folder.heat_log)
    return Evidence(config, config["test_parameters"], coordinator, executions, guard, probed, received, ending, unlogged, heated)


def config_of(folder: RunFolder) -> dict[str, Any]:
    """What was planned. Raises AskError when that is missing or damaged."""
    config: dict[str, Any] = read_json(folder.run_config)
    plan = config.get("test_parameters") if isinstance(config, dict) else None
    if not isinstance(plan, dict) or not has_shape(config, _CONFIG) or not has_shape(plan, _PLAN):
        needed = ", ".join([*_CONFIG, *(f"test_parameters.{key}" for key in _PLAN)])
        expected = f"as `runner exec` wrote it: {needed}"
        raise AskError("this is no configuration of a run", expected=expected, where=str(folder.run_config), do=_aside(folder))
    if not all(has_faults(each) for each in plan["executions"]):
        found = "an execution of this plan has link faults that nobody can judge"
        raise AskError(found, expected=FAULTS, where=str(folder.run_config))
    if not all(has_scarcities(each) for each in plan["executions"]):
        found = "an execution of this plan has too little of something, and nobody can judge of what"
        raise AskError(found, expected=SCARCITIES, where=str(folder.run_config))
    return config


def _aside(folder: RunFolder) -> str:
    """What is to be typed for a run from which nothing can be concluded any more."""
    return f"runner run prune --damaged {folder.root.parent.name}/{folder.run_id}"


def coordinator_of(folder: RunFolder) -> list[Record]:
    """The coordinator's journal, whole. Raises AskError when it is missing or damaged: nothing can be concluded then."""
    path = folder.coordinator_journal
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AskError(f"{path} cannot be read: {error.strerror}", expected="the folder as `runner exec` left it") from error
    records = journal.read(data)
    whole = len(journal.FILE_HEADER) + sum(len(record.raw) for record in records)
    killed = bool(records) and records[-1].kind != "run_ended"  # then its last record may be half there, and the run has no verdict
    if whole != len(data) and (not killed or journal.find_record(data, whole + 1, len(records) + 1)):
        found = f"{path} is damaged behind record {len(records)}"
        raise AskError(found, expected="the folder as `runner exec` left it", do=_aside(folder))
    for record in records:
        if not has_shape(record.payload, _NOTES.get(record.kind, {})):
            needed = ", ".join(_NOTES[record.kind])
            raise AskError(f"a note of kind {record.kind} lacks something", expected=needed, where=f"{path}#{record.sequence}")
        if wrong := not_of_a_link(record):
            found = f"a note of kind {record.kind} says nothing that can be judged of a link"
            raise AskError(found, expected=wrong, where=f"{path}#{record.sequence}")
        if record.kind == "execution_began" and not has_scarcities(record.payload.get("plan") or {}):
            found = "an execution began that has too little of something, and nobody can judge of what"
            raise AskError(found, expected=f"plan: {SCARCITIES}", where=f"{path}#{record.sequence}")
        if record.kind == "execution_began" and not _EXECUTION.fullmatch(name := record.payload["execution"]):
            raise AskError(f"an execution is called {name[:80]!r}", expected="a name like recovery-1", where=f"{path}#{record.sequence}")
    return records


def _cuts(coordinator: list[Record], execution: str, records: list[Record], file: str) -> list[Cut]:
    """The execution's cuts, each with what had been promised when it fell."""
    cuts: list[Cut] = []
    durable, ended = 0, False
    mine = [record for record in coordinator if record.payload.get("execution") == execution]
    recovered = {r.payload["hold"]: r.payload for r in mine if r.kind == "recovered"}
    lives = _lives_after_cuts(coordinator, execution)
    holds = [record.payload["hold"] for record in mine if record.kind == "cut"]
    for record in mine:
        facts = record.payload
        if record.kind == "mirrored":
            durable = max(durable, facts["sequence"])
            ended = ended or facts["kind"] in ENDS
        elif record.kind == "held":
            durable = max(durable, facts["flushed"])  # the device's own word, from before the cut
        elif record.kind == "cut":
            back, behind = recovered.get(facts["hold"]), lives.get(facts["hold"], [])
            restored, by = _restored(records, behind)
            survived = _survived(records, [life for hold in holds[len(cuts) :] for life in lives.get(hold, [])])
            cuts.append(
                Cut(
                    hold=facts["hold"],
                    stage=facts["stage"],
                    point=facts["point"],
                    loss=facts["loss"],
                    where=f"{file}#{record.sequence}",
                    durable_sequence=durable,
                    written=facts["written"],
                    witness_lines=facts["witness_lines"],
                    facts=facts["facts"],
                    recovered=back,
                    restored=restored,
                    absent=by is not None and not by.watched,
                    survived=survived,
                    ended_before=ended or (back is not None and _ended_before(records, survived)),
                    damage=str(facts.get("damage", "")),
                )
            )
    return cuts


class _Life(NamedTuple):
    """A supervisor that answered, by its boot and its process's start; whether the coordinator had been there since the cut before it."""

    boot_id: str
    started_ns: int
    watched: bool


def _lives_after_cuts(coordinator: list[Record], execution: str) -> dict[str, list[_Life]]:
    """By hold: the supervisors that answered from the recovery behind its cut to the next cut, in their order.

    More than one where the first died, or was killed: what it had not restored yet the next one restores in its place.
    """
    found: dict[str, list[_Life]] = {}
    hold, watched = "", True
    for record in coordinator:
        said = record.payload
        if record.kind in ("cutting", "cut"):
            hold = ""
        elif record.kind == "recovered" and said.get("execution") == execution:
            hold, watched = said["hold"], True
        watched = watched and record.kind not in ("resumed", "hello", "returned")
        if hold and record.kind in ("recovered", "hello", "reattached", "returned"):
            found.setdefault(hold, []).append(_Life(said["boot_id"], said["supervisor_started_ns"], watched))
    return found


def _restored(records: list[Record], lives: list[_Life]) -> tuple[Record | None, _Life | None]:
    """The first `restored` record that one of these supervisors wrote, and which."""
    for record in records:
        if record.kind == "restored":
            started_ns = record.payload["supervisor_started_ns"]
            for life in lives:
                if (record.boot_id, started_ns) == (life.boot_id, life.started_ns):
                    return record, life
    return None, None


def _survived(records: list[Record], lives: list[_Life]) -> int | None:
    """How many records stand before the first that one of these supervisors wrote; None where none of them wrote any.

    A process's start is known to a tick of its kernel, which rounds down: what is that close to it was written by the one before.
    """
    began_ns: dict[str, int] = {}
    for life in lives:
        began_ns[life.boot_id] = min(life.started_ns + TICK_NS, began_ns.get(life.boot_id, life.started_ns + TICK_NS))
    return next(
        (place for place, record in enumerate(records) if record.boottime_ns >= began_ns.get(record.boot_id, record.boottime_ns + 1)), None
    )


def _ended_before(records: list[Record], survived: int | None) -> bool:
    """Whether the journal had come to its end before the cut, though nobody had heard of it yet."""
    return any(record.kind in ENDS for record in records[:survived])


def _witness(folder: RunFolder, token: str) -> list[Witnessed]:
    """Every whole line about this run. A device writes these, so nothing about them is trusted to be well-formed."""
    found: list[Witnessed] = []
    if not folder.witness.exists():
        return found
    for index, line in enumerate(folder.witness.read_bytes().split(b"\n")[:-1]):
        try:
            said = json.loads(line)
            if not isinstance(said, dict) or said.get("run") != token or not has_shape(said, _LINE):
                continue
            found.append(Witnessed(index, said["execution"], said["stage"], said["life"], said["boot"], said["boottime_ns"]))
        except (ValueError, RecursionError):
            continue
    return found
