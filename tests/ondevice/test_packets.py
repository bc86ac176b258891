"""Packets as a capture has them: checksums that were left to the card, several packets in one, and what is none."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.ondevice.packets import (
    NEEDS_CHECKSUM,
    TCP_V4,
    TCP_V6,
    UDP,
    VIRTIO,
    came_over_the_link,
    destination,
    leaves_the_link,
    ones,
    whole,
)

PLAIN = VIRTIO.pack(0, 0, 0, 0, 0, 0)
ACK, PSH, FIN, CWR = 0x10, 0x08, 0x01, 0x80


def slow_sum(data: bytes) -> int:
    """RFC 1071 as it is written: 16-bit words, end-around carry. 0xFFFF for a packet whose checksum is right."""
    total = 0
    for (word,) in struct.iter_unpack(">H", data + b"\0" * (len(data) % 2)):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


def v4(protocol: int, body: bytes, to: str = "10.0.0.2", number: int = 7) -> bytes:
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), number, 0x4000, 64, protocol, 0, b"\x0a\0\0\1", socket.inet_aton(to))
    return head[:10] + ones(head).to_bytes(2, "big") + head[12:] + body


def v6(protocol: int, body: bytes, to: str = "fd00::2", whence: str = "fd00::1") -> bytes:
    ends = (socket.inet_pton(socket.AF_INET6, end) for end in (whence, to))
    return struct.pack(">IHBB", 6 << 28, len(body), protocol, 64) + b"".join(ends) + body


def tcp(data: bytes, flags: int = ACK, sequence: int = 0xFFFFFF00) -> bytes:
    return struct.pack(">HHIIBBHHH", 1, 2, sequence, 3, 0x50, flags, 4, 0, 0) + data


def udp(data: bytes) -> bytes:
    return struct.pack(">HHHH", 1, 2, 8 + len(data), 0) + data


def right(packet: bytes) -> bool:
    """Whether lengths and checksums of a packet are as a receiver wants them."""
    if packet[0] >> 4 == 4:
        start, addresses, protocol = 20, packet[12:20], packet[9]
        head = slow_sum(packet[:20]) == 0xFFFF and int.from_bytes(packet[2:4], "big") == len(packet)
    else:
        start, addresses, protocol = 40, packet[8:40], packet[6]
        head = int.from_bytes(packet[4:6], "big") == len(packet) - 40
    body = packet[start:]
    length = protocol != 17 or int.from_bytes(body[4:6], "big") == len(body)
    return head and length and slow_sum(addresses + struct.pack(">IxxxB", len(body), protocol) + body) == 0xFFFF


def test_a_plain_packet_is_as_it_came_without_what_a_short_frame_was_padded_with() -> None:
    """To its own length; a length that is beyond the packet is not ours to judge."""
    for packet in (v4(17, udp(b"x")), v6(17, udp(b"x"))):
        assert whole(PLAIN, packet + b"\0" * 17) == [packet]
        assert whole(PLAIN, packet[:-1]) == [packet[:-1]]


@given(data=st.binary(min_size=0, max_size=1501))
def test_the_sum_is_the_internets(data: bytes) -> None:
    """As RFC 1071 has it; data and its sum together are right."""
    even = data + b"\0" * (len(data) % 2)
    assert slow_sum(even + ones(data).to_bytes(2, "big")) == 0xFFFF


@pytest.mark.parametrize("link_bytes", [0, 14])
@pytest.mark.parametrize("size", [0, 1, 2, 700])
def test_a_checksum_that_was_left_to_the_card_is_done(size: int, link_bytes: int) -> None:
    """The sum over the pseudo header stands there already; it is counted from the beginning of the frame."""
    body = udp(b"y" * size)
    pseudo = slow_sum(b"\x0a\0\0\1\x0a\0\0\2" + struct.pack(">IxxxB", len(body), 17))
    packet = v4(17, body[:6] + pseudo.to_bytes(2, "big") + body[8:])
    (done,) = whole(VIRTIO.pack(NEEDS_CHECKSUM, 0, 0, 0, 20 + link_bytes, 6), packet, link_bytes)
    assert right(done)
    assert not right(packet)


@pytest.mark.parametrize(("make", "kind"), [(v4, TCP_V4), (v6, TCP_V6)])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_long_packet_of_tcp_is_its_segments(make: object, kind: int, count: int) -> None:
    """All bytes in order, each with its number; what ends a stream stands in the last one, and what is said once in the first."""
    data = bytes(range(256)) * 4 * count
    packet = make(6, tcp(data, ACK | PSH | FIN | CWR))  # type: ignore[operator]
    start = 20 if kind == TCP_V4 else 40
    parts = whole(VIRTIO.pack(NEEDS_CHECKSUM, kind, 0, 1000, start, 16), packet)
    assert all(map(right, parts))
    assert [len(part) - start - 20 for part in parts[:-1]] == [1000] * (len(parts) - 1)
    assert b"".join(part[start + 20 :] for part in parts) == data
    numbers = [int.from_bytes(part[start + 4 : start + 8], "big") for part in parts]
    assert numbers == [(0xFFFFFF00 + 1000 * number) & 0xFFFFFFFF for number in range(len(parts))]
    flags = [part[start + 13] for part in parts]
    assert [bool(flag & FIN) for flag in flags] == [bool(flag & PSH) for flag in flags] == [False] * (len(parts) - 1) + [True]
    assert [bool(flag & CWR) for flag in flags] == [True] + [False] * (len(parts) - 1)
    if kind == TCP_V4:
        assert [int.from_bytes(part[4:6], "big") for part in parts] == [7 + number for number in range(len(parts))]


@pytest.mark.parametrize("make", [v4, v6])
def test_a_long_packet_of_udp_is_its_datagrams(make: object) -> None:
    """Each with a header of its own."""
    parts = whole(VIRTIO.pack(0, UDP, 0, 400, 0, 0), make(17, udp(b"z" * 900)))  # type: ignore[operator]
    start = 20 if make is v4 else 40
    assert all(map(right, parts))
    assert [len(part) - start - 8 for part in parts] == [400, 400, 100]


@pytest.mark.parametrize(
    ("header", "packet"),
    [
        (PLAIN, b""), (PLAIN, b"\x45" + b"\0" * 18), (PLAIN, b"\x60" + b"\0" * 38), (PLAIN, b"\x15" + b"\0" * 60),
        (VIRTIO.pack(NEEDS_CHECKSUM, 0, 0, 0, 20, 16), v4(6, b"short")), (VIRTIO.pack(NEEDS_CHECKSUM, 0, 0, 0, 2, 0), v4(6, tcp(b""))),
        (VIRTIO.pack(0, TCP_V4, 0, 0, 0, 0), v4(6, tcp(b"data"))), (VIRTIO.pack(0, TCP_V4, 0, 9, 0, 0), v4(17, tcp(b"data"))),
        (VIRTIO.pack(0, TCP_V6, 0, 9, 0, 0), v4(6, tcp(b"data"))), (VIRTIO.pack(0, 3, 0, 9, 0, 0), v4(17, udp(b"data"))),
        (VIRTIO.pack(0, TCP_V4, 0, 9, 0, 0), v4(6, b"short")),
        (VIRTIO.pack(0, TCP_V4, 0, 9, 0, 0), v4(6, b"\0" * 12 + b"\x10" + b"\0" * 9)),
    ],
)  # fmt: skip
def test_what_does_not_add_up_is_refused(header: bytes, packet: bytes) -> None:
    """It is counted, and goes no further."""
    with pytest.raises(ValueError, match=r"packet|checksum"):
        whole(header, packet)


@given(header=st.binary(min_size=10, max_size=10), packet=st.binary(max_size=200))
def test_no_bytes_raise_anything_else(header: bytes, packet: bytes) -> None:
    """Whatever comes over the link: packets, or a ValueError."""
    try:
        assert whole(header, packet, 14)
        came_over_the_link(packet)
        leaves_the_link(packet)
    except ValueError:
        pass


def test_what_is_the_links_own_goes_past() -> None:
    """Many receivers, addresses of the link, and neighbours; a ping of the same protocol is no neighbour's word."""
    assert leaves_the_link(v4(17, udp(b""))) and leaves_the_link(v6(17, udp(b"")))
    for packet in (v4(17, udp(b""), "224.0.0.251"), v4(17, udp(b""), "255.255.255.255"), v6(17, b"", "ff02::1"), v6(17, b"", "fe80::1")):
        assert not leaves_the_link(packet)
    assert came_over_the_link(v4(17, udp(b""))) and came_over_the_link(v6(58, b"\x80" + b"\0" * 7))
    for packet in (v6(58, b"\x88" + b"\0" * 7), v6(17, udp(b""), whence="fe80::9")):
        assert not came_over_the_link(packet)
    assert destination(v4(17, b"")) == b"\x0a\0\0\2"
    assert destination(v6(17, b""))[-1] == 2
