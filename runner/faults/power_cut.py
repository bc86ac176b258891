"""power_cut: which cuts fall where, decided from a seed before anything runs.

    execution 1   stage a        stage b        stage c     …
                  cut, restart   cut, restart   cut, restart   each stage once, the points in turn
    execution 2   …                                            until the count is reached

Chaining the cuts of one execution costs one restart each and is harsher than one cut per execution: what a
cut damages is found by all the later ones.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from runner.model.plan import CutPlan
from runner.model.profile import PowerCut

_NO_STAGE = {"created": 6, "during_resume": 3}  # points outside of stages, and from how many cuts on they are used


def schedule(settings: PowerCut, scenario: str, stages: Sequence[str], count: int, seed: int) -> list[tuple[CutPlan, ...]]:
    """`count` cuts as executions of chained cuts: every stage as evenly as the count allows, the points in turn.

    One cut falls on the new journal ("created") and one into a resume, where the profile names them and the
    count leaves room. The same arguments give the same cuts.
    """
    chance = random.Random(f"{scenario} {seed}")  # each scenario has cuts of its own
    special = [point for point, least in _NO_STAGE.items() if point in settings.points and count >= least]
    in_stages = [point for point in settings.points if point not in _NO_STAGE] or ["random"]
    shift = chance.randrange(len(in_stages))
    executions: list[list[tuple[str, str]]] = []
    left = count - len(special)
    while left > 0:
        chosen = _spread(stages, min(left, len(stages)))
        turn = len(executions)  # one on in each execution, so that every stage meets every point
        executions.append([(stage, in_stages[(number + shift + turn) % len(in_stages)]) for number, stage in enumerate(chosen)])
        left -= len(chosen)
    if "during_resume" in special:
        first = executions[0]
        first.insert(len(first) // 2 + 1, ("", "during_resume"))
    if "created" in special:
        executions[0].insert(0, ("", "created"))
    return [
        tuple(_cut(f"{scenario}-{number}/{place}", stage, point, chance) for place, (stage, point) in enumerate(cuts, 1))
        for number, cuts in enumerate(executions, 1)
    ]


def _cut(hold: str, stage: str, point: str, chance: random.Random) -> CutPlan:
    if point == "random":
        return CutPlan(hold=hold, stage=stage, point="started", fraction=round(chance.uniform(0.05, 0.95), 3))
    return CutPlan(hold=hold, stage=stage, point=point)


def _spread(stages: Sequence[str], count: int) -> list[str]:
    """`count` of the stages, in order, as evenly spaced as it goes."""
    return [stages[(2 * number + 1) * len(stages) // (2 * count)] for number in range(count)]
