"""An execution's memory: which hold comes next, what may be replayed, and which journal must not go on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.ondevice import execution as execution_module
from runner.ondevice import holds
from runner.ondevice.execution import Execution
from runner.ondevice.journal import GENESIS, read_file
from runner.ondevice.kept import find_current, point_to
from runner.ondevice.results import hash_files, state_hash
from runner.ondevice.store import Store

STAGES = ["ingest", "train", "seal"]
HOLDS = [
    {"hold": "recovery-1/1", "stage": "ingest", "point": "after_flush"},
    {"hold": "recovery-1/2", "stage": "", "point": "during_resume"},
    {"hold": "recovery-1/3", "stage": "train", "point": "before_flush"},
    {"hold": "recovery-1/4", "stage": "train", "point": "started"},
]


class Device:
    """One state folder, and the lives of one execution in it."""

    def __init__(self, root: Path, store: Store, blob: str) -> None:
        self.folder, self.store = root / "runs" / "R" / "recovery-1", store
        self.events: list[dict[str, Any]] = []
        self.spec: dict[str, Any] = {
            "run": "R",
            "execution": "recovery-1",
            "durability": "journaled",
            "stages": STAGES,
            "holds": [],
            "pipeline": {"tree": blob, "module": "pipe.baseline", "files": hash_files(store.tree(blob), ["pipe/baseline.py"])},
        }

    def create(self, **changes: Any) -> Execution:
        self.spec.update(changes)
        return Execution.create(str(self.folder), self.spec, self.store, self.events.append)

    def restart(self, began_ns: int = 17) -> Execution:
        """The next life: what the crash left in memory is gone."""
        found = Execution.reopen(str(self.folder), self.store, self.events.append, began_ns)
        assert found is not None
        return found

    def finish(self, execution: Execution, stage: str) -> None:
        """A stage that left one file, journaled as the supervisor does it."""
        work = self.folder / "work"
        (work / stage).write_text(f"what {stage} made")
        files = hash_files(str(work), [stage])
        result = {"status": "ok", "data": {"files": [stage]}, "files": files, "error": None, "version": None}
        execution.journal.append("stage_finished", {"stage": stage, "duration_ns": 1, **result})

    def kinds(self) -> list[str]:
        return [record.kind for record in read_file(str(self.folder / "journal"))]


@pytest.fixture
def device(tmp_path: Path, store: Store, push: Callable[[dict[str, bytes]], str]) -> Device:
    blob = push({"pipe/baseline.py": b"def build(): ..."})
    store.unpack(blob, [blob], compile=False)
    return Device(tmp_path, store, blob)


def test_a_new_execution_is_durable_up_to_its_folders_name(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """`began` with the whole spec is on the disk, and every folder that names it was flushed."""
    flushed: list[str] = []
    for module in ("execution", "journal"):
        monkeypatch.setattr(f"runner.ondevice.{module}.fsync_folder", flushed.append)
    execution = device.create()
    assert (device.kinds(), execution.journal.flushed_sequence) == (["began"], 1)
    assert execution.journal.records[0].payload == device.spec
    assert set(flushed) == {str(device.folder), str(device.folder.parent), str(device.folder.parent.parent)}
    stands = {"written": 1, "flushed": 1, "held": None, "ended": False, "broken": ""}
    assert execution.state() == {"run": "R", "execution": "recovery-1", **stands}


@pytest.mark.parametrize(
    ("raised", "kinds", "broken"),
    [
        (OSError(28, "No space left on device"), ["began"], "OSError: [Errno 28] No space left on device"),
        (MemoryError("no room"), ["began"], "MemoryError: no room"),
        (KeyError("stage"), ["began", "failed"], ""),
    ],
)
def test_a_device_that_cannot_is_no_end_and_a_mistake_of_ours_is(device: Device, raised: Exception, kinds: list[str], broken: str) -> None:
    """Whoever attaches later hears of the first by the state; the journal is open for the next supervisor."""
    execution = device.create()
    execution._say_what_broke(raised, "")
    assert (device.kinds(), execution.state()["broken"], execution.ended) == (kinds, broken, not broken)
    assert [event["event"] for event in device.events if event["event"] == "broken"] == ["broken"] * bool(broken)


def test_a_journal_that_takes_no_end_is_the_devices_trouble(device: Device) -> None:
    """A full disk: what ended the execution cannot be written, so it has not ended."""
    execution = device.create()
    execution.journal.close()
    execution._say_what_broke(KeyError("stage"), "")
    assert "is closed" in execution.broken


def test_what_breaks_behind_the_end_or_an_abandoning_is_nobodys_trouble(device: Device) -> None:
    """A killed pipeline's socket, a closed journal: it is over already."""
    execution = device.create()
    execution.abandon("the run is over")
    execution._say_what_broke(OSError("whatever"), "")
    assert (execution.broken, device.kinds()[-1]) == ("", "abandoned")


