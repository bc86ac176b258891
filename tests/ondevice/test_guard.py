"""The guard in this process, with a clock turned by hand: what it applies, what it takes back, and what it says of that.

A program here makes files in a folder and removes them again; whoever finds the folder empty finds the device as it was.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.ondevice import acts, guard, guarded, watch
from runner.ondevice.channel import Channel
from runner.ondevice.claim import Claims
from runner.ondevice.execution import Execution
from runner.ondevice.guard import Guard
from runner.ondevice.journal import Record, boot_id, read_file
from runner.ondevice.store import Store
from runner.ondevice.supervisor import Supervisor

RUN = "EDGE-003.run-2026-11-28-001.966baafa"
S = 1_000_000_000


def until(holds: Callable[[], Any], limit_s: float = 20.0) -> None:
    """Returns when it holds. Fails when it did not within the limit."""
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, f"this did not come to hold within {limit_s:g} s: {holds}"
        time.sleep(0.01)


class Device:
    """Its folders, the folder that stands for what a fault changes, and a clock turned by hand."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state, self.runtime, self.place, self.boot_file = root / "state", root / "run", root / "place", root / "boot_id"
        self.now_ns, self.reboots = 1000 * S, 0
        for folder in (self.state / "runs" / RUN, self.runtime, self.place):
            folder.mkdir(parents=True)
        self.boot("b" * 32)
        monkeypatch.setenv("RUNNER_BOOT_ID", str(self.boot_file))
        monkeypatch.setenv("RUNNER_GUARD_REBOOT", str(root / "rebooted"))
        for module in (guard, watch):
            monkeypatch.setattr(module, "boottime_ns", lambda: self.now_ns)
        monkeypatch.setattr(watch, "PAUSES_S", (0.01,) * 4)
        monkeypatch.setattr(watch, "LOOK_S", 0.01)
        self.guards: list[Guard] = []

    def boot(self, boot: str) -> None:
        self.boot_file.write_text(boot)

    def guard(self, why: str = "asked") -> Guard:
        """A guard that has adopted what is on the disk, and watches it. One before it is dead from here on, as if it were killed."""
        self.kill()
        made = Guard(str(self.state), str(self.runtime), why, self._reboot)
        self.guards.append(made)
        made.start_watches()
        return made

    def kill(self) -> None:
        """No guard is there any more; what it had made stays."""
        while self.guards:
            dead = self.guards.pop()
            for dying in dead.around.watches.values():
                dying.gone = True
            dead.around.acts.close()

    def _reboot(self) -> None:
        self.reboots += 1

    @property
    def effect(self) -> list[str]:
        """What the faults have made of this device."""
        return sorted(path.name for path in self.place.iterdir())

    @property
    def records(self) -> list[Record]:
        path = self.state / "runs" / RUN / "guard" / "journal"
        return read_file(str(path)) if path.is_file() else []

    def said(self, kind: str) -> list[dict[str, Any]]:
        return [record.payload for record in self.records if record.kind == kind]

    def wait_for(self, kind: str, count: int = 1) -> dict[str, Any]:
        until(lambda: len(self.said(kind)) >= count)
        return self.said(kind)[count - 1]

    def clean(self) -> bool:
        """Nothing of a fault is left: neither on the device, nor on its disk."""
        return self.effect == [] and guarded.armed(str(self.state)) == []


def touch(path: Path) -> dict[str, Any]:
    return {"argv": ["/bin/touch", str(path)], "input": ""}


def program(place: Path, name: str = "offline-1", **changes: Any) -> dict[str, Any]:
    """At once the file NAME.0, after 5 s NAME.1 beside it."""
    files = [place / f"{name}.{number}" for number in range(2)]
    steps = [{"at_s": 5.0 * n, "acts": [touch(file)], "word": f"{n + 1} of 2", "on": True} for n, file in enumerate(files)]
    whole = {
        "name": name, "fault": "offline", "interface": "data0", "resources": [name], "needs": [], "prepare": [], "steps": steps,
        "undo": [{"argv": ["/bin/rm", "-f", str(file)], "input": ""} for file in files],
        "signs": [{"argv": ["/bin/ls", str(place)], "contains": name}], "lasts_s": None, "stage": "", "edge": "start",
        "severs_management": False,
    }  # fmt: skip
    return {**whole, **changes}


def arm(to: Guard, program: dict[str, Any], **changes: Any) -> dict[str, Any]:
    limits = {"renew_s": 60.0, "cap_s": 600.0, "elapsed_s": 0.0, "confirm_s": 120.0, "escalate": False}
    return to.ask({"do": "arm", "heard": True, "program": program, "run": RUN, "holder": "ben for EDGE-003", **limits, **changes})


def begun(to: Guard, device: Device, program: dict[str, Any], **limits: Any) -> None:
    """Armed, begun, and its first step is in effect."""
    arm(to, program, **limits)
    to.ask({"do": "start", "name": program["name"]})
    until(lambda: f"{program['name']}.0" in device.effect)
    device.wait_for("step")


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    made = Device(tmp_path, monkeypatch)
    yield made
    made.kill()


# ---- arming, applying, and being told to end --------------------------------------------------------------------------


def test_what_is_armed_is_on_the_disk_and_not_in_effect(device: Device) -> None:
    """Undo and deadlines are readable by whoever comes after this guard; the note of it is flushed."""
    assert arm(device.guard(), program(device.place)) == {"armed": "offline-1"}
    kept = watch.read_kept(str(device.state / "guard" / "offline-1.json"))
    assert (kept["program"]["undo"], kept["cap_s"], kept["boot"]) == (program(device.place)["undo"], 600.0, "b" * 32)
    assert [record.kind for record in device.records] == ["began", "guard_started", "armed"]
    assert device.records[0].payload == {"run": RUN, "stages": [], "holds": []}
    (said,) = device.said("armed")
    assert said == {
        "program": "offline-1", "fault": "offline", "holder": "ben for EDGE-003", "renew_s": 60.0, "cap_s": 600.0,
        "undo": [act["argv"] for act in program(device.place)["undo"]],
    }  # fmt: skip
    assert device.effect == []


