"""What EDGE-001 checks beyond the checks that every entry has: a hot board sees what a cool one sees, all of it, no slower than its clock.

What must be seen is in mocks/golden.json, which another computation than the stages' has made (mocks/reference.py), on no device.

    took, of a stage        from its start to its end in the journal
    of the full clock       of that, the CPU time that its clock granted, less what others on the host took of it meanwhile:
                            ∫ clock ÷ full clock dt − waited
    slower than its clock   that ÷ what the stage took in the baseline ÷ the larger of: measured ÷ asked clock ratio, where it was
                            measured; how many times as long the machine's own work took then (evidence.slower_beside)

At half the clock a stage may take twice as long: then it has used as much of the full clock as before. What is more than LIMIT times
that, at the 95th percentile, is not the clock's doing. Where the board has no core to spare, stages beside which it was timed are
left out. A machine that emulates a board is not equally fast all the time; of one that comes and goes by too much the judge says that
the heat was not proven. How much longer a stage may take for that is in report.html, stage by stage, whether this holds or not.
"""

import json
import math
from pathlib import Path

_GOLDEN = Path(__file__).parent / "mocks" / "golden.json"
LIMIT = 1.2  # times the measured clock ratio
_SHORTEST_S = 0.2  # in the baseline: of what is over sooner, starting and flushing are the most
_TICK_S = 0.3  # the clock changed somewhere between two notes of it: then the lower one counts
_BRISK = "edge-001-brisk"  # there and back within ten seconds, for a fast machine
_NOW = 0xE  # flags that say that the clock is below what it should be, now


def result_golden(evidence, scenario):
    """Every stage came to the very result that was computed beforehand, hot or not: each digest, each file's bytes, each count."""
    problems = []
    for execution in evidence.of(scenario):
        for stage, expected in _golden(evidence, scenario).items():
            for name in _lanes(execution, stage):
                result = execution.outputs[name]
                said = {key: value for key, value in (result.get("data") or {}).items() if key in expected}
                wrong = sorted(key for key in expected if said.get(key) != expected[key])
                if wrong:
                    shown = ", ".join(f"{key} {_short(said.get(key))}, expected {_short(expected[key])}" for key in wrong)
                    problems.append((f"{execution.name}: {name} came to another result: {shown}", execution.journal_file))
                elif (result.get("files") or {}) != _files(name, expected):
                    problems.append((f"{execution.name}: {name} left other bytes on the disk than it computed", execution.journal_file))
    return problems


def no_stage_lost(evidence, scenario):
    """Every stage of every round ended, with "ok" and nothing else; none was skipped, cancelled or left out."""
    problems = []
    for execution in evidence.of(scenario):
        lanes = evidence.plan["scenarios"][scenario].get("lanes") or 1
        for stage in evidence.plan["scenarios"][scenario]["stages"]:
            ended = _lanes(execution, stage)
            if len(ended) < lanes:
                missing = "is missing" if lanes == 1 else f"ended in {len(ended)} of {lanes} lanes"
                problems.append((f"{execution.name}: {stage} {missing}", execution.journal_file))
            for name in ended:
                status = execution.outputs[name].get("status")
                if status != "ok":
                    problems.append((f"{execution.name}: {name} ended as {status!r}", execution.journal_file))
    return problems


def no_slower_than_the_clock(evidence, scenario):
    """At the 95th percentile a stage took at most 1.2 times as long as the clock that was measured explains, held against the baseline;
    on a machine whose own speed came and went, that many times as long."""
    base = _baseline(evidence)
    if not base:
        return [("no baseline finished whose stages could be compared", "config/run_config.json")]
    problems = []
    for execution in evidence.of(scenario):
        rows = evidence.heat(execution.name)
        if not rows:
            continue  # another profile was laid over it
        found, spans = [], [span for span in _spans(execution) if base.get(span[0].partition("@")[0], 0.0) >= _SHORTEST_S]
        for name, start, end in _left_alone(evidence, execution, spans):
            cool_s = base[name.partition("@")[0]]
            used_s = _of_the_full_clock(rows, start.boot_id, start.boottime_ns, end.boottime_ns)
            slower = evidence.slower_beside(execution.name, start, end)
            explained = max(slower, _measured(evidence, execution, rows, start, end)) * _at_once(evidence, scenario)
            found.append((used_s / cool_s / explained, name, used_s, cool_s, slower, end))
        found.sort(key=lambda each: each[0])
        if found:
            ratio, name, used_s, cool_s, slower, record = found[math.ceil(0.95 * len(found)) - 1]
            if ratio > LIMIT:
                said = f"{name} used {used_s:.2f} s of the full clock, and {cool_s:.2f} s in the baseline: {used_s / cool_s:.2f} times"
                said += f", this machine's own work at most {slower:.2f} times" if slower > 1.1 else ""
                problems.append((f"{execution.name}: {said} (95th percentile of {len(found)} stages)", execution.where(record)))
    return problems


