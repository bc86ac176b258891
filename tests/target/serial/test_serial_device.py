"""A device of the inventory whose address is a port: how it is known, made live, looked at, and what is said of its slowness."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.cli.known_device import KnownDevice
from runner.errors import AskError
from runner.farm.lease import Leases
from runner.lab.where import state_root
from runner.model.device import DeviceLine, DeviceType
from runner.target.drivers import Request, make_target
from runner.target.line_simulator import LineSimulator
from runner.target.rate import lacking, rate_of
from runner.target.serial.console_log import KEPT_BYTES, ConsoleLog, console_folder, console_path
from runner.target.target import Target
from runner.target.transports.base import Completed
from runner.target.transports.local import LocalTransport
from runner.target.transports.serial import SerialTransport

ADDRESS = "serial:///dev/serial/by-id/usb-FTDI_A50285BI?baud=9600"
TYPE = "title: behind a wire\narch: native\ntransport: serial\npower: process\nloss: process_crash\n"


def made(address: str, tmp_path: Path, clock: Any) -> Target:
    kind = DeviceType(title="behind a wire", arch="native", transport="serial", power="process", loss="process_crash")
    line = DeviceLine(type="wire", address=address)
    request = Request("wire", line, kind, tmp_path / "state", tmp_path / "cache", tmp_path / "witness", clock, print)
    return asyncio.run(make_target(request))


def test_a_port_makes_a_serial_transport(tmp_path: Path, clock: Any) -> None:
    """Nothing is opened yet; the rate of the line is known."""
    transport = made(ADDRESS, tmp_path, clock).transport
    assert isinstance(transport, SerialTransport)
    assert transport.rate == (pytest.approx(960 * 0.95), "9,600 baud")


def test_another_address_is_refused(tmp_path: Path, clock: Any) -> None:
    """A type that is reached over a serial line needs a port."""
    with pytest.raises(AskError, match="no address of a serial port"):
        made("pi-04.local", tmp_path, clock)


def test_a_device_is_known_by_its_port_and_not_by_its_baud_rate() -> None:
    """One lease for one port, however its line is written; a device of a network keeps its own."""
    lines = [DeviceLine(type="wire", address=address) for address in (ADDRESS, ADDRESS.replace("9600", "115200"))]
    assert {line.identity("a") for line in lines} == {"serial____dev_serial_by-id_usb-FTDI_A50285BI"}
    assert DeviceLine(type="x", address="pi-04").identity("a") == "pi-04-22"


def test_what_takes_long_is_said_with_its_size_and_its_time(tmp_path: Path, clock: Any) -> None:
    """By kinds; minutes and seconds, of what deflate makes of it; over a network that is no matter, and not said."""
    target, wheels, text = made(ADDRESS.replace("9600", "115200"), tmp_path, clock), os.urandom(2_900_000), b"as: before\n" * 20_000
    said = lacking(target.transport, "wire", {"wheels": [wheels], "pipelines": [text]}, "advice")
    assert said == "wire lacks 2.9 MB of wheels and 0.2 MB of pipelines: about 4 min at 115,200 baud; advice"
    assert lacking(target.transport, "wire", {"wheels": [], "pipelines": [text]}, "advice") == (
        "wire lacks 0.2 MB of pipelines: about 1 s at 115,200 baud; advice"
    )
    assert target.takes(wheels[:90_000]) == ": 90 kB, about 8 s at 115,200 baud"
    assert lacking(target.transport, "wire", {"wheels": [], "pipelines": []}, "advice") == ""
    target.transport = LocalTransport()
    assert lacking(target.transport, "wire", {"wheels": [wheels]}, "advice") == target.takes(wheels) == ""


def test_a_supervisor_has_the_time_that_its_line_takes(tmp_path: Path, clock: Any) -> None:
    """At 9600 baud it takes minutes: nobody gives up before; over a network the limit is what it was."""
    limits: list[float] = []

    class Noting(LocalTransport):
        async def run(self, argv: Sequence[str], *, input: bytes = b"", timeout_s: float = 60.0) -> Completed:
            limits.append(timeout_s)
            return Completed(0, b"", b"")

    for address in (ADDRESS, ""):
        target = made(ADDRESS, tmp_path, clock)
        rate, target.transport = rate_of(target.transport), Noting()
        if address:
            target.transport.rate = rate
        asyncio.run(target.install("/file", os.urandom(100_000), 0o600))
    assert limits == [pytest.approx(60 + 2 * 100_000 / 912, rel=0.01), 60.0]


def test_the_console_log_is_bounded_and_of_two_files(tmp_path: Path) -> None:
    """What is older than the last some megabytes is gone; a disk that cannot be written costs nothing else."""
    log = ConsoleLog(tmp_path)
    for _ in range(5):
        log(b"x" * (KEPT_BYTES // 2 + 1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["console.log", "console.log.1"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 3 * KEPT_BYTES
    ConsoleLog(tmp_path / "nowhere")(b"lost")


@pytest.fixture
def lab(make_lab: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    root = make_lab({"inventory.yaml": f"devices:\n  wire: {{ type: wire, address: '{ADDRESS}' }}\n", "devices/wire.yaml": TYPE})
    monkeypatch.setenv("RUNNER_LAB", str(root))
    return root


def test_what_was_heard_is_shown_by_device_console(runner: Callable[..., Any], lab: Path) -> None:
    """As an emulated board's console is; before anything was heard, the command that hears something is named."""
    said = runner("--json", "device", "console", "wire", "--once")
    assert (said.exit_code, said.json["error"]["do"]) == (3, "runner exec EDGE-002 --device wire --quick")
    folder = console_folder(state_root(), "wire")
    assert folder / "console.log" == console_path(state_root(), "wire")
    ConsoleLog(folder)(b"\x1b[31mboard login: ")
    assert runner("device", "console", "wire", "--once").out == "board login: \n"


