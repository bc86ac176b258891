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
REPEATED = ("start", "hold", "cut", "recover", "drain", "journal", "mirror")  # steps that a run makes more than once
LIVE = ("make_safe", "prove", "push", "environment", "start", "hold", "cut", "recover", "drain", "unwind")  # a device is there to be hurt


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
    """Every point with every victim that lives there, each at a seeded one of its times, in a seeded order."""
    dice = random.Random(seed)
    found = [Shot("coordinator", point, _nth(dice, point), "coordinator") for point in (*AT_STEPS, *IN_WRITES)]
    for victim in victims:
        if victim != "coordinator":
            found += [Shot("coordinator", p, _nth(dice, p), victim) for p in AT_STEPS if p.partition(".")[0] in LIVE]
    if "supervisor" in victims:
        found += [Shot("supervisor", point, dice.randint(1, 12), "supervisor") for point in IN_WRITES[:4]]
    dice.shuffle(found)
    return found


def _nth(dice: random.Random, point: str) -> int:
    word = point.partition(".")[0]
    most = 40 if word in ("journal", "mirror") else 4 if word in REPEATED else 1
    return dice.randint(1, most)


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
