"""The small disk of an execution: a file system of its own, in an image of its own, at the folder that stages get as SCARCE_FOLDER.

    supervisor, before a host runs:    <execution>/scarce.img ─ loop ─(device-mapper)─ ext4 ─► <state>/scarce
    guard, at the profile's time:      @supervisor disk spoil (JSON) ─► full | no_inodes | read_only | io_errors ─► @supervisor disk mend

The device's own disks are never touched. A power cut leaves the image where it is, in the execution's folder; the next supervisor mounts
it again, mended, because at boot everything is taken back. What spoils it is looked at right away: a disk that takes a block is not full.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
import time
from typing import Any, Callable

from .cgroup import hosts_of
from .say import say
from .scarce_figures import ERRORS

FOLDER, IMAGE = "scarce", "scarce.img"
BALLAST = ".runner-ballast"  # what it is filled with; nobody else's file has that name
INODES = 256  # of a disk whose inodes are to run out: so many files are made in no time
REMOVE_S, BUSY_S = 10.0, 5.0
FAILED, WRONG = 1, 64
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MNT_DETACH = 1, 2, 4, 32, 2
_LOOP_SET_FD, _LOOP_SET_STATUS64, _LOOP_CTL_GET_FREE, _AUTOCLEAR = 0x4C00, 0x4C04, 0x4C82, 4
_BLOCK = 4096
_TOOLS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class SmallDisk:
    """The one of a state folder. `make` and `remove` are the supervisor's, `spoil` and `mend` the guard's."""

    def __init__(self, state: str) -> None:
        self.state, self.place = os.path.abspath(state), os.path.join(os.path.abspath(state), FOLDER)

    def make(self, folder: str, size_mib: int, few_inodes: bool, mapped: bool) -> str:
        """Mounted, empty where there was no image in `folder` yet, and not spoilt; returns the place. Raises OSError.

        `mapped`: with device-mapper between, so that it can be made to fail.
        """
        image = os.path.join(os.path.abspath(folder), IMAGE)
        if self.source() and self._image() == image:  # a supervisor was killed, and the guard may hold it spoilt
            return self.place
        self.remove()
        _tool("modprobe", "-q", "loop", fails=False)
        if not os.path.exists(image):
            with open(image + ".new", "wb") as file:
                file.truncate(size_mib << 20)
            inodes = ["-N", str(INODES)] if few_inodes else []
            _tool("mkfs.ext4", "-q", "-F", "-m", "0", *inodes, "-E", "lazy_itable_init=0,lazy_journal_init=0", image + ".new")
            os.rename(image + ".new", image)
        os.makedirs(self.place, mode=0o700, exist_ok=True)
        loop = _attach(image)
        try:
            source = f"/dev/{os.path.basename(os.readlink(f'/proc/self/fd/{loop}'))}"
            if mapped:
                from . import mapper

                source = mapper.make(self._mapped, source)
            _mount(source, self.place, _MS_NOSUID | _MS_NODEV)
        finally:
            os.close(loop)
        self._unfill()
        return self.place

    def remove(self) -> list[str]:
        """Unmounted and detached, its image left where it is; what is left, in words. What is not there is no error.

        Whoever has a file open on it keeps the device below it, though nothing is mounted any more.
        """
        deadline = time.monotonic() + REMOVE_S
        while self.source() and time.monotonic() < deadline:
            _umount(self.place, 0 if time.monotonic() < deadline - REMOVE_S / 2 else _MNT_DETACH)
            if self.source():
                time.sleep(0.05)
        from . import mapper

        mapper.remove(self._mapped)
        with contextlib.suppress(OSError):
            os.rmdir(self.place)
        left = [self.place] if os.path.isdir(self.place) else []
        left += [self._mapped] if mapper.there(self._mapped) else []
        return [f"{each} is still there" for each in left]

    @property
    def _mapped(self) -> str:
        import hashlib

        return "runner-scarce-" + hashlib.sha256(self.state.encode()).hexdigest()[:8]

    def source(self) -> str:
        """The block device that is mounted there; "" for none."""
        return next((words[0] for words in _mounted() if words[1] == self.place.replace(" ", "\\040")), "")

    def _image(self) -> str:
        """The file that the mounted one lies in."""
        block = os.path.basename(os.path.realpath(self.source()))
        below = f"/sys/class/block/{block}/slaves"
        lower = os.listdir(below)[:1] if os.path.isdir(below) else []
        try:
            with open(f"/sys/class/block/{(lower or [block])[0]}/loop/backing_file") as file:
                return file.read().rstrip("\n")
        except OSError:
            return ""

    def figures(self) -> dict[str, Any]:
        """Bytes in use, free bytes (fewer than the rest: a file system keeps some back) and free inodes, whether it is read-only, and
        whether its medium fails; {} where it is not mounted.
        """
        if not self.source():
            return {}
        found = os.statvfs(self.place)
        return {
            "bytes": found.f_blocks * found.f_frsize,
            "used_bytes": (found.f_blocks - found.f_bfree) * found.f_frsize,
            "free_bytes": found.f_bavail * found.f_frsize,
            "inodes": found.f_files,
            "free_inodes": found.f_favail,
            "read_only": bool(found.f_flag & os.ST_RDONLY),
            "fails": self._fails(),
        }

    # ---- the guard's ------------------------------------------------------------------------------------

    def spoil(self, what: str, fails: str = "writes") -> str:
        """What is seen of it in words, e.g. "ENOSPC". Raises OSError or ValueError where it is not so afterwards."""
        if not self.source():
            raise ValueError(f"no small disk is mounted at {self.place}")
        acts: dict[str, Callable[[], None]] = {
            "full": self._fill,
            "no_inodes": self._use_up,
            "read_only": self._close,
            "io_errors": lambda: self._fail(fails),
        }
        acts[what]()
        found = self.tried()
        if found not in EXPECTED[what]:
            raise ValueError(f"{what}: expected {' or '.join(EXPECTED[what])} at {self.place}, found {found or 'that it takes a file'}")
        return found

    def mend(self, *, keep: bool = False) -> list[str]:
        """It takes files again, or is not there; what is wrong, in words. Where nobody runs on it any more it is removed, but if told to
        `keep` it."""
        if not (self.source() or self._half_healed()) or not (keep or hosts_of(self.state)):
            return self.remove()
        try:
            if self._half_healed() or "/dm-" in os.path.realpath(self.source()):
                self._heal()
            _remount(self.place, 0)
            self._unfill()
        except OSError as error:
            return [str(error)]
        return self.seen()

    def seen(self) -> list[str]:
        """In words, what of a spoilt disk is there: nothing of one that was never made."""
        figures = self.figures()
        if not figures:
            return [f"spoilt: nothing is mounted at {self.place}"] if self._half_healed() else []
        found = ["spoilt: read-only"] if figures["read_only"] else []
        found += ["spoilt: filled"] if os.path.exists(os.path.join(self.place, BALLAST)) else []
        return [*found, f"spoilt: {self.place} fails"] if self._fails() else found

    def tried(self) -> str:
        """What becomes of one small file there, to its flush: "" if all goes well, else the error by its name.

        Where the medium fails, the medium is asked, and no file: a file system gives up at its first error, and that one is the
        application's to meet.
        """
        if self._fails():
            return self._tried_below()
        path = os.path.join(self.place, f".runner-try-{os.getpid()}")
        try:
            with open(path, "wb") as file:
                file.write(b"\0" * 4096)
                file.flush()
                os.fsync(file.fileno())
            return ""
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, str(error.errno))
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _fails(self) -> bool:
        if "/dm-" not in os.path.realpath(self.source()):
            return False
        from . import mapper

        return mapper.target(self._mapped) not in ("linear", "")

    def _half_healed(self) -> bool:
        """Whether its medium works again, or still fails, and it could not be mounted anew: what is removed has no folder, either."""
        if self.source() or not os.path.isdir(self.place):
            return False
        from . import mapper

        return mapper.target(self._mapped) != ""

    def _tried_below(self) -> str:
        """The last block of the device, read and written as it is, past all caches."""
        import mmap

        page = mmap.mmap(-1, _BLOCK)
        handle = os.open(self.source(), os.O_RDWR | getattr(os, "O_DIRECT", 0) | os.O_CLOEXEC)
        try:
            place = os.lseek(handle, 0, os.SEEK_END) // _BLOCK * _BLOCK - _BLOCK
            os.preadv(handle, [page], place)
            os.pwritev(handle, [page], place)
            return ""
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, str(error.errno))
        finally:
            os.close(handle)

    def _fill(self) -> None:
        """Blocks first, in halves, until not even one is left."""
        with open(os.path.join(self.place, BALLAST), "ab") as file:
            size = 16 << 20
            while size >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2
            os.fsync(file.fileno())

    def _use_up(self) -> None:
        ballast = os.path.join(self.place, BALLAST)
        os.makedirs(ballast, exist_ok=True)
        number = 0
        while True:
            try:
                os.close(os.open(os.path.join(ballast, str(number)), os.O_CREAT | os.O_WRONLY, 0o600))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                return
            number += 1

    def _unfill(self) -> None:
        ballast = os.path.join(self.place, BALLAST)
        if os.path.isdir(ballast):
            shutil.rmtree(ballast)
        elif os.path.exists(ballast):
            os.unlink(ballast)
        else:
            return
        folder = os.open(self.place, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _close(self) -> None:
        """Whoever has a file open for writing at this moment keeps it from being closed: it is tried for some seconds."""
        deadline = time.monotonic() + BUSY_S
        while True:
            try:
                return _remount(self.place, _MS_RDONLY)
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _fail(self, fails: str) -> None:
        from . import mapper

        mapper.load(self._mapped, fails)

    def _heal(self) -> None:
        """A file system that met errors has given up: mounted anew, its own journal mends it. Whoever has a file open on it keeps it from
        that: it is tried for some seconds. Raises OSError; nothing is mounted then, and that is seen (`seen`)."""
        from . import mapper

        failed = mapper.target(self._mapped) != "linear"
        if failed:
            mapper.load(self._mapped, "")
        if failed or self.figures().get("read_only"):  # else whoever loaded it was killed before it got here
            _umount(self.place, _MNT_DETACH)
        source, deadline = mapper.node(self._mapped), time.monotonic() + BUSY_S
        while not self.source():
            _tool("e2fsck", "-p", source, fails=False)  # which lets alone what is in use
            try:
                _mount(source, self.place, _MS_NOSUID | _MS_NODEV)
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


EXPECTED = {what: errors[:1] for what, errors in ERRORS.items()}


def capabilities(has: Callable[[str, str], bool]) -> list[str]:
    """Whether small disks can be made here ("loop"), and be made to fail ("device-mapper"); nothing is loaded to find out."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4", path=_TOOLS):
        return []
    loop = os.path.exists("/dev/loop-control") or has("loop", "CONFIG_BLK_DEV_LOOP")
    mapped = has("dm-mod", "CONFIG_BLK_DEV_DM") and has("dm-flakey", "CONFIG_DM_FLAKEY")
    return ["loop", *(["device-mapper"] if mapped else [])] if loop else []


