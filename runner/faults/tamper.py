"""tamper: what becomes of a journal on a damaged disk, decided from a seed; and which bytes that means.

    each image   run to a promise ─► cut ─► damage what lies on the disk ─► power on ─► refused, with the reason

Flips and torn tails are aimed at what was *promised*: losing anything else is what every power cut does anyway.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from runner.model.plan import CutPlan, TamperPlan
from runner.model.profile import Tamper

SECTOR_BYTES = 512
SEEDED = ("bit_flip", "torn_tail")  # the others are the same wherever they fall: one image each


class Edit(NamedTuple):
    """Bytes to write into a file at an offset."""

    offset: int
    data: bytes


def schedule(settings: Tamper, scenario: str, stages: Sequence[str], count: int, seed: int) -> list[tuple[CutPlan, ...]]:
    """`count` images as executions of one cut each: every kind of damage once, the rest of them seeded ones in turn.

    The power goes when a stage's end is promised and the coordinator has it, too: only then does anybody know what is missing.
    The stages take turns from the second on, so that there is something to damage.
    """
    chance = random.Random(f"{scenario} {seed}")
    seeded = [damage for damage in settings.damage if damage in SEEDED]
    kinds = list(settings.damage[:count])
    kinds += [seeded[number % len(seeded)] for number in range(count - len(kinds))] if seeded else []
    places = stages[1:] or stages
    return [
        (
            CutPlan(
                hold=f"{scenario}-{number}/1",
                stage=places[number % len(places)],
                point="after_ack",
                tamper=TamperPlan(damage=damage, seed=chance.randrange(2**32)),
            ),
        )
        for number, damage in enumerate(kinds, 1)
    ]


def edits(plan: TamperPlan, content: bytes, promised: int, foreign: bytes, spans: Sequence[tuple[int, int]] = ()) -> list[Edit]:
    """The writes that damage a file of this `content`, whose first `promised` bytes were promised.

    `content` is the journal, or for `changed_pipeline` a file of the pipeline; `foreign` is another journal, whole records;
    `spans` are the promised records, [begin, end) in bytes.
    """
    chance = random.Random(plan.seed)
    if plan.damage in ("bit_flip", "changed_pipeline"):
        begin, end = chance.choice(spans) if spans else (0, promised)  # a record first, or the longest would get them all
        offset = chance.randrange(begin, end)
        return [Edit(offset, bytes([content[offset] ^ 1 << chance.randrange(8)]))]
    if plan.damage == "torn_tail":
        last = (promised - 1) // SECTOR_BYTES
        torn = max(1, last - chance.randrange(3)) * SECTOR_BYTES
        if torn >= promised:  # shorter than two sectors: its only one
            torn = 0
        lost = len(content) - torn
        return [Edit(torn, chance.choice((bytes(lost), chance.randbytes(lost))))]
    kept = foreign[: len(content)]
    return [Edit(0, kept + bytes(len(content) - len(kept)))]
