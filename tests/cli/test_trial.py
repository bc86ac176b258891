"""`profile try` and `device revert`, as far as nothing moves: what is refused, with file and line, and which devices are meant."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from runner.cli.known_device import KnownDevice
from runner.farm.lease import Leases
from runner.lab.where import state_root
from runner.model.device import DeviceLine
from runner.story import scarce_trial, trial

Runner = Callable[..., Any]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gprs", "nope"), "no profile is called 'nope'"),
        (("power-cuts",), "profiles/power-cuts.yaml:4: power-cuts cuts the power, or damages what it left"),
        (("edge-003-away",), "profiles/edge-003-away.yaml:7: the scenario has no stage 'enrich'"),
        (("gprs", "narrow-64k", "--device", "qemu-pi"), "profiles/narrow-64k.yaml:6: bandwidth wants 'ingress data0', and so does"),
        (("gprs",), "bandwidth acts on a data link, and the device has none"),
        (("gprs", "--device", "qemu-py"), "no device is called 'qemu-py' (did you mean 'qemu-pi'?)"),
        (("gprs", "--for", "soon"), "'soon' is no time to hold a profile for"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_what_cannot_be_tried_is_refused_before_anything_moves(runner: Runner, words: tuple[str, ...], said: str) -> None:
    """One sentence that says where, and exit status 2."""
    done = runner("profile", "try", *words)
    assert (done.exit_code, said in done.err) == (2, True), done.err


@pytest.mark.parametrize(
    ("words", "do"),
    [
        (("gprs",), "runner profile try gprs --device qemu-pi; or on qemu-x86"),
        (("steady",), "runner profile try steady --device qemu-pi; or on qemu-x86"),
        (("cold-start",), "runner profile try cold-start --device qemu-pi; or on qemu-x86"),
        (("clock-jump-back", "--device", "local"), "runner profile try clock-jump-back --device qemu-pi; or on qemu-x86, qemu-serial"),
        (("power-cuts",), "runner profile list"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_what_this_device_cannot_have_is_tried_on_another(runner: Runner, words: tuple[str, ...], do: str) -> None:
    """`local`, as for `exec`, if nobody says which; the devices whose files allow it are named, and where none does, nothing is made up."""
    done = runner("profile", "try", *words)
    assert (done.exit_code, f"  do: {do}" in done.err) == (2, True), done.err


def test_a_plain_number_is_a_time_in_seconds(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `--for 60` is typed everywhere else; it comes to the trial as it was meant."""
    asked: list[float] = []

    async def try_out(request: Any, identity: str, link: Any, faults: Any, for_s: float, *_: Any) -> trial.Tried:
        asked.append(for_s)
        return trial.Tried()

    monkeypatch.setattr(trial, "try_out", try_out)
    runner("profile", "try", "gprs", "--for", "60", "--device", "qemu-pi")
    assert asked == [60.0]


