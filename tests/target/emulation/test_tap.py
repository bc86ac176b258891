"""The data NIC's other end: made, alone, and gone with its descriptors."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.target.emulation import tap
from runner.target.emulation.tap import CLONE_NEWNET, Tap

needs_tun = pytest.mark.skipif(not os.access("/dev/net/tun", os.R_OK | os.W_OK), reason="needs /dev/net/tun, readable and writable")
WAYS: dict[str, Callable[[], Tap | str]] = {
    "as root": tap.open_tap,
    "in a user namespace": lambda: tap._from_a_child("data0", "10.77.0.1", "255.255.255.0"),
}


def interfaces() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def inside(namespace_fd: int, name: str) -> tuple[str, str]:
    """The IPv4 address of an interface and how long its neighbours count, asked in the namespace by a thread of its own."""
    said: list[tuple[str, str]] = []

    def ask() -> None:
        os.setns(namespace_fd, CLONE_NEWNET) if hasattr(os, "setns") else tap.ctypes.CDLL(None).setns(namespace_fd, CLONE_NEWNET)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            reply = fcntl.ioctl(control, 0x8915, struct.pack("16s16s8x", name.encode(), b""))
        said.append((socket.inet_ntoa(reply[20:24]), Path(f"/proc/sys/net/ipv4/neigh/{name}/base_reachable_time_ms").read_text().strip()))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return said[0]


@needs_tun
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to look into the namespace")
@pytest.mark.parametrize("way", WAYS)
def test_a_tap_stands_in_a_namespace_of_its_own(way: str) -> None:
    """It has its address there, the host's own network sees nothing of it, and both descriptors close without a trace."""
    before = interfaces()
    made = WAYS[way]()
    assert isinstance(made, Tap), made
    try:
        assert inside(made.namespace_fd, "data0") == ("10.77.0.1", "3600000")
        assert interfaces() == before
        assert not os.get_inheritable(made.tap_fd) and not os.get_inheritable(made.namespace_fd)
    finally:
        made.close()


def test_who_may_not_have_one_hears_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither way raises: a board without a tap is a board whose data NIC leads nowhere, and says so."""

    def refused(what: int) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(tap, "_unshare", refused)
    for way in WAYS.values():
        said = way()
        assert isinstance(said, str) and "Operation not permitted" in said
