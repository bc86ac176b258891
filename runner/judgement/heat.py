"""Was there the heat that was planned, did it slow the device down as it says, and did the device read of itself what was so?

    plan               what was to be told          ─┐
    heat.jsonl         what was told, tick by tick  ─┼─► computed again from its loads alone (runner/ondevice/heat.py): contradictions
    coordinator        the fixed work at each clock ─┼─► as slow as asked?                                            (slowed.py)
    device's journals  what was read of itself      ─┼─► beside the tick of that moment
    device's guard     what it took back, and when  ─┴─► of a device that heats itself: not before its time

Two kinds of answer. Evidence that contradicts itself gets no verdict: a temperature that does not follow from the load that stands beside
it, a clock that does not follow from the temperature, a quota that is not the clock's. What is whole, and not what was asked for, was not
reached: the run is blocked, never a pass.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Any, NamedTuple

from runner.judgement import side_by_side, slowed
from runner.judgement.checks import Problem
from runner.judgement.evidence import Evidence, Execution
from runner.judgement.figures import number_of
from runner.judgement.heat_log import Heat, Tick
from runner.judgement.links import MARKS, was_there_all_along
from runner.judgement.side_by_side import compared
from runner.ondevice import heat as model
from runner.ondevice.told import ASKED, ITS_END, Told, told_of

Row = dict[str, Any]

TOLERANCE_K = 0.2  # between a temperature that was noted and one that is computed again
LOAD_TOLERANCE, SHARE_TOLERANCE, AIR_TOLERANCE_K = 0.01, 0.02, 0.01
LONGEST_GAP_S = 5.0  # between two ticks: the clock is not what the temperature says for so long
LATEST_S = 10.0  # behind its stage a heat comes on: the coordinator hears of the stage first, over the device's link
READ_TOLERANCE_K, READ_WITHIN_S = 0.5, 2.0  # what a stage reads was said within this time, by a model that went on meanwhile
FILE = "results/journal/heat.jsonl"


# ---- what was planned --------------------------------------------------------------------------------------------------------------


def planned(evidence: Evidence, name: str) -> Row | None:
    """The heat that an execution of this name was to have: {"asked", "body"}, as the plan has it; None for one without."""
    heat = evidence.planned(name).get("heat")
    return heat if isinstance(heat, dict) and isinstance(heat.get("asked"), dict) and isinstance(heat.get("body"), dict) else None


def program(name: str) -> str:
    """The name of the program that heats the execution of this name."""
    return f"{name}.thermal-1"


def to_be_told(heat: Row) -> Row:
    """What a loop is told for a planned heat, but for its limits. `HeatPlan.told` says the same; a test holds one against the other."""
    asked, body = heat["asked"], heat["body"]
    names = ("die_j_k", "board_j_k", "die_to_board_k_w", "board_to_air_k_w", "idle_w", "busy_w", "exponent")
    said: Row = {name: body[name] for name in names}
    if fan := body.get("fan"):
        said["fan_steps"] = [[step["at_c"], step["percent"] / 100] for step in fan["steps"]]
        said |= {"fan_k_w": fan["board_to_air_k_w"], "fan_hysteresis_k": fan["hysteresis_k"]}
    throttle = {key: body[key] for key in ("full_mhz", "hysteresis_k", "critical_c")}
    throttle["steps"] = [[step["at_c"], step["mhz"], step["word"]] for step in body["steps"]]
    air = asked["ambient_c"]
    timeline = [[point["at_s"], point["c"]] for point in air] if isinstance(air, list) else [[0.0, air]]
    others = {name: asked.get(name) for name in ("starts_at_c", "fan", "air", "pace", "at_s", "for_s")}
    return {"body": said, "throttle": throttle, "timeline": timeline, **others}


# ---- contradictions -----------------------------------------------------------------------------------------------------------------


def contradictions(evidence: Evidence) -> list[Problem]:
    """All that cannot be so: in a heat itself, and between it, the plan, and what was noted of it."""
    log = evidence.heated
    problems: list[Problem] = [("is no line that whoever heats writes", f"{FILE}:{number}") for number in log.strange]
    for heat in log.heats:
        where, plan = f"{FILE}:{heat.line}", planned(evidence, heat.execution)
        if heat.told.get("run") != evidence.config["run_token"]:
            problems.append(("this heat is another run's", where))
        elif plan is None:
            problems.append((f"{heat.execution or 'nobody'} was heated, and no heat was planned", where))
        else:
            problems += [(f"{heat.execution}: {said}", where) for said in _not_as_planned(heat, plan)]
        problems += [(f"{heat.execution}: {said}", f"{FILE}:{line}") for said, line in recomputed(heat)]
    told = {heat.execution for heat in log.heats}
    for record in evidence.coordinator:
        if record.kind == "heat_began" and (name := record.payload["execution"]) not in told and _noted(evidence, "heat_full", name):
            problems.append((f"{name}: heat began, and nothing shows any", f"results/journal/coordinator.journal#{record.sequence}"))
    return problems


def _not_as_planned(heat: Heat, plan: Row) -> list[str]:
    try:
        wanted = to_be_told(plan)
    except (KeyError, TypeError, ValueError, AttributeError):
        return ["the plan has a heat that nobody can be told"]
    wrong = [key for key, value in wanted.items() if heat.told.get(key, value) != value or (key not in heat.told and value is not None)]
    return [f"what was told is not what was planned: {', '.join(wrong)}"] if wrong else []


def recomputed(heat: Heat) -> list[tuple[str, int]]:
    """What does not follow from the loads of a heat's own lines, each kind once, with its line."""
    try:
        told = told_of(heat.told)
    except ValueError as error:
        return [(str(error), heat.line)]
    found: dict[str, tuple[str, int]] = {}
    state = model.begin(told.body, told.throttle, told.timeline[0][1], told.starts_at_c)
    before: Tick | None = None
    for tick in heat.ticks:
        if tick.dt_s < 0:
            return [*found.values(), ("time runs backwards", tick.line)]
        if tick.model_s > 0:
            step_s = min(tick.dt_s, tick.model_s / told.pace) * told.pace
            state = model.step(state, told.body, told.throttle, tick.load, tick.ambient_c, step_s, tick.powered)
        wrong = {
            "time": _time(told, before, tick),
            "air": _air(told, tick),
            "load": _load(tick),
            "temperature": _temperature(state, tick),
            "clock": _clock(state, tick),
            "quota": _quota(told, tick),
        }
        for rule, said in wrong.items():
            if said and rule not in found:
                found[rule] = (said, tick.line)
        before = tick
    cores = _cores(heat)
    if cores is not None:
        found["cores"] = cores
    return sorted(found.values(), key=lambda each: each[1])


