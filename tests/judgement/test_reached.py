"""Asked and measured: each kind of row has a measurement that it takes and one that it must not."""

from __future__ import annotations

from typing import Any

import pytest

from runner.judgement.asked import asked_loss
from runner.judgement.chance import packets_needed
from runner.judgement.reached import compare, restored
from runner.model.profile import Jamming, Offline

from .made_links import BEFORE, SILENT, as_played, bandwidth, measured, verdicts, way

Row = dict[str, Any]


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
