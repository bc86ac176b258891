"""A block device that can be made to fail: device-mapper, asked by ioctl, because a board need not have its tool.

    make ─► linear (it works) ◄── load ──► flakey: writes fail, or everything does      remove

Never the target "error": it lets go of the device below, and a loop device that nobody holds is gone. The numbers and structures are
those of <linux/dm-ioctl.h>, version 4.
"""

from __future__ import annotations

import errno
import os
import struct
import time

from .kernel_files import text

CONTROL = "/dev/mapper/control"
_CREATE, _REMOVE, _SUSPEND, _LOAD, _TABLE = 3, 4, 6, 9, 12
_SUSPENDED, _STATUS_TABLE, _SKIP_LOCKFS = 1 << 1, 1 << 4, 1 << 10
_HEAD = "=3I5I2IQ128s129s7x"
_HEAD_BYTES = struct.calcsize(_HEAD)
_ROOM = 4096
NODE_S = 5.0


def make(name: str, source: str) -> str:
    """A device over the whole of `source`, which works; its node. Raises OSError."""
    _load_modules()
    _ask(_CREATE, name)
    try:
        _put(name, "", source)
    except BaseException:
        _ask(_REMOVE, name)
        raise
    made = node(name)
    deadline = time.monotonic() + NODE_S
    while not os.path.exists(made) and time.monotonic() < deadline:
        time.sleep(0.01)
    return made


def node(name: str) -> str:
    """Raises OSError where there is none of that name."""
    return f"/dev/dm-{_minor(name)}"


def load(name: str, fails: str) -> None:
    """From now on "writes" fail, or "everything" does, or nothing (""). Raises OSError."""
    (below,) = os.listdir(f"/sys/class/block/dm-{_minor(name)}/slaves")
    _put(name, fails, f"/dev/{below}")


def there(name: str) -> bool:
    """Whether there is one, with a table or without."""
    try:
        _ask(_TABLE, name, flags=_STATUS_TABLE)
    except OSError:
        return False
    return True


def target(name: str) -> str:
    """What it is now; "" where there is none."""
    try:
        words = _table(name)
    except OSError:
        return ""
    return words[0] if words else ""


def remove(name: str) -> None:
    """It is gone, or was never there. Raises nothing: who looks finds out."""
    deadline = time.monotonic() + NODE_S
    while time.monotonic() < deadline:
        try:
            _ask(_REMOVE, name)
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                return
            time.sleep(0.05)


_TABLES = {"": ("linear", ""), "writes": ("flakey", " 0 3600 1 error_writes"), "everything": ("flakey", " 0 3600")}


def _put(name: str, fails: str, source: str) -> None:
    """A new table for the whole of `source`: 0 s of every hour it works.

    A file system on it is frozen, and so written out, before it begins to fail. One that fails is not: it would never be clean.
    """
    target, how = _TABLES[fails]
    sectors = int(text(f"/sys/class/block/{os.path.basename(os.path.realpath(source))}/size"))
    words = f"{source} 0{how}".encode() + b"\0"
    words += bytes(-len(words) % 8)
    spec = struct.pack("=QQiI16s", 0, sectors, 0, 0, target.encode()) + words
    _ask(_LOAD, name, payload=spec, targets=1)
    _ask(_SUSPEND, name, flags=_SUSPENDED | (0 if fails else _SKIP_LOCKFS))
    _ask(_SUSPEND, name)  # resumed, with the new table


def _table(name: str) -> list[str]:
    """The target's type and its parameters."""
    answer = _ask(_TABLE, name, flags=_STATUS_TABLE)
    start = struct.unpack_from("=I", answer, 16)[0]
    if struct.unpack_from("=I", answer, 20)[0] == 0:
        return []
    kind = answer[start + 24 : start + 40].partition(b"\0")[0].decode()
    words = answer[start + 40 :].partition(b"\0")[0].decode("ascii", "replace").split()
    return [kind, *words]


def _minor(name: str) -> int:
    device: int = struct.unpack_from("=Q", _ask(_TABLE, name, flags=_STATUS_TABLE), 40)[0]
    return (device & 0xFF) | ((device >> 12) & 0xFFF00)


def _ask(command: int, name: str, flags: int = 0, payload: bytes = b"", targets: int = 0) -> bytes:
    import array
    import fcntl

    head = struct.pack(_HEAD, 4, 0, 0, _HEAD_BYTES + _ROOM, _HEAD_BYTES, targets, 0, flags, 0, 0, 0, name.encode(), b"")
    data = array.array("B", head + payload + bytes(_ROOM - len(payload)))
    number = (3 << 30) | (_HEAD_BYTES << 16) | (0xFD << 8) | command
    control = os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(control, number, data, True)
    finally:
        os.close(control)
    return data.tobytes()


def _load_modules() -> None:
    import subprocess

    for module in ("dm-mod", "dm-flakey"):
        for tool in ("/usr/sbin/modprobe", "/sbin/modprobe"):
            if os.path.exists(tool):
                subprocess.run([tool, "-q", module], stdin=subprocess.DEVNULL, timeout=30, check=False)
                break
    if not os.path.exists(CONTROL) and os.path.isdir("/sys/class/misc/device-mapper"):
        major, _, minor = text("/sys/class/misc/device-mapper/dev").strip().partition(":")
        os.makedirs(os.path.dirname(CONTROL), exist_ok=True)
        import stat

        os.mknod(CONTROL, stat.S_IFCHR | 0o600, os.makedev(int(major), int(minor)))
