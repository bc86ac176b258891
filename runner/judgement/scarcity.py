"""Had the device as little as was planned, for as long, and was its clock as wrong? Read from the evidence again, whoever said so before.

    on, taken back   the guard's journal beside the execution's own, as of a link fault (links.py)
    tried out        the numbers in `scarcity_proof`: a hog is killed, a busy process gets its share, a file meets its error
    in its figures   each reading in the device's journal (samples, and `confined` behind the last stage) while it was on
    afterwards       the numbers in `scarcity_lifted`: no group, no small disk, the clock as it was

A scarcity that was not reached says nothing about the software under test: the run is blocked, never a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from runner.judgement import side_by_side
from runner.judgement.asked import constant, named
from runner.judgement.checks import Problem
from runner.judgement.evidence import Evidence, Execution
from runner.judgement.figures import is_number
from runner.judgement.links import note, was_there
from runner.judgement.side_by_side import compared
from runner.judgement.windows import Window, windows
from runner.ondevice.journal import Record
from runner.ondevice.scarce_figures import ERRORS, quota_of

Row = dict[str, Any]

SHARE_TOLERANCE = 0.20  # of a share of a core, against what a busy process got
CLOCK_TOLERANCE_S, CLOCK_ITSELF_PPM = 2.0, 500.0  # a reading's own error, and what any clock drifts by itself
DRIFT_STEP_S, READ_S = 0.1, 0.005  # a drift moves the clock so often; between two clocks that are read a slow board may lose so much
MIB = 1 << 20
NO_ROOM_BYTES = 64 << 10  # a full disk has no more in one reading at least: what an application removes there is room again
_ALL_USED = {"full": ("free_bytes", NO_ROOM_BYTES, "bytes"), "no_inodes": ("free_inodes", 0, "inodes")}
_SPOILT = {"read_only": ("read_only", "read-only"), "io_errors": ("fails", "failing")}
READ_BEFORE_NS = 200_000_000  # figures are read before their record has its time: on a slow board by some milliseconds
ON_A_CLOCK_S, ON_A_CLOCK = 1.0, 3  # for so long, and so often, a clock is looked at before anybody knows its drift


def rows(evidence: Evidence, execution: Execution) -> list[Row]:
    """Asked and measured of what an execution was to have too little of, each with `within`; none where it was to have enough."""
    faults = planned(evidence, execution.name)
    if not faults:
        return []
    began, proof, lifted = (note(evidence, kind, execution.name) for kind in ("scarcity_began", "scarcity_proof", "scarcity_lifted"))
    if began is None:
        return [compared("scarcity", "as planned", "it never began", "", False)]
    changes, asked, found = evidence.faults(execution.name), named(faults, execution.name), list[Row]()
    for program, fault in asked.items():
        found += was_there(evidence, execution, program, fault, changes)
        spans = windows([change for change in changes if change["program"] == program])
        found += in_figures(program, fault, execution.records, spans, began["before"])
    held = [fault for fault in faults if constant(fault)]
    if held:
        found += compare(held, began["before"], proof["during"]) if proof else [compared("tried out", "at once", "nobody did", "", False)]
    if not lifted:
        return [*found, compared("afterwards", "as before", "nobody looked", "", False)]
    return found + restored(began["before"], lifted["after"])


def not_reached(evidence: Evidence) -> list[Problem]:
    """What of it is not as it was asked, of executions that came to their end."""
    return [
        (f"{execution.name}: {side_by_side.said(row)}", execution.journal_file)
        for execution in evidence.executions
        if execution.ended.get("ending") in ("finished", "failed", "limit")
        for row in rows(evidence, execution)
        if not row["within"]
    ]


def planned(evidence: Evidence, name: str) -> list[Row]:
    """What the execution of this name was to have too little of."""
    return list(evidence.planned(name).get("scarcities") or ())


# ---- tried out at once -----------------------------------------------------------------------------------------------------------


def compare(faults: list[Row], before: Row, during: Row) -> list[Row]:
    """What is asked of each fault that is on all along, and what was found when it was tried out. A number that is not there was not."""
    found = []
    for fault in faults:
        if fault["fault"] == "resources":
            found += _limits(fault, _part(during, "confined")) + _tried_limits(fault, _part(during, "tried"))
        elif fault["fault"] == "disk":
            found.append(_tried_disk(fault, _part(during, "disk")))
        elif fault["fault"] == "clock":
            found += _clock(fault, before, during)
    return found


def _limits(fault: Row, figures: Row) -> list[Row]:
    """The limits of the pipeline's own group, as the kernel says them."""
    return [
        compared(f"limit of {what}", said_of(asked), said_of(read(figures)), "", read(figures) == asked)
        for what, read, asked, said_of in _asked(fault)
    ]


