"""The host's end of a board's data NIC: a tap in a network namespace without a name, so nothing can be left behind.

guest data0 10.77.0.2 ── QEMU ── tap data0 10.77.0.1, alone in a namespace that only two descriptors keep alive
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Tap:
    """Two descriptors; when both are closed (here and in QEMU), neither tap nor namespace exists any more."""

    tap_fd: int  # for QEMU
    namespace_fd: int  # for whoever wants to shape or serve on the host's end, 10.77.0.1/24

    def close(self) -> None:
        """Let go of both; QEMU's copy of the tap keeps it alive while QEMU runs."""
        os.close(self.tap_fd)
        os.close(self.namespace_fd)


def open_tap(name: str = "data0", address: str = "10.77.0.1", netmask: str = "255.255.255.0") -> Tap | str:
    """A tap that is up with `address`, or the reason why this process may not have one. The host's net stays as is."""
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


def _tap_in_new_namespace(name: str, address: str, netmask: str) -> Tap:
    clone_newnet, tunsetiff, iff_tap_no_header = 0x40000000, 0x400454CA, 0x0002 | 0x1000
    siocsifaddr, siocsifnetmask, siocsifflags, iff_up_running = 0x8916, 0x891C, 0x8914, 0x1 | 0x40
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(clone_newnet) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET): " + os.strerror(ctypes.get_errno()))
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(tap, tunsetiff, struct.pack("16sH22x", name.encode(), iff_tap_no_header))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            for request, value in ((siocsifaddr, address), (siocsifnetmask, netmask)):
                sockaddr = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
                fcntl.ioctl(control, request, struct.pack("16s16s8x", name.encode(), sockaddr))
            fcntl.ioctl(control, siocsifflags, struct.pack("16sH22x", name.encode(), iff_up_running))
        return Tap(tap, os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        os.close(tap)
        raise
