"""EDGE-005 without a device: its stages on little, each of its checks against evidence that was forged, and pipelines that cheat.

Three pipelines that must be found: one that swallows a full disk, one that is late and says nothing, one whose result is another one
when memory is short. Correct ones are not accused.
"""

from __future__ import annotations

import errno
import importlib
import itertools
import json
import random
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.judgement.judge import entry_checks
from runner.lab.where import builtin_root
from runner.ondevice import fingerprint
from runner.ondevice.cgroup import Group
from runner.ondevice.results import finished_stages
from runner.ondevice.scarce_figures import ERRORS
from runner.ondevice.small_disk import SmallDisk
from tests.pipelines.hosted import hosted

FOLDER = builtin_root() / "pipelines" / "edge_005"
CHECKS = entry_checks(FOLDER)
BOOT, S = "b" * 32, 1_000_000_000


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    monkeypatch.chdir(tmp_path)


def part(name: str) -> Any:
    """One of the modules of the stages; none of these needs Stageflow."""
    return importlib.import_module(f"edge_005.stages.{name}")


# ---- the store ----------------------------------------------------------------------------------------------------------


def store(folder: Path, **settings: Any) -> Any:
    return part("store").Store(str(folder), pause_s=0.0, clock=lambda seconds: None, **settings)


def test_what_is_kept_is_there(tmp_path: Path) -> None:
    """Whole, under its name, and nothing else."""
    kept = store(tmp_path / "s")
    assert kept.put("a", b"1") == part("readings").sha256(b"1")
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["a"]
    assert kept.errors == {}


def test_a_disk_that_takes_nothing_is_told_and_left_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the error's name and how often; it is not tried for ever, and no half of a segment stays."""
    kept = store(tmp_path / "s")
    real = part("store").os.fsync

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(part("store").os, "fsync", full)
    assert kept.put("a", b"1") is None
    assert kept.put("b", b"1") is None
    assert list((tmp_path / "s").iterdir()) == []
    assert kept.errors == {"ENOSPC": part("store").TRIES + 2}
    monkeypatch.setattr(part("store").os, "fsync", real)
    assert kept.put("c", b"1"), "room came back"


