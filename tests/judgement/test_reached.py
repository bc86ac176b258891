"""Asked and measured: each kind of row has a measurement that it takes and one that it must not."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.faults.bandwidth import mean_loss_percent
from runner.judgement.light_log import MAX_MISSING, packets_sent
from runner.judgement.reached import (
    FEWEST,
    Z_99,
    asked_burst,
    asked_loss,
    compare,
    constant,
    from_link_log,
    named,
    packets_needed,
    restored,
    said,
    wilson,
    worth,
)
from runner.model.profile import Bandwidth, Burst, Direction, Jamming, Offline

Row = dict[str, Any]


def way(sent: int = 400, received: int = 400, rate_kbit_s: float | None = None, bursts: Row | None = None, **more: Any) -> Row:
    return {"sent": sent, "received": received, "rate_kbit_s": rate_kbit_s, "bursts": bursts or {}, **more}


def measured(up: Row | None = None, down: Row | None = None, p50: float | None = 1.0, p95: float | None = 2.0) -> Row:
    return {"up": up or way(), "down": down or way(), "echoes": 400, "rtt_p50_ms": p50, "rtt_p95_ms": p95}


BEFORE = measured()


def bandwidth(up: Row | None = None, down: Row | None = None, **when: Any) -> Row:
    """A fault as a run's plan has it: as JSON, every field of the model in it."""
    fault = Bandwidth(fault="bandwidth", up=Direction(rate_kbit_s=1), down=Direction(), **when).model_dump(mode="json")
    return {**fault, **{way: Direction(**(said or {})).model_dump(mode="json") for way, said in (("up", up), ("down", down))}}


def verdicts(rows: list[Row]) -> dict[str, bool]:
    return {row["what"]: row["within"] for row in rows}


# ---- intervals ------------------------------------------------------------------------------------------------------------------

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


def played(asked: Row, count: int, seed: int) -> list[bool]:
    """Which packets a link loses that is as asked."""
    chance, bad, lost = random.Random(seed), False, []
    burst = asked.get("burst")
    for _ in range(count):
        if burst:
            bad = chance.random() * 100 < burst["p_percent"] if not bad else chance.random() * 100 >= burst["r_percent"]
            lost.append(chance.random() * 100 < (burst["loss_in_bad_percent"] if bad else burst["loss_in_good_percent"]))
        else:
            lost.append(chance.random() * 100 < asked["loss_percent"])
    return lost


def runs_of(lost: list[bool]) -> dict[str, int]:
    found: dict[str, int] = {}
    run = 0
    for each in [*lost, False]:
        if each:
            run += 1
        elif run:
            found[str(run)] = found.get(str(run), 0) + 1
            run = 0
    return found


def as_played(asked: Row, count: int, seed: int) -> Row:
    lost = played(asked, count, seed)
    return way(count, count - sum(lost), bursts=runs_of(lost))


# ---- rows: each with a measurement that it must refuse ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "within"), [(62.0, True), (55.0, True), (70.0, True), (40.0, False), (80.0, False), (95_000.0, False), (None, False)]
)
def test_a_rate_is_within_a_fifth(rate: float | None, within: bool) -> None:
    """Both ways; a shaper that is not there, and one that nobody measured, are not reached."""
    rows = compare([bandwidth({"rate_kbit_s": 62.0})], BEFORE, measured(way(rate_kbit_s=rate)))
    assert verdicts(rows)["rate up"] is within
    rows = compare([bandwidth(down={"rate_kbit_s": 62.0})], BEFORE, measured(down=way(rate_kbit_s=rate)))
    assert verdicts(rows)["rate down"] is within


