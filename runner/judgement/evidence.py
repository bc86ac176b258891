"""A run folder in, facts out: the two journals and the witness, read side by side. Nothing is concluded here.

    device-<execution>.journal   what the device promised, record by record
    coordinator.journal          what only the coordinator saw: mirrored, held, cut, recovered, diverged
    witness.jsonl                which stage bodies really began, in order
    device-guard.journal         what the device's guard did to its link, and took back
    link.jsonl  receipts.jsonl   what came to the far end of that link
    heat.jsonl                   what whoever heated the device counted and computed, tick by tick

Standard library only, and no hardware: the same folder gives the same facts on any machine.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

from runner.clock import iso
from runner.errors import AskError
from runner.judgement import heat_log
from runner.lab.folder import RunFolder, read_json
from runner.ondevice import journal
from runner.ondevice.journal import Record
from runner.ondevice.results import ENDS, finished_stages, has_shape, well_formed

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
_EXECUTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")  # an execution's name is part of a file's name
GUARD_RECORDS: dict[str, dict[str, type]] = {  # what its records must hold, where anything is concluded from them
    "armed": {"program": str, "fault": str},
    "step": {"program": str, "word": str, "on": bool},
    "reverting": {"program": str, "why": str},
    "reverted": {"program": str, "why": str},
    "revert_failed": {"program": str, "left": list},
}
PROBED: dict[str, type] = {
    **dict.fromkeys(("who", "boot"), str),
    **dict.fromkeys(("started_ms", "sequence", "sent_ns", "received_ns", "echoes", "rtt_us"), int),
}
NOT_LOGGED: dict[str, type] = {"not_logged": int, "received_ns": int}
RECEIVED: dict[str, type] = {"service": str, "execution": str, "boottime_ns": int}
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
    "heat_began": {"execution": str, "told": dict, "by": str, "rest": dict},
    "heat_full": {"execution": str, "sample": dict},
    "heat_proof": {"execution": str, "samples": list},
    "heat_lifted": {"execution": str, "after": dict, "left": list},
    "sealed": {"files": dict},
    "run_ended": {"ending": str},
}


GUARD = "guard"  # the name under which the guard's journal is mirrored
BY_THE_OPERATOR = "the operator"  # who ended a killed run, in the note `superseded`
SET_ASIDE, AGAIN = "set_aside", "-again"  # an execution that a resume could not go on with, and the name of the one in its place


def planned_in(evidence: Evidence, name: str, key: str) -> list[dict[str, Any]]:
    """What an execution of this name was to have under `key` of its plan, one that was set aside included; none if nobody planned it."""
    for one in evidence.plan["executions"]:
        if one["name"] == stands_for(name):
            return list(one.get(key) or ())
    began = next((r.payload for r in evidence.coordinator if r.kind == "execution_began" and r.payload["execution"] == name), {})
    return list((began.get("plan") or {}).get(key) or ())  # an extra one, which was not planned at first


def stands_for(execution: str) -> str:
    """The name of the planned execution, of one that may have been run again in its place."""
    return re.sub(f"({AGAIN})+$", "", execution)


@dataclass(frozen=True)
class Witnessed:
    """One line of the witness: a stage body that began. `index` is its place among all lines of the run."""

    index: int
    execution: str
    stage: str
    life: int
    boot: str
    boottime_ns: int


@dataclass(frozen=True)
class Cut:
    """One cut that was made, and what is known of it from outside."""

    hold: str
    stage: str
    point: str
    loss: str
    where: str  # file#record of the coordinator's `cut` record
    durable_sequence: int  # everything up to here was promised: mirrored, or held after its flush
    written: int  # the last record the device is known to have written
    witness_lines: int  # lines the witness had when the power went
    facts: dict[str, Any]
    recovered: dict[str, Any] | None
    restored: Record | None
    ended_before: bool
    damage: str  # what was done to the disk while the power was off; "" for a plain cut

    @property
    def writes_lost(self) -> int | None:
        """Disk writes that were accepted and not flushed when the disk server died; None where unknown."""
        lost = self.facts.get("writes_lost")
        return int(lost["count"]) if isinstance(lost, dict) and has_shape(lost, {"count": int}) else None

    @property
    def records_lost(self) -> int | None:
        """Journal records known to be written before the cut and gone after it; None if nothing came back to tell."""
        if self.restored is None:
            return None
        return max(0, self.written - int(self.restored.payload["records_found"]))

    @property
    def vacuous(self) -> bool:
        """Whether the cut hit nothing.

        A power loss is vacuous when it cost neither an accepted disk write nor a journal record; a process crash
        (which costs no write by its nature) when the pipeline had already ended.
        """
        if self.loss == "power_loss":
            return not self.writes_lost and not self.records_lost
        return self.ended_before

    @property
    def counted(self) -> bool:
        """Vacuous cuts do not count, except behind an acknowledgement, where having nothing to lose is the point.

        Nor do those whose disk was damaged meanwhile: they show what is refused, and not what survives.
        """
        return not self.damage and (not self.vacuous or self.point in ("after_ack", "created"))


@dataclass(frozen=True)
class Execution:
    """One execution of one pipeline."""

    name: str
    scenario: str
    journal_file: str
    records: list[Record]
    damaged_bytes: int  # bytes behind the last whole record of the mirrored file: there must be none
    cuts: list[Cut]
    witnessed: list[Witnessed]
    ended: dict[str, Any]  # the coordinator's `execution_ended`: ending, mirrored, chain
    diverged: dict[str, Any] | None

    @property
    def stands_for(self) -> str:
        """The planned execution that this is: itself, or one that was set aside and run again under another name."""
        return stands_for(self.name)

    @cached_property
    def outputs(self) -> dict[str, dict[str, Any]]:
        """Each finished stage's journaled result: status, data, files."""
        return finished_stages(self.records)

    @cached_property
    def chains(self) -> list[str]:
        chains = [journal.GENESIS]
        for record in self.records:
            chains.append(journal.chain_on(chains[-1], record.raw))
        return chains

    def of_kind(self, kind: str) -> list[Record]:
        return [record for record in self.records if record.kind == kind]

    def where(self, record: Record) -> str:
        return f"{self.journal_file}#{record.sequence}"


