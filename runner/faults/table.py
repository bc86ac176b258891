"""Which code makes a program of which link fault: one literal table, imported only when used.

    program(settings, link, name, seed, capabilities, before) -> Program        pure, the same each time

`settings` is the fault's model of `runner/model/profile.py`, `link` the device's data link, `capabilities` what its kernel has,
`before` what an undo must put back and no kernel does by itself. What cannot be done with those is an AskError. Outsiders add theirs
through the entry point group `stageflow_runner.faults`; a profile then says `fault: external`, and its `settings` come as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from runner.errors import AskError
from runner.faults import kernel
from runner.model.profile import Timed
from runner.model.program import Program

FAULTS: dict[str, str] = {
    "steady": "runner.faults.steady:program",
    "bandwidth": "runner.faults.bandwidth:program",
    "offline": "runner.faults.offline:program",
    "jamming": "runner.faults.jamming:program",
    "resources": "runner.faults.resources:program",
    "disk": "runner.faults.disk:program",
    "clock": "runner.faults.clock:program",
}
GROUP = "stageflow_runner.faults"


def known() -> list[str]:
    """Names of every link fault, ours and outsiders'."""
    return sorted({*FAULTS, *(point.name for point in entry_points(group=GROUP))})


def maker(name: str) -> Callable[..., Program]:
    """The function that makes a fault's program; ours wins over an outsider's of the same name. Raises AskError without one."""
    place = FAULTS.get(name)
    for point in entry_points(group=GROUP):
        if point.name == name:
            place = place or point.value
    if place is None:
        raise AskError(
            f"no fault is called {name!r}",
            expected="one of " + ", ".join(known()),
            do="install the package that brings it on the coordinator",
        )
    module, _, function = place.partition(":")
    made: Callable[..., Program] = getattr(import_module(module), function)
    return made


def figures(fault: Any) -> str:
    """What a link fault of a profile does and when, in a few words with its figures; an outsider's only by its name."""
    name = name_of(fault)
    module = import_module(FAULTS[name].partition(":")[0]) if name in FAULTS else None
    said = getattr(module, "figures", None)
    when = kernel.when(fault) if isinstance(fault, Timed) else ""
    return ", ".join(word for word in (said(fault) if said else name, when) if word)


def name_of(fault: Any) -> str:
    """The word under which a fault of a profile stands in the table."""
    return str(fault.name if fault.fault == "external" else fault.fault)