def test_rates_that_change_lie_between_their_ends() -> None:
    """A duty cycle takes its share off; a trace and a ramp allow what they pass through, and no more."""
    duty = bandwidth({"rate_kbit_s": 100.0, "duty_cycle_percent": 10.0})
    assert [verdicts(compare([duty], BEFORE, measured(way(rate_kbit_s=rate))))["rate up"] for rate in (10.0, 100.0)] == [True, False]
    trace = bandwidth({"trace": [{"at_s": 0, "rate_kbit_s": 50.0}, {"at_s": 9, "rate_kbit_s": 200.0}]})
    ramp = bandwidth({"rate_kbit_s": 200.0, "ramp_from_kbit_s": 50.0, "ramp_s": 9.0})
    for fault in (trace, ramp):
        within = [verdicts(compare([fault], BEFORE, measured(way(rate_kbit_s=rate))))["rate up"] for rate in (39.0, 100.0, 241.0)]
        assert within == [False, True, False]


@pytest.mark.parametrize(("p50", "within"), [(200.0, True), (230.0, True), (1.0, False), (150.0, False), (400.0, False), (None, False)])
def test_a_round_trip_has_the_delays_that_were_asked(p50: float | None, within: bool) -> None:
    """100 ms each way: no less than a fifth below, no more than a fifth above."""
    asked = bandwidth({"delay_ms": 100.0}, {"delay_ms": 100.0})
    assert verdicts(compare([asked], BEFORE, measured(p50=p50)))["round trip"] is within


def test_the_time_on_the_wire_explains_a_round_trip() -> None:
    """At 0.15 kbit/s a packet of 72 bytes takes 3.84 s each way: 7.68 s on top of 9.6; without that rate it would be too long."""
    slow = {"rate_kbit_s": 0.15, "delay_ms": 4800.0}
    during = measured(way(rate_kbit_s=0.15), way(rate_kbit_s=0.15), p50=17_300.0)
    assert verdicts(compare([bandwidth(slow, slow)], BEFORE, during))["round trip"]
    assert not verdicts(compare([bandwidth({"delay_ms": 4800.0}, {"delay_ms": 4800.0})], BEFORE, during))["round trip"]


@pytest.mark.parametrize(("lost", "within"), [(8, True), (4, True), (15, True), (0, False), (60, False), (400, False)])
def test_a_loss_is_one_that_chance_would_show(lost: int, within: bool) -> None:
    """2 % of 400: eight or so. None at all, and a link that is much worse, are not what was asked."""
    rows = compare([bandwidth({"loss_percent": 2.0})], BEFORE, measured(way(400, 400 - lost)))
    assert verdicts(rows)["loss up"] is within


def test_too_few_packets_say_nothing() -> None:
    """1 % of 100 packets may well be none: not measured, and so not reached, whatever was seen. 300 are enough."""
    asked = bandwidth({"loss_percent": 1.0})
    for lost in (0, 1):
        (row,) = [row for row in compare([asked], BEFORE, measured(way(100, 100 - lost))) if row["what"] == "loss up"]
        assert row["within"] is False
        assert "not measured" in row["measured"]
    assert packets_needed(asked["up"]) == 300
    assert verdicts(compare([asked], BEFORE, measured(way(300, 297))))["loss up"]


@pytest.mark.parametrize(("received", "within"), [(400, True), (398, True), (300, False), (0, False)])
def test_where_no_loss_was_asked_there_is_hardly_any(received: int, within: bool) -> None:
    """A busy host may lose one or two."""
    assert verdicts(compare([bandwidth()], BEFORE, measured(way(400, received))))["loss up"] is within


BURSTY = {"burst": {"p_percent": 2.0, "r_percent": 20.0, "loss_in_bad_percent": 100.0, "loss_in_good_percent": 0.0}}


@pytest.mark.parametrize("seed", range(20))
def test_bursts_as_asked_are_reached(seed: int) -> None:
    """A link that is as asked, played with twenty seeds: loss and mean burst are within, each time."""
    during = measured(as_played(BURSTY, 4000, seed))
    assert set(verdicts(compare([bandwidth(BURSTY)], BEFORE, during)).values()) == {True}


@pytest.mark.parametrize("seed", range(20))
def test_the_same_loss_without_bursts_is_not_bursty(seed: int) -> None:
    """As much is lost, one by one: the loss is within, the burst is not."""
    during = measured(as_played({"loss_percent": 100 * asked_loss(BURSTY)}, 4000, seed))
    found = verdicts(compare([bandwidth(BURSTY)], BEFORE, during))
    assert (found["loss up"], found["burst up"]) == (True, False)


