"""`device provision`: on this machine, over a simulated serial line, and by another way; what it says, and whom it asks."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.cli.known_device import KnownDevice
from runner.cli.main import cli
from runner.farm.lease import Leases
from runner.lab.where import state_root
from runner.model.device import DeviceLine, DeviceType, Emulation
from runner.target.drivers import Request
from runner.target.line_simulator import LineSimulator
from runner.target.transports import ssh
from runner.target.transports.local import LocalTransport

Runner = Callable[..., Any]
TYPE = "title: this machine behind a serial line\narch: native\ntransport: serial\npower: process\nloss: process_crash\nboot_limit_s: 120\n"


@pytest.fixture
def wire(tmp_path: Path, make_lab: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[LineSimulator]:
    """A lab with one device on a serial line, which is said to have 115,200 baud and is not paced; `quiet` has a network, too."""
    home = tmp_path / "home"
    home.mkdir()
    far = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(home), "PS1": "# "}
    with LineSimulator(["sh", "-i"], environment=far) as line:
        inventory = (
            f"devices:\n  local: {{type: local-process}}\n  wire: {{type: wire, address: 'serial://{line.path}?baud=115200'}}\n"
            "  quiet: {type: wire, address: 'serial:///dev/ttyUSB-none', network: 192.0.2.7, port: 2222, user: pi}\n"
        )
        root = make_lab({"inventory.yaml": inventory, "devices/wire.yaml": TYPE})
        monkeypatch.setenv("RUNNER_LAB", str(root))
        yield line


@pytest.mark.real
def test_what_was_laid_there_is_not_sent_again_and_a_run_finds_it(
    tmp_path: Path, runner: Runner, runner_process: Callable[..., Any], wire: LineSimulator
) -> None:
    """First everything goes, then nothing; an entry adds its pipelines alone; and the run that follows pushes nothing at all."""
    first = runner("--json", "device", "provision", "local").json["provisioned"]
    assert first["supervisor_bytes"] > 100_000 and first["wheels_bytes"] > 2_000_000 and first["pipelines_bytes"] == 0
    assert first["sent_bytes"] == first["supervisor_bytes"] + first["wheels_bytes"]
    again = runner("device", "provision", "local")
    assert (again.exit_code, "local: sent 0 bytes, everything is there" in again.out) == (0, True)
    entry = runner("--json", "device", "provision", "local", "--entry", "EDGE-002").json["provisioned"]
    assert (entry["supervisor_bytes"], entry["wheels_bytes"]) == (0, 0)
    assert 0 < entry["pipelines_bytes"] == entry["sent_bytes"] < 300_000
    words = ("exec", "EDGE-002", "--scenario", "recovery", "--quick")
    run = runner_process(*words, cwd=tmp_path, RUNNER_STATE=str(state_root()))
    assert run.returncode in (0, 1), run.stdout + run.stderr  # 1: a busy host is later than its limit
    assert "recovery-1" in run.stdout and "pushed" not in run.stdout and "installing" not in run.stdout


@pytest.mark.real
def test_over_a_line_size_and_time_are_said_before_anything_is_sent(runner: Runner, wire: LineSimulator) -> None:
    """The device's end, the supervisor, the wheels: each with what it takes at the line's rate. The second call says none of it."""
    done = runner("device", "provision", "wire")
    assert done.exit_code == 0, done.err
    assert "putting 17 kB through the console of wire, about 2 s at 115,200 baud" in done.out
    supervisor = re.search(r"installing the supervisor: (0\.\d MB), about", done.out)
    assert supervisor, done.out
    lacks = re.search(r"wire lacks (\d\.\d MB) of wheels: about \d min at 115,200 baud; what has arrived once is not sent again", done.out)
    assert lacks, done.out
    assert done.out.index(lacks[0]) < done.out.index(f"wire: sent {supervisor[1]} of supervisor, {lacks[1]} of wheels")
    before = sum(wire.carried_bytes)
    again = runner("--json", "device", "provision", "wire")
    assert (again.json["provisioned"]["sent_bytes"], again.json["provisioned"]["over"]) == (0, "serial")
    assert "lacks" not in again.err and "installing" not in again.err
    assert sum(wire.carried_bytes) - before < 40_000  # a login, a few questions


def test_another_way_is_taken_where_there_is_one(runner: Runner, wire: LineSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over SSH to the name that the line of the inventory gives, under the lease of the port; nothing is said of a slow line."""
    hosts: list[tuple[str, int | None, str]] = []

    def make(request: Request, power: Any) -> LocalTransport:
        endpoint = original(request, power)._find()
        hosts.append((endpoint.host, endpoint.port, endpoint.user))
        assert [held.holder["for"] for _, held in Leases(state_root()).every()] == ["device provision quiet"]
        return LocalTransport()

    original = ssh.make
    monkeypatch.setattr(ssh, "make", make)
    done = runner("device", "provision", "quiet", "--over", "ssh")
    assert (done.exit_code, hosts) == (0, [("192.0.2.7", 2222, "pi")]), done.err
    assert "baud" not in done.out and "quiet: sent" in done.out
    assert not [held for _, held in Leases(state_root()).every() if held.alive]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("local", "--over", "ssh"), "local is not reached over ssh\n  expected: one of local"),
        (("quiet", "--over", "telnet"), "Invalid value for '--over': 'telnet'"),
        (("wire", "--over", "ssh"), "do: write into inventory.yaml what it is called there: wire: { …, network: HOST }"),
        (("wire", "--entry", "EDGE-2"), "EDGE-2"),
        (("wire", "--stageflow", "1.2"), "Stageflow '1.2' is not pinned here"),
        (("wirre",), "no device is called 'wirre' (did you mean 'wire'?)"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_what_cannot_be_is_refused_before_anything_moves(runner: Runner, wire: LineSimulator, words: tuple[str, ...], said: str) -> None:
    """Exit status 2, and what would be right; nobody has opened the port."""
    done = runner("device", "provision", *words)
    assert (done.exit_code, said in done.err) == (2, True), done.err
    assert not (state_root() / "consoles").exists()


def test_a_device_that_somebody_holds_is_not_waited_for(runner: Runner, wire: LineSimulator) -> None:
    """Exit status 3, and who that is."""
    leases = Leases(state_root())
    with leases.living("theirs"):
        leases.attempt("local", "theirs", {"user": "me", "host": "here", "pid": 7, "for": "EDGE-002 in ./runs"})
        done = runner("device", "provision", "local")
    assert done.exit_code == 3
    assert "me@here (process 7) for EDGE-002 in ./runs" in done.err and "runner device power local" in done.err


def test_the_ways_to_a_device() -> None:
    """Its type's; SSH beside a serial line for a board of ours that has NICs, and for one that says its name in a network."""
    serial = DeviceType(title="x", arch="native", transport="serial", power="process", loss="process_crash")
    emulation = Emulation(machine="virt", cpu="cortex-a72", login="console")
    board = serial.model_copy(update={"power": "qemu", "arch": "aarch64", "emulation": emulation})
    without = board.model_copy(update={"emulation": emulation.model_copy(update={"machine": "raspi3b"})})
    alone = DeviceLine(type="x", address="serial:///dev/ttyUSB0")
    assert KnownDevice("x", alone, serial).transports == ("serial",)
    assert KnownDevice("x", alone.model_copy(update={"network": "pi"}), serial).transports == ("serial", "ssh")
    assert KnownDevice("x", alone, board).transports == ("serial", "ssh")
    assert KnownDevice("x", alone, without).transports == ("serial",)
    assert KnownDevice("x", alone, board).over("ssh").identity == KnownDevice("x", alone, board).identity


def test_a_network_without_a_serial_line_is_told_by_its_line(runner: Runner, make_lab: Callable[..., Path]) -> None:
    """It would never be used: `address` is what is meant."""
    root = make_lab({"inventory.yaml": "devices:\n  pi: {type: board, network: pi.local}\n", "devices/board.yaml": TYPE})
    done = runner("--lab", str(root), "device", "list")
    assert done.exit_code == 2
    assert "inventory.yaml:2: pi has a `network` and no serial line" in done.err and "do: say it as `address`" in done.err


def test_the_tab_key_knows_its_words(wire: LineSimulator) -> None:
    """Devices, ways, entries."""
    from runner.cli.completion import offered

    def tab(*words: str) -> list[str]:
        return [item.value for item in offered(cli, ["device", "provision", *words[:-1]], words[-1])]

    assert tab("") == ["local", "wire", "quiet"]
    assert tab("wire", "--over", "") == ["serial", "ssh"]
    assert "EDGE-002" in tab("wire", "--entry", "")
