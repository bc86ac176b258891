"""The guard as processes: whoever of supervisor, guard and twin is killed, and at whatever moment, the device is as it was again.

A program here makes a file and removes it again. Nobody renews, so each comes off after a few seconds at the latest.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.ondevice import frames
from runner.ondevice.journal import Record, read_file
from runner.target.bundle import make_zip, supervisor_sources

RUN = "EDGE-003.run-2026-11-28-001.966baafa"
RENEW_S = 5.0

pytestmark = pytest.mark.real


def until(holds: Callable[[], Any], limit_s: float = 40.0) -> None:
    """Returns when it holds. Fails when it did not within the limit."""
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, f"this did not come to hold within {limit_s:g} s"
        time.sleep(0.02)


class Coordinator:
    """One who is attached to the supervisor's socket."""

    def __init__(self, path: Path) -> None:
        self.socket, self.decoder = socket.socket(socket.AF_UNIX), frames.Decoder()
        self.socket.settimeout(60)
        self.socket.connect(str(path))

    def send(self, do: str, **words: Any) -> None:
        self.socket.sendall(frames.encode_json({"id": 1, "do": do, **words}))

    def ask(self, do: str, **words: Any) -> dict[str, Any]:
        self.send(do, **words)
        while True:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError(f"the supervisor closed the connection instead of an answer to {do!r}")
            for frame in self.decoder.feed(data):
                said = frame.json() if frame.type == frames.JSON else {}
                if "error" in said:
                    raise ValueError(said["error"])
                if "ok" in said:
                    return dict(said["ok"])


class Device:
    """A supervisor on this machine, installed from its zip, and the processes that it became."""

    def __init__(self, script: str, root: Path) -> None:
        self.script, self.root = script, root
        self.state, self.runtime, self.place, self.plan = root / "state", root / "run", root / "place", root / "plan"
        self.place.mkdir(parents=True)
        (root / "boot_id").write_text("b" * 32)
        self.environment = {
            **os.environ, "RUNNER_BOOT_ID": str(root / "boot_id"), "RUNNER_GUARD_REBOOT": str(root / "rebooted"),
            "RUNNER_FAILPOINT": str(self.plan),
        }  # fmt: skip

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, self.script, *words]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False, env=self.environment
        )

    def start(self) -> Coordinator:
        done = self.run("start", str(self.state), str(self.runtime / "supervisor"))
        assert done.returncode == 0, done.stderr
        return Coordinator(self.runtime / "supervisor")

    # ---- who there is -----------------------------------------------------------------------------------

    def pids(self, *words: str) -> list[int]:
        """Processes of this device whose arguments begin so; one that was started with a claim has another one."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
            except OSError:
                continue
            if str(self.state) in argv and tuple(argv[2 : 2 + len(words)]) == words:
                found.append(int(pid))
        return found

    @property
    def supervisor(self) -> list[int]:
        return self.pids("start", str(self.state), str(self.runtime / "supervisor"))

    @property
    def guard(self) -> list[int]:
        """The process that holds the guard's lock."""
        try:
            pid = int((self.state / "guard" / "lock").read_text() or 0)
        except FileNotFoundError:
            return []
        return [pid] if pid in self.both else []

    @property
    def both(self) -> list[int]:
        """Guards and their twins."""
        return [pid for role in ("start", "twin") for pid in self.pids("guard", str(self.state), str(self.runtime), role)]

    @property
    def twin(self) -> list[int]:
        return [pid for pid in self.both if pid not in self.guard]

    def kill(self, *victims: str) -> None:
        """SIGKILL to each, at once; they are gone when this returns."""
        pids = [pid for victim in victims for pid in getattr(self, victim)]
        assert pids, f"there is no {' or '.join(victims)} to kill"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not set(pids) & {*self.supervisor, *self.both})

    def end(self) -> None:
        """Nothing of this device runs any more."""
        deadline = time.monotonic() + 20
        while (left := [*self.both, *self.supervisor]) and time.monotonic() < deadline:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.02)
        assert left == []

    # ---- what is there ----------------------------------------------------------------------------------

    @property
    def records(self) -> list[Record]:
        path = self.state / "runs" / RUN / "guard" / "journal"
        return read_file(str(path)) if path.is_file() else []

    def said(self, kind: str) -> list[dict[str, Any]]:
        return [record.payload for record in self.records if record.kind == kind]

    def present(self) -> bool:
        return (self.place / "offline-1").exists()

    def armed(self) -> bool:
        return (self.state / "guard" / "offline-1.json").exists()

    def shoot(self, shot: str) -> None:
        self.plan.write_text(shot)

    def hit(self) -> bool:
        return self.plan.with_name("plan.fired").exists()

    def comes_back(self, limit_s: float = 40.0) -> None:
        """The promise: nothing is in effect, nothing is armed, and nobody has to do anything for it."""
        until(lambda: not self.present() and not self.armed(), limit_s)