def _mounted() -> list[list[str]]:
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
        return [line.split(" ") for line in file]


def _attach(image: str) -> int:
    """A loop device over the image, open, and gone with its last user."""
    import fcntl
    import struct

    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(20):
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            loop = os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(loop, _LOOP_SET_FD, backing)
            except OSError as error:
                os.close(loop)
                if error.errno == errno.EBUSY:  # somebody else was faster
                    continue
                raise
            name = os.fsencode(image)[-63:]
            fcntl.ioctl(loop, _LOOP_SET_STATUS64, struct.pack("=5Q4I64s64s32s2Q", 0, 0, 0, 0, 0, 0, 0, 0, _AUTOCLEAR, name, b"", b"", 0, 0))
            return loop
        raise OSError(errno.EBUSY, "no loop device is free")
    finally:
        os.close(backing)
        os.close(control)


def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _checked(status: int, what: str) -> None:
    import ctypes

    if status:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, place: str, flags: int) -> None:
    _checked(_libc().mount(os.fsencode(source), os.fsencode(place), b"ext4", flags, b"errors=remount-ro"), f"mount {source}")


def _remount(place: str, flags: int) -> None:
    _checked(_libc().mount(b"none", os.fsencode(place), None, flags | _MS_REMOUNT | _MS_NOSUID | _MS_NODEV, None), f"remount {place}")


