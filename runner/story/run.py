"""What the steps of one run share, and what its own notes say has been done already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runner.clock import Clock
from runner.errors import LabError
from runner.farm.lease import Lease
from runner.judgement.evidence import Evidence
from runner.lab.folder import RunFolder
from runner.lab.where import Lab
from runner.model.plan import ExecutionPlan, Plan
from runner.ondevice.journal import Journal
from runner.story.ground import Ground
from runner.target.bundle import Bundle
from runner.target.far_end.client import FarEnd
from runner.target.session import Session
from runner.target.target import Target

if TYPE_CHECKING:
    from runner.story.heat import Heating

Emit = Callable[..., None]


@dataclass
class Past:
    """What the coordinator's journal says that an earlier process did for this run; empty for a run that has just begun."""

    ended: dict[str, str] = field(default_factory=dict)  # executions that ended, and how
    begun: set[str] = field(default_factory=set)  # executions that began and did not end
    extras: list[ExecutionPlan] = field(default_factory=list)  # executions beyond the plan that began
    cut: set[str] = field(default_factory=set)  # holds whose cut was made
    unrecovered: tuple[str, str] | None = None  # execution and hold of a cut after which nobody saw the device come back
    lost: set[str] = field(default_factory=set)  # executions after whose last cut the device did not come back in time
    proven: bool = False  # the disk was
    measured: bool = False  # the device's speed was
    lifted: set[str] = field(default_factory=set)  # executions whose link faults were taken back, and the link measured behind them
    cooled: set[str] = field(default_factory=set)  # executions behind which the heat was taken back
    relieved: set[str] = field(default_factory=set)  # executions that have enough of everything again
    as_found: dict[str, Any] | None = None  # the device's fingerprint from before the last link fault, and its boot
    baseline_s: dict[str, float] = field(default_factory=dict)
    marks: dict[str, list[int]] | None = None  # from where on the evidence of others is this run's; see GrowingFile

    @property
    def rounds(self) -> int:
        """How many rounds of extra executions were begun."""
        return max((int(e.name.rpartition("-extra")[2].partition("-")[0]) for e in self.extras if "-extra" in e.name), default=0)


def past_of(evidence: Evidence) -> Past:
    """Reads a run's own notes. No I/O."""
    past = Past()
    planned = {each["name"] for each in evidence.plan["executions"]}
    for record in evidence.coordinator:
        said = record.payload
        if record.kind == "execution_began":
            past.begun.add(said["execution"])
            if said["execution"] not in planned and isinstance(said.get("plan"), dict):
                past.extras.append(ExecutionPlan.model_validate(said["plan"]))
        elif record.kind == "execution_ended":
            past.begun.discard(said["execution"])
            past.ended[said["execution"]] = said["ending"]
        elif record.kind == "cut":
            past.cut.add(said["hold"])
            past.unrecovered = (said["execution"], said["hold"])
        elif record.kind == "recovered":
            past.unrecovered = None
        elif record.kind == "evidence_from":
            past.marks = {**(past.marks or {}), **said["marks"]}
        elif record.kind == "not_recovered":
            past.unrecovered = None
            past.lost.add(said["execution"])
        elif record.kind == "link_lifted":
            past.lifted.add(said["execution"])
        elif record.kind == "heat_lifted":
            past.cooled.add(said["execution"])
        elif record.kind == "scarcity_lifted":
            past.relieved.add(said["execution"])
        elif record.kind == "as_found":
            past.as_found = said["fingerprint"]
        elif record.kind == "disk_proof":
            past.proven = said["found"] == said["expected"]
        past.measured = past.measured or record.kind == "benchmark"
    for execution in evidence.of("baseline"):
        past.baseline_s.update(stage_durations(execution.records))
    return past


def stage_durations(records: list[Any]) -> dict[str, float]:
    ends = [record.payload for record in records if record.kind == "stage_finished"]
    return {end["stage"]: end["duration_ns"] / 1e9 for end in ends}


@dataclass
class Run:
    """One run under way, under one lease."""

    plan: Plan
    lab: Lab
    folder: RunFolder
    clock: Clock
    emit: Emit
    log: Journal  # the coordinator's own journal: what only it saw
    token: str  # this run's name on the device: unique over labs and days, whatever its folder is called by now
    lease: Lease
    past: Past = field(default_factory=Past)
    bundle: Bundle | None = None
    target: Target | None = None
    session: Session | None = None
    far_end: FarEnd | None = None  # of the data link, while something of this run crosses it
    as_found: dict[str, Any] | None = None  # the device's fingerprint from before the last fault
    imposed_in: str = ""  # the boot of the device in which the faults of the execution under way are on
    scarce_hello: dict[str, Any] | None = None  # what the device said of itself before its clock, too, may be wrong
    heating: Heating | None = None  # the heat over the execution that is under way
    endings: list[str] = field(default_factory=list)  # how each execution ended, in order
    completed: bool = False  # every planned step was made
    superseded: bool = False  # the device was lent again while this run was not looked after; all that it wrote is mirrored
    lost: LabError | None = None  # the lease was (LeaseLost), or the device says so (NotOurs): nothing may be done to the device any more
    baseline_s: dict[str, float] = field(default_factory=dict)  # each stage's duration without a fault

    @property
    def ground(self) -> Ground:
        """The device, over the session that there is by now."""
        assert self.session
        return Ground(self.plan.device, self.plan.identity, self.session, self.lease.leases, self.token, self.say)

    def note(self, kind: str, /, **facts: Any) -> None:
        """One durable record in the coordinator's journal. Raises LabError when its disk fails."""
        note(self.log, kind, facts)

    def say(self, text: str) -> None:
        self.emit("say", text=text)


def token_of(entry: str, folder: RunFolder, run_uuid: str) -> str:
    return f"{entry}.{folder.run_id}.{run_uuid[:8]}"


def note(log: Journal, kind: str, facts: dict[str, Any]) -> None:
    try:
        log.append(kind, facts)
    except OSError as error:
        raise LabError(f"{log.path} cannot be written: {error.strerror}", do="free some space; what was mirrored is kept") from error
