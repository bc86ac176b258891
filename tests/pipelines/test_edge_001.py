"""EDGE-001 without a device: its arithmetic against the plain one, and each of its checks against runs that were made, whole and forged."""

from __future__ import annotations

import ast
import importlib
import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from runner.judgement import heat
from runner.judgement.checks import GENERIC
from runner.judgement.evidence import Evidence
from runner.judgement.judge import entry_checks
from runner.lab.where import builtin_root, cache_root
from runner.model.entry import Entry
from runner.ondevice import facts
from runner.target.bundle import fetch_own_wheels
from tests.judgement.made_heat import HOT, STRAIGHT, Bent, MadeHeatRun
from tests.pipelines.hosted import environment, hosted

FOLDER = builtin_root() / "pipelines" / "edge_001"
CHECKS = entry_checks(FOLDER)
GOLDEN: dict[str, Any] = json.loads((FOLDER / "mocks" / "golden.json").read_text())
OWN = ("result_golden", "no_stage_lost", "no_slower_than_the_clock", "sensors_told", "heat_met", "deadline_kept")
EVERY = ("finished", "nothing_repeated", "every_stage_witnessed")
COOL_S = {"look": 1.6, "flow": 2.4, "settle": 0.4}
NAMES = [f"{word}_{number}" for number in range(1, 9) for word in COOL_S] + ["report"]
STAGES = [(name, COOL_S.get(name.split("_")[0], 0.1)) for name in NAMES]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a device: the entry is a package, and a stage works in a folder of its own."""
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    monkeypatch.chdir(tmp_path)


def part(name: str) -> Any:
    return importlib.import_module(f"edge_001.{name}")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stageflow and what the entry's own lock pins, unpacked as on a device."""
    there = environment("1.2.0", tmp_path_factory.mktemp("wheels"))
    for wheel in fetch_own_wheels(FOLDER, facts.hello(str(there), "", 0), cache_root(), lambda text: None):
        zipfile.ZipFile(wheel).extractall(there)
    return there


@pytest.fixture
def numpy(wheels: Path) -> Iterator[Any]:
    """The arrays that the stages are shipped with. Once imported they stay: an extension cannot be imported twice."""
    sys.path.append(str(wheels))
    try:
        yield importlib.import_module("numpy")
    finally:
        sys.path.remove(str(wheels))


# ---- the arithmetic -----------------------------------------------------------------------------------------------------


def test_the_data_is_what_its_seeds_make_of_it() -> None:
    """Two things must not differ: the belts that are shipped, and those of generate.py; nor its figures and the pipelines'."""
    generate = part("mocks.generate")
    assert {name: (generate.DATA / name).read_text() for name in generate.FILES} == {name: made() for name, made in generate.FILES.items()}
    rounds = {name: how[1] for name, how in generate.BELTS.items()}
    assert {name: outputs["report"]["rounds"] for name, outputs in GOLDEN.items()} == rounds


