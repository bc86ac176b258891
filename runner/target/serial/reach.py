"""From nothing to a conversation over a serial line: port, login, what must be there first.

Everything that can be wrong with three wires is said here: by whom a port is used, which group may open it, another baud rate, a
login that refuses, a device that boots in a loop or has no Python.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from runner.errors import LabError
from runner.ondevice.channels import Conversation
from runner.ondevice.line import STOP
from runner.target.credentials import Secret
from runner.target.serial import bootstrap
from runner.target.serial.login import Login
from runner.target.serial.port import BAUDS, Adapter, Address, Port, open_port
from runner.target.serial.shell import Console
from runner.target.serial.talk import Talk
from runner.target.transports.base import LinkLost, LinkRefused

LISTEN_S = 2.0  # at each baud rate, twice: together longer than a login sleeps
CLEAR_LINE = b"\x15"  # Ctrl-U, for a terminal, a shell and a login alike
TEXT_BYTES, FOREIGN_SHARE = 3, 0.1  # what a right rate must give of ASCII, and may hold of what is no text


class Reach:
    """Called, it leads to a conversation. It remembers which USB adapter it had, should that come back under another name."""

    def __init__(
        self,
        name: str,
        find: Callable[[], Address],
        user: str,
        password: Secret | None,
        say: Callable[[str], None],
        log: Callable[[bytes], None],
        lasting: str = "",
    ) -> None:
        """`find` says where the line begins; it is asked at every opening, because an emulated board's tty has another name each time.

        `lasting` is a folder on the device that outlives a cut, for what is put there first.
        """
        self._name, self._find, self._user, self._password = name, find, user or "root", password
        self._say, self._log, self._lasting = say, log, lasting
        self._adapter: Adapter | None = None
        self._text_at = 0  # baud, at which a login succeeded

    async def __call__(self) -> Talk:
        """Raises LinkRefused for what waiting does not mend, LabError for all else. The port is free again then."""
        address = self._find()
        port = open_port(address, self._adapter)
        self._adapter = port.adapter or self._adapter
        if port.path != address.path:
            self._say(f"the adapter of {self._name} is back under another name: {port.path}, it was {address.path}")
        console = Console(port.fd, self._log, self._password)
        try:
            addends = (1000 + secrets.randbelow(9000), 1000 + secrets.randbelow(9000))
            login = Login(self._user, self._password, time.monotonic_ns(), addends, STOP)
            try:
                await console.log_in(login)
            except LinkRefused as error:
                raise await self._no_text(console, port, address) if login.foreign else error from None
            self._text_at = address.baud

            def talk(conversation: Conversation) -> Talk:
                return Talk(port.fd, conversation, self._log, port.close)

            return await bootstrap.begin(console, self._name, self._say, talk, address.baud if address.paced else 0, self._lasting)
        except BaseException:
            port.close()
            raise
        finally:
            console.close()

    async def _is_text(self, console: Console) -> bool:
        """Whether Enter is answered by text; what was typed at another rate, and a shell would quote, is taken back first.

        A prompt for a password, which our own noise may have led to, wants a second Enter; and one round may be silent, for a login that
        was disturbed sleeps before it asks again.
        """
        heard = b""
        for _ in range(2):
            await console.write(CLEAR_LINE + b"\r")
            deadline = time.monotonic() + LISTEN_S
            while (left_s := deadline - time.monotonic()) > 0:
                heard += await console.read(left_s)
            if Login.foreign_share(heard) > FOREIGN_SHARE:
                return False
            if sum(0x20 <= byte < 0x7F or byte in b"\r\n" for byte in heard) >= TEXT_BYTES:
                return True
        return False

    async def _no_text(self, console: Console, port: Port, address: Address) -> LabError:
        """What to say of bytes that are no text: the rate at which they are one, if a usual one is. Where there was a login before at this
        rate, none is tried: each wants a key, and that may stop a boot."""
        ours = address.baud
        if self._text_at == ours:
            return LinkLost(f"what {self._name} says at {ours} baud is no text, and was: a loader at another rate, or a disturbed line")
        for baud in (*(each for each in BAUDS if each != ours), ours):
            port.set_baud(baud)
            if await self._is_text(console):
                if baud == ours:
                    return LinkLost(f"what {self._name} said at {ours} baud was no text, and now is: the line was disturbed")
                return LinkRefused(
                    f"{self._name} speaks {baud} baud, and not {address.baud}",
                    do=f"write into the inventory: address: serial://{address.path}?baud={baud}",
                )
        tried = ", ".join(str(baud) for baud in BAUDS)
        return LinkRefused(
            f"what {self._name} says at {address.baud} baud is no text, and at no usual rate is it",
            expected=f"text at one of {tried}",
            do="look up the console's baud rate, and its wiring: ground, and levels of 3.3 V or RS-232",
        )
