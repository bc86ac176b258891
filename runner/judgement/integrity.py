"""Is the evidence what the run left? Asked before anything is judged; a folder that was altered gets no verdict.

The coordinator's journal is the root: its last records hold the hash of every other piece of evidence, and what it
says about disk writes is counted again from the disk server's own log. Nothing is signed: somebody who rewrites
everything, checksums and hashes included, into a story without a contradiction is not found out here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from runner.disk_log import DiskLog, read_power_ons
from runner.judgement.asked import named
from runner.judgement.checks import Problem
from runner.judgement.evidence import Evidence
from runner.judgement.guard_journal import GUARD, not_armed
from runner.judgement.heat import contradictions as of_heat
from runner.judgement.heat import planned as heat_for
from runner.judgement.heat import program as heat_program
from runner.judgement.links import planned_for
from runner.judgement.scarcity import planned as scarcities_for
from runner.lab.folder import RunFolder, archived, seal, seals
from runner.ondevice import journal
from runner.ondevice.journal import Record

Integrity = Callable[[RunFolder, Evidence], list[Problem]]


def evidence_unaltered(folder: RunFolder, evidence: Evidence) -> list[Problem]:
    """Journals, logs, witness, plan, pipelines and checks are byte for byte what they were when the run ended, or archived so."""
    where = str(folder.coordinator_journal.relative_to(folder.root))
    sealed = evidence.note("sealed")
    if sealed is None:
        return [("the record with the hashes of the evidence is missing", where)]
    found, moved = seals(folder), archived(folder)
    problems: list[Problem] = [
        (f"{name} is gone", where) for name, said in sealed["files"].items() if name not in found and moved.get(name) != said
    ]
    problems += [
        (f"{name} is not what it was when the run ended", name) for name, said in sealed["files"].items() if said != found.get(name, said)
    ]
    judged_by = ("results/journal/", "pipelines/checks.py")  # anything else that somebody put here changes no judgement
    added = [name for name in found if name not in sealed["files"] and name.startswith(judged_by)]
    problems += [(f"{name} was added after the run", name) for name in added]
    return problems + [(f"{r.kind} was noted behind the end", f"{where}#{r.sequence}") for r in _behind_an_end(evidence.coordinator)]


def planned_as_begun(folder: RunFolder, evidence: Evidence) -> list[Problem]:
    """Plan, pipelines and checks are what the coordinator noted when the run began, whatever was sealed at its end."""
    where = str(folder.coordinator_journal.relative_to(folder.root))
    again = [record.sequence for record in evidence.coordinator[1:] if record.kind == "run_began"]
    problems: list[Problem] = [("the run is noted to have begun again", f"{where}#{sequence}") for sequence in again]
    for name, said in evidence.begun_with.items():
        path = folder.root / name
        if not name.startswith(("pipelines/", "config/")) or ".." in name.split("/"):
            problems.append((f"{name} is noted as planned, and no plan lies there", where))
        elif not path.is_file() or seal(path) != said:
            problems.append((f"{name} is not what it was when the run began", name))
    return problems


def cuts_as_planned(folder: RunFolder, evidence: Evidence) -> list[Problem]:
    """Each planned cut of a finished execution was made once, or is said to be missed, and the device had stood there before."""
    missed = {hold for r in evidence.coordinator if r.kind == "missed" for hold in r.payload["holds"]}
    held = {r.payload["hold"] for r in evidence.coordinator if r.kind == "held"}
    planned = {e["name"]: [cut["hold"] for cut in e["cuts"]] for e in evidence.plan["executions"]}
    problems: list[Problem] = []
    for execution in evidence.executions:
        times = Counter(cut.hold for cut in execution.cuts)
        for cut in execution.cuts:
            if cut.hold not in held:
                problems.append((f"{cut.hold} was cut, and the device never stood there", cut.where))
            if times[cut.hold] > 1 or cut.hold not in planned.get(execution.name, [cut.hold]):
                problems.append((f"{cut.hold} was cut {'twice' if times[cut.hold] > 1 else 'and never planned'}", cut.where))
        if execution.ended.get("ending") == "finished":
            owed = [hold for hold in planned.get(execution.name, []) if hold not in times and hold not in missed]
            problems += [(f"{hold} was planned, and neither cut nor missed", execution.journal_file) for hold in owed]
    return problems


def journals_as_mirrored(folder: RunFolder, evidence: Evidence) -> list[Problem]:
    """Each device journal is, record by record, the one whose end the coordinator noted."""
    problems: list[Problem] = []
    for execution in evidence.executions:
        path = folder.device_journal(execution.name)
        records = journal.read(path.read_bytes()) if path.exists() else []
        chain = journal.GENESIS
        for record in records:
            chain = journal.chain_on(chain, record.raw)
        ended = execution.ended
        if ended and (ended["mirrored"], ended["chain"]) != (len(records), chain):
            problems.append((f"{execution.name}: its journal is not the one that was mirrored", execution.journal_file))
    return problems


def mirror_complete(folder: RunFolder, evidence: Evidence) -> list[Problem]:
    """The coordinator noted each record of a finished execution when it took it over; samples apart."""
    problems: list[Problem] = []
    for execution in evidence.executions:
        if execution.ended.get("ending") == "finished":
            mine = [r.payload for r in evidence.coordinator if r.kind == "mirrored" and r.payload["execution"] == execution.name]
            noted = {note["sequence"] for note in mine}
            left_out = [record for record in execution.records if record.kind != "sample" and record.sequence not in noted]
            problems += [(f"{execution.name}: nobody noted record {r.sequence}, {r.kind}", execution.where(r)) for r in left_out]
    return problems


def losses_recounted(folder: RunFolder, evidence: Evidence) -> list[Problem]:
    """What each power cut is said to have cost is what the disk server's log shows, request by request."""
    losses = _losses(evidence)
    if evidence.plan["type"]["emulation"] is not None:
        uncounted = [cut for cut in evidence.cuts if cut.loss == "power_loss" and cut.writes_lost is None]
        if uncounted:
            return [(f"{cut.hold}: nobody says what this power loss cost", cut.where) for cut in uncounted]
    if not losses:
        return []
    log, where = folder.journals / "disk.log", str((folder.journals / "disk.log").relative_to(folder.root))
    data = log.read_bytes() if log.exists() else b""
    power_ons = read_power_ons(data)[:-1]  # the last one ended in order
    found = _recounted(folder, where, losses, power_ons, evidence.absences)
    if found and data and b" Ready " not in data.partition(b"\n")[0]:  # the board was on already: how that ended is not in this log
        found = min(found, _recounted(folder, where, losses[1:], power_ons, evidence.absences), key=len)
    return found


