"""Damage on the disk while the power is off: each image refused with its reason, and whoever goes on with one is caught."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.errors import LabError, RunnerError
from runner.judgement.conclude import Conclusion, conclude
from runner.judgement.evidence import Evidence
from runner.lab.folder import RunFolder
from runner.lab.where import Lab, builtin_root
from runner.model.plan import TamperPlan
from runner.model.profile import Damage
from runner.ondevice import journal
from runner.story.damage import damage, locate
from runner.story.execute import execute
from runner.story.execution import ExecutionRefused, _follow
from runner.story.plan import Asked, make_plan
from runner.target.mirror import Diverged, Mirror
from runner.target.storage import Storage
from runner.target.target import Target

from . import sabotage

OPENS_ANY_JOURNAL = ("execution.py", ", lambda data, records: refuse(data, records, name))", ")")
RUNS_ANY_PIPELINE = ("execution.py", "if restore and (self._pipeline_differs() or self._restarts_for_nothing()):", "if False:")
ALWAYS_AGREES = (
    "supervisor.py",
    "agrees = from_sequence <= journal.flushed_sequence + 1 and journal.chains[from_sequence - 1] == chain",
    "agrees = True",
)
ANSWERS_TO_ANY_NAME = (
    "supervisor.py",
    "current = self.execution is not None and self.execution.name == name",
    "current = self.execution is not None and (self.execution.name == name or not self.execution.ended)",
)
REFUSES_IN_THE_END = (
    ("execution.py", "        return bool(wrong)", "        self._late = wrong\n        return False"),
    ("execution.py", '            self._end("refused", {"reason": f"pipeline differs', '            str({"reason": f"pipeline differs'),
    (
        "execution.py",
        'self._end("finished", {',
        'self._end("refused" if getattr(self, "_late", "") else "finished", {"reason": "noticed now", ',
    ),
)


def run(tmp_path: Path, cuts: int, *, device: str = "local", adjust: Callable[[Target], None] = lambda target: None) -> Conclusion:
    lab = Lab(builtin_root(), tmp_path / "runs", builtin=True)
    plan = make_plan(Asked("EDGE-002", device=device, scenarios=("adversarial",), cuts=cuts), lab)
    return asyncio.run(execute(plan, lab, lambda event, **facts: None, adjust=adjust))


def notes(evidence: Evidence, kind: str) -> dict[str, dict[str, Any]]:
    """What the coordinator noted of that kind, by execution."""
    return {
        record.payload["execution"]: record.payload
        for record in evidence.coordinator
        if record.kind == kind and "execution" in record.payload
    }


def written_late(evidence: Evidence, name: str) -> bool:
    """Whether the device refused an image because of a whole record that it wrote behind the hold. Samples go on once a second at such a
    hold: one that came when the device had said where its journal lies, and before the cut, follows whatever was damaged."""
    behind = re.search(r"^the journal is damaged at byte .*: record (\d+) after it is whole", notes(evidence, "refused")[name]["reason"])
    return behind is not None and int(behind[1]) > notes(evidence, "held")[name]["written"]


def not_refused(conclusion: Conclusion) -> dict[str, str]:
    """Each image that `damage_refused` objects to, and what it says."""
    (result,) = (result for result in conclusion.results if result.check == "damage_refused")
    return {problem.partition("/")[0]: problem for problem, _ in result.problems}


# ---- all twelve of the entry ------------------------------------------------------------------------------------------


@pytest.mark.real
def test_twelve_images_are_each_refused_with_a_reason(whole_run: RunFolder) -> None:
    """Ten seeded ones, a foreign journal, a changed pipeline: who refuses which, and why. Here a crash of the process loses nothing, so

    a flip always has whole records behind it, and the device sees it; a torn tail leaves fewer records, and only who mirrored them knows,
    unless a sample was written behind it at the last moment.
    """
    conclusion = conclude(whole_run, "now")
    evidence = conclusion.evidence
    refused, damaged, ended = (notes(evidence, kind) for kind in ("refused", "damaged", "execution_ended"))
    token = evidence.config["run_token"]
    expected = {
        "bit_flip": ("device", ("the journal is damaged at byte ", "the journal does not begin as journals do")),
        "torn_tail": ("coordinator", ("after the cut at adversarial-",)),
        "foreign_journal": ("device", (f"the journal is that of {token}/baseline-1",)),
        "changed_pipeline": ("device", ("pipeline differs from the one that this journal began with: edge_002/",)),
    }
    images = [execution.name for execution in evidence.of("adversarial")]
    assert images == [f"adversarial-{number}" for number in range(1, 13)]
    kinds = [damaged[name]["damage"] for name in images]
    assert {kind: kinds.count(kind) for kind in expected} == {"bit_flip": 5, "torn_tail": 5, "foreign_journal": 1, "changed_pipeline": 1}
    for name, kind in zip(images, kinds, strict=True):
        by, reasons = expected[kind]
        if kind in ("torn_tail", "foreign_journal") and written_late(evidence, name):
            by, reasons = expected["bit_flip"]
        assert (refused[name]["by"], ended[name]["ending"]) == (by, "refused")
        assert refused[name]["reason"].startswith(reasons), (kind, refused[name]["reason"])
    assert not_refused(conclusion) == {}
    assert conclusion.outcome.verdict == "PASS_WITH_CONCERNS"


@pytest.mark.real
def test_every_byte_that_was_damaged_is_noted(whole_run: RunFolder) -> None:
    """Which file, how much of it had been promised, what was written where, and that it is another file now: all in the folder."""
    for name, noted in notes(conclude(whole_run, "now").evidence, "damaged").items():
        assert (noted["hold"], noted["sha256_before"] != noted["sha256_after"]) == (f"{name}/1", True)
        (edit,) = noted["edits"]
        assert 0 <= edit["offset"] < noted["promised_bytes"]
        assert edit["bytes"] == 1 or noted["damage"] in ("torn_tail", "foreign_journal")
        assert noted["file"].endswith(".py" if noted["damage"] == "changed_pipeline" else f"/{name}/journal")


@pytest.mark.real
def test_no_stage_ran_on_what_the_device_refused(whole_run: RunFolder) -> None:
    """By the witness outside; and a refusal in the journal itself is its last record."""
    evidence = conclude(whole_run, "now").evidence
    refused = notes(evidence, "refused")
    for execution in evidence.of("adversarial"):
        if refused[execution.name]["by"] == "device":
            assert {line.life for line in execution.witnessed} == {0}
        if notes(evidence, "damaged")[execution.name]["damage"] == "changed_pipeline":
            assert execution.records[-1].payload == {"reason": refused[execution.name]["reason"]}


# ---- supervisors that go on -------------------------------------------------------------------------------------------


@pytest.mark.real
def test_a_supervisor_that_goes_on_with_anything_is_caught(tmp_path: Path) -> None:
    """It opens whatever it finds, runs whatever is there, and tells the coordinator that all is well.

    Where that lost the mark of the hold it stands there a second time, and is caught at once; elsewhere by the check.
    """
    broken = sabotage.supervisor_with(OPENS_ANY_JOURNAL, RUNS_ANY_PIPELINE, ALWAYS_AGREES, ANSWERS_TO_ANY_NAME)
    conclusion = run(tmp_path, 4, adjust=sabotage.using(broken))
    assert sorted(not_refused(conclusion)) == ["adversarial-3", "adversarial-4"]
    again = [said["reason"] for said in notes(conclusion.evidence, "refused").values()]
    assert [("again: it lost the record" in reason) for reason in again] == [True, True]
    assert (conclusion.outcome.verdict, conclusion.outcome.exit_code) == ("FAIL", 1)


@pytest.mark.real
def test_a_supervisor_that_opens_any_journal_is_stopped_by_the_coordinator(tmp_path: Path) -> None:
    """Whoever mirrored the records is not fooled by a device alone: three journals are refused after all, a pipeline by the device."""
    conclusion = run(tmp_path, 4, adjust=sabotage.using(sabotage.supervisor_with(OPENS_ANY_JOURNAL)))
    by = [refusal["by"] for refusal in notes(conclusion.evidence, "refused").values()]
    assert by == ["coordinator", "coordinator", "coordinator", "device"]
    assert not_refused(conclusion) == {}


@pytest.mark.real
def test_a_supervisor_that_refuses_only_when_all_is_done_is_caught(tmp_path: Path) -> None:
    """The right word, too late: stages of the changed pipeline have begun by then, and the witness has seen them."""
    conclusion = run(tmp_path, 4, adjust=sabotage.using(sabotage.supervisor_with(*REFUSES_IN_THE_END)))
    assert list(not_refused(conclusion)) == ["adversarial-4"]
    assert "was refused, but only after ledger" in not_refused(conclusion)["adversarial-4"]


@pytest.mark.real
def test_a_disk_that_nobody_reaches_blocks_the_run_and_judges_nobody(tmp_path: Path) -> None:
    """A real board's, for example: the fault was not reached, so there is no verdict."""

    def unreachable(target: Target) -> None:
        target.power.storage = lambda: None  # type: ignore[method-assign]

    conclusion = run(tmp_path, 1, adjust=unreachable)
    assert (conclusion.outcome.status, conclusion.outcome.verdict, conclusion.outcome.exit_code) == ("blocked", None, 3)
    assert "nobody reaches the disk of local" in str(conclusion.trouble)