@dataclass(frozen=True)
class Evidence:
    config: dict[str, Any]
    plan: dict[str, Any]
    coordinator: list[Record]
    executions: list[Execution]
    guard: list[Record]  # the device's guard: what was armed, on, off and reverted when; see runner/ondevice/guard.py
    probed: list[dict[str, Any]]  # each packet of the light probe that came to the far end
    received: list[dict[str, Any]]  # each receipt of the far end, in the order of arrival
    ending: dict[str, Any] | None  # the coordinator's `run_ended`; None when it was killed, or killed after a resume
    unlogged: list[dict[str, Any]] = field(default_factory=list)  # how many packets came and were not logged, of whom, and when
    heated: heat_log.HeatLog = heat_log.NOTHING  # each heat over the device, and what is no line of one

    @property
    def cuts(self) -> list[Cut]:
        return [cut for execution in self.executions for cut in execution.cuts]

    @property
    def counting(self) -> list[Cut]:
        """The cuts that speak for or against the bar: where what is shown must hold, and nothing was damaged."""
        return [cut for execution in self._binding for cut in execution.cuts]

    @property
    def cutting(self) -> list[str]:
        """Scenarios in which cuts were planned that may count."""
        must_hold = [name for name, scenario in self.plan["scenarios"].items() if scenario["judge"] == "must_hold"]
        plain = {e["scenario"] for e in self.plan["executions"] for cut in e["cuts"] if not cut.get("tamper")}
        return [name for name in must_hold if name in plain]

    def counts(self, cut: Cut) -> bool:
        """Whether a cut counts towards the entry's bar."""
        return cut.counted and any(cut is each for each in self.counting)

    @property
    def counted_by_scenario(self) -> dict[str, int]:
        """Scenario → how many of its cuts counted."""
        return Counter(execution.scenario for execution in self._binding for cut in execution.cuts if cut.counted)

    @property
    def stopped(self) -> bool:
        """Whether an execution that had to finish did not: further cuts are pointless then."""
        return any(execution.ended.get("ending") != "finished" for execution in self._binding)

    @property
    def _binding(self) -> list[Execution]:
        """Executions that must finish: where checks must hold, and no disk was damaged on purpose."""
        must_hold = {name for name, scenario in self.plan["scenarios"].items() if scenario["judge"] == "must_hold"}
        return [e for e in self.executions if e.scenario in must_hold and not any(cut.damage for cut in e.cuts)]

    def of(self, scenario: str) -> list[Execution]:
        return [execution for execution in self.executions if execution.scenario == scenario]

    def faults(self, execution: str) -> list[dict[str, Any]]:
        """What was on over the data link of an execution, and when by the device's boot-time clock: each change, in order."""
        return changes(self.guard, execution)

    def link(self, execution: str) -> list[dict[str, Any]]:
        """The light probe's packets of an execution, in the order in which they came to the far end."""
        who = self._who(execution)
        return [line for line in self.probed if line["who"] in who]

    def not_logged(self, execution: str) -> list[dict[str, Any]]:
        """When packets came that the far end had no room for, and that may have been this execution's light ones."""
        who = self._who(execution)
        return [line for line in self.unlogged if line.get("who") in (None, "", *who)]

    def _who(self, execution: str) -> set[str]:
        return {r.payload["who"] for r in self.coordinator if r.kind == "link_began" and r.payload["execution"] == execution}

    def heat(self, execution: str) -> list[dict[str, Any]]:
        """Each tick of the heat over an execution, by the device's own clock: boot_id, boottime_ns, die_c, mhz, flags, quota and so on."""
        ticks = [tick for heat in self.heated.heats if heat.execution == execution for tick in heat.ticks]
        return heat_log.on_the_device(ticks, {boot: zero_ns for boot, (zero_ns, _) in clock_anchors(self.coordinator).items()})

    def receipts(self, execution: str) -> list[dict[str, Any]]:
        """What the far end received from an execution, in the order of arrival."""
        return [line for line in self.received if line["execution"] == execution]

    def note(self, kind: str) -> dict[str, Any] | None:
        """The last coordinator record of a kind."""
        return next((record.payload for record in reversed(self.coordinator) if record.kind == kind), None)

    @property
    def completed_at(self) -> str | None:
        """When the run ended, by the coordinator's wall clock; None when it was killed."""
        ends = [record.wall_ns for record in self.coordinator if record.kind in ("run_ended", "superseded")]
        return iso(ends[-1]) if self.ending else None

    @property
    def absences(self) -> int:
        """How often the device's power may have gone without a note: once each time that the coordinator was gone, and once
        more where it was killed while the disk was being proven, because that cut is noted behind it."""
        proven = next((record.sequence for record in self.coordinator if record.kind == "disk_proof"), 0)
        gone = [record.sequence for record in self.coordinator if record.kind in ("resumed", "superseded")]
        return len(gone) + sum(sequence < proven for sequence in gone)

    def unwatched(self, execution: Execution) -> list[range]:
        """Numbers of the records that a device wrote while no coordinator was there to see why, or when."""
        notes = [r.payload for r in self.coordinator if r.kind == "returned" and r.payload["execution"] == execution.name]
        return [range(said["mirrored"] + 1, said["written"] + 1) for said in notes]

    @property
    def over(self) -> bool:
        """Whether nothing is left that a resume could do: it came to its end, or its device was lent again."""
        return (self.ending or {}).get("ending") == "ran" or self.note("superseded") is not None

    @property
    def slowdown(self) -> float:
        """How much slower the device did a fixed piece of work than the coordinator's machine, in this run."""
        return float((self.note("benchmark") or {"slowdown": 1.0})["slowdown"])


