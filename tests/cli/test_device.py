"""`device list`, `shell`, `console`, `power`: who holds what, by which words another program is started, what is looked at, and under
whose lease one acts."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import EntryPoint
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.cli.device_words import groups
from runner.cli.known_device import KnownDevice, known_device
from runner.cli.output import Output
from runner.cli.power import seconds
from runner.cli.shell import SHOWN_BYTES, Console, ssh_words
from runner.errors import AskError
from runner.farm.lease import Leases, lent
from runner.lab.where import Lab, find_lab, state_root
from runner.model.device import DeviceLine, DeviceType
from runner.story.plan import Asked, make_plan
from runner.target import drivers
from runner.target.conformance import AWKWARD
from runner.target.transports.base import Endpoint

Runner = Callable[..., Any]
KEY, OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB"
REAL = """
title: a board somewhere
arch: aarch64
transport: ssh
power: process
loss: process_crash
"""


@pytest.fixture
def lab(make_lab: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine, an emulated board, one that is reached over a network, and the same under another name."""
    inventory = """
devices:
  local: { type: local-process }
  qemu-pi: { type: qemu-arm64 }
  pi-04: { type: real-board, address: 192.0.2.4, port: 2222, user: pi }
  pi-05: { type: real-board, address: -oProxyCommand=id }
"""
    root = make_lab({"inventory.yaml": inventory, "devices/real-board.yaml": REAL})
    monkeypatch.setenv("RUNNER_LAB", str(root))
    return root


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The argument lists that would have taken this process's place, the current folder first."""
    found: list[list[str]] = []

    def execvp(program: str, words: list[str]) -> None:
        assert program == words[0]
        found.append([os.getcwd(), *words])
        raise SystemExit(0)

    monkeypatch.setattr("runner.cli.shell.os.execvp", execvp)
    return found


@pytest.fixture
def board(lab: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the keeper of qemu-pi answers; a board that is on, until a test says otherwise."""
    facts: dict[str, Any] = {
        "on": True, "port": 40022, "last_end": "", "on_since": {"wall_s": 1.0, "boottime_s": 1.0}, "power_ons": 1, "lease_left_s": 98.4,
        "accelerator": "tcg", "frozen": False,
    }  # fmt: skip

    async def board_facts(self: KnownDevice) -> dict[str, Any] | None:
        return facts or None

    monkeypatch.setattr(KnownDevice, "board_facts", board_facts)
    folder = state_root() / "boards" / "qemu-pi"
    folder.mkdir(parents=True)
    (folder / "host_key.pub").write_text(f"{KEY} qemu-pi host_key\n")
    (folder / "client_key").write_text("")
    return facts


def options(words: list[str]) -> dict[str, str]:
    """The -o options of an ssh command line."""
    return dict(after.split("=", 1) for before, after in pairwise(words) if before == "-o")


# ---- list -----------------------------------------------------------------------------------------------------------------


def test_the_list_says_what_is_free_and_who_holds_the_rest(runner: Runner, lab: Path) -> None:
    """By identity: a device is held whatever another lab calls it. Of a holder that was killed nothing is said."""
    leases = Leases(state_root())
    with leases.living("mine"):
        leases.attempt("192.0.2.4-2222", "mine", {"user": "me", "host": "here", "pid": 7, "for": "EDGE-002 in ./runs", "since": "2026"})
        held, said = rows(runner), runner("device", "list")
    me = "me@here (process 7) for EDGE-002 in ./runs"
    assert [line.split("  ")[-1].strip() for line in said.out.splitlines()[1:]] == ["held by", "free", "free", me, "free"]
    assert held.pop("pi-04")["lease"] == {"holder": me, "since": "2026", "fence": 1}
    assert {row["lease"] for row in held.values()} == {None}
    leases.attempt("qemu-pi", "a process that was killed", {"user": "somebody"})
    assert [held.alive for _, held in leases.every()] == [False, False]
    assert {row["lease"] for row in rows(runner).values()} == {None}


def rows(runner: Runner) -> dict[str, Any]:
    return {row["name"]: row for row in runner("--json", "device", "list").json["devices"]}


@pytest.fixture
def half(make_lab: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lab of which one device, the first, has a type whose drivers nobody has."""
    wrong = REAL.replace("transport: ssh", "transport: shh").replace("power: process", "power: proces")
    link = "data_link: { interface: eth0, far_end: 192.0.2.1 }"
    inventory = f"devices:\n  pi-04: {{ type: big-board, {link} }}\n  local: {{ type: local-process }}\n  qemu-pi: {{ type: qemu-arm64 }}\n"
    root = make_lab({"inventory.yaml": inventory, "devices/big-board.yaml": wrong})
    monkeypatch.setenv("RUNNER_LAB", str(root))
    return root


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("device", "list"), 0),
        (("device", "show", "pi-04"), 0),
        (("doctor",), 0),
        *(
            ((*words, "pi-04"), 2)
            for words in (
                ("device", "check"), ("device", "revert"), ("device", "provision"), ("device", "shell"), ("device", "power"),
                ("exec", "EDGE-002", "--device"), ("profile", "try", "gprs", "--device"), ("entry", "check", "EDGE-002", "--device"),
                ("entry", "brief", "EDGE-002", "--device"),
            )
        ),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)  # fmt: skip
