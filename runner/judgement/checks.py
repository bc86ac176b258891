"""The checks every entry can use: evidence in, problems out. No I/O, no clock, no opinion about severity.

A check is a function `(evidence, scenario) -> [(problem, where), …]`; an empty list means that it held. Its
docstring is what a reader of the report is told. An entry's own `checks.py` holds more of the same shape.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

from runner.judgement.evidence import Cut, Evidence, Execution, Witnessed
from runner.ondevice.journal import Record
from runner.ondevice.results import finished_stages, state_hash

Problem = tuple[str, str]
Check = Callable[[Evidence, str], list[Problem]]


class Clocks(NamedTuple):
    """The three clocks of one restart, in seconds; None where that moment was never reached."""

    board_boot_s: float | None  # power on → supervisor's process start
    restored_s: float | None  # supervisor's process start → `restored` flushed
    running_again_s: float | None  # supervisor's process start → the next stage body announced itself, less what it stood for its faults


def clocks(execution: Execution, cut: Cut) -> Clocks:
    boot = cut.recovered.get("board_boot_s") if cut.recovered else None
    started = _restarted_ns(cut) if cut.restored else None
    if cut.restored is None or started is None:
        return Clocks(boot, None, None)
    lives = [record.sequence for record in execution.of_kind("restored")]
    life = lives.index(cut.restored.sequence) + 1
    following = lives[life] if life < len(lives) else len(execution.records) + 1
    resumed = next((r for r in execution.of_kind("resumed") if cut.restored.sequence < r.sequence < following), None)
    again = next((line for line in execution.witnessed if line.life == life and line.boot == cut.restored.boot_id), None)
    took_s = (again.boottime_ns - started) / 1e9 if again else None
    stood_s = _longest_within(took_s, _least_said(_life_after(execution, cut), "host_ready", "stood_s"))
    return Clocks(
        boot,
        (max(resumed.payload["restored_flushed_ns"], resumed.boottime_ns) - started) / 1e9 if resumed else None,
        None if took_s is None else took_s - (stood_s or 0.0),
    )


def _restarted_ns(cut: Cut) -> int | None:
    """The process start from which a restart is timed: that of the first supervisor that answered, even if another one restored. None where
    the coordinator was away in between, or the board began anew: nobody knows how long that was."""
    assert cut.restored and cut.recovered
    started_ns = int(cut.restored.payload["supervisor_started_ns"])
    first_ns = int(cut.recovered["supervisor_started_ns"])
    if started_ns == first_ns and cut.restored.boot_id == cut.recovered["boot_id"]:
        return started_ns
    return None if cut.absent or cut.restored.boot_id != cut.recovered["boot_id"] else first_ns


class HostWaits(NamedTuple):
    """For how long a device was kept waiting for a processor of the host that it shares with its coordinator, in seconds.

    None for a board of its own, which waits for nobody, and where the host does not say.
    """

    restored_s: float | None  # until its state was restored
    running_again_s: float | None  # until the next stage body announced itself


def host_waits(evidence: Evidence, execution: Execution, cut: Cut) -> HostWaits:
    """Of an emulated board: its hungriest thread. Of a process, by its own word: the supervisor's wait; and until it runs again the
    longer of the two, the supervisor's and its pipeline's, which imports meanwhile."""
    device = evidence.plan["type"]
    if device["emulation"] is not None:
        said = _seconds((cut.recovered or {}).get("host_wait_s"))
        return HostWaits(said, said)
    if device.get("transport") != "local" or cut.restored is None:
        return HostWaits(None, None)
    life = _life_after(execution, cut)
    supervisor, pipeline = _least_said(life, "resumed"), _least_said(life, "host_ready")
    took = clocks(execution, cut)
    return HostWaits(_longest_within(took.restored_s, supervisor), _longest_within(took.running_again_s, supervisor, pipeline))


def _life_after(execution: Execution, cut: Cut) -> list[Record]:
    """What the device noted from the restart after a cut to the next one."""
    assert cut.restored
    return list(itertools.takewhile(lambda record: record.kind != "restored", execution.records[cut.restored.sequence :]))


def _least_said(life: list[Record], kind: str, what: str = "waited_s") -> float | None:
    """Of pipelines that run at once: the one that waited least."""
    said = [_seconds(record.payload.get(what)) for record in life if record.kind == kind]
    return min((one for one in said if one is not None), default=None)


def _longest_within(took_s: float | None, *claims: float | None) -> float | None:
    """The longest wait that fits into the time that is judged: a claim of more is not believed, and excuses nothing."""
    if took_s is None:
        return None
    return max((one if one <= took_s else 0.0 for one in claims if one is not None), default=None)


def _seconds(said: object) -> float | None:
    """What somebody says that a wait took, if any wait could."""
    return float(said) if isinstance(said, int | float) and not isinstance(said, bool) and 0 <= said < 2**63 else None


def finished(evidence: Evidence, scenario: str) -> list[Problem]:
    """Every planned execution ran and reached the end of its pipeline, cuts or no cuts."""
    problems = _never_ran(evidence, scenario)
    for execution in evidence.of(scenario):
        ending = execution.ended.get("ending", "never ended")
        last = next((record for record in reversed(execution.records) if record.kind != "sample"), None)
        if execution.damaged_bytes:
            problems.append((f"{execution.name}: its journal is damaged behind record {len(execution.records)}", execution.journal_file))
        elif ending != "finished" or last is None or last.kind != "finished":
            why = (last.payload.get("error") or last.payload.get("reason")) if last else "its journal is empty"
            problems.append((f"{execution.name} ended as {ending!r}" + (f": {why}" if why else ""), execution.journal_file))
    return problems


def _never_ran(evidence: Evidence, scenario: str) -> list[Problem]:
    ran = {execution.stands_for for execution in evidence.executions}
    owed = [planned["name"] for planned in evidence.plan["executions"] if planned["scenario"] == scenario]
    return [(f"{name} was planned and never ran", "config/run_config.json") for name in owed if name not in ran]


def nothing_repeated(evidence: Evidence, scenario: str) -> list[Problem]:
    """No stage whose end was promised before a cut began again after it, by the word of the witness outside."""
    problems = []
    for execution in evidence.of(scenario):
        promised = {cut.hold: set(finished_stages(execution.records[: cut.durable_sequence])) for cut in execution.cuts}
        for line in execution.witnessed:
            behind = [cut.hold for cut in execution.cuts if line.stage in promised[cut.hold] and _after(line, cut)]
            if behind:
                said = f"{line.stage} began again after the cut at {behind[-1]}, though its end was promised"
                problems.append((said, f"results/journal/witness.jsonl:{line.index + 1}"))
        for cut in (cut for cut in execution.cuts if cut.restored):
            for record in execution.of_kind("stage_started"):
                again = cut.restored and record.sequence > cut.restored.sequence and record.payload["stage"] in promised[cut.hold]
                if again:
                    said = f"by its own word {record.payload['stage']} began again after the cut at {cut.hold}, though its end was promised"
                    problems.append((said, execution.where(record)))
        problems += _repeated_after_other_restarts(execution)
        seen: set[tuple[Any, ...]] = set()
        for line in execution.witnessed:
            once = (line.stage, line.life, line.boot)
            if once in seen:
                problems.append((f"{line.stage} began twice in one life", f"results/journal/witness.jsonl:{line.index + 1}"))
            seen.add(once)
    return problems


def _repeated_after_other_restarts(execution: Execution) -> list[Problem]:
    """Stages that began again in a life that no cut began (a killed supervisor, power gone while nobody looked), though the
    journal that it restored held their end."""
    by_cut = {cut.restored.sequence for cut in execution.cuts if cut.restored}
    problems: list[Problem] = []
    for life, record in enumerate(execution.of_kind("restored"), 1):
        if record.sequence not in by_cut and execution.records[0].payload.get("durability") == "journaled":
            done = finished_stages(execution.records[: record.sequence - 1])
            again = [line for line in execution.witnessed if (line.life, line.boot) == (life, record.boot_id) and line.stage in done]
            said = "began again after a restart that no cut caused, though the journal held its end"
            problems += [(f"{line.stage} {said}", f"results/journal/witness.jsonl:{line.index + 1}") for line in again]
    return problems


def _after(line: Witnessed, cut: Cut) -> bool:
    """Whether a stage began after a cut: by its place in the witness, or by the clock of the boot that followed."""
    if line.index >= cut.witness_lines:
        return True
    back = cut.recovered
    return back is not None and line.boot == back["boot_id"] and line.boottime_ns >= back["supervisor_started_ns"]


def every_stage_witnessed(evidence: Evidence, scenario: str) -> list[Problem]:
    """Every stage that began or finished, in every life, was seen to begin by the witness outside."""
    problems = []
    for execution in evidence.of(scenario):
        seen = {line.stage for line in execution.witnessed}
        lives = {(line.stage, line.life, line.boot) for line in execution.witnessed}
        for record in execution.of_kind("stage_started"):
            if (record.payload["stage"], record.payload.get("life"), record.boot_id) not in lives:
                problems.append((f"{record.payload['stage']} began, and nobody outside saw it", execution.where(record)))
        for record in execution.of_kind("stage_finished"):
            if record.payload["stage"] not in seen:
                problems.append((f"{record.payload['stage']} finished, and nobody saw it begin", execution.where(record)))
    return problems


def state_equal(evidence: Evidence, scenario: str) -> list[Problem]:
    """The final state hash equals the baseline's, and is the hash of the journaled results."""
    golden = [record.payload["state_sha256"] for e in evidence.of("baseline") for record in e.of_kind("finished")]
    if not golden:
        return [("no baseline finished that the state could be compared with", "config/run_config.json")]
    problems = []
    for execution in evidence.of(scenario):
        for record in execution.of_kind("finished"):
            said = record.payload["state_sha256"]
            if said != golden[0]:
                problems.append((f"final state {said[:12]}, baseline {golden[0][:12]}", execution.where(record)))
            if said != state_hash(execution.outputs):
                problems.append((f"final state {said[:12]} is not the hash of its journaled results", execution.where(record)))
    return problems


