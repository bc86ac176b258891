"""Several pipelines of one execution at once: real host processes around a pipeline of two stages, and no other Stageflow than

    lane 1   a@1 ─► b@1        each lane works below work/<lane>/, and its stages are called so in the journal
    lane 2   a@2 ─► b@2

What a test waits for, it is told: by an event of the execution, or by a pipe that a stage body stands at.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.ondevice.execution import Execution, lane_of, lanes
from runner.ondevice.journal import Record, read_file
from runner.ondevice.results import ENDS, finished_stages, hash_files, state_hash
from runner.ondevice.store import Store

LIMIT_S = 20.0  # of every wait, so that a broken supervisor fails a test and does not hang it
HOST = f"""
import sys
sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
from runner.ondevice.supervisor import main
sys.exit(main(sys.argv[1:]))
"""
STAGEFLOW = b"""
import dataclasses, enum

class StageStatus(enum.Enum):
    OK = "ok"

@dataclasses.dataclass(frozen=True)
class StageOutput:
    status: StageStatus
    data: dict
    error: str = None
    version: str = None
"""
CONTEXT = b"class PipelineContext(dict): ...\n"
PIPELINE = """
import dataclasses, os
from stageflow import StageOutput, StageStatus

LANE, GATE = os.path.basename(os.getcwd()), GATE_PATH

@dataclasses.dataclass
class Spec:
    runner: object
    config: dict = None

async def a(ctx):
    with open("a.txt", "w") as file:
        file.write(LANE)
    return StageOutput(StageStatus.OK, {"files": ["a.txt"], "lane": LANE})

async def b(ctx):
    BODY
    return StageOutput(StageStatus.OK, {"after": ctx["a"].data["lane"]})

class Pipeline:
    def __init__(self):
        self.stages = {"a": Spec(a), "b": Spec(b)}
    def build(self):
        return self
    async def run(self, ctx: "PipelineContext"):
        for name, spec in self.stages.items():
            ctx[name] = await spec.runner.execute(ctx)

build = Pipeline
"""
AT_THE_GATE = "open(GATE).close()"  # blocks until the test opens the other end
HOLDS = [{"hold": f"stress-1/{lane}", "stage": f"b@{lane}", "point": "started"} for lane in (1, 2)]


class Turn:
    """The lock of the execution's holds, and whether somebody is waiting for it now."""

    def __init__(self) -> None:
        self.lock, self.changed, self.waiting = threading.Lock(), threading.Condition(), 0
        self.release, self.locked = self.lock.release, self.lock.locked

    def acquire(self, timeout: float = -1) -> bool:
        return self.lock.acquire(blocking=False) or self._wait(timeout)

    def _wait(self, timeout: float) -> bool:
        self._count(1)
        try:
            return self.lock.acquire(timeout=timeout)
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self.changed:
            self.waiting += more
            self.changed.notify_all()

    def somebody_waits(self) -> bool:
        """True as soon as somebody does."""
        with self.changed:
            return self.changed.wait_for(lambda: self.waiting > 0, LIMIT_S)