def _tried_limits(fault: Row, tried: Row) -> list[Row]:
    found = []
    if fault.get("memory_mib") is not None:
        said, asked = _part(tried, "memory"), fault["memory_mib"] * MIB
        kills, peak = _number(said.get("oom_kills")), _number(said.get("memory_peak_bytes"))
        measured = f"killed {kills or 0} times, peak {_mib(peak)}" if said else "nobody tried"
        within = bool(kills) and said.get("killed") is True and (peak is None or peak <= asked)
        found.append(compared("who wants more memory", f"killed at {_mib(asked)}", measured, "", within))
    if fault.get("cpu_share") is not None:
        found.append(_share(float(fault["cpu_share"]), _part(tried, "cpu")))
    if fault.get("processes") is not None:
        said = _part(tried, "processes")
        started, refused = _number(said.get("started")), _number(said.get("refused"))
        measured = f"{started} and then refused {refused} times" if said else "nobody tried"
        found.append(compared("processes at once", str(fault["processes"]), measured, "", started == fault["processes"] and bool(refused)))
    return found


def _share(asked: float, said: Row) -> Row:
    """One busy process gets no more than one core, whatever its group may have."""
    wanted = min(1.0, asked)
    free, got = [_number(said.get(key)) for key in ("before", "after")], _number(said.get("during"))
    what, tolerance = "a busy process gets", f"{SHARE_TOLERANCE:.0%}"
    if got is None or None in free:
        return compared(what, f"{wanted:g} of a core", "nobody tried", tolerance, False)
    least = min(float(each or 0) for each in free)
    words = f"{got:.3f}; {least:.3f} without the limit, a moment before and after"
    if asked < 1 and least < wanted * (1 + SHARE_TOLERANCE):
        return compared(what, f"{wanted:g} of a core", f"{words}: the machine is too busy to tell", tolerance, False)
    held = abs(got - wanted) <= SHARE_TOLERANCE * wanted and bool(_number(said.get("throttled_periods")))
    return compared(what, f"{wanted:g} of a core", words, tolerance, held if asked < 1 else got <= asked)


def _tried_disk(fault: Row, disk: Row) -> Row:
    """What becomes of a file of ours on the small disk."""
    what, expected = str(fault["what"]), ERRORS.get(str(fault["what"]), ())
    measured = f"{disk.get('tried') or 'it is taken'}, {_bytes(disk.get('free_bytes'))} and {disk.get('free_inodes')} inodes free"
    within = disk.get("tried") in expected
    within = within and (what != "full" or disk.get("free_bytes") == 0) and (what != "no_inodes" or disk.get("free_inodes") == 0)
    return compared("a file on the small disk", " or ".join(expected), measured if disk else "no such disk", "", within)


def _clock(fault: Row, before: Row, during: Row) -> list[Row]:
    """The wall clock against the boot-time clock, now and before; of a drift two looks, some time apart."""
    was, now = offset_s(_part(before, "clock")), offset_s(_part(during, "clock"))
    if was is None or now is None:
        return [compared("the clock", "wrong", "nobody looked", "", False)]
    found = []
    drift = float(fault.get("drift_ppm") or 0.0)
    then_s, boottime_s = (_boottime_s(_part(each, "clock")) for each in (before, during))
    if _jumps(fault):
        low, high = _offsets(fault, was, then_s, boottime_s)
        spare = CLOCK_TOLERANCE_S + abs(drift) / 1e6 * abs(boottime_s - then_s)
        within = low - spare <= now <= high + spare
        found.append(compared("the clock is off", _moment(fault), f"{now - was:+.1f} s", f"{spare:.1f} s", within))
    later = _part(during, "clock_later")
    if drift:
        later_s, span_s = offset_s(later), _boottime_s(later) - boottime_s
        if later_s is None or span_s < ON_A_CLOCK_S:
            return [*found, compared("the clock drifts", f"{drift:+g} ppm", "nobody looked twice", "", False)]
        measured, tolerance = (later_s - now) / span_s * 1e6, drift_tolerance_ppm(drift, span_s)
        near = abs(measured - drift) <= tolerance
        found.append(compared("the clock drifts", f"{drift:+g} ppm", f"{measured:+.0f} ppm", f"{tolerance:.0f} ppm", near))
    return found