def test_what_is_measured_again_is_said_again_only_where_it_is_judged_otherwise(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local trial of ten seconds printed the same table ten times. Where nothing was asked a line says it."""

    def row(measured: str, within: bool) -> dict[str, Any]:
        return {"what": "limit of memory", "asked": "64.0 MiB", "measured": measured, "tolerance": "", "within": within}

    async def try_scarce(*words: Any) -> trial.Tried:
        tell = words[5]
        tell("before", [{"what": "control groups", "measured": "cpu (v2)"}, {"what": "wall clock", "measured": "1 s"}])
        for measured, within in (("64.0 MiB", True), ("64.1 MiB", True), ("90.0 MiB", False), ("91.0 MiB", False), ("64.2 MiB", True)):
            tell("during", [row(measured, within)])
        tell("after", [row("gone", True)])
        return trial.Tried(words=["64 MiB"], rows={"during": [row("64.2 MiB", True)], "after": [row("gone", True)]})

    monkeypatch.setattr(scarce_trial, "try_scarce", try_scarce)
    said = runner("profile", "try", "memory-64m").out.splitlines()
    assert said[1] == "before: control groups cpu (v2); wall clock 1 s"
    told = [line.split()[5:] for line in said if line.startswith("limit of memory  64.0 MiB")]
    assert told == [["64.0", "MiB", "ok"], ["90.0", "MiB", "OUTSIDE"], ["64.2", "MiB", "ok"], ["gone", "ok"]]
    assert said[-2:] == ["local: 64 MiB", "reached, reverted: the device is as it was"]


@pytest.mark.parametrize("capabilities", [[], None], ids=["none", "not said"])
def test_what_the_very_device_cannot_do_is_refused_by_the_profiles_line(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, capabilities: list[str] | None
) -> None:
    """Only the device itself knows; it was asked, and nothing of the profile was touched."""

    @contextlib.asynccontextmanager
    async def bench(*_: Any) -> AsyncIterator[Any]:
        yield SimpleNamespace(session=SimpleNamespace(hello={"capabilities": capabilities}))

    async def hold_one(*_: Any) -> trial.Tried:
        raise AssertionError("held")

    monkeypatch.setattr(trial, "bench", bench)
    monkeypatch.setattr(trial, "hold_one", hold_one)
    said = runner("profile", "try", "flapping", "--device", "qemu-pi")
    assert (said.exit_code, "profiles/flapping.yaml:6: " in said.err) == (2, True), said.err


@pytest.mark.parametrize("words", [("profile", "try", "gprs", "--device"), ("device", "revert")], ids=["try", "revert"])
def test_a_trial_and_a_revert_say_that_they_wait(runner: Runner, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    """Again and again: a board boots meanwhile, and a slow link takes minutes to be measured."""
    due: list[float] = []

    def soon(elapsed_s: float, *, rewritten: bool) -> float:
        due.append(elapsed_s)
        return elapsed_s + 0.01

    async def slow(*_: Any) -> Any:
        async with asyncio.timeout(20):
            while len(due) < 4:
                await asyncio.sleep(0.01)
        return trial.Tried() if words[0] == "profile" else []

    monkeypatch.setattr("runner.cli.waiting.next_due_s", soon)
    monkeypatch.setattr(trial, "try_out", slow)
    monkeypatch.setattr(trial, "revert", slow)
    assert runner(*words, "qemu-pi").err.count("waiting for qemu-pi to answer") > 1


def test_a_link_that_carries_less_than_before_says_what_to_do(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of the device is as before then, or it would be quarantined: the host may have been busy."""

    async def try_out(*_: Any) -> trial.Tried:
        return trial.Tried(rows={"during": [{"within": True}], "after": [{"within": False}]})

    monkeypatch.setattr(trial, "try_out", try_out)
    done = runner("profile", "try", "gprs", "--device", "qemu-pi")
    assert done.exit_code == 3
    assert "reached, taken back, and the device's state is as before, but its link DOES NOT CARRY what it did" in done.out
    assert done.out.endswith("next: runner device check qemu-pi, and try again on a less busy machine\n")


@pytest.mark.parametrize(
    ("words", "purpose", "do"),
    [
        (("profile", "try", "gprs"), "to hold a profile for", "runner help profile try"),
        (("device", "power", "qemu-pi", "on"), "to stay on", "runner help device power"),
    ],
    ids=["try", "power"],
)
def test_a_wrong_time_is_answered_in_the_words_of_the_command(runner: Runner, words: tuple[str, ...], purpose: str, do: str) -> None:
    """What the time is for, and where this command's option is explained: not another's."""
    said = runner("--json", *words, "--for", "soon")
    error = said.json["error"]
    assert (said.exit_code, error["found"], error["do"]) == (2, f"'soon' is no time {purpose}", do)
    assert runner(*do.split()[1:]).exit_code == 0


def test_a_profile_that_also_cuts_the_power_is_not_tried(runner: Runner, make_lab: Callable[..., Any]) -> None:
    """A trial has no pipeline that could survive it."""
    mixed = "title: t\nsevers: [power, data]\nfaults:\n  - {fault: offline, for_s: 5}\n  - {fault: power_cut, points: [random]}\n"
    lab = make_lab({"inventory.yaml": "devices: {pi: {type: qemu-arm64}}\n", "profiles/mixed.yaml": mixed})
    done = runner("--lab", str(lab), "profile", "try", "mixed", "--device", "pi")
    assert done.exit_code == 2
    assert "mixed.yaml:3: mixed cuts the power" in done.err


@pytest.mark.parametrize("words", [(), ("qemu-pi", "--all")], ids=["neither", "both"])
def test_a_revert_is_of_one_device_or_of_all(runner: Runner, words: tuple[str, ...]) -> None:
    """Whoever says neither, or both, is asked."""
    done = runner("device", "revert", *words)
    assert (done.exit_code, "one device, or --all of them" in done.err) == (2, True)


@pytest.fixture
def reverted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices that were looked at; nothing was left on any of them, and `on` is on."""
    found: list[str] = []

    async def nothing_left(request: Any, *_: Any) -> list[Any]:
        found.append(request.name)
        return []

    async def status(device: KnownDevice) -> dict[str, Any]:
        return {"on": {"on": True, "unknown": None}.get(device.name, False)}

    monkeypatch.setattr(trial, "revert", nothing_left)
    monkeypatch.setattr("runner.cli.power.status", status)
    return found


@pytest.fixture
def boards(make_lab: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that cannot be used, and boards that are off and on."""
    pi = "pi: {type: raspberry-pi-4, data_link: {interface: eth0, far_end: 192.0.2.1}}"
    boards = "".join(f"  {name}: {{type: qemu-arm64}}\n" for name in ("off", "on", "unknown"))
    monkeypatch.setenv("RUNNER_LAB", str(make_lab({"inventory.yaml": f"devices:\n  {pi}\n{boards}"})))


@pytest.mark.usefixtures("boards")
def test_a_board_that_is_off_is_not_put_on_for_nothing(runner: Runner, reverted: list[str]) -> None:
    """By `--all`, which says so, as it does of a device that cannot be used; named, it is looked at. To look makes no lease file."""
    done = runner("device", "revert", "--all")
    assert (done.exit_code, reverted) == (0, ["on", "unknown"])
    assert "off: off, and nothing of ours is known to be left; to look all the same: runner device revert off\n" in done.out
    assert "raspberry-pi-4.yaml:6: pi cannot be used: no power driver is called 'relay'\n" in done.out
    assert not Leases(state_root()).path.exists()
    assert [row.get("looked") for row in runner("--json", "device", "revert", "--all").json["devices"]] == [False, False, True, True]
    reverted.clear()
    assert "off: nothing was left" in runner("device", "revert", "off").out
    assert reverted == ["off"]


def test_a_device_without_a_data_link_is_looked_at_too(runner: Runner, make_lab: Callable[..., Any], reverted: list[str]) -> None:
    """Heat, or what it has too little of, needs no link."""
    lab = make_lab({"inventory.yaml": "devices: {on: {type: local-process}}\n"})
    assert (runner("--lab", str(lab), "device", "revert", "--all").exit_code, reverted) == (0, ["on"])


@pytest.mark.usefixtures("boards")
@pytest.mark.parametrize(
    "leave",
    [
        lambda leases, device: leases.attempt(device, f"a process that was killed with {device}", {}),
        lambda leases, device: leases.began("t1", device, state_root(), "a lease"),
        lambda leases, device: leases.expect(device, "b1", {}),
        lambda leases, device: leases.quarantine(device, "t1", ["+ firewall: table inet foo"]),
    ],
    ids=["leased", "unfinished", "expected", "quarantined"],
)
def test_a_board_on_which_something_may_be_left_is_put_on(
    runner: Runner, reverted: list[str], leave: Callable[[Leases, str], object]
) -> None:
    """Whatever the lease file knows it by. A device that cannot be used, and may have something left, is a failure of the lab."""
    leave(Leases(state_root()), "off")
    assert (runner("device", "revert", "--all").exit_code, reverted) == (0, ["off", "on", "unknown"])
    leave(Leases(state_root()), "pi")
    assert runner("device", "revert", "--all").exit_code == 3


@pytest.mark.parametrize("found", [("+ firewall: table inet foo", "- routes: default"), ()], ids=["quarantined", "as it should be"])
def test_a_revert_says_that_a_quarantine_stays(
    runner: Runner, make_lab: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, found: tuple[str, ...]
) -> None:
    """Since when and why, and what to type for that very device; of one that nothing stands against, no word."""

    async def nothing_left(request: Any, identity: str, is_on: Any) -> list[Any]:
        assert await is_on() is False  # so it is off again afterwards
        return []

    monkeypatch.setattr(trial, "revert", nothing_left)
    lab = str(make_lab({"inventory.yaml": "devices: {yard: {type: local-process}}\n"}))
    identity = DeviceLine(type="local-process").identity("yard")
    if found:
        Leases(state_root()).quarantine(identity, "t1", found)
    done = runner("--lab", lab, "device", "revert", "yard")
    assert (done.exit_code, "yard: nothing was left" in done.out) == (0, True)
    assert ("yard: still quarantined since" in done.out, "next: runner device check yard" in done.out) == (bool(found), bool(found))
    (row,) = runner("--json", "--lab", lab, "device", "revert", "yard").json["devices"]
    assert (row["quarantine"] or {}).get("differences", []) == list(found)