def _time(told: Told, before: Tick | None, tick: Tick) -> str:
    """The model's time goes `pace` times as fast as the clock, from when the heat came on; what is counted never falls."""
    if tick.on != (tick.model_s > 0):
        return f"the heat is {'on' if tick.on else 'off'} at {tick.model_s:g} s of the model"
    if before is None:
        return ""
    if tick.nr_throttled < before.nr_throttled or tick.throttled_s < before.throttled_s - 1e-3:
        return "what is counted of the quota fell"
    passed, due = tick.model_s - before.model_s, tick.dt_s * told.pace
    late = not before.on and 0 <= passed <= due * 1.01 + 1e-3  # it came on in between, or waits still
    return "" if late or abs(passed - due) <= due * 0.01 + 1e-3 else f"{tick.dt_s:.3f} s passed, and {passed:.3f} s of the model"


def _air(told: Told, tick: Tick) -> str:
    due = model.ambient_at(told.timeline, tick.model_s)
    return "" if abs(due - tick.ambient_c) <= AIR_TOLERANCE_K else f"the air is {tick.ambient_c:g} °C, by its timeline {due:.2f}"


def _load(tick: Tick) -> str:
    """What ran and what waited, of what was granted."""
    if tick.granted_s <= 0:
        return "" if tick.load == 0 else f"a load of {tick.load:g}, and nothing was granted"
    due = min(1.0, (tick.cpu_s + tick.waited_s) / tick.granted_s)
    return "" if abs(due - tick.load) <= LOAD_TOLERANCE else f"a load of {tick.load:g}, by what ran and waited {due:.4f}"


