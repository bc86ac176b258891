"""What a plan says that a device is to have too little of: is it what a profile may ask? As link_notes.py has it of a link.

The plan lies in a folder that may come from anywhere.
"""

from __future__ import annotations

from typing import Any

from runner.judgement.asked import SCARCE
from runner.judgement.figures import LEAST, has_figures, is_number

SCARCITIES = f"scarcities: a list of faults, each one of {', '.join(SCARCE)}, with numbers that a profile may have"
_MOST: dict[str, float] = {"memory_mib": 2**20, "cpu_share": 1024, "processes": 10**6}  # that a profile may ask
_WHOLE = ("memory_mib", "processes")
_SIGNED = ("jump_s", "drift_ppm")


def has_scarcities(planned: Any) -> bool:
    """Whether what a planned execution is to have too little of, if there is any, is what anything can be concluded from."""
    if not isinstance(planned, dict):
        return False
    faults = planned.get("scarcities") or []
    return isinstance(faults, list) and all(isinstance(fault, dict) and _is_scarcity(fault) for fault in faults)


def _is_scarcity(said: dict[str, Any]) -> bool:
    if said.get("fault") not in SCARCE or (said["fault"] == "disk" and not isinstance(said.get("what"), str)):
        return False
    signed = all(said.get(key) is None or is_number(said[key]) for key in _SIGNED)
    whole = all(said.get(key) is None or type(said[key]) is int for key in _WHOLE)
    return signed and whole and all(has_figures(said, (key,), LEAST, most) for key, most in _MOST.items())