def test_other_bytes_that_are_read_back_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A medium that lies is found by reading."""
    kept = store(tmp_path / "s", tries=1)
    real = type(kept)._write
    monkeypatch.setattr(type(kept), "_write", lambda self, name, data: real(self, name, data[:-1]))
    assert kept.put("a", b"12") is None
    assert kept.errors == {"other bytes were read back": 2}


def test_memory_does_not_grow_with_the_readings(tmp_path: Path) -> None:
    """No run has more than a chunk, whatever there is of it."""
    runs = [len(run) for run, _ in part("readings").sorted_runs("scale/readings_valid_30k.csv")]
    assert max(runs) == part("readings").CHUNK
    assert len(runs) > 20


# ---- the pipelines, in a host of their own ---------------------------------------------------------------------------------


def evidence_of(outputs: dict[str, Any], pipeline: str, **changes: Any) -> Any:
    """One execution whose stages ended so, as the judge has it."""
    execution = Execution([stage_record(stage, report) for stage, report in outputs.items()], **changes)
    return Evidence(pipeline, execution, changes)


class Execution:
    def __init__(self, stages: list[Any], **changes: Any) -> None:
        self.name = self.stands_for = "stress-1"
        self.journal_file = "results/journal/device-stress-1.journal"
        self.records = [*changes.get("readings", ()), *stages]
        if changes.get("finished", True):
            self.records.append(record("finished", 99, state_sha256="0"))
        self.records += changes.get("ends", ())
        self.cuts: list[Any] = []

    @property
    def outputs(self) -> dict[str, Any]:
        return finished_stages(self.records)

    def of_kind(self, kind: str) -> list[Any]:
        return [each for each in self.records if each.kind == kind]

    def where(self, each: Any) -> str:
        return f"{self.journal_file}#1"


class Evidence:
    def __init__(self, pipeline: str, execution: Execution, changes: dict[str, Any]) -> None:
        self._execution, self._faults = execution, changes.get("faults", [])
        planned = {"name": "stress-1", "scarcities": changes.get("scarcities", [])}
        self._extra = {"stress-extra1-1": {**planned, "name": "stress-extra1-1"}}  # noted when it began
        type = {"stage_timeout_s": 60.0, "emulation": None}
        self.plan = {"scenarios": {"stress": {"pipeline": pipeline}}, "executions": [planned], "type": type}

    def of(self, scenario: str) -> list[Any]:
        return [self._execution]

    def faults(self, execution: str) -> list[dict[str, Any]]:
        return self._faults

    def planned(self, execution: str) -> dict[str, Any]:
        return next((each for each in self.plan["executions"] if each["name"] == execution), self._extra.get(execution, {}))


def record(kind: str, at_s: float, **payload: Any) -> Any:
    return SimpleNamespace(kind=kind, payload=payload, boot_id=BOOT, boottime_ns=int(at_s * S))


def stage_record(stage: str, report: dict[str, Any], at_s: float = 20.0, **changes: Any) -> Any:
    return record("stage_finished", at_s, stage=stage, **{"duration_ns": S, "version": None, **report, **changes})


FULL = {"scarcities": [{"fault": "disk", "what": "full"}], "faults": [{"fault": "disk", "on": True, "boot_id": BOOT, "boottime_ns": 5 * S}]}
STARTED = {"readings": [record("stage_started", 10, stage="keep")]}


def problems(evidence: Any, *names: str) -> list[str]:
    chosen = names or ("results_true", "never_silent", "under_the_cap", "stays_under_the_cap", "in_time_or_told", "wear_in_budget")
    return [problem for name in chosen for problem, _ in CHECKS[name](evidence, "stress")]


@pytest.mark.parametrize("pipeline", ["baseline", "stress", "adversarial"])
def test_on_enough_of_everything_all_of_it_is_kept(tmp_path: Path, pipeline: str) -> None:
    """And nobody is accused: what the station comes to is what the checks compute by another way."""
    ended = hosted("edge_005", pipeline, tmp_path / "work", {})
    assert ended["report"]["data"]["whole"] is True
    assert problems(evidence_of(ended, pipeline)) == []


def test_a_folder_that_takes_nothing_is_told(tmp_path: Path) -> None:
    """An honest station on a disk that is full all along: everything is shed, with the error's name, and nobody is accused."""
    ended = hosted("edge_005", "baseline", tmp_path / "work", {"SCARCE_FOLDER": "/dev/full"})
    assert ended["keep"]["data"]["kept"] == []
    assert set(ended["keep"]["data"]["errors"]) == {"ENOTDIR"}
    told = {**ended["keep"]["data"], "errors": {"ENOSPC": 6}}  # as a full disk would have it
    honest = {**ended, "keep": {**ended["keep"], "data": told}}
    assert problems(evidence_of(honest, "baseline", **FULL, **STARTED)) == []


def test_what_stageflow_does_by_itself_is_found(tmp_path: Path) -> None:
    """Each with a file that shows it with nothing but Stageflow; where that does better one day, nothing is found."""
    ended = hosted("edge_005", "chaos", tmp_path / "work", {})
    for check, stage, better in (
        ("timeout_kept", "timeout", {"status": "StageTimeoutError"}),
        ("full_disk_heard", "full_disk", {"status": "fail"}),
        ("snapshot_small", "snapshot", {"json_bytes": 2_100_000}),
    ):
        assert len(problems(evidence_of(ended, "chaos"), check)) == 1
        mended = {**ended, stage: {**ended[stage], "data": {**ended[stage]["data"], **better}}}
        assert problems(evidence_of(mended, "chaos"), check) == []
        assert (FOLDER / "reproductions" / f"{check}.py").exists()


# ---- pipelines that cheat ---------------------------------------------------------------------------------------------------