def test_a_handful_of_bursts_has_no_mean() -> None:
    """Of fewer than ten it is shown that they were not measured; no failure, because the loss was. Of neither, it is one."""

    def row(up: Row) -> Row:
        (found,) = [each for each in compare([bandwidth(BURSTY)], BEFORE, measured(up)) if each["what"] == "burst up"]
        return found

    assert "not measured" not in row(way(4000, 3600, bursts={"40": 9, "8": 5}))["measured"]
    few = row(way(4000, 3600, bursts={"45": 8, "40": 1}))
    assert (few["measured"], few["within"]) == ("not measured here: 9 bursts, 10 needed", True)
    assert row(way(50, 45, bursts={"5": 1}))["within"] is False


@pytest.mark.parametrize(("what", "counted"), [("duplicate", "duplicates"), ("reorder", "reordered")])
def test_duplicates_and_overtaking_are_seen(what: str, counted: str) -> None:
    """Some are there, none are not, and few packets say nothing."""
    asked = bandwidth({f"{what}_percent": 5.0, "delay_ms": 10.0})
    found = [
        verdicts(compare([asked], BEFORE, measured(way(n, n, **{counted: k}))))[f"{what} up"] for n, k in ((400, 20), (400, 0), (20, 1))
    ]
    assert found == [True, False, False]


def test_a_message_that_is_too_long_does_not_pass() -> None:
    """Where longer ones were sent, none arrived; one that did is the failure."""
    asked = bandwidth({"payload_bytes": 51})
    found = [verdicts(compare([asked], BEFORE, measured(way(longer=way(10, received)))))["longer than 51 bytes up"] for received in (0, 1)]
    assert found == [True, False]


SILENT = [
    Offline(fault="offline").model_dump(mode="json"),
    Jamming(fault="jamming", jammer="constant").model_dump(mode="json"),
    Jamming(fault="jamming", jammer="deceptive").model_dump(mode="json"),
]


@pytest.mark.parametrize("fault", SILENT, ids=lambda fault: fault.get("jammer") or "offline")
@pytest.mark.parametrize(("sent", "received", "within"), [(5, 0, True), (400, 0, True), (4, 0, False), (400, 1, False), (400, 400, False)])
def test_silence_is_five_sent_and_none_received(fault: Row, sent: int, received: int, within: bool) -> None:
    """One that arrives is enough to say that it is not silent; four that do not are not enough to say that it is."""
    up, _ = compare([fault], BEFORE, measured(way(sent, received), way(0, 0), None, None))
    assert up["within"] is within


@pytest.mark.parametrize("fault", SILENT, ids=lambda fault: fault.get("jammer") or "offline")
@pytest.mark.parametrize(("received", "deaf"), [(0, True), (40, False)])
def test_what_is_sent_down_tells_a_deceptive_jammer_from_a_constant_one(fault: Row, received: int, deaf: bool) -> None:
    """Under a deceptive one the device still hears, and under everything else that is silent it does not. What was not sent down is
    not measured: shown, and no failure."""
    _, down = compare([fault], BEFORE, measured(way(40, 0), way(40, received), None, None))
    assert down["within"] is (deaf is (fault.get("jammer") != "deceptive"))
    _, down = compare([fault], BEFORE, measured(way(40, 0), way(0, 0), None, None))
    assert down["within"] and down["measured"].startswith("not measured here")


def test_under_silence_nothing_else_is_judged() -> None:
    """A narrow link that is offline cannot show how narrow it is."""
    rows = compare([bandwidth({"rate_kbit_s": 20.0}), SILENT[0]], BEFORE, measured(way(50, 0), way(0, 0), None, None))
    assert [row["what"] for row in rows] == ["offline", "offline, down"]