def _umount(place: str, flags: int) -> bool:
    return bool(_libc().umount2(os.fsencode(place), flags) == 0)


def _tool(name: str, *arguments: str, fails: bool = True) -> None:
    """Raises OSError for a tool that is not there, or fails, where that matters."""
    import subprocess

    path = shutil.which(name, path=_TOOLS)
    if path is None:
        if fails:
            raise OSError(errno.ENOENT, f"there is no {name} here")
        return
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    done = subprocess.run([path, *arguments], stdin=nothing, stdout=pipe, stderr=subprocess.STDOUT, timeout=60, check=False)
    if done.returncode and fails:
        raise OSError(errno.EIO, f"{name}: {done.stdout.decode('utf-8', 'replace').strip()[-200:]}")


def main(arguments: list[str]) -> int:
    """`disk spoil` (JSON from standard input), `disk mend`, `disk mend kept`, `disk shown`."""
    disk = SmallDisk(os.environ.get("RUNNER_STATE", ""))
    if not os.environ.get("RUNNER_STATE"):
        say("RUNNER_STATE does not say whose disk")
        return WRONG
    try:
        if arguments == ["spoil"]:
            asked = json.loads(sys.stdin.read())
            say(disk.spoil(asked["what"], asked.get("fails", "writes")), sys.stdout)
            return 0
        if arguments in (["mend"], ["mend", "kept"]):
            wrong = disk.mend(keep="kept" in arguments)
        elif arguments == ["shown"]:
            say("\n".join(disk.seen()), sys.stdout)
            return 0
        else:
            say("usage: disk spoil | mend [kept] | shown")
            return WRONG
    except (OSError, ValueError, KeyError) as error:
        wrong = [f"{type(error).__name__}: {error}"]
    for each in wrong:
        say(each)
    return FAILED if wrong else 0
