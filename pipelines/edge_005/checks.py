"""What EDGE-005 checks beyond the checks that every entry has: on too little, a device comes to the right result, or says what it lacked.

What is right is computed again here, from the readings that were shipped. That there was too little is others' word: the guard's, when a
fault was on; the kernel's, what the group may have, had and was denied (readings in the device's journal). So nobody gets away with

    "ok" and another result        "ok", and nothing is said of a disk that took nothing        "ok", long after its time was over
"""

import csv
import hashlib
import json
from collections import defaultdict
from pathlib import Path

_MOCKS = Path(__file__).parent / "mocks"
_READINGS = {"stress": "scale/readings_valid_30k.csv", "adversarial": "adversarial/readings_strange_6k.csv"}
_LIMIT_W, _SEGMENT = 9000, 500
_ERRORS = {"full": {"ENOSPC"}, "no_inodes": {"ENOSPC"}, "read_only": {"EROFS"}, "io_errors": {"EIO", "EROFS"}}
_WEAR_FACTOR, _WEAR_SPARE = 40, 8192  # sectors: an ext4 with its journal writes each small file many times over; beyond that is a leak
_TWICE = 1.5  # how much larger than its content what is kept of it may be


def results_true(evidence, scenario):
    """Sorted, summed up and counted as the shipped readings come to, whatever there was too little of."""
    problems = []
    for execution, right in _each(evidence, scenario):
        for stage in ("sort", "sum_up"):
            if stage in execution.outputs:
                said = _data(execution, stage)
                problems += [
                    (f"{execution.name}: {stage} says {key} {str(said.get(key))[:40]}, and it is {str(value)[:40]}", execution.journal_file)
                    for key, value in right[stage].items()
                    if said.get(key) != value
                ]
        files = execution.outputs.get("sum_up", {}).get("files") or {}
        problems += [
            (f"{execution.name}: {name} is not what the readings come to", execution.journal_file)
            for name, sha256 in right["files"].items()
            if "sum_up" in execution.outputs and files.get(name) != sha256
        ]
    return problems


def never_silent(evidence, scenario):
    """Each segment is kept with the right bytes, or said to be shed with the error's name; none is neither, and none is kept on a disk
    that took nothing. What ended early says why.

    That the bytes are right is the application's own word: a hash of what it had in memory is right, too. So the small disk is asked
    beside it, where there is one: by its file system's count, behind the stage, as much is on it as is said to be kept. Of a disk that
    was full for a while that finds whoever swallowed more than an empty file system and the rests of blocks come to, some 14 KiB and
    half a KiB for each file, and nobody who swallowed less.
    """
    problems = []
    for execution, right in _each(evidence, scenario):
        where = execution.journal_file
        ended = [record for record in execution.records if record.kind in ("failed", "refused")]
        if not execution.of_kind("finished"):
            if not any(record.payload.get("error") or record.payload.get("reason") for record in ended):
                problems.append((f"{execution.name}: it did not finish, and says no reason", where))
            continue
        said = _data(execution, "keep")
        kept, shed = _rows(said.get("kept"), 3), _rows(said.get("shed"), 2)
        found = {row[0]: row[2] for row in kept}
        told = [*found, *(row[0] for row in shed)]
        problems += [(f"{execution.name}: {name} is neither kept nor shed", where) for name in right["segments"] if name not in told]
        other = [name for name, sha256 in found.items() if right["segments"].get(name) != sha256]
        problems += [(f"{execution.name}: {name} is kept with other bytes", where) for name in other]
        if shed and not said.get("errors"):
            problems.append((f"{execution.name}: {len(shed)} segments were shed, and nothing says why", where))
        wanted, all_along = _errors(evidence, execution)
        if all_along and found:
            problems.append((f"{execution.name}: {len(found)} segments are said to be kept, on a disk that took nothing", where))
        if wanted and all_along and not wanted & set(said.get("errors") or ()):
            problems.append((f"{execution.name}: the disk gave {' or '.join(sorted(wanted))}, and the application does not say so", where))
        there, told_bytes = _in_use(execution), sum(right["sizes"].get(name, 0) for name in found)
        if there is not None and there < told_bytes:
            problems.append((f"{execution.name}: {told_bytes} bytes are said to be kept, and no more than {there} are on the disk", where))
        if "report" in execution.outputs and _data(execution, "report").get("whole") is not (not shed):
            problems.append((f"{execution.name}: the report is {'' if shed else 'not '}whole, and {len(shed)} segments were shed", where))
    return problems