@pytest.mark.parametrize(("lost", "within"), [(120, True), (300, True), (100, True), (0, False), (20, False)])
def test_a_jammer_that_answers_hits_what_it_is_asked_to(lost: int, within: bool) -> None:
    """30 % wake it, and what comes into its answer is lost as well: so at least 30 %, as far as chance goes."""
    jammer = Jamming(fault="jamming", jammer="reactive", probability_percent=30, answer_ms=100).model_dump(mode="json")
    (row,) = compare([jammer], BEFORE, measured(way(400, 400 - lost)))
    assert row["within"] is within


def test_a_fault_that_comes_and_goes_is_not_judged_by_one_moment() -> None:
    """Nobody knows whether it was on just then; what the light probe says of it is judged elsewhere."""
    timed = Offline(fault="offline", at_s=5, for_s=2).model_dump(mode="json")
    assert compare([timed, bandwidth({"rate_kbit_s": 5.0}, stage="sync")], BEFORE, measured()) == []


@pytest.mark.parametrize(
    ("after", "what"),
    [
        (measured(way(10, 6)), "loss up, afterwards"),
        (measured(down=way(10, 0)), "loss down, afterwards"),
        (measured(way(3, 3)), "loss up, afterwards"),
        (measured(p50=300.0), "round trip, afterwards"),
        (measured(p50=None), "round trip, afterwards"),
        (measured(way(rate_kbit_s=60.0)), "rate up, afterwards"),
    ],
)
def test_a_link_that_is_not_what_it_was_is_found(after: Row, what: str) -> None:
    """Each row has its own failure, and only that; the same as before is as before."""
    before = measured(way(rate_kbit_s=100.0), way())
    assert set(verdicts(restored(before, before)).values()) == {True}
    assert [name for name, within in verdicts(restored(before, after)).items() if not within] == [what]


@pytest.mark.parametrize(("leftover", "within"), [(0.0, True), (40.0, True), (60.0, False), (250.0, False)])
def test_a_busy_before_hides_no_delay_that_is_left_behind(leftover: float, within: bool) -> None:
    """One packet in twenty took 300 ms before: that excuses some fifty milliseconds, and not a delay that was never taken off."""
    found = restored(measured(p50=8.0, p95=300.0), measured(p50=8.0 + leftover, p95=300.0))
    assert verdicts(found)["round trip, afterwards"] is within


@pytest.mark.parametrize(("leftover", "within"), [(0.0, True), (1.0, True), (12.0, False)])
def test_the_shortest_round_trip_is_excused_by_nothing(leftover: float, within: bool) -> None:
    """A delay that is left behind is in each round trip, however busy the host was."""
    before, after = ({**measured(p50=8.0, p95=300.0), "rtt_min_ms": 2.0 + more} for more in (0.0, leftover))
    assert verdicts(restored(before, after)).get("shortest round trip, afterwards") is within


def test_a_rate_that_nobody_offered_is_not_missing_afterwards() -> None:
    """A device that sends less than before has not shown that the link carries less; what it sent must come."""
    before = measured(way(rate_kbit_s=1000.0))
    busy, lossy = (measured(way(rate_kbit_s=rate, offered_kbit_s=500.0)) for rate in (490.0, 200.0))
    assert [verdicts(restored(before, after))["rate up, afterwards"] for after in (busy, lossy)] == [True, False]


# ---- what came and went --------------------------------------------------------------------------------------------------------------

BOOT, OTHER = "a1" * 16, "b2" * 16
S = 1_000_000_000


def change(program: str, at_s: float, on: bool, boot: str = BOOT, word: str = "offline", fault: str = "offline") -> Row:
    return {"program": program, "fault": fault, "word": word, "on": on, "boottime_ns": int(at_s * S), "boot_id": boot}


def probe_log(arrives: Any, seconds: float = 60.0, boot: str = BOOT, from_s: float = 0.0, every_s: float = 0.2) -> list[Row]:
    """The far end's log of a light probe: the packets whose time of sending `arrives`."""
    found = []
    for number in range(int(seconds / every_s)):
        at_s = from_s + number * every_s
        if arrives(at_s):
            line = {"who": "w", "boot": boot[:16], "started_ms": int(from_s * 1000), "sequence": number, "sent_ns": int(at_s * S)}
            found.append({**line, "received_ns": int(at_s * S) + 1000, "echoes": 0, "rtt_us": 900})
    return found