def program(place: Path, **changes: Any) -> dict[str, Any]:
    """At once, the file that stands for the fault."""
    path = str(place / "offline-1")
    whole = {
        "name": "offline-1", "fault": "offline", "interface": "data0", "resources": ["link data0"], "needs": [], "prepare": [],
        "steps": [{"at_s": 0, "acts": [{"argv": ["/bin/touch", path]}], "word": "offline", "on": True}],
        "undo": [{"argv": ["/bin/rm", "-f", path]}], "signs": [{"argv": ["/bin/ls", str(place)], "contains": "offline-1"}],
    }  # fmt: skip
    return {**whole, **changes}


def install(folder: Path, more: dict[str, bytes]) -> str:
    """The script of a supervisor that was installed from a zip."""
    archive = folder / "supervisor.zip"
    archive.write_bytes(make_zip({**supervisor_sources(), **more}))
    command = [sys.executable, str(archive), "install", str(folder / "installed"), str(archive)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> str:
    return install(tmp_path_factory.mktemp("installed"), {})


@pytest.fixture
def device(script: str, tmp_path: Path) -> Iterator[Device]:
    made = Device(script, tmp_path)
    yield made
    made.end()


def arm(coordinator: Coordinator, device: Device, **changes: Any) -> None:
    words = {"renew_s": RENEW_S, "cap_s": 600.0, **changes}
    assert coordinator.ask("arm", program=program(device.place), run=RUN, **words) == {"armed": "offline-1"}


def hold(coordinator: Coordinator, device: Device, **changes: Any) -> None:
    """Armed, begun, and in effect; the guard has its twin."""
    arm(coordinator, device, **changes)
    assert coordinator.ask("start_program", name="offline-1") == {}
    until(device.present)
    until(lambda: device.twin)


# ---- who is killed, and when ------------------------------------------------------------------------------------------


VICTIMS = {
    "supervisor": ("supervisor",), "guard": ("guard",), "twin": ("twin",), "guard and twin": ("both",),
    "supervisor and guard": ("supervisor", "guard"),
    "all three": ("supervisor", "both"),
}  # fmt: skip
PHASES = ["arming", "armed", "applying", "applied", "reverting"]
CELLS = [(phase, victims) for phase in PHASES for victims in VICTIMS]
THOROUGH = [pytest.param(phase, victims, id=f"{phase}, {victims}") for phase, victims in CELLS]


@pytest.mark.parametrize(("phase", "victims"), THOROUGH)
def test_whoever_is_killed_and_whenever_the_device_comes_back(device: Device, phase: str, victims: str) -> None:
    """The guard is stopped in the phase; it is seen whether the fault is there; the victims are killed; what is left goes on.

    Where both guard and twin are dead, the supervisor makes them anew, whether or not anybody asks it for anything; where all three
    are, one that is started again does.
    """
    coordinator = device.start()
    device.shoot(f"guard guard.{phase} 1 stop")
    words = {"program": program(device.place), "run": RUN, "renew_s": RENEW_S, "cap_s": 600.0}
    if phase in ("arming", "armed"):
        coordinator.send("arm", **words)  # nobody hears the answer
    else:
        coordinator.ask("arm", **words)
        coordinator.send("start_program", name="offline-1")  # it would wait for the step
        if phase == "reverting":
            until(device.present)
            threading.Thread(target=_revert, args=(Coordinator(device.runtime / "supervisor"),), daemon=True).start()
    until(device.hit)
    until(lambda: device.twin)
    until(lambda: _stopped(device))
    assert device.present() == (phase in ("applied", "reverting"))
    assert device.armed() or phase == "arming"
    stopped = device.guard
    device.kill(*VICTIMS[victims])
    for pid in stopped:
        if pid in device.guard:
            os.kill(pid, signal.SIGCONT)
    if "all three" in victims:
        device.start()
    device.comes_back()
    assert device.said("revert_failed") == []
    assert phase == "arming" or device.said("reverted")


def _stopped(device: Device) -> bool:
    """All of its threads: the one that stops itself may go a little further before the kernel does it."""
    tasks = [task for pid in device.guard for task in Path(f"/proc/{pid}/task").iterdir()]
    return bool(tasks) and all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks)