def test_the_words_of_the_noise_are_splitmix64s() -> None:
    """Its published first words for seed 1234567."""
    reference = part("mocks.reference")
    assert [reference.mixed(1234567, number) for number in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("name", ["baseline", "adversarial"])
def test_the_arrays_come_to_what_plain_numbers_come_to(numpy: Any, name: str) -> None:
    """Frames, medians, moves, belt and patches of two frames each, of a calm belt and of one at the sensor's end. All of it is in
    golden.json, which plain numbers alone have made."""
    kernels, reference, generate = part("stages.kernels"), part("mocks.reference"), part("mocks.generate")
    file, _, *how = generate.BELTS[name]
    seen = kernels.expose(generate.read(file), 12, *how)[:2]
    plain = reference.expose(generate.read(file), 12, *how)[:2]
    assert seen.tolist() == plain
    cleaned, plainly = [kernels.clean(frame) for frame in seen], [reference.clean(rows) for rows in plain]
    assert [frame.tolist() for frame in cleaned] == plainly
    assert kernels.flow(*cleaned).reshape(-1, 2).tolist() == [list(move) for move in reference.flow(*plainly)]
    belt, different = kernels.settle(cleaned[0].astype(numpy.int32) << 8, cleaned[1])
    rows, others = reference.settle([[value * 256 for value in row] for row in plainly[0]], plainly[1])
    assert (belt.tolist(), different.tolist()) == (rows, others)
    assert kernels.patches(different) == reference.patches(others)


def test_bytes_are_the_same_whatever_order_the_machine_has(numpy: Any) -> None:
    """A digest is one of little-endian bytes."""
    kernels = part("stages.kernels")
    values = numpy.array([[1, -2], [3, 1 << 20]], dtype=numpy.int32)
    assert kernels.digest(values) == kernels.digest(values.astype(">i4"))


def test_a_sensor_that_is_not_there_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nor one that says what no sensor says; flags are read as vcgencmd prints them."""
    sensor = part("stages.sensor")
    for name, text in (("temp", "81234\n"), ("flags", "throttled=0x60006\n"), ("odd", "n/a\n")):
        (tmp_path / name).write_text(text)
    for name, file in (("TEMPERATURE", "temp"), ("CLOCK", "odd"), ("THROTTLED", "flags")):
        monkeypatch.setenv(f"SENSOR_{name}", str(tmp_path / file))
    assert {key: sensor.reading()[key] for key in ("milli_c", "khz", "throttled")} == {"milli_c": 81234, "khz": None, "throttled": 0x60006}


# ---- the pipelines, in a host as on a device ----------------------------------------------------------------------------


@pytest.mark.parametrize("pipeline", ["baseline", "stress", "chaos", "adversarial"])
def test_a_pipeline_comes_to_what_is_golden(wheels: Path, pipeline: str) -> None:
    """Each of them as a whole, on this machine: every stage's output but what the sensors say, and every file's bytes."""
    ended = hosted("edge_001", pipeline, wheels.parent / pipeline, {"SENSOR_TEMPERATURE": "/nowhere"})
    golden = GOLDEN.get(pipeline, GOLDEN["baseline"])
    assert {name: {key: ended[name]["data"].get(key) for key in expected} for name, expected in golden.items()} == golden
    assert all(ended[name]["files"] == dict.fromkeys(expected["files"], expected["sha256"]) for name, expected in golden.items())
    assert {result["status"] for result in ended.values()} == {"ok"}
    if pipeline == "chaos":
        assert all(result["data"]["deadline_ms"] > 0 for result in ended.values())


def test_stageflow_alone_lets_a_deadline_pass_in_silence(wheels: Path) -> None:
    """What the finding of the chaos carries: nothing but Stageflow, in as few lines as show it."""
    script = FOLDER / "reproductions" / "deadline_kept.py"
    said = subprocess.run([sys.executable, str(script)], env={"PYTHONPATH": str(wheels)}, capture_output=True, text=True, timeout=60)
    found = ast.literal_eval(said.stdout)
    assert found["status"] == "ok" and found["took_ms"] > found["deadline_ms"]


# ---- the checks, over runs that were made -------------------------------------------------------------------------------


def made(root: Path, bent: Bent = STRAIGHT, *, seed: int = 1, cut_in: str = "", planned: dict[str, Any] = HOT) -> Evidence:
    """A baseline without heat and a recovery with it. The stages come to what is golden, unless `bent` says otherwise."""
    run = MadeHeatRun(root, seed)
    run.golden = GOLDEN["baseline"]
    scenario = {"profile": "heat", "durability": "journaled", "judge": "must_hold", "checks": [], "stages": NAMES, "lanes": 1}
    run.plan["scenarios"] = {name: {"pipeline": name, **scenario} for name in ("baseline", "recovery")}
    run.plan["executions"].append({"name": "baseline-1", "scenario": "baseline", "stages": NAMES, "cuts": []})
    run.begin("baseline-1", scenario="baseline")
    at_s = run.cool(2.0, "baseline-1", STAGES)
    run.begin("recovery-1", at_s + 1)
    run.end(run.heated(at_s + 2, "recovery-1", STAGES, planned, bent, cut_in=cut_in))
    return run.conclusion().evidence


def wrong(evidence: Evidence, scenario: str = "recovery") -> dict[str, list[str]]:
    """What each check finds, if it finds something."""
    every = {**{name: CHECKS[name] for name in OWN}, **{name: GENERIC[name] for name in EVERY}}
    found = {name: [said for said, _ in check(evidence, scenario)] for name, check in every.items()}
    return {name: problems for name, problems in found.items() if problems}


@pytest.mark.parametrize("seed", range(50))
def test_a_correct_pipeline_is_never_accused(tmp_path: Path, seed: int) -> None:
    """Fifty runs: another air, start and pace each, a host that is busy or not, the power gone in a third of them, and a board that is up
    to a seventh slower than its clock, as it was measured. Every check holds, and the heat is what it says."""
    chance = random.Random(seed)
    hot_s = chance.uniform(40, 120)
    air = [{"at_s": 0.0, "c": chance.uniform(50, 62)}, {"at_s": hot_s, "c": chance.uniform(50, 62)}, {"at_s": hot_s + 60, "c": 5.0}]
    asked = {**HOT["asked"], "ambient_c": air, "starts_at_c": chance.uniform(78, 86), "pace": chance.choice([4.0, 5.0, 8.0])}
    power = chance.uniform(1.0, 1.15)
    bent = Bent(waiting=chance.choice([0.0, 0.0, 0.2, 0.5]), work_ratio=lambda ratio: ratio**power)
    cut_in = chance.choice(["", "", "look_3", "flow_2", "settle_5"])
    evidence = made(tmp_path, bent, seed=seed, cut_in=cut_in, planned={**HOT, "asked": asked})
    assert wrong(evidence) == {}
    assert wrong_baseline(evidence) == {}
    assert heat.contradictions(evidence) == []
    assert [said for said, _ in heat.not_reached(evidence)] == []


def wrong_baseline(evidence: Evidence) -> dict[str, list[str]]:
    return {name: problems for name, problems in wrong(evidence, "baseline").items() if name != "heat_met"}


# ---- pipelines that heat does something to, as they are found -----------------------------------------------------------


def less_precise(stage: str, data: dict[str, Any], hot: bool) -> dict[str, Any]:
    """Where it is hot, it looks for moves in a smaller part of the surroundings, to be done sooner."""
    return {**data, "moved": data["moved"] - 1} if hot and stage.startswith("flow") else data


def rounded(stage: str, data: dict[str, Any], hot: bool) -> dict[str, Any]:
    """Where it is hot, it computes with half the digits: all counts are right, and the bytes are others."""
    return {**data, "sha256": "0" * 64} if hot and stage == "settle_3" else data


def gave_up(stage: str, data: dict[str, Any], hot: bool) -> dict[str, Any]:
    """Where it is throttled its own time-out strikes: it says ok, with the frames that it had seen by then."""
    return {**data, "seen": data["seen"][:7]} if hot and stage.startswith("settle") else data


def skipped(stage: str, data: dict[str, Any], hot: bool) -> dict[str, Any]:
    """Where it is hot, it leaves its work for later, and says ok."""
    return {"files": [], "skipped": True, "sensor": data["sensor"]} if hot and stage == "flow_2" else data


@pytest.mark.parametrize("does", [less_precise, rounded, gave_up, skipped])
def test_a_pipeline_whose_result_changes_under_heat_is_found(tmp_path: Path, does: Callable[..., dict[str, Any]]) -> None:
    """Whatever it does, and though each stage says ok: the result is not the golden one. Nothing else is said of it."""
    found = wrong(made(tmp_path, Bent(outputs=does)))
    assert set(found) == {"result_golden"} and all("came to another result" in said for said in found["result_golden"])


def test_a_file_that_is_not_what_was_computed_is_found(tmp_path: Path) -> None:
    """The digest in the output is golden, and the bytes on the disk are others."""
    evidence = made(tmp_path)
    execution = next(e for e in evidence.executions if e.name == "recovery-1")
    execution.outputs["look_2"]["files"] = {"frames_2.raw": "0" * 64}
    assert wrong(evidence)["result_golden"] == ["recovery-1: look_2 left other bytes on the disk than it computed"]


@pytest.mark.parametrize("status", ["skip", "cancel", "retry", "fail"])
def test_a_stage_that_says_that_it_did_nothing_is_found(tmp_path: Path, status: str) -> None:
    """Skipped because it was hot: the pipeline goes on without it, and says ok itself."""
    evidence = made(tmp_path)
    execution = next(e for e in evidence.executions if e.name == "recovery-1")
    execution.outputs["flow_3"]["status"] = status
    assert wrong(evidence)["no_stage_lost"] == [f"recovery-1: flow_3 ended as {status!r}"]


def test_a_stage_that_is_missing_is_found(tmp_path: Path) -> None:
    """A round that was left out; in one of two lanes as well."""
    evidence = made(tmp_path)
    execution = next(e for e in evidence.executions if e.name == "recovery-1")
    del execution.outputs["settle_4"]
    assert wrong(evidence)["no_stage_lost"] == ["recovery-1: settle_4 is missing"]
    evidence.plan["scenarios"]["recovery"]["lanes"] = 2
    assert "recovery-1: look_1 ended in 1 of 2 lanes" in wrong(evidence)["no_stage_lost"]


def test_a_pipeline_that_is_slower_than_its_clock_is_found(tmp_path: Path) -> None:
    """It takes 1.4 times as much of the clock where it is hot, e.g. because it polls its sensor meanwhile."""
    (said,) = wrong(made(tmp_path, Bent(slower=1.4)))["no_slower_than_the_clock"]
    assert "95th percentile" in said and "in the baseline: 1." in said


def test_a_slow_clock_that_was_measured_explains_more(tmp_path: Path) -> None:
    """A board that was measured to be a seventh slower than its clock may take as much longer; one that was not may not."""
    measured = Bent(slower=1.27, work_ratio=lambda asked: asked**1.15)
    assert wrong(made(tmp_path / "measured", measured)) == {}
    assert set(wrong(made(tmp_path / "not", Bent(slower=1.27)))) == {"no_slower_than_the_clock"}


def test_lanes_that_share_a_core_take_as_much_longer(tmp_path: Path) -> None:
    """Two on a board of one core; a board of two has one for each."""
    evidence = made(tmp_path, Bent(slower=1.8))
    evidence.plan["scenarios"]["recovery"]["lanes"] = 2
    assert "no_slower_than_the_clock" not in wrong(evidence)
    evidence.plan["type"]["emulation"]["cpus"] = 2
    assert "no_slower_than_the_clock" in wrong(evidence)


def test_a_board_without_a_core_to_spare_is_not_accused_of_being_timed(tmp_path: Path) -> None:
    """Some stages took half as long again, because the fixed work ran beside them. A board with a core for that has no such excuse, nor one
    that was never timed; and where each of its stages was, all are judged."""
    evidence = made(tmp_path, Bent(slower=1.5))
    (proof,) = [record for record in evidence.coordinator if record.kind == "heat_proof"]
    (execution,) = evidence.of("recovery")
    base = dict(STAGES)
    slow = []
    for start, end in zip(execution.of_kind("stage_started"), execution.of_kind("stage_finished"), strict=True):
        if (end.boottime_ns - start.boottime_ns) / 1e9 > 1.2 * base[end.payload["stage"]]:
            slow.append([record.boottime_ns + evidence.clock_anchors[record.boot_id][0] for record in (start, end)])
    assert 0 < len(slow) < len(STAGES) and "no_slower_than_the_clock" in wrong(evidence)
    proof.payload["looks"] = [[began_ns + 1000, began_ns + 2000] for began_ns, _ in slow]
    assert wrong(evidence) == {}
    evidence.plan["type"]["emulation"]["cpus"] = 2
    assert "no_slower_than_the_clock" in wrong(evidence)
    evidence.plan["type"]["emulation"]["cpus"] = 1
    proof.payload["looks"] = [[0, 2**62]]
    assert "no_slower_than_the_clock" in wrong(evidence)


def test_a_machine_that_was_slower_itself_accuses_nobody(tmp_path: Path) -> None:
    """As much as its own work took longer, in the heat or while the baseline ran, a stage may; and no more."""
    assert wrong(made(tmp_path / "hot", Bent(slower=1.4, own=1.3))) == {}
    evidence = made(tmp_path / "baseline", Bent(slower=1.4))
    (noted,) = [record for record in evidence.coordinator if record.kind == "own_speed"]
    noted.payload["own"].append({"duration_s": 0.015, "cpu_s": 0.015})
    assert wrong(evidence) == {}
    (said,) = wrong(made(tmp_path / "more", Bent(slower=1.9, own=1.3)))["no_slower_than_the_clock"]
    assert "this machine's own work at most 1.30 times" in said


def test_one_slow_moment_of_the_machine_is_no_excuse_for_all(tmp_path: Path) -> None:
    """A pipeline that is too slow everywhere is found, though one of thirty measurements took nearly twice as long; not where that was
    measured beside its stages."""
    evidence = made(tmp_path, Bent(slower=1.4))
    (noted,) = [record for record in evidence.coordinator if record.kind == "own_speed"]
    noted.payload["own"] += [{"duration_s": 0.02, "cpu_s": 0.02}] * 30 + [{"duration_s": 0.039, "cpu_s": 0.039}]
    assert "no_slower_than_the_clock" in wrong(evidence)
    (execution,) = evidence.of("recovery")
    stages = [record.boottime_ns + evidence.clock_anchors[record.boot_id][0] for record in execution.of_kind("stage_finished")]
    noted.payload["own"] += [{"duration_s": 0.03, "cpu_s": 0.03, "at_ns": at_ns} for at_ns in stages[:2]]
    assert "no_slower_than_the_clock" in wrong(evidence), "beside two stages, and none of the others"
    noted.payload["own"] += [{"duration_s": 0.02, "cpu_s": 0.02}] * 300
    noted.payload["own"] += [{"duration_s": 0.03, "cpu_s": 0.03, "at_ns": at_ns} for at_ns in stages]
    assert wrong(evidence) == {}


@pytest.mark.parametrize("key", ["milli_c", "khz", "throttled"])
def test_a_sensor_that_a_stage_cannot_read_is_found(tmp_path: Path, key: str) -> None:
    """Under heat all three are there."""
    found = wrong(made(tmp_path, Bent(lies=lambda reading: {**reading, key: None})))
    assert set(found) == {"sensors_told"} and f"read no {key} before its work" in found["sensors_told"][0]


def test_heat_that_met_no_stage_is_a_fault_not_reached() -> None:
    """A fast machine is not the pipeline's fault: the entry has the run blocked by it."""
    uses = {use.check: use for use in entry_of().scenarios["recovery"].checks}
    assert [name for name, use in uses.items() if use.judge] == ["heat_met"]


def entry_of() -> Entry:
    return Entry.model_validate(yaml.safe_load((FOLDER / "entry.yaml").read_text()))


def test_heat_that_met_no_stage_shows_nothing(tmp_path: Path) -> None:
    """Never throttled, or throttled to the end: neither is there and back."""
    cool = {**HOT, "asked": {**HOT["asked"], "ambient_c": 20.0, "starts_at_c": 50.0}}
    assert wrong(made(tmp_path / "cool", planned=cool))["heat_met"] == ["recovery-1: no stage ran throttled"]
    hot = {**HOT, "asked": {**HOT["asked"], "ambient_c": 60.0}}
    assert wrong(made(tmp_path / "hot", planned=hot))["heat_met"] == ["recovery-1: no stage ran with the whole clock again"]


def test_a_machine_that_is_done_before_the_air_cools_is_told_what_to_do(tmp_path: Path) -> None:
    """The profile for it is named, where it was another; not where colder air came, and was of no use."""
    later = [{"at_s": 0.0, "c": 60.0}, {"at_s": 9000.0, "c": 60.0}, {"at_s": 9060.0, "c": 5.0}]
    early = {**HOT, "asked": {**HOT["asked"], "ambient_c": later}}
    (said,) = wrong(made(tmp_path / "early", planned=early))["heat_met"]
    again = "recovery-1: no stage ran with the whole clock again"
    assert said == f"{again}: it was done before the air cooled from 60 to 5 °C; --profile edge-001-brisk on a fast machine"
    evidence = made(tmp_path / "brisk", planned=early)
    evidence.plan["scenarios"]["recovery"]["profile"] = "edge-001-brisk"
    assert wrong(evidence)["heat_met"] == [f"{again}: it was done before the air cooled from 60 to 5 °C"]
    came = [{"at_s": 0.0, "c": 62.0}, {"at_s": 1.0, "c": 60.0}]
    assert wrong(made(tmp_path / "came", planned={**HOT, "asked": {**HOT["asked"], "ambient_c": came}}))["heat_met"] == [again]


def test_a_deadline_that_passed_in_silence_is_found(tmp_path: Path) -> None:
    """Stageflow was told, the stage took longer, and it and the pipeline ended as if all was well. One that was kept is not found."""

    def with_deadline(stage: str, data: dict[str, Any], hot: bool) -> dict[str, Any]:
        return {**data, "deadline_ms": int(1500 * COOL_S.get(stage.split("_")[0], 1.0))}

    found = wrong(made(tmp_path, Bent(outputs=with_deadline)))
    assert set(found) == {"deadline_kept"}
    assert all("ended as 'ok', and so did the pipeline" in said for said in found["deadline_kept"])
    cool = {**HOT, "asked": {**HOT["asked"], "ambient_c": 20.0, "starts_at_c": 50.0}}
    assert "deadline_kept" not in wrong(made(tmp_path / "cool", Bent(outputs=with_deadline), planned=cool))


def test_without_a_baseline_no_time_is_judged(tmp_path: Path) -> None:
    """It says so: nothing to compare with is no pass."""
    evidence = made(tmp_path)
    evidence.executions[:] = [execution for execution in evidence.executions if execution.name != "baseline-1"]
    assert wrong(evidence)["no_slower_than_the_clock"] == ["no baseline finished whose stages could be compared"]


def test_what_a_device_sends_instead_of_an_output_breaks_no_check(tmp_path: Path) -> None:
    """Words where numbers belong, and nothing at all."""
    for number, data in enumerate(({}, {"sensor": 5}, {"sensor": ["x", None]}, {"sha256": 5, "files": 5, "deadline_ms": "soon"})):
        evidence = made(tmp_path / str(number), Bent(outputs=lambda stage, whole, hot, data=data: {**data, "files": []}))
        assert "result_golden" in wrong(evidence)
    nobody: Any = SimpleNamespace(of=lambda scenario: [], heat=lambda name: [], plan=evidence.plan, coordinator=[])
    assert all(not CHECKS[name](nobody, "recovery") for name in OWN if name != "no_slower_than_the_clock")
