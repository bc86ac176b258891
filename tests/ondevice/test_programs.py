"""When a program's step is due and when it must come off: the rule as a table, by a clock turned by hand."""

from __future__ import annotations

from typing import Any

import pytest

from runner.ondevice.programs import Next, Standing, check, decide, due_by, passed_over

S = 1_000_000_000
BOOT = "b" * 32


def standing(**changes: Any) -> Standing:
    """Armed and renewed at 100 s; steps 0, 5 and 10 s after its beginning."""
    deadlines: dict[str, Any] = {"armed_ns": 100 * S, "renewed_ns": 100 * S, "renew_s": 60.0, "cap_s": 900.0}
    return Standing(**{"boot": BOOT, **deadlines, "at_s": (0.0, 5.0, 10.0), **changes})


BEGUN = {"began_ns": 110 * S}
SEVERS = {"severs": True, "lasts_s": 300.0}


@pytest.mark.parametrize(
    ("changes", "now_s", "next"),
    [
        # its steps
        ({}, 100, Next("wait", "", 160 * S)),  # armed: nothing is applied before it begins
        (BEGUN, 110, Next("step")),
        ({**BEGUN, "done": 1}, 114.9, Next("wait", "", 115 * S)),
        ({**BEGUN, "done": 1}, 115, Next("step")),
        ({**BEGUN, "done": 1}, 140, Next("step")),  # late is not too late
        ({**BEGUN, "done": 3}, 140, Next("wait", "", 160 * S)),
        ({**BEGUN, "done": 2, "lasts_s": 9.0}, 118, Next("wait", "", 119 * S)),  # a step beyond its end
        # told to end
        ({"asked": "asked"}, 100, Next("revert", "asked")),
        ({**BEGUN, "asked": "a step failed"}, 110, Next("revert", "a step failed")),  # and its next step is not done
        # its own end
        ({**BEGUN, "lasts_s": 20.0}, 130, Next("revert", "its end")),
        ({"lasts_s": 20.0}, 130, Next("wait", "", 160 * S)),  # it has not begun
        # renewals
        (BEGUN, 160, Next("revert", "nobody renewed it")),
        ({}, 160, Next("revert", "nobody renewed it")),  # nor has one that never began
        ({**BEGUN, "renewed_ns": 150 * S, "done": 3}, 209, Next("wait", "", 210 * S)),
        ({**BEGUN, "renewed_ns": 150 * S}, 210, Next("revert", "nobody renewed it")),
        # the cap does not renew
        ({**BEGUN, "renewed_ns": 999 * S, "done": 3}, 999, Next("wait", "", 1000 * S)),
        ({**BEGUN, "renewed_ns": 999 * S}, 1000, Next("revert", "hard cap")),
        # one that cuts the only path
        ({**BEGUN, **SEVERS, "done": 3}, 400, Next("wait", "", 410 * S)),
        ({**BEGUN, **SEVERS}, 410, Next("revert", "its end")),
        ({**BEGUN, **SEVERS, "lasts_s": None}, 1000, Next("revert", "hard cap")),
        (SEVERS, 160, Next("revert", "nobody renewed it")),  # it is not in effect yet: whoever armed it can renew it
        # what a guard does not know
        ({"boot": "c" * 32}, 100, Next("revert", "another boot")),
        ({"boot": "c" * 32, "asked": "asked", "sure": False}, 100, Next("revert", "another boot")),
        ({**BEGUN, "sure": False}, 110, Next("revert", "guard restarted")),
        # a revert that failed is tried again at its time, and not before
        ({"asked": "asked", "not_before_ns": 170 * S}, 169, Next("wait", "asked", 170 * S)),
        ({"asked": "asked", "not_before_ns": 170 * S}, 170, Next("revert", "asked")),
    ],
)
def test_the_rule(changes: dict[str, Any], now_s: float, next: Next) -> None:
    """A reason to revert goes before any step, and the first deadline that is over is the reason."""
    assert decide(standing(**changes), int(now_s * S), BOOT) == next


def test_while_the_only_path_is_cut_nobody_needs_to_renew() -> None:
    """Another program beside the one that cuts it: missing renewals do not count, its cap does."""
    begun = standing(**BEGUN, done=3)
    assert decide(begun, 500 * S, BOOT, severed=True) == Next("wait", "", 1000 * S)
    assert decide(begun, 500 * S, BOOT) == Next("revert", "nobody renewed it")
    assert decide(begun, 1000 * S, BOOT, severed=True) == Next("revert", "hard cap")