def promises_kept(evidence: Evidence, scenario: str) -> list[Problem]:
    """Every record that was acknowledged before a cut is there after it, unchanged."""
    problems = []
    for execution in evidence.of(scenario):
        if execution.diverged:
            said = f"{execution.diverged['mirrored']} records had been acknowledged; {execution.diverged['found']}"
            problems.append((said, execution.journal_file))
        problems += _lost_in_a_cut_that_nobody_noted(evidence, execution)
        for cut in execution.cuts:
            found = cut.records_found
            if found is not None and found < cut.durable_sequence:
                where = execution.where(cut.restored) if cut.restored else cut.where
                problems.append((f"{cut.hold}: {cut.durable_sequence} records were promised, {found} came back", where))
        ended = execution.ended
        if ended and (execution.damaged_bytes or len(execution.records) != ended["mirrored"]):
            problems.append((f"{len(execution.records)} whole records, {ended['mirrored']} were mirrored", execution.journal_file))
        elif ended and execution.chains[-1] != ended["chain"]:
            problems.append(("the records are not those that were mirrored", execution.journal_file))
    return problems


def _lost_in_a_cut_that_nobody_noted(evidence: Evidence, execution: Execution) -> list[Problem]:
    """A coordinator that was killed at a cut had been told what was flushed: the restart behind it must have found that.

    Where the device was held during a restore, the life that was then cut had written a `restored` record itself; that record is from
    before the cut.
    """
    problems: list[Problem] = []
    flushed, hold = 0, ""
    life: tuple[str, int] = ("", 0)
    held_life = life
    for record in evidence.coordinator:
        said = record.payload
        if {"boot_id", "supervisor_started_ns"} <= said.keys():
            life = (said["boot_id"], said["supervisor_started_ns"])
        if said.get("execution") != execution.name:
            continue
        if record.kind == "held":
            flushed, held_life = said["flushed"], life
        elif record.kind in ("cutting", "cut"):
            hold = str(said["hold"]) if record.kind == "cutting" else ""
        elif record.kind == "returned" and hold:
            for restored in execution.of_kind("restored"):
                found = restored.payload["records_found"]
                if (restored.boot_id, restored.payload["supervisor_started_ns"]) == held_life:
                    continue
                if said["mirrored"] < restored.sequence <= said["written"] and found < flushed:
                    problems.append((f"{hold}: {flushed} records were promised, {found} came back", execution.where(restored)))
            hold = ""
    return problems