GONE = [change("x.offline-1", 10, True), change("x.offline-1", 20, False)]


def test_silence_in_its_window_and_nowhere_else_is_reached() -> None:
    """Off at 10 s, on again at 20 s; the numbers tell what was sent between."""
    rows = from_link_log(GONE, probe_log(lambda at_s: not 10 <= at_s < 20))
    assert [row["within"] for row in rows] == [True, True]
    assert rows[0]["measured"].startswith("40 of 40 lost"), "a second at each end is left out"


@pytest.mark.parametrize(
    ("arrives", "within"),
    [
        (lambda at_s: True, [False, True]),
        (lambda at_s: not 10 <= at_s < 20 or at_s == 15.0, [False, True]),
        (lambda at_s: at_s < 10 or at_s > 40, [True, False]),
    ],
    ids=["it never came on", "one packet came through", "it never came off"],
)
def test_a_fault_that_was_not_as_said_is_found(arrives: Any, within: list[bool]) -> None:
    """The guard says that it was on from 10 to 20 s; the far end knows better."""
    assert [row["within"] for row in from_link_log(GONE, probe_log(arrives))] == within


def test_a_pause_of_the_probe_is_no_loss() -> None:
    """Started again after a pause, with the numbers going on: what is missing was sent at the pace of before, so in the window."""
    lines = probe_log(lambda at_s: not 10 <= at_s < 20, seconds=20)
    later = probe_log(lambda at_s: True, seconds=20, from_s=40)
    lines += [{**line, "sequence": line["sequence"] + 100, "started_ms": 0} for line in later]
    assert [row["within"] for row in from_link_log(GONE, lines)] == [True, True]


def test_short_windows_are_counted_together() -> None:
    """Twenty of half a second each: no single one has five packets, all of them have."""
    flapping = [change("x.offline-1", 0.5 + number / 2, number % 2 == 0) for number in range(40)]
    rows = from_link_log(flapping, probe_log(lambda at_s: not (at_s < 20.5 and (at_s * 10) % 10 >= 5), every_s=0.05))
    assert rows[0]["within"]
    assert int(rows[0]["measured"].split()[0]) >= 60


def test_what_a_power_cut_hides_is_not_measured() -> None:
    """On until the power went, and nothing came afterwards: nobody knows what was sent. With a window that was seen, it counts."""
    cut = [change("x.offline-1", 10, True), change("x.offline-1", 3, False, boot=OTHER)]
    lines = probe_log(lambda at_s: at_s < 10, seconds=30) + probe_log(lambda at_s: True, 20, OTHER, from_s=2)
    rows = from_link_log(cut, lines)
    assert [row["within"] for row in rows] == [False, True]
    assert "not measured" in rows[0]["measured"]
    again = [*cut[:1], change("x.offline-1", 4, True, boot=OTHER), change("x.offline-1", 14, False, boot=OTHER)]
    lines = probe_log(lambda at_s: at_s < 10, seconds=30) + probe_log(lambda at_s: at_s > 14, 20, OTHER, from_s=3)
    assert [row["within"] for row in from_link_log(again, lines)] == [True, True]


def test_under_another_fault_that_loses_packets_any_will_do() -> None:
    """Between two windows a link that loses nine of ten is as it must be; one that passes nothing is not."""
    lossy = [change("x.bandwidth-1", 0, True, word="90 % lost", fault="bandwidth"), *GONE]
    rows = from_link_log(lossy, probe_log(lambda at_s: not 10 <= at_s < 20 and int(at_s * 5) % 10 == 0))
    assert [row["within"] for row in rows] == [True, True]
    assert not from_link_log(GONE, probe_log(lambda at_s: not 10 <= at_s < 20 and int(at_s * 5) % 10 == 0))[1]["within"]