def test_a_program_by_a_hand_clock_from_its_arming_to_its_end() -> None:
    """Turned second by second: three steps at their times, then its end, and at no moment anything else."""
    program, seen = standing(began_ns=103 * S, lasts_s=12.0), []
    for now in range(103, 120):
        while (next := decide(program, now * S, BOOT)).do == "step":
            seen.append((now, program.done))
            program = program._replace(done=program.done + 1)
        if next.do == "revert":
            seen.append((now, next.why))
            break
    assert seen == [(103, 0), (108, 1), (113, 2), (115, "its end")]


ACT = {"argv": ["/bin/true"], "input": ""}
PROGRAM: dict[str, Any] = {
    "name": "offline-1", "fault": "offline", "interface": "data0", "resources": ["qdisc data0"], "needs": ["nft"], "prepare": [],
    "steps": [{"at_s": 0, "acts": [ACT], "word": "offline", "on": True}], "undo": [ACT],
    "signs": [{"argv": ["/bin/ls"], "contains": "x"}], "lasts_s": None, "stage": "", "edge": "start", "severs_management": False,
}  # fmt: skip
LIMITS: dict[str, Any] = {"renew_s": 60, "cap_s": 600.0, "elapsed_s": 0, "confirm_s": 120.0}


ON, OFF = {"argv": ["/bin/on"], "input": ""}, {"argv": ["/bin/off"]}


@pytest.mark.parametrize(
    ("steps", "elapsed_s", "due", "over"),
    [
        ("0+ 5+", 0, 1, 0),  # not late at all
        ("0+ 5+ 9+", 7, 2, 0),  # the second may build on the first
        ("0+ 5- 9+", 6, 2, 2),  # off is what the device is as it was armed
        ("0+ 5- 9+", 5, 2, 0),  # it is due now, and is done
        ("0- 5+", 0, 1, 0),
        ("0+ 5- 9+", 9, 3, 2),
        ("0+ 5- 9+ 12- 15+", 11, 3, 2),
        ("0+ 5- 9+ 12- 15+", 99, 5, 4),
        ("3+ 5-", 2, 0, 0),  # nothing is due yet
        ("0+ 5=", 9, 2, 0),  # something is on, whatever does it
        ("0+ 5~", 9, 2, 0),  # what does only a part of the undo leaves something
    ],
)
def test_what_a_program_that_begins_late_need_not_do_any_more(steps: str, elapsed_s: float, due: int, over: int) -> None:
    """Everything up to the last step that does what the undo does: `-` takes all off, `~` one part."""
    acts = {"+": [ON], "-": [OFF, {**ON, "input": ""}], "=": [OFF, ON], "~": [OFF]}
    made = [{"at_s": float(word[:-1]), "acts": acts[word[-1]], "on": word[-1] in "+="} for word in steps.split()]
    whole = {**PROGRAM, "undo": [OFF, ON], "steps": made}
    assert (due_by(whole, elapsed_s), passed_over(whole, elapsed_s)) == (due, over)


def test_what_a_guard_can_carry_out_is_let_through() -> None:
    """The negative control of the next one; and every program that the model makes has this shape."""
    from runner.model.program import Program

    check(PROGRAM, **LIMITS)
    check(Program.model_validate(PROGRAM).model_dump(mode="json"), **LIMITS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": None}, {"undo": None}, {"undo": ["rm -f x"]}, {"undo": [{"argv": []}]}, {"undo": [{"argv": [""]}]},
        {"undo": [{"argv": "rm x"}]}, {"undo": [{"argv": ["rm", 7]}]}, {"undo": [{"argv": ["a\0b"]}]},
        {"signs": [{"argv": ["ls"], "contains": ""}]},
        {"signs": [{"argv": ["ls"]}]}, {"steps": []}, {"steps": [{**PROGRAM["steps"][0], "at_s": -1}]},
        {"steps": [{**PROGRAM["steps"][0], "at_s": float("nan")}]}, {"steps": [{**PROGRAM["steps"][0], "at_s": True}]},
        {"steps": [{**PROGRAM["steps"][0], "at_s": 5}, PROGRAM["steps"][0]]}, {"steps": [{"at_s": 0}]}, {"lasts_s": "60"},
        {"edge": "middle"}, {"severs_management": "no"}, {"resources": "qdisc"},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_program_is_refused(wrong: dict[str, Any]) -> None:
    """Nothing that would only be found out while it is being undone."""
    with pytest.raises(ValueError, match="this is no program"):
        check({**PROGRAM, **wrong}, **LIMITS)


@pytest.mark.parametrize(
    "wrong", [{"cap_s": 0}, {"cap_s": float("inf")}, {"renew_s": -1}, {"renew_s": None}, {"confirm_s": 0}, {"elapsed_s": "1"}], ids=str
)
def test_no_deadline_that_never_comes(wrong: dict[str, Any]) -> None:
    """Every armed program has an end that does not depend on anybody."""
    with pytest.raises(ValueError, match="this is no program"):
        check(PROGRAM, **{**LIMITS, **wrong})
