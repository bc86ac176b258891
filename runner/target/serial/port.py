"""The port that a line begins at: found, opened for us alone, and its troubles in words that help.

    serial:///dev/serial/by-id/usb-FTDI_FT232R_A50285BI-if00-port0?baud=115200

Everything here is on this machine: who holds the port, which group may open it, under which name an adapter came back. pyserial
sets it up; reading and writing are the event loop's.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import re
import stat
import sys
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from runner.errors import AskError, LabError
from runner.target.transports.base import LinkLost, LinkRefused

if TYPE_CHECKING:
    from serial import Serial

SCHEME = "serial"
BAUDS = (115_200, 9600, 57_600, 38_400, 19_200, 230_400, 460_800, 921_600, 1_500_000)  # in the order in which they are tried
MIN_BAUD, MAX_BAUD = 2400, 4_000_000  # a slower one does not take what is typed within the limits that it has
EXAMPLE = "serial:///dev/serial/by-id/NAME?baud=115200"


@dataclass(frozen=True)
class Address:
    """What an inventory line says of a serial device."""

    path: str
    baud: int = BAUDS[0]
    paced: bool = True  # an emulator's tty takes any rate for its own, and carries what it can

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises AskError for what is no such address."""
        parts = urlsplit(text)
        asked = parse_qs(parts.query, keep_blank_values=True)
        baud = asked.pop("baud", [str(BAUDS[0])])[-1]
        if parts.scheme != SCHEME or parts.netloc or not parts.path.startswith("/") or asked or parts.fragment:
            raise AskError(f"{text!r} is no address of a serial port", expected=EXAMPLE)
        if not re.fullmatch(r"\d{1,7}", baud) or not MIN_BAUD <= int(baud) <= MAX_BAUD:
            raise AskError(f"{baud!r} is no baud rate", expected=f"a number from {MIN_BAUD} to {MAX_BAUD}, as in {EXAMPLE}")
        return cls(parts.path, int(baud))


@dataclass(frozen=True)
class Adapter:
    """By what a USB adapter is found again, whatever its name is then."""

    what: str  # vendor, product and serial number: many makers give each adapter the same
    socket: str
    alone: bool  # it has a number, and no other of the same was there whenever it was opened; else only its socket tells which it is

    def is_at(self, port: Any, there: list[Any]) -> bool:
        """Whether that port, of all that are `there`, is it."""
        same = [each for each in there if _what(each) == self.what]
        return port in same and (port.location == self.socket or (self.alone and len(same) == 1))


class Port:
    """An open port, for us alone. `fd` is for the event loop, `adapter` for whoever opens it again."""

    def __init__(self, serial: Serial, path: str, adapter: Adapter | None = None) -> None:
        """Raises OSError, termios.error for a port that is gone; it is closed then."""
        self._serial, self.path, self.adapter = serial, path, adapter
        try:
            self._tell_silence_from_the_end()
        except BaseException:
            self.close()
            raise

    @property
    def fd(self) -> int:
        return int(self._serial.fd)

    def set_baud(self, baud: int) -> None:
        """Raises LinkLost for a port that is gone, or does not take that rate."""
        try:
            self._serial.baudrate = baud
            self._tell_silence_from_the_end()
        except (OSError, ValueError, termios.error) as error:
            raise LinkLost(f"the port does not take {baud} baud: {error.args[-1]}") from error

    def _tell_silence_from_the_end(self) -> None:
        """pyserial lets a read without bytes return none, as does one of a port that is gone; so it is EAGAIN, and only the end is b""."""
        settings = termios.tcgetattr(self.fd)
        settings[6][termios.VMIN] = 1
        termios.tcsetattr(self.fd, termios.TCSANOW, settings)

    def close(self) -> None:
        """Never raises; safe to call twice. What was not sent yet is dropped: the kernel would keep whoever closes waiting for it."""
        with contextlib.suppress(OSError, TypeError, ValueError, termios.error):  # closed by now
            if unsent(self.fd):  # of an emulator's tty nothing is: there it would drop what was sent and not read yet, a goodbye perhaps
                termios.tcflush(self.fd, termios.TCOFLUSH)
        with contextlib.suppress(OSError, TypeError, ValueError):
            fcntl.flock(self.fd, fcntl.LOCK_UN)  # a process that is just being forked has the lock, too
        with contextlib.suppress(OSError):
            self._serial.close()


def unsent(fd: int) -> int:
    """Bytes that were written to a port and have not left it; 0 where nobody knows."""
    try:
        return int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0


def open_port(address: Address, known: Adapter | None = None) -> Port:
    """The port of that address; once its USB adapter is `known` (`Port.adapter` of the last opening), that adapter under today's name,
    and never another one that has the name now.

    Raises LinkRefused when somebody else has it or we may not, LabError when it is not there. A known adapter that somebody else has or
    that we may not open is LinkLost: right after it is plugged in that is so for a while (udev, ModemManager).
    """
    try:
        return _open(address, _path_of(address, known), known)
    except LinkRefused as error:
        if known:
            raise LinkLost.of(error.complaints) from error
        raise


def _path_of(address: Address, known: Adapter | None) -> str:
    if known is None:
        return address.path
    there = _comports()
    paths = [str(port.device) for port in there if known.is_at(port, there)]
    if not paths:
        raise _missing(address.path)
    return address.path if os.path.realpath(address.path) in paths else paths[0]


