"""What the guard on the device held of an execution, of whatever kind: when what was on, and what was asked and measured of it.

    guard's journal  ──► windows    what was on, from when to when, and why it came off
    plan             ──► whose      a program is the fault's that the plan has under its name: link, scarcity or heat
    the judge        ──► rows       asked and measured

      Held ─┬─ LinkCourse        link_courses.py
            ├─ ScarcityCourse    scarcity_courses.py
            └─ HeatCourse        heat_courses.py

Seconds since the run began; None where a boot has no place in time.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from runner.judgement.evidence import Evidence, Execution
from runner.judgement.judge import one_line
from runner.judgement.timeline import Timeline

Row = dict[str, Any]


class Window(NamedTuple):
    """One time that a fault was on."""

    program: str
    fault: str
    word: str
    began_s: float | None
    ended_s: float | None
    ended_by: str  # what came next, in the guard's words; "" where nothing is recorded


@dataclass(frozen=True)
class Held:
    """What was held of one execution by the programs of one kind of fault."""

    execution: Execution
    windows: list[Window]
    rows: list[Row]  # asked and measured
    end_s: float  # of the run

    @property
    def name(self) -> str:
        return self.execution.name

    @property
    def by_program(self) -> dict[str, list[Window]]:
        found: dict[str, list[Window]] = {}
        for window in self.windows:
            found.setdefault(window.program, []).append(window)
        return found

    def on_s(self, program: str) -> float:
        """How long a program was on, as far as that is known."""
        spans = [(w.began_s, w.ended_s) for w in self.by_program.get(program, ())]
        return sum(ended - began for began, ended in spans if began is not None and ended is not None)

    def as_json(self) -> dict[str, Any]:
        """Each program, how often and how long it was on; and the rows. A device's words are lines."""
        programs = {
            one_line(name): {"fault": one_line(windows[0].fault), "times_on": len(windows), "on_s": round(self.on_s(name), 3)}
            for name, windows in self.by_program.items()
        }
        rows = [{key: one_line(v) if isinstance(v, str) else v for key, v in row.items()} for row in self.rows]
        return {"programs": programs, "asked_and_measured": rows}


def windows_of(evidence: Evidence, timeline: Timeline, execution: Execution, programs: Collection[str]) -> list[Window]:
    """When these programs of an execution were on: from each change to on until the next change of the same one. With the power goes
    what was on."""
    changes = [change for change in evidence.faults(execution.name) if change["program"] in programs]
    found = []
    for place, change in enumerate(changes):
        if not change["on"]:
            continue
        began_s = timeline.device_s(change["boot_id"], change["boottime_ns"])
        after = next((each for each in changes[place + 1 :] if each["program"] == change["program"]), None)
        if after is not None and after["boot_id"] == change["boot_id"]:
            ended_s, by = timeline.device_s(after["boot_id"], after["boottime_ns"]), str(after["word"])
        else:
            gone = [power.at_s for power in timeline.power if not power.on and began_s is not None and power.at_s >= began_s]
            ended_s, by = (min(gone), "the power went") if gone else (None, "")
        found.append(Window(change["program"], change["fault"], str(change["word"]), began_s, ended_s, by))
    return found
