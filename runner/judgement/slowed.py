"""Was a device really as slow as its clock said? Asked and measured, row by row, from numbers alone; in the run, and whenever it is judged.

    rest   the fixed work without any heat            after  the same, once everything was taken back
    full   under heat, at the full clock  ─┐
    at 1000, at 600 MHz …                 ─┴─► ratio of times, beside the ratio of clocks
    counted while that was timed          ───► of the time in which its busy cores had work, for how much they ran

Beside each, on a device whose processors are this machine's, the same work is timed here. Where it takes longer than before, the machine is
busy, and it is said. And a machine is not equally fast all the time, though nobody in it does more: its neighbours in the same iron do. As
much as its own work took longer at times (`unsteady`, in processor time) the device's may have, so what is timed is held to that much less.
What its kernel counted is exact on any machine: a core that has work runs for the share of the time that its clock stands for.

The device's work is timed in its own processor time where the whole machine is slowed down, and by the clock where it is one
group of it (`by`). What it takes at the full clock is processor time in either case: of a core that is all its own.
"""

from __future__ import annotations

from typing import Any

from runner.judgement.figures import is_number
from runner.judgement.side_by_side import compared
from runner.ondevice import heat
from runner.ondevice.told import told_of

Row = dict[str, Any]
TOLERANCE = 0.2
SENSOR_K = 0.5  # beyond what the model moved while the sensor was read
MOST_UNSTEADY = 2.0  # a machine whose own speed comes and goes by more than that measures nobody's
BUSY = 1.5  # times as long as before takes what is measured beside it: then the machine that measures is said to be busy
HORIZON_S = 3_600.0  # of the model: behind its last point the air stays as it is, and any board has come to rest
HELD_S = 10.0  # a clock that lasts so long is timed by whoever looks again and again: the work takes a slow board some seconds
TICK_S = 0.25  # so often a loop of heat looks
ENOUGH = 10  # measurements of a machine's own speed of which the rare ones are known to be rare
MOST_NS = 2**63
BESIDE_NS = 2_000_000_000  # so near to a stage this machine's own speed was measured beside it
_OWN_IN = {"own_speed": "own", "heat_began": "rest", "heat_full": "sample", "heat_proof": "samples", "heat_lifted": "after"}


def compare(told: Row, full: Row, samples: list[Row], by: str) -> list[Row]:
    """What was measured at each clock, and whether the device was throttled at all; `samples` at the full clock are beside the matter."""
    full_mhz = float(told["throttle"]["full_mhz"])
    rows: list[Row] = []
    unsteadiness = unsteady([full, *samples])
    here = bool(full.get("own"))  # the device's processors are this machine's, whose kernel holds them up and counts
    below = sorted({sample["mhz"] for sample in samples if sample["steady"] and 0 < sample["mhz"] < full_mhz}, reverse=True)
    for mhz in below:
        mine = [sample for sample in samples if sample["steady"] and sample["mhz"] == mhz]
        best = min(mine, key=lambda sample: float(sample["device"][by]))
        asked, measured = mhz / full_mhz, full["device"]["cpu_s"] / best["device"][by]
        low, high = (1 - TOLERANCE) / unsteadiness, (1 + TOLERANCE) * unsteadiness
        said, within = f"{measured:.2f}{_busy(full, best)}", low <= measured / asked <= high and unsteadiness <= MOST_UNSTEADY
        rows.append(compared(f"speed at {mhz:g} MHz", f"{asked:.2f} of the full clock's", said, _tolerance(unsteadiness), within))
        rows += [_granted(mhz, asked, mine)] if here else []
    used_up = max((int(sample["nr_throttled"]) for sample in samples), default=0)
    if below:
        rows.append(compared("periods in which the quota was used up", "some", str(used_up), "", used_up > 0))
    elif must_throttle(told):
        rows.append(compared("throttled", f"a clock below {full_mhz:g} MHz, for a while", "never, or never for long enough", "", False))
    else:
        never = not any(sample["mhz"] < full_mhz for sample in samples if sample["mhz"])
        rows.append(compared("throttled", "never: it stays cool enough", "never" if never else "for a moment", "", never))
    return rows + sensors(samples)