def drift_tolerance_ppm(drift: float, span_s: float) -> float:
    """How far off a drift may be that was looked at for so long: at both ends it is a step behind at most, and each look has its error.

    Never more than half of what was asked: a clock that does not drift, or drifts the other way, is within of nothing.
    """
    ends = 2 * (DRIFT_STEP_S * abs(drift) + READ_S * 1e6) / span_s
    return min(abs(drift) / 2, max(CLOCK_ITSELF_PPM, 0.1 * abs(drift), ends))


def offset_s(clock: Row) -> float | None:
    """How far a wall clock is ahead of the boot-time clock."""
    wall, boot = _number(clock.get("wall_ns")), _number(clock.get("boottime_ns"))
    return None if wall is None or boot is None else (wall - boot) / 1e9


def _jumps(fault: Row) -> bool:
    return bool(fault.get("to") or fault.get("jump_s"))


def _moment(fault: Row) -> str:
    return str(fault["to"]) if fault.get("to") else f"{float(fault.get('jump_s') or 0.0):+.1f} s"


def _offsets(fault: Row, was_s: float, earliest_s: float, latest_s: float) -> tuple[float, float]:
    """How far ahead of the boot-time clock it may be, having been set at some time between two moments of that clock.

    A moment before the boot cannot be had: there it stands at the boot.
    """
    if not fault.get("to"):
        offset = max(0.0, was_s + float(fault.get("jump_s") or 0.0))
        return offset, offset
    try:
        to_s = datetime.fromisoformat(str(fault["to"])).timestamp()
    except ValueError:
        return 1.0, 0.0
    return max(0.0, to_s - latest_s), max(0.0, to_s - earliest_s)


def _boottime_s(clock: Row) -> float:
    return float(_number(clock.get("boottime_ns")) or 0) / 1e9


# ---- in the device's own figures -------------------------------------------------------------------------------------------------


def in_figures(program: str, fault: Row, records: list[Record], spans: list[Window], before: Row) -> list[Row]:
    """What the device noted while the fault was on, each reading of it: limits as asked, the peak no higher, the disk as spoilt, the
    clock as wrong. What no reading shows is believed on nobody's word."""
    within = [(record, span) for record in records for span in spans if _is_in(record, span)]
    inside = [record for record, span in within if record.boottime_ns >= span.from_ns + READ_BEFORE_NS]
    if fault["fault"] == "resources":
        return _readings_of_limits(program, fault, list(_figures(inside, "confined")))
    if fault["fault"] == "disk":
        return [_readings_of_disk(program, str(fault["what"]), list(_figures(inside, "disk")))]
    if fault["fault"] == "clock":
        return _readings_of_clock(program, fault, within, before)
    return []


def _is_in(record: Record, span: Window) -> bool:
    """Between the two moments at which it was surely on: what the kernel says has no delay."""
    return record.boot_id == span.boot and span.from_ns <= record.boottime_ns <= span.to_ns


