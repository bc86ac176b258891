"""Who is killed, and where: every step's beginning and end, and the middle of every journal's and mirror's write.

A shot at the coordinator itself, or at a process with points of its own, is fired by the point. For all others the
coordinator stops itself there (SIGSTOP); the test kills the victim, and lets the coordinator go on.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from runner.story.steps import STEPS

AT_STEPS = (*(f"{step}.{side}" for step in STEPS for side in ("before", "after")), "cut.done")
IN_WRITES = ("journal.append", "journal.half", "journal.written", "journal.flushed", "mirror.half", "mirror.written")
TIMES = {"start": 3, "hold": 5, "cut": 4, "recover": 4, "drain": 3, "journal": 40, "mirror": 20}  # how often a run of KILL-001 gets there
ATTACHED = tuple(
    f"{step}.{side}" for step in ("make_safe", "push", "environment", "start", "hold", "drain") for side in ("before", "after")
)
LIVES = {  # where a victim is there to be hurt
    "supervisor": (*ATTACHED, "cut.before", "recover.after", "unwind.before"),
    "link": (*ATTACHED, "cut.before", "recover.after", "unwind.before"),
    "host": ("start.after", "hold.before", "hold.after", "cut.before"),
    "keeper": ("open.after", *ATTACHED, "prove.after", "cut.before", "cut.after", "recover.after", "unwind.before"),
}


class Shot(NamedTuple):
    """In the process of `role`, at the `nth` time that `point` is reached, `victim` gets SIGKILL."""

    role: str
    point: str
    nth: int
    victim: str

    @property
    def line(self) -> str:
        """What the file says that RUNNER_FAILPOINT names."""
        return f"{self.role} {self.point} {self.nth} {'kill' if self.role == self.victim else 'stop'}"


def shots(seed: int, victims: tuple[str, ...]) -> list[Shot]:
    """Every point with every victim that lives there, each at a seeded one of its times, in a seeded order.

    A supervisor that dies before its very first record is whole is always among them.
    """
    dice = random.Random(seed)
    found = [Shot("coordinator", point, _nth(dice, point), "coordinator") for point in (*AT_STEPS, *IN_WRITES)]
    for victim in victims:
        found += [Shot("coordinator", point, _nth(dice, point), victim) for point in LIVES.get(victim, ())]
    if "supervisor" in victims:
        found += [Shot("supervisor", point, dice.randint(1, 12), "supervisor") for point in IN_WRITES[:4]]
        found.append(Shot("supervisor", "journal.half", 1, "supervisor"))
    dice.shuffle(found)
    return found


def in_order(chain: list[Shot]) -> list[Shot]:
    """A chain's shots by the order of steps: what a resume need not do again cannot be shot at."""
    return sorted(
        chain, key=lambda shot: next((place for place, step in enumerate(STEPS) if shot.point.startswith(f"{step}.")), len(STEPS) // 2)
    )


def _nth(dice: random.Random, point: str) -> int:
    return dice.randint(1, TIMES.get(point.partition(".")[0], 1))


def board_shots() -> list[list[Shot]]:
    """One chain each: on a board every kill costs a boot, so each shot falls behind the one before it, and surely hits."""
    at = {"c": "coordinator", "s": "supervisor", "h": "host", "k": "keeper", "l": "link"}
    chains = (
        "c folder.after, c open.after, k push.before, s start.after, c cut.done, l drain.before, c unwind.after",
        "c open.before, c prove.after, s environment.after, h hold.before, c cut.before, c recover.before, c report.before",
        "k open.after, c push.after, l start.before, c start.after, k cut.before, c recover.after, c drain.after",
        "l make_safe.after, c environment.after, s cut.before, c cut.after, k drain.before, c judge.before",
    )
    return [[Shot("coordinator", point, 1, at[who]) for who, point in (word.split() for word in chain.split(", "))] for chain in chains]