def _temperature(state: model.State, tick: Tick) -> str:
    for word, noted, due in (("die", tick.die_c, state.die_c), ("board", tick.board_c, state.board_c)):
        if abs(noted - due) > TOLERANCE_K:
            return f"the {word} is {noted:.2f} °C, and from the load alone {due:.2f}"
    return ""


def _clock(state: model.State, tick: Tick) -> str:
    noted, due = (tick.mhz, tick.flags, tick.critical), (state.mhz, state.flags, state.critical)
    if noted == due:
        return ""
    shown, wanted = (f"{mhz:g} MHz, flags {flags:#x}{', critical' if critical else ''}" for mhz, flags, critical in (noted, due))
    return f"{shown}, and from the load alone {wanted}"


def _quota(told: Told, tick: Tick) -> str:
    """Each core has the share that its clock stands for; all of it where there is no power, or no heat yet."""
    due = model.quota(tick.mhz, told.throttle.full_mhz) if tick.powered and tick.on else 1.0
    return "" if abs(tick.quota - due) <= 1e-3 else f"a quota of {tick.quota:g}, and by the clock {due:.4f}"


def _cores(heat: Heat) -> tuple[str, int] | None:
    """What was granted is the quota of so many whole cores, always as many."""
    seen: int | None = None
    for before, tick in zip(heat.ticks, heat.ticks[1:], strict=False):
        whole = before.quota * tick.dt_s
        if whole <= 1e-3 or not (before.powered and tick.powered) or tick.granted_s == 0:
            continue
        cores = tick.granted_s / whole
        if round(cores) < 1 or abs(cores - round(cores)) > SHARE_TOLERANCE * cores or round(cores) != (seen or round(cores)):
            return f"{tick.granted_s:.4f} s were granted, of {before.quota:g} of a core for {tick.dt_s:.4f} s", tick.line
        seen = round(cores)
    return None


# ---- reached or not -----------------------------------------------------------------------------------------------------------------


def not_reached(evidence: Evidence) -> list[Problem]:
    """What of the heat is not as it was asked, of executions that came to their end."""
    return [
        (f"{execution.name}: {side_by_side.said(row)}", execution.journal_file)
        for execution in evidence.executions
        if execution.ended.get("ending") in ("finished", "failed", "limit")
        for row in rows(evidence, execution)
        if not row["within"]
    ]


def rows(evidence: Evidence, execution: Execution) -> list[Row]:
    """Asked and measured of an execution's heat, each with `within`; none for an execution without."""
    plan = planned(evidence, execution.name)
    if plan is None:
        return []
    heats = [heat for heat in evidence.heated.heats if heat.execution == execution.name and heat.ticks]
    if not heats:
        return [compared("heat", "as planned", "it never came on", "", False)]
    heat, marks = heats[-1], _marks(evidence, execution)
    return [
        _on(plan, heat, marks),
        *_by_its_guard(evidence, execution),
        _looked(heat),
        *_no_more_than_granted(heat),
        _steady(evidence, execution.name),
        *_throttled_in_a_stage(heat, marks),
        *_read_by_stages(evidence, execution, heat),
        *_read_by_samples(evidence, execution, heat),
        *_timed(evidence, execution.name),
    ]


