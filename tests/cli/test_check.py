"""`device check`: with what a device is compared, what lifts its quarantine, and what is said of one that is not as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.farm.health import read
from runner.farm.lease import Lease, LeaseLost, Leases
from runner.lab.where import state_root
from runner.model.device import DeviceLine
from runner.ondevice.fingerprint import FIELDS, fingerprint
from runner.target.session import NotOurs, RemoteError

Runner = Callable[..., Any]
FOUND = ("+ firewall: table inet foo", "- routes: default via 10.0.0.1")
LINKED = """
title: a board with a data link
arch: native
transport: local
power: process
loss: process_crash
data_link: { interface: data0, far_end: 10.77.0.1 }
"""


@pytest.fixture
def lab(make_lab: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine, and a device with a data link."""
    inventory = "devices:\n  local: { type: local-process }\n  pi-04: { type: linked }\n"
    root = make_lab({"inventory.yaml": inventory, "devices/linked.yaml": LINKED})
    monkeypatch.setenv("RUNNER_LAB", str(root))
    return root


def seen(boot: str = "b1", **lines: list[str]) -> dict[str, Any]:
    """A fingerprint with nothing in it but these lines."""
    return read({**{field: lines.get(field, []) for field in FIELDS}, "clock": 1_790_000_000, "boottime_s": 10, "boot_id": boot})


class FakeDevice:
    """A target whose supervisor answers what a test has put here, and that notes what is done to it."""

    def __init__(self) -> None:
        self.now, self.revert, self.done = seen(), {"reverted": [], "left": []}, []  # type: ignore[var-annotated]
        self.strays: dict[str, list[str]] = {}
        self.on: bool | None = False
        self.hello: dict[str, Any] = {}
        self.fence = 0
        self.power = self.transport = self

    async def bring_up(self, say: Callable[[str], None]) -> FakeDevice:
        self.done.append("up")
        return self

    async def shut_down(self) -> None:
        self.done.append("down")

    async def close(self) -> None:
        self.done.append("closed")

    async def renew(self, duration_s: float) -> None:
        self.done.append("renewed")

    async def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        self.done.append(verb)
        answers = {"revert": self.revert, "fingerprint": {"fields": self.now}, "clear_strays": self.strays, "programs": {"programs": []}}
        return answers.get(verb, {})

    async def facts(self) -> dict[str, Any]:
        return {}

    async def cool(self) -> dict[str, Any]:
        return {"left": []}


