"""`device shell`, `device console`: to be on a device oneself, by means that one knows already.

    shell     this machine     the user's own $SHELL in the device's folder
              otherwise        the user's own `ssh`, in this process's place; it may meet the pinned host key and no other
    console   an emulated board's console.log, or what was heard over a device's serial line, followed; nothing in it moves the cursor

Neither asks for the lease: looking is always allowed, and what is done there is done beside a run that may be under way.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from runner.cli.known_device import KnownDevice, known_device
from runner.cli.output import Output
from runner.errors import AskError, LabError
from runner.lab.private import private_folder, private_text
from runner.lab.where import state_root

if TYPE_CHECKING:
    from runner.target.transports.base import Endpoint

LOOK_INTERVAL_S = 0.2
SHOWN_BYTES = 1 << 20  # of a console, from its end; more is in the file
CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # colours and cursor movements: noise, once they are made harmless


@click.command("shell", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND…]")
@click.pass_obj
def device_shell(output: Output, name: str, command: tuple[str, ...]) -> int:
    """A shell on device NAME, or one COMMAND there, by your own ssh with the pinned host key. Ends as that ends."""
    if output.as_json:
        raise AskError("--json and a shell both want standard output", expected="no --json", do=f"runner device shell {name}")
    device = known_device(output, name, quiet=True)
    words = command[1:] if command[:1] == ("--",) else command
    if device.is_this_machine:
        _here(output, device, words)
    known_hosts = private_folder(state_root(), "known_hosts")
    _replace_by(ssh_words(_endpoint(device), name, known_hosts, words), "apt-get install openssh-client")


@click.command("console")
@click.argument("name")
@click.option("--once", is_flag=True, help="Print what is there and end.")
@click.pass_obj
def device_console(output: Output, name: str, once: bool) -> int:
    """What NAME, an emulated board or a device on a serial line, prints on its console, until ^C, without control characters."""
    device = known_device(output, name, quiet=True)
    if not device.emulated and not device.over_serial:
        do = f"read {device.folder / 'supervisor.log'}" if device.is_this_machine else f"runner device shell {name}"
        raise AskError(f"{name} has no console that is known here", expected="an emulated board, or a device on a serial line", do=do)
    if output.as_json and not once:
        raise AskError("--json and a console that is followed both want standard output", do=f"runner device console {name} --once --json")
    path = device.console_log
    if not path.is_file():
        if device.over_serial:
            do = f"runner exec EDGE-002 --device {name} --quick"
            raise LabError(f"nothing was ever heard over the serial line of {name}", where=str(path), do=do)
        raise LabError(f"{name} was never on: it has no console yet", where=str(path), do=f"runner device power {name} on")
    seen = Console(path)
    if once:
        text = seen.new_text()
        return output.result({"device": name, "console": text, "file": str(path)}, text.rstrip("\n"))
    try:
        for text in seen.follow(lambda: time.sleep(LOOK_INTERVAL_S)):
            output.write(text)
    except KeyboardInterrupt:  # how one stops to look
        output.write("\n")
    return 0


class Console:
    """A console's file, read from near its end as it grows; one that is begun anew is read from its beginning."""

    def __init__(self, path: Path) -> None:
        self._path, self._inode = path, -1
        self._at = max(0, path.stat().st_size - SHOWN_BYTES)
        self._words = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)

    def new_text(self) -> str:
        """What was written since the last time, at most SHOWN_BYTES, as text: lines end in a newline, colours are left out."""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if self._inode not in (-1, status.st_ino) or status.st_size < self._at:
                    self._at = 0
                self._inode = status.st_ino
                file.seek(self._at)
                data = file.read(SHOWN_BYTES)
        except FileNotFoundError:  # put aside, and not begun again yet
            return ""
        self._at += len(data)
        return CONTROL_SEQUENCE.sub("", self._words.decode(data))

    def follow(self, pause: Callable[[], None]) -> Iterator[str]:
        """Text as it comes; between two looks at the file, `pause`. Ends only by an exception of that."""
        while True:
            if text := self.new_text():
                yield text
            else:
                pause()