class Mark(NamedTuple):
    """How far an execution has come, by the coordinator's clock; `stage` is its name without a lane, "" behind the last one."""

    kind: str
    stage: str
    at_ns: int


def _marks(evidence: Evidence, execution: Execution) -> list[Mark]:
    """All that says how far an execution has come; boots without a hello have no place."""
    anchors = evidence.clock_anchors
    return [
        Mark(record.kind, str(record.payload.get("stage", "")).partition("@")[0], record.boottime_ns + anchors[record.boot_id][0])
        for record in execution.records
        if record.kind in MARKS and record.boot_id in anchors
    ]


def _on(plan: Row, heat: Heat, marks: list[Mark]) -> Row:
    """Constant heat was on from before the first stage to behind the end; another one from its stage and its seconds on, for as long as
    it lasts, or to the end. It ended as heat ends."""
    on, asked = [tick.boottime_ns for tick in heat.ticks if tick.on], plan["asked"]
    constant = not asked.get("at_s") and asked.get("for_s") is None and not asked.get("stage")
    wanted = "from before the first stage to the end" if constant else _its_time(asked)
    if not on or not marks:
        return compared("heat, on", wanted, "never" if not on else "no stage ran", "", False)
    last_ns = max(mark.at_ns for mark in marks)
    due_ns = min(mark.at_ns for mark in marks) if constant else _begins_ns(asked, marks)
    for_s = number_of(asked.get("for_s"))
    until_ns = last_ns if for_s is None else min(last_ns, on[0] + int(for_s * 1e9))
    late_s = 0.0 if due_ns is None else (on[0] - due_ns) / 1e9
    late = late_s > (LONGEST_GAP_S if constant else LATEST_S)
    met = due_ns is not None and not late and on[-1] + int(LONGEST_GAP_S * 1e9) >= until_ns and (constant or on[0] < last_ns)
    said = f"{(on[-1] - on[0]) / 1e9:.1f} s, then {heat.ended or 'nothing says why it ended'}" + (f"; {late_s:.1f} s late" if late else "")
    return compared("heat, on", wanted, said, "", met and heat.ended in (ASKED, ITS_END))


def _its_time(asked: Row) -> str:
    """When a heat is to be on that is not on all along, in words."""
    stage = f"the {asked.get('edge') or 'start'} of {asked.get('stage') or 'the first stage'}"
    at_s, for_s = number_of(asked.get("at_s")), number_of(asked.get("for_s"))
    begins = f"from {at_s:g} s behind {stage}" if at_s else f"from {stage}"
    return f"{begins} to the end" if for_s is None else f"{begins} for {for_s:g} s, or to the end"


def _begins_ns(asked: Row, marks: list[Mark]) -> int | None:
    """When it is to come on, as a run has it begin (`hear` in runner/story/heat.py); None where its stage never came."""
    kind = "stage_finished" if asked.get("stage") and asked.get("edge") == "end" else "stage_started"
    edges = [mark.at_ns for mark in marks if mark.kind == kind and mark.stage == (asked.get("stage") or mark.stage)]
    return edges[0] + int((number_of(asked.get("at_s")) or 0.0) * 1e9) if edges else None


def _by_its_guard(evidence: Evidence, execution: Execution) -> list[Row]:
    """Of a device that heats itself: its guard held the program all along. Whoever ends such a heat asks the loop to, so that its own
    log says "asked" of a hard abort, too. Of a device that others heat the log says why it ended."""
    own = _heats_itself(_noted(evidence, "heat_began", execution.name))
    return was_there_all_along(evidence, execution, program(execution.name)) if own else []


def _heats_itself(began: Row) -> bool:
    """Whether the loop was the device's own process, by the program that was noted."""
    try:
        return any("heater" in act["argv"] for each in began["programs"] for step in each["steps"] for act in step["acts"])
    except (KeyError, TypeError):
        return False


