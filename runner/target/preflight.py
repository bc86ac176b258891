"""One look at a device before anything is installed there: can it hold us at all, and do we live there already?

    python -c LOOK state script   ─►   {"python": "3.11.2", "free_bytes": …, "installed": false}   ─►   Found
                                       … or the one sentence that says what is missing

LOOK runs on any Python since 2.6, so that an old one can say how old it is. It does not ask whether the disk could be
written: it writes and flushes a block of a file without a name, because permissions, quotas and a file system that went read-only after an
error all lie when they are only asked. The wall clock is not looked at: every duration comes from the boot-time clock, and a
device that believes in 1970 or 2106 is as good as any. What it answers is a stranger's word: bounded, and its shape checked.
"""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from typing import Any

from runner.errors import LabError
from runner.target.transports.base import Completed, NoSuchCommand, Transport, words

LIMIT_S = 60.0
OLDEST_PYTHON = (3, 9)  # what `ondevice/` is written for
NEEDED_BYTES = 64 << 20  # the supervisor, a pipeline's wheels unpacked and compiled, and journals
MAX_ANSWER_BYTES = 4096
LOOK = """
import json, os, sys
state, script = sys.argv[1:3]
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
except EnvironmentError:
    said.update(errno=sys.exc_info()[1].errno)
print(json.dumps(said))
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