@pytest.fixture
def device(lab: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    """What stands for pi-04."""
    made = FakeDevice()

    async def make_target(request: Any) -> Any:
        made.fence = request.holding.fence
        return made

    async def status(device: Any) -> dict[str, Any]:
        return {"on": made.on}

    monkeypatch.setattr("runner.story.trial.make_target", make_target)
    monkeypatch.setattr("runner.cli.power.status", status)
    return made


@pytest.fixture
def leases() -> Leases:
    return Leases(state_root())


def test_a_device_as_it_was_may_be_lent_again(runner: Runner, device: FakeDevice, leases: Leases) -> None:
    """Compared with the fingerprint from before the killed run's first fault; afterwards nothing is expected of it any more."""
    leases.expect("pi-04", "b1", seen())
    leases.quarantine("pi-04", "t1", FOUND)
    said = runner("--json", "device", "check", "pi-04")
    assert said.exit_code == 0
    expected = {"device": "pi-04", "passed": True, "accepted": False, "found": [], "compared": "fingerprint", "taken_back": []}
    assert {key: said.json[key] for key in expected} == expected
    assert said.json["was_quarantined"]["differences"] == list(FOUND)
    assert said.json["quarantine"] is None
    assert (leases.quarantined("pi-04"), leases.expected("pi-04"), leases.every()) == (None, None, [])
    assert device.done == ["up", "revert", "clear_strays", "fingerprint", "release", "closed", "down"]
    assert "pi-04: no fault is outstanding" in runner("device", "check", "pi-04").out


@pytest.mark.parametrize("before", [True, False], ids=["quarantined", "not quarantined"])
def test_a_device_that_differs_is_quarantined_with_the_difference(runner: Runner, device: FakeDevice, leases: Leases, before: bool) -> None:
    """Exit 3, each difference, and what to do; put right, the next check passes, because what is expected was kept."""
    leases.expect("pi-04", "b1", seen(firewall=["table inet own"]))
    if before:
        leases.quarantine("pi-04", "t1", FOUND)
    device.now = seen(firewall=["table inet foo"])
    said = runner("device", "check", "pi-04")
    assert said.exit_code == 3
    assert "pi-04: quarantined\n  + firewall: table inet foo\n  - firewall: table inet own\n  do: look at it (" in said.out
    assert ("runner device power pi-04 on" in said.out, "runner device shell pi-04" in said.out) == (False, True)  # it is this machine
    assert "runner device check pi-04 --accept" in said.out
    found = leases.quarantined("pi-04")
    assert found is not None
    assert (found.token, found.differences) == ("t1" if before else "", ("+ firewall: table inet foo", "- firewall: table inet own"))
    device.now = seen(firewall=["table inet own"])
    said = runner("device", "check", "pi-04")
    assert said.exit_code == 0
    assert said.out.endswith("pi-04: it is as it was before its last fault\nit may be lent again\n")


def test_the_way_to_a_board_that_is_off_again_is_named(
    runner: Runner, device: FakeDevice, make_lab: Callable[..., Path], leases: Leases
) -> None:
    """To put it on and to get there, as commands that can be copied: the check leaves it off."""
    make_lab({"inventory.yaml": "devices: {board: {type: qemu-arm64}}\n"})
    device.revert = {"reverted": [], "left": ["x"]}
    said = runner("device", "check", "board")
    assert (said.exit_code, device.done[-1]) == (3, "down")
    assert "do: look at it (runner device power board on, runner device shell board), put it right, check again; or " in said.out


def test_a_device_on_a_serial_line_is_called_what_the_lab_calls_it(
    runner: Runner, device: FakeDevice, make_lab: Callable[..., Path], leases: Leases
) -> None:
    """By whoever is refused it, waits for it or has lost it, too, and not by its port, which leases are keyed by; and its shell is
    advised as it works there: one command at a time."""
    port = "serial:///dev/ttyUSB0"
    wire = "title: t\narch: native\ntransport: serial\npower: process\nloss: process_crash\n"
    inventory = f"devices: {{pump: {{type: wire, address: '{port}'}}}}\n"
    lab = str(make_lab({"inventory.yaml": inventory, "devices/wire.yaml": wire}))
    device.revert = {"reverted": [], "left": ["x"]}
    said = [runner("--lab", lab, "device", "check", "pump").out]
    assert "do: look at it (runner device power pump on, runner device shell pump -- COMMAND), put it right" in said[0]
    said.append(runner("--lab", lab, "exec", "EDGE-002", "--device", "pump").err)
    assert "pump is quarantined since " in said[1]
    with leases.living("theirs"):
        held = leases.attempt(DeviceLine(type="wire", address=port).identity("pump"), "theirs", {}, for_check=True, name="pump")
        said.append(runner("--lab", lab, "device", "check", "pump").err)
        assert "pump is held by " in said[2]
    assert isinstance(held, Lease)
    leases.leave("theirs")
    with pytest.raises(LeaseLost, match="the lease of pump was lost: ") as lost:
        held.confirm()
    assert "serial__" not in "".join([*said, str(lost.value)])


def test_an_operator_may_take_it_as_it_is(runner: Runner, device: FakeDevice, leases: Leases) -> None:
    """What differs is still said; then it is lent again, and nothing is expected of it."""
    leases.expect("pi-04", "b1", seen())
    leases.quarantine("pi-04", "t1", FOUND)
    device.now = seen(mounts=["/mnt / ext4"])
    said = runner("device", "check", "pi-04", "--accept")
    assert said.exit_code == 0
    assert "pi-04: accepted as it is now, by your word\n  + mounts: /mnt / ext4" in said.out
    assert (leases.quarantined("pi-04"), leases.expected("pi-04")) == (None, None)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ({}, ""),
        ({"mounts": ["/mnt / ext4"]}, ""),
        ({"qdiscs": ["qdisc tbf 5f10: dev data0 root"]}, "left by a fault of ours: qdisc tbf 5f10: dev data0 root"),
        ({"qdiscs": ["qdisc tbf 1: dev data0 root"]}, "data0 has a qdisc that is not ours: qdisc tbf 1: dev data0 root"),
        ({"qdiscs": ["qdisc tbf 1: dev mgmt0 root"]}, ""),
        ({"firewall": ["table ip nat"]}, "the firewall has a table that is not ours: table ip nat"),
        ({"routes": []}, "- routes: a route"),
    ],
    ids=["nothing", "a mount", "our tag", "a foreign qdisc", "on another interface", "a foreign table", "what it was quarantined for"],
)
def test_a_device_that_was_started_since_is_not_compared(
    runner: Runner, device: FakeDevice, leases: Leases, lines: dict[str, list[str]], said: str
) -> None:
    """What counts is that nothing of ours is left, nothing of others' is where our faults act, and nothing of the reason is so yet."""
    leases.expect("pi-04", "b0", seen("b0", routes=["a route"]))
    leases.quarantine("pi-04", "t1", ["- routes: a route"])
    device.now = seen(**{"routes": ["a route"], **lines})
    answer = runner("--json", "device", "check", "pi-04")
    assert (answer.exit_code, answer.json["compared"]) == (3 if said else 0, "another boot")
    assert answer.json["found"] == ([said] if said else [])
    assert (leases.quarantined("pi-04") is not None) == bool(said)