def sensors(samples: list[Row]) -> list[Row]:
    """What the device read of itself, beside what the model said right before and right after."""
    read = [sample for sample in samples if sample.get("sensed") and sample.get("said")]
    wrong: list[str] = []
    worst = 0.0
    for sample in read:
        low, high = (limit(float(each["die_c"]) for each in sample["said"]) for limit in (min, max))
        milli_c = _number(sample["sensed"].get("temperature"))
        if milli_c is None:
            wrong.append("no temperature")
            continue
        worst = max(worst, low - milli_c / 1000, milli_c / 1000 - high)
        khz, clocks = _number(sample["sensed"].get("clock")), {round(float(each["mhz"]) * 1000) for each in sample["said"]}
        if khz not in clocks:
            wrong.append(f"{khz} kHz instead of {min(clocks)}")
        flags, said = sample["sensed"].get("throttled"), {heat.throttled_text(int(each["flags"])) for each in sample["said"]}
        if flags is not None and flags not in said:
            wrong.append(f"{flags} instead of {min(said)}")
    if not read:
        return [compared("sensors", "what the model says", "nobody read them", "", False)]
    measured = f"{worst:.2f} K away at most, in {len(read)} readings" + (f"; {wrong[0]}" if wrong else "")
    return [compared("sensors", "what the model says", measured, f"{SENSOR_K:g} K", worst <= SENSOR_K and not wrong)]


def restored(rest: Row, after: Row, left: list[str], by: str) -> list[Row]:
    """The device is as fast as it was, and nothing is left that slows it. A machine that measures and is busier than before excuses it."""
    measured = rest["device"][by] / after["device"][by]
    excuse = after["own"]["duration_s"] / rest["own"]["duration_s"] if rest["own"] and after["own"] else 1.0
    within = measured >= 1 - TOLERANCE or measured * max(1.0, excuse) >= 1 - TOLERANCE
    rows = [compared("speed", "as before", f"{measured:.2f}{_busy(rest, after)}", f"{TOLERANCE:.0%}", within)]
    return [*rows, compared("what slows it down", "gone", "gone" if not left else f"left: {left[0]}", "", not left)]


def must_throttle(told: Row) -> bool:
    """Whether a board that works all the time must be throttled under this heat, by the model itself."""
    read = told_of(told)
    last_s = read.timeline[-1][0] + (HORIZON_S if read.for_s is None else 0.0)
    end_s = last_s if read.for_s is None else read.for_s * read.pace
    state, at_s = heat.begin(read.body, read.throttle, read.timeline[0][1], read.starts_at_c), 0.0
    while at_s < end_s and state.mhz == read.throttle.full_mhz:
        step_s = max(1.0, min(60.0, end_s / 500))
        state = heat.step(state, read.body, read.throttle, 1.0, heat.ambient_at(read.timeline, at_s), step_s)
        at_s += step_s
    return state.mhz < read.throttle.full_mhz


def not_timed(told: Row, for_s: float, samples: list[Row]) -> list[Row]:
    """A row for each clock that a board which works all the time has for HELD_S at least, within so many seconds of this heat, by the
    model itself, and at which nobody timed it."""
    timed = {float(told["throttle"]["full_mhz"]), *(sample["mhz"] for sample in samples if sample["steady"])}
    return [
        compared(f"timed at {mhz:g} MHz", f"once in {held_s:.0f} s", "not seen", "", False)
        for mhz, held_s in sorted(held(told, for_s).items(), reverse=True)
        if held_s >= HELD_S and mhz not in timed
    ]


def held(told: Row, for_s: float) -> dict[float, float]:
    """Each clock of a board that works all the time under this heat, with the longest time in one piece; in real seconds."""
    read = told_of(told)
    last_s = min(for_s - read.at_s, for_s if read.for_s is None else read.for_s)
    state = heat.begin(read.body, read.throttle, read.timeline[0][1], read.starts_at_c)
    found: dict[float, float] = {}
    piece_s = 0.0
    for number in range(int(last_s / TICK_S)):
        before, air_c = state.mhz, heat.ambient_at(read.timeline, number * TICK_S * read.pace)
        state = heat.step(state, read.body, read.throttle, 1.0, air_c, TICK_S * read.pace)
        piece_s = TICK_S + (piece_s if state.mhz == before else 0.0)
        found[state.mhz] = max(piece_s, found.get(state.mhz, 0.0))
    return found


