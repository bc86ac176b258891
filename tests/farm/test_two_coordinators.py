"""Two coordinators and one device, for real: who waits, who is refused, and who has to let go.

Each is a `runner exec` of its own, from a lab or a checkout of its own. Who holds the device is stopped (SIGSTOP) at a known
step, by a failpoint; so nothing here waits on a clock but the one lease that has to run out.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runner.clock import SystemClock
from runner.farm.lease import Leases, _user
from runner.judgement.reading import load_evidence
from runner.lab.folder import RunFolder
from runner.ondevice.claim import Claims
from runner.target.power.process import ProcessPower

pytestmark = pytest.mark.real

REPOSITORY = Path(__file__).resolve().parents[2]
AS_IT_IS = "from runner.cli.main import main; main()"
SHORT = """
from runner.farm import lease
from runner.story import signs_of_life
lease.LEASE_S = signs_of_life.LEASE_S = 3.0
lease.MARGIN_S, signs_of_life.RENEW_EVERY_S = 1.0, 0.5
"""
FOREIGN = """
from runner.farm import lease
own = lease.Leases.__init__
def elsewhere(self, state, clock=None):
    own(self, state / "of another host", clock)
lease.Leases.__init__ = elsewhere
"""


@dataclass
class Coordinator:
    """One `runner exec`, in a lab of its own."""

    lab: Path
    process: subprocess.Popen[str]
    heard: list[str] = field(default_factory=list)

    @property
    def runs(self) -> list[RunFolder]:
        return list(RunFolder.every(self.lab / "runs"))

    @property
    def name(self) -> str:
        """As others are told it."""
        return f"(process {self.process.pid}) for EDGE-002 in {self.lab}/runs"

    @property
    def said(self) -> str:
        """All that it said, as one line."""
        return " ".join("".join(self.heard).split())

    def hear(self, words: str) -> None:
        """Reads what it says until `words` are among it."""
        assert self.process.stdout
        while not any(words in line for line in self.heard):
            line = self.process.stdout.readline()
            assert line, f"it ended before it said {words!r}: {self.said}"
            self.heard.append(line)

    def stops(self) -> bool:
        """Whether it stops itself before it ends."""
        found = os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        return found is not None and found.si_code == os.CLD_STOPPED

    def stopped(self) -> None:
        """Waits until it has stopped itself."""
        assert self.stops(), self.process.communicate()[0]

    def goes_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def ends(self) -> int:
        self.heard.append(self.process.communicate(timeout=300)[0])
        return self.process.returncode


Begin = Callable[..., Coordinator]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def begin(tmp_path: Path, state: Path) -> Iterator[Begin]:
    """`begin("first", "--no-wait", stop="push.after", be=SHORT, checkout=…)`: an exec from a lab of that name, not waited for."""
    begun: list[Coordinator] = []

    def start(name: str, *words: str, stop: str = "", be: str = "", checkout: Path = REPOSITORY) -> Coordinator:
        lab, plan = tmp_path / name, tmp_path / f"{name} stops"
        lab.mkdir()
        (lab / "inventory.yaml").write_text("devices: {local: {type: local-process}}\n")
        env = {**os.environ, "PYTHONPATH": str(checkout), "RUNNER_STATE": str(state), "PYTHONUNBUFFERED": "1"}
        if stop:
            plan.write_text(f"coordinator {stop} 1 stop")
            env["RUNNER_FAILPOINT"] = str(plan)
        command = ["--lab", str(lab), "exec", "EDGE-002", "--quick", "--scenario", "baseline", *words]
        process = subprocess.Popen(
            [sys.executable, "-c", be + AS_IT_IS, *command], cwd=lab, env=env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        begun.append(Coordinator(lab, process))
        return begun[-1]

    yield start
    for each in begun:
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate()
    if pid := supervisor(state):
        os.killpg(pid, signal.SIGKILL)


def supervisor(state: Path) -> int:
    """The pid of the device's supervisor, while it runs; else 0."""
    folder = state / "local" / "local"
    return ProcessPower(folder, folder, SystemClock())._running() or 0


@pytest.fixture
def other_checkout(tmp_path: Path) -> Path:
    """The same product once more, in another folder."""
    copy = tmp_path / "checkout"
    for name in ("runner", "devices", "pipelines", "profiles"):
        shutil.copytree(REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "inventory.yaml", copy)
    return copy