# ---- the steps, one by one --------------------------------------------------------------------------------------------


class Device:
    """A device that is off, and one journal of it: `flushed` records were promised, one more was written."""

    def __init__(self, root: Path) -> None:
        self.root, self.noted = root, dict[str, Any]()
        self.path = root / "state" / "journal"
        self.path.parent.mkdir()
        self.records = [journal.encode(number, "ab" * 16, 1, 1, "sample", {"data": "x" * 300}) for number in range(1, 5)]
        self.path.write_bytes(journal.FILE_HEADER + b"".join(record.raw for record in self.records))
        self.foreign = root / "foreign.journal"
        self.foreign.write_bytes(journal.FILE_HEADER + journal.encode(1, "cd" * 16, 1, 1, "began", {}).raw)
        self.storage: Any = Storage(self.path.parent, extents=False)

    def damage(self, kind: Damage, seed: int = 1, size: int | None = None, flushed: int = 3, mirrored: int = 3) -> None:
        plan: Any = SimpleNamespace(name="adversarial-1", executions=[SimpleNamespace(name="baseline-1")])
        run: Any = SimpleNamespace(
            target=SimpleNamespace(name="local", power=SimpleNamespace(storage=lambda: self.storage)),
            folder=SimpleNamespace(device_journal=lambda name: self.foreign),
            plan=plan,
            lease=SimpleNamespace(confirm=lambda: None),
            note=lambda noted, **facts: self.noted.update({noted: facts}),
            emit=lambda *_, **__: None,
        )
        tamper = TamperPlan(damage=kind, seed=seed)
        place = {"path": str(self.path), "size": self.path.stat().st_size if size is None else size, "extents": []}
        asyncio.run(damage(run, plan, "adversarial-1/1", tamper, place, flushed, mirrored))


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@pytest.mark.parametrize("kind", ["bit_flip", "torn_tail", "foreign_journal", "changed_pipeline"])
def test_damage_is_written_and_noted_with_its_ranges(device: Device, kind: Damage) -> None:
    """What differs afterwards lies within the ranges that are noted, and their file has the hash that is noted."""
    before = device.path.read_bytes()
    device.damage(kind)
    after, noted = device.path.read_bytes(), device.noted["damaged"]
    changed = {place for place, (old, new) in enumerate(zip(before, after, strict=True)) if old != new}
    assert changed <= {place for edit in noted["edits"] for place in range(edit["offset"], edit["offset"] + edit["bytes"])}
    assert changed
    assert [noted["sha256_before"], noted["sha256_after"]] == [journal.hashlib.sha256(data).hexdigest() for data in (before, after)]
    promised = len(before) if kind == "changed_pipeline" else len(before) - len(device.records[-1].raw)
    assert (noted["damage"], noted["promised_bytes"], min(changed) < promised) == (kind, promised, True)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"flushed": 5}, "5 records were promised, the undamaged disk holds 4"),
        ({"size": 20}, "3 records were promised, the undamaged disk holds 0"),
        ({"size": 0}, "is empty: there is nothing to damage"),
        ({"size": -1}, "has -1 bytes"),
        ({"flushed": 0}, "nothing had been promised"),
        ({"flushed": -4}, "nothing had been promised"),
        ({"mirrored": 0}, "nothing had been promised"),
    ],
    ids=["fewer than promised", "a part of it", "none of it", "nonsense", "no promise", "less than none", "nobody heard of it"],
)
def test_a_disk_that_does_not_hold_what_was_promised_is_not_damaged(device: Device, wrong: dict[str, int], said: str) -> None:
    """Lost before anything was damaged, it diverged by itself; of nonsense the lab is told. Not a byte is changed."""
    before = device.path.read_bytes()
    with pytest.raises(RunnerError, match=said):
        device.damage("bit_flip", **wrong)
    assert (device.path.read_bytes(), device.noted) == (before, {})


