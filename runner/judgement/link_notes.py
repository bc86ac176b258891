"""What a plan and the coordinator's notes say of a link, in figures that can be reckoned with.

    has_faults, not_of_a_link   when they are read: is it what a profile may ask, and what a measurement has?
    measured_of                 when they are judged: what was measured of both directions; what is no number was not

Both lie in a folder that may come from anywhere.
"""

from __future__ import annotations

import re
from typing import Any

from runner.judgement.figures import LEAST, has_figures, is_figure
from runner.ondevice.journal import Record
from runner.ondevice.results import has_shape

_MEASURED = {"link_began": "before", "link_proof": "during", "link_lifted": "after"}  # kind of note → where it has a measurement
FAULTS = "links: a list of faults, each with its name, and numbers that a profile may have"
_OF_A_WAY = ("sent", "received", "duplicates", "reordered", "rate_kbit_s", "offered_kbit_s")
_OF_BOTH = ("echoes", "rtt_min_ms", "rtt_p50_ms", "rtt_p95_ms", "probe_bytes")
_PERCENT = ("loss_percent", "duplicate_percent", "reorder_percent")
_MORE_THAN_NONE = ("rate_kbit_s", "ramp_from_kbit_s")


def not_of_a_link(record: Record) -> str:
    """What a note should say of a link, where it does not; "" if nothing is to be said against it."""
    said = record.payload
    if record.kind in _MEASURED and not has_shape(said[_MEASURED[record.kind]], {"up": dict, "down": dict}):
        return f"{_MEASURED[record.kind]}: up and down, as they were measured"
    if record.kind == "link_began" and not all(isinstance(p, dict) and isinstance(p.get("needs") or [], list) for p in said["programs"]):
        return "programs: a list of programs"
    if record.kind == "execution_began" and not has_faults(said.get("plan") or {}):
        return f"plan: {FAULTS}"
    return ""


def has_faults(planned: Any) -> bool:
    """Whether the link faults of a planned execution, if there are any, are some in all that anything is concluded from."""
    if not isinstance(planned, dict):
        return False
    faults = planned.get("links") or []
    return isinstance(faults, list) and all(isinstance(fault, dict) and _is_fault(fault) for fault in faults)


def _is_fault(said: dict[str, Any]) -> bool:
    if not has_shape(said, {"fault": str, **({"name": str} if said.get("fault") == "external" else {})}):
        return False
    shaped = said["fault"] != "bandwidth" or all(_is_asked(said.get(way)) for way in ("up", "down"))
    return shaped and has_figures(said, ("probability_percent",), most=100)


def _is_asked(way: Any) -> bool:
    """Whether something is asked of a direction as a profile may ask it."""
    if not isinstance(way, dict) or not isinstance(trace := way.get("trace") or [], list):
        return False
    burst = way.get("burst")
    chain = burst or {}
    return (
        has_figures(way, _PERCENT, most=100)
        and has_figures(way, ("delay_ms", "jitter_ms", "payload_bytes"))
        and has_figures(way, _MORE_THAN_NONE, least=LEAST)
        and has_figures(way, ("duty_cycle_percent",), least=LEAST, most=100)
        and all(has_figures(point, ("delay_ms",)) and has_figures(point, _MORE_THAN_NONE, least=LEAST) for point in trace)
        and has_figures(chain, ("p_percent", "r_percent"), least=LEAST, most=100)
        and has_figures(chain, ("loss_in_bad_percent", "loss_in_good_percent"), most=100)
        and (not burst or all(chain.get(key) is not None for key in ("p_percent", "r_percent")))
    )


def measured_of(said: dict[str, Any]) -> dict[str, Any]:
    """A measurement of a link, as a note has it, in figures that can be reckoned with: whatever is no number was not measured."""
    found = {key: said[key] for key in _OF_BOTH if is_figure(said.get(key))}
    return {**found, "up": _way(said["up"]), "down": _way(said["down"])}


def _way(said: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = _counts(said)
    bursts = said.get("bursts")
    if isinstance(bursts, dict):
        counted = {length: times for length, times in bursts.items() if type(times) is int and is_figure(times)}
        found["bursts"] = {length: times for length, times in counted.items() if re.fullmatch("[0-9]{1,18}", length)}
    if "longer" in said:
        found["longer"] = _counts(said["longer"]) if isinstance(said["longer"], dict) else {}
    return found


def _counts(said: dict[str, Any]) -> dict[str, Any]:
    return {key: said[key] for key in _OF_A_WAY if is_figure(said.get(key))}
