"""Is a device as it was? Fingerprints compared, and what a fault would fight with; pure, nothing is asked or touched.

    the device's word ─► read: bounded ─► differences(before, after)   one sentence for each change
                                       ├► foreign(now, interface)      somebody else's, which we leave alone and do not fight with
                                       └► left_of_ours(now)            what bears our tags

A device with a difference is quarantined (`farm/lease.py`) until `runner device check` finds none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from runner.model.program import OUR_HANDLE, OUR_IFB, OUR_TABLES
from runner.ondevice.fingerprint import FIELDS, IN_THIS_ORDER, LINE_CHARACTERS, LINES, UNKNOWN

CLOCK_TOLERANCE_S = 3.0
CLOCK_DRIFT = 0.0005  # of the time between two looks: more than any clock is slewed by
INGRESS = ("ingress", "clsact")


def read(said: Any) -> dict[str, Any]:
    """A device's word for its fingerprint with every field there and bounded, whatever it sent."""
    fields = said if isinstance(said, dict) else {}
    numbers = {name: fields.get(name) for name in ("clock", "boottime_s")}
    return {
        **{name: _lines(fields.get(name)) for name in FIELDS},
        **{name: value if type(value) is int and abs(value) < 2**53 else None for name, value in numbers.items()},
        "boot_id": _plain(fields.get("boot_id"))[:64],
    }


def _lines(said: Any) -> list[str]:
    if not isinstance(said, list):
        return [f"{UNKNOWN}the device does not say"]
    return [_plain(line) for line in said[:LINES]]


def _plain(said: Any) -> str:
    text = said[:LINE_CHARACTERS] if isinstance(said, str) else "?"
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What changed: field, + or -, line. What was not known before cannot be compared; what is not known any more is said with "?".

    The clock is compared within one boot only: it says how far the wall clock is from the time since then.
    """
    found: list[str] = []
    for field in FIELDS:
        old, new = Counter(_known(before[field])), Counter(_known(after[field]))
        missing, lost = _unknown(before[field]), [line for line in _unknown(after[field]) if line not in before[field]]
        gone = [] if lost else list((old - new).elements())
        come = [] if missing else list((new - old).elements())
        if any(not line.startswith(IN_THIS_ORDER) for line in gone + come):  # the order of other lines changes with them
            gone, come = ([line for line in lines if not line.startswith(IN_THIS_ORDER)] for lines in (gone, come))
        found += [f"+ {field}: {line}" for line in come] + [f"- {field}: {line}" for line in gone] + [f"? {field}: {line}" for line in lost]
    return found + _clock(before, after)


def _known(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if not line.startswith(UNKNOWN)]


def _unknown(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if line.startswith(UNKNOWN)]


def _clock(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    values = [each[name] for name in ("clock", "boottime_s") for each in (before, after)]
    if before["boot_id"] != after["boot_id"] or None in values:
        return []
    was, now, earlier, later = values
    moved_s = now - was
    if abs(moved_s) <= CLOCK_TOLERANCE_S + CLOCK_DRIFT * abs(later - earlier):
        return []
    return [f"{'+' if moved_s > 0 else '-'} clock: it jumped {'on' if moved_s > 0 else 'back'} by {abs(moved_s)} s"]


def foreign(now: dict[str, Any], interface: str, *, armed: bool = False) -> list[str]:
    """Somebody else's shaping or filtering where a fault over `interface` would act, a sentence each.

    A qdisc with the handle 0: is the kernel's own. With `armed` a program of ours may be there, with its ingress and its ifb. A
    firewall table of anybody's is one too many: whether it drops what crosses this interface is not ours to find out.
    """
    found = []
    for line in _known(now["qdiscs"]):
        words = re.match(r"qdisc (\S+) (\S+) dev (\S+)", line)
        if words is None or words[3] != interface or words[2] in ("0:", OUR_HANDLE) or (armed and words[1] in INGRESS):
            continue
        found.append(f"{interface} has a qdisc that is not ours: {line}")
    tables = [line for line in _known(now["firewall"]) if re.fullmatch(r"table \S+ \S+", line)]
    found += [f"the firewall has a table that is not ours: {line}" for line in tables if not line.startswith(f"table inet {OUR_TABLES}")]
    legacy = {" ".join(words[0].split()) for line in now["firewall"] if (words := re.match(r"ip6?tables \w+(?=: )", line))}
    found += [f"the firewall has a table that is not ours: {table} (the legacy kind)" for table in sorted(legacy)]
    if not armed:
        found += [f"there is an interface called {OUR_IFB}, and no fault of ours is on: {line}" for line in _ifb(now)]
    return found


def still(differences: Sequence[str], now: dict[str, Any]) -> list[str]:
    """Those of an earlier `differences` that are so yet: what came is there, what went is not. The clock began anew with the boot."""
    found = []
    for said in differences:
        sign, _, rest = said.partition(" ")
        field, _, line = rest.partition(": ")
        if field in FIELDS and sign in ("+", "-") and (line in now[field]) == (sign == "+"):
            found.append(said)
    return found


def left_of_ours(now: dict[str, Any]) -> list[str]:
    """What bears our tags, a sentence each: something that nobody took back, when no program is armed."""
    qdiscs = [line for line in _known(now["qdiscs"]) if re.match(rf"qdisc \S+ {OUR_HANDLE} ", line)]
    tables = [line for line in _known(now["firewall"]) if re.fullmatch(rf"table inet {OUR_TABLES}\S+", line)]
    groups = [line for line in _known(now["cgroups"]) if _is_group(line)]
    disks = [line for line in _known(now["mounts"]) if _is_small_disk(line)]
    return [f"left by a fault of ours: {line}" for line in (*qdiscs, *tables, *_ifb(now), *groups, *disks)]


def without_scarcity(now: dict[str, Any]) -> dict[str, Any]:
    """A fingerprint without the control group and the small disk of an execution that is under way: they come and go with it."""
    groups = [line for line in now["cgroups"] if not _is_group(line)]
    return {**now, "cgroups": groups, "mounts": [line for line in now["mounts"] if not _is_small_disk(line)]}


def _is_group(line: str) -> bool:
    return "/runner-scarce-" in line.split(" ")[0]


def _is_small_disk(line: str) -> bool:
    return bool(re.match(r"\S+/scarce / ext4 /dev/(loop|dm-)\d+ ", line))


def _ifb(now: dict[str, Any]) -> list[str]:
    return [line for line in _known(now["links"]) if line.split(" ")[0].partition("@")[0] == OUR_IFB]