@pytest.mark.parametrize("kind", ["bit_flip", "torn_tail"])
def test_what_is_hit_is_known_to_the_coordinator(device: Device, kind: Damage) -> None:
    """Three records are flushed, and it has heard of one: for then no other could be missed by anybody, were it gone from the end."""
    whole = device.path.read_bytes()
    end = len(journal.FILE_HEADER) + len(device.records[0].raw)
    for seed in range(40):
        device.path.write_bytes(whole)
        device.damage(kind, seed, mirrored=1)
        assert device.noted["damaged"]["promised_bytes"] == end
        assert device.noted["damaged"]["edits"][0]["offset"] < end
        assert journal.read(device.path.read_bytes()) == []


def test_an_empty_file_of_a_pipeline_is_not_damaged(device: Device) -> None:
    """The same for code, whatever a device says of its size."""
    with pytest.raises(LabError, match="there is nothing to damage"):
        device.damage("changed_pipeline", size=0)


def test_writing_that_changes_nothing_is_no_damage(device: Device) -> None:
    """A disk that takes the bytes and keeps its own: damage not reached."""

    class Deaf(Storage):
        def write(self, place: dict[str, Any], offset: int, data: bytes) -> None: ...

    device.storage = Deaf(device.path.parent, extents=False)
    with pytest.raises(LabError, match="changed nothing: damage not reached"):
        device.damage("bit_flip")
    assert device.noted == {}