def _revert(coordinator: Coordinator) -> None:
    with contextlib.suppress(OSError, ValueError):  # it is killed meanwhile
        coordinator.ask("revert", name="")


@pytest.mark.parametrize("phase", ["arming", "armed", "applying", "applied", "reverting", "reverted"])
def test_a_guard_that_is_shot_at_each_step_is_replaced_by_its_twin(device: Device, phase: str) -> None:
    """Nobody asks for anything: the twin has the lock at that moment, and says in the journal that it took over."""
    coordinator = device.start()
    device.shoot(f"guard guard.{phase} 1 kill")
    coordinator.send("arm", program=program(device.place), run=RUN, renew_s=RENEW_S, cap_s=600.0)
    if phase not in ("arming", "armed"):
        until(lambda: device.said("armed"))
        Coordinator(device.runtime / "supervisor").send("start_program", name="offline-1")
    until(device.hit)
    device.comes_back()
    if phase not in ("arming", "reverted"):
        until(lambda: "its twin ended" in [said["why"] for said in device.said("guard_started")])


def test_a_guard_goes_on_after_its_twin_was_killed_and_has_another_one(device: Device) -> None:
    """Again and again, and the program is in effect all the time."""
    coordinator = device.start()
    hold(coordinator, device, renew_s=600.0)
    guard, known = device.guard, set(device.twin)
    for _ in range(3):
        device.kill("twin")
        until(lambda known=frozenset(known): set(device.twin) - known)  # type: ignore[misc]
        known |= set(device.twin)
    assert (device.guard, device.present(), device.said("reverting")) == (guard, True, [])


def test_a_twin_that_becomes_the_guard_goes_on_and_has_a_twin_itself(device: Device) -> None:
    """One guard after the other is killed while the fault is held: it stays in effect, and is taken back when asked."""
    coordinator = device.start()
    hold(coordinator, device, renew_s=600.0)
    for _ in range(3):
        (twin,) = device.twin
        device.kill("guard")
        until(lambda heir=twin: device.guard == [heir] and len(device.twin) == 1)  # type: ignore[misc]
    until(lambda: len(device.said("guard_started")) == 4)
    (said,) = coordinator.ask("programs")["programs"]
    assert (said["state"], said["on"], device.present(), device.said("reverting")) == ("begun", True, True, [])
    assert coordinator.ask("revert") == {"reverted": ["offline-1"], "left": []}
    assert not device.present()


def test_a_supervisor_that_starts_again_finds_the_guard_and_what_it_holds(device: Device) -> None:
    """It answers for the same guard, which was not disturbed; renewals go on by it."""
    coordinator = device.start()
    hold(coordinator, device, renew_s=600.0)
    guard = device.guard
    device.kill("supervisor")
    again = device.start()
    assert again.ask("programs")["guard"] == {"pid": guard[0], "alive": True}
    assert again.ask("renew") == {"renewed": ["offline-1"]}
    assert device.present()
    assert again.ask("revert", name="offline-1") == {"reverted": ["offline-1"], "left": []}


