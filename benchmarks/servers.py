"""Devices to talk to: real OpenSSH servers on loopback, one process, one host key and one port each. Keys live as long as the run.

folder/devices.json   what every contender's program reads (contenders/told_devices.py)
folder/ssh_config     the same for ssh, scp, rsync, ansible and pyinfra: hosts dev-000, dev-001, …
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_SERVERS = 100
START_LIMIT_S = 20.0
FAST = "-o KexAlgorithms=curve25519-sha256 -o Ciphers=aes128-gcm@openssh.com"  # what the product uses, too


@dataclass(frozen=True)
class Fleet:
    """Running servers. Every list below is of the first `count` of them."""

    folder: Path
    devices: list[dict[str, Any]]

    @property
    def config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def python(self) -> str:
        """The devices' Python: the system's, as on a board, and else the one below our virtual environment."""
        system = "/usr/bin/python3"
        return system if os.access(system, os.X_OK) else os.path.realpath(sys.executable)

    def names(self, count: int) -> list[str]:
        return [str(device["name"]) for device in self.devices[:count]]


@contextlib.contextmanager
def fleet(sshd: str, folder: Path, count: int) -> Iterator[Fleet]:
    """`count` servers, each answering when this yields; all of them, and nothing else, are ended afterwards by their pids."""
    if count > MAX_SERVERS:
        raise ValueError(f"at most {MAX_SERVERS} servers, {count} were asked for")
    folder.mkdir(parents=True)
    home = folder / "home" / ".ssh"
    home.mkdir(parents=True, mode=0o700)
    _key(home / "id_ed25519")  # where clients look that are given no argument
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    running: list[subprocess.Popen[bytes]] = []
    try:
        devices = []
        for number, port in enumerate(_free_ports(count)):
            host_key = folder / f"host-{number:03}"
            _key(host_key)
            running.append(subprocess.Popen([sshd, "-D", *_options(port, host_key, home / "id_ed25519.pub")], stderr=subprocess.DEVNULL))
            devices.append(_device(number, port, host_key, home / "id_ed25519"))
        for device, process in zip(devices, running, strict=True):
            _wait_for_banner(int(device["port"]), process)
        (home / "known_hosts").write_text("".join(f"[127.0.0.1]:{d['port']} {d['host_key']}\n" for d in devices))
        (folder / "devices.json").write_text(json.dumps(devices))
        (folder / "ssh_config").write_text(ssh_config(devices, home / "known_hosts"))
        yield Fleet(folder, devices)
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.wait()


def ssh_config(devices: Sequence[dict[str, Any]], known_hosts: Path) -> str:
    """A configuration that knows these devices and looks at no file of the user's."""
    always = (
        f"Host *\n  HostName 127.0.0.1\n  UserKnownHostsFile {known_hosts}\n  GlobalKnownHostsFile /dev/null\n"
        "  BatchMode yes\n  IdentitiesOnly yes\n  StrictHostKeyChecking yes\n  LogLevel ERROR\n"
    )
    return (
        "".join(f"Host {d['name']}\n  Port {d['port']}\n  User {d['user']}\n  IdentityFile {d['client_key']}\n" for d in devices) + always
    )


def _device(number: int, port: int, host_key: Path, client_key: Path) -> dict[str, Any]:
    public = " ".join(host_key.with_suffix(".pub").read_text().split()[:2])
    user = pwd.getpwuid(os.getuid()).pw_name
    return {"name": f"dev-{number:03}", "port": port, "user": user, "host_key": public, "client_key": str(client_key)}


def _options(port: int, host_key: Path, authorized: Path) -> list[str]:
    options = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": host_key,
        "AuthorizedKeysFile": authorized,
        "StrictModes": "no",
        "PidFile": "none",
        "UsePAM": "no",
        "LogLevel": "QUIET",
        "MaxSessions": 100,
        "PermitRootLogin": "prohibit-password",
        "Subsystem": "sftp internal-sftp",
        "SetEnv": f"HOME={authorized.parent.parent}",  # else a shell reads what its user wrote into ~/.bashrc
    }
    return ["-f", "/dev/null", *(word for key, value in options.items() for word in ("-o", f"{key}={value}"))]


def _key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)  # noqa: S607 - as everybody finds it


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _wait_for_banner(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
            if connection.recv(4).startswith(b"SSH"):
                return
    raise RuntimeError(f"a server did not come up (exit status {process.poll()})")