def _readings_of_limits(program: str, fault: Row, readings: list[Row]) -> list[Row]:
    if not readings:
        return [_unread(program)]
    found = []
    for what, read, asked, said_of in _asked(fault):
        other = [value for reading in readings if (value := read(reading)) != asked]
        measured = f"in {len(readings)} readings" if not other else f"{said_of(other[0])} in {len(other)} of {len(readings)} readings"
        found.append(compared(f"{program}, limit of {what}", said_of(asked), measured, "", not other))
    if fault.get("memory_mib") is not None:
        peaks = [peak for reading in readings if (peak := _number(reading.get("memory_peak_bytes"))) is not None]
        peak, asked_bytes = max(peaks, default=None), fault["memory_mib"] * MIB
        met = peak is None or MIB <= peak <= asked_bytes
        kills = max((_number(reading.get("oom_kills")) or 0 for reading in readings), default=0)
        said_kills = f", {kills} killed" if kills else ""
        found.append(compared(f"{program}, peak of memory", f"at most {_mib(asked_bytes)}", f"{_mib(peak)}{said_kills}", "", met))
    return found


def _readings_of_disk(program: str, what: str, readings: list[Row]) -> Row:
    """One reading is enough of what an application may change by what it removes; of what it may not, each must show it."""
    if not readings:
        return _unread(program)
    name = f"{program}, the small disk"
    if what in _ALL_USED:
        key, most, word = _ALL_USED[what]
        left = min((value for reading in readings if (value := _number(reading.get(key))) is not None), default=None)
        measured = f"{'unknown' if left is None else left} free at the least, in {len(readings)} readings"
        return compared(name, f"at most {most} {word} free, once", measured, "", left is not None and left <= most)
    key, word = _SPOILT.get(what, (what, what))
    other = [reading for reading in readings if reading.get(key) is not True]
    measured = f"in {len(readings)} readings" if not other else f"not in {len(other)} of {len(readings)} readings"
    return compared(name, word, measured, "", not other)


def _unread(program: str) -> Row:
    return compared(f"{program}, readings", "at least one", "none", "", False)


def _readings_of_clock(program: str, fault: Row, within: list[tuple[Record, Window]], before: Row) -> list[Row]:
    """Every record bears both clocks: each is a look, and together they show how it drifts."""
    was = offset_s(_part(before, "clock"))
    if was is None:
        return []
    if not within:
        return [] if constant(fault) else [_unread(program)]
    drift = float(fault.get("drift_ppm") or 0.0)
    found = _readings_of_drift(program, fault, drift, within) if drift else []
    if not _jumps(fault):
        return found
    other = []
    for record, span in within:
        low, high = _offsets(fault, was, span.since_ns / 1e9, span.from_ns / 1e9)
        gone = [drift / 1e6 * (record.boottime_ns - began_ns) / 1e9 for began_ns in (span.since_ns, span.from_ns)]
        off = (record.wall_ns - record.boottime_ns) / 1e9
        if not low + min(gone) - CLOCK_TOLERANCE_S <= off <= high + max(gone) + CLOCK_TOLERANCE_S:
            other.append(off - was)
    measured = f"in {len(within)} records" if not other else f"{other[0]:+.1f} s in {len(other)} of {len(within)} records"
    return [compared(f"{program}, the clock is off", _moment(fault), measured, f"{CLOCK_TOLERANCE_S:g} s", not other), *found]


def _readings_of_drift(program: str, fault: Row, drift: float, within: list[tuple[Record, Window]]) -> list[Row]:
    """The line through each window's records: one that is far from what was asked is the one that is told.

    Where no window has enough of them, what is on all along was looked at twice, and of what comes and goes nobody knows.
    """
    seen: dict[Window, list[Record]] = {}
    for record, span in within:
        seen.setdefault(span, []).append(record)
    drifts = []
    for records in seen.values():
        span_s = (max(each.boottime_ns for each in records) - min(each.boottime_ns for each in records)) / 1e9
        if len(records) >= ON_A_CLOCK and span_s >= ON_A_CLOCK_S:
            drifts.append((_slope_ppm(records), drift_tolerance_ppm(drift, span_s), len(records)))
    what, asked = f"{program}, the clock drifts", f"{drift:+g} ppm"
    if not drifts:
        return [] if constant(fault) else [compared(what, asked, f"{len(within)} records: too few to tell", "", False)]
    measured, tolerance, count = max(drifts, key=lambda each: abs(each[0] - drift) / each[1])
    near = abs(measured - drift) <= tolerance
    return [compared(what, asked, f"{measured:+.0f} ppm, by {count} records", f"{tolerance:.0f} ppm", near)]