def restored_state_true(evidence: Evidence, scenario: str) -> list[Problem]:
    """Each restart restored exactly the acknowledged state: journal chain and state hash equal the coordinator's own."""
    problems = []
    for execution in evidence.of(scenario):
        restores = execution.of_kind("restored")
        for record in restores:
            said, through = record.payload, record.payload["through_sequence"]
            if through >= len(execution.chains) or said["chain"] != execution.chains[through]:
                problems.append(
                    (f"restored from a journal that is not the mirrored one (through record {through})", execution.where(record))
                )
                continue
            replay = finished_stages(execution.records[:through])
            if sorted(replay) != said["replay"] or said["state_sha256"] != state_hash(replay):
                lost = [stage for stage in replay if stage not in said["replay"]]
                why = f"; not restored: {', '.join(lost)}" if lost else ""
                reasons = "; ".join(f"{stage}: {reason}" for stage, reason in said["rejected"].items())
                problems.append(
                    (
                        f"the restored state is not the acknowledged one{why}{' (' + reasons + ')' if reasons else ''}",
                        execution.where(record),
                    )
                )
        for cut, after in zip(execution.cuts, [*execution.cuts[1:], None], strict=False):
            if cut.recovered and cut.restored is None and not cut.ended_before and not (after and after.point == "during_resume"):
                problems.append((f"no restored state was recorded after the cut at {cut.hold}", cut.where))
    return problems


