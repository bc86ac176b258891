"""The machine line is a pure function: what must stand in it, and what must not."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import pytest

from runner.errors import AskError
from runner.target.emulation.image import Image
from runner.target.emulation.machine import ARM64, X86_64, MachineSpec, Wiring, choose_accelerator, qemu_arguments

IMAGE = Image("aarch64", Path("/c/kernel"), Path("/c/initrd"), Path("/c/root,1.ext4"), "digest", {})
WIRING = Wiring(name="runner-T0", ssh_port=2201, nbd_socket="nbd-T0.sock")

PI = MachineSpec("aarch64", "raspi3b", "cortex-a53", 4, 1024, "tcg", "console")


def tcg(spec: MachineSpec) -> MachineSpec:
    return MachineSpec(**{**vars(spec), "accelerator": "tcg"})


def values(arguments: list[str], option: str) -> list[str]:
    return [after for before, after in pairwise(arguments) if before == option]


def test_the_arm64_machine_line() -> None:
    """The processor, memory and console of the arm64 board are these, and its name carries the token."""
    line = qemu_arguments(tcg(ARM64), IMAGE, WIRING)
    assert line[0] == "qemu-system-aarch64"
    assert values(line, "-M") == ["virt"]
    assert values(line, "-cpu") == ["cortex-a72"]
    assert values(line, "-accel") == ["tcg,thread=multi"]
    assert values(line, "-append") == ["console=ttyAMA0 panic=5 loglevel=7"]
    assert values(line, "-name") == ["runner-T0"]


def test_disks() -> None:
    """The root disk is read-only, with its commas doubled; the data disk keeps its flushes and hides nothing."""
    root, data = values(qemu_arguments(tcg(ARM64), IMAGE, WIRING), "-drive")
    assert root == "if=none,id=root,format=raw,readonly=on,file=/c/root,,1.ext4"
    assert data == ("if=none,id=data,format=raw,cache=writeback,detect-zeroes=off,discard=ignore,file=nbd+unix:///?socket=nbd-T0.sock")


def test_only_loopback_is_forwarded_and_the_guest_is_restricted() -> None:
    """The management NIC reaches nothing, and only this host's loopback reaches it."""
    management, data = values(qemu_arguments(tcg(X86_64), IMAGE, WIRING), "-netdev")
    assert management == "user,id=mgmt,restrict=on,hostfwd=tcp:127.0.0.1:2201-:22"
    assert data == "hubport,id=data,hubid=1"


def test_a_tap_is_passed_by_descriptor() -> None:
    """With a tap, QEMU is given its descriptor and no name of the host's network."""
    wiring = Wiring("runner-T0", 2201, "nbd-T0.sock", tap_fd=9)
    assert "tap,id=data,fd=9" in qemu_arguments(tcg(ARM64), IMAGE, wiring)


@pytest.mark.parametrize(
    ("spec", "login", "console", "tty", "device"),
    [
        (ARM64, "", "file,id=console,append=on,path=console.log", "", ""),
        (ARM64, "console", "pty,id=console,logfile=console.log,logappend=on", "ttyAMA0", ""),
        (X86_64, "console", "pty,id=console,logfile=console.log,logappend=on", "ttyS0", ""),
        (X86_64, "second", "file,id=console,append=on,path=console.log", "ttyS1", "isa-serial,chardev=line"),
        (ARM64, "second", "file,id=console,append=on,path=console.log", "hvc0", "virtconsole,chardev=line"),
    ],
)
def test_a_login_is_offered_where_it_is_asked_for(spec: MachineSpec, login: str, console: str, tty: str, device: str) -> None:
    """On the console, whose log stays a file, or on a second line; the guest is told which terminal; without it nothing is offered."""
    line = qemu_arguments(dataclasses.replace(tcg(spec), login=login), IMAGE, WIRING)
    assert console in values(line, "-chardev")
    assert [value for value in values(line, "-fw_cfg") if "login" in value] == ([f"name=opt/stageflow/login,string={tty}"] if tty else [])
    assert (device in values(line, "-device")) is bool(device)
    assert ("pty,id=line" in values(line, "-chardev")) is (login == "second")


def test_the_raspberry_pi_3b_has_its_own_card_and_the_rest_on_usb() -> None:
    """Its root is its memory card, written to for this power-on alone; disk and witness are known by their serial numbers on USB; its
    console is its second UART, with a tty on this host; and no virtio device, NIC or fw_cfg is told to a machine that has none."""
    image = dataclasses.replace(IMAGE, device_tree=Path("/c/device_tree"))
    line = qemu_arguments(PI, image, dataclasses.replace(WIRING, called="pi-1"))
    assert values(line, "-M") == ["raspi3b"] and values(line, "-dtb") == ["/c/device_tree"]
    root, data = values(line, "-drive")
    assert root == "if=sd,format=raw,snapshot=on,file=/c/root,,1.ext4"
    assert data == values(qemu_arguments(tcg(ARM64), IMAGE, WIRING), "-drive")[1], "what a cut loses is the same on every machine"
    assert values(line, "-device") == ["usb-storage,drive=data,serial=data", "usb-serial,chardev=witness,serial=witness"]
    assert values(line, "-serial") == ["null", "chardev:console"]
    assert "pty,id=console,logfile=console.log,logappend=on" in values(line, "-chardev")
    (told,) = values(line, "-append")
    assert told == "console=ttyS1 panic=5 loglevel=7 board.root=mmcblk0 board.hostname=pi-1 board.login=ttyS1"
    assert not values(line, "-netdev") + values(line, "-fw_cfg")


@pytest.mark.parametrize(
    ("arch", "machine", "image"),
    [("aarch64", "virt", "aarch64"), ("aarch64", "virt-7.2", "aarch64"), ("x86_64", "pc", "x86_64"), ("aarch64", "raspi3b", "raspi3b")],
)
def test_a_machine_boots_the_image_of_its_name_or_else_of_its_architecture(arch: str, machine: str, image: str) -> None:
    """So a machine that nobody named is taken for one with virtio, of which QEMU has many."""
    assert MachineSpec(arch, machine, login="console").image == image


@pytest.mark.parametrize("login", ["", "second"])
def test_a_machine_without_a_network_wants_its_login_on_the_console(login: str) -> None:
    """One that nobody could reach is refused before it has power."""
    with pytest.raises(AskError, match="login: console"):
        MachineSpec("aarch64", "raspi3b", login=login)


def test_a_machine_of_another_architecture_is_refused() -> None:
    """Its image would be one that it cannot run."""
    with pytest.raises(AskError, match="raspi3b"):
        MachineSpec("x86_64", "raspi3b", login="console")


def test_an_unchosen_accelerator_is_refused() -> None:
    """`auto` never reaches QEMU."""
    with pytest.raises(AskError):
        qemu_arguments(ARM64, IMAGE, WIRING)


def test_unknown_values_are_refused_at_once() -> None:
    """A machine that cannot exist cannot be described."""
    with pytest.raises(AskError):
        MachineSpec(arch="mips")
    with pytest.raises(AskError):
        MachineSpec(accelerator="hvf")
    with pytest.raises(AskError):
        MachineSpec(login="usb")


def test_an_accelerator_that_was_asked_for_is_not_probed(tmp_path: Path) -> None:
    """No file is read or written when the answer is given."""
    chosen = choose_accelerator(tcg(ARM64), IMAGE, tmp_path / "memory.json", print)
    assert (chosen.name, chosen.reason) == ("tcg", "asked for")
    assert not (tmp_path / "memory.json").exists()