def test_a_driver_that_nobody_has_is_told_by_whatever_shows_or_wants_the_device(
    runner: Runner, half: Path, words: tuple[str, ...], code: int
) -> None:
    """With the file's line, what may stand there and the nearest, both drivers at once, and what to do."""
    said = runner(*words)
    assert said.exit_code == code
    text = said.out + said.err
    expected = "expected: one of local, serial, ssh\n"
    assert f"big-board.yaml:4: pi-04 cannot be used: no transport driver is called 'shh' (did you mean 'ssh'?)\n  {expected}" in text
    assert "big-board.yaml:5: pi-04 cannot be used: no power driver is called 'proces' (did you mean 'process'?)\n" in text
    assert f"do: {half}/inventory.yaml:2 names that type: take another one, or add such a driver (CONTRIBUTING.md)\n" in text


@pytest.mark.parametrize(
    "words", [("device", "show", "local"), ("exec", "EDGE-002", "--dry-run"), ("entry", "check", "EDGE-003")], ids=" ".join
)
def test_a_driver_that_nobody_has_keeps_no_other_device_from_being_used(runner: Runner, half: Path, words: tuple[str, ...]) -> None:
    """Nothing is said of it, either: an entry that wants a data link is planned for the next device that has one."""
    said = runner(*words)
    assert (said.exit_code, "cannot be used" in said.out + said.err) == (0, False)


def test_a_device_that_cannot_be_used_is_in_every_list(runner: Runner, half: Path) -> None:
    """Beside those that can, for a person and for a program; the doctor calls the lab sound."""
    lines = runner("device", "list").out.splitlines()
    assert [line.split("  ")[-1].strip() for line in lines[2:5]] == ["cannot be used", "free", "free"]
    assert {name: len(row["unusable"]) for name, row in rows(runner).items()} == {"pi-04": 2, "local": 0, "qemu-pi": 0}
    assert len(runner("--json", "device", "show", "pi-04").json["unusable"]) == 2
    (lab,) = [row["state"] for row in runner("--json", "doctor").json["facts"] if row["what"] == "lab"]
    assert (lab.startswith("sound: "), lab.endswith("; cannot be used: pi-04")) == (True, True)


@pytest.mark.parametrize("words", [("list",), ("show", "a")], ids=" ".join)
def test_an_address_of_this_machine_is_told(runner: Runner, make_lab: Callable[..., Path], words: tuple[str, ...]) -> None:
    """Somebody who writes one means another machine, and the run would be on this one."""
    root = make_lab({"inventory.yaml": "devices:\n  a:\n    type: local-process\n    address: 192.0.2.4\n"})
    said = runner("--lab", str(root), "device", *words)
    assert said.exit_code == 2
    assert "inventory.yaml:4: a has an address, and its type 'local-process' is this machine\n  expected: no address\n" in said.err