def test_somebody_else_on_a_device_that_nothing_is_held_against(runner: Runner, device: FakeDevice, leases: Leases) -> None:
    """Is said, with exit 3; it is no reason to lend the device to nobody."""
    device.now = seen(firewall=["table ip nat"])
    said = runner("device", "check", "pi-04")
    assert said.exit_code == 3
    assert "pi-04: not as it should be\n  the firewall has a table that is not ours: table ip nat" in said.out
    assert leases.quarantined("pi-04") is None


def test_what_a_dead_run_left_is_taken_back_first(runner: Runner, device: FakeDevice, leases: Leases) -> None:
    """And named; what the guard cannot get off is a difference."""
    leases.expect("pi-04", "b1", seen())
    device.revert = {"reverted": ["offline-1"], "left": []}
    said = runner("device", "check", "pi-04")
    assert (said.exit_code, "taken back: offline-1, left by a run" in said.out) == (0, True)
    leases.expect("pi-04", "b1", seen())
    device.revert = {"reverted": [], "left": ["offline-1: table inet runner_offline"]}
    said = runner("--json", "device", "check", "pi-04")
    assert said.exit_code == 3
    sentence = "a fault could not be taken back, its guard still sees: offline-1: table inet runner_offline"
    assert said.json["found"] == said.json["quarantine"]["differences"] == [sentence]


@pytest.mark.parametrize("boot", ["", "b0"], ids=["nothing expected", "another boot"])
@pytest.mark.parametrize(
    ("left", "lines", "sentence"),
    [
        (["x"], {}, "a fault could not be taken back, its guard still sees: x"),
        ([], {"qdiscs": ["qdisc tbf 5f10: dev data0 root"]}, "left by a fault of ours: qdisc tbf 5f10: dev data0 root"),
    ],
    ids=["its guard says so", "our tag"],
)
def test_what_stays_of_ours_quarantines_a_device_that_nothing_was_known_of(
    runner: Runner, device: FakeDevice, leases: Leases, boot: str, left: list[str], lines: dict[str, list[str]], sentence: str
) -> None:
    """Neither an earlier quarantine nor a fingerprint to compare with is needed for that; it says why, and is lent to no run."""
    if boot:
        leases.expect("pi-04", boot, seen(boot))
    device.revert, device.now = {"reverted": [], "left": left}, seen(**lines)
    said = runner("device", "check", "pi-04")
    assert said.exit_code == 3
    assert f"pi-04: quarantined\n  {sentence}\n  do: " in said.out
    found = leases.quarantined("pi-04")
    assert found is not None
    assert found.differences == (sentence,)
    device.revert, device.now = {"reverted": [], "left": []}, seen()
    assert runner("device", "check", "pi-04").exit_code == 0
    assert leases.quarantined("pi-04") is None