def _looked(heat: Heat) -> Row:
    """Clock and temperature went together all the while: somebody looked, again and again."""
    behind_s = (heat.ended_ns - heat.ticks[-1].boottime_ns) / 1e9 if heat.ended else 0.0
    longest_s = max([behind_s, *(tick.dt_s for tick in heat.ticks if tick.on)])
    tolerance, within = f"{LONGEST_GAP_S:g} s", longest_s <= LONGEST_GAP_S
    return compared("longest time between two looks", "a moment", f"{longest_s:.2f} s", tolerance, within)


def _no_more_than_granted(heat: Heat) -> Iterator[Row]:
    """While the clock was below its full one the cores ran for no longer than they might: all the time, and not where somebody measured."""
    below = [tick for before, tick in zip(heat.ticks, heat.ticks[1:], strict=False) if before.quota < 1 and tick.powered]
    granted_s, ran_s = sum(tick.granted_s for tick in below), sum(tick.cpu_s for tick in below)
    if granted_s > 0:
        yield compared("ran, of what was granted", "1 at most", f"{ran_s / granted_s:.2f}", "10%", ran_s <= 1.1 * granted_s)


def _steady(evidence: Evidence, name: str) -> Row:
    """A machine whose own speed comes and goes by too much says nothing of how long a stage took."""
    times, most = evidence.unsteady(name), slowed.MOST_UNSTEADY
    usual = evidence.usually_slower(name)
    said = f"its own work took up to {times:.1f} times as long, {usual:.1f} times but for the rare ones"
    return compared("this machine's own speed", "nearly the same all the time", said, f"{most:g} times", times <= most)


def _throttled_in_a_stage(heat: Heat, marks: list[Mark]) -> Iterator[Row]:
    """Where the clock was below its full one, the quota was used up while a stage ran: then the stage was held up by it."""
    full_mhz = max(tick.mhz for tick in heat.ticks)
    if not any(tick.on and tick.powered and tick.mhz < full_mhz for tick in heat.ticks) or not marks:
        return  # whether it had to be is asked by `slowed.compare`
    first, last = min(mark.at_ns for mark in marks), max(mark.at_ns for mark in marks)
    periods, slow_s = 0, 0.0
    for before, tick in zip(heat.ticks, heat.ticks[1:], strict=False):
        if first <= tick.boottime_ns and before.boottime_ns <= last and before.quota < 1:
            periods += tick.nr_throttled - before.nr_throttled
            slow_s += tick.dt_s
    said = f"{slow_s:.1f} s below the full clock, {periods} periods without quota"
    yield compared("held up while stages ran", "some", said, "", periods > 0)


class Reading(NamedTuple):
    """What somebody read of the sensors, and when by the coordinator's clock."""

    who: str
    at_ns: int
    said: Row


def _read_by_stages(evidence: Evidence, execution: Execution, heat: Heat) -> Iterator[Row]:
    """What stages say that their sensors read, if they say so. One row of all of them."""
    anchors = evidence.clock_anchors
    said = [
        (record.payload["stage"], reading, str(reading.get("boot")).replace("-", ""), reading.get("boottime_ns"))
        for record in execution.of_kind("stage_finished")
        if isinstance(sensor := record.payload["data"].get("sensor"), list)
        for reading in sensor
        if isinstance(reading, dict)
    ]
    if said:
        known = [(stage, reading, boot, at_ns) for stage, reading, boot, at_ns in said if boot in anchors and type(at_ns) is int]
        readings = [Reading(stage, at_ns + anchors[boot][0], reading) for stage, reading, boot, at_ns in known]
        yield _as_told("what stages read of the heat", heat, readings, whole=True)