def test_code_that_is_damaged_is_the_code_that_would_run() -> None:
    """The module that builds the pipeline, by the name it has on the device."""
    asked = []

    async def ask(do: str, what: str) -> dict[str, Any]:
        asked.append((do, what))
        return {}

    run: Any = SimpleNamespace(session=SimpleNamespace(ask=ask), bundle=object(), plan=SimpleNamespace(pipeline_folder="pipe"))
    asyncio.run(locate(run, SimpleNamespace(module="adversarial"), TamperPlan(damage="changed_pipeline", seed=1)))  # type: ignore[arg-type]
    assert asked == [("locate", "pipe/adversarial.py")]


@pytest.mark.parametrize(("reason", "said"), [("the journal is damaged", "the journal is damaged"), ("x" * 10_000, "x" * 500), (7, "7")])
def test_a_devices_refusal_is_heard_and_bounded(tmp_path: Path, reason: Any, said: str) -> None:
    """Whatever a device gives as its reason: it is some text, and not more than a paragraph of it."""

    async def follow(run: str, execution: str, mirror: Mirror) -> dict[str, Any]:
        return {"agrees": False, "written": 0, "refused": reason}

    mirror = Mirror(tmp_path / "mirror")
    run: Any = SimpleNamespace(token="R", log=None, session=SimpleNamespace(follow=follow))
    with pytest.raises(ExecutionRefused) as refused:
        asyncio.run(_follow(run, SimpleNamespace(name="adversarial-1"), mirror, "after the cut"))  # type: ignore[arg-type]
    assert refused.value.complaints[0].found == said
    mirror.close()