@pytest.fixture
def cheating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], dict[str, Any]]:
    """`cheating(file, old, new)` runs the baseline of a copy in which that one place is another."""

    def run(file: str, old: str, new: str, **variables: str) -> dict[str, Any]:
        copy = tmp_path / "pipelines" / "edge_005"
        shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("__pycache__"))
        text = (copy / file).read_text()
        assert old in text
        (copy / file).write_text(text.replace(old, new, 1))
        monkeypatch.setattr("tests.pipelines.hosted.builtin_root", lambda: tmp_path)
        return hosted("edge_005", "baseline", tmp_path / "work", variables)

    return run


def test_who_swallows_a_full_disk_is_found(cheating: Callable[..., dict[str, Any]]) -> None:
    """Its store says that all is kept, whatever the disk said: on a disk that was full all along, nobody can have kept it."""
    swallow = "            except OSError as error:\n                self._note(errno.errorcode.get(error.errno, str(error.errno)))\n"
    ended = cheating("stages/store.py", swallow, "            except OSError:\n                return sha256\n", SCARCE_FOLDER="/dev/full")
    assert ended["report"]["data"]["whole"] is True, "it is a silent ok"
    found = problems(evidence_of(ended, "baseline", **FULL, **STARTED), "never_silent")
    assert any("are said to be kept, on a disk that took nothing" in each for each in found)
    assert any("the application does not say so" in each for each in found)


def test_who_swallows_it_in_an_extra_execution_is_found(right: dict[str, Any]) -> None:
    """One that came later, and is in no plan but its own."""
    evidence = evidence_of(right, "baseline", **FULL, **STARTED)
    evidence.of("stress")[0].name = evidence.of("stress")[0].stands_for = "stress-extra1-1"
    assert any("on a disk that took nothing" in each for each in problems(evidence, "never_silent"))


def on_disk(at_s: float, used: int) -> Any:
    return record("sample", at_s, metrics={}, disk={"bytes": 15 << 20, "used_bytes": used, "free_bytes": 0, "free_inodes": 99})


COMES_AND_GOES = [{"fault": "disk", "on": on, "boot_id": BOOT, "boottime_ns": at_s * S} for on, at_s in ((True, 12), (False, 15))]


def test_who_swallows_a_disk_that_is_full_for_a_while_is_found(
    right: dict[str, Any], desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every hash is right, because it is that of the bytes in memory. But what is on the disk is less than what is said to be kept there,
    by the file system's own count behind the stage. An honest one has less to show there, and says so."""
    folder = tmp_path / "segments"
    segments = {row[0]: (desk / "segments" / row[0]).read_bytes() for row in right["keep"]["data"]["kept"]}
    monkeypatch.setattr(part("store"), "TRIES", 0)
    told = kept_on("full", range(3, 6), segments, folder, monkeypatch)
    assert told["shed"], "some of it met the full disk"
    used = sum(path.stat().st_size for path in folder.iterdir())
    honest = changed(changed(right, "keep", **told), "report", whole=False)
    full = {"scarcities": FULL["scarcities"], "faults": COMES_AND_GOES, **STARTED}
    readings = [on_disk(11, 0), on_disk(13, 15 << 20)]  # empty before, and full of ballast while it was full
    for ended, accused in ((honest, False), (right, True)):
        evidence = evidence_of(ended, "baseline", **full)
        records = evidence.of("stress")[0].records
        records[1:1] = readings
        assert problems(evidence, "never_silent") == [], "nobody looked behind the stage"
        records.append(on_disk(21, used + 4096))
        records.append(on_disk(22, 15 << 20))
        found = problems(evidence, "never_silent")
        assert any("bytes are said to be kept, and no more than" in each for each in found) is accused
        assert len(found) == int(accused)


def test_who_is_late_and_says_nothing_is_found(cheating: Callable[..., dict[str, Any]]) -> None:
    """A stage works on behind its time, as one does that is throttled, and is ok."""
    ended = cheating("stages/station.py", "        told, sums = load", "        __import__('time').sleep(0.5)\n        told, sums = load")
    evidence = evidence_of(ended, "baseline")
    evidence.plan["type"]["stage_timeout_s"] = 0.3
    evidence.of("stress")[0].records[3].payload["duration_ns"] = int(0.5 * S)
    for each in evidence.of("stress")[0].records[:3]:
        each.payload["duration_ns"] = int(0.1 * S)
    assert len(problems(evidence, "in_time_or_told")) == 1
    evidence.plan["type"]["stage_timeout_s"] = 0.6
    assert problems(evidence, "in_time_or_told") == []


def test_whose_result_changes_when_memory_is_short_is_found(cheating: Callable[..., dict[str, Any]]) -> None:
    """It looks at how much it may have, and leaves out some readings to get by with that: ok, and another result."""
    sparing = """        import resource

        spare = resource.getrlimit(resource.RLIMIT_DATA)[0] != resource.RLIM_INFINITY
        for number, (run, unreadable_yet) in enumerate(readings.sorted_runs(self.name)):
            run = run[::2] if spare else run
"""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, before[1]))
    try:
        place = "        for number, (run, unreadable_yet) in enumerate(readings.sorted_runs(self.name)):\n"
        ended = cheating("stages/station.py", place, sparing)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
    assert ended["report"]["data"]["whole"] is True, "it is a silent ok"
    found = problems(evidence_of(ended, "baseline"))
    assert any("sort says readings" in each for each in found)
    assert any("sums.json is not what the readings come to" in each for each in found)
    assert any("is kept with other bytes" in each for each in found)


