"""IP packets as they come off an interface: made whole, and taken apart where a card or a kernel had put them together.

    frame with a virtio header ─► ip packets, each as it would be on a wire: its checksum done, none longer than the link carries

A kernel leaves a checksum to be done to the card, and hands several segments of one flow around as one long packet; a capture
sees both. The header in front says so (<linux/virtio_net.h>). Nothing here is believed: what does not add up is a ValueError.
"""

from __future__ import annotations

import struct

VIRTIO = struct.Struct("=BBHHHH")  # flags, kind of segmentation, length of headers, size of a segment, checksum: from where, and its place
NEEDS_CHECKSUM = 1
TCP_V4, TCP_V6, UDP = 1, 4, 5
_ECN = 0x80
_FIN, _PSH, _CWR = 0x01, 0x08, 0x80
_TCP, _UDP, _ICMP_V6 = 6, 17, 58
_NEIGHBOURS = range(133, 138)  # ICMPv6: solicitations, advertisements and redirects, which belong to one interface


def version_of(packet: bytes) -> int:
    """4 or 6. Raises ValueError for what is too short for its header, or neither."""
    version = packet[0] >> 4 if packet else 0
    if len(packet) < {4: 20, 6: 40}.get(version, 1 << 20):
        raise ValueError("no IP packet")
    return version


def leaves_the_link(packet: bytes) -> bool:
    """Whether it is for one receiver, who may be beyond this link: not for many, and not by an address of the link's own."""
    if version_of(packet) == 4:
        return packet[16] < 224
    return not _of_the_link(packet[24:40])


def came_over_the_link(packet: bytes) -> bool:
    """The same for what comes in: not what neighbours have to say to each other."""
    if version_of(packet) == 4:
        return True
    return not (_of_the_link(packet[8:24]) or (packet[6] == _ICMP_V6 and len(packet) > 40 and packet[40] in _NEIGHBOURS))


def _of_the_link(address: bytes) -> bool:
    return address[0] == 0xFF or (address[0] == 0xFE and address[1] & 0xC0 == 0x80)


def destination(packet: bytes) -> bytes:
    return packet[16:20] if packet[0] >> 4 == 4 else packet[24:40]


def whole(header: bytes, packet: bytes, link_bytes: int = 0) -> list[bytes]:
    """The packets in one capture. `link_bytes` were in front of `packet` when the header was made. Raises ValueError."""
    flags, kind, _, size, start, place = VIRTIO.unpack(header)
    packet = _trimmed(packet)
    if kind & ~_ECN:
        return _segments(packet, kind & ~_ECN, size)
    if flags & NEEDS_CHECKSUM:
        return [_checked(packet, start - link_bytes, place)]
    return [packet]


def _trimmed(packet: bytes) -> bytes:
    """Without what a short frame was padded with."""
    if version_of(packet) == 4:
        length = int.from_bytes(packet[2:4], "big")
    else:
        length = 40 + int.from_bytes(packet[4:6], "big")
        length = 0 if length == 40 else length
    return packet[:length] if 20 <= length < len(packet) else packet


def ones(data: bytes) -> int:
    """The Internet checksum of `data` (RFC 1071), never 0: a multiple of 65535 and nothing is the same sum."""
    return 0xFFFF - int.from_bytes(data if len(data) % 2 == 0 else data + b"\0", "big") % 0xFFFF


def _checked(packet: bytes, start: int, place: int) -> bytes:
    """With the checksum that was left to the card; the sum over the pseudo header stands in its place already."""
    if start < 20 or start + place + 2 > len(packet):
        raise ValueError("a checksum outside of its packet")
    at = start + place
    return packet[:at] + ones(packet[start:]).to_bytes(2, "big") + packet[at + 2 :]


def _segments(packet: bytes, kind: int, size: int) -> list[bytes]:
    """A long packet as the packets that it stands for (RFC 9293 for TCP's numbers and flags): a new length and checksum for each."""
    version = version_of(packet)
    start = (packet[0] & 15) * 4 if version == 4 else 40
    protocol = packet[9] if version == 4 else packet[6]
    expected = {TCP_V4: (_TCP, 4), TCP_V6: (_TCP, 6), UDP: (_UDP, version)}.get(kind)
    if expected != (protocol, version) or size < 1 or len(packet) < start + (20 if protocol == _TCP else 8):
        raise ValueError(f"several packets in one of kind {kind}, which cannot be taken apart")
    data = start + ((packet[start + 12] >> 4) * 4 if protocol == _TCP else 8)
    if (protocol == _TCP and data < start + 20) or data > len(packet):
        raise ValueError("a header that is longer than its packet")
    places = range(data, len(packet), size)
    return [_segment(packet, version, start, data, place, size, number) for number, place in enumerate(places)] or [packet]


def _segment(packet: bytes, version: int, start: int, data: int, place: int, size: int, number: int) -> bytes:
    ip, transport, body = bytearray(packet[:start]), bytearray(packet[start:data]), packet[place : place + size]
    length = len(transport) + len(body)
    if version == 4:
        ip[2:4] = (start + length).to_bytes(2, "big")
        ip[4:6] = (int.from_bytes(ip[4:6], "big") + number & 0xFFFF).to_bytes(2, "big")
        ip[10:12] = b"\0\0"
        ip[10:12] = ones(bytes(ip)).to_bytes(2, "big")
        addresses, protocol = ip[12:20], ip[9]
    else:
        ip[4:6] = length.to_bytes(2, "big")
        addresses, protocol = ip[8:40], ip[6]
    if protocol == _TCP:
        sequence = int.from_bytes(transport[4:8], "big") + place - data & 0xFFFFFFFF
        transport[4:8] = sequence.to_bytes(4, "big")
        transport[13] &= ~(0 if place + size >= len(packet) else _FIN | _PSH) & (0xFF if number == 0 else ~_CWR) & 0xFF
        at = 16
    else:
        transport[4:6] = length.to_bytes(2, "big")
        at = 6
    transport[at : at + 2] = b"\0\0"
    pseudo = bytes(addresses) + struct.pack(">IxxxB", length, protocol)
    transport[at : at + 2] = ones(pseudo + bytes(transport) + body).to_bytes(2, "big")
    return bytes(ip) + bytes(transport) + body