class Device:
    """One state folder with a pipeline in it, and the lives of one execution of two lanes."""

    def __init__(self, root: Path, store: Store, pipeline: str, environment: str) -> None:
        self.folder, self.store, self.gate, self.witness = root / "runs/R/stress-1", store, root / "gate", root / "witness.jsonl"
        self.witness.touch()
        self.events: list[dict[str, Any]] = []
        self.on_held: Callable[[Execution], None] = lambda execution: execution.holds.proceed()
        self.happened = threading.Condition()
        self.spec: dict[str, Any] = {
            "run": "R",
            "execution": "stress-1",
            "durability": "journaled",
            "stages": ["a@1", "a@2", "b@1", "b@2"],
            "lanes": 2,
            "holds": [],
            "pipeline": {"tree": pipeline, "module": "pipe.two", "files": hash_files(store.tree(pipeline), ["pipe/two.py"])},
            "environment": {"tree": environment},
            "witness": str(self.witness),
            "stage_timeout_s": 10,
        }

    def create(self, **changes: Any) -> Execution:
        self.spec.update(changes)
        self.execution = Execution.create(str(self.folder), self.spec, self.store, self.publish)
        return self.execution

    def publish(self, event: dict[str, Any]) -> None:
        with self.happened:
            self.events.append(event)
            self.happened.notify_all()
        if event["event"] == "held":
            self.on_held(self.execution)

    def begin(self, *, restore: bool = False) -> threading.Thread:
        life = threading.Thread(target=self.execution._live, args=(restore,), daemon=True)
        life.start()
        return life

    def live(self, *, restore: bool = False) -> None:
        """A whole life."""
        self.end(self.begin(restore=restore))

    def end(self, life: threading.Thread) -> None:
        life.join(LIMIT_S)
        assert not life.is_alive(), self.log()
        assert self.execution.over

    def wait(self, wanted: Callable[[], bool]) -> None:
        with self.happened:
            assert self.happened.wait_for(wanted, LIMIT_S), self.log()

    def wait_for(self, kind: str, *stages: str) -> None:
        """Until each of `stages` has such a record in the journal."""
        self.wait(lambda: set(stages) <= {r.payload["stage"] for r in self.execution.journal.records if r.kind == kind})

    def of_kind(self, *kinds: str) -> list[Record]:
        return [record for record in read_file(self.execution.journal.path) if record.kind in kinds]

    @property
    def holds_reached(self) -> int:
        return sum(event["event"] == "held" for event in self.events)

    def log(self) -> str:
        return (self.folder / "host.log").read_text()


MakeDevice = Callable[..., Device]


@pytest.fixture
def make_device(tmp_path: Path, store: Store, push: Callable[[dict[str, bytes]], str], monkeypatch: pytest.MonkeyPatch) -> MakeDevice:
    """`make_device(body)`: its pipeline's stage b does what `body` says."""

    def make(body: str = "pass") -> Device:
        text = PIPELINE.replace("BODY", body).replace("GATE_PATH", repr(str(tmp_path / "gate")))
        pipeline = push({"pipe/__init__.py": b"", "pipe/two.py": text.encode()})
        stageflow = {"stageflow/__init__.py": STAGEFLOW, "stageflow/stages/__init__.py": b"", "stageflow/stages/context.py": CONTEXT}
        environment = push(stageflow)
        for tree in (pipeline, environment):
            store.unpack(tree, [tree], compile=False)
        (tmp_path / "host.py").write_text(HOST)
        monkeypatch.setattr(sys, "argv", [str(tmp_path / "host.py")])
        os.mkfifo(tmp_path / "gate")
        return Device(tmp_path, store, pipeline, environment)

    return make


def test_a_single_pipeline_has_no_lane() -> None:
    """Lanes count from 1, and there are none where there is one pipeline, or where nobody says how many."""
    assert [lanes(spec) for spec in ({}, {"lanes": 1}, {"lanes": 3})] == [[""], [""], ["1", "2", "3"]]
    assert [lane_of(stage) for stage in ("a", "a@1", "a@12")] == ["", "1", "12"]


def test_stages_and_files_are_their_lanes(make_device: MakeDevice) -> None:
    """Journal, witness and files tell the lanes apart, and the last record is the state of both."""
    device = make_device()
    device.create()
    device.live()
    results = finished_stages(read_file(device.execution.journal.path))
    assert sorted(results) == ["a@1", "a@2", "b@1", "b@2"]
    for lane in ("1", "2"):
        assert list(results[f"a@{lane}"]["files"]) == [f"{lane}/a.txt"]
        assert (device.folder / "work" / lane / "a.txt").read_text() == lane
        assert results[f"b@{lane}"]["data"] == {"after": lane}
    (last,) = device.of_kind(*ENDS)
    assert (last.kind, last.payload) == ("finished", {"state_sha256": state_hash(results), "stages": sorted(results)})
    seen = [json.loads(line)["stage"] for line in device.witness.read_text().splitlines()]
    assert sorted(seen) == ["a@1", "a@2", "b@1", "b@2"]