def test_holds_are_met_as_stages_come_and_a_resume_is_cut_at_its_turn(device: Device) -> None:
    """Stages may end in any order; a resume is cut only when every hold before it was used or passed."""
    execution = device.create(holds=HOLDS)
    assert execution.holds.use_next("ingest", "started") is None
    assert execution.holds.use_next("", "during_resume") is None
    assert execution.holds.use_next("train", "started") == HOLDS[3]
    assert execution.holds.use_next("ingest", "after_flush") == HOLDS[0]
    assert execution.holds.use_next("ingest", "after_flush") is None
    assert execution.holds.use_next("", "during_resume") == HOLDS[1]
    assert execution.holds.use_next("train", "before_flush") == HOLDS[2]


def test_a_hold_whose_stage_has_ended_is_passed(device: Device) -> None:
    """A random cut that came late must not keep a later resume from being cut."""
    execution = device.create(holds=HOLDS)
    execution.journal.append("stage_finished", {"stage": "ingest", "status": "ok", "data": {}, "files": {}, "duration_ns": 1})
    assert execution.holds.use_next("ingest", "after_flush") is None
    assert execution.holds.use_next("", "during_resume") == HOLDS[1]


def test_a_new_journal_is_held_without_another_flush(device: Device) -> None:
    """The hold at `created` is not in the order of the others: only a first life meets it, and nothing marks it."""
    execution = device.create(holds=[{"hold": "recovery-1/0", "stage": "", "point": "created"}, *HOLDS])
    assert execution.holds.use_next("", "created") is None
    assert execution.holds.use_next("ingest", "after_flush") == HOLDS[0]


def test_no_hold_is_used_twice_over_restarts(device: Device) -> None:
    """It is durably marked before anybody stands there, so that the next life passes it by."""
    execution = device.create(holds=HOLDS)
    assert execution.holds.use_next("ingest", "after_flush") is not None
    assert execution.journal.flushed_sequence == execution.journal.written_sequence
    restarted = device.restart()
    assert restarted.holds.use_next("ingest", "after_flush") is None
    assert restarted.holds.use_next("", "during_resume") == HOLDS[1]


def test_what_a_life_writes_before_it_restores_was_not_found(device: Device) -> None:
    """A sample, or that it is held: they stand where lost records may have stood."""
    device.create()
    restarted = device.restart()
    restarted._write_sample({"metrics": {}})
    restarted._restore()
    restored = next(record.payload for record in restarted.journal.records if record.kind == "restored")
    assert (restored["records_found"], restored["through_sequence"]) == (1, 2)


