"""When a program's next step is due, and when it must be taken back: the whole rule, without any I/O.

    armed ──begin──► begun: steps, each at its time ──► reverting ──► nothing of it is seen: gone
      │                                                 ▲     │ └───► … and it had cut the only path: reverted, gone when somebody comes
      │                                                 │     └─────► something is seen: revert_failed, tried again ──┐
      └── asked · its end · nobody renewed it · hard cap · another boot · guard restarted · a step failed · too hot ──┘

A program is the JSON form of `runner.model.program.Program`. Times are those of the boot-time clock, which counts while a
device sleeps; a program of another boot has no time left at all.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

ASKED, ITS_END, NOT_RENEWED, HARD_CAP = "asked", "its end", "nobody renewed it", "hard cap"
ANOTHER_BOOT, RESTARTED, STEP_FAILED = "another boot", "guard restarted", "a step failed"
SUPERVISOR = "the supervisor asked"
TOO_HOT, NO_SENSOR = "too hot", "nobody knows how hot it is"

ARMED, BEGUN, REVERTING, FAILED, REVERTED = "armed", "begun", "reverting", "revert_failed", "reverted"
STANDING = (ARMED, BEGUN)  # it may be renewed, and its end is still to come

MAX_CAP_S = 30 * 86400.0
MAX_PARTS = 100_000  # acts, steps and signs of one program, and words of one act


class Standing(NamedTuple):
    """What is known of one armed program."""

    boot: str
    armed_ns: int
    renewed_ns: int
    renew_s: float
    cap_s: float
    at_s: tuple[float, ...]  # of its steps
    lasts_s: float | None = None
    severs: bool = False
    began_ns: int | None = None
    done: int = 0  # steps that were carried out, or passed over
    asked: str = ""  # why it must be reverted, once somebody has said so
    sure: bool = True  # a restarted guard knows how far it had come
    not_before_ns: int = 0  # a revert that failed is tried again then


class Next(NamedTuple):
    """`do` is "step" (the one numbered `done`), "revert" (`why`), or "wait" (at most until `at_ns`)."""

    do: str
    why: str = ""
    at_ns: int = 0


def decide(program: Standing, now_ns: int, boot: str, severed: bool = False) -> Next:
    """What is to be done now. `severed`: nobody can renew, because a program that cuts the only path is in effect.

    A reason to revert goes before any step, and the earlier of two deadlines is the reason.
    """
    if program.boot != boot:
        why = ANOTHER_BOOT
    elif program.asked:
        why = program.asked
    elif not program.sure:
        why = RESTARTED
    else:
        due, reason = min(deadlines(program, severed))
        if now_ns < due:
            return _go_on(program, now_ns, due)
        why = reason
    return Next("revert", why) if now_ns >= program.not_before_ns else Next("wait", why, program.not_before_ns)


def deadlines(program: Standing, severed: bool) -> list[tuple[int, str]]:
    """Each moment from which on the program must not be in effect any more, and why."""
    found = [(program.armed_ns + int(program.cap_s * 1e9), HARD_CAP)]
    if program.began_ns is not None and program.lasts_s is not None:
        found.append((program.began_ns + int(program.lasts_s * 1e9), ITS_END))
    if not severed and not (program.severs and program.began_ns is not None):
        found.append((program.renewed_ns + int(program.renew_s * 1e9), NOT_RENEWED))
    return found


def _go_on(program: Standing, now_ns: int, deadline_ns: int) -> Next:
    if program.began_ns is None or program.done >= len(program.at_s):
        return Next("wait", "", deadline_ns)
    due = program.began_ns + int(program.at_s[program.done] * 1e9)
    return Next("step") if now_ns >= due else Next("wait", "", min(due, deadline_ns))


def due_by(program: dict[str, Any], elapsed_s: float) -> int:
    """How many of its steps are due when so much of its time has passed."""
    return sum(step["at_s"] <= elapsed_s for step in program["steps"])


def passed_over(program: dict[str, Any], elapsed_s: float) -> int:
    """How many of its first steps need not be carried out any more by a program that begins late.

    A step that ends the effect by what the undo does leaves the device as it was armed; so neither it nor anything before it matters.
    """
    undo = _all_of(program["undo"])
    ends = [not step["on"] and step["at_s"] < elapsed_s and _all_of(step["acts"]) == undo for step in program["steps"]]
    return max((number for number, end in enumerate(ends, 1) if end), default=0)


def too_hot(hot: dict[str, Any], said: str) -> str:
    """Why a device may not go on, by what its own sensor says, or ""; one that says nothing is no reason to go on."""
    said = said.strip()
    if not said.lstrip("-").isdigit():
        return f"{NO_SENSOR}: {hot['sensor']} says {said[:40]!r}"
    limit = hot["at_milli_c"]
    return f"{TOO_HOT}: {int(said) / 1000:.1f} °C, and {limit / 1000:.1f} °C are too many" if int(said) >= limit else ""


def _all_of(acts: list[dict[str, Any]]) -> list[tuple[list[str], str]]:
    return [(act["argv"], act.get("input", "")) for act in acts]


def check(program: Any, *, renew_s: Any, cap_s: Any, elapsed_s: Any, confirm_s: Any) -> None:
    """Raises ValueError for what a guard could not carry out and take back. What it means is not looked at."""
    if not isinstance(program, dict):
        raise ValueError(f"expected a program, found {type(program).__name__}")
    for key in ("name", "fault", "interface"):
        _expect(_is_word(program.get(key)), f"{key}: expected a string")
    _expect(program["name"] not in ("", ".", "..") and "/" not in program["name"], "name: expected one that a file can have")
    for key, each in (("prepare", _is_act), ("undo", _is_act), ("signs", _is_sign), ("steps", _is_step), ("resources", _is_word)):
        parts = program.get(key)
        _expect(isinstance(parts, list) and len(parts) <= MAX_PARTS and all(map(each, parts)), f"{key}: expected a list of its kind")
    _expect(bool(program["steps"]), "steps: expected at least one")
    times = [step["at_s"] for step in program["steps"]]
    _expect(times == sorted(times), "steps: expected them in the order of their times")
    _expect(program.get("lasts_s") is None or _is_time(program["lasts_s"]), "lasts_s: expected seconds")
    _expect(program.get("hot") is None or _is_hot(program["hot"]), "hot: expected a sensor, and thousandths of a degree")
    _expect(program.get("edge", "start") in ("start", "end"), 'edge: expected "start" or "end"')
    _expect(isinstance(program.get("stage", ""), str), "stage: expected a string")
    _expect(isinstance(program.get("severs_management", False), bool), "severs_management: expected true or false")
    for name, value in (("renew_s", renew_s), ("cap_s", cap_s), ("confirm_s", confirm_s)):
        _expect(_is_time(value) and 0 < value <= MAX_CAP_S, f"{name}: expected seconds, more than 0 and at most {MAX_CAP_S:.0f}")
    _expect(_is_time(elapsed_s), "elapsed_s: expected seconds")


def check_kept(kept: Any) -> None:
    """Raises ValueError for what is not the whole of an armed program, as its durable file holds it."""
    shape = {"program": dict, "run": str, "holder": str, "boot": str, "armed_ns": int, "escalate": bool}
    if not isinstance(kept, dict) or not all(isinstance(kept.get(key), kind) for key, kind in shape.items()):
        raise ValueError("it is no armed program")
    check(kept["program"], **{key: kept.get(key) for key in ("renew_s", "cap_s", "elapsed_s", "confirm_s")})


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"this is no program: {what}")


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= MAX_CAP_S


def _is_word(value: Any) -> bool:
    """Text that a command, or the name of a file, can be given: no NUL, and no half of a character."""
    return isinstance(value, str) and "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_argv(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= MAX_PARTS and all(map(_is_word, value)) and bool(value[0])


def _is_hot(value: Any) -> bool:
    limit = value.get("at_milli_c") if isinstance(value, dict) else None
    return isinstance(limit, int) and not isinstance(limit, bool) and _is_word(value.get("sensor")) and bool(value["sensor"])


def _is_act(value: Any) -> bool:
    return isinstance(value, dict) and _is_argv(value.get("argv")) and isinstance(value.get("input", ""), str)


def _is_sign(value: Any) -> bool:
    return isinstance(value, dict) and _is_argv(value.get("argv")) and isinstance(value.get("contains"), str) and bool(value["contains"])


def _is_step(value: Any) -> bool:
    acts = value.get("acts") if isinstance(value, dict) else None
    whole = isinstance(acts, list) and len(acts) <= MAX_PARTS and all(map(_is_act, acts))
    return whole and _is_time(value.get("at_s")) and isinstance(value.get("word"), str) and isinstance(value.get("on"), bool)
