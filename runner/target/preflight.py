"""One look at a device before anything is installed there: can it hold us at all, and do we live there already?

    python -c LOOK state script   ─►   {"python": "3.11.2", "free_bytes": …, "installed": false}   ─►   Found
                                       … or the one sentence that says what is missing

    python -c LOOK state script attach socket   ─►   the same, "joined": true, and then the supervisor's own words

Where the supervisor runs already, the look goes on as the bridge to it: a board's Python takes longer to start than to
answer. Nothing is said to the supervisor before what was found is judged here.

LOOK runs on any Python since 2.6, so that an old one can say how old it is. It does not ask whether the disk could be
written: it writes and flushes a block of a file without a name, because permissions, quotas and a file system that went read-only after an
error all lie when they are only asked. The wall clock is not looked at: every duration comes from the boot-time clock, and a
device that believes in 1970 or 2106 is as good as any. What it answers is a stranger's word: bounded, and its shape checked.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
from dataclasses import dataclass
from typing import Any

from runner.errors import LabError
from runner.target.transports.base import Completed, LinkLost, NoSuchCommand, Stream, Transport, words

LIMIT_S = 60.0
OLDEST_PYTHON = (3, 9)  # what `ondevice/` is written for
NEEDED_BYTES = 64 << 20  # the supervisor, a pipeline's wheels unpacked and compiled, and journals
MAX_ANSWER_BYTES = 4096
MAX_GREETING_LINES = 200  # what a login shell may print before the answer
LOOK = """
import json, os, sys
state, script = sys.argv[1:3]
supervisor = None
said = {"python": "%d.%d.%d" % sys.version_info[:3]}
def look():
    near = state
    while not os.path.exists(near) and near != os.path.dirname(near):
        near = os.path.dirname(near)
    disk = os.statvfs(near)
    said.update(free_bytes=disk.f_bavail * disk.f_frsize, owner=os.stat(near).st_uid if near == state else os.geteuid(), we=os.geteuid())
    if said["owner"] != said["we"]:
        return
    os.path.isdir(state) or os.makedirs(state, 448)
    probe = os.path.join(state, ".preflight-%d" % os.getpid())
    fd = os.open(probe, os.O_WRONLY | os.O_CREAT, 384)
    os.unlink(probe)
    os.write(fd, b"x" * 4096)
    os.fsync(fd)
    said.update(installed=os.path.exists(os.path.join(os.path.dirname(script), ".whole")))
try:
    look()
    if said.get("installed") and sys.argv[3:4] == ["attach"]:
        sys.path.insert(0, os.path.dirname(script))
        from ondevice import bridge
        supervisor = bridge.join_ours(state, script, sys.argv[4])
except EnvironmentError:
    said.update(errno=sys.exc_info()[1].errno)
print(json.dumps(dict(said, joined=supervisor is not None)))
sys.stdout.flush()
if supervisor is not None:
    bridge.relay(supervisor)