def test_it_has_finished_when_all_have(make_device: MakeDevice) -> None:
    """The first pipeline's host has come to its end long ago; the execution goes on until the second one's has."""
    device = make_device(f'if LANE == "2": {AT_THE_GATE}')
    device.create()
    life = device.begin()
    device.wait_for("stage_finished", "b@1")
    device.wait_for("stage_started", "b@2")
    assert device.execution._hosts[0].wait(LIMIT_S) == 0
    assert not device.execution.ended
    device.gate.open("w").close()
    device.end(life)
    assert [record.kind for record in device.of_kind(*ENDS)] == ["finished"]


@pytest.mark.parametrize(
    ("lane", "body", "error"),
    [
        ("1", 'raise ValueError("no mains")', "ValueError: no mains"),
        ("2", "os._exit(3)", "the pipeline process ended early: exit status 3, see host.log"),
        ("1", "os.kill(os.getpid(), 9)", "the pipeline process ended early: signal SIGKILL"),
    ],
    ids=["raises", "exits", "is killed"],
)
def test_one_that_fails_ends_them_all(make_device: MakeDevice, lane: str, body: str, error: str) -> None:
    """Its error is the execution's, once; the other pipeline, which would never end by itself, is ended with it."""
    device = make_device(f'if LANE != "{lane}": {AT_THE_GATE}\n    {body}')
    device.create()
    device.live()
    assert [(record.kind, record.payload) for record in device.of_kind(*ENDS)] == [("failed", {"error": error})]
    assert all(host.poll() is not None for host in device.execution._hosts)


def test_one_that_never_gets_ready_keeps_the_other_from_beginning(make_device: MakeDevice, push: Any) -> None:
    """Pipelines that run at once begin at once, or not at all."""
    device = make_device()
    broken = push({"pipe/__init__.py": b"", "pipe/two.py": b"import os\nif os.getcwd().endswith('2'): os._exit(4)\n" + PIPELINE.encode()})
    device.store.unpack(broken, [broken], compile=False)
    files = hash_files(device.store.tree(broken), ["pipe/two.py"])
    device.create(pipeline={"tree": broken, "module": "pipe.two", "files": files})
    device.live()
    assert [record.kind for record in device.of_kind("stage_started", *ENDS)] == ["failed"]
    assert device.witness.read_text() == ""


@pytest.mark.parametrize("point", ["started", "before_flush"])
def test_one_stands_at_a_hold_at_a_time(make_device: MakeDevice, point: str) -> None:
    """The second pipeline waits for its turn until the coordinator has let the first go on; both holds are made."""
    device = make_device()
    turn = Turn()
    standing: list[int] = []

    def on_held(execution: Execution) -> None:
        if not standing:
            assert turn.somebody_waits()
        standing.append(device.holds_reached)
        execution.holds.proceed()

    device.on_held = on_held
    device.create(holds=[{**hold, "point": point} for hold in HOLDS]).holds._turn = turn  # type: ignore[assignment]
    device.live()
    assert standing == [1, 2]
    assert sorted(record.payload["hold"] for record in device.of_kind("holding")) == ["stress-1/1", "stress-1/2"]
    assert [record.kind for record in device.of_kind(*ENDS)] == ["finished"]


def test_without_turns_both_would_stand_at_once(make_device: MakeDevice) -> None:
    """The negative control: with a lock that everybody gets, the second hold is reached while the first one stands."""
    device = make_device()

    class Everybodys(Turn):
        def __init__(self) -> None:
            super().__init__()
            self.release, self.locked = lambda: None, lambda: False

        def acquire(self, timeout: float = -1) -> bool:
            return True

    def on_held(execution: Execution) -> None:
        device.wait(lambda: device.holds_reached == 2)

    device.on_held = on_held
    device.create(holds=HOLDS).holds._turn = Everybodys()  # type: ignore[assignment]
    life = device.begin()
    device.wait(lambda: device.holds_reached == 2)
    device.execution.abandon("seen enough")
    device.end(life)