# ---- fifty that are honest --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an honest station has worked, once."""
    return tmp_path_factory.mktemp("right") / "work"


@pytest.fixture(scope="module")
def right(desk: Path) -> dict[str, Any]:
    """What it said."""
    return hosted("edge_005", "baseline", desk, {})


ERRNO = {"full": errno.ENOSPC, "no_inodes": errno.ENOSPC, "read_only": errno.EROFS, "io_errors": errno.EIO}
PUT_S = 0.5  # of the made time: so long does a segment take


def kept_on(what: str, on: range, segments: dict[str, bytes], folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the station's own store comes to, segment by segment, on a disk that fails so while the segments of `on` are put."""
    kept, shed, failing = store(folder), list[list[Any]](), [False]
    real, places = part("store").os.fsync, list[list[Any]]()

    def fsync(fd: int) -> None:
        if failing[0]:
            raise OSError(ERRNO[what], "as the disk says")
        real(fd)

    monkeypatch.setattr(part("store").os, "fsync", fsync)
    for number, (name, data) in enumerate(segments.items()):
        failing[0] = number in on
        sha256, count = kept.put(name, data), data.count(b"\n")
        if sha256 is None:
            shed.append([name, count])
        else:
            places.append([name, count, sha256])
    return {"kept": places, "shed": shed, "errors": kept.errors}


@pytest.mark.parametrize("seed", range(50))
def test_an_honest_station_is_never_accused(
    right: dict[str, Any], desk: Path, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the disk does and when, room that comes back among it; whatever memory and processor there are; killed for want of memory,
    too, and that is said. Its own store meets the errors; times, caps and counters around it are made."""
    chance = random.Random(seed)
    segments = {row[0]: (desk / "segments" / row[0]).read_bytes() for row in right["keep"]["data"]["kept"]}
    what, first, last = chance.choice(list(ERRNO)), *sorted(chance.choices(range(len(segments) + 1), k=2))
    on = chance.choice([range(len(segments)), range(first, last), range(last), range(first, len(segments)), range(0)])
    told = kept_on(what, on, segments, tmp_path / "segments", monkeypatch)
    ended = changed(changed(right, "keep", **told), "report", whole=not told["shed"])
    begun_s, ended_s = 10.0, 10.0 + PUT_S * len(segments)
    turns = [(begun_s + PUT_S * on.start - (1.0 if on.start == 0 else 0.0), True)] if on else []
    turns += [(begun_s + PUT_S * on.stop, False)] if on and on.stop < len(segments) else []
    faults = [{"fault": "disk", "on": turned, "boot_id": BOOT, "boottime_ns": int(at_s * S)} for at_s, turned in turns]

    cap = chance.choice([64, 128, 256]) << 20
    dies_at = chance.choice([*right, None, None, None])
    peak = cap if dies_at else chance.randrange(30 << 20, cap + 1)
    memory = {"memory_limit_bytes": cap, "memory_peak_bytes": peak, "oom_kills": int(bool(dies_at))}
    sampled = record("sample", 15, metrics={}, confined=memory)
    changes: dict[str, Any] = {"readings": [record("stage_started", begun_s, stage="keep"), sampled]}
    if dies_at:
        ended = dict(itertools.takewhile(lambda stage: stage[0] != dies_at, ended.items()))
        said = f"the pipeline process ended early: signal SIGKILL, killed for want of memory: it may have {cap >> 20} MiB"
        changes |= {"finished": False, "ends": [record("failed", ended_s, error=said)]}
    scarcities = [{"fault": "disk", "what": what}, {"fault": "resources", "memory_mib": cap >> 20, "cpu_share": 0.25}]
    there = sum(len(segments[row[0]]) for row in told["kept"])
    changes["ends"] = [
        *(on_disk(ended_s + 1 + number, there + chance.randrange(0, 1 << 20)) for number in range(2)),
        *changes.get("ends", ()),
    ]
    evidence = evidence_of(ended, "baseline", scarcities=scarcities, faults=faults, **changes)
    for each in evidence.of("stress")[0].of_kind("stage_finished"):
        each.boottime_ns = int(ended_s * S)
        each.payload |= {"duration_ns": chance.randrange(S, 60 * S), "sectors_written": chance.randrange(0, 8000)}
    names = ["results_true", "never_silent", "under_the_cap", "in_time_or_told", "wear_in_budget"]
    assert problems(evidence, *names, *([] if dies_at else ["stays_under_the_cap"])) == []


@pytest.mark.real
@pytest.mark.long
@pytest.mark.alone  # a group and a mount are the whole machine's: whoever compares fingerprints meanwhile sees them
@pytest.mark.skipif(not {"cgroup-memory", "loop"} <= set(fingerprint.capabilities()), reason="needs root, memory groups, loop devices")
def test_fifty_stations_on_really_too_little_are_not_accused(tmp_path: Path) -> None:
    """Real caps, and a small disk that is really full, without inodes or read-only, or has room; what the kernel counted is evidence."""
    chance, seen = random.Random(5), list[str]()
    group, disk = Group(str(tmp_path / "state")), SmallDisk(str(tmp_path / "state"))
    for number in range(50):
        what, cap, share = chance.choice(["full", "no_inodes", "read_only", ""]), chance.choice([64, 128, 256]), chance.choice([0.25, 0.5])
        folder, image = tmp_path / f"{number}", tmp_path / f"disk-{number}"
        image.mkdir()
        try:
            group.make()
            assert group.limit({"memory_bytes": cap << 20, "quota_us": round(share * 10_000), "processes": 40}) == []
            place = disk.make(str(image), 16, what == "no_inodes", False)
            if what:
                disk.spoil(what)
            ended = hosted("edge_005", "baseline", folder, {"SCARCE_FOLDER": place}, entering=group.entering)
            figures = group.figures()
        finally:
            disk.mend()
            disk.remove()
            group.remove()
        faults = [{"fault": "disk", "on": True, "boot_id": BOOT, "boottime_ns": 5 * S}] if what else []
        planned = [{"fault": "disk", "what": what}] if what else []
        readings = [*STARTED["readings"], record("confined", 19, confined=figures)]
        evidence = evidence_of(ended, "baseline", scarcities=planned, faults=faults, readings=readings)
        assert problems(evidence) == [], (what, cap, share)
        assert figures["memory_limit_bytes"] == cap << 20 and figures["memory_peak_bytes"] <= cap << 20
        seen.append(what)
    assert {*seen} == {"full", "no_inodes", "read_only", ""}


# ---- each check against evidence that was forged ------------------------------------------------------------------------------


def changed(right: dict[str, Any], stage: str, **data: Any) -> dict[str, Any]:
    return {**right, stage: {**right[stage], "data": {**right[stage]["data"], **data}}}


def test_a_segment_that_is_neither_kept_nor_shed_is_missed(right: dict[str, Any]) -> None:
    """Nor may one be kept with other bytes, shed without a reason, or the report be whole of a part."""
    kept = right["keep"]["data"]["kept"]
    assert any("neither kept nor shed" in each for each in problems(evidence_of(changed(right, "keep", kept=kept[1:]), "baseline")))
    other = [[kept[0][0], kept[0][1], "0" * 64], *kept[1:]]
    assert any("other bytes" in each for each in problems(evidence_of(changed(right, "keep", kept=other), "baseline")))
    shed = changed(right, "keep", kept=kept[1:], shed=[kept[0][:2]])
    found = problems(evidence_of(shed, "baseline"))
    assert any("nothing says why" in each for each in found)
    assert any("the report is" in each for each in found)


def test_who_ends_early_says_why(right: dict[str, Any]) -> None:
    """A failure that names its reason is clean; one without is silent."""
    part_of_it = {stage: right[stage] for stage in ("sort", "sum_up")}
    clean = [record("failed", 30, error="the pipeline process ended early: signal SIGKILL, killed for want of memory: it may have 64 MiB")]
    killed = [record("confined", 29, confined={"memory_limit_bytes": 64 << 20, "memory_peak_bytes": 64 << 20, "oom_kills": 1})]
    assert problems(evidence_of(part_of_it, "baseline", finished=False, ends=[*killed, *clean]), "never_silent", "under_the_cap") == []
    assert problems(evidence_of(part_of_it, "baseline", finished=False, ends=[*killed, *clean]), "stays_under_the_cap") != []
    assert problems(evidence_of(part_of_it, "baseline", finished=False), "never_silent") != []
    assert problems(evidence_of(part_of_it, "baseline", finished=False, ends=[record("failed", 30, error="")]), "never_silent") != []
    silent = [*killed, record("failed", 30, error="exit status 1")]
    assert problems(evidence_of(part_of_it, "baseline", finished=False, ends=silent), "under_the_cap") != []


def test_more_than_the_cap_is_found(right: dict[str, Any]) -> None:
    """By the kernel's own counter."""
    over = [record("sample", 15, metrics={}, confined={"memory_limit_bytes": 64 << 20, "memory_peak_bytes": (64 << 20) + 4096})]
    assert problems(evidence_of(right, "baseline", readings=over), "under_the_cap") != []


def test_a_disk_on_which_room_came_back_accuses_nobody(right: dict[str, Any]) -> None:
    """It was full when `keep` began, and not all the time: what was tried again may be kept."""
    faults = [*FULL["faults"], {"fault": "disk", "on": False, "boot_id": BOOT, "boottime_ns": 12 * S}]
    told = changed(right, "keep", errors={"ENOSPC": 2})
    assert problems(evidence_of(told, "baseline", scarcities=FULL["scarcities"], faults=faults, **STARTED)) == []
    assert problems(evidence_of(right, "baseline", **FULL, **STARTED), "never_silent") != []


def test_the_entry_and_the_fault_mean_the_same_errors() -> None:
    """Two lists, because an entry's checks import nothing of ours."""
    assert {what: set(errors) for what, errors in ERRORS.items()} == importlib.import_module("edge_005.checks")._ERRORS


def test_wear_beyond_the_budget_is_found_on_a_board(right: dict[str, Any]) -> None:
    """On a machine that others work on, sectors are anybody's."""
    evidence = evidence_of(right, "baseline")
    evidence.of("stress")[0].records[0].payload["sectors_written"] = 10_000_000
    assert problems(evidence, "wear_in_budget") == []
    evidence.plan["type"]["emulation"] = {"machine": "virt"}
    assert problems(evidence, "wear_in_budget") != []
    evidence.of("stress")[0].records[0].payload["sectors_written"] = 900
    assert problems(evidence, "wear_in_budget") == []


def test_the_data_is_what_its_generator_makes() -> None:
    """The same bytes each time."""
    made = importlib.import_module("edge_005.mocks.generate").FILES
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text(), path.name
    assert json.dumps(sorted(path.name for path in made))
