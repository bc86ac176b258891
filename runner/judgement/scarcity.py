"""Had the device as little as was planned, for as long, and was its clock as wrong? Read from the evidence again, whoever said so before.

    on, taken back   the guard's journal beside the execution's own, as of a link fault (links.py)
    tried out        the numbers in `scarcity_proof`: a hog is killed, a busy process gets its share, a file meets its error
    in its figures   each reading in the device's journal (samples, and `confined` behind the last stage) while it was on
    afterwards       the numbers in `scarcity_lifted`: no group, no small disk, the clock as it was

A scarcity that was not reached says nothing about the software under test: the run is blocked, never a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from runner.judgement import clocks, side_by_side
from runner.judgement.asked import constant, named
from runner.judgement.checks import Problem
from runner.judgement.evidence import Evidence, Execution
from runner.judgement.figures import number_of, part_of
from runner.judgement.links import note, was_there
from runner.judgement.side_by_side import compared
from runner.judgement.windows import Window, windows
from runner.ondevice.journal import Record
from runner.ondevice.scarce_figures import ERRORS, quota_of

Row = dict[str, Any]

SHARE_TOLERANCE = 0.20  # of a share of a core, against what a busy process got
MIB = 1 << 20
MET = 0.9  # of a cap: a group that had so much was at it
NO_ROOM_BYTES = 64 << 10  # a full disk has no more in one reading at least: what an application removes there is room again
_ALL_USED = {"full": ("free_bytes", NO_ROOM_BYTES, "bytes"), "no_inodes": ("free_inodes", 0, "inodes")}
_SPOILT = {"read_only": ("read_only", "read-only"), "io_errors": ("fails", "failing")}
READ_BEFORE_NS = 200_000_000  # figures are read before their record has its time: on a slow board by some milliseconds


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
    return found + restored(began["before"], lifted["after"], faults)


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
            found += _limits(fault, part_of(during, "confined")) + _tried_limits(fault, part_of(during, "tried"))
        elif fault["fault"] == "disk":
            found.append(_tried_disk(fault, part_of(during, "disk")))
        elif fault["fault"] == "clock":
            found += clocks.compare(fault, before, during)
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
        found.append(_hungry(fault["memory_mib"] * MIB, part_of(tried, "memory")))
    if fault.get("cpu_share") is not None:
        found.append(_share(float(fault["cpu_share"]), part_of(tried, "cpu")))
    if fault.get("processes") is not None:
        said = part_of(tried, "processes")
        started, refused = number_of(said.get("started")), number_of(said.get("refused"))
        measured = f"{started} and then refused {refused} times" if said else "nobody tried"
        found.append(compared("processes at once", str(fault["processes"]), measured, "", started == fault["processes"] and bool(refused)))
    return found


def _hungry(asked: int, said: Row) -> Row:
    """It was the cap that killed who wanted more: the group met it, by the kernel's own count, or had as much as that. A device that runs
    out of memory before that kills as well, and is no smaller for it."""
    what, wanted = "who wants more memory", f"killed at {_mib(asked)}"
    kills, peak, refused, free = (
        number_of(said.get(key)) for key in ("oom_kills", "memory_peak_bytes", "memory_refused", "available_bytes")
    )
    if free is not None:
        return compared(what, wanted, f"nobody tried: no more than {_mib(free)} are free, and others would be killed", "", False)
    if not said:
        return compared(what, wanted, "nobody tried", "", False)
    met = bool(refused) or (peak is not None and peak >= MET * asked)
    within = bool(kills) and said.get("killed") is True and met and (peak is None or peak <= asked)
    return compared(what, wanted, f"killed {kills or 0} times, peak {_mib(peak)}" + ("" if met else ": not by this cap"), "", within)


def _share(asked: float, said: Row) -> Row:
    """Busy processes, as many as the device has cores where it may have one or more. What has no more cores than asked cannot have more."""
    free = [number_of(said.get(key)) for key in ("before", "after")]
    got, cores = number_of(said.get("during")), number_of(said.get("cores"))
    who, tolerance = "a busy process gets" if asked < 1 else "busy processes get", f"{SHARE_TOLERANCE:.0%}"
    if asked >= 1 and cores is not None and cores <= asked:
        return compared("cores", f"{asked:g} at most", f"{cores:g}: the device has no more", "", True)
    if got is None or None in free:
        return compared(who, f"{asked:g} of a core", "nobody tried", tolerance, False)
    least = min(float(each or 0) for each in free)
    words = f"{got:.3f}; {least:.3f} without the limit, a moment before and after"
    if least < asked * (1 + SHARE_TOLERANCE):
        return compared(who, f"{asked:g} of a core", f"{words}: the machine is too busy to tell", tolerance, False)
    held = abs(got - asked) <= SHARE_TOLERANCE * asked and bool(number_of(said.get("throttled_periods")))
    return compared(who, f"{asked:g} of a core", words, tolerance, held)


def _tried_disk(fault: Row, disk: Row) -> Row:
    """What becomes of a file of ours on the small disk."""
    what, expected = str(fault["what"]), ERRORS.get(str(fault["what"]), ())
    measured = f"{disk.get('tried') or 'it is taken'}, {_bytes(disk.get('free_bytes'))} and {disk.get('free_inodes')} inodes free"
    within = disk.get("tried") in expected
    within = within and (what != "full" or disk.get("free_bytes") == 0) and (what != "no_inodes" or disk.get("free_inodes") == 0)
    return compared("a file on the small disk", " or ".join(expected), measured if disk else "no such disk", "", within)


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
        if not within:
            return [] if constant(fault) else [_unread(program)]
        return clocks.in_records(program, fault, within, {span.boot: clocks.ahead_s(span.boot, records, spans, before) for span in spans})
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
        asked_bytes, peak, known = fault["memory_mib"] * MIB, _highest(readings, "memory_peak_bytes"), "the kernel's"
        if peak is None:  # kernels before 5.19 keep none in version 2
            peak, known = _highest(readings, "memory_bytes"), "the highest reading"
        met = peak is not None and MIB <= peak <= asked_bytes
        kills = max((number_of(reading.get("oom_kills")) or 0 for reading in readings), default=0)
        said_kills = f", {kills} killed" if kills else ""
        measured = f"{_mib(peak)}, {known}{said_kills}"
        found.append(compared(f"{program}, peak of memory", f"at most {_mib(asked_bytes)}", measured, "", met))
    return found


def _highest(readings: list[Row], key: str) -> float | None:
    return max((value for reading in readings if (value := number_of(reading.get(key))) is not None), default=None)


def _readings_of_disk(program: str, what: str, readings: list[Row]) -> Row:
    """One reading is enough of what an application may change by what it removes; of what it may not, each must show it."""
    if not readings:
        return _unread(program)
    name = f"{program}, the small disk"
    if what in _ALL_USED:
        key, most, word = _ALL_USED[what]
        left = min((value for reading in readings if (value := number_of(reading.get(key))) is not None), default=None)
        measured = f"{'unknown' if left is None else left} free at the least, in {len(readings)} readings"
        return compared(name, f"at most {most} {word} free, once", measured, "", left is not None and left <= most)
    key, word = _SPOILT.get(what, (what, what))
    other = [reading for reading in readings if reading.get(key) is not True]
    measured = f"in {len(readings)} readings" if not other else f"not in {len(other)} of {len(readings)} readings"
    return compared(name, word, measured, "", not other)


def _unread(program: str) -> Row:
    return compared(f"{program}, readings", "at least one", "none", "", False)


def _figures(records: list[Record], part: str) -> Iterator[Row]:
    for record in records:
        if record.kind in ("sample", "confined") and isinstance(record.payload.get(part), dict):
            yield record.payload[part]


def last_figures(execution: Execution) -> Row:
    """What group and disk said last, for reports: peak, kills, throttled periods, refusals."""
    return {part: said[-1] for part in ("confined", "disk") if (said := list(_figures(execution.records, part)))}


# ---- afterwards ------------------------------------------------------------------------------------------------------------------


def restored(before: Row, after: Row, faults: list[Row]) -> list[Row]:
    """Nothing of it is left, and the clock is what it was, as far as clocks are."""
    found = [
        compared(what, "gone", "gone" if not part_of(after, key) else "still there", "", key in after and not part_of(after, key))
        for what, key in (("the group", "confined"), ("the small disk", "disk"))
    ]
    return [*found, clocks.restored(before, after, faults)]


# ---- inside ----------------------------------------------------------------------------------------------------------------------


def _asked(fault: Row) -> list[tuple[str, Callable[[Row], Any], Any, Callable[[Any], str]]]:
    """What is limited: its name, its figure in a reading, what is asked of that, and how to say it."""
    found: list[tuple[str, Callable[[Row], Any], Any, Callable[[Any], str]]] = []
    if fault.get("memory_mib") is not None:
        found.append(("memory", lambda said: number_of(said.get("memory_limit_bytes")), fault["memory_mib"] * MIB, _mib))
    if fault.get("cpu_share") is not None:
        found.append(("processor time", _granted, _as_made(float(fault["cpu_share"])), _of_a_core))
    if fault.get("processes") is not None:
        found.append(("processes", lambda said: number_of(said.get("processes_limit")), fault["processes"], str))
    return found


def _granted(said: Row) -> float | None:
    """The share of a core that a reading's quota is. Where a period is too short for a slow device to keep up with, its kernel makes
    quota and period longer by the same factor (`sched_cfs_period_timer`)."""
    quota, period = number_of(said.get("cpu_quota_us")), number_of(said.get("cpu_period_us"))
    return round(quota / period, 4) if quota is not None and period else None


def _of_a_core(share: float | None) -> str:
    return "unknown" if share is None else f"{share:g} of a core"


def _as_made(share: float) -> float:
    """The share that is left of one when it is a quota of whole microseconds."""
    quota, period = quota_of(share)
    return round(quota / period, 4)


def _mib(value: float | None) -> str:
    return "unknown" if value is None else f"{value / MIB:.1f} MiB"


def _bytes(value: Any) -> str:
    return f"{value} bytes" if number_of(value) is not None else "unknown bytes"