def test_a_sample_is_of_the_time_of_its_record(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures are read while nobody else can write: however long a flush takes, they are no older than the record."""
    execution, held = device.create(), []

    def figures() -> dict[str, Any]:
        held.append(not others_can_take(execution.journal.lock))
        return {}

    monkeypatch.setattr(execution.scarce, "figures", figures)
    execution._write_sample({"metrics": {}})
    assert held == [True]


def others_can_take(lock: Any) -> bool:
    """Whether another thread could take it now."""
    taken = []

    def take() -> None:
        taken.append(lock.acquire(blocking=False))
        if taken[0]:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return bool(taken[0])


def test_what_was_promised_is_restored_and_what_comes_next_is_named(device: Device) -> None:
    """`restored` says the chain it was read through, the state's hash, what is replayed, and this life's beginning."""
    execution = device.create()
    assert execution.journal.chains[0] == GENESIS
    device.finish(execution, "ingest")
    restarted = device.restart(began_ns=4711)
    replay = restarted._restore()
    assert replay is not None
    assert list(replay) == ["ingest"]
    restored = next(record.payload for record in restarted.journal.records if record.kind == "restored")
    moments = [restored.pop(key) for key in ("imported_ns", "journal_read_ns", "verified_ns")]
    assert moments == sorted(moments)
    assert restored == {
        "through_sequence": 2,
        "chain": execution.journal.chains[2],
        "records_found": 2,
        "tail_cut_bytes": 0,
        "state_sha256": state_hash(replay),
        "replay": ["ingest"],
        "rejected": {},
        "next": ["train"],
        "supervisor_started_ns": 4711,
    }
    assert restarted.journal.flushed_sequence == restarted.journal.written_sequence
    assert device.kinds() == ["began", "stage_finished", "restored", "resumed"]


def test_a_torn_record_is_told_and_not_replayed(device: Device) -> None:
    """A stage whose end was half written runs again; how many bytes were cut is said."""
    execution = device.create()
    device.finish(execution, "ingest")
    path = device.folder / "journal"
    path.write_bytes(path.read_bytes()[:-1])
    restarted = device.restart()
    assert restarted._restore() == {}
    restored = restarted.journal.records[1].payload
    assert (restored["records_found"], restored["next"]) == (1, ["ingest"])
    assert restored["tail_cut_bytes"] == len(execution.journal.records[1].raw) - 1


def test_a_stage_whose_file_is_gone_is_run_again(device: Device) -> None:
    """It is rejected with the reason, and the stages whose files are whole are still replayed."""
    execution = device.create()
    device.finish(execution, "ingest")
    device.finish(execution, "train")
    (device.folder / "work" / "ingest").write_text("half")
    restarted = device.restart()
    replay = restarted._restore()
    assert replay is not None
    assert list(replay) == ["train"]
    restored = next(record.payload for record in restarted.journal.records if record.kind == "restored")
    assert list(restored["rejected"]) == ["ingest"]
    assert restored["rejected"]["ingest"].startswith("ingest: hash ")
    assert restored["next"] == ["ingest"]


def test_native_replays_nothing(device: Device) -> None:
    """The framework as it is: every stage runs again, and that is to be seen."""
    device.finish(device.create(durability="native"), "ingest")
    assert device.restart()._restore() == {}


def test_a_journal_of_another_pipeline_is_refused(device: Device, tmp_path: Path) -> None:
    """Changed code ends the execution, with the file named; nothing is replayed into it."""
    device.finish(device.create(), "ingest")
    (tmp_path / "trees" / device.spec["pipeline"]["tree"] / "pipe/baseline.py").write_text("def build(): evil()")
    restarted = device.restart()
    assert restarted._pipeline_differs()
    last = restarted.journal.records[-1]
    assert (last.kind, restarted.ended) == ("refused", True)
    assert "pipe/baseline.py: hash " in last.payload["reason"]


def test_an_execution_that_never_began_is_nobodys(device: Device) -> None:
    """Power failed before `began` was whole: there is nothing to go on with."""
    device.create()
    path = device.folder / "journal"
    path.write_bytes(path.read_bytes()[:20])
    assert Execution.reopen(str(device.folder), device.store, device.events.append, 0) is None


@pytest.mark.parametrize("kind", ["finished", "failed", "refused", "abandoned"])
def test_an_end_is_the_end(device: Device, kind: str) -> None:
    """It is journaled once, and no late sample follows it."""
    execution = device.create()
    assert not execution.ended
    execution._end(kind, {})
    execution._end("failed", {"error": "too late"})
    execution._write_sample({"metrics": {}})
    assert execution.ended
    assert device.kinds() == ["began", kind]


def test_abandoning_is_journaled_once(device: Device) -> None:
    """The reason is kept; what has ended is not ended again."""
    execution = device.create()
    execution.abandon("superseded")
    execution.abandon("superseded")
    assert device.kinds() == ["began", "abandoned"]


def test_the_current_execution_is_the_one_pointed_to(tmp_path: Path) -> None:
    """No clock is asked: a board without a battery boots in 1970. No pointer, or no journal where it points, is None."""
    runs = str(tmp_path)
    assert find_current(runs) is None
    for name, wall_ns in (("R/baseline-1", 10**18), ("R/recovery-1", 5)):
        (tmp_path / name).mkdir(parents=True)
        point_to(runs, name)
        assert find_current(runs) is None
        (tmp_path / name / "journal").touch()
        os.utime(tmp_path / name / "journal", ns=(wall_ns, wall_ns))
        assert find_current(runs) == str(tmp_path / name)


def test_a_hold_that_nobody_answered_is_the_last(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device whose coordinator is gone waits once and then goes on by itself, whatever holds are left."""
    monkeypatch.setattr(holds, "HOLD_LIMIT_S", 0.01)
    device.spec["holds"] = HOLDS
    execution = device.create()
    hold = execution.holds.arm("ingest", "after_flush")
    assert hold
    execution.holds.stand(hold, execution.journal.records[0])
    assert execution.holds.arm("", "during_resume") is None


def test_a_fault_that_waits_for_a_stage_learns_that_it_has_begun(device: Device) -> None:
    """It may be armed while the stage begins, or long after: after a restart the device does not wait for its coordinator."""
    execution = device.create()
    assert not execution.has_reached("ingest", "start")
    execution.journal.write("stage_started", {"stage": "ingest@2"})
    assert execution.has_reached("ingest", "start") and execution.has_reached("ingest@2", "start")
    assert not execution.has_reached("ingest", "end") and not execution.has_reached("train", "start")
    execution.promises.ended = True
    assert not execution.has_reached("ingest", "start")


@pytest.mark.parametrize(("status", "broken"), [(71, True), (1, False), (-9, False)])
def test_a_host_that_never_was_in_its_group_is_the_devices_fault(device: Device, status: int, broken: bool) -> None:
    """Then it had not begun to be a pipeline; one that ends by itself, or is killed, has failed."""
    execution = device.create()
    execution.scarce.group = SimpleNamespace(entering=list, figures=dict, limits=dict, remove=list)
    execution._hosts = [SimpleNamespace(wait=lambda: status, kill=lambda: None)]
    execution._say_what_broke(EOFError("the other end closed the channel"), "")
    assert (bool(execution.broken), execution.ended) == (broken, not broken)
    assert not broken or "control group" in execution.broken


# ---- under faults -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(
    ("said", "found"),
    [(1.5, {"waited_s": 4.0}), (0.0, {"waited_s": 2.5}), (None, {}), ("long", {})],
    ids=["some", "none", "unknown", "nonsense"],
)
def test_a_pipeline_waited_as_long_as_both_processes_one_after_the_other(device: Device, said: Any, found: dict[str, float]) -> None:
    """The supervisor had waited for a processor before it could start the pipeline's process, which then waited, too."""
    execution = device.create()
    assert execution._waited_in_all({"waited_s": said}) == {}, "nothing is added where it was not a restart"
    execution._waited_before_hosts_s = 2.5
    assert execution._waited_in_all({"waited_s": said}) == found