def heat_met(evidence, scenario):
    """Stages ran throttled, and behind them some ran with the whole clock again. Else the run shows nothing of one of the two."""
    problems = []
    for execution in evidence.of(scenario):
        rows = evidence.heat(execution.name)
        if not rows:
            continue
        spans = list(_spans(execution))
        throttled = [end.sequence for _, start, end in spans if any(row["flags"] & _NOW for row in _during(rows, start, end))]
        again = [n for n in (end.sequence for _, start, end in spans if _cool(_during(rows, start, end))) if n > min(throttled, default=n)]
        if not throttled:
            problems.append((f"{execution.name}: no stage ran throttled", execution.journal_file))
        elif not again:
            why = _air_still_hot(evidence, execution, rows, spans[-1][2])
            problems.append((f"{execution.name}: no stage ran with the whole clock again{why}", execution.journal_file))
    return problems


def sensors_told(evidence, scenario):
    """While the board was heated every stage could read temperature, clock and flags, before its work and behind it."""
    problems = []
    for execution in evidence.of(scenario):
        rows = evidence.heat(execution.name)
        for name, start, end in _spans(execution) if rows else ():
            said = (end.payload.get("data") or {}).get("sensor")
            if not _during(rows, start, end) or name.partition("@")[0] == "report":
                continue
            readings = said if isinstance(said, list) and len(said) == 2 else [None, None]
            for reading, when in zip(readings, ("before", "behind"), strict=True):
                read = reading if isinstance(reading, dict) else {}
                dumb = [key for key in ("milli_c", "khz", "throttled") if type(read.get(key)) is not int]
                if dumb:
                    problems.append((f"{execution.name}: {name} read no {', '.join(dumb)} {when} its work", execution.where(end)))
    return problems


def deadline_kept(evidence, scenario):
    """A stage that took longer than the deadline that Stageflow was given did not end as if all was well."""
    problems = []
    for execution in evidence.of(scenario):
        for name, _, end in _spans(execution):
            due_ms = (end.payload.get("data") or {}).get("deadline_ms")
            took_ms = end.payload.get("duration_ns", 0) / 1e6
            if type(due_ms) is int and took_ms > due_ms and execution.of_kind("finished"):
                said = f"{name} had {due_ms} ms and took {took_ms:.0f}, ended as {end.payload.get('status')!r}, and so did the pipeline"
                problems.append((f"{execution.name}: {said}", execution.where(end)))
    return problems


# ---- what is right --------------------------------------------------------------------------------------------------


def _golden(evidence, scenario):
    """{stage: what it must come to}."""
    known = json.loads(_GOLDEN.read_text(encoding="utf-8"))
    pipeline = evidence.plan["scenarios"][scenario]["pipeline"]
    return known.get(pipeline, known["baseline"])  # recovery and chaos look at the baseline's belt


def _files(name, expected):
    """The files that a stage leaves, each with the hash of its bytes; in a lane they lie in a folder of its own."""
    lane = name.partition("@")[2]
    return {f"{lane}/{file}" if lane else file: expected["sha256"] for file in expected["files"]}


def _lanes(execution, stage):
    """The names under which a stage ended: its own, or one for each lane."""
    return [name for name in execution.outputs if name.partition("@")[0] == stage]


def _short(value):
    return f"{value[:12]}…" if isinstance(value, str) and len(value) > 13 else repr(value)


# ---- how long it took ------------------------------------------------------------------------------------------------


def _spans(execution):
    """(stage, its start, its end) of each stage that ended in the boot in which it began."""
    begun = {}
    for record in execution.records:
        if record.kind == "stage_started":
            begun[record.payload["stage"]] = record
        elif record.kind == "stage_finished":
            start = begun.pop(record.payload["stage"], None)
            if start is not None and start.boot_id == record.boot_id:
                yield record.payload["stage"], start, record


def _baseline(evidence):
    """{stage: seconds that it took in the baseline}."""
    return {
        name: (end.boottime_ns - start.boottime_ns) / 1e9 for execution in evidence.of("baseline") for name, start, end in _spans(execution)
    }


