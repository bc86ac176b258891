"""`device shell`, `device console`: to be on a device oneself, by means that one knows already.

    shell     this machine     the user's own $SHELL in the device's folder
              otherwise        the user's own `ssh`, in this process's place; it may meet the pinned host key and no other
              no network       one command over its serial line, under its lease: there is one line, and a run would have it
    console   an emulated board's console.log, or what was heard over a device's serial line, followed; nothing in it moves the cursor

Otherwise neither asks for the lease: looking is always allowed, and what is done there is done beside a run that may be under way.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from runner.cli.known_device import KnownDevice, known_device
from runner.cli.output import Output, lose
from runner.errors import AskError, LabError
from runner.lab.private import private_folder, private_text
from runner.lab.where import state_root

if TYPE_CHECKING:
    from runner.target.transports.base import Completed, Endpoint

LOOK_INTERVAL_S = 0.2
COMMAND_LIMIT_S = 600.0  # over a serial line
SHOWN_BYTES = 1 << 20  # of a console, from its end; more is in the file
CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # colours and cursor movements: noise, once they are made harmless


@click.command("shell", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND…]")
@click.pass_obj
def device_shell(output: Output, name: str, command: tuple[str, ...]) -> int:
    """A shell on device NAME, or one COMMAND there, by your own ssh with the pinned host key; over a serial line one COMMAND, without
    input, under its lease. Ends as that ends."""
    if output.as_json:
        raise AskError("--json and a shell both want standard output", expected="no --json", do=f"runner device shell {name}")
    device = known_device(output, name, quiet=True)
    words = command[1:] if command[:1] == ("--",) else command
    if device.is_this_machine:
        _here(output, device, words)
    if device.over_serial and not device.networked:
        return _over_the_line(output, device, words)
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
        do = f"read {device.folder / 'supervisor.log'}" if device.is_this_machine else device.shell
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
    from runner.target.transports.base import Endpoint
    from runner.target.transports.ssh import pinned

    if device.emulated:
        facts = _facts_of(device)
        public = " ".join((device.folder / "host_key.pub").read_text(encoding="ascii").split()[:2])
        return Endpoint("127.0.0.1", facts["port"], "root", public, device.folder / "client_key")
    if not device.line.host:
        raise AskError(
            f"{device.name} has no `address` in the inventory", expected="a device that is reached over SSH", do="runner device list"
        )
    return Endpoint(device.line.host, device.line.port, device.line.user, pinned(state_root(), device.name))


def _facts_of(board: KnownDevice) -> dict[str, Any]:
    """What the keeper of an emulated board says. Raises LabError for one that is off."""
    import asyncio

    facts = asyncio.run(board.board_facts())
    if not facts or not facts["on"]:
        raise LabError(f"{board.name} is off", expected="a board that is on", do=f"runner device power {board.name} on")
    return facts


def _over_the_line(output: Output, device: KnownDevice, words: Sequence[str]) -> int:
    """One command, its output as it came once it has ended; its exit status. Raises AskError without one, LabError."""
    import asyncio

    from runner.farm.lease import Taken

    if not words:
        raise AskError(
            f"{device.name} is reached over a serial line, which offers no interactive shell",
            expected="a COMMAND, or a device that is reached over SSH",
            do=f"{device.shell}, or a terminal program of your own on its port while no run has it",
        )
    if device.emulated:
        _facts_of(device)
    work = _run_over_the_line(output, device, words)
    try:
        done = asyncio.run(output.awaited(f"{words[0]} to end on {device.name}", work, COMMAND_LIMIT_S))
    except Taken as error:
        do = f"wait until that has ended; to look: runner device console {device.name}"
        raise LabError(error.complaints[0].found, expected="a free device", do=do) from error
    for stream, said in ((sys.stdout, done.stdout), (sys.stderr, done.stderr)):
        if stream is None:  # closed before we began
            continue
        try:
            stream.buffer.write(said)
            stream.flush()
        except OSError as error:
            lose(error, stream)
    return done.exit_status if done.exit_status >= 0 else 128 - done.exit_status  # as a shell says a signal


async def _run_over_the_line(output: Output, device: KnownDevice, words: Sequence[str]) -> Completed:
    """Its power is as it was before, and its line free."""
    from runner.clock import SystemClock
    from runner.farm.lease import lent
    from runner.story.signs_of_life import signs_of_life
    from runner.target.drivers import make_target

    async with lent(state_root(), device.identity, f"device shell {device.name}", wait=False, for_check=True, name=device.name) as lease:
        target = await make_target(device.request(output.note, holding=lease))
        async with signs_of_life(lease, target, SystemClock()):
            if device.emulated:
                await target.power.on()  # as it is: now its tty is known
            try:
                await target.transport.open()
                return await target.transport.run(words, timeout_s=COMMAND_LIMIT_S)
            finally:
                await target.transport.close()


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