def _open(address: Address, path: str, known: Adapter | None) -> Port:
    from serial import Serial

    try:
        _check(path)
        serial = Serial(path, address.baud, timeout=0, exclusive=True, xonxoff=False, rtscts=False)
        return Port(serial, path, adapter_of(path, known))
    except (OSError, termios.error) as error:
        number, said = error.args if len(error.args) == 2 else (0, error)
        raise _refusal(path, int(number), str(said)) from error
    except ValueError as error:
        raise LabError(f"{path} does not take {address.baud} baud: {error}", do="choose a rate that the adapter has") from error


def _check(path: str) -> None:
    """Raises OSError for what pyserial would wrap into a text, and LinkRefused for a port that others have without a lock."""
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        if not os.isatty(fd):
            raise LabError(f"{path} is no serial port", expected="a tty, as in " + EXAMPLE)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(fd)
    others = list(holders(path))
    if others:
        raise _in_use(path, others)


def holders(path: str, proc: Path = Path("/proc")) -> Iterator[tuple[int, str]]:
    """Processes that have the port open, ours apart, with their command: pid and words. Of those that we may look at; none
    of a port that is gone."""
    try:
        device = os.stat(path).st_rdev
    except OSError:
        return
    for folder in proc.iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                if not _becomes_another(folder) and any(_is_open(entry, device) for entry in (folder / "fd").iterdir()):
                    yield int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()


def _becomes_another(folder: Path) -> bool:
    """Is it a child that we have just forked? It has what we had open then, until it is the program that we start."""
    parent = int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    return parent == os.getpid() and (folder / "cmdline").read_bytes() == Path("/proc/self/cmdline").read_bytes()


def _is_open(entry: Path, device: int) -> bool:
    try:
        found = entry.stat()
    except OSError:
        return False
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == device


def _in_use(path: str, others: list[tuple[int, str]]) -> LinkRefused:
    who = ", ".join(f"process {pid} ({command[:80] or 'no name'})" for pid, command in others[:3])
    return LinkRefused(f"{path} is in use by {who or 'this process, or one of another user'}", do="end it, or let it let go of the port")


def _refusal(path: str, number: int, said: str) -> LabError:
    """What went wrong with a port, for whoever must put it right."""
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return _missing(path)
    if number in (errno.EBUSY, errno.EAGAIN):
        return _in_use(path, list(holders(path)))
    if number in (errno.EACCES, errno.EPERM):
        return _forbidden(path)
    return LabError(f"{path} cannot be opened: {said}")


def _missing(path: str) -> LabError:
    there = ", ".join(ports()) or "none"
    return LabError(f"there is no port {path}", expected=f"its adapter, plugged in; there now: {there}", do="look at the cable")


def _forbidden(path: str) -> LabError:
    """Who may open it, and how one comes to be among them; a group's members, if that is what they are."""
    try:
        found = os.stat(path)
    except OSError:
        return _missing(path)
    what, group = f"{path} may not be opened by user {os.geteuid()}", _group(found)
    if found.st_mode & stat.S_IWGRP and found.st_gid != 0:
        return LinkRefused(f"{what}: it is for the group {group}", do=f"sudo usermod -aG {group} $USER, then log in again")
    rule = f'KERNEL=="{os.path.basename(os.path.realpath(path))}", GROUP="dialout", MODE="0660"'
    return LinkRefused(
        f"{what}: it has mode {stat.S_IMODE(found.st_mode):04o}, owner {found.st_uid} and group {group}",
        do=f"let udev give it to a group that you are in, by a rule such as {rule}",
    )


def _group(found: os.stat_result) -> str:
    try:
        return grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        return str(found.st_gid)


def access(path: str) -> str:
    """Whether this user may open a port; if not, who may, and how one comes to be among them. It is not opened."""
    with contextlib.suppress(OSError):  # gone meanwhile
        found = os.stat(path)
        if not stat.S_ISCHR(found.st_mode):
            return f"{path} is no serial port"
        if os.access(path, os.R_OK | os.W_OK):
            return f"{path} may be opened; its group is {_group(found)}"
    refused = _forbidden(path).complaints[0]
    return f"{refused.found}; do: {refused.do}"


def ports(folder: Path = Path("/dev/serial/by-id")) -> list[str]:
    """The ports that are there, under the names that stay."""
    with contextlib.suppress(OSError):
        return sorted(str(path) for path in folder.iterdir())
    return []


def adapter_of(path: str, known: Adapter | None = None) -> Adapter | None:
    """The USB adapter that has this name today; None for what is none. One of which another of the same was ever seen, as is `known`,
    stays known so."""
    there = _comports()
    port = next((port for port in there if port.device == os.path.realpath(path) and port.vid is not None), None)
    if port is None:
        return None
    alone = bool(port.serial_number) and sum(_what(each) == _what(port) for each in there) < 2
    return Adapter(_what(port), str(port.location), alone and (known is None or known.alone))


def _what(port: Any) -> str:
    return "" if port.vid is None else f"{port.vid:04x}:{port.pid:04x} {port.serial_number or ''}"


def _comports() -> list[Any]:
    from serial.tools.list_ports import comports

    return list(comports())
