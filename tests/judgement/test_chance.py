"""What is asked of a link in figures, and what chance does to it: each formula beside a link that is played with a seed."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.faults.bandwidth import mean_loss_percent
from runner.judgement.asked import asked_burst, asked_loss, constant
from runner.judgement.chance import FEWEST, Z_99, packets_needed, wilson, worth
from runner.model.profile import Burst, Direction, Jamming, Offline

from .made_links import SILENT, bandwidth, played, runs_of

Row = dict[str, Any]

UNHURRIED = settings(deadline=None)  # a busy machine is no finding
COUNTS = st.integers(1, 100_000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of)))


@UNHURRIED
@given(COUNTS)
def test_the_interval_holds_what_was_seen(counts: tuple[int, int]) -> None:
    """Between 0 and 1, around the share; and the same from the other side."""
    seen, of = counts
    low, high = wilson(seen, of)
    assert 0 <= low <= seen / of <= high <= 1
    other = wilson(of - seen, of)
    assert (1 - other[1], 1 - other[0]) == pytest.approx((low, high), abs=1e-9)


@UNHURRIED
@given(COUNTS)
def test_its_ends_are_where_the_score_is_z(counts: tuple[int, int]) -> None:
    """Wilson's definition, held against his formula: (share − p)² = z²·p(1−p)/n."""
    seen, of = counts
    for p in wilson(seen, of):
        assert (seen / of - p) ** 2 == pytest.approx(Z_99**2 * p * (1 - p) / of, abs=1e-9)


@UNHURRIED
@given(COUNTS, st.integers(2, 50))
def test_more_packets_say_more(counts: tuple[int, int], times: int) -> None:
    """The same share of more packets has a narrower interval."""
    seen, of = counts
    low, high = wilson(seen, of)
    low_of_more, high_of_more = wilson(seen * times, of * times)
    assert high_of_more - low_of_more <= high - low + 1e-12


def test_of_nothing_anything_may_be_true() -> None:
    """No packets: from 0 to 1."""
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("loss", [0.01, 0.02, 0.1, 0.5, 0.9])
def test_ninety_nine_of_a_hundred_links_hold_their_loss(loss: float) -> None:
    """Of 300 made-up links, with a seed, about 3 lie outside."""
    chance = random.Random(4)
    outside = 0
    for _ in range(300):
        lost = sum(chance.random() < loss for _ in range(600))
        low, high = wilson(lost, 600)
        outside += not low <= loss <= high
    assert outside <= 9


BURSTS = st.fixed_dictionaries(
    {
        "p_percent": st.floats(0.1, 99),
        "r_percent": st.floats(0.5, 99),
        "loss_in_bad_percent": st.floats(1, 100),
        "loss_in_good_percent": st.floats(0, 0.5),
    }
)


@UNHURRIED
@given(BURSTS)
def test_bursts_have_a_loss_and_a_length(burst: Row) -> None:
    """A share from 0 to 1; at least one packet in a row; and no packet is worth more than itself."""
    asked = {"burst": burst}
    length = asked_burst(asked)
    assert 0 < asked_loss(asked) <= 1
    assert length is None or length >= 1 - 1e-9
    assert 0 < worth(asked) <= 1
    assert packets_needed(asked) >= FEWEST


@pytest.mark.parametrize(("p", "r", "bad", "good"), [(2, 20, 100, 0), (10, 10, 90, 30), (5, 30, 60, 0)])
def test_a_packet_is_worth_what_a_mean_over_many_says(p: float, r: float, bad: float, good: float) -> None:
    """The variance of the mean of 200 packets, over 1500 links that are played with seeds, beside that of packets lost one by one."""
    asked = {"burst": {"p_percent": p, "r_percent": r, "loss_in_bad_percent": bad, "loss_in_good_percent": good}}
    lost = played(asked, 200 * 1500, seed=3)
    means = [sum(lost[at : at + 200]) / 200 for at in range(0, len(lost), 200)]
    share = asked_loss(asked)
    variance = sum((mean - share) ** 2 for mean in means) / len(means)
    assert variance == pytest.approx(share * (1 - share) / (200 * worth(asked)), rel=0.2)


@UNHURRIED
@given(BURSTS, st.floats(0, 100))
def test_the_judge_and_the_fault_reckon_the_same_loss(burst: Row, loss: float) -> None:
    """Each for itself: a judge takes nothing from whom it judges."""
    for direction in (Direction(burst=Burst(**burst)), Direction(loss_percent=loss)):
        assert 100 * asked_loss(direction.model_dump(mode="json")) == pytest.approx(mean_loss_percent(direction))


@pytest.mark.parametrize(("p", "r", "bad", "good"), [(2, 20, 100, 0), (18, 2, 100, 0), (5, 30, 60, 0), (3, 25, 90, 1)])
def test_the_formulas_are_what_such_a_link_does(p: float, r: float, bad: float, good: float) -> None:
    """Loss and mean burst of a link that is played packet by packet, with a seed, beside the formulas."""
    asked = {"burst": {"p_percent": p, "r_percent": r, "loss_in_bad_percent": bad, "loss_in_good_percent": good}}
    lost = played(asked, 400_000, seed=1)
    runs = runs_of(lost)
    assert sum(lost) / len(lost) == pytest.approx(asked_loss(asked), rel=0.05)
    assert sum(int(length) * times for length, times in runs.items()) / sum(runs.values()) == pytest.approx(asked_burst(asked), rel=0.05)


def test_simple_bursts_are_one_by_r() -> None:
    """With everything lost in the bad state and nothing in the good: p/(p+r), and 1/r."""
    asked = {"burst": {"p_percent": 1.0, "r_percent": 25.0}}
    assert asked_loss(asked) == pytest.approx(1 / 26)
    assert asked_burst(asked) == pytest.approx(4.0)


def test_constant_is_what_can_be_measured_at_once() -> None:
    """Not what comes and goes, by its own times or by chance; nor what nobody knows."""
    assert all(map(constant, [*SILENT, bandwidth()]))
    timed = [Offline(fault="offline", **when).model_dump(mode="json") for when in ({"at_s": 1}, {"for_s": 1}, {"stage": "send"})]
    by_chance = Jamming(fault="jamming", jammer="random", mean_on_s=1, mean_off_s=1).model_dump(mode="json")
    assert not any(map(constant, [*timed, by_chance, {"fault": "external", "name": "fog"}]))