def restored_in_time(evidence: Evidence, scenario: str) -> list[Problem]:
    """After each cut whose restart was not itself cut, the state was restored in time, from the supervisor's process start."""
    limit = float(evidence.plan["limits"]["restored_s"])
    problems = _too_late(evidence, scenario, limit, "restored_s", "state restored")
    for execution in evidence.of(scenario):
        for cut, after in zip(execution.cuts, [*execution.cuts[1:], None], strict=False):
            itself_cut = after is not None and after.point == "during_resume"
            if cut.restored and not cut.absent and clocks(execution, cut).restored_s is None and not itself_cut:
                problems.append((f"nothing says when the state was restored after the cut at {cut.hold}", cut.where))
    return problems


def running_again_in_time(evidence: Evidence, scenario: str) -> list[Problem]:
    """After each cut whose restart was not itself cut, the next stage began in time (emulated: limit times slowdown)."""
    return _too_late(evidence, scenario, running_again_limit(evidence), "running_again_s", "running again")


def running_again_limit(evidence: Evidence) -> float:
    """The limit in seconds. Only an emulated board's is scaled, by the fixed-work benchmark of the same run."""
    limit = float(evidence.plan["limits"]["running_again_s"])
    return round(limit * max(1.0, evidence.slowdown or 1.0), 2) if evidence.plan["type"]["emulation"] else limit


def really_rebooted(evidence: Evidence, scenario: str) -> list[Problem]:
    """After a power loss the boot id is another one, after a crash the process is; and nothing restarted that nobody cut."""
    problems = []
    boots, processes, seen = set(), set(), set()
    back = {}
    for record in evidence.coordinator:
        if record.kind in ("hello", "recovered", "reattached", "returned"):
            boot, process = record.payload["boot_id"], record.payload["supervisor_started_ns"]
            if record.kind == "recovered":
                back[record.payload["hold"]] = (boot in boots, process in processes)
            boots.add(boot)
            processes.add(process)
            seen.add((boot, process))
    for execution in evidence.of(scenario):
        for record in execution.of_kind("restored"):
            absent = any(record.sequence in each for each in evidence.unwatched(execution))
            if not absent and (record.boot_id, record.payload["supervisor_started_ns"]) not in seen:
                problems.append(("it restarted, and nobody had cut its power", execution.where(record)))
    for cut in (cut for execution in evidence.of(scenario) for cut in execution.cuts):
        old_boot, old_process = back.get(cut.hold, (False, False))
        if cut.hold not in back:
            problems.append((f"the device did not come back after the cut at {cut.hold}", cut.where))
        elif cut.loss == "power_loss" and old_boot:
            problems.append((f"boot id unchanged over the cut at {cut.hold}", cut.where))
        elif cut.loss == "process_crash" and old_process:
            problems.append((f"the same supervisor process as before the cut at {cut.hold}", cut.where))
    return problems