def load_evidence(folder: RunFolder) -> Evidence:
    """Everything a judgement needs. Raises AskError when the folder's configuration cannot be read."""
    config = _config(folder)
    coordinator = _coordinator(folder)
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
    guard, probed, received = guard_of(folder.device_journal(GUARD)), packets_of(folder.link_log), _lines(folder.receipts, RECEIVED)
    unlogged = not_logged_of(folder.link_log)
    heated = heat_log.read(folder.heat_log)
    return Evidence(config, config["test_parameters"], coordinator, executions, guard, probed, received, ending, unlogged, heated)


def clock_anchors(coordinator: list[Record]) -> dict[str, tuple[int, float]]:
    """Boot id → what to add to the device's clock to get the coordinator's, and half the round trip; of each boot's best hello, in ns."""
    found: dict[str, tuple[int, float]] = {}
    for record in coordinator:
        said = record.payload
        if record.kind in ("hello", "recovered", "reattached") and "answered_boottime_ns" in said:
            bound = (said["answered_boottime_ns"] - said["asked_boottime_ns"]) / 2
            offset = (said["answered_boottime_ns"] + said["asked_boottime_ns"]) // 2 - said["boottime_ns"]
            if said["boot_id"] not in found or bound < found[said["boot_id"]][1]:
                found[said["boot_id"]] = (offset, bound)
    return found


