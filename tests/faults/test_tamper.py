"""What is damaged, over every count from 1 to 40 and several seeds; and which bytes, over many seeds and real journals."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest
import yaml

from runner.faults import tamper
from runner.faults.tamper import SECTOR_BYTES, SEEDED, Edit, edits
from runner.model.plan import CutPlan, TamperPlan
from runner.model.profile import Damage, Profile, Tamper
from runner.ondevice.journal import FILE_HEADER, encode, read

PROFILE = Path(__file__).resolve().parents[2] / "profiles" / "journal-damage.yaml"
STAGES = ("ingest", "screen", "aggregate", "ledger")
COUNTS = range(1, 41)
SEEDS = (0, 1, 2, 3, 4711)
KINDS: tuple[Damage, ...] = get_args(Damage)
Executions = list[tuple[CutPlan, ...]]


@pytest.fixture(scope="module")
def settings() -> Tamper:
    (fault,) = Profile.model_validate(yaml.safe_load(PROFILE.read_text())).faults
    assert isinstance(fault, Tamper)
    return fault


def plans(executions: Executions) -> list[TamperPlan]:
    return [cut.tamper for cuts in executions for cut in cuts if cut.tamper]


def schedule(settings: Tamper, count: int, seed: int = 1, stages: tuple[str, ...] = STAGES) -> Executions:
    return tamper.schedule(settings, "adversarial", stages, count, seed)


# ---- which images -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_exactly_as_many_images_as_asked_each_of_one_cut_that_damages(settings: Tamper, seed: int) -> None:
    """An execution each, because what is refused does not go on; behind a flush, so that there is something to damage."""
    for count in COUNTS:
        executions = schedule(settings, count, seed)
        assert [[cut.hold for cut in cuts] for cuts in executions] == [[f"adversarial-{number}/1"] for number in range(1, count + 1)]
        assert len(plans(executions)) == count
        assert {(cut.point, cut.fraction) for cuts in executions for cut in cuts} == {("after_ack", None)}


def test_every_kind_of_damage_once_as_soon_as_the_count_allows(settings: Tamper) -> None:
    """Four images have all four; fewer have as many as they are; what is beyond is the seeded kinds, evenly."""
    assert set(settings.damage) == set(KINDS)
    for count in COUNTS:
        made = Counter(plan.damage for plan in plans(schedule(settings, count)))
        assert len(made) == min(count, len(KINDS))
        assert all(made[damage] <= 1 for damage in KINDS if damage not in SEEDED)
        assert abs(made["bit_flip"] - made["torn_tail"]) <= 1


def test_ten_of_twelve_images_are_seeded(settings: Tamper) -> None:
    """The entry's own count: five flips and five torn tails, no two of them with the same seed."""
    made = [plan for plan in plans(schedule(settings, 12)) if plan.damage in SEEDED]
    assert len({(plan.damage, plan.seed) for plan in made}) == len(made) == 10


def test_the_same_seed_gives_the_same_images_and_another_seed_others(settings: Tamper) -> None:
    """A run can be repeated from its seed, and more images begin with the same ones."""
    for count, seed in itertools.product((1, 12, 40), SEEDS):
        assert schedule(settings, count, seed) == schedule(settings, count, seed)
    assert len({str(schedule(settings, 12, seed)) for seed in SEEDS}) == len(SEEDS)
    assert schedule(settings, 12)[:4] == schedule(settings, 4)


def test_the_power_goes_at_every_stage_but_the_first_in_turn(settings: Tamper) -> None:
    """Behind the first stage there would be little to damage; a pipeline of one stage has no other."""
    stages = Counter(cut.stage for cuts in schedule(settings, 12) for cut in cuts)
    assert stages == {"screen": 4, "aggregate": 4, "ledger": 4}
    assert {cut.stage for cuts in schedule(settings, 5, stages=("only",)) for cut in cuts} == {"only"}


@pytest.mark.parametrize("damage", KINDS)
def test_a_profile_of_one_kind_makes_only_that(damage: Damage) -> None:
    """As many as asked where each is different; one where they would all be the same."""
    one = Tamper(fault="tamper", damage=(damage,))
    for count in COUNTS:
        made = plans(schedule(one, count))
        assert {plan.damage for plan in made} == {damage}
        assert len(made) == (count if damage in SEEDED else 1)


# ---- which bytes ------------------------------------------------------------------------------------------------------


