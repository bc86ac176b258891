"""A login shell at the end of a serial line, asked one thing at a time; and a way through its login.

The answer to a command stands between two words that its echo does not hold, so an echo, a prompt and a kernel's words
around it do not matter. A command whose answer is damaged is asked again by whoever can bear that it is done twice.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import time
from collections.abc import Callable

from runner.target.credentials import Secret
from runner.target.serial.hiding import Hiding, hidden
from runner.target.serial.login import Login
from runner.target.transports.base import READ_BYTES, LinkLost, words

LOOK_S = 0.1
WRITE_LIMIT_S = 30.0
KEPT_BYTES = 1 << 16


class Console:
    """The bytes of an open port, before there is any conversation on it. All that is heard goes to `log`, too."""

    def __init__(self, fd: int, log: Callable[[bytes], None], password: Secret | None = None) -> None:
        """`password` stands in no log and in no error, should the line echo it."""
        self._fd, self._password, self._log = fd, password, Hiding(log, password)
        self._kept = b""

    async def read(self, limit_s: float) -> bytes:
        """What comes next, or b"" when nothing does within the limit. Raises LinkLost when the port is gone."""
        if self._kept:
            kept, self._kept = self._kept, b""
            return kept
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._fd, arrived.set)
        try:
            async with asyncio.timeout(limit_s):
                await arrived.wait()
            data = os.read(self._fd, READ_BYTES)
        except (asyncio.TimeoutError, BlockingIOError):
            return b""
        except OSError as error:
            raise LinkLost(f"the port is gone: {error.strerror}") from error
        finally:
            loop.remove_reader(self._fd)
        if not data:
            raise LinkLost("the port is gone")
        self._log(data)
        return data

    def close(self) -> None:
        """Nothing is read here any longer. The descriptor is not ours."""
        self._log.rest()

    async def write(self, data: bytes) -> None:
        """Raises LinkLost when the port is gone, or takes nothing for long: something holds the line with XOFF."""
        self._log.typed(data)
        deadline = time.monotonic() + WRITE_LIMIT_S
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LinkLost(f"the port took nothing for {WRITE_LIMIT_S:g} s") from None
                await asyncio.sleep(0.02)
            except OSError as error:
                raise LinkLost(f"the port is gone: {error.strerror}") from error

    async def until(self, wanted: re.Pattern[bytes], limit_s: float, what: str) -> re.Match[bytes]:
        """Reads until it is there; what came behind it is read next. Raises LinkLost with what was heard instead."""
        heard, deadline = b"", time.monotonic() + limit_s
        while not (found := wanted.search(heard)):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                tail = words(hidden(heard, self._password)[-200:]) or "(nothing)"
                raise LinkLost(f"waited {limit_s:g} s for {what}; the last words were: {tail}")
            heard = heard[-KEPT_BYTES:] + await self.read(left_s)
        self._kept = heard[found.end() :] + self._kept
        return found

    async def log_in(self, login: Login) -> None:
        """Raises what the login came to, if that is no shell."""
        while not login.done:
            if login.error:
                raise login.error
            await self.write(login.due(time.monotonic_ns()))
            login.hear(await self.read(LOOK_S), time.monotonic_ns())

    async def ask(self, command: str, limit_s: float = 10.0, tries: int = 3) -> tuple[str, int]:
        """What a command printed, without its echo, and its exit status. It may be run more than once: answers get lost."""
        for number in range(tries):
            word = secrets.token_hex(4)
            typed = f" echo '<'{word}; {command}; echo \"$?\"'>'{word}\r"
            answer = re.compile(b"<%b\r?\n(.*?)(\\d{1,3})>%b\r?\n" % ((word.encode(),) * 2), re.DOTALL)
            await self.write(typed.encode())
            try:
                found = await self.until(answer, limit_s, f"the answer to {words(command, 60)!r}")
            except LinkLost:
                if number + 1 == tries:
                    raise
                await self.write(b"\x03\x15\r")  # whatever stands half typed there
            else:
                return found[1].replace(b"\r", b"").decode("utf-8", "replace").strip("\n"), int(found[2])
        raise AssertionError("the last try returns or raises")