def _during(rows, start, end):
    """The notes of the heat from the one before a stage began to the one behind its end, in its boot; [] where there was none."""
    mine = [row for row in rows if row["boot_id"] == start.boot_id and row["on"]]
    first = max((n for n, row in enumerate(mine) if row["boottime_ns"] <= start.boottime_ns), default=0)
    last = min((n for n, row in enumerate(mine) if row["boottime_ns"] >= end.boottime_ns), default=len(mine) - 1)
    inside = mine[first : last + 1]
    near_ns = 2_000_000_000
    met = inside and inside[0]["boottime_ns"] < end.boottime_ns + near_ns and inside[-1]["boottime_ns"] > start.boottime_ns - near_ns
    return inside if met else []


def _air_still_hot(evidence, execution, rows, last):
    """Why nothing could run with the whole clock again, where colder air was to come when the last stage ended; else ""."""
    air = evidence.planned(execution.name)["heat"]["asked"]["ambient_c"]
    coldest_c = min(point["c"] for point in air) if isinstance(air, list) else air
    until = [row for row in rows if row["on"] and (row["boot_id"] != last.boot_id or row["boottime_ns"] <= last.boottime_ns)]
    seen_c = min((row["ambient_c"] for row in until), default=coldest_c)
    if seen_c <= coldest_c:
        return ""
    profile = str(evidence.plan["scenarios"][execution.scenario]["profile"])
    still = f"it was done before the air cooled from {seen_c:g} to {coldest_c:g} °C"
    return f": {still}" if _BRISK in profile else f": {still}; --profile {_BRISK} on a fast machine"


def _cool(rows):
    return bool(rows) and not any(row["flags"] & _NOW for row in rows)


def _of_the_full_clock(rows, boot, from_ns, to_ns):
    """Seconds: what the clock granted between two moments, less what others on the host took; where nothing is noted, all of it."""
    used_s, at_ns = 0.0, from_ns
    mine = [row for row in rows if row["boot_id"] == boot and row["boottime_ns"] > from_ns - _TICK_S * 1e9]
    before = [row for row in rows if row["boot_id"] == boot and row["boottime_ns"] <= from_ns]
    quota = before[-1]["quota"] if before else 1.0
    for row in mine:
        if row["boottime_ns"] > at_ns:
            until_ns = min(row["boottime_ns"], to_ns)
            part_s = (until_ns - at_ns) / 1e9
            tick_s = row["dt_s"] or part_s
            used_s += max(0.0, part_s * min(quota, row["quota"]) - row["waited_s"] * min(1.0, part_s / tick_s))
            at_ns = until_ns
            if at_ns >= to_ns:
                break
        quota = row["quota"]
    return used_s + (to_ns - at_ns) / 1e9 * quota


def _left_alone(evidence, execution, spans):
    """The stages beside which the device was not timed on the core that they run on: such a one has half of it, or less, and that is not
    its doing."""
    timed = evidence.timed_beside(execution, [(start, end) for _, start, end in spans])
    return [span for span, beside in zip(spans, timed, strict=True) if not beside]


def _at_once(evidence, scenario):
    """How many lanes share a core, the baseline having had one for itself."""
    return max(1.0, evidence.lanes(scenario) / evidence.cores)


def _measured(evidence, execution, rows, start, end):
    """How much slower than its clock asks the board was measured to be while a stage ran; 1 where nobody measured at that clock."""
    slower, inside = _slower(evidence, execution), _during(rows, start, end)
    whole_s = sum(row["dt_s"] for row in inside)
    return sum(row["dt_s"] * slower.get(row["mhz"], 1.0) for row in inside) / whole_s if whole_s else 1.0


def _slower(evidence, execution):
    """{MHz: time of the fixed work there ÷ its time at the full clock ÷ the ratio of the clocks}, by the best of what was measured."""
    noted = {r.kind: r.payload for r in evidence.coordinator if r.payload.get("execution") == execution.name}
    full, by = noted.get("heat_full", {}).get("sample"), noted.get("heat_began", {}).get("by")
    found = {}
    for sample in noted.get("heat_proof", {}).get("samples", []) if full else []:
        if sample["steady"] and sample["mhz"]:
            ratio = sample["device"][by] / full["device"][by] / (full["mhz"] / sample["mhz"])
            found[sample["mhz"]] = max(1.0, min(ratio, found.get(sample["mhz"], ratio)))
    return found