def _slope_ppm(records: list[Record]) -> float:
    """Of the wall clock against the boot-time clock, by least squares."""
    first = records[0]
    at = [(each.boottime_ns - first.boottime_ns) / 1e9 for each in records]
    off = [(each.wall_ns - each.boottime_ns - first.wall_ns + first.boottime_ns) / 1e3 for each in records]
    mean_at, mean_off = sum(at) / len(at), sum(off) / len(off)
    return sum((x - mean_at) * (y - mean_off) for x, y in zip(at, off, strict=True)) / sum((x - mean_at) ** 2 for x in at)


def _figures(records: list[Record], part: str) -> Iterator[Row]:
    for record in records:
        if record.kind in ("sample", "confined") and isinstance(record.payload.get(part), dict):
            yield record.payload[part]


def last_figures(execution: Execution) -> Row:
    """What group and disk said last, for reports: peak, kills, throttled periods, refusals."""
    return {part: said[-1] for part in ("confined", "disk") if (said := list(_figures(execution.records, part)))}


# ---- afterwards ------------------------------------------------------------------------------------------------------------------


def restored(before: Row, after: Row) -> list[Row]:
    """Nothing of it is left, and the clock is what it was, as far as clocks are."""
    found = [
        compared(what, "gone", "gone" if not _part(after, key) else "still there", "", key in after and not _part(after, key))
        for what, key in (("the group", "confined"), ("the small disk", "disk"))
    ]
    was, now = offset_s(_part(before, "clock")), offset_s(_part(after, "clock"))
    off = None if was is None or now is None else now - was
    passed_s = abs(_boottime_s(_part(after, "clock")) - _boottime_s(_part(before, "clock")))
    tolerance = CLOCK_TOLERANCE_S + CLOCK_ITSELF_PPM / 1e6 * passed_s
    measured = "nobody looked" if off is None else f"{off:+.1f} s"
    another_boot = before.get("boot_id") != after.get("boot_id")  # then it began anew, and what it shows is the board's own affair
    within = off is not None and (another_boot or abs(off) <= tolerance)
    return [*found, compared("the clock", "as it was", measured, f"{tolerance:.1f} s", within)]


# ---- inside ----------------------------------------------------------------------------------------------------------------------


def _asked(fault: Row) -> list[tuple[str, Callable[[Row], Any], Any, Callable[[Any], str]]]:
    """What is limited: its name, its figure in a reading, what is asked of that, and how to say it."""
    found: list[tuple[str, Callable[[Row], Any], Any, Callable[[Any], str]]] = []
    if fault.get("memory_mib") is not None:
        found.append(("memory", lambda said: _number(said.get("memory_limit_bytes")), fault["memory_mib"] * MIB, _mib))
    if fault.get("cpu_share") is not None:
        found.append(("processor time", _granted, _as_made(float(fault["cpu_share"])), _of_a_core))
    if fault.get("processes") is not None:
        found.append(("processes", lambda said: _number(said.get("processes_limit")), fault["processes"], str))
    return found


def _granted(said: Row) -> float | None:
    """The share of a core that a reading's quota is. Where a period is too short for a slow device to keep up with, its kernel makes
    quota and period longer by the same factor (`sched_cfs_period_timer`)."""
    quota, period = _number(said.get("cpu_quota_us")), _number(said.get("cpu_period_us"))
    return round(quota / period, 4) if quota is not None and period else None


def _of_a_core(share: float | None) -> str:
    return "unknown" if share is None else f"{share:g} of a core"


def _as_made(share: float) -> float:
    """The share that is left of one when it is a quota of whole microseconds."""
    quota, period = quota_of(share)
    return round(quota / period, 4)


def _part(said: Row, key: str) -> Row:
    part = said.get(key)
    return part if isinstance(part, dict) else {}


def _number(value: Any) -> Any:
    """A number, or None for what is none: a gap, never a zero."""
    return value if is_number(value) else None


def _mib(value: float | None) -> str:
    return "unknown" if value is None else f"{value / MIB:.1f} MiB"


def _bytes(value: Any) -> str:
    return f"{value} bytes" if _number(value) is not None else "unknown bytes"