# ---- under link faults -------------------------------------------------------------------------------------------------


def test_it_stands_until_its_faults_are_armed_again(device: Device) -> None:
    """After a restart; the time goes into the journal, because it is the coordinator's and not the restart's."""
    execution = device.create(under_faults=True)
    timer = threading.Timer(0.2, execution.holds.under_faults)
    timer.start()
    assert 0.1 < execution.holds.await_faults() < 5
    assert execution.holds.await_faults() < 0.1, "they are on from then on"


def test_nobody_who_arms_them_is_waited_for_without_an_end(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device works on its own: it gives up, and waits at no later hold either; an abandoned one does not wait at all."""
    monkeypatch.setattr(holds, "HOLD_LIMIT_S", 0.1)
    execution = device.create(under_faults=True)
    assert execution.holds.await_faults() < 5
    assert execution.holds.alone
    other = device.restart()
    other.abandon("the run is over")
    assert other.holds.await_faults() < 5


@pytest.mark.parametrize("zone", [True, False])
def test_telemetry_has_the_heat_that_stages_feel(device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: bool) -> None:
    """Beside the machine's own temperature, and under another name, where the sensor is another file than its own."""
    sensor = tmp_path / "temp"
    sensor.write_text("81250\n")
    if zone:
        monkeypatch.setattr(execution_module, "ZONE", str(sensor))
    execution = device.create(settings={"SENSOR_TEMPERATURE": str(sensor)})
    execution._write_sample({"metrics": {"hw.temperature{hw.id=thermal_zone0}": 40.0}})
    said = execution.journal.records[-1].payload
    assert said["sensors"] == {"milli_c": 81250}
    assert said["metrics"].get("hw.temperature{hw.id=emulated}") == (None if zone else 81.25)
