"""Was a wall clock as wrong as asked: off by so much, or faster by so much? Pure, for the judge of scarcity.

    tried at once    two looks at both clocks, before and meanwhile; of a drift a third one
    in its records   each record of a device bears both clocks: a look each
    afterwards       the clock as it was, unless the board began anew

A clock that nobody looked at is within of nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from runner.judgement.asked import constant
from runner.judgement.figures import number_of, part_of
from runner.judgement.side_by_side import compared
from runner.judgement.windows import Window
from runner.ondevice.journal import Record

Row = dict[str, Any]

TOLERANCE_S, ITSELF_PPM = 2.0, 500.0  # a reading's own error, and what any clock drifts by itself
DRIFT_STEP_S, READ_S = 0.1, 0.005  # a drift moves the clock so often; between two clocks that are read a slow board may lose so much
KEPT_SHARE = 0.25  # of a jump: a board that stores its time now and then boots with one that is older by that much at most
LOOKS_S, LOOKS = 1.0, 3  # for so long, and so often, a clock is looked at before anybody knows its drift


def compare(fault: Row, before: Row, during: Row) -> list[Row]:
    """The wall clock against the boot-time clock, now and before; of a drift two looks, some time apart."""
    was, now = offset_s(part_of(before, "clock")), offset_s(part_of(during, "clock"))
    if was is None or now is None:
        return [compared("the clock", "wrong", "nobody looked", "", False)]
    found = []
    drift = float(fault.get("drift_ppm") or 0.0)
    then_s, boottime_s = (_boottime_s(part_of(each, "clock")) for each in (before, during))
    if _jumps(fault):
        low, high = _offsets(fault, was, then_s, boottime_s)
        spare = TOLERANCE_S + abs(drift) / 1e6 * abs(boottime_s - then_s)
        within = low - spare <= now <= high + spare
        found.append(compared("the clock is off", _moment(fault), f"{now - was:+.1f} s", f"{spare:.1f} s", within))
    later = part_of(during, "clock_later")
    if drift:
        later_s, span_s = offset_s(later), _boottime_s(later) - boottime_s
        if later_s is None or span_s < LOOKS_S:
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
    return min(abs(drift) / 2, max(ITSELF_PPM, 0.1 * abs(drift), ends))


def offset_s(clock: Row) -> float | None:
    """How far a wall clock is ahead of the boot-time clock."""
    wall, boot = number_of(clock.get("wall_ns")), number_of(clock.get("boottime_ns"))
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
    return float(number_of(clock.get("boottime_ns")) or 0) / 1e9


def ahead_s(boot: str, records: list[Record], spans: list[Window], before: Row) -> float | None:
    """How far the wall clock of a boot was ahead by itself: of the run's first boot the runner looked, of another one the journal's
    first record there tells, where the clock was not wrong yet."""
    if boot == before.get("boot_id"):
        return offset_s(part_of(before, "clock"))
    first = next((record for record in records if record.boot_id == boot), None)
    if first is None or first.boottime_ns >= min(span.since_ns for span in spans if span.boot == boot):
        return None
    return (first.wall_ns - first.boottime_ns) / 1e9


def in_records(program: str, fault: Row, within: list[tuple[Record, Window]], ahead: dict[str, float | None]) -> list[Row]:
    """Each record that fell into a window is a look, and together they show how the clock drifts.

    `ahead` is for each boot how far ahead (s) the clock was by itself: of a boot of which nobody knows, a clock that was moved shows
    nothing, and one that was set to a moment does.
    """
    drift = float(fault.get("drift_ppm") or 0.0)
    found = _in_a_line(program, fault, drift, within) if drift else []
    if not _jumps(fault):
        return found
    known = [(record, span) for record, span in within if fault.get("to") or ahead[span.boot] is not None]
    if not known:
        return [*found, compared(f"{program}, the clock is off", _moment(fault), "nobody knows what it was before", "", False)]
    other = []
    for record, span in known:
        was = ahead[span.boot] or 0.0
        low, high = _offsets(fault, was, span.since_ns / 1e9, span.from_ns / 1e9)
        gone = [drift / 1e6 * (record.boottime_ns - began_ns) / 1e9 for began_ns in (span.since_ns, span.from_ns)]
        off = (record.wall_ns - record.boottime_ns) / 1e9
        if not low + min(gone) - TOLERANCE_S <= off <= high + max(gone) + TOLERANCE_S:
            other.append(off - was)
    measured = f"in {len(known)} records" if not other else f"{other[0]:+.1f} s in {len(other)} of {len(known)} records"
    return [compared(f"{program}, the clock is off", _moment(fault), measured, f"{TOLERANCE_S:g} s", not other), *found]


def _in_a_line(program: str, fault: Row, drift: float, within: list[tuple[Record, Window]]) -> list[Row]:
    """The line through each window's records: one that is far from what was asked is the one that is told.

    Where no window has enough of them, what is on all along was looked at twice, and of what comes and goes nobody knows.
    """
    seen: dict[Window, list[Record]] = {}
    for record, span in within:
        seen.setdefault(span, []).append(record)
    drifts = []
    for records in seen.values():
        span_s = (max(each.boottime_ns for each in records) - min(each.boottime_ns for each in records)) / 1e9
        if len(records) >= LOOKS and span_s >= LOOKS_S:
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


def restored(before: Row, after: Row, faults: list[Row]) -> Row:
    """The clock is what it was, as far as clocks are. In another boot it began anew, and what it shows is the board's own affair: unless
    that is the wrong time that was asked, which the board has kept on its disk over a power cut.
    """
    was, now = part_of(before, "clock"), part_of(after, "clock")
    if before.get("boot_id") != after.get("boot_id"):
        return _restored_anew(was, now, faults)
    was_s, now_s = offset_s(was), offset_s(now)
    off = None if was_s is None or now_s is None else now_s - was_s
    tolerance = TOLERANCE_S + ITSELF_PPM / 1e6 * abs(_boottime_s(now) - _boottime_s(was))
    measured = "nobody looked" if off is None else f"{off:+.1f} s"
    return compared("the clock", "as it was", measured, f"{tolerance:.1f} s", off is not None and abs(off) <= tolerance)


def _restored_anew(was: Row, now: Row, faults: list[Row]) -> Row:
    """By the coordinator's clock, which stands beside both: `here_ns`."""
    walls = [number_of(each.get(key)) for each in (was, now) for key in ("wall_ns", "here_ns")]
    if None in walls:
        return compared("the clock", "as it was", "it began anew", "", number_of(now.get("wall_ns")) is not None)
    ahead_s = [(walls[at] - walls[at + 1]) / 1e9 for at in (0, 2)]
    off = ahead_s[1] - ahead_s[0]
    shifts = [_shift_s(fault, was) for fault in faults if fault.get("fault") == "clock" and _jumps(fault)]
    kept = any(abs(off - shift) <= KEPT_SHARE * abs(shift) for shift in shifts)
    measured = f"{off:+.1f} s against here" + (": the board has kept the wrong time over a restart" if kept else ", in a boot of its own")
    return compared("the clock", "as it was", measured, "", not kept)


def _shift_s(fault: Row, was: Row) -> float:
    if not fault.get("to"):
        return float(fault.get("jump_s") or 0.0)
    try:
        return datetime.fromisoformat(str(fault["to"])).timestamp() - float(was["wall_ns"]) / 1e9
    except ValueError:
        return 0.0
