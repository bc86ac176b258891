"""What the station does, stage by stage, in few lines each: read, sort, sum up, keep, report."""

import glob
import hashlib
import os

from stageflow import StageOutput

from . import readings
from .files import keep, load
from .store import Store

SEGMENT = 500  # readings in one


def scarce_folder():
    """Where there may be no room; the working folder, where nobody says another."""
    return os.path.join(os.environ.get("SCARCE_FOLDER") or ".", "segments")


class Sort:
    """Lines into sorted runs on the device's own disk."""

    def __init__(self, name="happy_path/readings_valid_6k.csv"):
        self.name = name

    async def execute(self, ctx):
        for old in glob.glob("run-*.jsonl"):  # an earlier life of this stage may have made others
            os.unlink(old)
        files, count, unreadable = [], 0, 0
        for number, (run, unreadable_yet) in enumerate(readings.sorted_runs(self.name)):
            path = f"run-{number:03}.jsonl"
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(map(readings.line_of, run))
                file.flush()
                os.fsync(file.fileno())
            files.append(path)
            count, unreadable = count + len(run), unreadable_yet
        return StageOutput.ok({"files": files, "readings": count, "unreadable": unreadable})


class SumUp:
    """Runs into sums by meter and hour, and the alarms; each reading passes by once."""

    async def execute(self, ctx):
        sums, alarms, count, digest = {}, [], 0, hashlib.sha256()
        for reading in readings.merged(sorted(glob.glob("run-*.jsonl"))):
            meter, second, watt = reading
            hour = sums.setdefault(f"{meter} {second // 3600:02}", [0, watt, watt, 0])
            hour[:] = [hour[0] + 1, min(hour[1], watt), max(hour[2], watt), hour[3] + watt]
            count += 1
            digest.update(readings.line_of(reading).encode())
            if watt > readings.LIMIT_W:
                alarms.append(reading)
        files = [keep("sums.json", sums), keep("alarms.json", alarms)]
        return StageOutput.ok({"files": files, "readings": count, "alarms": len(alarms), "sha256": digest.hexdigest()})


class Keep:
    """Alarms, then everything, into the store, segment by segment."""

    async def execute(self, ctx):
        store, kept, shed = Store(scarce_folder()), [], []
        for name, data, count in segments():
            sha256 = store.put(name, data)
            if sha256 is None:
                shed.append([name, count])
            else:
                kept.append([name, count, sha256])
        files = [keep("kept.json", {"kept": kept, "shed": shed})]
        return StageOutput.ok({"files": files, "kept": kept, "shed": shed, "errors": store.errors})


class Report:
    """What became of it all. Whole is what nobody shed."""

    async def execute(self, ctx):
        told, sums = load("kept.json"), load("sums.json")
        whole = not told["shed"]
        said = {"whole": whole, "kept": len(told["kept"]), "shed": told["shed"], "meters": len({key.rsplit(" ", 1)[0] for key in sums})}
        return StageOutput.ok({"files": [keep("report.json", said)], **said})


def segments():
    """(name, bytes, readings in it) of what is to be kept, the most important first."""
    alarms = [tuple(each) for each in load("alarms.json")]
    for number in range(0, len(alarms), SEGMENT):
        part = alarms[number : number + SEGMENT]
        yield f"alarms-{number // SEGMENT:03}.jsonl", "".join(map(readings.line_of, part)).encode(), len(part)
    held, number = [], 0
    for reading in readings.merged(sorted(glob.glob("run-*.jsonl"))):
        held.append(reading)
        if len(held) == SEGMENT:
            yield f"readings-{number:03}.jsonl", "".join(map(readings.line_of, held)).encode(), len(held)
            held, number = [], number + 1
    if held:
        yield f"readings-{number:03}.jsonl", "".join(map(readings.line_of, held)).encode(), len(held)