def test_a_jammer_that_answers_jams_some() -> None:
    """While it is on some are lost; none lost is none jammed."""
    on = [change("x.jamming-1", 10, True, word="reactive jammer, 30 %", fault="jamming"), change("x.jamming-1", 20, False, fault="jamming")]
    assert from_link_log(on, probe_log(lambda at_s: not (10 <= at_s < 20 and int(at_s * 5) % 3 == 0)))[0]["within"]
    assert not from_link_log(on, probe_log(lambda at_s: True))[0]["within"]


def told_log(up: Any, down: Any, seconds: float = 60.0, every_s: float = 0.2, rtt_ms: Any = lambda at_s: 9.0) -> list[Row]:
    """The far end's log of a light probe whose packets tell of the echoes: `up` and `down` say of a time whether a packet passes."""
    found, echoes, last = [], 0, 0
    for number in range(int(seconds / every_s)):
        at_s = number * every_s
        if up(at_s):
            line = {"who": "w", "boot": BOOT[:16], "started_ms": 0, "sequence": number, "sent_ns": int(at_s * S)}
            found.append({**line, "received_ns": int((at_s + 500) * S), "echoes": echoes, "rtt_us": last})
            if down(at_s):
                echoes, last = echoes + 1, int(rtt_ms(at_s) * 1000)
    return found


def fault_of(program: str, *windows: tuple[float, float]) -> list[Row]:
    return [change(program, at_s, on, fault="bandwidth") for window in windows for at_s, on in zip(window, (True, False), strict=True)]


def in_any(windows: Any, at_s: float) -> bool:
    return any(from_s <= at_s < to_s for from_s, to_s in windows)


BURSTS_OF_LOSS = {"burst": {"p_percent": 10.0, "r_percent": 10.0, "loss_in_good_percent": 30.0, "loss_in_bad_percent": 90.0}}
THREE, FIVE = ((10, 16), (19, 25), (28, 34)), tuple((10 + 4 * n, 12 + 4 * n) for n in range(5))
NAME = "x.bandwidth-1"


def played_inside(windows: Any, asked: Row, seed: int) -> Any:
    """Whether a packet passes: inside of the windows as `asked` plays it, outside always."""
    fates = iter(played(asked, 1000, seed))
    return lambda at_s: not (in_any(windows, at_s) and next(fates))


def judged(windows: Any, link: Row, up: Any, down: Any, **more: Any) -> dict[str, Row]:
    rows = from_link_log(fault_of(NAME, *windows), told_log(up, down, **more), {NAME: link}, BEFORE)
    return {row["what"].removeprefix(f"{NAME}, while it was on: "): row for row in rows}


@pytest.mark.parametrize("seed", range(20))
def test_bursts_of_loss_that_come_and_go_are_measured(seed: int) -> None:
    """Three times six seconds with five packets a second: few, and enough to say that it is this link, and not the one outside. How
    long a burst is cannot be told among other packets: shown, and no failure."""
    asked = bandwidth(BURSTS_OF_LOSS, BURSTS_OF_LOSS, at_s=1, for_s=6, every_s=9, times=3, stage="send")
    up, down = (played_inside(THREE, BURSTS_OF_LOSS, seed + shift) for shift in (0, 500))
    found = judged(THREE, asked, up, down)
    assert [what for what, row in found.items() if not row["within"]] == []
    assert found["burst up"]["measured"].startswith("not measured here")


@pytest.mark.parametrize(("way", "loss"), [("up", 0.0), ("up", 3.0), ("up", 100.0), ("down", 0.0), ("down", 3.0)])
def test_bursts_of_loss_that_were_none_are_found(way: str, loss: float) -> None:
    """Nothing lost in a direction, hardly anything, or all of it: each is another link than was asked."""
    asked = bandwidth(BURSTS_OF_LOSS, BURSTS_OF_LOSS, at_s=1, for_s=6, every_s=9, times=3, stage="send")
    # all three windows lose as asked in the one direction, and otherwise in the other
    ways = {each: played_inside(THREE, BURSTS_OF_LOSS if each != way else {"loss_percent": loss}, 7) for each in ("up", "down")}
    if way == "down":
        ways["up"] = played_inside(THREE, {"loss_percent": 50.0}, 7)  # so that enough of them come to be sent back
    assert not judged(THREE, asked, ways["up"], ways["down"])[f"loss {way}"]["within"]


