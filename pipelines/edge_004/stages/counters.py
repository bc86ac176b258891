"""What the wire has carried: the counters of the interface that leads to the far end, noted with the boot that they are of.

    /proc/net/route ─► the interface with the longest prefix ─► /sys/class/net/<interface>/statistics/{tx,rx}_bytes

They begin at zero with each boot, so they are noted after each piece, each note on the disk: a power cut costs the knowledge of one piece.
"""

import os
import socket
import struct
from urllib.parse import urlsplit

from .clock import boot_id, boottime_ns
from .files import add_line, lines

NOTES = "counters.jsonl"


def interface_to(host, routes=None):
    """The interface over which packets to this IPv4 address go; "" where nobody can tell. `lo` for this machine itself."""
    address = struct.unpack("!I", socket.inet_aton(host))[0]
    if address >> 24 == 127:
        return "lo"
    best, found = -1, ""
    for line in (routes if routes is not None else _routes())[1:]:
        words = line.split()
        network, mask = (socket.ntohl(int(words[place], 16)) for place in (1, 7))
        if address & mask == network and mask > best:
            best, found = mask, words[0]
    return found


def _routes():
    with open("/proc/net/route") as file:
        return file.readlines()


def note(stage):
    """Notes the counters now. Where they cannot be read, nothing is noted: a gap is a gap, never a zero."""
    interface = interface_to(urlsplit(os.environ["FAR_END_HTTP"]).hostname)
    try:
        sent, received = (_counter(interface, name) for name in ("tx_bytes", "rx_bytes"))
    except (OSError, ValueError):
        return
    row = {"boot": boot_id(), "at_ns": boottime_ns(), "stage": stage, "interface": interface, "sent": sent, "received": received}
    add_line(NOTES, row)


def _counter(interface, name):
    with open(f"/sys/class/net/{interface}/statistics/{name}") as file:
        return int(file.read())


def noted(most=400):
    """All notes, or of more than `most` the first and last of each boot and some between."""
    rows = lines(NOTES)
    step = -(-len(rows) // most) if rows else 1
    ends = {place for place, row in enumerate(rows) if place in (0, len(rows) - 1) or row["boot"] not in (rows[place - 1]["boot"],)}
    ends |= {place - 1 for place in ends if place}
    return [row for place, row in enumerate(rows) if place % step == 0 or place in ends]