@pytest.mark.parametrize("revert", [{}, {"reverted": "text"}, {"left": {"a": 1}}], ids=["nothing", "text", "no lists"])
def test_a_supervisor_that_answers_otherwise_has_nothing_to_take_back(runner: Runner, device: FakeDevice, revert: dict[str, Any]) -> None:
    """One that answers nonsense: the fingerprint decides."""
    device.revert = revert
    assert runner("device", "check", "pi-04").exit_code == 0


@pytest.mark.parametrize(("on", "end"), [(True, "closed"), (False, "down"), (None, "down")])
def test_a_device_that_was_on_stays_on(runner: Runner, device: FakeDevice, on: bool | None, end: str) -> None:
    """One that was off, or of which nobody knows, is off in order afterwards; as it is after a run."""
    device.on = on
    runner("device", "check", "pi-04")
    assert device.done[-1] == end
    assert device.done.count("closed") == (2 if on else 1)


def test_a_device_that_cannot_be_reached_keeps_its_quarantine(
    runner: Runner, device: FakeDevice, leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 3 with the link's own words; its lease is given back."""
    leases.quarantine("pi-04", "t1", FOUND)

    async def silent(self: FakeDevice, say: Callable[[str], None]) -> FakeDevice:
        raise RemoteError("nobody answers")

    monkeypatch.setattr(FakeDevice, "bring_up", silent)
    said = runner("device", "check", "pi-04")
    assert (said.exit_code, "nobody answers" in said.err) == (3, True)
    assert leases.quarantined("pi-04") is not None
    assert (leases.every(), device.done) == ([], ["down"])


@pytest.mark.parametrize("error", [LeaseLost("lent again"), NotOurs("theirs")])
@pytest.mark.parametrize("verb", ["up", "fingerprint", "release"])
def test_somebody_elses_device_is_not_switched_off(
    runner: Runner, device: FakeDevice, monkeypatch: pytest.MonkeyPatch, verb: str, error: Exception
) -> None:
    """Whenever we hear of it, also at the very end: the ways there are closed, and that is all."""

    async def theirs(self: FakeDevice, *words: Any, **_: Any) -> dict[str, Any]:
        if verb in ("up", words[0]):
            raise error
        return {"fields": self.now} if words[0] == "fingerprint" else {}

    monkeypatch.setattr(FakeDevice, "bring_up" if verb == "up" else "ask", theirs)
    assert runner("device", "check", "pi-04").exit_code == (0 if verb == "release" else 3)
    assert device.done == {"up": ["closed"]}.get(verb, ["up", "closed", "closed"])


def test_a_held_device_is_not_checked(runner: Runner, device: FakeDevice, leases: Leases) -> None:
    """Exit 3 at once, naming the holder; nothing has moved."""
    with leases.living("mine"):
        leases.attempt("pi-04", "mine", {"user": "me", "host": "here", "pid": 7, "for": "EDGE-003", "since": "noon"})
        said = runner("device", "check", "pi-04")
    assert (said.exit_code, device.done) == (3, [])
    assert "pi-04 is held by me@here (process 7) for EDGE-003" in said.err
    assert "runner device power pi-04" in said.err


def test_a_quarantined_device_is_lent_to_no_run(runner: Runner, lab: Path, leases: Leases) -> None:
    """It says since when and why, and which command to run; nothing was made for the run."""
    leases.quarantine("local", "t1", FOUND)
    said = runner("exec", "EDGE-002", "--device", "local", "--quick")
    assert said.exit_code == 3
    assert "local is quarantined since " in said.err
    assert f"{FOUND[0]} (and 1 more)" in said.err
    assert "do: runner device check local" in said.err
    assert not (lab / "runs").exists() or not list((lab / "runs").glob("EDGE-002*"))


def test_list_and_show_say_why(runner: Runner, lab: Path, leases: Leases) -> None:
    """Of the device and of no other; to look makes no lease file."""
    assert [row["quarantine"] for row in runner("--json", "device", "list").json["devices"]] == [None, None]
    assert not leases.path.exists()
    leases.quarantine("pi-04", "t1", FOUND)
    since = leases.every_quarantine()["pi-04"].since
    lines = {line.split()[0]: line for line in runner("device", "list").out.splitlines()[1:]}
    assert lines["pi-04"].endswith(f"quarantined since {since}: + firewall: table inet foo (and 1 more)")
    assert lines["local"].endswith("free")
    said = {"since": since, "run": "t1", "differences": list(FOUND)}
    assert {row["name"]: row["quarantine"] for row in runner("--json", "device", "list").json["devices"]} == {"local": None, "pi-04": said}
    shown = runner("device", "show", "pi-04").out
    assert f"quarantined since {since}:\n  {FOUND[0]}\n  {FOUND[1]}\nnext: runner device check pi-04" in shown
    assert runner("--json", "device", "show", "pi-04").json["quarantine"] == said
    assert "quarantined" not in runner("device", "show", "local").out


def test_this_machine_for_real(runner: Runner, lab: Path, leases: Leases) -> None:
    """A supervisor is installed, asked, and gone again; what was there before and is not any more is told."""
    assert runner("device", "check", "local").exit_code == 0
    before = read(fingerprint())
    leases.expect("local", before["boot_id"], {**before, "mounts": [*before["mounts"], "/gone / ext4 /dev/gone rw rw"]})
    said = runner("device", "check", "local")
    assert said.exit_code == 3
    assert "- mounts: /gone / ext4 /dev/gone rw rw" in said.out
    assert runner("device", "check", "local", "--accept").exit_code == 0
    assert "\nlocal: off" in runner("device", "power", "local").out


def test_an_unknown_device_is_answered_with_the_nearest(runner: Runner, lab: Path) -> None:
    """Exit 2, and nothing was started."""
    said = runner("device", "check", "pi-05")
    assert (said.exit_code, "did you mean 'pi-04'?" in said.err) == (2, True)


GROUP = "/sys/fs/cgroup/memory/runner-scarce-deadbeef"


def test_a_group_that_a_dead_run_of_another_state_folder_left_is_taken_back(runner: Runner, device: FakeDevice, leases: Leases) -> None:
    """By a revert, which says which it was and lifts nothing; then by the check, which finds nothing more."""
    leases.quarantine("pi-04", "t1", [f"left by a fault of ours: {GROUP}"])
    device.strays = {"removed": [GROUP], "in_use": [], "left": []}
    reverted = runner("device", "revert", "pi-04")
    assert (reverted.exit_code, f"pi-04: {GROUP}" in reverted.out, "still quarantined" in reverted.out) == (0, True, True)
    checked = runner("device", "check", "pi-04")
    assert (checked.exit_code, f"taken back: {GROUP}, left by a run" in checked.out) == (0, True)
    assert leases.quarantined("pi-04") is None


def test_a_group_in_which_somebody_is_left_is_told_with_what_removes_it(runner: Runner, device: FakeDevice, leases: Leases) -> None:
    """Its path once, and the command; the device is quarantined, and a revert says the same."""
    told = f"{GROUP}: its maker is gone, and processes are in it; to remove it: kill 7 && rmdir {GROUP}"
    device.strays = {"removed": [], "in_use": [], "left": [told]}
    device.now = seen(cgroups=[f"{GROUP} memory.limit_in_bytes=67108864"])
    said = runner("--json", "device", "check", "pi-04")
    assert (said.exit_code, said.json["found"]) == (3, [f"left by a fault of ours: {told}"])
    reverted = runner("device", "revert", "pi-04")
    assert (reverted.exit_code, told in reverted.err) == (3, True)


def test_a_group_of_a_run_that_is_under_way_is_nobodys_leftover(runner: Runner, device: FakeDevice, leases: Leases) -> None:
    """Of another state folder on the same machine; without its word the same group quarantines the device."""
    device.now = seen(cgroups=[f"{GROUP} memory.limit_in_bytes=67108864"])
    device.strays = {"removed": [], "in_use": [GROUP], "left": []}
    assert runner("device", "check", "pi-04").exit_code == 0
    device.strays = {}
    assert runner("device", "check", "pi-04").exit_code == 3
