"""The host's end of a board's data NIC: a tap in a network namespace without a name, so nothing can be left behind.

guest data0 10.77.0.2 ── QEMU ── tap data0 10.77.0.1, alone in a namespace that only two descriptors keep alive

Root makes the network namespace as it is; everybody else inside a user namespace of their own, where the kernel allows that.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import threading
from dataclasses import dataclass

MAX_WAITING_FRAMES = 10_000
CLONE_NEWNET, CLONE_NEWUSER = 0x40000000, 0x10000000


@dataclass(frozen=True)
class Tap:
    """Two descriptors; when both are closed (here and in QEMU), neither tap nor namespace exists any more."""

    tap_fd: int  # for QEMU
    namespace_fd: int  # for whoever wants to shape or serve on the host's end, 10.77.0.1/24

    def drain(self) -> None:
        """Throw away what was sent while no machine was there to take it: a board that is off hears nothing."""
        os.set_blocking(self.tap_fd, False)
        for _ in range(MAX_WAITING_FRAMES):
            try:
                os.read(self.tap_fd, 65_536)
            except OSError:  # nothing more, or the interface is down
                return

    def close(self) -> None:
        """Let go of both; QEMU's copy of the tap keeps it alive while QEMU runs."""
        os.close(self.tap_fd)
        os.close(self.namespace_fd)


def open_tap(name: str = "data0", address: str = "10.77.0.1", netmask: str = "255.255.255.0") -> Tap | str:
    """A tap that is up with `address`, or the reason why this process may not have one. The host's net stays as is."""
    if os.geteuid() != 0:
        return _from_a_child(name, address, netmask)
    outcome: list[Tap | str] = []

    def in_a_thread_of_its_own() -> None:  # unshare() moves only the calling thread
        try:
            outcome.append(_tap_in_new_namespace(name, address, netmask))
        except OSError as error:
            outcome.append(f"no tap: {error}")

    thread = threading.Thread(target=in_a_thread_of_its_own)
    thread.start()
    thread.join()
    return outcome[0]


def _from_a_child(name: str, address: str, netmask: str) -> Tap | str:
    """The same for who is not root: a child becomes root of a user namespace, makes both there, and hands them over."""
    ours, theirs = socket.socketpair()
    uid, gid = os.geteuid(), os.getegid()
    child = os.fork()
    if child == 0:
        try:
            _unshare(CLONE_NEWUSER)
            for file, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
                with open(f"/proc/self/{file}", "w") as map_file:
                    map_file.write(text)
            tap = _tap_in_new_namespace(name, address, netmask)
            theirs.sendmsg([b"+"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [tap.tap_fd, tap.namespace_fd]))])
        except OSError as error:
            theirs.send(f"no tap in a user namespace: {error}".encode()[:500])
        finally:
            os._exit(0)
    theirs.close()
    said, descriptors = b"", array.array("i")
    with ours:
        said, more, _, _ = ours.recvmsg(512, socket.CMSG_LEN(2 * descriptors.itemsize))
        for level, kind, data in more:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    os.waitpid(child, 0)
    if len(descriptors) == 2:
        for fd in descriptors:
            os.set_inheritable(fd, False)
        return Tap(*descriptors)
    return said.decode(errors="replace") or "no tap in a user namespace: it ended without a word"


def _unshare(what: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(what) != 0:
        raise OSError(ctypes.get_errno(), f"unshare({what:#x}): " + os.strerror(ctypes.get_errno()))


def _confirmed_for_an_hour(name: str) -> None:
    """The board's address, once known: over a link that answers after ten seconds nobody learns it again.

    The timers of the board's own side are the fault's; where this cannot be written, slow links lose packets that nobody asked for.
    """
    with contextlib.suppress(OSError), open(f"/proc/sys/net/ipv4/neigh/{name}/base_reachable_time_ms", "w") as file:
        file.write("3600000")


def _tap_in_new_namespace(name: str, address: str, netmask: str) -> Tap:
    tunsetiff, iff_tap_no_header = 0x400454CA, 0x0002 | 0x1000
    siocsifaddr, siocsifnetmask, siocsifflags, iff_up_running = 0x8916, 0x891C, 0x8914, 0x1 | 0x40
    _unshare(CLONE_NEWNET)
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(tap, tunsetiff, struct.pack("16sH22x", name.encode(), iff_tap_no_header))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            for request, value in ((siocsifaddr, address), (siocsifnetmask, netmask)):
                sockaddr = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
                fcntl.ioctl(control, request, struct.pack("16s16s8x", name.encode(), sockaddr))
            fcntl.ioctl(control, siocsifflags, struct.pack("16sH22x", name.encode(), iff_up_running))
        _confirmed_for_an_hour(name)
        return Tap(tap, os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        os.close(tap)
        raise