def faults_as_planned(folder: RunFolder, evidence: Evidence) -> list[Problem]:
    """The guard's journal is this run's, and each link fault in it, or said to have begun, is one that was planned, by its own name."""
    began = [r for r in evidence.coordinator if r.kind == "link_began"]
    names = [e["name"] for e in evidence.plan["executions"]]
    names += [r.payload["execution"] for r in evidence.coordinator if r.kind in ("execution_began", "link_began")]
    planned = {program: link for name in names for program, link in named(planned_for(evidence, name), name).items()}
    planned |= {program: each for name in names for program, each in named(scarcities_for(evidence, name), name).items()}
    planned |= {heat_program(name): {"fault": "thermal"} for name in names if heat_for(evidence, name)}
    problems: list[Problem] = []
    for record in began:
        of, where = record.payload["execution"], f"{folder.coordinator_journal.relative_to(folder.root)}#{record.sequence}"
        if not planned_for(evidence, of):
            problems.append((f"{of}: link faults began, and none was planned", where))
    where = str(folder.device_journal(GUARD).relative_to(folder.root))
    first = evidence.guard[0] if evidence.guard else None
    if first and (first.kind, first.payload.get("run")) != ("began", evidence.config["run_token"]):
        problems.append(("the guard's journal is another run's", f"{where}#{first.sequence}"))
    strange: dict[str, Problem] = {}  # each once
    unarmed = {record.sequence for record in not_armed(evidence.guard)}
    for record in evidence.guard:
        said, program = record.payload, str(record.payload.get("program"))
        if "program" in said and program not in planned:
            strange.setdefault(program, (f"{program} is in the guard's journal, and was never planned", f"{where}#{record.sequence}"))
        elif record.kind == "armed" and said["fault"] != (word := str(planned[program]["fault"])) and word != "external":
            strange.setdefault(program, (f"{program} was armed as {said['fault']}, and is {word}", f"{where}#{record.sequence}"))
        elif record.sequence in unarmed:
            strange.setdefault(program, (f"{program} was carried out, and nothing armed it before", f"{where}#{record.sequence}"))
    return problems + list(strange.values())


def heat_recomputed(folder: RunFolder, evidence: Evidence) -> list[Problem]:
    """Each heat is the one that was planned, and its temperatures, clock, flags and quota follow from the loads beside them."""
    return of_heat(evidence)


