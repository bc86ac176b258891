"""heat.jsonl, read: each time that there was heat over the device, and each tick of it. Nothing is believed here, only read.

{"told": …}  ─► Heat ─┐        runner/ondevice/heater.py writes it, beside whatever slows the device down from outside, by the
tick, tick … ─► Tick ─┤        boot-time clock of that machine, which is the coordinator's
{"ended": …} ─────────┘
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from runner.judgement.figures import is_number

Row = dict[str, Any]

_NUMBERS = ("model_s", "load", "cpu_s", "waited_s", "granted_s", "throttled_s", "ambient_c", "die_c", "board_c", "mhz", "quota")
_COUNTS = ("boottime_ns", "nr_throttled", "flags")
_WORDS = ("on", "powered", "critical")
LARGEST = 1e12  # beyond it no figure of a board lies


class Tick(NamedTuple):
    """One line of a heat, `line` its number in the file; `dt_s` since the one before. See runner/ondevice/heater.py for the rest."""

    line: int
    boottime_ns: int
    dt_s: float
    model_s: float
    on: bool
    powered: bool
    load: float
    cpu_s: float
    waited_s: float
    granted_s: float
    nr_throttled: int
    throttled_s: float
    ambient_c: float
    die_c: float
    board_c: float
    mhz: float
    flags: int
    critical: bool
    quota: float


@dataclass
class Heat:
    """One heat: what was told, what came of it, and why it ended; "" where nothing says so."""

    line: int
    told: Row
    began_ns: int
    ticks: list[Tick] = field(default_factory=list)
    ended: str = ""
    ended_ns: int = 0
    left: list[str] = field(default_factory=list)

    @property
    def execution(self) -> str:
        return str(self.told.get("execution", ""))


class HeatLog(NamedTuple):
    """A whole file: its heats, and the numbers of the lines that say nothing that such a file says."""

    heats: list[Heat]
    strange: list[int]


NOTHING = HeatLog([], [])


def read(path: Path) -> HeatLog:
    """A file that was written as long as its writer lived: the half line of one that was killed is none. Nothing where there is no file."""
    if not path.exists():
        return NOTHING
    heats: list[Heat] = []
    strange: list[int] = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict) or not _take(said, number, heats):
            strange.append(number)
    return HeatLog(heats, strange)


def _take(said: Row, number: int, heats: list[Heat]) -> bool:
    """Puts a line where it belongs; False for one that belongs nowhere."""
    if not _is_count(said.get("boottime_ns")):
        return False
    if isinstance(said.get("told"), dict):
        heats.append(Heat(number, said["told"], said["boottime_ns"]))
        return True
    if not heats or heats[-1].ended:
        return False
    heat = heats[-1]
    if isinstance(said.get("ended"), str) and said["ended"]:
        heat.ended, heat.ended_ns = said["ended"], said["boottime_ns"]
        left = said.get("left")
        heat.left = [str(each) for each in left] if isinstance(left, list) else []
        return True
    if not (all(is_number(said.get(key), LARGEST) for key in _NUMBERS) and all(_is_count(said.get(key)) for key in _COUNTS)):
        return False
    if not all(isinstance(said.get(key), bool) for key in _WORDS):
        return False
    before_ns = heat.ticks[-1].boottime_ns if heat.ticks else heat.began_ns
    dt_s = (said["boottime_ns"] - before_ns) / 1e9
    heat.ticks.append(Tick(number, dt_s=dt_s, **{key: said[key] for key in (*_NUMBERS, *_COUNTS, *_WORDS)}))
    return True


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def on_the_device(ticks: list[Tick], zeros: dict[str, int]) -> list[Row]:
    """The ticks by the device's own clock: each with the boot that was on at that moment, as "boot_id" and "boottime_ns".

    `zeros`: boot id → what the coordinator's clock showed when that boot's stood at zero. A tick before the first of them has no place.
    """
    boots = sorted((zero_ns, boot) for boot, zero_ns in zeros.items())
    found: list[Row] = []
    for tick in ticks:
        under = [(zero_ns, boot) for zero_ns, boot in boots if zero_ns <= tick.boottime_ns]
        if under:
            zero_ns, boot = under[-1]
            found.append({**tick._asdict(), "boot_id": boot, "boottime_ns": tick.boottime_ns - zero_ns})
    return found
