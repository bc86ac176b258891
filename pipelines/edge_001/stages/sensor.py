"""What the board says of its own heat, read as any application would: files of the kernel, or where the environment says they are.

    SENSOR_TEMPERATURE   thousandths of a degree    /sys/class/thermal/thermal_zone0/temp
    SENSOR_CLOCK         kHz                        /sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq
    SENSOR_THROTTLED     as `vcgencmd get_throttled` prints it: throttled=0x50005

A reading goes into the journal with a stage's output, beside it and not in it: what was computed never depends on how warm it was.
"""

import os

from .clock import boot_id, boottime_ns

_USUAL = {
    "SENSOR_TEMPERATURE": "/sys/class/thermal/thermal_zone0/temp",
    "SENSOR_CLOCK": "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
    "SENSOR_THROTTLED": "",
}


def reading():
    """When, in which boot, and what each sensor says; None for one that is not there, or says what no such sensor says."""
    milli_c, khz, flags = (_number(os.environ.get(name, usual)) for name, usual in _USUAL.items())
    return {"boot": boot_id(), "boottime_ns": boottime_ns(), "milli_c": milli_c, "khz": khz, "throttled": flags}


def _number(path):
    try:
        with open(path) as file:
            said = file.read(64).strip().removeprefix("throttled=")
        return int(said, 0)
    except (OSError, ValueError):
        return None