@pytest.mark.parametrize("why", ["hard cap", "nobody renewed it"])
def test_what_preparing_takes_is_none_of_a_programs_time(device: Device, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """Both deadlines count from the moment at which the undo is written: nothing can be in effect before. To the second."""
    guard, slow = device.guard(), program(device.place, prepare=[{"argv": ["/bin/true"], "input": "slow"}])
    run = guard.around.acts.all

    def run_slowly(acts: list[dict[str, Any]]) -> list[str]:
        device.now_ns += 300 * S * (acts == slow["prepare"])
        return run(acts)

    monkeypatch.setattr(guard.around.acts, "all", run_slowly)
    begun(guard, device, slow, **({"cap_s": 200.0, "renew_s": 600.0} if why == "hard cap" else {"cap_s": 600.0, "renew_s": 200.0}))
    kept = json.loads((device.state / "guard" / "offline-1.json").read_text())
    assert (kept["armed_ns"], json.loads((device.runtime / "programs" / "offline-1.json").read_text())["armed_ns"]) == (1300 * S,) * 2
    device.now_ns += 199 * S
    device.wait_for("step", 2)  # it has looked, and found that it may go on
    assert (device.said("reverting"), len(device.effect)) == ([], 2)
    device.now_ns += 1 * S
    assert device.wait_for("reverted")["why"] == why
    until(device.clean)


@pytest.mark.parametrize("what", ["the file", "the folder"])
def test_what_the_disk_does_not_take_is_not_armed(device: Device, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """One sentence, and nothing is left; the same program is armed as soon as the disk takes it."""
    guard = device.guard()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(device.state / "guard"))

    with monkeypatch.context() as patched:
        patched.setattr(*((watch, "fsync_file", full) if what == "the file" else (watch.os, "makedirs", full)))
        with pytest.raises(ValueError, match=r"nothing is armed, because .* No space left on device.*; make room in .*/state$"):
            arm(guard, program(device.place))
    assert (guard.do_programs()["programs"], list((device.state / "guard").glob("offline-1*")), device.effect) == ([], [], [])
    begun(guard, device, program(device.place))


def test_steps_come_at_their_times_and_all_of_them_come_off(device: Device) -> None:
    """Each is noted with what it made the case; a revert that was asked for is answered when nothing is left."""
    guard = device.guard()
    begun(guard, device, program(device.place))
    assert device.effect == ["offline-1.0"]
    (said,) = guard.ask({"do": "programs"})["programs"]
    assert {key: said[key] for key in ("name", "fault", "state", "word", "on", "holder", "why")} == {
        "name": "offline-1", "fault": "offline", "state": "begun", "word": "1 of 2", "on": True, "holder": "ben for EDGE-003", "why": "",
    }  # fmt: skip
    device.now_ns += 5 * S
    until(lambda: device.effect == ["offline-1.0", "offline-1.1"])
    device.wait_for("step", 2)
    assert guard.ask({"do": "revert", "name": "", "why": "asked"}) == {"reverted": ["offline-1"], "left": []}
    assert device.clean()
    assert guard.ask({"do": "programs"})["programs"] == []
    assert [record.kind for record in device.records] == ["began", "guard_started", "armed", "step", "step", "reverting", "reverted"]
    assert device.said("step") == [
        {"program": "offline-1", "number": n + 1, "at_s": 5.0 * n, "word": f"{n + 1} of 2", "on": True, "took_s": 0.0, "failed": []}
        for n in range(2)
    ]
    assert device.said("reverted") == [{"program": "offline-1", "why": "asked", "took_s": 0.0, "tries": 1}]


def test_without_being_reverted_it_stays(device: Device) -> None:
    """The negative control of `clean`: a program that is in effect, and one that is only armed, are both seen."""
    guard = device.guard()
    arm(guard, program(device.place))
    assert not device.clean()
    guard.ask({"do": "start", "name": "offline-1"})
    until(lambda: device.effect)
    assert not device.clean()


@pytest.mark.parametrize(
    ("why", "changes", "limits", "seconds"),
    [
        ("its end", {"lasts_s": 30.0}, {}, 30),
        ("nobody renewed it", {}, {}, 60),
        ("hard cap", {}, {"cap_s": 40.0}, 40),
        ("its end", {"lasts_s": 100.0, "severs_management": True}, {}, 100),
        ("hard cap", {"severs_management": True}, {"cap_s": 200.0}, 200),
    ],
)
def test_it_comes_off_without_being_told(device: Device, why: str, changes: dict[str, Any], limits: dict[str, Any], seconds: int) -> None:
    """One second before its time it is in effect; then it is reverted, and the reason is noted."""
    guard = device.guard()
    begun(guard, device, program(device.place, **changes), **limits)
    device.now_ns += (seconds - 1) * S
    device.wait_for("step", 2)
    assert device.said("reverting") == []
    device.now_ns += S
    assert device.wait_for("reverted")["why"] == why
    until(device.clean)


def test_renewals_keep_it_and_are_noted_now_and_then(device: Device) -> None:
    """Every 20 s for ten minutes: it is in effect all the time, and noted at most each 30 s; the cap does not renew."""
    guard = device.guard()
    begun(guard, device, program(device.place), cap_s=620.0)
    for _ in range(30):
        device.now_ns += 20 * S
        assert guard.ask({"do": "renew", "heard": True}) == {"renewed": ["offline-1"]}
    until(lambda: device.effect == ["offline-1.0", "offline-1.1"])
    assert device.said("reverting") == []
    device.now_ns += 20 * S
    assert device.wait_for("reverted")["why"] == "hard cap"
    assert 10 <= len(device.said("renewed")) <= 20


def test_a_renewal_takes_it_past_sixty_seconds_and_none_does_not(device: Device) -> None:
    """Two programs of which one is not there any more when the renewal comes; a stranger's question renews nothing."""
    guard = device.guard()
    begun(guard, device, program(device.place))
    device.now_ns += 50 * S
    guard.ask({"do": "programs", "heard": True})
    device.now_ns += 10 * S
    assert device.wait_for("reverted")["why"] == "nobody renewed it"
    assert guard.ask({"do": "renew"}) == {"renewed": []}


def test_a_step_that_fails_is_reverted_and_says_so(device: Device) -> None:
    """What it had done by then comes off, and the acts behind it are not run."""
    steps = [{"at_s": 0, "acts": [touch(device.place / "offline-1.0"), {"argv": ["/bin/ls", "/none"]}, touch(device.place / "more")],
              "word": "offline", "on": True}]  # fmt: skip
    guard = device.guard()
    arm(guard, program(device.place, steps=steps))
    with pytest.raises(ValueError, match=r"^program offline-1 is taken back: a step failed: /bin/ls /none: exit status 2: .*No such file"):
        guard.ask({"do": "start", "name": "offline-1"})
    assert device.wait_for("reverted")["why"] == "a step failed"
    until(device.clean)
    (failed,) = device.said("step")[0]["failed"]
    assert failed.startswith("/bin/ls /none: exit status 2: ")
    assert "No such file" in failed


def test_a_tool_that_is_not_there_is_a_failed_step_and_no_sign(device: Device) -> None:
    """Nothing can have been made by it, so nothing of it is left."""
    missing = {"argv": ["no-such-tool", "x"]}
    steps = [{"at_s": 0, "acts": [missing], "word": "offline", "on": True}]
    guard = device.guard()
    arm(guard, program(device.place, steps=steps, undo=[missing], signs=[{**missing, "contains": "x"}], prepare=[missing]))
    with pytest.raises(ValueError, match="a step failed: no-such-tool x: not there"):
        guard.ask({"do": "start", "name": "offline-1"})
    assert device.wait_for("reverted")["why"] == "a step failed"
    assert device.said("step")[0]["failed"] == ["no-such-tool x: not there: "]


def test_acts_read_their_input_and_see_no_environment(device: Device) -> None:
    """A search path, a locale and this supervisor's own folder; no variable of whoever started the guard, and no shell."""
    code = f"import os, sys; open({str(device.place / 'offline-1.0')!r}, 'w').write(sys.stdin.read() + ' '.join(sorted(os.environ)))"
    guard = device.guard()
    first = {"at_s": 0, "acts": [{"argv": [sys.executable, "-c", code], "input": "$HOME; "}], "word": "x", "on": True}
    begun(guard, device, program(device.place, steps=[first]))
    words = (device.place / "offline-1.0").read_text().split()
    assert words[0] == "$HOME;"
    assert set(words[1:]) <= {"PATH", "LC_ALL", "LC_CTYPE", "RUNNER_STATE"}


def test_it_begins_with_its_stage_and_is_in_effect_before_the_stage_goes_on(device: Device) -> None:
    """At the edge that it names and no other, once; a stage of several pipelines counts, whichever comes first."""
    guard = device.guard()
    arm(guard, program(device.place, stage="ingest"))
    arm(guard, program(device.place, "offline-2", stage="ingest", edge="end"))
    for stage, edge in (("train", "start"), ("train", "end"), ("ingest2", "start")):
        assert guard.ask({"do": "stage", "stage": stage, "edge": edge}) == {"begun": [], "failed": []}
    assert guard.ask({"do": "stage", "stage": "ingest@2", "edge": "start"}) == {"begun": ["offline-1"], "failed": []}
    assert device.effect == ["offline-1.0"]
    assert guard.ask({"do": "stage", "stage": "ingest@1", "edge": "start"}) == {"begun": [], "failed": []}
    assert guard.ask({"do": "stage", "stage": "ingest", "edge": "end"}) == {"begun": ["offline-2"], "failed": []}
    assert device.effect == ["offline-1.0", "offline-2.0"]


def test_a_stage_is_told_what_did_not_come_into_effect_with_it(device: Device) -> None:
    """The other program is, and the failed one comes off."""
    guard = device.guard()
    steps = [{"at_s": 0, "acts": [{"argv": ["/bin/false"]}], "word": "offline", "on": True}]
    arm(guard, program(device.place, steps=steps, stage="ingest"))
    arm(guard, program(device.place, "offline-2", stage="ingest"))
    answer = guard.ask({"do": "stage", "stage": "ingest", "edge": "start"})
    assert answer == {
        "begun": ["offline-1", "offline-2"], "failed": ["program offline-1 is taken back: a step failed: /bin/false: exit status 1: "],
    }  # fmt: skip
    assert device.wait_for("reverted")["program"] == "offline-1"
    assert device.effect == ["offline-2.0"]


def test_a_program_that_has_come_to_its_own_end_is_no_failure(device: Device) -> None:
    """It was over before it was armed again, and nothing of it is done."""
    guard = device.guard()
    arm(guard, program(device.place, lasts_s=5.0), elapsed_s=10.0)
    assert guard.ask({"do": "start", "name": "offline-1"}) == {}
    assert device.wait_for("reverted")["why"] == "its end"
    assert device.said("step") == []


def test_one_that_cuts_the_only_path_answers_before_it_does(device: Device) -> None:
    """Behind its first step nobody would hear the answer; so what became of it is in the journal alone."""
    guard = device.guard()
    steps = [{"at_s": 0, "acts": [{"argv": ["/bin/sleep", "0.2"]}, {"argv": ["/bin/false"]}], "word": "offline", "on": True}]
    arm(guard, program(device.place, steps=steps, severs_management=True))
    assert guard.ask({"do": "start", "name": "offline-1"}) == {}
    assert device.wait_for("reverting")["why"] == "a step failed"


def test_time_that_has_passed_already_is_caught_up_with(device: Device) -> None:
    """A program that is armed again behind a restart is where it would be when that is answered; its steps are no news, and say so."""
    guard = device.guard()
    later = {"at_s": 8.0, "acts": [touch(device.place / "offline-1.2")], "word": "3 of 3", "on": True}
    made = program(device.place)
    arm(guard, {**made, "steps": [*made["steps"], later]}, elapsed_s=7.0)
    assert guard.ask({"do": "start", "name": "offline-1"}) == {}
    assert device.effect == ["offline-1.0", "offline-1.1"]
    device.now_ns += S
    device.wait_for("step", 3)
    assert [said.get("replayed") for said in device.said("step")] == [True, True, None]


def test_what_was_over_already_is_not_gone_through_again(device: Device) -> None:
    """Steps up to one that does what the undo does leave nothing; without it they are all carried out, because one may build on another."""
    guard = device.guard()
    made = program(device.place)
    off = {"at_s": 2.0, "acts": made["undo"], "word": "as before", "on": False}
    arm(guard, {**made, "steps": [made["steps"][0], off, made["steps"][1]]}, elapsed_s=7.0)
    assert guard.ask({"do": "start", "name": "offline-1"}) == {}
    said = device.wait_for("step")
    assert len(device.said("step")) == 1
    assert (device.effect, said["number"], said["word"], said["replayed"]) == (["offline-1.1"], 3, "2 of 2", True)


def test_a_step_that_fails_in_what_is_caught_up_with_is_answered(device: Device) -> None:
    """Though it is not the first."""
    guard = device.guard()
    made = program(device.place)
    wrong = {"at_s": 5.0, "acts": [{"argv": ["/bin/false"]}], "word": "2 of 2", "on": True}
    arm(guard, {**made, "steps": [made["steps"][0], wrong]}, elapsed_s=7.0)
    with pytest.raises(ValueError, match="offline-1 is taken back: a step failed: /bin/false: exit status 1"):
        guard.ask({"do": "start", "name": "offline-1"})
    until(device.clean)


def test_no_two_programs_have_one_name_or_one_resource(device: Device) -> None:
    """The one that is armed stays as it is; what is unknown cannot begin."""
    guard = device.guard()
    arm(guard, program(device.place, resources=["qdisc data0", "ifb"]))
    with pytest.raises(ValueError, match="program offline-1 is armed here already"):
        arm(guard, program(device.place))
    with pytest.raises(ValueError, match="program offline-1 is armed here already: both want qdisc data0"):
        arm(guard, program(device.place, "gprs-1", resources=["qdisc data0"]))
    with pytest.raises(ValueError, match="no program 'gprs-1' is armed here; armed are: offline-1"):
        guard.ask({"do": "start", "name": "gprs-1"})
    assert guarded.armed(str(device.state)) == ["offline-1"]


def test_what_is_no_program_leaves_nothing_on_the_disk(device: Device) -> None:
    """Nor does one whose journal cannot be made: then nobody could say afterwards what was done."""
    guard = device.guard()
    with pytest.raises(ValueError, match="this is no program: undo"):
        arm(guard, program(device.place, undo=["rm -rf /"]))
    (device.state / "runs" / "other").write_text("")
    with pytest.raises(ValueError, match=r"nothing is armed, .*: the guard's journal cannot be written"):
        arm(guard, program(device.place), run="other")
    assert (guarded.armed(str(device.state)), guard.ask({"do": "programs"})["programs"]) == ([], [])


@pytest.mark.parametrize(
    ("changes", "limits"),
    [
        ({"name": "a\0b"}, {}), ({"name": "a/b"}, {}), ({"name": "a\ud800"}, {}), ({}, {"escalate": "no"}),
        ({"undo": [{"argv": ["/bin/rm", "\udfff"], "input": ""}]}, {}),
    ],
    ids=["a NUL", "a path", "half of a character", "a word for yes or no", "half of a character in a command"],
)  # fmt: skip
def test_what_no_file_or_command_can_be_given_is_refused(device: Device, changes: dict[str, Any], limits: dict[str, Any]) -> None:
    """When it is armed, and not when it is to be undone."""
    guard = device.guard()
    with pytest.raises(ValueError, match="expected"):
        arm(guard, program(device.place, **changes), **limits)
    assert (guarded.armed(str(device.state)), guard.ask({"do": "programs"})["programs"]) == ([], [])


def test_what_somebody_else_has_made_is_refused_and_left(device: Device) -> None:
    """A sign that is seen before anything was applied: the undo would take what is not ours."""
    (device.place / "offline-1.0").write_text("an operator's")
    with pytest.raises(ValueError, match=f"something of offline-1 is here already, and nobody has armed it: /bin/ls {device.place} shows"):
        arm(device.guard(), program(device.place))
    assert (device.place / "offline-1.0").read_text() == "an operator's"
    assert guarded.armed(str(device.state)) == []


# ---- undo that is hard ------------------------------------------------------------------------------------------------


def test_every_undo_is_run_whatever_became_of_the_others(device: Device) -> None:
    """It is the signs that count: undo that fails, or has nothing to do, is no error."""
    undo = [{"argv": ["/bin/false"]}, {"argv": ["no-such-tool"]}, *program(device.place)["undo"], {"argv": ["/bin/false"]}]
    guard = device.guard()
    begun(guard, device, program(device.place, undo=undo))
    assert guard.ask({"do": "revert", "name": "offline-1", "why": "asked"}) == {"reverted": ["offline-1"], "left": []}
    assert (device.effect, device.said("reverted")[0]["tries"]) == ([], 1)


def test_an_undo_that_works_the_third_time(device: Device) -> None:
    """It is tried again as long as a sign is seen; how often is noted."""
    code = "import os, sys; open(sys.argv[1], 'a').write('x'); len(open(sys.argv[1]).read()) < 3 or os.unlink(sys.argv[2])"
    undo = {"argv": [sys.executable, "-c", code, str(device.state / "tries"), str(device.place / "offline-1.0")]}
    guard = device.guard()
    begun(guard, device, program(device.place, undo=[undo]))
    assert guard.ask({"do": "revert", "name": "", "why": "asked"})["left"] == []
    assert (device.effect, device.said("reverted")[0]["tries"]) == ([], 3)


@pytest.mark.parametrize("escalate", [False, True])
def test_an_undo_that_does_not_work_is_said_and_escalated(device: Device, escalate: bool) -> None:
    """Five tries; then what is left is named, the file stays, and the device is rebooted where the program says so."""
    guard = device.guard()
    begun(guard, device, program(device.place, undo=[{"argv": ["/bin/true"]}]), escalate=escalate)
    said = guard.ask({"do": "revert", "name": "", "why": "asked"})
    assert said == {"reverted": [], "left": [f"offline-1: /bin/ls {device.place} shows offline-1.0"]}
    assert device.wait_for("revert_failed") == {"program": "offline-1", "left": [f"/bin/ls {device.place} shows offline-1.0"], "tries": 5}
    assert device.reboots == escalate
    assert [said["why"] for said in device.said("rebooting")] == ["its undo did not work"] * escalate
    (standing,) = guard.ask({"do": "programs"})["programs"]
    assert (standing["state"], standing["on"], guarded.armed(str(device.state))) == ("revert_failed", True, ["offline-1"])


@pytest.mark.parametrize("severs", [True, False], ids=["the only path", "another path"])
def test_without_a_word_on_it_an_undo_that_does_not_work_reboots_who_cannot_be_reached(device: Device, severs: bool) -> None:
    """Where the program cuts the only path nobody can come and do better; where there is another path somebody can."""
    guard = device.guard()
    begun(guard, device, program(device.place, undo=[{"argv": ["/bin/true"]}], severs_management=severs, lasts_s=30.0), escalate=None)
    device.now_ns += 30 * S
    device.wait_for("revert_failed")
    until(lambda: guard.ask({"do": "programs"})["programs"][0]["state"] == "revert_failed")
    assert (device.reboots, [said["why"] for said in device.said("rebooting")]) == (severs, ["its undo did not work"] * severs)


def test_an_undo_that_failed_is_tried_again(device: Device) -> None:
    """After a minute by itself, and at once when somebody asks; when it works, the program is gone."""
    guard = device.guard()
    broken = device.state / "broken"
    code = f"import os, sys; os.path.exists({str(broken)!r}) or os.unlink({str(device.place / 'offline-1.0')!r})"
    broken.touch()
    begun(guard, device, program(device.place, undo=[{"argv": [sys.executable, "-c", code]}]))
    for count in (1, 2):
        assert guard.ask({"do": "revert", "name": "", "why": "asked"})["left"]
        device.wait_for("revert_failed", count)
    broken.unlink()
    device.now_ns += 61 * S
    device.wait_for("reverted")
    until(device.clean)


def test_a_sign_that_cannot_be_looked_at_counts_as_seen(device: Device) -> None:
    """No proof is no revert."""
    locked = device.state / "locked"
    locked.write_text("#!/bin/sh\n")
    locked.chmod(0o700)
    guard = device.guard()
    begun(guard, device, program(device.place, signs=[{"argv": [str(locked)], "contains": "x"}]))
    locked.chmod(0o600)
    (left,) = guard.ask({"do": "revert", "name": "", "why": "asked"})["left"]
    assert "cannot be run: PermissionError" in left


def test_a_revert_does_not_wait_for_the_journal(device: Device) -> None:
    """Its folder is a file by now: the fault comes off all the same, and so does the file on the disk."""
    guard = device.guard()
    begun(guard, device, program(device.place))
    journal = device.state / "runs" / RUN / "guard"
    os.close(guard.around.notes._journals[RUN]._fd)  # type: ignore[union-attr] # every write from here on fails
    shutil.rmtree(journal)
    journal.write_text("no folder")
    assert guard.ask({"do": "revert", "name": "", "why": "asked"}) == {"reverted": ["offline-1"], "left": []}
    assert device.clean()


def test_a_revert_does_not_wait_for_a_disk_that_does_not_answer(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that writes notes hangs for good: the undo is done meanwhile."""
    guard = device.guard()
    begun(guard, device, program(device.place))
    never, hangs = threading.Event(), threading.Event()

    def hang(note: Any) -> None:
        hangs.set()
        never.wait(60)

    monkeypatch.setattr(guard.around.notes, "_take", hang)
    guard.around.notes.open(RUN)
    hangs.wait(10)
    asked = threading.Thread(target=guard.ask, args=({"do": "revert", "name": "", "why": "asked"},))
    asked.start()
    until(lambda: device.effect == [], 10)
    asked.join(20)
    assert device.clean()
    never.set()


# ---- the only path ----------------------------------------------------------------------------------------------------


def severed(to: Guard, device: Device) -> None:
    """A program that cut the only path has come to its end, and nobody was there meanwhile."""
    begun(to, device, program(device.place, severs_management=True, lasts_s=100.0))
    device.now_ns += 100 * S
    device.wait_for("reverted")
    until(device.clean)


def test_after_the_only_path_was_cut_somebody_must_be_heard_of(device: Device) -> None:
    """Else the device is rebooted: whatever keeps everybody out, a boot is what is left to try."""
    guard = device.guard()
    severed(guard, device)
    device.now_ns += 119 * S
    assert [said["state"] for said in guard.ask({"do": "programs"})["programs"]] == ["reverted"]
    assert device.reboots == 0
    device.now_ns += S
    assert device.wait_for("rebooting") == {"program": "offline-1", "why": "nobody reached it after its revert"}
    until(lambda: device.reboots == 1 and guard.ask({"do": "programs"})["programs"] == [])


@pytest.mark.parametrize("how", ["a renewal", "a request to the supervisor", "it is armed again"])
def test_whoever_is_heard_of_ends_the_waiting(device: Device, how: str) -> None:
    """A request of a coordinator, of whatever kind; the supervisor keeps the moment of the last one in a file."""
    guard = device.guard()
    severed(guard, device)
    device.now_ns += 60 * S
    if how == "a renewal":
        guard.ask({"do": "renew", "heard": True})
    elif how == "a request to the supervisor":
        (device.runtime / "seen").write_text(f"{'b' * 32} {device.now_ns}")
    else:
        arm(guard, program(device.place, severs_management=True))
        assert guard.ask({"do": "revert", "name": "", "why": "asked"})["reverted"] == ["offline-1"]
    until(lambda: guard.ask({"do": "programs"})["programs"] == [])
    device.now_ns += 999 * S
    assert (device.reboots, device.said("rebooting")) == (0, [])


def test_a_guard_that_is_killed_while_it_waits_for_somebody_is_replaced(device: Device) -> None:
    """The next one goes on waiting, and reboots the device in its turn."""
    severed(device.guard(), device)
    device.now_ns += 60 * S
    second = device.guard("its twin ended")
    assert [said["state"] for said in second.ask({"do": "programs"})["programs"]] == ["reverted"]
    device.now_ns += 60 * S
    until(lambda: device.reboots == 1)


def test_one_that_was_asked_to_end_needs_no_proof(device: Device) -> None:
    """Whoever asked has reached the device already."""
    guard = device.guard()
    begun(guard, device, program(device.place, severs_management=True, lasts_s=100.0))
    guard.ask({"do": "revert", "name": "", "why": "asked"})
    assert guard.ask({"do": "programs"})["programs"] == []


def test_beside_one_that_cuts_the_only_path_nobody_needs_to_be_renewed(device: Device) -> None:
    """And has its whole time again afterwards; on its own it would have come off."""
    guard = device.guard()
    begun(guard, device, program(device.place, "gprs-1"))
    begun(guard, device, program(device.place, severs_management=True, lasts_s=100.0))
    device.now_ns += 100 * S
    device.wait_for("reverted")
    until(lambda: guarded.armed(str(device.state)) == ["gprs-1"])
    device.now_ns += 59 * S
    assert "gprs-1.0" in device.effect
    assert len(device.said("reverting")) == 1
    device.now_ns += S
    assert device.wait_for("reverted", 2) == {"program": "gprs-1", "why": "nobody renewed it", "took_s": 0.0, "tries": 1}


def test_whoever_takes_something_back_by_hand_has_not_come_over_the_link(
    device: Device, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator at the console undoes another program, by the guard that runs; the device is still not reached, and is rebooted."""
    guard_here = device.guard()
    lock = guard.take_lock(str(device.state), str(device.runtime), wait=False)
    assert lock is not None
    serving = threading.Thread(target=guard_here.serve, daemon=True)
    serving.start()
    until((device.runtime / "guard.sock").exists)
    severed(guard_here, device)
    begun(guard_here, device, program(device.place, "gprs-1"))
    device.now_ns += 50 * S
    assert guarded.by_hand(str(device.state), str(device.runtime / "supervisor")) == 0
    assert capsys.readouterr().out == "reverted gprs-1\n"
    device.now_ns += 70 * S
    until(lambda: device.reboots == 1)
    guard.release(lock)
    monkeypatch.setattr(guard, "IDLE_S", 0.0)
    serving.join(20)
    assert not serving.is_alive()


# ---- guards after one another -----------------------------------------------------------------------------------------


def test_a_guard_that_takes_over_goes_on(device: Device) -> None:
    """The step that is next comes at its time, the renewal of before counts, and it is noted who is the guard by now."""
    first = device.guard()
    begun(first, device, program(device.place))
    device.now_ns += 4 * S
    first.ask({"do": "renew"})
    second = device.guard("its twin ended")
    device.now_ns += S
    until(lambda: device.effect == ["offline-1.0", "offline-1.1"])
    device.now_ns += 58 * S
    assert device.said("reverting") == []
    device.now_ns += S
    assert device.wait_for("reverted")["why"] == "nobody renewed it"
    until(device.clean)
    assert [said["why"] for said in device.said("guard_started")] == ["asked", "its twin ended"]
    until(lambda: second.ask({"do": "programs"})["programs"] == [])


@pytest.mark.parametrize("doubt", ["no mark", "a torn mark", "in the middle of a step", "another program's mark", "another boot's mark"])
def test_a_guard_that_does_not_know_how_far_it_came_reverts(device: Device, doubt: str) -> None:
    """It goes on by nothing that it is not sure of."""
    begun(device.guard(), device, program(device.place))
    mark = device.runtime / "programs" / "offline-1.json"
    said = json.loads(mark.read_text())
    if doubt == "no mark":
        mark.unlink()
    elif doubt == "a torn mark":
        mark.write_bytes(mark.read_bytes()[:40])
    else:
        others = {"another program's mark": {"armed_ns": 7}, "another boot's mark": {"boot": "x"}}
        mark.write_text(json.dumps({**said, **others.get(doubt, {"doing": True})}))
    device.guard("its twin ended")
    assert device.wait_for("reverted")["why"] == "guard restarted"
    until(device.clean)


def test_an_undo_that_was_interrupted_is_gone_on_with(device: Device) -> None:
    """For the reason that it had: the next guard does not take it for a doubt."""
    begun(device.guard(), device, program(device.place))
    mark = device.runtime / "programs" / "offline-1.json"
    mark.write_text(json.dumps({**json.loads(mark.read_text()), "state": "reverting", "asked": "hard cap"}))
    device.guard("its twin ended")
    assert device.wait_for("reverted")["why"] == "hard cap"
    until(device.clean)


def test_a_file_that_was_never_whole_is_nobodys_program(device: Device) -> None:
    """Nothing was applied before it was whole. It is put aside, so that nobody is kept by it, and stays to be looked at."""
    (device.state / "guard").mkdir()
    (device.state / "guard" / "offline-1.json").write_text("{")
    (device.state / "guard" / "offline-2.json.new").write_text("{")
    assert device.guard().ask({"do": "programs"})["programs"] == []
    assert guarded.armed(str(device.state)) == []
    assert (device.state / "guard" / "offline-1.json.damaged").read_text() == "{"


def odd(folder: Path, what: str) -> None:
    """Something of the name of a program that is none."""
    path = folder / "a.json"
    if what == "a pipe":
        os.mkfifo(path)
    elif what == "a folder":
        path.mkdir()
        (path / "b").touch()
    elif what == "a device without an end":
        path.symlink_to("/dev/zero")
    elif what == "a loop of links":
        path.symlink_to(path)
    elif what == "another's name":
        shutil.copy(folder / "offline-1.json", path)
    else:
        path.write_bytes({"a deep one": b"[" * 200_000, "bytes": b"\xff\xfe"}[what])


ODD = ["a pipe", "a folder", "a device without an end", "a loop of links", "a deep one", "bytes", "another's name"]


@pytest.mark.parametrize("kept_aside", [True, False], ids=["", "and the disk is read-only"])
@pytest.mark.parametrize("what", ODD)
def test_an_odd_file_beside_a_program_keeps_nobody_from_it(
    device: Device, monkeypatch: pytest.MonkeyPatch, what: str, kept_aside: bool
) -> None:
    """It is put aside, or where the disk refuses that it is passed over; the guard, its supervisor and a boot go on without it."""
    begun(device.guard(), device, program(device.place))
    device.kill()
    odd(device.state / "guard", what)
    if not kept_aside:

        def refuse(source: str, target: str) -> None:
            if str(source).startswith(str(device.state)):
                raise OSError(errno.EROFS, "Read-only file system")
            os.replace(source, target)

        monkeypatch.setattr(os, "rename", refuse)
    assert guarded.Guarded(str(device.state), str(device.runtime)).runs() >= {RUN}
    taking_over = device.guard("its twin ended")
    assert [said["name"] for said in taking_over.ask({"do": "programs"})["programs"]] == ["offline-1"]
    taking_over.ask({"do": "revert", "name": "", "why": "asked"})
    assert device.effect == []


@pytest.mark.parametrize(
    "changes", [{"state": "reverted"}, {"state": "reverted", "kept": {"program": {}}}, {"state": []}, {"began_ns": "x"}]
)
def test_a_forged_mark_is_no_reason_not_to_take_it_back(device: Device, changes: dict[str, Any]) -> None:
    """Only a guard that has reverted writes that it has, with the whole program beside it."""
    begun(device.guard(), device, program(device.place))
    mark = device.runtime / "programs" / "offline-1.json"
    forged = {**json.loads(mark.read_text()), **changes}
    mark.write_text(json.dumps(forged))
    (mark.parent / "other.json").write_text(json.dumps(forged))
    device.guard("its twin ended").ask({"do": "revert", "name": "", "why": "asked"})
    until(device.clean)


def broken(device: Device, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """From here on the disk takes nothing any more; one that is dead does not give anything either."""

    def of_the_disk(path: Any) -> bool:
        return str(path).startswith(str(device.state))

    def refusing(call: Callable[..., Any], refuses: Callable[..., bool]) -> Callable[..., Any]:
        def called(path: Any, *words: Any, **more: Any) -> Any:
            if of_the_disk(path) and refuses(*words, **more):
                raise OSError(errno.EIO if how == "dead" else errno.EROFS, os.strerror(errno.EIO), str(path))
            return call(path, *words, **more)

        return called

    def writes(flags: int = 0, *words: Any, **more: Any) -> bool:
        return how == "dead" or bool(flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT))

    monkeypatch.setattr(os, "open", refusing(os.open, writes))
    monkeypatch.setattr(os, "listdir", refusing(os.listdir, lambda *words: how == "dead"))
    for name in ("rename", "unlink", "mkdir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name), lambda *words, **more: True))


@pytest.mark.parametrize("how", ["read-only", "dead"])
def test_whoever_takes_over_on_a_broken_disk_takes_back(device: Device, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """There is one guard, by a lock in the folder of sockets, and it goes by what the mark says where the disk says nothing."""
    begun(device.guard(), device, program(device.place))
    device.kill()
    with monkeypatch.context() as while_broken:
        broken(device, while_broken, how)
        seen = guarded.Guarded(str(device.state), str(device.runtime))
        assert (seen.armed(), seen.needed(), seen.alive(), seen.runs()) == (["offline-1"], True, False, {RUN})
        held = guard.take_lock(str(device.state), str(device.runtime), wait=False)
        assert held is not None
        assert seen.alive()
        assert guard.take_lock(str(device.state), str(device.runtime), wait=False) is None
        taking_over = device.guard("its twin ended")
        device.now_ns += 61 * S
        until(lambda: device.effect == [])
        until(lambda: taking_over.ask({"do": "programs"})["programs"] == [])
        guard.release(held)
        device.kill()


@pytest.mark.parametrize("how", ["read-only", "dead"])
def test_by_hand_on_a_broken_disk(device: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: str) -> None:
    """The same, without any guard; and where there is nothing to lock at all that is said."""
    begun(device.guard(), device, program(device.place))
    device.kill()
    with monkeypatch.context() as while_broken:
        broken(device, while_broken, how)
        while_broken.setattr(guard, "open_lock", lambda path: None)
        assert guarded.by_hand(str(device.state), str(device.runtime / "supervisor")) == 1
        assert "offline-1 cannot be reverted: neither of" in capsys.readouterr().err
    with monkeypatch.context() as while_broken:
        broken(device, while_broken, how)
        assert guarded.by_hand(str(device.state), str(device.runtime / "supervisor")) == 0
        assert capsys.readouterr().out == "reverted offline-1\n"
        assert device.effect == []


def test_a_damaged_file_is_undone_by_its_mark(device: Device) -> None:
    """The file is put aside as before; what it had applied does not wait for a boot."""
    begun(device.guard(), device, program(device.place))
    (device.state / "guard" / "offline-1.json").write_bytes(b"\0" * 4096)
    device.guard("its twin ended")
    assert device.wait_for("reverted")["why"] == "guard restarted"
    until(device.clean)
    assert (device.state / "guard" / "offline-1.json.damaged").exists()


def test_no_more_of_what_a_command_prints_is_held_than_a_limit(tmp_path: Path) -> None:
    """One that prints for ever is ended; as a sign it is looked through as far as it was read, and counts as seen."""
    running, endless = acts.Acts(str(tmp_path / "acts")), {"argv": ["/usr/bin/yes", "netem"], "input": ""}
    assert running.one(endless).startswith(f"/usr/bin/yes netem: it printed more than {acts.OUTPUT_LIMIT_BYTES} bytes: ")
    assert running.seen({**endless, "contains": "netem"}) == "/usr/bin/yes netem shows netem"
    assert "cannot be run: it printed more" in running.seen({**endless, "contains": "tbf"})
    running.close()


def test_input_longer_than_a_pipe_is_given_whole_to_who_reads_it(tmp_path: Path) -> None:
    """And to who does not, as much as it takes: that is no failure."""
    running, long = acts.Acts(str(tmp_path / "acts")), "0123456789abcdef" * 20_000
    assert running.one({"argv": ["/bin/sh", "-c", f"test $(wc -c) = {len(long)}"], "input": long}) == ""
    assert running.one({"argv": ["/bin/sh", "-c", f"cat > {tmp_path}/whole; cat {tmp_path}/whole"], "input": long}) == ""
    assert (tmp_path / "whole").read_text() == long
    assert running.one({"argv": ["/bin/true"], "input": long}) == ""
    running.close()


class FullDisk:
    """A log on a disk without any room."""

    def write(self, words: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_watch_goes_on_though_nothing_can_be_said_nor_marked(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk both the mark and the word of it fail, and so does whatever else goes wrong; the cap is held all the same."""
    guard = device.guard()
    begun(guard, device, program(device.place), cap_s=30.0)
    monkeypatch.setattr(sys, "stderr", FullDisk())
    shutil.rmtree(device.runtime / "programs")
    (device.runtime / "programs").write_text("no folder")
    watching, decide, wrong = guard.around.watches["offline-1"], watch.programs.decide, iter([RuntimeError("once")])

    def once_wrong(*words: Any) -> Any:
        for error in wrong:
            raise error
        return decide(*words)

    monkeypatch.setattr(watch.programs, "decide", once_wrong)
    device.now_ns += 31 * S
    until(lambda: next(wrong, None) is None and device.effect == [])
    until(lambda: watching.gone)


# ---- a guard that is gone -----------------------------------------------------------------------------------------------


def test_a_guard_that_is_needed_and_gone_is_started_again_and_less_and_less_often(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first look; if it ends again and again after 2, 4, 8 … and at last each 60 s. One that has stayed for a minute begins anew."""
    arm(device.guard(), program(device.place))
    seen, started = guarded.Guarded(str(device.state), str(device.runtime)), []
    monkeypatch.setattr(seen, "start", lambda: started.append(now))
    for now in range(1000, 1250):
        seen.look(float(now))
    assert [later - sooner for sooner, later in zip([1000, *started], started, strict=False)] == [0, 2, 4, 8, 16, 32, 60, 60, 60]
    lock = guard.take_lock(str(device.state), str(device.runtime), wait=False)
    assert lock is not None
    for now in range(1250, 1350):
        seen.look(float(now))
    guard.release(lock)
    for now in (1350, 1351, 1352):
        seen.look(float(now))
    assert started[9:] == [1350, 1352]


def test_whoever_looks_for_a_guard_looks_on_though_nothing_can_be_said(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor's log is on the full disk, too: a guard is started without a word, and again when that goes wrong."""
    arm(device.guard(), program(device.place))
    seen, started = guarded.Guarded(str(device.state), str(device.runtime)), []

    class Enough(BaseException):
        pass

    def start() -> None:
        seen._pause_s = 0.0
        started.append("a guard")
        raise OSError(errno.ENOSPC, "No space left on device") if len(started) < 3 else Enough

    monkeypatch.setattr(sys, "stderr", FullDisk())
    monkeypatch.setattr(guarded, "KEEP_S", 0.01)
    monkeypatch.setattr(seen, "start", start)
    with pytest.raises(Enough):
        seen.keep()


@pytest.mark.parametrize("why_not", ["nothing is armed", "a guard is there"])
def test_no_guard_is_started_where_none_is_needed(device: Device, monkeypatch: pytest.MonkeyPatch, why_not: str) -> None:
    """Also not while one program's mark lies there that is in effect: its file says that it is armed, and here it is gone."""
    begun(device.guard(), device, program(device.place))
    seen, started = guarded.Guarded(str(device.state), str(device.runtime)), []
    monkeypatch.setattr(seen, "start", lambda: started.append("a guard"))
    lock = guard.take_lock(str(device.state), str(device.runtime), wait=False) if why_not == "a guard is there" else None
    if lock is None:
        (device.state / "guard" / "offline-1.json").unlink()
    seen.look(1000.0)
    assert (started, seen.needed()) == ([], lock is not None)
    if lock is not None:
        guard.release(lock)
        seen.look(1001.0)
        assert started == ["a guard"]


def test_a_guard_is_needed_while_somebody_is_waited_for(device: Device) -> None:
    """Nothing is armed on the disk any more; another boot does not wait."""
    severed(device.guard(), device)
    seen = guarded.Guarded(str(device.state), str(device.runtime))
    assert (seen.armed(), seen.needed()) == ([], True)
    device.boot("c" * 32)
    assert not seen.needed()


def test_whoever_looks_does_not_keep_a_guard_from_its_lock(device: Device) -> None:
    """The lock is tried again for a moment; and one that is held stays the holder's."""
    holder = guard.take_lock(str(device.state), str(device.runtime), wait=False)
    assert holder is not None
    assert guard.take_lock(str(device.state), str(device.runtime), wait=False) is None
    guard.release(holder)
    looking = os.open(device.state / "guard" / "lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    soon = threading.Timer(0.05, os.close, [looking])
    soon.start()
    lock = guard.take_lock(str(device.state), str(device.runtime), wait=False)
    assert lock is not None
    guard.release(lock)


# ---- another boot, and by hand ----------------------------------------------------------------------------------------


def test_at_boot_everything_is_reverted(device: Device) -> None:
    """By the supervisor's own process, whose `start` looks for it. The acts are run, whatever a boot has taken already."""
    begun(device.guard(), device, program(device.place), escalate=True)
    device.kill()
    device.boot("c" * 32)
    shutil.rmtree(device.runtime)
    guarded.revert_what_another_boot_left(str(device.state), str(device.runtime))
    assert device.clean()
    assert device.said("guard_started")[-1]["why"] == "boot"
    assert device.said("reverted")[-1]["why"] == "another boot"


def test_a_start_in_the_same_boot_reverts_nothing(device: Device) -> None:
    """The negative control: a supervisor that was killed alone starts beside a guard that goes on."""
    guard = device.guard()
    begun(guard, device, program(device.place))
    guarded.revert_what_another_boot_left(str(device.state), str(device.runtime))
    assert (device.effect, device.said("reverting")) == (["offline-1.0"], [])


def test_what_a_boot_did_not_help_is_no_reason_for_another_one(device: Device) -> None:
    """A device never boots for ever: the file stays, and what is left is said."""
    begun(device.guard(), device, program(device.place, undo=[]), escalate=True)
    device.kill()
    device.boot("c" * 32)
    guarded.revert_what_another_boot_left(str(device.state), str(device.runtime))
    assert device.said("revert_failed")[-1]["tries"] == 5
    assert (guarded.armed(str(device.state)), device.reboots, device.said("rebooting")) == (["offline-1"], 0, [])
    device.guard()
    device.wait_for("revert_failed", 2)
    assert device.reboots == 0


@pytest.mark.parametrize(("undo", "status", "printed"), [(None, 0, "reverted offline-1\n"), ([], 1, "left offline-1: /bin/ls")])
def test_by_hand_without_any_guard(device: Device, capsys: pytest.CaptureFixture[str], undo: Any, status: int, printed: str) -> None:
    """An operator on the device: what was reverted is printed, and the exit status says whether something is left."""
    made = program(device.place) if undo is None else program(device.place, undo=undo)
    begun(device.guard(), device, made, escalate=True)
    device.kill()
    assert guarded.by_hand(str(device.state), str(device.runtime / "supervisor"), "offline-2") == 0
    assert capsys.readouterr().out == "offline-2 is not armed on this device\n"
    assert guarded.by_hand(str(device.state), str(device.runtime / "supervisor")) == status
    assert capsys.readouterr().out.startswith(printed)
    assert (device.clean(), device.reboots) == (not status, 0)


def test_the_boot_of_this_machine_is_read_where_nothing_else_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hook by which these tests boot a device is no hook in the product."""
    monkeypatch.delenv("RUNNER_BOOT_ID", raising=False)
    assert boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")


# ---- stages -----------------------------------------------------------------------------------------------------------


def test_a_stage_tells_when_it_starts_and_when_its_end_is_flushed(
    tmp_path: Path, store: Store, push: Callable[[dict[str, bytes]], str]
) -> None:
    """Before its body goes on, behind the record of its start; and behind the promise of its end, before the pipeline goes on."""
    blob = push({"pipe/baseline.py": b""})
    store.unpack(blob, [blob], compile=False)
    spec = {
        "run": "R", "execution": "x", "durability": "journaled", "stages": ["ingest"], "holds": [], "stage_timeout_s": 60,
        "pipeline": {"tree": blob, "module": "pipe.baseline", "files": {}},
    }  # fmt: skip
    told: list[tuple[str, str, str, bool]] = []
    execution = Execution.create(str(tmp_path / "runs" / "R" / "x"), spec, store, lambda event: None)

    def tell(stage: str, edge: str) -> None:
        journal = execution.journal
        told.append((stage, edge, journal.records[-1].kind, journal.flushed_sequence == journal.written_sequence))

    execution.on_stage = tell
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=execution._converse, args=(ours, "", {}))
    thread.start()
    host = Channel(theirs)
    host.call({"say": "ready", "stages": ["ingest"], "import_s": 0.1, "stageflow": ""})
    host.call({"say": "start", "stage": "ingest"})
    assert told == [("ingest", "start", "stage_started", False)]
    host.call({"say": "end", "stage": "ingest", "duration_ns": 1, "status": "ok", "data": {}, "files": {}, "error": None, "version": None})
    assert told[1:] == [("ingest", "end", "stage_finished", True)]
    host.tell({"say": "failed", "error": "enough"})
    thread.join(20)


def test_a_supervisor_that_was_killed_before_it_told_of_an_end_tells_it_when_it_restores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each stage that has finished, where programs are armed; a guard that does not answer stops no pipeline."""
    claims = Claims(str(tmp_path), str(tmp_path))
    first = Supervisor(str(tmp_path), 1, claims)
    spec = {"run": "R", "execution": "x", "durability": "journaled", "stages": ["ingest", "train"], "holds": []}
    begun = Execution.create(str(tmp_path / "runs" / "R" / "x"), spec, first.store, first.publish)
    begun.journal.append("stage_finished", {"stage": "ingest", "status": "ok", "data": {}, "files": {}, "error": None, "version": None})
    monkeypatch.setattr(Execution, "start", lambda self, *, restore: None)
    told: list[dict[str, Any]] = []

    def ask(do: str, **words: Any) -> None:
        told.append({"do": do, **words})
        raise guarded.GuardGone("killed, too")

    for armed in ([], ["offline-1"]):
        again = Supervisor(str(tmp_path), 2, claims)
        monkeypatch.setattr(again.guarded, "armed", lambda armed=armed: armed)
        monkeypatch.setattr(again.guarded, "ask", ask)
        again.restore()
        assert told == [{"do": "stage", "heard": False, "stage": "ingest", "edge": "end"}] * len(armed)


# ---- a device that is too hot -------------------------------------------------------------------------------------------


def hot(device: Device, milli_c: int | str) -> dict[str, Any]:
    """A program that is to end at 85 °C of a sensor that says `milli_c`; a file stands for a real board's sensor."""
    sensor = device.place.parent / "temp"
    new = sensor.with_name("temp.new")
    new.write_text(f"{milli_c}\n")
    new.replace(sensor)  # a board's sensor is never empty for a moment
    return program(device.place, "thermal-1", hot={"sensor": str(sensor), "at_milli_c": 85_000})


@pytest.mark.parametrize(
    ("milli_c", "why"),
    [
        (85_000, "too hot: 85.0 °C, and 85.0 °C are too many"),
        (91_234, "too hot: 91.2 °C"),
        ("", "nobody knows how hot it is"),
        ("?", "says '?'"),
    ],
)
def test_the_guard_itself_looks_how_hot_it_is_and_takes_everything_back(device: Device, milli_c: int | str, why: str) -> None:
    """Without any process of the fault's: whoever makes the heat may hang. A sensor that says nothing any more is no reason to go on."""
    guard = device.guard()
    begun(guard, device, hot(device, 84_999))
    assert "thermal-1.0" in device.effect
    hot(device, milli_c)
    said = device.wait_for("reverted")
    assert why in said["why"]
    until(device.clean)


def test_a_device_that_is_too_hot_already_is_not_armed(device: Device) -> None:
    """Nothing of it is on its disk then; nor is one whose sensor is not there."""
    guard = device.guard()
    with pytest.raises(ValueError, match=r"thermal-1 is not armed: too hot: 86\.0 °C"):
        arm(guard, hot(device, 86_000))
    missing = {**hot(device, 1), "hot": {"sensor": str(device.place / "nothing"), "at_milli_c": 85_000}}
    with pytest.raises(ValueError, match="nobody knows how hot it is"):
        arm(guard, missing)
    assert device.clean()


def test_one_that_is_armed_only_is_taken_back_too(device: Device) -> None:
    """It would come on with a stage, on a device that is too hot by then."""
    guard = device.guard()
    arm(guard, {**hot(device, 40_000), "stage": "b"})
    hot(device, 99_000)
    assert "too hot" in device.wait_for("reverted")["why"]


def test_a_guard_that_was_killed_is_replaced_by_one_that_looks(device: Device) -> None:
    """The limit is on the disk, with the undo."""
    begun(device.guard(), device, hot(device, 40_000))
    device.guard("killed")
    hot(device, 88_000)
    assert "too hot" in device.wait_for("reverted")["why"]
    until(device.clean)


@pytest.mark.parametrize("wrong", [{}, {"sensor": "", "at_milli_c": 1}, *({"sensor": "x", "at_milli_c": each} for each in (1.5, True)), 85])
def test_a_limit_that_nobody_could_look_at_is_refused(device: Device, wrong: Any) -> None:
    """A file, and whole thousandths of a degree."""
    with pytest.raises(ValueError, match="hot: expected a sensor"):
        arm(device.guard(), program(device.place, hot=wrong))