def _read_by_samples(evidence: Evidence, execution: Execution, heat: Heat) -> Iterator[Row]:
    """What the device's own telemetry read, where it reads such sensors: what it could not read is a gap there."""
    anchors = evidence.clock_anchors
    readings = [
        Reading("a sample", record.boottime_ns + anchors[record.boot_id][0], said)
        for record in execution.of_kind("sample")
        if isinstance(said := record.payload.get("sensors"), dict) and record.boot_id in anchors
    ]
    if any(_told(heat.ticks, each.at_ns) for each in readings):
        yield _as_told("what telemetry read of the heat", heat, readings, whole=False)


def _as_told(what: str, heat: Heat, readings: list[Reading], *, whole: bool) -> Row:
    """Each as it was told within two seconds; `whole`: each has a temperature."""
    worst_k, wrong, seen = 0.0, list[str](), 0
    for who, near, said in ((each.who, _told(heat.ticks, each.at_ns), each.said) for each in readings):
        if not near:
            continue
        seen += 1
        milli_c, khz, flags = number_of(said.get("milli_c")), said.get("khz"), said.get("throttled")
        low, high = min(tick.die_c for tick in near), max(tick.die_c for tick in near)
        if milli_c is not None:
            worst_k = max(worst_k, low - milli_c / 1000, milli_c / 1000 - high)
        elif whole or said.get("milli_c") is not None:
            wrong.append(f"{who} read no temperature")
            continue
        if khz is not None and not any(khz == round(tick.mhz * 1000) for tick in near):
            wrong.append(f"{who} read {khz} kHz instead of {near[-1].mhz * 1000:.0f}")
        if flags is not None and not any(flags == tick.flags for tick in near):
            wrong.append(f"{who} read flags {flags if type(flags) is not int else hex(flags)} instead of {near[-1].flags:#x}")
    measured = f"{max(0.0, worst_k):.2f} K away at most, in {seen} readings" + (f"; {wrong[0]}" if wrong else "")
    return compared(what, "as it was", measured, f"{READ_TOLERANCE_K:g} K", bool(seen) and worst_k <= READ_TOLERANCE_K and not wrong)


def _told(ticks: list[Tick], at_ns: int) -> list[Tick]:
    """The ticks around a moment, within which whatever is read then was told; [] where there was no heat, it only just came on, or the
    device had no power."""
    within_ns = int(READ_WITHIN_S * 1e9)
    if not ticks or at_ns - ticks[0].boottime_ns < within_ns // 4 or at_ns > ticks[-1].boottime_ns + within_ns:
        return []
    before = bisect_right(ticks, at_ns, key=_when) - 1
    first = bisect_left(ticks, at_ns - within_ns, key=_when)
    last = bisect_right(ticks, at_ns + within_ns // 4, key=_when) - 1
    near = ticks[max(0, min(first, before)) : last + 2]
    return near if all(tick.powered for tick in near) else []


def _when(tick: Tick) -> int:
    return tick.boottime_ns


def _timed(evidence: Evidence, name: str) -> list[Row]:
    """The fixed work, there and here: at each clock, and behind it all. What nobody measured, or what is no measurement, is not reached."""
    began, full, proof, lifted = (_noted(evidence, kind, name) for kind in ("heat_began", "heat_full", "heat_proof", "heat_lifted"))
    if not began or not full or not proof:
        return [compared("speed", "measured", "nobody did", "", False)]
    try:
        found = slowed.compare(began["told"], full["sample"], proof["samples"], began["by"])
        if lifted:
            found += slowed.restored(began["rest"], lifted["after"], lifted["left"], began["by"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError, IndexError) as error:
        return [compared("speed", "measured", f"what was noted is no measurement: {type(error).__name__}", "", False)]
    return found if lifted else [*found, compared("speed afterwards", "measured", "nobody did", "", False)]


def _noted(evidence: Evidence, kind: str, execution: str) -> Row:
    """What the coordinator noted last of a kind about an execution; {} for nothing."""
    found = [r.payload for r in evidence.coordinator if r.kind == kind and r.payload.get("execution") == execution]
    return found[-1] if found else {}