def test_abandoning_ends_both(make_device: MakeDevice) -> None:
    """Two pipelines that would never end by themselves: both are ended, and the journal says who wanted that."""
    device = make_device(AT_THE_GATE)
    device.create()
    life = device.begin()
    device.wait_for("stage_started", "b@1", "b@2")
    device.execution.abandon("superseded")
    device.end(life)
    assert [host.poll() for host in device.execution._hosts] == [-9, -9]
    assert [(record.kind, record.payload) for record in device.of_kind(*ENDS)] == [("abandoned", {"reason": "superseded"})]


def test_abandoning_ends_one_that_stands_and_one_that_waits_for_its_turn(make_device: MakeDevice) -> None:
    """Neither a hold nor the queue behind it keeps an execution alive that nobody wants."""
    device = make_device()
    turn = Turn()
    device.on_held = lambda execution: None
    device.create(holds=HOLDS).holds._turn = turn  # type: ignore[assignment]
    life = device.begin()
    assert turn.somebody_waits()
    device.wait(lambda: device.holds_reached == 1)
    device.execution.abandon("superseded")
    device.end(life)
    assert [record.kind for record in device.of_kind(*ENDS)] == ["abandoned"]


def test_a_restart_replays_each_lane_its_own(make_device: MakeDevice, tmp_path: Path) -> None:
    """Both lanes had finished a and begun b when the power went: a is not run again, and each b sees its own lane's a."""
    device = make_device(AT_THE_GATE)
    image = tmp_path / "image/R/stress-1"

    def on_held(execution: Execution) -> None:
        if device.holds_reached == 2:  # what a crash leaves: one lane stands here, the other one is in its body
            shutil.copytree(device.folder, image)
            threading.Thread(target=execution.abandon, args=("only its image is wanted",)).start()
        else:
            execution.holds.proceed()

    device.on_held = on_held
    device.create(holds=HOLDS)
    device.live()
    lines = len(device.witness.read_text().splitlines())
    restarted = Execution.reopen(str(image), device.store, device.publish, 0)
    assert restarted
    device.execution = restarted
    gate = os.open(device.gate, os.O_RDWR)  # open for everybody
    device.live(restore=True)
    os.close(gate)
    (restored,) = device.of_kind("restored")
    assert (restored.payload["replay"], restored.payload["rejected"]) == (["a@1", "a@2"], {})
    results = finished_stages(read_file(restarted.journal.path))
    assert [results[f"b@{lane}"]["data"] for lane in (1, 2)] == [{"after": "1"}, {"after": "2"}]
    seen = [json.loads(line) for line in device.witness.read_text().splitlines()[lines:]]
    assert sorted((line["stage"], line["life"]) for line in seen) == [("b@1", 1), ("b@2", 1)]
    (last,) = device.of_kind(*ENDS)
    assert (last.kind, last.payload["state_sha256"]) == ("finished", state_hash(results))


def test_a_file_that_one_lane_lost_is_that_lanes_loss(make_device: MakeDevice) -> None:
    """The same name in the other lane's folder stands for nothing: only what is gone runs again."""
    device = make_device()
    execution = device.create()
    for lane in ("1", "2"):
        (device.folder / "work" / lane / "a.txt").write_text("the same in both")
        files = hash_files(str(device.folder / "work"), [f"{lane}/a.txt"])
        execution.journal.append("stage_finished", {"stage": f"a@{lane}", "status": "ok", "data": {}, "files": files, "duration_ns": 1})
    (device.folder / "work/2/a.txt").unlink()
    restarted = Execution.reopen(str(device.folder), device.store, device.publish, 0)
    assert restarted
    assert list(restarted._restore()) == ["a@1"]
    restored = next(record.payload for record in restarted.journal.records if record.kind == "restored")
    assert (restored["next"], list(restored["rejected"])) == (["a@2"], ["a@2"])
