"""A device whose disk has not one byte left: what was not armed is refused in one sentence, and what was comes off.

The state folder is a small file system of its own, in a mount namespace that ends with the process that looks. The supervisor's log
and the guard's lie on it, as they do on a device: whoever cannot say a word must go on all the same. Where a device has one disk for
everything, the folder of sockets is full, too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.ondevice.claim import NOT_YOURS
from tests.conftest import REPOSITORY
from tests.ondevice.test_guard_killed import RUN, Coordinator, Device, hold, install, program, until

pytestmark = pytest.mark.real
SIZE = "size=6m"
ANSWERED_S = 100.0  # docs/guard.md: 45 s for a guard to be there, 55 s for its answer
ALONE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
LIMITS = {"renew_s": 600.0, "cap_s": 600.0}


def fill(device: Device) -> None:
    """Not one byte is left."""
    handle = os.open(device.state / "fill", os.O_WRONLY | os.O_CREAT)
    try:
        for size in (1 << 16, 1):
            try:
                while True:
                    os.write(handle, bytes(size))
            except OSError:
                continue
    finally:
        os.close(handle)


def refused(coordinator: Coordinator, device: Device) -> dict[str, Any]:
    """What arming says, and what is left of it."""
    begun, told = time.monotonic(), ""
    try:
        coordinator.ask("arm", program=program(device.place, prepare=[{"argv": ["/bin/false"]}]), run=RUN, **LIMITS)
    except ValueError as error:
        told = str(error)
    took_s = time.monotonic() - begun
    left = [path.name for path in device.state.rglob("offline-1*")]
    return {"told": told, "took_s": took_s, "left": left, "programs": coordinator.ask("programs")["programs"], "on": device.present()}


# ---- in the namespace: each is a story, and returns what was seen ------------------------------------------------------


def arming(device: Device) -> dict[str, Any]:
    """On a full disk, again, and when there is room again."""
    coordinator = device.start()
    fill(device)
    first, second = refused(coordinator, device), refused(coordinator, device)
    os.truncate(device.state / "fill", 0)
    hold(coordinator, device, **LIMITS)
    return {"first": first, "second": second, "on": device.present(), "reverted": coordinator.ask("revert")["reverted"]}


def a_second(device: Device) -> dict[str, Any]:
    """One is in effect when the disk becomes full: another one is refused, and the first goes on, and comes off when asked."""
    coordinator = device.start()
    hold(coordinator, device, **LIMITS)
    fill(device)
    other = program(device.place, name="offline-2", resources=["other"], signs=[{"argv": ["/bin/true"], "contains": "offline-2"}])
    told = []
    for _ in range(2):
        try:
            told.append(str(coordinator.ask("arm", program=other, run=RUN, **LIMITS)))
        except ValueError as error:
            told.append(str(error))
    (said,) = coordinator.ask("programs")["programs"]
    on = device.present()
    answer = coordinator.ask("revert")
    return {"told": told, "said": said, "on": on, "answer": answer, "left": device.present(), "armed": device.armed()}


def killed(device: Device) -> dict[str, Any]:
    """Guard and twin are killed on a full disk: the supervisor starts another guard, which takes back."""
    coordinator = device.start()
    hold(coordinator, device, renew_s=600.0, cap_s=8.0)
    fill(device)
    device.kill("both")
    until(lambda: not device.present() and not device.armed())
    return {"programs": coordinator.ask("programs")["programs"]}


def by_hand(device: Device) -> dict[str, Any]:
    """Nobody but who stands before it is there."""
    hold(device.start(), device, **LIMITS)
    fill(device)
    device.kill("supervisor", "both")
    done = device.run("revert", str(device.state), str(device.runtime / "supervisor"))
    return {"status": done.returncode, "said": done.stdout, "left": device.present(), "armed": device.armed()}


def newcomer(device: Device) -> dict[str, Any]:
    """Somebody else wants the device while its disk is full; its holder takes back what is on."""
    coordinator = device.start()
    hold(coordinator, device, **LIMITS)
    fill(device)
    claim = {"coordinator": "another", "holder": "ada", "fence": 1, "lease_s": 120.0}
    done = device.run("start", str(device.state), str(device.runtime / "supervisor"), json.dumps(claim))
    return {"status": done.returncode, "said": done.stderr.splitlines()[-1:], "answer": coordinator.ask("revert")}


def main(story: str, script: str, root: str, disk: str) -> None:
    (Path(root) / disk).mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", SIZE, "tmpfs", str(Path(root) / disk)], check=True)
    device = Device(script, Path(root))
    try:
        print(json.dumps(globals()[story](device)))
    finally:
        device.end()


# ---- and out of it -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> str:
    if subprocess.run([*ALONE, "true"], capture_output=True, timeout=20, check=False).returncode:
        pytest.skip("needs a mount namespace: root, or a kernel that allows user namespaces (unshare --mount)")
    return install(tmp_path_factory.mktemp("installed"), {})


@pytest.fixture(params=["state", ""], ids=["a disk for the state", "one disk"])
def told_by(request: pytest.FixtureRequest, script: str, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(story: Callable[[Device], dict[str, Any]]) -> dict[str, Any]:
        code = f"from {__name__} import main; main({story.__name__!r}, {script!r}, {str(tmp_path / 'device')!r}, {request.param!r})"
        done = subprocess.run(
            [*ALONE, sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=2 * ANSWERED_S, check=False
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    return run


def test_arming_on_a_full_disk_is_refused_in_one_sentence(told_by: Callable[..., dict[str, Any]]) -> None:
    """In its time, with what to do; nothing of it is left, and it is armed when there is room. Whoever asks again hears the same."""
    found = told_by(arming)
    for refusal in (found["first"], found["second"]):
        assert "nothing is armed" in refusal["told"]
        assert "No space left on device" in refusal["told"]
        assert "make room in" in refusal["told"]
        assert "\n" not in refusal["told"]
        assert refusal["took_s"] < ANSWERED_S
        assert (refusal["left"], refusal["programs"], refusal["on"]) == ([], [], False)
    assert (found["on"], found["reverted"]) == (True, ["offline-1"])


def test_a_disk_that_becomes_full_disturbs_nothing_that_is_on(told_by: Callable[..., dict[str, Any]]) -> None:
    """Another program is refused; the one that is on goes on, and comes off at a word."""
    found = told_by(a_second)
    for told in found["told"]:
        assert "nothing is armed" in told
        assert "No space left on device" in told
    assert (found["said"]["name"], found["said"]["on"], found["on"]) == ("offline-1", True, True)
    assert found["answer"] == {"reverted": ["offline-1"], "left": []}
    assert (found["left"], found["armed"]) == (False, False)


def test_guard_and_twin_that_are_killed_on_a_full_disk_are_replaced(told_by: Callable[..., dict[str, Any]]) -> None:
    """The cap is held, though no log and no journal takes a word."""
    assert told_by(killed) == {"programs": []}


def test_it_is_taken_back_by_hand_on_a_full_disk(told_by: Callable[..., dict[str, Any]]) -> None:
    """Supervisor, guard and twin are gone, and there is no room for any of them to come back."""
    found = told_by(by_hand)
    assert (found["status"], found["said"], found["left"], found["armed"]) == (0, "reverted offline-1\n", False, False)


def test_a_newcomer_is_told_that_the_disk_is_full_and_who_was_there_goes_on(told_by: Callable[..., dict[str, Any]]) -> None:
    """A claim needs a file: the last line says why it cannot be had. The revert of whoever is attached needs none."""
    found = told_by(newcomer)
    assert found["status"] not in (0, NOT_YOURS)
    assert "No space left on device" in found["said"][0]
    assert found["answer"] == {"reverted": ["offline-1"], "left": []}


def test_a_shaper_begins_though_its_log_cannot_be_made(tmp_path: Path) -> None:
    """Its log lies on the full disk; what it does, does not."""
    (tmp_path / "no folder").write_text("")
    code = "from runner.ondevice import shaper, say; shaper._stand_alone(set()); say.say('a word')"
    environment = {**os.environ, "RUNNER_STATE": str(tmp_path / "no folder")}
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environment, timeout=60, check=False).returncode == 0
