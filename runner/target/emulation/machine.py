"""The machine line: everything QEMU is told about a board, made by one pure function; and the choice of accelerator.

    root disk   read-only image shared by all boards ─┐
    data disk   NBD ← nbdkit (volatile write cache) ──┤
    mgmt0       user network, one port forwarded ─────┼── QEMU ── console (file) · witness (file) · QMP (unix socket)
    data0       tap in a namespace without a name ────┤
    sensors     unix socket, host to guest ───────────┘
    login       a pty, on request: the console itself, or a second line beside it

A machine without virtio has its root on a memory card, its data disk and its witness on USB, neither network nor sensors from us,
and a login on its console. What kinds there are stands in guest.py.

Nothing here starts a board: `qemu_arguments` decides, the keeper acts.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runner.errors import AskError, LabError
from runner.target.emulation.guest import KINDS, Kind
from runner.target.emulation.image import SBIN, Image

MANAGEMENT_MAC = "52:54:00:00:00:01"
DATA_MAC = "52:54:00:00:00:02"
PROBE_LIMIT_S = 15.0
KNOWN_ACCELERATORS = ("auto", "tcg", "kvm")
KNOWN_LOGINS = ("", "console", "second")


@dataclass(frozen=True)
class MachineSpec:
    """What kind of computer a board is. `auto` becomes `tcg` or `kvm` when the board is started.

    `login` is where a login is offered on a tty of the host: nowhere, on the console that the kernel talks on, or on a second line.
    """

    arch: str = "aarch64"
    machine: str = "virt"
    cpu: str = "cortex-a72"
    cpus: int = 1
    memory_mib: int = 512
    accelerator: str = "auto"
    login: str = ""

    def __post_init__(self) -> None:
        known = sorted({kind.arch for kind in KINDS.values()})
        if self.arch not in known or self.kind.arch != self.arch:
            raise AskError(f"no emulated machine {self.machine} has the architecture {self.arch!r}", expected=" or ".join(known))
        if self.accelerator not in KNOWN_ACCELERATORS:
            raise AskError(f"accelerator {self.accelerator!r}", expected=" or ".join(KNOWN_ACCELERATORS))
        if self.login not in KNOWN_LOGINS:
            raise AskError(f"a login on {self.login!r}", expected=" or ".join(name or "nothing" for name in KNOWN_LOGINS))
        if not self.networked and self.login != "console":
            raise AskError(f"{self.machine} with {self.login or 'no'} login", expected="login: console: it has no other way in")

    @property
    def image(self) -> str:
        """Which image it boots, and so which line of `KINDS` it is: that of its name, else that of its architecture."""
        return self.machine if self.machine in KINDS else self.arch

    @property
    def kind(self) -> Kind:
        return KINDS[self.image]

    @property
    def networked(self) -> bool:
        """Whether it has NICs from us, and an SSH server."""
        return self.kind.bus == "virtio"

    @property
    def login_tty(self) -> str:
        """The terminal's name in the guest."""
        return {"": "", "console": self.kind.console, "second": self.kind.second_line[1]}[self.login]

    @property
    def login_chardev(self) -> str:
        """What QEMU calls the host's end of it."""
        return {"": "", "console": "console", "second": "line"}[self.login]


ARM64 = MachineSpec()
X86_64 = MachineSpec(arch="x86_64", machine="q35", cpu="max")


@dataclass(frozen=True)
class Wiring:
    """Where a machine's ends come out on the host. Relative paths are relative to the board's folder."""

    name: str  # carries the keeper's token, so that clean-up can tell our processes from others
    ssh_port: int
    nbd_socket: str
    tap_fd: int | None = None  # None: the data NIC hangs on a hub without a peer
    qmp_socket: str = "qmp.sock"
    console: str = "console.log"
    witness: str = "witness"
    sensors: str = "sensors.sock"  # what the host says there is what the board's sensors read
    host_key: str = "host_key"
    authorized_keys: str = "client_key.pub"
    hostname: str = "hostname"
    called: str = ""  # what stands in that file, for a machine that can only be told in words


@dataclass(frozen=True)
class Accelerator:
    """The accelerator in use, and why it is that one."""

    name: str
    reason: str