def journal_of(chance: random.Random, execution: str = "adversarial-1") -> tuple[bytes, int]:
    """A journal of some records as a device leaves it at a cut, and how many bytes of it were promised."""
    records = []
    for number in range(1, chance.randrange(2, 12)):
        payload = {"execution": execution, "data": "x" * chance.choice((0, 10, 300, 1500))}
        records.append(encode(number, "ab" * 16, number, number, chance.choice(("stage_finished", "sample")), payload).raw)
    promised = len(FILE_HEADER) + sum(map(len, records[: chance.randrange(1, len(records) + 1)]))
    return FILE_HEADER + b"".join(records), promised


def after(content: bytes, made: list[Edit]) -> bytes:
    damaged = bytearray(content)
    for edit in made:
        damaged[edit.offset : edit.offset + len(edit.data)] = edit.data
    return bytes(damaged)


CASES = [(seed, *journal_of(random.Random(seed))) for seed in range(300)]
FOREIGN, _ = journal_of(random.Random(4), "baseline-1")


@pytest.mark.parametrize("damage", KINDS)
def test_damage_hits_what_was_promised_and_never_more_than_is_there(damage: Damage) -> None:
    """The first changed byte is a promised one, the file keeps its length, and the same seed gives the same bytes."""
    for seed, content, promised in CASES:
        plan = TamperPlan(damage=damage, seed=seed)
        made = edits(plan, content, promised, FOREIGN)
        damaged = after(content, made)
        assert len(damaged) == len(content)
        assert all(edit.offset >= 0 and edit.offset + len(edit.data) <= len(content) for edit in made)
        assert next(place for place, (old, new) in enumerate(zip(content, damaged, strict=True)) if old != new) < promised
        assert edits(plan, content, promised, FOREIGN) == made


@pytest.mark.parametrize("damage", ["bit_flip", "changed_pipeline"])
def test_a_flip_changes_exactly_one_bit(damage: Damage) -> None:
    """One byte is written, and it differs in one bit; over many seeds every eighth of the promised bytes and every bit is hit."""
    eighths, bits = Counter[int](), Counter[int]()
    for seed, content, promised in CASES:
        (edit,) = edits(TamperPlan(damage=damage, seed=seed), content, promised, b"")
        assert len(edit.data) == 1
        changed = edit.data[0] ^ content[edit.offset]
        assert changed.bit_count() == 1
        assert edit.offset < promised
        eighths[8 * edit.offset // promised] += 1
        bits[changed] += 1
    assert (len(eighths), len(bits)) == (8, 8)


def test_a_torn_tail_begins_at_a_sector_and_takes_all_behind_it() -> None:
    """At most the last three promised sectors and everything that was not promised, zeroed or turned into garbage."""
    tails = Counter[str]()
    for seed, content, promised in CASES:
        (edit,) = edits(TamperPlan(damage="torn_tail", seed=seed), content, promised, b"")
        assert edit.offset % SECTOR_BYTES == 0
        assert edit.offset + len(edit.data) == len(content)
        assert edit.offset == 0 or promised - 3 * SECTOR_BYTES <= edit.offset < promised
        assert edit.offset > 0 or promised <= SECTOR_BYTES  # the first sector only where there is no other
        tails["zeros" if not any(edit.data) else "garbage"] += 1
    assert min(tails["zeros"], tails["garbage"]) > len(CASES) // 4


def test_a_torn_tail_costs_promised_records() -> None:
    """Reading stops before the promise's end: this is more than any power cut may take."""
    for seed, content, promised in CASES:
        damaged = after(content, edits(TamperPlan(damage="torn_tail", seed=seed), content, promised, b""))
        assert len(read(damaged)) < len(read(content[:promised]))


def test_a_foreign_journal_is_whole_foreign_records() -> None:
    """What stands there is read as the other execution's and as nothing else, cut off where the file ends or zeroed behind it."""
    theirs = read(FOREIGN)
    for seed, content, promised in CASES:
        damaged = after(content, edits(TamperPlan(damage="foreign_journal", seed=seed), content, promised, FOREIGN))
        found = read(damaged)
        assert found == theirs[: len(found)]
        assert len(found) == len(theirs) or len(content) < len(FOREIGN)
        assert damaged[len(FOREIGN) :] == bytes(max(0, len(content) - len(FOREIGN)))
