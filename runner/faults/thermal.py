"""thermal: the board gets warm, and its clock falls. What the device itself has to do for that, where something outside slows it down.

    keeper ── loop of heat, quota of the processor threads ──► port "sensors"     (runner/target/emulation/heater.py)
    guard  ── this program ──► @supervisor sensors ──► the usual files say what the port says

Its mounts bear the name "runner-sensors", and that is its sign. What was hidden beneath them is there again when they are gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runner.model.device import Thermal as Body
from runner.model.plan import HeatPlan
from runner.model.program import Act, Hot, Program, Sign, Step

HARD_ABORT_C, HARD_ABORT_BELOW_CRITICAL_K = 85.0, 5.0
Clocks = Mapping[str, Any]
PORT, MOUNT = "sensors", "runner-sensors"
THROTTLED = f"/run/{MOUNT}/throttled"  # where a device has no such file of its own
MOUNTED = Sign(argv=("cat", "/proc/self/mounts"), contains=f"{MOUNT} ")


def sensors_program(plan: HeatPlan, name: str) -> Program:
    """The emulated sensors, from the beginning to the end: what they say is the model's business."""
    told = {"port": PORT, "sensor": plan.body.sensor, "clock": plan.body.clock, "says": says(plan)}
    return Program(
        name=name,
        fault="thermal",
        interface="",
        resources=("sensors",),
        prepare=(Act(argv=("modprobe", "-q", "overlay")),),
        steps=(Step(at_s=0.0, acts=(Act(argv=("@supervisor", "sensors", "start"), input=json.dumps(told)),), word=figures(plan), on=True),),
        undo=(Act(argv=("@supervisor", "sensors", "stop")),),
        signs=(MOUNTED,),
    )


def own_program(plan: HeatPlan, name: str, state: str, limits: Mapping[str, Any], clocks: Clocks | None = None) -> Program:
    """Heat that a device makes for itself, where nobody outside can: the loop in a process of its own, its sensors in files of its own.

    `clocks` is what a board of its own says of its clocks before (`runner/ondevice/frequency.py`): they are limited then, and put back by
    what was read; while that goes on the guard looks at the board's real sensor, and takes all of it back at 85 °C, or 5 K below what is
    critical for this board, whichever body the model has (`plan.real`). Without it, the pipelines' group has a quota.
    """
    told: dict[str, Any] = {**own_paths(state), "says": says(plan), "heat": {**plan.told, "waits": True, **limits}}
    told["sensor"] = told.pop("temperature")
    undo, signs = [Act(argv=("@supervisor", "heater", "stop"))], [Sign(argv=("@supervisor", "heater", "shown"), contains="heater ")]
    if clocks:
        told["clocks"] = clocks
        before = tuple(f"{clock}={said['limit']}" for clock, said in sorted(clocks["before"].items()))
        undo.append(Act(argv=("@supervisor", "frequency", "back", clocks["folder"], *before)))
        signs.append(Sign(argv=("@supervisor", "frequency", "shown", clocks["folder"], *before), contains="limited "))
    return Program(
        name=name,
        fault="thermal",
        interface="",
        resources=("sensors", "clocks" if clocks else "cpu of pipelines"),
        needs=("cpufreq" if clocks else "cgroup-cpu",),
        steps=(Step(at_s=0.0, acts=(Act(argv=("@supervisor", "heater", "start"), input=json.dumps(told)),), word=figures(plan), on=True),),
        undo=tuple(undo),
        signs=tuple(signs),
        hot=Hot(sensor=plan.real.sensor, at_milli_c=hard_abort_milli_c(plan.real)) if clocks else None,
    )


def hard_abort_milli_c(body: Body) -> int:
    """Here a real board is let go, whatever was planned."""
    return round(1000 * min(HARD_ABORT_C, body.critical_c - HARD_ABORT_BELOW_CRITICAL_K))


def own_paths(state: str) -> dict[str, str]:
    """Where a device that heats itself says so: below its state folder, and over nobody's own files."""
    folder = f"{state}/heater"
    names = {"temperature": "sensor/temp", "clock": "clock/scaling_cur_freq", "throttled": "throttled"}
    return {word: f"{folder}/{name}" for word, name in names.items()}


def paths(body: Body) -> dict[str, str]:
    """Where temperature, clock and flags are read."""
    return {"temperature": body.sensor, "clock": body.clock, "throttled": body.throttled or THROTTLED}


def settings(where: Mapping[str, str]) -> dict[str, str]:
    """The environment variables by which a pipeline finds its sensors."""
    return {f"SENSOR_{word.upper()}": path for word, path in where.items()}


def says(plan: HeatPlan) -> str:
    """What stands beside an emulated sensor."""
    return f"This sensor is emulated: a model computes it from the work that is done here. {figures(plan)}.\n"


def figures(plan: HeatPlan) -> str:
    """The heat in a few words, with its figures."""
    asked = plan.asked
    air = [c for _, c in asked.timeline]
    said = [f"air of {air[0]:g} °C" if len(air) == 1 else f"air of {min(air):g} to {max(air):g} °C, {air[0]:g} at first"]
    said += [f"its way there × {asked.air:g}"] if asked.air != 1 else []
    said += ["the fan failed"] if asked.fan == "failed" else []
    said += [f"{asked.pace:g} s of the model in each real one"] if asked.pace != 1 else []
    return ", ".join(said)