@pytest.fixture
def boards(make_lab: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A lab with two emulated boards behind lines, one of them without a network; what their keepers answer."""
    inventory = "devices:\n  uart: { type: qemu-serial-uart }\n  raspi: { type: qemu-raspi3b }\n"
    monkeypatch.setenv("RUNNER_LAB", str(make_lab({"inventory.yaml": inventory})))
    facts = {"on": True, "port": 0, "frozen": False, "lease_left_s": 9.0, "power_ons": 1, "accelerator": "tcg", "on_since": {"wall_s": 1.0}}

    async def board_facts(self: KnownDevice) -> dict[str, Any]:
        return facts

    monkeypatch.setattr(KnownDevice, "board_facts", board_facts)
    return facts


def test_what_was_heard_over_an_emulated_boards_line_is_shown_by_device_console(runner: Callable[..., Any], boards: dict[str, Any]) -> None:
    """It may be another line than the one on which QEMU writes what the kernel says, and has no packets in it."""
    board = state_root() / "boards" / "uart"
    board.mkdir(parents=True)
    (board / "console.log").write_text("Linux version 6.1\n")
    said = runner("--json", "device", "console", "uart", "--once")
    assert (said.exit_code, said.json["error"]["do"]) == (3, "runner exec EDGE-002 --device uart --quick")
    ConsoleLog(console_folder(state_root(), "uart"))(b"board login: ")
    assert runner("device", "console", "uart", "--once").out == "board login: \n"


def test_a_board_without_a_network_is_not_offered_ssh(runner: Callable[..., Any], boards: dict[str, Any]) -> None:
    """Neither by its power, nor by a shell, nor for what is laid there beforehand; one that has it is."""
    said = runner("device", "power", "raspi").out
    assert "on, reached over its serial line alone" in said and "SSH" not in said
    assert "SSH at 127.0.0.1" in runner("device", "power", "uart").out
    said = runner("device", "shell", "raspi")
    assert said.exit_code == 2 and "serial line" in said.err
    said = runner("device", "provision", "raspi", "--over", "ssh")
    assert said.exit_code == 2 and "raspi is not reached over ssh" in said.err


@pytest.mark.real
def test_one_command_goes_over_the_line(
    runner: Callable[..., Any], make_lab: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its output, its errors and its exit status, under the lease of the port: while somebody has that, he is named."""
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path), "PS1": "# "}
    with LineSimulator(["sh", "-i"], environment=environment) as line:
        inventory = f"devices:\n  wire: {{ type: wire, address: 'serial://{line.path}' }}\n"
        monkeypatch.setenv("RUNNER_LAB", str(make_lab({"inventory.yaml": inventory, "devices/wire.yaml": TYPE})))
        said = runner("device", "shell", "wire", "--", "sh", "-c", "echo out; echo 'two  words' >&2; exit 7")
        assert (said.exit_code, said.out) == (7, "out\n") and said.err.endswith("two  words\n")
        assert runner("device", "shell", "wire", "--", "sh", "-c", "kill -9 $$").exit_code == 128 + 9
        leases, identity = Leases(state_root()), DeviceLine(type="wire", address=f"serial://{line.path}").identity("wire")
        with leases.living("theirs"):
            leases.attempt(identity, "theirs", {"user": "me", "host": "here", "pid": 7, "for": "EDGE-002 in ./runs"})
            said = runner("device", "shell", "wire", "--", "true")
        assert said.exit_code == 3 and "me@here (process 7) for EDGE-002" in said.err and "runner device console wire" in said.err


@pytest.mark.parametrize("verb", ["shell", "trust"])
def test_what_wants_a_network_says_so(runner: Callable[..., Any], lab: Path, verb: str) -> None:
    """A serial line has no SSH server and no host key; its shell runs commands, and is not one to type into."""
    said = runner("device", verb, "wire")
    assert said.exit_code == 2
    assert "serial line" in said.err or "no `address` of a network" in said.err