def changes(guard: list[Record], execution: str) -> list[dict[str, Any]]:
    """Each change of the link faults of an execution, from the records of a guard: program, fault, word, on, and when.

    `boottime_ns` is when it was noted; it came about between `began_ns` and `done_ns`. A step that failed puts nothing on. After a
    boot a program goes on with what is left of it: of the steps that it makes up for then, one right behind the other, only the
    last says anything, and that is no new change but what was on before (`replayed`).
    """
    found: list[dict[str, Any]] = []
    latest: dict[str, dict[str, Any]] = {}
    overtaken: set[int] = set()
    for record in guard:
        said, program = record.payload, str(record.payload.get("program", ""))
        last = latest.get(program)
        if not program.startswith(f"{execution}."):
            continue
        if record.kind == "reverted" and last is not None and last["boot_id"] == record.boot_id and last["word"].startswith("reverted: "):
            last["done_ns"] = record.boottime_ns
        if record.kind not in ("step", "reverting"):
            continue
        replayed = record.kind == "step" and said.get("replayed") is True
        if replayed and last is not None and last["replayed"] and last["boot_id"] == record.boot_id:
            overtaken.add(id(last))
        latest[program] = {
            "program": program,
            "fault": program.removeprefix(f"{execution}.").rpartition("-")[0],
            "word": str(said["word"]) if record.kind == "step" else f"reverted: {said['why']}",
            "on": record.kind == "step" and said["on"] and not said.get("failed"),
            "boottime_ns": record.boottime_ns,
            "began_ns": record.boottime_ns - (_took_ns(said) if record.kind == "step" else 0),
            "done_ns": record.boottime_ns,
            "boot_id": record.boot_id,
            "replayed": replayed,
        }
        found.append(latest[program])
    return [change for change in found if id(change) not in overtaken]


def _took_ns(step: dict[str, Any]) -> int:
    """How long a step took, by the guard that did it; nothing where it says what no step takes."""
    took_s = step.get("took_s")
    return int(took_s * 1e9) if isinstance(took_s, int | float) and 0 <= took_s < 600 else 0


def guard_of(path: Path) -> list[Record]:
    """The records of a guard's journal that are what they must be; none where there is no file."""
    records = journal.read(path.read_bytes()) if path.exists() else []
    return [record for record in records if has_shape(record.payload, GUARD_RECORDS.get(record.kind, {}))]


def packets_of(path: Path) -> list[dict[str, Any]]:
    """Each line of the far end's log of light packets that is what it must be."""
    return _lines(path, PROBED)


def not_logged_of(path: Path) -> list[dict[str, Any]]:
    """When packets came to the far end for which its log had no room."""
    return _lines(path, NOT_LOGGED)


def _lines(path: Path, shape: dict[str, type]) -> list[dict[str, Any]]:
    """Each line of a log of the far end that is what it must be. It writes what a device sent, so nothing is trusted."""
    found: list[dict[str, Any]] = []
    for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else ():
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(said, dict) and has_shape(said, shape):
            found.append(said)
    return found


def _config(folder: RunFolder) -> dict[str, Any]:
    config: dict[str, Any] = read_json(folder.run_config)
    plan = config.get("test_parameters") if isinstance(config, dict) else None
    if not isinstance(plan, dict) or not has_shape(config, _CONFIG) or not has_shape(plan, _PLAN):
        needed = ", ".join([*_CONFIG, *(f"test_parameters.{key}" for key in _PLAN)])
        raise AskError("this is no configuration of a run", expected=f"as `runner exec` wrote it: {needed}", where=str(folder.run_config))
    if not all(_has_faults(each) for each in plan["executions"]):
        found = "an execution of this plan has link faults that nobody can judge"
        raise AskError(found, expected=_FAULTS, where=str(folder.run_config))
    return config