def _too_late(evidence: Evidence, scenario: str, limit_s: float, clock: str, noun: str) -> list[Problem]:
    """Restarts that took longer than the limit. Time for which a shared host kept the device waiting is not the device's."""
    problems = []
    for execution in evidence.of(scenario):
        unwatched = evidence.unwatched(execution)
        for cut in execution.cuts:
            if cut.restored and any(cut.restored.sequence in each for each in unwatched):
                continue  # nobody was there to let it go on
            took = getattr(clocks(execution, cut), clock)
            waited: float = getattr(host_waits(evidence, execution, cut), clock) or 0.0
            if took is not None and took - min(waited, took) > limit_s:
                said = f"{noun} {took:.2f} s after the cut at {cut.hold} (host wait {waited:.2f} s)"
                problems.append((f"{said}, limit {limit_s:g} s", cut.where))
    return problems


def damage_refused(evidence: Evidence, scenario: str) -> list[Problem]:
    """What was damaged on the disk while the power was off is never gone on with: it is refused, and the reason is said."""
    problems = _never_ran(evidence, scenario)
    damaged = {record.payload["hold"] for record in evidence.coordinator if record.kind == "damaged"}
    refusals = {record.payload["execution"]: record.payload for record in evidence.coordinator if record.kind == "refused"}
    for execution in evidence.of(scenario):
        refusal = refusals.get(execution.name)
        for cut in execution.cuts:
            ran = [line.stage for line in execution.witnessed if _after(line, cut)]
            if cut.hold not in damaged:
                problems.append((f"{cut.hold}: nothing was damaged", cut.where))
            elif execution.ended.get("ending") != "refused" or refusal is None or not refusal.get("reason"):
                problems.append((f"{cut.hold}: {cut.damage} was not refused: {execution.ended.get('ending', 'never ended')}", cut.where))
            elif refusal["by"] == "device" and ran:
                problems.append((f"{cut.hold}: {cut.damage} was refused, but only after {', '.join(ran)} began", cut.where))
        if not execution.cuts:
            problems.append((f"{execution.name}: its disk was never damaged", execution.journal_file))
    return problems


def ran_at_once(evidence: Evidence, scenario: str) -> list[Problem]:
    """Pipelines that were to run at once did: each began before any other had come to its end."""
    problems = []
    for execution in evidence.of(scenario):
        spans: dict[str, tuple[int, int]] = {}  # each pipeline's first and last record
        for record in execution.records:
            if record.kind in ("stage_started", "stage_finished"):
                lane = record.payload["stage"].partition("@")[2]
                first, _ = spans.get(lane, (record.sequence, 0))
                spans[lane] = (first, record.sequence)
        if len(spans) < 2:
            problems.append((f"{execution.name}: only one pipeline ran", execution.journal_file))
        elif max(first for first, _ in spans.values()) > min(last for _, last in spans.values()):
            problems.append((f"{execution.name}: its pipelines ran one after the other", execution.journal_file))
    return problems


_BY_CATEGORY: dict[str, tuple[Check, ...]] = {  # the six of a run's own tests/
    "correctness": (finished, state_equal),
    "reliability": (nothing_repeated, promises_kept, restored_state_true, really_rebooted),
    "performance": (restored_in_time, running_again_in_time),
    "security": (damage_refused,),
    "scalability": (ran_at_once,),
    "observability": (every_stage_witnessed,),
}
CATEGORIES: dict[str, str] = {check.__name__: category for category, checks in _BY_CATEGORY.items() for check in checks}
ABOUT_RESTARTS = frozenset(  # those that ask what survives a restart, and how soon it is there again
    check.__name__ for check in (nothing_repeated, promises_kept, restored_state_true, restored_in_time, running_again_in_time)
)
GENERIC: dict[str, Check] = {check.__name__: check for checks in _BY_CATEGORY.values() for check in checks}