@pytest.mark.parametrize(
    ("why", "changes", "limits"),
    [
        ("nobody renewed it", {}, {"renew_s": RENEW_S}),
        ("hard cap", {}, {"renew_s": 600.0, "cap_s": 6.0}),
        ("its end", {"lasts_s": 6.0}, {"renew_s": 600.0}),
        ("its end", {"lasts_s": 6.0, "severs_management": True}, {"renew_s": 600.0}),
    ],
    ids=["renewal", "cap", "its end", "the only path"],
)
def test_a_supervisor_that_nobody_asks_for_anything_sees_to_a_guard(
    device: Device, why: str, changes: dict[str, Any], limits: dict[str, Any]
) -> None:
    """Coordinator, guard and twin are dead: the deadline is held all the same, because another guard is started that goes by it."""
    coordinator = device.start()
    coordinator.ask("arm", program=program(device.place, **changes), run=RUN, **{"cap_s": 600.0, **limits})
    coordinator.ask("start_program", name="offline-1")
    until(device.present)
    until(lambda: device.twin)
    coordinator.socket.close()
    device.kill("both")
    device.comes_back()
    until(lambda: device.said("reverted"))
    assert [said["why"] for said in device.said("reverting")] == [why]
    assert len(device.said("guard_started")) == 2


def test_without_whoever_looks_for_a_guard_the_fault_stays(tmp_path: Path) -> None:
    """The negative control: the same kill beside a supervisor that keeps itself alive, and nothing else."""
    source = supervisor_sources()["ondevice/guarded.py"]
    blind = source.replace(b"                self.look(time.monotonic())\n", b"                pass\n")
    assert blind != source
    device = Device(install(tmp_path, {"ondevice/guarded.py": blind}), tmp_path / "device")
    try:
        hold(device.start(), device, cap_s=4.0)
        device.kill("both")
        with pytest.raises(AssertionError, match="did not come to hold"):
            device.comes_back(8)
    finally:
        device.end()


def test_a_guard_that_waits_for_somebody_to_come_is_seen_to_as_well(device: Device) -> None:
    """Its program is off the disk already. Guard and twin are killed, nobody comes, and the device is rebooted."""
    coordinator = device.start()
    made = program(device.place, lasts_s=1.0, severs_management=True)
    coordinator.ask("arm", program=made, run=RUN, cap_s=600.0, confirm_s=8.0)
    coordinator.ask("start_program", name="offline-1")
    coordinator.socket.close()
    until(lambda: device.said("reverted"))
    until(lambda: not device.armed() and device.twin)
    device.kill("both")
    until((device.root / "rebooted").exists)
    until(lambda: device.said("rebooting"))
    assert device.said("rebooting") == [{"program": "offline-1", "why": "nobody reached it after its revert"}]


def test_a_guard_is_started_though_its_log_cannot_be_written(device: Device) -> None:
    """As on a disk that has no room for another file."""
    hold(device.start(), device)
    (device.state / "guard.log").unlink()
    (device.state / "guard.log").mkdir()
    device.kill("both")
    device.comes_back()


def test_whoever_starts_a_program_is_told_that_its_first_step_failed(device: Device) -> None:
    """In the words of the act; and by the time that somebody looks nothing of it is left."""
    coordinator = device.start()
    steps = [{"at_s": 0, "acts": [{"argv": ["/bin/ls", "/none"]}], "word": "offline", "on": True}]
    coordinator.ask("arm", program=program(device.place, steps=steps), run=RUN, cap_s=600.0)
    with pytest.raises(ValueError, match=r"offline-1 is taken back: a step failed: /bin/ls /none: exit status 2: .*No such file"):
        coordinator.ask("start_program", name="offline-1")
    device.comes_back()


