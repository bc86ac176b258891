"""clock: the device's wall clock jumps, drifts, or stands where a board without a battery begins.

The boot-time clock goes on as it was: deadlines, records and proofs are timed by it, and by it the undo puts the wall clock back. How far
the two were apart before, and in which boot, stands in the undo itself (`runner/ondevice/wrong_clock.py`).
"""

from __future__ import annotations

import json
from datetime import datetime

from runner.errors import AskError
from runner.faults import kernel
from runner.faults.kernel import NOTHING_BEFORE, Before
from runner.model.device import DataLink
from runner.model.profile import WrongClock
from runner.model.program import Act, Program, Sign


def program(
    settings: WrongClock, link: DataLink, name: str, seed: int, capabilities: frozenset[str], before: Before = NOTHING_BEFORE
) -> Program:
    """The windows of `settings` as steps. Raises AskError for a device whose clock the supervisor may not set."""
    kernel.require("clock", capabilities, "setting its wall clock", "a supervisor that runs as root")
    was = (before.boot_id or "-", str(before.clock_ns))
    said = {"jump_s": settings.jump_s, "to_s": to_s(settings), "drift_ppm": settings.drift_ppm}
    on = (Act(argv=("@supervisor", "clock", "set", *was), input=json.dumps(said, sort_keys=True)),)
    back = (Act(argv=("@supervisor", "clock", "back", *was)),)
    return Program(
        name=name,
        fault="clock",
        interface="",
        resources=("wall clock",),
        needs=("clock",),
        steps=kernel.bounded(kernel.toggled(settings, on, back, figures(settings))),
        undo=back,
        signs=(Sign(argv=("@supervisor", "clock", "shown", *was), contains="wrong: "),),
        lasts_s=kernel.lasts_s(settings),
        stage=settings.stage,
        edge=settings.edge,
    )


def to_s(settings: WrongClock) -> float | None:
    """The moment to which it jumps, in seconds since 1970. Raises AskError for one that no calendar has."""
    if settings.to is None:
        return None
    try:
        return datetime.fromisoformat(settings.to).timestamp()
    except ValueError:
        raise AskError(f"no clock shows {settings.to}", expected="a moment in UTC, as 2106-02-07T06:28:15Z") from None


def figures(settings: WrongClock) -> str:
    said = [f"clock at {settings.to}"] if settings.to else [f"clock {settings.jump_s:+g} s"] if settings.jump_s else []
    return ", ".join([*said, *([f"drifting by {settings.drift_ppm:+g} ppm"] if settings.drift_ppm else [])])