def test_a_list_that_is_remembered_knows_when_somebody_elses_driver_is_gone(
    runner: Runner, make_lab: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are the same as before, and the package that brought the driver was removed."""
    outside = REAL.replace("transport: ssh", "transport: telnet")
    root = make_lab({"inventory.yaml": "devices:\n  pi-04: { type: big-board }\n", "devices/big-board.yaml": outside})
    point = EntryPoint("telnet", "somewhere:make", "stageflow_runner.transports")
    with monkeypatch.context() as installed:
        installed.setattr(drivers, "entry_points", lambda group: [point] if group == point.group else [])
        assert ["cannot be used" in runner("--lab", str(root), "device", "list").out for _ in range(2)] == [False, False]
    assert "no transport driver is called 'telnet'" in runner("--lab", str(root), "device", "list").out


def test_a_device_is_shown_in_words(runner: Runner, lab: Path) -> None:
    """With units, in groups, each under the line that says it, heat under that of the type which it is like. Nothing of it is Python;
    a program gets the values."""
    said = runner("device", "show", "qemu-pi").out
    assert "\nqemu-pi: emulated arm64 board " in said
    assert "/inventory.yaml:4\n  type          qemu-arm64\ntype: built-in devices/qemu-arm64.yaml\n  architecture  aarch64\n" in said
    assert "  data link     data0, to the far end at 10.77.0.1; what manages the device goes another way\n" in said
    assert "  limits        boots within 120 s; a stage may take 300 s\n" in said
    assert "\nheat, like raspberry-pi-4: built-in devices/raspberry-pi-4.yaml:10\n  takes         3.91 W idle, " in said
    assert not set("{}[]'") & set(said.partition("\n")[2])
    assert "heat" not in runner("device", "show", "local").out
    assert runner("--json", "device", "show", "qemu-pi").json["device"]["data_link"]["one_path"] is False


def test_all_that_a_lab_says_of_a_device_is_shown() -> None:
    """Each value of each field there is, and both flags."""
    link = {"interface": "eth1", "far_end": "192.0.2.1"}
    line = DeviceLine.model_validate({
        "type": "mine", "address": "192.0.2.4", "network": "pump.lan", "port": 2222, "user": "pi", "tags": ["roof", "north"],
        "data_link": {"interface": "eth2", "far_end": "192.0.2.2"},
    })  # fmt: skip
    fan = {"board_to_air_k_w": 1.8, "steps": [{"at_c": 51, "percent": 31}], "hysteresis_k": 5.5}
    thermal = {
        "die_j_k": 3.3, "board_j_k": 41, "die_to_board_k_w": 4.03, "board_to_air_k_w": 5.55, "idle_w": 3.91, "busy_w": 1.59,
        "exponent": 1.2, "full_mhz": 1500, "steps": [{"at_c": 80.5, "mhz": 1000, "word": "capped"}], "hysteresis_k": 2.2, "critical_c": 99,
        "fan": fan, "sensor": "/a/sensor", "clock": "/a/clock", "throttled": "/a/flags",
        "firmware_limit": {"file": "/sys/a/limit", "full": 1501, "least": 602},
    }  # fmt: skip
    made = {
        "machine": "virt", "cpu": "a72", "cpus": 3, "memory_mib": 513, "data_disk_mib": 257, "accelerators": ["kvm", "tcg"],
        "login": "second",
    }  # fmt: skip
    found = DeviceType.model_validate({
        "title": "a board", "arch": "armv7l", "transport": "ssh", "power": "relay", "loss": "power_loss", "boot_limit_s": 121,
        "stage_timeout_s": 301, "data_link": link, "emulation": made, "size": {"memory_mib": 1025, "cpus": 5}, "shared": True,
        "thermal": thermal,
    })  # fmt: skip
    text = "\n".join(words for rows in groups(line, found) for _, words in rows)
    lacking = [value for value in [*leaves(line.model_dump()), *leaves(found.model_dump(exclude={"title"}))] if value not in text]
    assert lacking == []
    for flag in ({"shared": False}, {"data_link": {**link, "one_path": True}}):
        other = DeviceType.model_validate({**found.model_dump(), **flag})
        assert groups(line, other) != groups(line, found)


def leaves(value: Any) -> Iterator[str]:
    """Each text and number inside of a value, as a person reads it."""
    if isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from leaves(inner)
    elif value is not None and not isinstance(value, bool):
        yield f"{value:g}" if isinstance(value, float) else str(value)


# ---- shell ----------------------------------------------------------------------------------------------------------------


def test_an_emulated_board_is_met_with_its_own_keys_alone(runner: Runner, board: dict[str, Any], started: list[list[str]]) -> None:
    """The key that we made for it and no other; none of the user's configuration, keys or agent."""
    assert runner("device", "shell", "qemu-pi").exit_code == 0
    ((_, *words),) = started
    said = options(words)
    known = Path(said["UserKnownHostsFile"].strip('"'))
    assert known.read_text() == f"{said['HostKeyAlias']} {KEY}\n"
    assert stat.S_IMODE(known.stat().st_mode) == 0o600
    assert stat.S_IMODE(known.parent.stat().st_mode) == 0o700
    assert {said[key] for key in ("StrictHostKeyChecking", "IdentitiesOnly")} == {"yes"}
    assert {said[key] for key in ("IdentityAgent", "GlobalKnownHostsFile")} == {"none"}
    assert words[words.index("-F") + 1] == "none"
    assert words[-6:] == ["-p", "40022", "-l", "root", "--", "127.0.0.1"]


def test_a_device_must_show_the_pinned_key(runner: Runner, lab: Path, started: list[list[str]]) -> None:
    """At the inventory's address, port and user; what the user's own configuration says holds for the rest."""
    pin = state_root() / "pins" / "pi-04.pub"
    pin.parent.mkdir(parents=True)
    pin.write_text(f"{KEY}\n")
    runner("device", "shell", "pi-04")
    ((_, *words),) = started
    assert Path(options(words)["UserKnownHostsFile"].strip('"')).read_text() == f"runner-pi-04 {KEY}\n"
    assert words[-6:] == ["-p", "2222", "-l", "pi", "--", "192.0.2.4"]
    assert "-F" not in words


def test_without_a_pin_the_users_own_known_hosts_decides(runner: Runner, lab: Path, started: list[list[str]]) -> None:
    """Still strictly: a key that nobody knows is refused, never trusted on first use. An address is never an option."""
    runner("device", "shell", "pi-05")
    ((_, *words),) = started
    assert words == ["ssh", "-o", "StrictHostKeyChecking=yes", "--", "-oProxyCommand=id"]


@pytest.mark.parametrize("dashes", [(), ("--",)], ids=["bare", "dashes"])
def test_a_command_goes_there_word_by_word(
    runner: Runner, board: dict[str, Any], started: list[list[str]], dashes: tuple[str, ...]
) -> None:
    """With or without -- in front, options and blanks included; ssh takes none of them for itself."""
    runner("device", "shell", "qemu-pi", *dashes, "ls", "-l", "--help", "two words; $(id)")
    ((_, *words),) = started
    assert words[-3:] == ["--", "127.0.0.1", "ls -l --help 'two words; $(id)'"]


def test_a_board_that_is_off_says_how_to_put_it_on(runner: Runner, board: dict[str, Any], started: list[list[str]]) -> None:
    """Off with a keeper, and without one: exit 3 and the next command."""
    for change in ({"on": False}, None):
        board.update(change) if change else board.clear()
        said = runner("device", "shell", "qemu-pi")
        assert (said.exit_code, started) == (3, [])
        assert "do: runner device power qemu-pi on" in said.err


def test_on_this_machine_it_is_the_users_own_shell(
    runner: Runner, lab: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the device's folder, with a sentence that says so; a command is run without one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHELL", "/bin/some-shell")
    said = runner("device", "shell", "local")
    assert (said.exit_code, started) == (3, [])
    assert "do: runner exec EDGE-002 --device local" in said.err
    folder = state_root() / "local" / "local"
    folder.mkdir(parents=True)
    said = runner("device", "shell", "local")
    assert "local is this machine" in said.err
    assert runner("device", "shell", "local", "--", "ls", "-l").err == ""
    assert started == [[str(folder), "/bin/some-shell"], [str(folder), "ls", "-l"]]


def test_a_program_that_is_not_there_is_a_sentence(runner: Runner, board: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without ssh is told what to install."""
    monkeypatch.setenv("PATH", "/nowhere")
    said = runner("device", "shell", "qemu-pi")
    assert said.exit_code == 3
    assert "ssh cannot be started" in said.err
    assert "do: apt-get install openssh-client" in said.err


def test_a_shell_is_nothing_for_a_program(runner: Runner, lab: Path, started: list[list[str]]) -> None:
    """--json promises one object, which nobody can keep here: exit 2, in one object."""
    said = runner("--json", "device", "shell", "local")
    assert (said.exit_code, said.json["error"]["kind"], started) == (2, "ask", [])


def test_a_place_with_blanks_and_percents_is_one_word(tmp_path: Path) -> None:
    """ssh expands % and splits at blanks; a state folder may have both."""
    words = ssh_words(Endpoint("192.0.2.4", None, "", KEY), "pi-04", tmp_path)
    assert options(words)["UserKnownHostsFile"] == f'"{tmp_path}/pi-04"'
    odd = tmp_path / "100% of it"
    odd.mkdir()
    said = options(ssh_words(Endpoint("192.0.2.4", None, "", KEY), "pi-04", odd))["UserKnownHostsFile"]
    assert said == f'"{tmp_path}/100%% of it/pi-04"'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Endpoint]:
    """A real sshd on loopback that lets the client key in."""
    sshd = shutil.which("sshd", path="/usr/sbin:/sbin:" + os.environ["PATH"])
    if sshd is None or shutil.which("ssh") is None:
        pytest.skip("needs openssh-server and openssh-client")
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    said = {"Port": port, "ListenAddress": "127.0.0.1", "HostKey": tmp_path / "host", "AuthorizedKeysFile": tmp_path / "client.pub"}
    said |= {"StrictModes": "no", "PidFile": "none", "UsePAM": "no"}
    Path("/run/sshd").mkdir(exist_ok=True)
    words = [word for key, value in said.items() for word in ("-o", f"{key}={value}")]
    process = subprocess.Popen([sshd, "-D", "-e", "-f", "/dev/null", *words], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
                if connection.recv(4).startswith(b"SSH"):
                    break
        public = " ".join((tmp_path / "host.pub").read_text().split()[:2])
        yield Endpoint("127.0.0.1", port, os.environ.get("USER") or "root", public, tmp_path / "client")
    finally:
        process.kill()
        process.wait()


@pytest.mark.real
def test_a_real_ssh_accepts_the_pinned_key_and_no_other(server: Endpoint, tmp_path: Path) -> None:
    """Words arrive as they are, the exit status comes back, and a server with another key is never talked to."""
    odd = tmp_path / "known hosts 100%"
    odd.mkdir()
    for words, output, status in (
        (["printf", r"%s\0", *AWKWARD], "".join(f"{word}\0" for word in AWKWARD), 0),
        (["sh", "-c", "exit 7"], "", 7),
    ):
        done = subprocess.run(ssh_words(server, "pi-04", odd, words), capture_output=True, timeout=60)
        assert (done.stdout.decode(), done.returncode) == (output, status), done.stderr
    other = Endpoint(server.host, server.port, server.user, (tmp_path / "client.pub").read_text().strip(), server.client_key)
    done = subprocess.run(ssh_words(other, "pi-04", odd, ["true"]), capture_output=True, timeout=60)
    assert done.returncode == 255
    assert b"Host key verification failed" in done.stderr


# ---- console --------------------------------------------------------------------------------------------------------------


def test_a_console_cannot_move_the_cursor(runner: Runner, board: dict[str, Any]) -> None:
    """Carriage returns end lines, colours are left out, everything else that is no letter becomes a mark."""
    (state_root() / "boards" / "qemu-pi" / "console.log").write_bytes(
        b"\x1b[2J\x1b[1;31mboot\x1b[0m\r\nlogin:\x07 \x9b31m\xff\x1b]0;owned\x07\n"
    )
    said = runner("device", "console", "qemu-pi", "--once")
    assert (said.exit_code, said.out) == (0, "boot\nlogin:� �31m��]0;owned�\n")
    assert runner("--json", "device", "console", "qemu-pi", "--once").json["console"].startswith("boot\nlogin:\x07")


def test_a_console_is_followed(tmp_path: Path) -> None:
    """What comes is shown as it comes, letters that come in halves too; a log that is begun anew is read from its beginning."""
    log = tmp_path / "console.log"
    log.write_bytes(b"old " * (SHOWN_BYTES // 2) + b"one\r")
    later = [b"\ntwo gr\xc3", b"\xbc\xc3\x9fe", None, b"anew\n"]

    def pause() -> None:
        if not later:
            raise KeyboardInterrupt
        piece = later.pop(0)
        if piece is None:
            log.rename(tmp_path / "console.log.old")
        else:
            with log.open("ab") as file:
                file.write(piece)

    seen: list[str] = []
    with suppress(KeyboardInterrupt):
        for text in Console(log).follow(pause):
            seen.append(text)
    assert len(seen[0]) <= SHOWN_BYTES
    assert "".join(seen).endswith("one\ntwo grüßeanew\n")


def test_following_ends_with_an_interrupt(runner: Runner, board: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """^C is how one stops to look: exit 0."""
    (state_root() / "boards" / "qemu-pi" / "console.log").write_text("booting\n")

    def interrupt(duration_s: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("runner.cli.shell.time.sleep", interrupt)
    said = runner("device", "console", "qemu-pi")
    assert (said.exit_code, said.out, said.err) == (0, "booting\n\n", "")


@pytest.mark.parametrize(
    ("words", "code", "do"),
    [
        (("local",), 2, "supervisor.log"),
        (("pi-04",), 2, "runner device shell pi-04"),
        (("qemu-pi", "--once"), 3, "runner device power qemu-pi on"),
        (("qemu-pi",), 2, "runner device console qemu-pi --once --json"),
    ],
)
def test_where_there_is_no_console_the_next_command_is_named(runner: Runner, lab: Path, words: tuple[str, ...], code: int, do: str) -> None:
    """This machine, a board without a serial line, one that was never on, and two who want standard output."""
    said = runner("--json", "device", "console", *words)
    assert (said.exit_code, do in said.json["error"]["do"]) == (code, True)


# ---- power ----------------------------------------------------------------------------------------------------------------


def test_looking_makes_nothing_and_needs_no_lease(runner: Runner, lab: Path) -> None:
    """Neither folder nor lease file nor keeper; every kind of device has an answer."""
    for name, on in (("local", False), ("qemu-pi", False), ("pi-04", False)):
        assert runner("--json", "device", "power", name).json["on"] is on
    assert {row["lease"] for row in rows(runner).values()} == {None}
    assert list(state_root().iterdir()) == []


def test_a_board_that_is_on_says_for_how_long(runner: Runner, board: dict[str, Any]) -> None:
    """Where SSH listens, when its keeper will end it, and what to type to get there."""
    said = runner("device", "power", "qemu-pi")
    assert "qemu-pi: on, SSH at 127.0.0.1:40022, its keeper ends it in 98 s" in said.out
    assert "next: runner device shell qemu-pi" in said.out
    board["frozen"] = True
    assert "its emulator is stopped" in runner("device", "power", "qemu-pi", "status").out


class FakePower:
    """Power that notes what is done to it, and under which fence."""

    def __init__(self, holding: Any) -> None:
        self.holding, self.done = holding, []  # type: ignore[var-annotated]

    async def on(self) -> None:
        self.done.append("on")

    async def off(self) -> None:
        self.done.append("off")

    async def cut(self) -> dict[str, Any]:
        self.done.append("cut")
        return {"method": "by hand", "writes_lost": {"count": 3}}

    async def keep_on(self, duration_s: float) -> None:
        self.done.append(f"keep on {duration_s:g}")


@pytest.fixture
def power(monkeypatch: pytest.MonkeyPatch) -> list[FakePower]:
    """The powers that were made, instead of real ones."""
    made: list[FakePower] = []

    async def make_target(request: Any) -> Any:
        made.append(FakePower(request.holding))
        return SimpleNamespace(power=made[-1])

    monkeypatch.setattr("runner.target.drivers.make_target", make_target)
    return made


@pytest.mark.parametrize(
    ("words", "done", "said"),
    [
        (("on",), ["on", "keep on 600"], "on for 600 s"),
        (("on", "--for", "2h"), ["on", "keep on 7200"], "on for 7200 s"),
        (("on", "--for", "60"), ["on", "keep on 60"], "on for 60 s"),
        (("off",), ["off"], "qemu-pi: off"),
        (("cut",), ["cut"], "cut: by hand; 3 unflushed writes lost"),
    ],
)
def test_power_by_hand(
    runner: Runner, board: dict[str, Any], power: list[FakePower], words: tuple[str, ...], done: list[str], said: str
) -> None:
    """Each under a lease of its own with a fence that rises, given back at the end."""
    for round_number in (1, 2):
        assert said in runner("device", "power", "qemu-pi", *words).out
        assert (power[-1].done, power[-1].holding.fence) == (done, round_number)


@pytest.mark.parametrize("verb", ["on", "off", "cut"])
def test_a_quarantined_device_obeys_a_hand(runner: Runner, board: dict[str, Any], power: list[FakePower], verb: str) -> None:
    """It is off behind every check, and somebody has to look at it. It stays quarantined, which is said; a run is refused as before."""
    leases, found = Leases(state_root()), ("+ firewall: table inet foo",)
    leases.quarantine("qemu-pi", "t1", found)
    said = runner("device", "power", "qemu-pi", verb)
    assert (said.exit_code, power[-1].done[0]) == (0, verb)
    assert "qemu-pi: still quarantined since " in said.out
    assert said.out.endswith("next: runner device check qemu-pi\n")
    assert runner("--json", "device", "power", "qemu-pi", verb).json["quarantine"]["differences"] == list(found)
    assert runner("exec", "EDGE-002", "--device", "qemu-pi").exit_code == 3
    assert leases.quarantined("qemu-pi") is not None


def test_a_look_at_the_power_says_that_a_device_is_quarantined(runner: Runner, board: dict[str, Any]) -> None:
    """And since when; of one that nothing stands against, no word."""
    assert "quarantine" not in runner("device", "power", "qemu-pi").out
    assert runner("--json", "device", "power", "qemu-pi").json["quarantine"] is None
    Leases(state_root()).quarantine("qemu-pi", "t1", ["+ firewall: table inet foo"])
    assert "qemu-pi: still quarantined since " in runner("device", "power", "qemu-pi").out


@pytest.mark.parametrize("verb", ["on", "off", "cut"])
def test_a_device_that_somebody_holds_is_left_alone(runner: Runner, board: dict[str, Any], power: list[FakePower], verb: str) -> None:
    """Exit 3 at once, naming the holder and how to look; looking itself says who it is."""

    async def held() -> tuple[Any, Any]:
        from runner.cli.power import _act, held_by

        device = known_device(Output(False, None), "qemu-pi", quiet=True)
        async with lent(state_root(), "qemu-pi", "EDGE-002 in ./runs"):
            with pytest.raises(Exception, match="for EDGE-002 in") as refused:
                await _act(Output(False, None), device, verb, 60.0)
            return refused.value, held_by(device)

    error, holder = asyncio.run(held())
    assert (error.exit_code, error.complaints[0].do) == (3, "wait until that has ended; to look: runner device power qemu-pi")
    assert "EDGE-002 in ./runs" in holder
    assert power == []
    assert "held by" not in runner("device", "power", "qemu-pi").out


def test_a_cut_of_a_board_that_is_off_moves_nothing(runner: Runner, board: dict[str, Any], power: list[FakePower]) -> None:
    """It could not lose anything: exit 3, and how to put it on."""
    board["on"] = False
    said = runner("device", "power", "qemu-pi", "cut")
    assert (said.exit_code, power) == (3, [])
    assert "do: runner device power qemu-pi on" in said.err


def test_this_machine_cannot_be_put_on_before_a_run_installed_anything(runner: Runner, lab: Path, power: list[FakePower]) -> None:
    """There is nothing to start yet, and what installs it is named."""
    said = runner("device", "power", "local", "on")
    assert (said.exit_code, power) == (3, [])
    assert "do: runner exec EDGE-002 --device local" in said.err


@pytest.mark.parametrize(("text", "duration_s"), [("60", 60), ("90s", 90), ("30m", 1800), ("24h", 86400), ("86400", 86400)])
def test_a_time_has_a_unit_or_is_in_seconds(text: str, duration_s: float) -> None:
    """A plain number is one of seconds."""
    assert seconds(text, "to stay on", "runner help") == duration_s


@pytest.mark.parametrize("text", ["", "s", "0", "0s", "25h", "86401", "-1m", "1.5h", "1d", "٣m", "9999999999s"])
def test_a_time_without_sense_is_refused(text: str) -> None:
    """Nothing, a unit alone, no time at all, more than a day, digits of other scripts."""
    with pytest.raises(AskError, match="is no time to stay on"):
        seconds(text, "to stay on", "runner help")


@pytest.mark.parametrize("name", ["local", "qemu-pi", "pi-04"])
def test_a_device_is_leased_by_hand_as_a_run_leases_it(lab: Path, name: str) -> None:
    """One identity: else a run and a hand would hold it at once."""
    there: Lab = find_lab(str(lab))
    plan = make_plan(Asked("EDGE-002", device=name), there)
    assert known_device(Output(False, str(lab)), name, quiet=True).identity == plan.identity


@pytest.mark.parametrize("words", [("shell",), ("console",), ("power",), ("power", "on")], ids=" ".join)
def test_an_unknown_device_is_answered_with_the_nearest(runner: Runner, lab: Path, words: tuple[str, ...]) -> None:
    """Exit 2, and nothing was started."""
    verb, *more = words
    said = runner("device", verb, "qemu-pie", *more)
    assert (said.exit_code, "did you mean 'qemu-pi'?" in said.err) == (2, True)