def under_the_cap(evidence, scenario):
    """It had no more memory than it may, by the kernel's own counter; or it was killed for that, and the execution says so."""
    problems = []
    for execution in evidence.of(scenario):
        readings = [record.payload["confined"] for record in execution.records if isinstance(record.payload.get("confined"), dict)]
        for said in readings:
            limit, peak = said.get("memory_limit_bytes"), said.get("memory_peak_bytes")
            if isinstance(limit, int) and isinstance(peak, int) and peak > limit:
                problems.append((f"{execution.name}: {peak} bytes of memory, and it may have {limit}", execution.journal_file))
                break
        killed = any((said.get("oom_kills") or 0) > 0 for said in readings)
        ends = [str(record.payload.get("error")) for record in execution.of_kind("failed")]
        if killed and not any("want of memory" in end for end in ends):
            said = "somebody was killed for want of memory, and the execution does not say so"
            problems.append((f"{execution.name}: {said}", execution.journal_file))
    return problems


def stays_under_the_cap(evidence, scenario):
    """It came to its end in the memory that it may have: nobody was killed for want of it."""
    return [
        (f"{execution.name}: {record.payload.get('error')}", execution.where(record))
        for execution in evidence.of(scenario)
        for record in execution.of_kind("failed")
        if "want of memory" in str(record.payload.get("error"))
    ]


def in_time_or_told(evidence, scenario):
    """A stage whose time was over is not "ok": whoever waits for it must hear that it was late."""
    limit_s = float(evidence.plan["type"]["stage_timeout_s"])
    problems = []
    for execution in evidence.of(scenario):
        for record in execution.of_kind("stage_finished"):
            took_s = record.payload["duration_ns"] / 1e9
            if record.payload.get("status") == "ok" and took_s > limit_s:
                said = f"{record.payload['stage']} took {took_s:.1f} s of {limit_s:g}, and is ok"
                problems.append((f"{execution.name}: {said}", execution.where(record)))
    return problems


def wear_in_budget(evidence, scenario):
    """What a stage wrote to the device's flash is in proportion to what it made, where the device counts sectors."""
    problems = []
    for execution, right in _each(evidence, scenario):
        budget = _WEAR_SPARE + _WEAR_FACTOR * right["bytes"] // 512
        for record in execution.of_kind("stage_finished"):
            sectors = record.payload.get("sectors_written")
            if isinstance(sectors, int) and evidence.plan["type"].get("emulation") and sectors > budget:
                said = f"{record.payload['stage']} wrote {sectors} sectors, its budget is {budget}"
                problems.append((f"{execution.name}: {said}", execution.where(record)))
    return problems


# ---- Stageflow itself ---------------------------------------------------------------------------------------------------


def timeout_kept(evidence, scenario):
    """A stage of Stageflow's that works on after its time is not reported as ok."""
    return _framework(
        evidence, scenario, "timeout", lambda said: said.get("status") == "ok" and said.get("took_ms", 0) > said.get("limit_ms", 0),
        "it had {limit_ms} ms, took {took_ms}, and is {status}",
    )  # fmt: skip


def full_disk_heard(evidence, scenario):
    """A disk that is full when Stageflow's interceptor writes to it is heard of by whoever runs the pipeline."""
    return _framework(
        evidence, scenario, "full_disk", lambda said: bool(said.get("error")) and said.get("status") == "ok",
        "an interceptor met {error}, and the pipeline is {status}",
    )  # fmt: skip


def snapshot_small(evidence, scenario):
    """A snapshot that is kept as JSON is not much larger than what is in it: memory and flash are what such a device has least of."""
    return _framework(
        evidence, scenario, "snapshot", lambda said: said.get("json_bytes", 0) > _TWICE * said.get("content_bytes", 0),
        "{content_bytes} bytes of messages are {json_bytes} bytes of JSON, and {peak_bytes} bytes of memory on the way",
    )  # fmt: skip


