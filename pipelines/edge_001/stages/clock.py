"""Which boot this is, and its clock: the one that goes on in sleep, and that nobody sets."""

import time


def boot_id():
    """32 hex digits, as the device's journal has them."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip().replace("-", "")
    except OSError:
        return "0" * 32


def boottime_ns():
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