def qemu_arguments(spec: MachineSpec, image: Image, wiring: Wiring) -> list[str]:
    """QEMU's whole command line for one board; pure. `spec.accelerator` must have been chosen."""
    if spec.accelerator == "auto":
        raise AskError("the accelerator was not chosen yet", expected="tcg or kvm", do="call choose_accelerator first")
    words = [f"console={spec.kind.console}", "panic=5", "loglevel=7"]
    return [
        *_computer(spec, image),
        "-append", " ".join(words if spec.networked else [*words, *_told(spec, wiring)]),
        "-name", wiring.name,
        *(_on_virtio(spec, image, wiring) if spec.networked else _on_usb(image)),
        "-drive", "if=none,id=data,format=raw,cache=writeback,detect-zeroes=off,discard=ignore,"
                  f"file=nbd+unix:///?socket={_escaped(wiring.nbd_socket)}",
        "-chardev", f"file,id=witness,append=on,path={_escaped(wiring.witness)}",
        "-chardev", _console(spec, wiring),
        *["-serial", "null"] * spec.kind.uart,
        "-serial", "chardev:console",
        "-qmp", f"unix:{_escaped(wiring.qmp_socket)},server=on,wait=off",
    ]  # fmt: skip


def _on_virtio(spec: MachineSpec, image: Image, wiring: Wiring) -> list[str]:
    """Disks, NICs, ports, and by fw_cfg what makes the board an individual."""
    data_net = "hubport,id=data,hubid=1" if wiring.tap_fd is None else f"tap,id=data,fd={wiring.tap_fd}"
    return [
        "-drive", f"if=none,id=root,format=raw,readonly=on,file={_escaped(image.root)}",
        "-device", "virtio-blk-pci,drive=root,serial=root",
        "-device", "virtio-blk-pci,drive=data,serial=data",
        "-netdev", f"user,id=mgmt,restrict=on,hostfwd=tcp:127.0.0.1:{wiring.ssh_port}-:22",
        "-device", f"virtio-net-pci,netdev=mgmt,mac={MANAGEMENT_MAC},romfile=",
        "-netdev", data_net,
        "-device", f"virtio-net-pci,netdev=data,mac={DATA_MAC},romfile=",
        "-device", "virtio-rng-pci",
        "-device", "virtio-serial-pci",
        "-device", "virtserialport,chardev=witness,name=witness",
        "-chardev", f"socket,id=sensors,path={_escaped(wiring.sensors)},server=on,wait=off",
        "-device", "virtserialport,chardev=sensors,name=sensors",
        *_login(spec),
        "-fw_cfg", f"name=opt/stageflow/host_key,file={_escaped(wiring.host_key)}",
        "-fw_cfg", f"name=opt/stageflow/authorized_keys,file={_escaped(wiring.authorized_keys)}",
        "-fw_cfg", f"name=opt/stageflow/hostname,file={_escaped(wiring.hostname)}",
    ]  # fmt: skip


def _on_usb(image: Image) -> list[str]:
    """The root on a memory card, which QEMU refuses to have read-only: what is written to it goes with the machine. Disk and witness
    on USB: the emulated card passes every write straight through and was never seen to be told to flush."""
    return [
        "-drive", f"if=sd,format=raw,snapshot=on,file={_escaped(image.root)}",
        "-device", "usb-storage,drive=data,serial=data",
        "-device", "usb-serial,chardev=witness,serial=witness",
    ]  # fmt: skip


def _told(spec: MachineSpec, wiring: Wiring) -> list[str]:
    """What fw_cfg says elsewhere, on the kernel's command line."""
    return [f"board.root={spec.kind.card}", f"board.hostname={wiring.called}", f"board.login={spec.login_tty}"]


def _console(spec: MachineSpec, wiring: Wiring) -> str:
    """A file; with a login on it, a tty of which all that is said goes into the same file."""
    if spec.login == "console":
        return f"pty,id=console,logfile={_escaped(wiring.console)},logappend=on"
    return f"file,id=console,append=on,path={_escaped(wiring.console)}"


def _login(spec: MachineSpec) -> list[str]:
    if not spec.login:
        return []
    second = ["-chardev", "pty,id=line", "-device", spec.kind.second_line[0]] if spec.login == "second" else []
    return [*second, "-fw_cfg", f"name=opt/stageflow/login,string={spec.login_tty}"]