"""


@dataclass(frozen=True)
class Found:
    """What a device that can hold us says of itself."""

    installed: bool  # the supervisor of this very hash is there, whole
    free_bytes: int  # for us, below the state folder
    python: str  # "3.11.2"


async def inspect(transport: Transport, name: str, python: str, state: str, script: str) -> Found:
    """What device `name` has for a supervisor that lives in `state` there and starts from `script`.

    Raises LabError with one sentence that says what is wrong with the device, and LinkLost when it does not answer. Nothing
    was installed then; the state folder may have been made.
    """
    try:
        done = await transport.run([python, "-c", LOOK, state, script], timeout_s=LIMIT_S)
    except NoSuchCommand:
        done = Completed(127, b"", b"")
    return _found(name, python, state, done)


async def look_and_join(transport: Transport, name: str, python: str, state: str, script: str, socket: str) -> tuple[Found, Stream | None]:
    """`inspect`, and in the same process on the device the way to its supervisor, if that runs already and is the one installed.

    A device that gives no answer is asked again by `inspect`, which hears its complaints and its exit status, too.
    """
    try:
        stream = await transport.stream([python, "-c", LOOK, state, script, "attach", socket])
    except NoSuchCommand:
        return await inspect(transport, name, python, state, script), None
    joined = False
    try:
        answer, behind = await _first_answer(stream, f"{python} on {name}")
        if answer:
            found = _found(name, python, state, Completed(0, answer, b""))
            joined = json.loads(answer).get("joined") is True
            return found, Begun(stream, behind) if joined else None
    finally:
        if not joined:
            await stream.close()
    return await inspect(transport, name, python, state, script), None


class Begun:
    """A stream of which something was read already: that comes first."""

    def __init__(self, stream: Stream, first: bytes) -> None:
        self._stream, self._first = stream, first

    async def read(self) -> bytes:
        first, self._first = self._first, b""
        return first or await self._stream.read()

    async def write(self, data: bytes) -> None:
        await self._stream.write(data)

    async def close(self) -> None:
        await self._stream.close()


def busy(name: str) -> str:
    """What to do about a device that does not answer."""
    return f"look whether it, or this machine, is busy; what it prints, if anybody hears it: runner device console {name}"


async def _first_answer(stream: Stream, who: str) -> tuple[bytes, bytes]:
    """The first line that LOOK could have printed, and what came behind it; b"" when it ends, or says much, without one."""
    rest, lines = b"", 0
    try:
        async with asyncio.timeout(LIMIT_S):
            while lines < MAX_GREETING_LINES and len(rest) <= MAX_ANSWER_BYTES and (piece := await stream.read()):
                rest += piece
                while lines < MAX_GREETING_LINES and b"\n" in rest:
                    line, _, rest = rest.partition(b"\n")
                    lines += 1
                    if _answer(line) is not None:
                        return line, rest
    except asyncio.TimeoutError:
        raise LinkLost(f"no answer from {who}, within {LIMIT_S:g} s", do=busy(who)) from None
    return b"", b""


def _found(name: str, python: str, state: str, done: Completed) -> Found:
    if done.exit_status in (126, 127):
        raise LabError(f"{name} has no Python that runs: {python}", do=f"install Python {_dotted(OLDEST_PYTHON)} or later there")
    said = _answer(done.stdout)
    if said is None:
        heard = words(done.stderr.strip()[-300:] or done.stdout.strip()[-300:]) or "(nothing)"
        raise LabError(f"{python} on {name} gives no answer, but exit status {done.exit_status}: {heard}")
    if _version(said["python"]) < OLDEST_PYTHON:
        raise LabError(f"{name} has Python {words(said['python'], 20)}", expected=f"{_dotted(OLDEST_PYTHON)} or later")
    free, owner, we = (said.get(key) for key in ("free_bytes", "owner", "we"))
    if owner != we:
        raise LabError(f"{state} on {name} belongs to user {owner}, and we are user {we} there", do="give us a folder of our own")
    number = said.get("errno", 0)
    if number == errno.EROFS:
        raise LabError(f"the disk of {name} is read-only at {state}", do="look at its kernel's log: an error may have made it so")
    if number in (errno.ENOSPC, errno.EDQUOT) or (free is not None and not number and free < NEEDED_BYTES):
        raise LabError(
            f"the disk of {name} is full: {free} bytes are free for {state}",
            expected=f"at least {NEEDED_BYTES} bytes, and room for another file",
            do="free some space there",
        )
    if number:
        raise LabError(f"{state} cannot be written on {name}: {os.strerror(number)}", do="grant it to the user that we are there")
    if free is None or not isinstance(said.get("installed"), bool):
        raise LabError(f"{name} answers what no device of ours answers: {words(done.stdout[-300:])}")
    return Found(said["installed"], free, said["python"])


def _answer(stdout: bytes) -> dict[str, Any] | None:
    """The last line as the object that LOOK prints, whatever a login shell printed before it; None if it is none."""
    line = stdout.rstrip().rpartition(b"\n")[2]
    try:
        said = json.loads(line.decode()) if len(line) <= MAX_ANSWER_BYTES else None
        numbers = [said[key] for key in ("free_bytes", "owner", "we", "errno") if key in said] if isinstance(said, dict) else [None]
        whole = all(type(number) is int and 0 <= number < 2**63 for number in numbers)
        return said if whole and isinstance(said, dict) and _version(said.get("python")) else None
    except (ValueError, RecursionError):
        return None


def _version(said: object) -> tuple[int, ...]:
    """Major and minor number of "3.11.2"; () when that is no version."""
    parts = said.split(".") if isinstance(said, str) else []
    return tuple(map(int, parts[:2])) if len(parts) == 3 and all(part.isdecimal() and len(part) < 5 for part in parts) else ()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