def _coordinator(folder: RunFolder) -> list[Record]:
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
        raise AskError(f"{path} is damaged behind record {len(records)}", expected="the folder as `runner exec` left it")
    for record in records:
        if not has_shape(record.payload, _NOTES.get(record.kind, {})):
            needed = ", ".join(_NOTES[record.kind])
            raise AskError(f"a note of kind {record.kind} lacks something", expected=needed, where=f"{path}#{record.sequence}")
        if wrong := _not_of_a_link(record):
            found = f"a note of kind {record.kind} says nothing that can be judged of a link"
            raise AskError(found, expected=wrong, where=f"{path}#{record.sequence}")
        if record.kind == "execution_began" and not _EXECUTION.fullmatch(name := record.payload["execution"]):
            raise AskError(f"an execution is called {name[:80]!r}", expected="a name like recovery-1", where=f"{path}#{record.sequence}")
    return records


# ---- what is said of a link --------------------------------------------------------------------------------------------------------

_MEASURED = {"link_began": "before", "link_proof": "during", "link_lifted": "after"}  # kind of note → where it has a measurement
_FAULTS = "links: a list of faults, each with its name, and numbers that a profile may have"
_OF_A_WAY = ("sent", "received", "duplicates", "reordered", "rate_kbit_s", "offered_kbit_s")
_OF_BOTH = ("echoes", "rtt_min_ms", "rtt_p50_ms", "rtt_p95_ms", "probe_bytes")
_PERCENT = ("loss_percent", "duplicate_percent", "reorder_percent")
_MORE_THAN_NONE = ("rate_kbit_s", "ramp_from_kbit_s")
LEAST = 1e-9  # of a number that is asked, and is not 0: with less than that nothing can be reckoned


def _not_of_a_link(record: Record) -> str:
    """What a note should say of a link, where it does not; "" if nothing is to be said against it."""
    said = record.payload
    if record.kind in _MEASURED and not has_shape(said[_MEASURED[record.kind]], {"up": dict, "down": dict}):
        return f"{_MEASURED[record.kind]}: up and down, as they were measured"
    if record.kind == "link_began" and not all(isinstance(p, dict) and isinstance(p.get("needs") or [], list) for p in said["programs"]):
        return "programs: a list of programs"
    if record.kind == "execution_began" and not _has_faults(said.get("plan") or {}):
        return f"plan: {_FAULTS}"
    return ""


def measured_of(said: dict[str, Any]) -> dict[str, Any]:
    """A measurement of a link, as a note has it, in figures that can be reckoned with: whatever is no number was not measured."""
    found = {key: said[key] for key in _OF_BOTH if _figure(said.get(key))}
    return {**found, "up": _way(said["up"]), "down": _way(said["down"])}