def test_the_second_one_waits_and_says_for_whom(begin: Begin, state: Path, other_checkout: Path) -> None:
    """From another lab and another checkout: one plain line; --no-wait ends it with 3. Nothing has moved, and then it runs."""
    first = begin("first", stop="lease.after")
    first.stopped()
    second = begin("second", checkout=other_checkout)
    second.hear("waiting: ")
    until = "until it ends or has given no sign of life for 120 s; you are next"
    assert re.search(rf"  waiting: local is held by \S+@\S+ {re.escape(first.name)}, since \S+Z, {until}\n", "".join(second.heard))
    third = begin("third", "--no-wait", checkout=other_checkout)
    assert third.ends() == 3
    assert f"local is held by {_me()} {first.name}" in third.said
    assert "1 more before you" in third.said
    assert [second.runs, third.runs] == [[], []]
    first.goes_on()
    assert [first.ends(), second.ends()] == [0, 0], first.said + second.said
    assert second.said.count("waiting: ") == 1
    assert [len(each.runs) for each in (first, second, third)] == [1, 1, 0]
    _nothing_is_left(state)


def test_a_foreign_coordinator_is_refused_by_the_device_and_leaves_it_alone(begin: Begin, state: Path) -> None:
    """One that goes by another lease file hears the holder's name from the device; the holder's supervisor and run go on."""
    first = begin("first", stop="push.after")
    first.stopped()
    pid = supervisor(state)
    assert pid
    foreign = begin("foreign", be=FOREIGN)
    assert foreign.ends() == 3, foreign.said
    assert f"local is not to be had: it is held by {_me()} {first.name}, for at least " in foreign.said
    assert "waiting" not in foreign.said
    assert supervisor(state) == pid
    (run,) = foreign.runs
    assert [(load_evidence(run).ending or {})["ending"], *_moved(run)] == ["lab"]
    first.goes_on()
    assert first.ends() == 0, first.said
    _nothing_is_left(state)


def test_who_was_stopped_for_too_long_lets_go_and_says_to_whom(begin: Begin, state: Path) -> None:
    """Its run ends blocked, with 3; the device and the run that is on it now hear nothing of it."""
    late = begin("late", be=SHORT, stop="push.after")
    late.stopped()
    second = begin("second", be=SHORT, stop="push.after")
    second.stopped()  # once it has waited for the lease to run out, and taken the device
    pid, claim = supervisor(state), _claim(state)
    assert second.name in str(claim["holder"])
    late.goes_on()
    assert late.ends() == 3, late.said
    assert "BLOCKED" in late.said
    assert second.name in late.said
    assert (supervisor(state), _claim(state)) == (pid, claim)
    (run,) = late.runs
    assert [(load_evidence(run).ending or {})["ending"], *_moved(run)] == ["lab"]
    second.goes_on()
    assert second.ends() == 0, second.said
    _nothing_is_left(state)


def test_who_was_silent_towards_the_device_for_too_long_leaves_it_to_a_foreign_coordinator(begin: Begin, state: Path) -> None:
    """Its own lease file knows nothing of that; the device says so, and from then on the late one does not even switch it off."""
    late = begin("late", be=SHORT, stop="push.after")
    late.stopped()
    for number in range(60):  # each is refused by the device until it has been silent for three seconds
        foreign = begin(f"foreign-{number}", be=SHORT + FOREIGN, stop="push.after")
        if foreign.stops():
            break
        assert foreign.ends() == 3
    pid, claim = supervisor(state), _claim(state)
    assert foreign.name in str(claim["holder"])
    late.goes_on()
    assert late.ends() == 3, late.said
    assert foreign.name in late.said
    assert (supervisor(state), _claim(state)) == (pid, claim)
    foreign.goes_on()
    assert foreign.ends() == 0, foreign.said
    _nothing_is_left(state)


def _moved(run: RunFolder) -> list[str]:
    """What a run did to its device, by its own notes."""
    return [record.kind for record in load_evidence(run).coordinator if record.kind in ("execution_began", "cut")]


def _claim(state: Path) -> dict[str, object]:
    return Claims(str(state / "local" / "local"), "").kept()


def _me() -> str:
    return f"{_user()}@{os.uname().nodename}"


def _nothing_is_left(state: Path) -> None:
    assert supervisor(state) == 0
    leases = Leases(state)
    assert leases.every() == []
    assert list(leases.folder.glob("*.alive")) == []