def ssh_words(endpoint: Endpoint, device: str, known_hosts: Path, command: Sequence[str] = ()) -> list[str]:
    """The user's own ssh, as an argument list; COMMAND's words arrive at the device as they are.

    A key that is known is written below `known_hosts`, in a file for this device alone, and no other is accepted. Where none
    is pinned the user's own known_hosts decides. Raises LabError when the file cannot be written.
    """
    options = {"StrictHostKeyChecking": "yes"}
    if endpoint.host_public_key:
        alias, path = f"runner-{device}", known_hosts / device
        try:
            private_text(path, f"{alias} {endpoint.host_public_key}\n")
        except OSError as error:
            raise LabError(f"{path} cannot be written: {error.strerror}", do="grant the place, or set RUNNER_STATE") from error
        quoted = str(path).replace("%", "%%")
        options |= {"UserKnownHostsFile": f'"{quoted}"', "GlobalKnownHostsFile": "none", "HostKeyAlias": alias, "CheckHostIP": "no"}
        options |= {"UpdateHostKeys": "no", "VerifyHostKeyDNS": "no"}
    words = ["ssh"]
    if endpoint.client_key is not None:  # a board of our own: nothing of the user's configuration applies
        words += ["-F", "none", "-i", str(endpoint.client_key)]
        options |= {"IdentitiesOnly": "yes", "IdentityAgent": "none"}
    words += [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    words += ["-p", str(endpoint.port)] if endpoint.port is not None else []
    words += ["-l", endpoint.user] if endpoint.user else []
    return [*words, "--", endpoint.host, *([shlex.join(command)] if command else [])]


def _endpoint(device: KnownDevice) -> Endpoint:
    """Where the device's SSH server is. Raises AskError for a device that has none, LabError for a board that is off."""
    import asyncio

    from runner.target.transports.base import Endpoint
    from runner.target.transports.ssh import pinned

    if device.emulated and device.networked:
        facts = asyncio.run(device.board_facts())
        if not facts or not facts["on"]:
            raise LabError(f"{device.name} is off", expected="a board that is on", do=f"runner device power {device.name} on")
        public = " ".join((device.folder / "host_key.pub").read_text(encoding="ascii").split()[:2])
        return Endpoint("127.0.0.1", facts["port"], "root", public, device.folder / "client_key")
    if device.over_serial and not device.networked:
        raise AskError(
            f"{device.name} is reached over a serial line, and a run may be using it",
            expected="a device that is reached over SSH",
            do=f"runner device console {device.name}, or a terminal program of your own on its port",
        )
    if not device.line.host:
        raise AskError(
            f"{device.name} has no `address` in the inventory", expected="a device that is reached over SSH", do="runner device list"
        )
    return Endpoint(device.line.host, device.line.port, device.line.user, pinned(state_root(), device.name))


def _here(output: Output, device: KnownDevice, words: Sequence[str]) -> NoReturn:
    if not device.folder.is_dir():
        do = f"runner exec EDGE-002 --device {device.name} --quick"
        raise LabError(f"{device.name} has no folder yet: nothing ever ran on it", do=do)
    os.chdir(device.folder)
    if not words:
        output.note(f"{device.name} is this machine: this is your own shell, in the device's folder {device.folder}")
    _replace_by(list(words) or [os.environ.get("SHELL") or "/bin/sh"], "name a program that this machine has")


def _replace_by(words: list[str], do: str) -> NoReturn:
    """This process becomes another program, which takes over terminal, signals and exit status."""
    try:
        os.execvp(words[0], words)  # noqa: S606 - an argument list, and no shell in between
    except OSError as error:
        raise LabError(f"{words[0]} cannot be started: {error.strerror}", do=do) from error
