"""What a run left, as values, and what they answer. Nothing is concluded here.

    Evidence ─┬─ plan, coordinator          what was to be done, and what only the coordinator saw
              ├─ executions ─┬─ records     what the device promised, record by record
              │              ├─ cuts        each with what is known of it from outside
              │              └─ witnessed   which stage bodies really began
              ├─ guard, probed, received    what was done to its link, and what came to the far end of it
              └─ heated                     what whoever heated the device counted and computed, tick by tick

Nothing is read here, either: reading.py makes these values from a run folder.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from runner.clock import iso
from runner.judgement import heat_log, slowed
from runner.judgement.guard_journal import changes
from runner.ondevice import journal
from runner.ondevice.journal import Record
from runner.ondevice.results import finished_stages, has_shape

BY_THE_OPERATOR = "the operator"  # who ended a killed run, in the note `superseded`
BOOT_DIGITS = 16  # of a boot id, in a probe's packet
SET_ASIDE, AGAIN = "set_aside", "-again"  # an execution that a resume could not go on with, and the name of the one in its place


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
    absent: bool  # whether the coordinator was away between the recovery and the restore
    survived: int | None  # records of its journal ahead of the first that a later supervisor wrote; None where none wrote any
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
        return None if self.records_found is None else max(0, self.written - self.records_found)

    @property
    def records_found(self) -> int | None:
        """Records that came back, by the word of whoever restored them, and never more than a later supervisor's own follow on; None if
        nothing came back to tell."""
        said = [self.survived] if self.survived is not None else []
        if self.restored:
            said += [int(self.restored.payload[key]) for key in ("records_found", "through_sequence")]
        return min(said, default=None)

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

    def planned(self, execution: str) -> dict[str, Any]:
        """What was planned for the execution of this name, one that was set aside included; {} if nobody planned it."""
        for one in self.plan["executions"]:
            if one["name"] == stands_for(execution):
                return dict(one)
        began = (r.payload for r in self.coordinator if r.kind == "execution_began" and r.payload["execution"] == execution)
        return dict(next(began, {}).get("plan") or {})  # an extra one, which was not planned at first

    @cached_property
    def clock_anchors(self) -> dict[str, tuple[int, float]]:
        """Boot id → what to add to the device's clock to get the coordinator's, and half the round trip, in ns: by the best hello."""
        found: dict[str, tuple[int, float]] = {}
        for record in self.coordinator:
            said = record.payload
            if record.kind in ("hello", "recovered", "reattached") and "answered_boottime_ns" in said:
                bound = (said["answered_boottime_ns"] - said["asked_boottime_ns"]) / 2
                offset = (said["answered_boottime_ns"] + said["asked_boottime_ns"]) // 2 - said["boottime_ns"]
                if said["boot_id"] not in found or bound < found[said["boot_id"]][1]:
                    found[said["boot_id"]] = (offset, bound)
        return found

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

    def sent_by(self, execution: str) -> list[dict[str, Any]]:
        """By the device's journal: how many light packets (`sent`) a life of its probe (`boot`, `started_ms`) had sent by `at_ns`."""
        who, shape = self._who(execution), {"who": str, "started_ms": int, "sent": int}
        found = []
        for record in next((each.records for each in self.executions if each.name == execution), []):
            said = record.payload.get("link_probe") if record.kind == "sample" else None
            if isinstance(said, dict) and has_shape(said, shape) and said["who"] in who:
                life = {"boot": record.boot_id[:BOOT_DIGITS], "started_ms": said["started_ms"]}
                found.append({**life, "sent": said["sent"], "at_ns": record.boottime_ns})
        return found

    def _who(self, execution: str) -> set[str]:
        return {r.payload["who"] for r in self.coordinator if r.kind == "link_began" and r.payload["execution"] == execution}

    def heat(self, execution: str) -> list[dict[str, Any]]:
        """Each tick of the heat over an execution, by the device's own clock: boot_id, boottime_ns, die_c, mhz, flags, quota and so on."""
        ticks = [tick for heat in self.heated.heats if heat.execution == execution for tick in heat.ticks]
        return heat_log.on_the_device(ticks, {boot: zero_ns for boot, (zero_ns, _) in self.clock_anchors.items()})

    def unsteady(self, execution: str) -> float:
        """How many times as long this machine's own work took at its slowest, while a heated execution ran, or what it is held against.

        1 where nobody looked. Of what takes that much longer nobody knows that it is slower.
        """
        return slowed.unsteady([{"own": own} for own in self._own_works(execution)])

    def slower_beside(self, execution: str, start: Record, end: Record) -> float:
        """The same of one stage of it, between two records of one boot: as much as the machine usually comes and goes, more only where that
        was measured beside the stage."""
        return slowed.slower_beside(self._own_works(execution), self._at_ns(start), self._at_ns(end))

    def timed_beside(self, execution: Execution, stages: Sequence[tuple[Record, Record]]) -> list[bool]:
        """For each stage, from one record to another of one boot: whether the device was timed under its heat meanwhile, and had no core to
        spare for that work, too. Of none where it was so beside each: nothing could be judged then."""
        if self.lanes(execution.scenario) + 1 <= self.cores:
            return [False] * len(stages)
        proofs = [r.payload for r in self.coordinator if r.kind == "heat_proof" and r.payload.get("execution") == execution.name]
        looks = [look for said in proofs for look in slowed.looks(said)]

        def timed(start: Record, end: Record) -> bool:
            from_ns, to_ns = self._at_ns(start), self._at_ns(end)
            if from_ns is None or to_ns is None:
                return False
            return any(began_ns < to_ns and ended_ns > from_ns for began_ns, ended_ns in looks)

        found = [timed(*stage) for stage in stages]
        return [False] * len(found) if all(found) else found

    def lanes(self, scenario: str) -> int:
        """How many pipelines run at once in a scenario."""
        planned = self.plan["scenarios"].get(scenario)
        return _whole(planned.get("lanes") if isinstance(planned, dict) else None)

    @property
    def cores(self) -> int:
        """An emulated board has as many as its type says; any other is taken for one of a single core, which is what its pipelines have
        together where nobody outside holds it up."""
        made = self.plan["type"].get("emulation")
        return _whole(made.get("cpus") if isinstance(made, dict) else None)

    def usually_slower(self, execution: str) -> float:
        """As much as the machine usually comes and goes."""
        return slowed.slower_beside(self._own_works(execution), None, None)

    def _own_works(self, execution: str) -> list[dict[str, Any]]:
        notes = [r for r in self.coordinator if r.payload.get("execution") == execution or r.kind == "own_speed"]
        return [own for record in notes for own in slowed.own_works(record.kind, record.payload)]

    def _at_ns(self, record: Record) -> int | None:
        """When a record of a device was written, by the coordinator's clock; None in a boot without a hello."""
        anchor = self.clock_anchors.get(record.boot_id)
        return None if anchor is None else record.boottime_ns + anchor[0]

    def receipts(self, execution: str) -> list[dict[str, Any]]:
        """What the far end received from an execution, in the order of arrival."""
        return [line for line in self.received if line["execution"] == execution]

    def note(self, kind: str) -> dict[str, Any] | None:
        """The last coordinator record of a kind."""
        return next((record.payload for record in reversed(self.coordinator) if record.kind == kind), None)

    @property
    def begun_with(self) -> dict[str, Any]:
        """Size and SHA-256 of plan, pipelines and checks, by the coordinator's first record; none of a run of an older version."""
        noted = self.coordinator[0].payload.get("files") if self.coordinator else None
        return noted if isinstance(noted, dict) else {}

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
    def slowdown(self) -> float | None:
        """How much slower the device did a fixed piece of work than the coordinator's machine, in this run; None: not measured."""
        measured = self.note("benchmark")
        return float(measured["slowdown"]) if measured else None


def _whole(said: object) -> int:
    """A count that a plan says; 1 where it says none."""
    return said if isinstance(said, int) and said > 0 else 1
