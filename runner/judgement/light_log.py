"""What the far end's log of the light probe tells: which packets were sent, which came, and what came back of those.

    numbers      3 4 5 . . 8 9        6 and 7 were sent, at the pace of their neighbours, and did not come
    echoes       2 3 4 . . 5 7        one echo between 5 and 8, for 5; two between 8 and 9, of which one can be for 8

Behind the last packet of a boot only the device's journal knows how many were sent, and for the last seconds before a cut nobody does.
Where the far end had no room for what came, nothing is known either.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from runner.judgement.windows import MARGIN_NS, Window

Row = dict[str, Any]
Told = tuple[str, int, int, int, float | None]  # boot, from, to: on the device's clock; how many echoes came between, the last's ms

MAX_GAP, MAX_MISSING = 20_000, 200_000  # packets taken for lost between two that came, and in all: what a device claims costs no more
NEAR = 1_000  # lines around a gap in which its pace is looked for


class LightLog:
    """What the far end's log tells: each packet that was sent and whether it came, and what came back of those that did."""

    def __init__(self, lines: list[Row], unlogged: Sequence[Row], journaled: Sequence[Row] = ()) -> None:
        """`journaled`: how many packets a life of the probe had sent (`sent_by` in evidence.py)."""
        self._lacking = _lacking(lines, unlogged)
        self._last_ns = dict[str, int]()
        for line in lines:
            self._last_ns[line["boot"]] = max(line["sent_ns"], self._last_ns.get(line["boot"], 0))
        self.packets = [each for each in packets_sent(lines) if not self._lacks(each[0], each[1], each[1])]
        self.never_came = [each for each in sent_behind(lines, journaled) if not self._lacks(each[0], each[1], each[1])]
        self.back = [each for each in echoes_told(lines) if not self._lacks(*each[:3])]

    def whole(self, spans: list[Window]) -> list[Window]:
        """The windows in which every packet that came was logged."""
        return [
            window
            for window in spans
            if not any(
                boot and window.boot.startswith(boot) and self._lacks(boot, window.from_ns, min(window.to_ns, last_ns))
                for boot, last_ns in self._last_ns.items()
            )
        ]

    def _lacks(self, boot: str, from_ns: int, to_ns: int) -> bool:
        return any(each[0] == boot and from_ns <= each[2] and each[1] <= to_ns for each in self._lacking)


def _lacking(lines: list[Row], unlogged: Sequence[Row]) -> list[tuple[str, int, int]]:
    """When packets were not logged, on the clock of each boot: the far end has another, and each line says the time on both."""
    apart = dict[str, int]()
    for line in lines:
        ahead = line["received_ns"] - line["sent_ns"]
        apart[line["boot"]] = min(ahead, apart.get(line["boot"], ahead))
    found = []
    for each in list(unlogged)[:MAX_GAP]:
        to_ns, from_ns = each["received_ns"], each.get("from_ns")
        since_ns = from_ns if type(from_ns) is int else to_ns - 2 * MARGIN_NS
        found += [(boot, since_ns - ahead - MARGIN_NS, to_ns - ahead + MARGIN_NS) for boot, ahead in apart.items()]
    return found


def echoes_told(lines: list[Row]) -> list[Told]:
    """From each packet that came to the next that did: how many echoes the device had between, by the second one's word, and how long
    the round trip of the last of them was. One echo was sent for the first of the two."""
    lives: dict[tuple[str, int], dict[int, Row]] = {}
    for line in lines:
        lives.setdefault((str(line.get("boot", "")), int(line.get("started_ms", 0))), {}).setdefault(line["sequence"], line)
    found: list[Told] = []
    for (boot, _), life in lives.items():
        ordered = [life[number] for number in sorted(life)]
        for one, next_one in pairwise(ordered):
            count = max(0, next_one["echoes"] - one["echoes"])
            found.append((boot, one["sent_ns"], next_one["sent_ns"], count, next_one["rtt_us"] / 1000 if count else None))
    return found


def packets_sent(lines: list[Row]) -> list[tuple[str, int, bool]]:
    """Each packet that was sent, as far as that is known: its boot, when, and whether it came."""
    lives: dict[tuple[str, int], dict[int, int]] = {}  # one life of one probe: number → when it was sent
    for line in lines:
        life = lives.setdefault((str(line.get("boot", "")), int(line.get("started_ms", 0))), {})
        life.setdefault(line["sequence"], line["sent_ns"])
    found: list[tuple[str, int, bool]] = []
    left = MAX_MISSING
    for (boot, started_ms), life in lives.items():
        numbers = sorted(life)
        found += [(boot, life[number], True) for number in numbers]
        for place, number in enumerate(numbers):
            begun = (numbers[place - 1] + 1, life[numbers[place - 1]]) if place else (0, started_ms * 1_000_000)
            missing = min(number - begun[0], MAX_GAP, left)
            if missing <= 0:
                continue
            left -= missing
            pace = _pace_ns(numbers, life, place)
            room = max(0, life[number] - begun[1]) // (missing + 1)
            step = min(pace, room) if pace else room
            first = begun[1] + (step if place else 0)
            found += [(boot, first + each * step, False) for each in range(missing)]
    return found


def sent_behind(lines: list[Row], journaled: Sequence[Row]) -> list[tuple[str, int, bool]]:
    """The packets that a life of the probe had sent behind the last of it that came, by the device's journal; none of them came.

    Some may still have been on their way when the power went, so they say something only where nothing was to pass.
    """
    came: dict[tuple[str, int], tuple[int, int]] = {}
    for line in lines:
        life = (str(line.get("boot", "")), int(line.get("started_ms", 0)))
        came[life] = max(came.get(life, (-1, 0)), (line["sequence"], line["sent_ns"]))
    last: dict[tuple[str, int], tuple[int, int]] = {}
    for each in journaled:
        life = (str(each["boot"]), int(each["started_ms"]))
        last[life] = max(last.get(life, (0, 0)), (each["sent"], each["at_ns"]))
    found: list[tuple[str, int, bool]] = []
    left = MAX_MISSING
    for (boot, started_ms), (sent, at_ns) in last.items():
        number, from_ns = came.get((boot, started_ms), (-1, started_ms * 1_000_000))
        missing = min(sent - number - 1, MAX_GAP, left)
        if missing <= 0 or at_ns <= from_ns:
            continue
        left -= missing
        step = (at_ns - from_ns) // missing
        found += [(boot, from_ns + each * step, False) for each in range(1, missing + 1)]
    return found


def _pace_ns(numbers: list[int], life: dict[int, int], place: int) -> int:
    """Between two packets, next before the gap at `place`, else next behind it; 0 where no two neighbours came."""
    for at in (*range(place - 1, max(0, place - NEAR), -1), *range(place + 1, min(len(numbers), place + NEAR))):
        if numbers[at] - numbers[at - 1] == 1:
            return max(0, life[numbers[at]] - life[numbers[at - 1]])
    return 0