def _way(said: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = _counts(said)
    bursts = said.get("bursts")
    if isinstance(bursts, dict):
        counted = {length: times for length, times in bursts.items() if type(times) is int and _figure(times)}
        found["bursts"] = {length: times for length, times in counted.items() if re.fullmatch("[0-9]{1,18}", length)}
    if "longer" in said:
        found["longer"] = _counts(said["longer"]) if isinstance(said["longer"], dict) else {}
    return found


def _counts(said: dict[str, Any]) -> dict[str, Any]:
    return {key: said[key] for key in _OF_A_WAY if _figure(said.get(key))}


def _has_faults(planned: Any) -> bool:
    """Whether the link faults of a planned execution, if there are any, are some in all that anything is concluded from."""
    if not isinstance(planned, dict):
        return False
    faults, scarce = planned.get("links") or [], planned.get("scarcities") or []
    if not isinstance(faults, list) or not isinstance(scarce, list):
        return False
    of_links = all(isinstance(fault, dict) and _is_fault(fault) for fault in faults)
    return of_links and all(isinstance(fault, dict) and _is_scarcity(fault) for fault in scarce)


_SCARCE: dict[str, dict[str, float]] = {  # each fault's figures, and the most that a profile may ask
    "resources": {"memory_mib": 2**20, "cpu_share": 1024, "processes": 10**6},
    "disk": {},
    "clock": {},
}


def _is_scarcity(said: dict[str, Any]) -> bool:
    if said.get("fault") not in _SCARCE or (said["fault"] == "disk" and not isinstance(said.get("what"), str)):
        return False
    signed = all(said.get(key) is None or _figure(_size(said[key])) for key in ("jump_s", "drift_ppm"))
    whole = all(said.get(key) is None or type(said[key]) is int for key in ("memory_mib", "processes"))
    return signed and whole and all(_figures(said, (key,), LEAST, most) for key, most in _SCARCE[said["fault"]].items())


def _is_fault(said: dict[str, Any]) -> bool:
    if not has_shape(said, {"fault": str, **({"name": str} if said.get("fault") == "external" else {})}):
        return False
    shaped = said["fault"] != "bandwidth" or all(_is_asked(said.get(way)) for way in ("up", "down"))
    return shaped and _figures(said, ("probability_percent",), most=100)


def _size(value: Any) -> Any:
    return abs(value) if type(value) in (int, float) else None


def _is_asked(way: Any) -> bool:
    """Whether something is asked of a direction as a profile may ask it."""
    if not isinstance(way, dict) or not isinstance(trace := way.get("trace") or [], list):
        return False
    burst = way.get("burst")
    chain = burst or {}
    return (
        _figures(way, _PERCENT, most=100)
        and _figures(way, ("delay_ms", "jitter_ms", "payload_bytes"))
        and _figures(way, _MORE_THAN_NONE, least=LEAST)
        and _figures(way, ("duty_cycle_percent",), least=LEAST, most=100)
        and all(_figures(point, ("delay_ms",)) and _figures(point, _MORE_THAN_NONE, least=LEAST) for point in trace)
        and _figures(chain, ("p_percent", "r_percent"), least=LEAST, most=100)
        and _figures(chain, ("loss_in_bad_percent", "loss_in_good_percent"), most=100)
        and (not burst or all(chain.get(key) is not None for key in ("p_percent", "r_percent")))
    )


def _figures(said: Any, keys: tuple[str, ...], least: float = 0, most: float = 2**63 - 1024) -> bool:
    return isinstance(said, dict) and all(said.get(key) is None or _figure(said[key], least, most) for key in keys)


def _figure(value: Any, least: float = 0, most: float = 2**63 - 1024) -> bool:
    return type(value) in (int, float) and least <= value <= most and (value == 0 or value >= LEAST)


def _cuts(coordinator: list[Record], execution: str, records: list[Record], file: str) -> list[Cut]:
    """The execution's cuts, each with what had been promised when it fell."""
    cuts: list[Cut] = []
    durable, ended = 0, False
    mine = [record for record in coordinator if record.payload.get("execution") == execution]
    recovered = {r.payload["hold"]: r.payload for r in mine if r.kind == "recovered"}
    for record in mine:
        facts = record.payload
        if record.kind == "mirrored":
            durable = max(durable, facts["sequence"])
            ended = ended or facts["kind"] in ENDS
        elif record.kind == "held":
            durable = max(durable, facts["flushed"])  # the device's own word, from before the cut
        elif record.kind == "cut":
            back = recovered.get(facts["hold"])
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
                    restored=_restored(records, back),
                    ended_before=ended or _ended_before(records, back),
                    damage=str(facts.get("damage", "")),
                )
            )
    return cuts


def _ended_before(records: list[Record], recovered: dict[str, Any] | None) -> bool:
    """Whether the journal had come to its end before the cut, though nobody had heard of it yet."""
    end = next((record for record in records if record.kind in ENDS), None)
    if end is None or recovered is None:
        return False
    return bool(end.boot_id != recovered["boot_id"] or end.boottime_ns < recovered["supervisor_started_ns"])


def _restored(records: list[Record], recovered: dict[str, Any] | None) -> Record | None:
    """The `restored` record that the recovered supervisor wrote: same boot, same process start."""
    if recovered is None:
        return None
    for record in records:
        if record.kind == "restored" and (record.boot_id, record.payload["supervisor_started_ns"]) == (
            recovered["boot_id"],
            recovered["supervisor_started_ns"],
        ):
            return record
    return None


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