def _computer(spec: MachineSpec, image: Image) -> list[str]:
    """Processor, memory, kernel; no screen, no monitor and nothing from the user's QEMU configuration."""
    accelerator = "tcg,thread=multi" if spec.accelerator == "tcg" else spec.accelerator
    tree = ["-dtb", str(image.device_tree)] if image.device_tree else []
    return [
        f"qemu-system-{spec.arch}", "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none",
        "-M", spec.machine, "-cpu", spec.cpu, "-smp", str(spec.cpus), "-m", f"{spec.memory_mib}M",
        "-accel", accelerator, "-kernel", str(image.kernel), "-initrd", str(image.initrd), *tree,
    ]  # fmt: skip


def _escaped(path: str | Path) -> str:
    """A path inside a QEMU option: a comma is written twice."""
    return str(path).replace(",", ",,")


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- The accelerator


def choose_accelerator(spec: MachineSpec, image: Image, memory: Path, progress: Callable[[str], None]) -> Accelerator:
    """`spec.accelerator`, with `auto` resolved by what this host really does; takes up to `PROBE_LIMIT_S`, once.

    KVM is taken only when a machine has booted with it: hosts exist that offer /dev/kvm and hang every guest. The
    answer is remembered in the file `memory` for this host, kernel and QEMU; delete the file to ask again.
    """
    if spec.accelerator != "auto":
        return Accelerator(spec.accelerator, "asked for")
    if spec.arch != platform.machine():
        return Accelerator("tcg", f"a {platform.machine()} host cannot run {spec.arch} in hardware")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        there = "may not be opened by this user" if Path("/dev/kvm").exists() else "does not exist"
        return Accelerator("tcg", f"/dev/kvm {there}")
    key = " ".join((platform.node(), platform.release(), spec.arch, tool_version(f"qemu-system-{spec.arch}")))
    known: dict[str, dict[str, str]] = json.loads(memory.read_text()) if memory.exists() else {}
    if key not in known:
        progress("probing KVM: one small boot")
        took_s, seen = _probe_kvm(spec, image)
        if took_s is None:
            known[key] = {"name": "tcg", "reason": f"/dev/kvm exists, but a probe boot with KVM {seen}"}
        else:
            known[key] = {"name": "kvm", "reason": f"a probe boot with KVM took {took_s:.1f} s"}
        fresh = memory.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(known, indent=1))
        fresh.rename(memory)
    return Accelerator(known[key]["name"], known[key]["reason"])


def _probe_kvm(spec: MachineSpec, image: Image) -> tuple[float | None, str]:
    """Boot kernel and initrd until the initrd speaks; (seconds or None, what was seen). Leaves no process."""
    small = MachineSpec(spec.arch, spec.machine, spec.cpu, 1, 256, "kvm")
    arguments = [*_computer(small, image), "-append", f"console={spec.kind.console} board.probe", "-serial", "stdio"]
    start = time.monotonic()
    try:
        done = subprocess.run(
            [*arguments, "-no-reboot"], env={**os.environ, "PATH": SBIN}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PROBE_LIMIT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        said = len(late.stdout or b"")
        return None, f"did not reach the initrd within {PROBE_LIMIT_S:.0f} s ({said} bytes on the console)"
    except OSError as error:
        return None, f"did not start: {error}"
    took_s = time.monotonic() - start
    if b"INITRD-ALIVE" in done.stdout:
        return took_s, "reached the initrd"
    last = done.stdout.decode(errors="replace").strip().splitlines()[-1:] or [f"status {done.returncode}"]
    return None, f"ended early: {last[0]}"


@functools.cache
def tool_version(tool: str) -> str:
    """The first line that `tool --version` prints; LabError when it cannot be run."""
    try:
        done = subprocess.run([tool, "--version"], env={**os.environ, "PATH": SBIN}, capture_output=True, timeout=30,
                              text=True, check=True)  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise LabError(f"{tool} did not tell its version: {error}") from error
    return done.stdout.splitlines()[0]


def has_machine(spec: MachineSpec) -> bool:
    """Whether this host's QEMU knows the machine of a board; nothing is started."""
    words = [f"qemu-system-{spec.arch}", "-machine", "help"]
    try:
        done = subprocess.run(words, env={**os.environ, "PATH": SBIN}, capture_output=True, timeout=30, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return any(line.split()[:1] == [spec.machine] for line in done.stdout.splitlines())