def _framework(evidence, scenario, stage, is_so, words):
    return [
        (f"{execution.name}: {words.format_map(defaultdict(str, _data(execution, stage)))}", execution.where(record))
        for execution in evidence.of(scenario)
        for record in execution.of_kind("stage_finished")
        if record.payload["stage"] == stage and is_so(_data(execution, stage))
    ]


# ---- what is right, computed from what was shipped ---------------------------------------------------------------------


def _each(evidence, scenario):
    right = _right(_READINGS.get(evidence.plan["scenarios"][scenario]["pipeline"], "happy_path/readings_valid_6k.csv"))
    return [(execution, right) for execution in evidence.of(scenario)]


def _right(name):
    """What each stage must say, and each segment's bytes, with all readings in memory at once: this is no small device."""
    read, unreadable = [], 0
    with (_MOCKS / "data" / name).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["meter"] and row["second"].isdigit() and row["watt"].isdigit():
                read.append((row["meter"], int(row["second"]), int(row["watt"])))
            else:
                unreadable += 1
    once = sorted(set(read))
    sums = {}
    for meter, second, watt in once:
        sums.setdefault(f"{meter} {second // 3600:02}", []).append(watt)
    summed = {key: [len(watts), min(watts), max(watts), sum(watts)] for key, watts in sums.items()}
    alarms = [each for each in once if each[2] > _LIMIT_W]
    whole = "".join(map(_line, once)).encode()
    files = {"sums.json": summed, "alarms.json": alarms}
    segments, sizes = {}, {}
    for kind, rows in (("alarms", alarms), ("readings", once)):
        for start in range(0, len(rows), _SEGMENT):
            name, data = f"{kind}-{start // _SEGMENT:03}.jsonl", "".join(map(_line, rows[start : start + _SEGMENT])).encode()
            segments[name], sizes[name] = _sha256(data), len(data)
    return {
        "sort": {"readings": len(read), "unreadable": unreadable},
        "sum_up": {"readings": len(once), "alarms": len(alarms), "sha256": _sha256(whole)},
        "files": {name: _sha256(json.dumps(value, sort_keys=True).encode()) for name, value in files.items()},
        "segments": segments,
        "sizes": sizes,
        "bytes": len(whole),
    }


def _line(reading):
    return json.dumps(reading, separators=(",", ":")) + "\n"


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


# ---- what others say ---------------------------------------------------------------------------------------------------


def _data(execution, stage):
    return execution.outputs.get(stage, {}).get("data") or {}


def _rows(said, length):
    rows = said if isinstance(said, list) else []
    return [row for row in rows if isinstance(row, list) and len(row) == length and isinstance(row[0], str)]


def _in_use(execution):
    """Bytes of the small disk that are in use behind `keep`, by the reading with the fewest: one that it is full of ballast in says
    nothing. None where it was not read then, or there is no such disk."""
    kept, found = False, []
    for record in execution.records:
        kept = kept or (record.kind == "stage_finished" and record.payload.get("stage") == "keep")
        disk = record.payload.get("disk") if kept and record.kind in ("sample", "confined") else None
        if isinstance(disk, dict) and isinstance(disk.get("used_bytes"), int):
            found.append(disk["used_bytes"])
    return min(found, default=None)


def _errors(evidence, execution):
    """The errors that the planned fault of the disk gives, and whether it was on, by the guard, for as long as `keep` ran."""
    disks = [fault for fault in evidence.planned(execution.name).get("scarcities") or () if fault.get("fault") == "disk"]
    wanted = set().union(*(_ERRORS.get(fault.get("what"), set()) for fault in disks))
    begun, ended = None, None
    for record in execution.records:
        if record.payload.get("stage") == "keep" and record.kind == "stage_started":
            begun = record
        elif record.payload.get("stage") == "keep" and record.kind == "stage_finished":
            ended = record
    if not wanted or begun is None or ended is None or begun.boot_id != ended.boot_id:
        return wanted, False
    on = False
    for change in evidence.faults(execution.name):
        if change.get("fault") != "disk" or change.get("boot_id") != begun.boot_id:
            continue
        if change["boottime_ns"] <= begun.boottime_ns:
            on = bool(change.get("on"))
        elif change["boottime_ns"] <= ended.boottime_ns and not change.get("on"):
            return wanted, False
    return wanted, on