def unsteady(timed: list[Row]) -> float:
    """How many times as long the same work took on this machine itself at its slowest, while all this was timed; 1 where nobody looked."""
    own = [float(each["own"]["cpu_s"]) for each in timed if each.get("own")]
    return max(own) / min(own) if own else 1.0


def slower_beside(works: list[Row], from_ns: int | None, to_ns: int | None) -> float:
    """How many times as long this machine's own work took between two moments, by `own_works`: as much as it usually comes and goes, or
    more where that was measured just then. One measurement that took long widens nothing but what ran beside it.

    Usually is from the 10th percentile to the 90th, and of fewer than ENOUGH from the fastest to the slowest. 1 where nobody looked.
    """
    times = sorted(float(own["cpu_s"]) for own in works)
    if not times:
        return 1.0
    aside = len(times) // 10 if len(times) >= ENOUGH else 0
    beside = [
        float(own["cpu_s"])
        for own in works
        if from_ns is not None and to_ns is not None and is_number(own.get("at_ns"), MOST_NS)
        if from_ns - BESIDE_NS <= own["at_ns"] <= to_ns + BESIDE_NS
    ]
    return max(times[-1 - aside], *beside) / times[aside] if beside else times[-1 - aside] / times[aside]


def looks(proof: Row) -> list[tuple[int, int]]:
    """When the device was timed under heat, from and to, as the coordinator noted it; nothing of a run of an older version."""
    said = proof.get("looks")
    spans = [span for span in (said if isinstance(said, list) else []) if isinstance(span, list) and len(span) == 2]
    return [(began_ns, ended_ns) for began_ns, ended_ns in spans if type(began_ns) is int and type(ended_ns) is int]


def own_works(kind: str, payload: Row) -> list[Row]:
    """What the coordinator noted of this machine's own work, in a note of that kind; what is no measurement is none."""
    found = payload.get(_OWN_IN.get(kind, ""))
    rows = [each for each in (found if isinstance(found, list) else [found]) if isinstance(each, dict)]
    works = rows if kind == "own_speed" else [each.get("own") for each in rows]
    return [own for own in works if isinstance(own, dict) and is_number(own.get("cpu_s"), HORIZON_S) and own["cpu_s"] > 0]


def _tolerance(unsteadiness: float) -> str:
    """More than nothing is said of what every machine does."""
    said = f"{TOLERANCE:.0%}"
    return said if unsteadiness < 1.1 else f"{said}, and {unsteadiness:.1f} times: this machine's own speed came and went by as much"


def _granted(mhz: float, asked: float, samples: list[Row]) -> Row:
    """For how much of the time in which it had work a core ran, by whoever held it up. Held to a fifth of what it may run, or may not.

    While others have its processor it uses up no quota, and is held up for less: what is asked lies between its share of all the time, and
    of what the others left it. They must not be who held it up: at least half of what is asked is want of quota.
    """
    what, wanted = f"time granted at {mhz:g} MHz", f"{asked:.2f} of a busy core's"
    counted = [sample["counted"] for sample in samples if sample.get("counted")]
    ran_s, held_s, waited_s = (sum(float(each[key]) for each in counted) for key in ("ran_s", "held_s", "waited_s"))
    if ran_s + held_s <= 0:
        return compared(what, wanted, "nobody counted", "", False)
    tolerance = TOLERANCE * min(asked, 1 - asked)
    least, most = ran_s / (ran_s + held_s + waited_s), ran_s / (ran_s + held_s)
    said = f"{least:.3f}" if most - least < 0.01 else f"{least:.3f}, {most:.3f} beside what others took"
    within = least - tolerance <= asked <= most + tolerance and most <= (1 + asked) / 2
    return compared(what, wanted, said, f"{tolerance:.3f}", within)


def _busy(before: Row, during: Row) -> str:
    if not (before["own"] and during["own"]):
        return ""
    times = during["own"]["duration_s"] / before["own"]["duration_s"]
    return f" (this machine is busy: its own work took {times:.1f} times as long as before)" if times > BUSY else ""


def _number(text: Any) -> int | None:
    try:
        return int(text)
    except (TypeError, ValueError):
        return None