@pytest.mark.parametrize("written", [0, 7])
def test_a_device_that_goes_on_with_something_else_is_not_waited_for(tmp_path: Path, written: int) -> None:
    """It has the execution's journal, or none, and nobody writes to it any more: told at once, and not when the time is up."""

    async def follow(run: str, execution: str, mirror: Mirror) -> dict[str, Any]:
        return {"agrees": True, "written": written, "current": False, "ended": False}

    mirror = Mirror(tmp_path / "mirror")
    run: Any = SimpleNamespace(token="R", log=None, session=SimpleNamespace(follow=follow))
    with pytest.raises(Diverged, match="after the cut: the device does not go on with adversarial-1"):
        asyncio.run(_follow(run, SimpleNamespace(name="adversarial-1"), mirror, "after the cut"))  # type: ignore[arg-type]
    mirror.close()


def test_a_device_that_came_to_the_end_meanwhile_is_read_to_it(tmp_path: Path) -> None:
    """The negative control: nobody writes to it any more because it is all there."""

    async def follow(run: str, execution: str, mirror: Mirror) -> dict[str, Any]:
        return {"agrees": True, "written": 7, "current": False, "ended": True}

    mirror = Mirror(tmp_path / "mirror")
    run: Any = SimpleNamespace(token="R", log=None, session=SimpleNamespace(follow=follow))
    assert asyncio.run(_follow(run, SimpleNamespace(name="adversarial-1"), mirror, "after the cut")) is None  # type: ignore[arg-type]
    mirror.close()


# ---- on a board -------------------------------------------------------------------------------------------------------


@pytest.mark.qemu
def test_each_kind_of_damage_on_a_real_disk_is_refused(tmp_path: Path) -> None:
    """The bytes change on the raw disk of a board without power, below its file system; the board reads them, and none is gone on with."""
    written: list[tuple[Path, bool]] = []

    class Watched(Storage):
        """Where the bytes really went, by the medium alone."""

        def write(self, place: dict[str, Any], offset: int, data: bytes) -> None:
            before = {tuple(extent): self._raw(extent) for extent in place["extents"]}
            super().write(place, offset, data)
            written.append((self._medium, any(self._raw(list(extent)) != old for extent, old in before.items())))

        def _raw(self, extent: list[int]) -> bytes:
            with self._medium.open("rb") as disk:
                disk.seek(extent[1])
                return disk.read(extent[2])

    def watch(target: Target) -> None:
        real = target.power.storage()
        assert real
        target.power.storage = lambda: Watched(real._medium, extents=True)  # type: ignore[method-assign]

    conclusion = run(tmp_path, 4, device="qemu-pi", adjust=watch)
    assert conclusion.trouble is None
    assert not_refused(conclusion) == {}
    assert conclusion.outcome.verdict == "PASS_WITH_CONCERNS"
    disk = Path(os.environ["RUNNER_STATE"]) / "boards" / "qemu-pi"
    assert [(medium.parent, changed) for medium, changed in written] == [(disk, True)] * 4
    evidence = conclusion.evidence
    damaged, refused = notes(evidence, "damaged"), notes(evidence, "refused")
    by = {damaged[name]["damage"]: refusal["by"] for name, refusal in refused.items()}
    assert by.pop("bit_flip") in ("device", "coordinator")  # in the last promised record nothing whole may be left behind it
    late = {damaged[name]["damage"] for name in refused if written_late(evidence, name)}
    assert by.pop("torn_tail") == ("device" if "torn_tail" in late else "coordinator")
    assert by == {"foreign_journal": "device", "changed_pipeline": "device"}
    assert all(noted["file"].startswith("/data/runner/") for noted in damaged.values())
    assert {cut.loss for cut in evidence.cuts} == {"power_loss"}
