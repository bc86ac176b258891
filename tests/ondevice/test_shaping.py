"""A narrow link as a function of what comes when: tables by hand, and what holds for every link and every stream of packets."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.ondevice.shaping import HEADER_BYTES, Course, Shape, shape_of


def course(seed: str = "1", **said: Any) -> Course:
    return Course(Shape(**{"queue_packets": 1000, **said}), random.Random(seed))


def lost(one: Course, count: int) -> list[int]:
    """The numbers of packets that never leave, of `count` that come one a millisecond."""
    return [number for number in range(count) if not one.take(number / 1000, 100)]


def test_a_link_without_limits_lets_everything_pass_at_once() -> None:
    """The negative of all below."""
    one = course()
    assert [one.take(moment, 1500) for moment in (0.0, 0.0, 2.5)] == [(0.0,), (0.0,), (2.5,)]


def test_each_packet_waits_until_those_before_it_are_sent() -> None:
    """1000 bytes at 8 kbit/s are a second; who comes later than that waits for nobody."""
    one = course(rate_kbit_s=8)
    assert [one.take(moment, 1000) for moment in (0.0, 0.25, 0.5, 10.0)] == [(1.0,), (2.0,), (3.0,), (11.0,)]


def test_the_delay_comes_behind_the_rate() -> None:
    """A long line: it is sent first, and then on its way; what is on its way holds nobody up."""
    one = course(rate_kbit_s=8, delay_ms=5000, queue_packets=1)
    assert one.take(0.0, 1000) == (6.0,)
    assert one.take(0.5, 1000) == ()
    assert one.take(1.0, 1000) == (7.0,)
    assert one.counts["overflowed"] == 1


def test_a_full_queue_lets_nobody_in() -> None:
    """Ten may wait, the eleventh is lost, and room is where one has been sent."""
    one = course(rate_kbit_s=8, queue_packets=10)
    assert [bool(one.take(0.0, 1000)) for _ in range(12)] == [True] * 10 + [False] * 2
    assert one.take(1.0, 1000) == (11.0,)
    assert one.counts["overflowed"] == 2


@pytest.mark.parametrize("version", HEADER_BYTES)
def test_a_message_passes_up_to_its_length(version: int) -> None:
    """To the byte, with the headers of its family around it."""
    one = course(payload_bytes=51)
    whole = 51 + HEADER_BYTES[version]
    assert one.take(0.0, whole, version) == (0.0,)
    assert one.take(0.0, whole + 1, version) == ()
    assert one.counts["too_long"] == 1


def test_bursts_are_those_of_gilbert_and_elliott() -> None:
    """Into the bad state with p, out of it with r: r = 100 % loses one at a time, and a state that cannot be left loses the rest."""
    assert lost(course(burst=(100.0, 100.0, 100.0, 0.0)), 6) == [1, 3, 5]
    assert lost(course(burst=(100.0, 0.0, 100.0, 0.0)), 6) == [1, 2, 3, 4, 5]
    assert lost(course(burst=(0.0, 50.0, 100.0, 0.0)), 1000) == []
    gone = lost(course(burst=(5.0, 25.0, 100.0, 0.0)), 20_000)
    assert 0.14 < len(gone) / 20_000 < 0.195  # p / (p + r) = 1/6
    bursts = sum(number - 1 not in gone for number in gone)
    assert 3.6 < len(gone) / bursts < 4.4


def test_what_comes_twice_and_what_overtakes() -> None:
    """A copy leaves, too, and takes its turn; what overtakes is not delayed."""
    twice = course(rate_kbit_s=8, duplicate_percent=100)
    assert twice.take(0.0, 1000) == (1.0, 2.0)
    assert course(delay_ms=100, reorder_percent=100).take(0.0, 100) == (0.0,)
    some = course(delay_ms=100, reorder_percent=25, duplicate_percent=10)
    leaving = [some.take(0.0, 100) for _ in range(4000)]
    assert 0.21 < sum(moments[0] == 0.0 for moments in leaving) / 4000 < 0.29
    assert 0.08 < sum(len(moments) == 2 for moments in leaving) / 4000 < 0.12


def test_jitter_is_spread_evenly_around_the_delay() -> None:
    """Over all of delay ± jitter, and on the average it is the delay."""
    one = course(delay_ms=100, jitter_ms=40)
    delays = [one.take(0.0, 100)[0] * 1000 for _ in range(4000)]
    assert 60 <= min(delays) < 65 and 135 < max(delays) <= 140
    assert 98 < sum(delays) / 4000 < 102


@settings(max_examples=60, deadline=None)
@given(
    seed=st.text(max_size=5),
    loss=st.floats(0, 100),
    gaps=st.lists(st.floats(0, 0.5), min_size=1, max_size=60),
    other=st.floats(0, 0.5),
    rate=st.none() | st.floats(1, 10_000),
)
def test_the_same_seed_loses_the_same_packets_whenever_they_come(
    seed: str, loss: float, gaps: list[float], other: float, rate: float | None
) -> None:
    """Packet for packet: neither the moments, the sizes nor another rate in between change who is lost by chance."""
    fates = []
    for steady in (False, True):
        one, now_s, fate = course(seed, loss_percent=loss), 0.0, []
        for number, gap in enumerate(gaps):
            if steady and number == len(gaps) // 2:
                one.change(one.shape._replace(rate_kbit_s=rate))
            now_s += other if steady else gap
            before = one.counts["lost"]
            one.take(now_s, 1500 if steady else 60)
            fate.append(one.counts["lost"] > before)
        fates.append(fate)
    assert fates[0] == fates[1]


def test_another_seed_loses_others() -> None:
    """And one that is the same but for the direction or the window is another."""
    for more in ("2", "1 up", "1 down"):
        assert lost(course("1", loss_percent=20), 300) != lost(course(more, loss_percent=20), 300)


SHAPES = st.builds(
    Shape,
    queue_packets=st.integers(1, 50),
    rate_kbit_s=st.none() | st.floats(0.1, 10_000),
    delay_ms=st.floats(50, 500),
    jitter_ms=st.floats(0, 50),
    loss_percent=st.floats(0, 100),
    duplicate_percent=st.floats(0, 100),
    reorder_percent=st.floats(0, 100),
    payload_bytes=st.none() | st.integers(1, 1500),
)


@settings(max_examples=100, deadline=None)
@given(shape=SHAPES, packets=st.lists(st.tuples(st.floats(0, 0.2), st.integers(20, 1500)), max_size=80))
def test_of_every_link(shape: Shape, packets: list[tuple[float, int]]) -> None:
    """Nothing leaves before it came; nothing is faster than the rate; every packet is counted once; with a rate, what is not
    asked to overtake keeps its order."""
    one, now_s, bits, last_s = Course(shape, random.Random(1)), 0.0, 0.0, 0.0
    passed = 0
    for gap, size in packets:
        now_s += gap
        moments = one.take(now_s, size)
        passed += bool(moments)
        for leaves_s in moments:
            assert leaves_s >= now_s
            bits += size * 8
            if shape.rate_kbit_s is not None:
                assert leaves_s >= bits / (shape.rate_kbit_s * 1000) - 1e-6
                if not shape.reorder_percent:
                    assert leaves_s >= last_s
                    last_s = leaves_s
    counts = one.counts
    assert counts["taken"] == len(packets) == passed + counts["lost"] + counts["too_long"] + counts["overflowed"]


@pytest.mark.parametrize(
    "wrong",
    [
        {}, [], None, {"queue_packets": 0}, {"queue_packets": 1, "rate_kbit_s": 0}, {"queue_packets": 1, "loss_percent": 101},
        {"queue_packets": 1, "jitter_ms": 1}, {"queue_packets": 1, "burst": [1, 2, 3]}, {"queue_packets": 1, "colour": 1},
        {"queue_packets": "1"}, {"queue_packets": 1, "payload_bytes": 0}, {"queue_packets": 1, "delay_ms": float("nan")},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_shape_is_refused(wrong: Any) -> None:
    """Before anything is led anywhere."""
    with pytest.raises(ValueError, match="no shape"):
        shape_of(wrong)
    assert shape_of({"queue_packets": 1, "burst": [5, 25, 100, 0]}).burst == (5, 25, 100, 0)