def test_an_act_of_a_killed_guard_ends_before_the_next_one_undoes(device: Device) -> None:
    """What is applied late is applied before the undo, never behind it."""
    go, late, began = device.root / "go", device.place / "offline-1", device.root / "began"
    code = "import os, sys, time\nopen(sys.argv[1], 'w')\nwhile not os.path.exists(sys.argv[2]): time.sleep(0.01)\nopen(sys.argv[3], 'w')"
    act = {"argv": [sys.executable, "-c", code, str(began), str(go), str(late)]}
    coordinator = device.start()
    steps = [{"at_s": 0, "acts": [act], "word": "late", "on": True}]
    coordinator.ask("arm", program=program(device.place, steps=steps), run=RUN, cap_s=600.0)
    coordinator.send("start_program", name="offline-1")  # it would wait for the step
    until(began.exists)
    until(lambda: device.twin)
    (heir,) = device.twin
    device.kill("guard")
    until(lambda: device.guard == [heir])
    assert device.said("reverting") == []
    go.touch()
    until(lambda: device.said("reverted"))
    assert device.said("reverted")[0]["why"] == "guard restarted"
    device.comes_back()


# ---- boots, hands and ends --------------------------------------------------------------------------------------------


def test_after_a_boot_everything_is_reverted_before_the_supervisor_answers(device: Device) -> None:
    """The device's own `at-boot` hook: all processes and the folder of sockets are gone, and the boot is another one."""
    hold(device.start(), device, renew_s=600.0)
    device.end()
    assert device.present()
    for path in sorted(device.runtime.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (device.root / "boot_id").write_text("c" * 32)
    coordinator = device.start()
    assert (device.present(), device.armed()) == (False, False)
    assert coordinator.ask("programs")["programs"] == []
    assert device.said("reverted")[-1]["why"] == "another boot"


@pytest.mark.parametrize("alive", [True, False], ids=["with a guard", "without any process"])
def test_an_operator_takes_it_back_by_hand(device: Device, alive: bool) -> None:
    """On the device, by one command; there need not be a supervisor."""
    hold(device.start(), device, renew_s=600.0)
    if alive:
        device.kill("supervisor")
    else:
        device.end()
    words = ("revert", str(device.state), str(device.runtime / "supervisor"))
    assert device.run(*words, "other").stdout == "other is not armed on this device\n"
    assert device.present()
    done = device.run(*words)
    assert (done.returncode, done.stdout) == (0, "reverted offline-1\n")
    assert (device.present(), device.armed()) == (False, False)
    assert device.run(*words).stdout == "no program is armed on this device\n"


def test_without_a_program_no_guard_is_left(device: Device) -> None:
    """It and its twin end by themselves, and the next arm starts them anew."""
    coordinator = device.start()
    assert device.both == []
    for _ in range(2):
        hold(coordinator, device)
        coordinator.ask("revert")
        until(lambda: device.both == [])
        assert coordinator.ask("programs") == {"programs": [], "guard": {"pid": 0, "alive": False}}


def test_a_run_is_not_forgotten_while_its_program_is_armed(device: Device) -> None:
    """Its journal says how the fault ends. Afterwards it is, and another run's never mattered."""
    coordinator = device.start()
    hold(coordinator, device, renew_s=600.0)
    with pytest.raises(ValueError, match=f"programs of {RUN} are armed here: offline-1; revert them first"):
        coordinator.ask("forget", run=RUN)
    assert coordinator.ask("forget", run="another") == {}
    coordinator.ask("revert")
    assert coordinator.ask("forget", run=RUN) == {}
    assert not (device.state / "runs" / RUN).exists()
    hold(coordinator, device)  # and the next one's journal begins anew
    assert [record.kind for record in device.records][:3] == ["began", "guard_started", "armed"]


def test_the_guards_journal_is_followed_like_any_other(device: Device) -> None:
    """Under the name `guard`, while it is being written."""
    coordinator = device.start()
    hold(coordinator, device, renew_s=600.0)
    said = coordinator.ask("follow", run=RUN, execution="guard", from_sequence=1, chain="0" * 64)
    assert (said["agrees"], said["current"], said["ended"], said["written"] >= 4) == (True, False, False, True)


def test_a_release_takes_back_what_the_holder_left(device: Device) -> None:
    """A device that is nobody's is as it was."""
    claim = {"coordinator": "ours", "holder": "ben for EDGE-003", "fence": 1, "lease_s": 120.0}
    done = device.run("start", str(device.state), str(device.runtime / "supervisor"), json.dumps(claim))
    assert done.returncode == 0, done.stderr
    coordinator = Coordinator(device.runtime / "supervisor")
    coordinator.ask("hello", claim=claim)
    hold(coordinator, device, renew_s=600.0)
    assert device.said("armed")[0]["holder"] == "ben for EDGE-003"
    assert coordinator.ask("release") == {}
    assert (device.present(), device.said("reverted")[0]["why"]) == (False, "the supervisor asked")


def test_the_guard_is_nobodys_child_and_not_killed_for_memory(device: Device) -> None:
    """It has a session of its own, the first process for a parent, and where this machine lets it the lowest score."""
    hold(device.start(), device, renew_s=600.0)
    (guard,) = device.guard
    assert os.getsid(guard) not in {os.getsid(pid) for pid in device.supervisor}
    parent = int(Path(f"/proc/{guard}/stat").read_text().rpartition(")")[2].split()[1])
    assert parent not in device.supervisor
    lower = "import os; os.write(os.open('/proc/self/oom_score_adj', os.O_WRONLY), b'-1000')"
    if subprocess.run([sys.executable, "-c", lower], capture_output=True, check=False).returncode == 0:
        assert {Path(f"/proc/{pid}/oom_score_adj").read_text().strip() for pid in device.both} == {"-1000"}
    assert (device.runtime / "guard.sock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("severs", [False, True], ids=["where that was asked", "on the only path"])
def test_an_undo_that_does_not_work_is_escalated_by_the_real_guard(device: Device, severs: bool) -> None:
    """The negative control of every cell above: the same helper finds that the device did not come back."""
    coordinator = device.start()
    made = program(device.place, undo=[{"argv": ["/bin/true"]}], severs_management=severs)
    coordinator.ask("arm", program=made, run=RUN, cap_s=600.0, **({} if severs else {"escalate": True}))
    coordinator.ask("start_program", name="offline-1")
    until(device.present)
    said = coordinator.ask("revert")
    assert (said["reverted"], len(said["left"])) == ([], 1)
    assert [said["tries"] for said in device.said("revert_failed")] == [5]
    assert (device.root / "rebooted").read_text() == "reboot\n"
    with pytest.raises(AssertionError, match="did not come to hold"):
        device.comes_back(2)


@pytest.mark.parametrize("victims", ["supervisor", "guard", "guard and twin"])
def test_with_a_guard_that_does_not_revert_the_device_does_not_come_back(tmp_path: Path, victims: str) -> None:
    """The other negative control: the very same cell, and a guard that knows no deadline and runs no undo."""
    source = supervisor_sources()["ondevice/watch.py"]
    disabled = source.replace(
        b'        if next.do == "step":', b'        if next.do == "revert":\n            time.sleep(0.1)\n        elif next.do == "step":'
    )
    assert disabled != source
    device = Device(install(tmp_path, {"ondevice/watch.py": disabled}), tmp_path / "device")
    try:
        hold(device.start(), device, renew_s=1.0)
        device.kill(*VICTIMS[victims])
        with pytest.raises(AssertionError, match="did not come to hold"):
            device.comes_back(4)
    finally:
        device.end()


# ---- real links -------------------------------------------------------------------------------------------------------


ECHO = """
import socket
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.bind(("10.99.0.1", 7777))
print(flush=True)
while True:
    here.sendto(*here.recvfrom(100))
"""
ASK = """
import socket
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.settimeout(0.5)
here.sendto(b"anybody?", ("10.99.0.1", 7777))
here.recv(100)
"""


class Cabled(Device):
    """The same, all of it in a network namespace with `data0`, from which a cable leads to another one."""

    namespace = ""

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.on("python", self.script, *words)

    def on(self, tool: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["ip", "netns", "exec", self.namespace, sys.executable if tool == "python" else tool, *words]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False, env=self.environment
        )

    def passes(self) -> bool:
        """Whether one of a few datagrams comes back."""
        return any(self.on("python", "-c", ASK).returncode == 0 for _ in range(3))

    def links(self) -> list[str]:
        """All that a fault may have changed."""
        looks = ("nft list ruleset", "tc qdisc show", "ip -o link show", "ip -o address show", "ip route show table all")
        return [self.on(*look.split()).stdout for look in looks]


@pytest.fixture
def cabled(script: str, tmp_path: Path) -> Iterator[Cabled]:
    missing = [tool for tool in ("ip", "nft", "tc") if shutil.which(tool) is None]
    if os.geteuid() or missing:
        pytest.skip("network namespaces need root" if os.geteuid() else f"no {', '.join(missing)} here")
    near, far = (f"guard-{os.getpid()}-{end}" for end in ("near", "far"))
    device = Cabled(script, tmp_path)
    device.namespace = near
    try:
        for line in (
            f"netns add {near}", f"netns add {far}", f"-n {near} link add data0 type veth peer name data1 netns {far}",
            f"-n {near} address add 10.99.0.2/24 dev data0", f"-n {far} address add 10.99.0.1/24 dev data1", f"-n {near} link set data0 up",
            f"-n {far} link set data1 up", f"-n {near} link set lo up",
        ):  # fmt: skip
            done = subprocess.run(["ip", *line.split()], capture_output=True, text=True, timeout=20, check=False)
            if done.returncode:
                pytest.skip(f"ip {line}: {done.stderr.strip()}")
        if device.on("nft", "add", "table", "inet", "probe").returncode or device.on("nft", "delete", "table", "inet", "probe").returncode:
            pytest.skip("this kernel has no nftables")
        command = ["ip", "netns", "exec", far, sys.executable, "-c", ECHO]
        echo = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        try:
            assert echo.stdout is not None
            echo.stdout.readline()
            until(lambda: "tentative" not in "".join(device.links()))  # the kernel makes sure of its own addresses
            yield device
        finally:
            echo.kill()
            echo.communicate()
    finally:
        device.end()
        for name in (near, far):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=20, check=False)


def real_programs() -> list[dict[str, Any]]:
    """Offline by packets dropped, offline by the link, and a rate: as the faults make them."""
    from runner.faults import bandwidth, offline
    from runner.model.device import DataLink
    from runner.model.profile import Bandwidth, Offline

    link, can = DataLink(interface="data0", far_end="10.99.0.1"), frozenset({"tbf", "nft"})
    whole = [
        offline.program(Offline(fault="offline"), link, "offline-1", 1, can),
        offline.program(Offline(fault="offline", how="link_down"), link, "down-1", 1, can),
        bandwidth.program(Bandwidth.model_validate({"fault": "bandwidth", "up": {"rate_kbit_s": 64}, "down": {}}), link, "gprs-1", 1, can),
    ]
    return [made.model_dump(mode="json") for made in whole]


@pytest.mark.parametrize("victims", ["nobody", "supervisor", "guard", "guard and twin", "supervisor and guard", "all three"])
@pytest.mark.parametrize("number", range(3), ids=["dropped", "link down", "rate"])
def test_a_real_link_is_as_it_was_whoever_is_killed(cabled: Cabled, number: int, victims: str) -> None:
    """The fault is proven present, then the victims are killed; firewall, queues, links, addresses and routes are as before."""
    made = real_programs()[number]
    before = cabled.links()
    assert cabled.passes()
    coordinator = cabled.start()
    assert coordinator.ask("arm", program=made, run=RUN, renew_s=RENEW_S, cap_s=600.0) == {"armed": made["name"]}
    assert cabled.links() == before
    coordinator.ask("start_program", name=made["name"])
    until(lambda: cabled.said("step"))
    assert cabled.said("step")[0]["failed"] == []
    assert cabled.links() != before
    assert cabled.passes() == (number == 2)
    until(lambda: cabled.twin)
    if victims != "nobody":
        cabled.kill(*VICTIMS[victims])
    if "all three" in victims:
        cabled.start()
    until(lambda: cabled.links() == before)
    until(lambda: cabled.said("reverted"))
    assert cabled.passes()