def test_a_link_that_is_as_lossy_outside_shows_no_fault() -> None:
    """The fault never came off, or it is not the fault's doing: what is lost inside of the windows must be more than outside."""
    asked = bandwidth(BURSTS_OF_LOSS, at_s=1, for_s=6, every_s=9, times=3, stage="send")
    everywhere = played_inside(((0, 60),), {"loss_percent": 60.0}, 1)
    assert not judged(THREE, asked, everywhere, lambda at_s: True)["loss up"]["within"]


@pytest.mark.parametrize(
    ("down", "wrong"),
    [
        (lambda at_s: not in_any(FIVE, at_s), []),
        (lambda at_s: True, ["loss down"]),
        (lambda at_s: not in_any(FIVE, at_s) or 19.0 <= at_s <= 19.3, ["loss down"]),
        (lambda at_s: at_s < 10, ["loss down, while it was off"]),
    ],
    ids=["as asked", "never on", "one came through", "never off"],
)
def test_answers_that_are_not_heard_are_counted(down: Any, wrong: list[str]) -> None:
    """Everything upwards arrives, nothing comes back, for two seconds at a time: by the echoes that the packets tell of."""
    asked = bandwidth({}, {"loss_percent": 100.0}, at_s=1, for_s=2, every_s=4, times=5, stage="send")
    found = judged(FIVE, asked, lambda at_s: True, down)
    assert [what for what, row in found.items() if not row["within"]] == wrong


@pytest.mark.parametrize(
    ("inside_ms", "outside_ms", "within"), [(210.0, 9.0, True), (9.0, 9.0, False), (210.0, 210.0, False), (500.0, 9.0, False)]
)
def test_a_delay_that_comes_and_goes_is_measured(inside_ms: float, outside_ms: float, within: bool) -> None:
    """Half of the round trips inside of the window take what was asked, and more than those outside."""
    asked = bandwidth({"delay_ms": 100.0}, {"delay_ms": 100.0}, at_s=1, for_s=20)
    found = judged(((10, 30),), asked, *[lambda at_s: True] * 2, rtt_ms=lambda at_s: inside_ms if 10 <= at_s < 30 else outside_ms)
    assert found["round trip"]["within"] is within


def test_a_rate_that_comes_and_goes_is_not_measured() -> None:
    """Light packets do not fill a link: shown beside what was measured of the same fault; where that is nothing, not reached."""
    alone, delayed = (bandwidth({"rate_kbit_s": 64.0, "delay_ms": delay}, at_s=1, for_s=20) for delay in (0.0, 200.0))
    found = judged(((10, 30),), alone, lambda at_s: True, lambda at_s: True)
    assert (found["rate up"]["within"], found["loss up"]["within"]) == (False, True)
    found = judged(((10, 30),), delayed, *[lambda at_s: True] * 2, rtt_ms=lambda at_s: 230.0 if 10 <= at_s < 30 else 9.0)
    assert [what for what, row in found.items() if not row["within"]] == []
    assert found["rate up"]["measured"].startswith("not measured here")


def test_few_packets_of_one_direction_do_not_matter_if_the_other_tells() -> None:
    """One window, so that hardly any come back: the loss upwards is measured, and that downwards is shown not to be."""
    asked = bandwidth({"loss_percent": 90.0}, {"loss_percent": 90.0}, at_s=1, for_s=6)
    up, down = (played_inside(((10, 16),), {"loss_percent": 90.0}, seed) for seed in (1, 2))
    found = judged(((10, 16),), asked, up, down)
    assert found["loss down"]["measured"].startswith("not measured")
    assert (found["loss up"]["within"], found["loss down"]["within"]) == (True, True)
    found = judged(((10, 11),), asked, up, down)
    assert not found["loss up"]["within"], "of nothing at all that was measured, neither"


