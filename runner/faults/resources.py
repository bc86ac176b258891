"""resources: a device that is too small. The pipeline's processes, and nobody else's, have so much memory, so many cores, so many tasks.

    memory_mib   all that they may have, no swap behind it; who wants more is killed for want of memory
    cpu_share    in cores: 0.25 is a quarter of one, in slices of 10 ms
    processes    tasks: threads count, too

It is a control group of the device's kernel (`runner/ondevice/cgroup.py`): the supervisor puts the pipeline's processes into it before
they run anything, and is itself outside of it, as the guard is.
"""

from __future__ import annotations

import json
from typing import Any

from runner.errors import AskError
from runner.faults import kernel
from runner.faults.kernel import NOTHING_BEFORE, Before
from runner.model.device import DataLink, Size
from runner.model.profile import Resources
from runner.model.program import Act, Program, Sign

NO_LINK = ""
PERIOD_US, LEAST_QUOTA_US = 10_000, 1_000
_UNDO = (kernel.words("@supervisor confine remove"),)
_CONTROLLERS = {"memory_mib": "memory", "cpu_share": "cpu", "processes": "pids"}


def program(
    settings: Resources, link: DataLink, name: str, seed: int, capabilities: frozenset[str], before: Before = NOTHING_BEFORE
) -> Program:
    """The windows of `settings` as steps. Raises AskError for a device whose kernel limits none of it."""
    controllers = [controller for key, controller in _CONTROLLERS.items() if _said(settings, key)]
    needs = tuple(f"cgroup-{controller}" for controller in controllers)
    for need in needs:
        if need not in capabilities:
            raise AskError(
                f"the device has no {need}: there it cannot be made too small",
                expected="control groups of either version with that controller, and a supervisor that runs as root",
                do="take another device, or switch the controller on (cgroup_enable=memory on a Raspberry Pi's kernel line)",
            )
    on = (Act(argv=("@supervisor", "confine", "limit"), input=json.dumps(limits(settings), sort_keys=True)),)
    off = (Act(argv=("@supervisor", "confine", "free", *controllers)),)
    return Program(
        name=name,
        fault="resources",
        interface=NO_LINK,
        resources=("confinement",),
        needs=needs,
        steps=kernel.bounded(kernel.toggled(settings, on, off, figures(settings))),
        undo=_UNDO,
        signs=(Sign(argv=("@supervisor", "confine", "shown", *controllers), contains="limit "),),
        lasts_s=kernel.lasts_s(settings),
        stage=settings.stage,
        edge=settings.edge,
    )


def limits(settings: Resources) -> dict[str, Any]:
    """What the device is told: bytes, microseconds and tasks."""
    found: dict[str, Any] = {}
    if settings.memory_mib is not None:
        found["memory_bytes"] = settings.memory_mib << 20
    if settings.cpu_share is not None:
        found["quota_us"], found["period_us"] = quota(settings.cpu_share)
    if settings.processes is not None:
        found["processes"] = settings.processes
    return found


def quota(share: float) -> tuple[int, int]:
    """A share of a core as the kernel takes it: so many microseconds in each period of so many; no quota may be below a millisecond.

    Reckoned here once more, because a fault takes nothing from what runs on the device (`runner/ondevice/scarce_figures.py`); a test
    holds the two against each other.
    """
    period = PERIOD_US if share * PERIOD_US >= LEAST_QUOTA_US else min(1_000_000, round(LEAST_QUOTA_US / share))
    return max(LEAST_QUOTA_US, round(share * period)), period


def sized(settings: Resources, size: Size) -> Resources:
    """What `like` leaves unsaid, by the size of that type of device."""
    found = {"memory_mib": settings.memory_mib or size.memory_mib, "cpu_share": settings.cpu_share or float(size.cpus)}
    return settings.model_copy(update=found)


def figures(settings: Resources) -> str:
    said = [f"{settings.memory_mib} MiB"] if settings.memory_mib is not None else []
    said += [f"{settings.cpu_share:g} of a core"] if settings.cpu_share is not None else []
    said += [f"{settings.processes} processes"] if settings.processes is not None else []
    return ", ".join([*said, *([f"as {settings.like}"] if settings.like else [])])


def _said(settings: Resources, key: str) -> bool:
    return getattr(settings, key) is not None or (settings.like is not None and key != "processes")