_BACK = ("resumed", "superseded")
_FETCHED = ("mirrored", "diverged", "execution_ended")  # by another run, which may be killed at it
_BEHIND = {"sealed": ("unwind_failed", "run_ended", *_FETCHED, *_BACK), "run_ended": (*_FETCHED, *_BACK)}


def _behind_an_end(coordinator: list[Record]) -> list[Record]:
    """The first record that stands where none can: behind the end of a run that ran, or behind another end, or a seal, from which
    nobody had gone on."""
    last: Record | None = None  # the seal, or the end
    for record in coordinator:
        if last is not None and (last.payload.get("ending") == "ran" or record.kind not in _BEHIND[last.kind]):
            return [record]
        if record.kind in _BEHIND:
            last = record
        elif record.kind in _BACK:
            last = None
    return []


def _recounted(folder: RunFolder, where: str, losses: list[Record], power_ons: list[DiskLog], absences: int) -> list[Problem]:
    """What of `losses` the log does not show, or shows otherwise. In each absence the power may go once, and nobody notes it."""
    if len(power_ons) > len(losses):
        power_ons = _but_unnoted(power_ons, losses, min(len(power_ons) - len(losses), absences))
    if len(losses) != len(power_ons):
        return [(f"{len(losses)} power losses are claimed, the disk's log shows {len(power_ons)}", where)]
    problems: list[Problem] = []
    for record, shown in zip(losses, power_ons, strict=True):
        said = _said(record)
        if said != _counted(shown):
            claim = f"{record.payload.get('hold', 'the disk proof')}: {_words(said)} claimed, {_words(_counted(shown))} in the disk's log"
            problems.append((claim, f"{folder.coordinator_journal.relative_to(folder.root)}#{record.sequence}"))
    return problems


_ALL: tuple[Integrity, ...] = (
    evidence_unaltered, planned_as_begun, losses_recounted, cuts_as_planned, journals_as_mirrored, mirror_complete, faults_as_planned,
    heat_recomputed,
)  # fmt: skip
INTEGRITY: dict[str, Integrity] = {check.__name__: check for check in _ALL}


def questions(evidence: Evidence) -> dict[str, Integrity]:
    """What this evidence can be asked: everything once the run came to its end, and whether it was altered as soon as it was sealed.

    Of a run that knows no link faults, and whose device had no guard, nothing is asked about them; nor about heat without any.
    """
    if evidence.ending is not None and evidence.ending["ending"] == "ran":
        of_links = bool(evidence.guard) or any(r.kind == "link_began" for r in evidence.coordinator)
        of_heats = bool(evidence.heated.heats or evidence.heated.strange) or any(r.kind == "heat_began" for r in evidence.coordinator)
        left_out: dict[Integrity, bool] = {faults_as_planned: not of_links, heat_recomputed: not of_heats}
        return {name: check for name, check in INTEGRITY.items() if not left_out.get(check)}
    return {"evidence_unaltered": evidence_unaltered} if evidence.note("sealed") else {}


def contradictions(folder: RunFolder, evidence: Evidence) -> list[Problem]:
    """Everything that is wrong with the evidence of a run that came to its end."""
    return [problem for check in INTEGRITY.values() for problem in check(folder, evidence)]


def _but_unnoted(power_ons: list[DiskLog], losses: list[Record], unnoted: int) -> list[DiskLog]:
    """`power_ons` without the first `unnoted` of those that are not what the next claimed loss says."""
    left, claims = [], iter(losses)
    claim = next(claims, None)
    for shown in power_ons:
        if unnoted and (claim is None or _said(claim) != _counted(shown)):
            unnoted -= 1
            continue
        left.append(shown)
        claim = next(claims, None)
    return left


def _losses(evidence: Evidence) -> list[Record]:
    """The coordinator's records of cuts whose disk writes somebody counted, the disk proof's included."""
    return [r for r in evidence.coordinator if r.kind in ("disk_proof", "cut") and isinstance(_facts(r).get("writes_lost"), dict)]


def _facts(record: Record) -> dict[str, object]:
    found = record.payload.get("cut" if record.kind == "disk_proof" else "facts")
    return found if isinstance(found, dict) else {}


def _said(record: Record) -> tuple[object, ...]:
    facts = _facts(record)
    lost = facts["writes_lost"]
    assert isinstance(lost, dict)
    return lost.get("count"), lost.get("bytes"), facts.get("writes"), facts.get("flushes")


def _counted(log: DiskLog) -> tuple[object, ...]:
    return len(log.uncovered), sum(write.length for write in log.uncovered), log.writes, log.flushes


def _words(counts: tuple[object, ...]) -> str:
    return "{} writes lost ({} bytes) of {}, {} flushes".format(*counts)