def test_a_fault_of_somebody_elses_package_is_said_to_be_measured_by_nobody() -> None:
    """That it was on is all that is known."""
    link = {"fault": "external", "name": "fog", "settings": {}}
    named_so = {"x.fog-1": link}
    assert named([link], "x") == named_so
    (row,) = from_link_log([change("x.fog-1", 1, True, fault="fog"), change("x.fog-1", 5, False, fault="fog")], [], named_so)
    assert (row["measured"], row["within"]) == ("nobody measures it", True)
    (row,) = from_link_log([], [], named_so)
    assert not row["within"]


def test_what_a_flood_kept_out_of_the_log_is_no_outage() -> None:
    """Packets came and were not logged, in the middle of a window: it is not measured; another window is, and so is the rest."""
    twice = [*GONE, change("x.offline-1", 30, True), change("x.offline-1", 40, False)]
    lines = probe_log(lambda at_s: not (10 <= at_s < 20 or 30 <= at_s < 40))
    ahead = lines[0]["received_ns"] - lines[0]["sent_ns"]
    flood = [{"not_logged": 40, "who": "w", "from_ns": 13 * S + ahead, "received_ns": 17 * S + ahead}]
    (first, *_), (both, *_) = (from_link_log(faults, lines, unlogged=flood) for faults in (GONE, twice))
    assert (first["within"], first["measured"]) == (False, "not measured: packets came and were not logged")
    assert (both["within"], both["measured"]) == (True, "40 of 40 lost, 100 %")
    elsewhere = [{"not_logged": 40, "received_ns": 50 * S + ahead}]
    assert from_link_log(GONE, lines, unlogged=elsewhere)[0]["within"]


def test_a_step_that_took_long_is_neither_inside_nor_outside() -> None:
    """On from 8 s on at the earliest, and until 23 s at the latest: what is lost or passes in between says nothing."""
    slow = [{**GONE[0], "began_ns": 8 * S}, {**GONE[1], "began_ns": 18 * S, "done_ns": 23 * S}]
    rows = from_link_log(slow, probe_log(lambda at_s: not 8.5 <= at_s < 18.2))
    assert [(row["within"], row["measured"].split(",")[0]) for row in rows] == [(True, "30 of 30 lost"), (True, "215 of 215 received")]


def test_constant_is_what_can_be_measured_at_once() -> None:
    """Not what comes and goes, by its own times or by chance; nor what nobody knows."""
    assert all(map(constant, [*SILENT, bandwidth()]))
    timed = [Offline(fault="offline", **when).model_dump(mode="json") for when in ({"at_s": 1}, {"for_s": 1}, {"stage": "send"})]
    by_chance = Jamming(fault="jamming", jammer="random", mean_on_s=1, mean_off_s=1).model_dump(mode="json")
    assert not any(map(constant, [*timed, by_chance, {"fault": "external", "name": "fog"}]))


def test_without_such_faults_nothing_is_said() -> None:
    """Bandwidth is measured otherwise."""
    assert from_link_log([change("x.bandwidth-1", 0, True, fault="bandwidth")], probe_log(lambda at_s: True)) == []
    assert from_link_log([], []) == []


@settings(deadline=None, max_examples=10)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "boot": st.sampled_from([BOOT[:16], OTHER[:16], "", "a"]),
                **dict.fromkeys(("started_ms", "sequence"), st.integers(0, 2**32 - 1)),
                **dict.fromkeys(("sent_ns", "received_ns", "echoes", "rtt_us"), st.integers(0, 2**63)),
            }
        ),
        max_size=6,
    )
)
def test_whatever_a_device_claims_costs_little(lines: list[Row]) -> None:
    """Numbers and times without sense: rows, no error, and a bounded number of packets in memory."""
    assert len(packets_sent(lines)) <= len(lines) + MAX_MISSING
    for row in from_link_log(GONE, lines):
        assert set(row) == {"what", "asked", "measured", "tolerance", "within"}
        assert said(row)
