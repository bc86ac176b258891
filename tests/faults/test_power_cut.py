"""Where cuts fall, over every count from 1 to 60 and several seeds: exactly as many as asked, spread, and the same again."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import yaml

from runner.faults import power_cut, steady
from runner.model.plan import CutPlan
from runner.model.profile import PowerCut, Profile

PROFILE = Path(__file__).resolve().parents[2] / "profiles" / "power-cuts.yaml"
STAGES = ("ingest", "screen", "aggregate", "train", "forecast", "ledger", "seal")
COUNTS = range(1, 61)
SEEDS = (0, 1, 2, 3, 4711)
NO_STAGE = ("created", "during_resume")
Executions = list[tuple[CutPlan, ...]]


@pytest.fixture(scope="module")
def settings() -> PowerCut:
    (fault,) = Profile.model_validate(yaml.safe_load(PROFILE.read_text())).faults
    assert isinstance(fault, PowerCut)
    return fault


@pytest.fixture(scope="module")
def schedules(settings: PowerCut) -> dict[tuple[int, int], Executions]:
    """Every schedule that is looked at, by count and seed."""
    return {(n, seed): power_cut.schedule(settings, "recovery", STAGES, n, seed) for n, seed in itertools.product(COUNTS, SEEDS)}


Schedules = dict[tuple[int, int], Executions]


def points(executions: Executions) -> set[str]:
    """The profile's words for the points used: a fraction means random."""
    return {"random" if cut.fraction is not None else cut.point for cuts in executions for cut in cuts}


def test_exactly_as_many_cuts_as_asked(schedules: Schedules) -> None:
    """Not one more or less, and no execution without a cut."""
    for (count, _), executions in schedules.items():
        assert sum(len(cuts) for cuts in executions) == count
        assert all(executions)


def test_every_stage_is_hit_as_soon_as_the_count_allows(schedules: Schedules) -> None:
    """With two cuts beside the stages each stage has one; and no stage has two more than another."""
    for (count, _), executions in schedules.items():
        hits = [sum(cut.stage == stage for cuts in executions for cut in cuts) for stage in STAGES]
        assert count < len(STAGES) + 2 or min(hits) >= 1
        assert max(hits) - min(hits) <= 1


def test_every_point_is_used_from_twelve_cuts_on(schedules: Schedules, settings: PowerCut) -> None:
    """A default run leaves no point of the profile out; no run uses one that the profile does not name."""
    for (count, _), executions in schedules.items():
        assert count < 12 or points(executions) == set(settings.points)
        assert points(executions) <= set(settings.points)


def test_every_stage_meets_every_point_in_a_long_run(schedules: Schedules, settings: PowerCut) -> None:
    """After sixty cuts each stage has been cut at each point that lies in a stage."""
    inside = set(settings.points) - set(NO_STAGE)
    for seed in SEEDS:
        met = {(cut.stage, "random" if cut.fraction is not None else cut.point) for cuts in schedules[60, seed] for cut in cuts}
        assert set(itertools.product(STAGES, inside)) <= met


def test_holds_are_unique_and_in_the_order_of_execution(schedules: Schedules) -> None:
    """Within one execution each stage comes at most once, as the pipeline runs; names count up from 1."""
    for executions in schedules.values():
        for number, cuts in enumerate(executions, 1):
            assert [cut.hold for cut in cuts] == [f"recovery-{number}/{place}" for place in range(1, len(cuts) + 1)]
            places = [STAGES.index(cut.stage) for cut in cuts if cut.stage]
            assert places == sorted(set(places))


def test_created_is_first_and_during_resume_follows_a_cut(schedules: Schedules) -> None:
    """A new journal can only be cut at its beginning, a resume only directly after another cut; each once, on no stage."""
    for executions in schedules.values():
        first = [cut.point for cut in executions[0]]
        assert "created" not in first[1:]
        assert first[0] != "during_resume"
        assert [cut.point for cuts in executions for cut in cuts if not cut.stage] == [point for point in first if point in NO_STAGE]
        for before, cut in itertools.pairwise(executions[0]):
            assert cut.point != "during_resume" or before.point != "created"


def test_the_same_words_give_the_same_cuts(schedules: Schedules, settings: PowerCut) -> None:
    """A run can be repeated from its seed; another seed is another run."""
    for (count, seed), executions in schedules.items():
        assert power_cut.schedule(settings, "recovery", STAGES, count, seed) == executions
    assert len({str(schedules[30, seed]) for seed in SEEDS}) == len(SEEDS)


def test_random_cuts_fall_inside_of_a_stage(schedules: Schedules) -> None:
    """Held when the stage was witnessed, and cut a part of its usual duration later, never at its very ends."""
    random_cuts = [cut for executions in schedules.values() for cuts in executions for cut in cuts if cut.fraction is not None]
    assert random_cuts
    assert all(cut.point == "started" and cut.stage and 0.05 <= (cut.fraction or 0) <= 0.95 for cut in random_cuts)


@pytest.mark.parametrize("stages", [("only",), ("a", "b")])
@pytest.mark.parametrize("chosen", [("created",), ("during_resume",), ("after_flush",), ("created", "during_resume", "random")], ids=str)
def test_small_pipelines_and_small_profiles_work_too(stages: tuple[str, ...], chosen: tuple[str, ...]) -> None:
    """One stage, one point: the count is still kept, and what lies outside of stages is still once."""
    for count in COUNTS:
        executions = power_cut.schedule(PowerCut(fault="power_cut", points=chosen), "s", stages, count, 1)  # type: ignore[arg-type]
        cuts = [cut for each in executions for cut in each]
        assert len(cuts) == count
        assert sum(not cut.stage for cut in cuts) <= len(set(chosen) & set(NO_STAGE))


def test_steady_is_one_execution_without_a_cut() -> None:
    """The measuring stick."""
    assert steady.schedule("baseline") == [()]
