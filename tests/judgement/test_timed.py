"""What came and went: each kind of row has a log of packets that it takes and one that it must not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.judgement.asked import named
from runner.judgement.light_log import MAX_MISSING, packets_sent
from runner.judgement.side_by_side import said
from runner.judgement.timed import from_link_log

from .made_links import BEFORE, SILENT, bandwidth, played

Row = dict[str, Any]

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
OFFLINE = {"x.offline-1": SILENT[0]}


def test_silence_in_its_window_and_nowhere_else_is_reached() -> None:
    """Off at 10 s, on again at 20 s; the numbers tell what was sent between."""
    rows = from_link_log(GONE, probe_log(lambda at_s: not 10 <= at_s < 20), OFFLINE)
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
    assert [row["within"] for row in from_link_log(GONE, probe_log(arrives), OFFLINE)] == within


def test_a_pause_of_the_probe_is_no_loss() -> None:
    """Started again after a pause, with the numbers going on: what is missing was sent at the pace of before, so in the window."""
    lines = probe_log(lambda at_s: not 10 <= at_s < 20, seconds=20)
    later = probe_log(lambda at_s: True, seconds=20, from_s=40)
    lines += [{**line, "sequence": line["sequence"] + 100, "started_ms": 0} for line in later]
    assert [row["within"] for row in from_link_log(GONE, lines, OFFLINE)] == [True, True]


def test_short_windows_are_counted_together() -> None:
    """Twenty of half a second each: no single one has five packets, all of them have."""
    flapping = [change("x.offline-1", 0.5 + number / 2, number % 2 == 0) for number in range(40)]
    rows = from_link_log(flapping, probe_log(lambda at_s: not (at_s < 20.5 and (at_s * 10) % 10 >= 5), every_s=0.05), OFFLINE)
    assert rows[0]["within"]
    assert int(rows[0]["measured"].split()[0]) >= 60


def test_what_a_power_cut_hides_is_not_measured() -> None:
    """On until the power went, and nothing came afterwards: nobody knows what was sent. With a window that was seen, it counts."""
    cut = [change("x.offline-1", 10, True), change("x.offline-1", 3, False, boot=OTHER)]
    lines = probe_log(lambda at_s: at_s < 10, seconds=30) + probe_log(lambda at_s: True, 20, OTHER, from_s=2)
    rows = from_link_log(cut, lines, OFFLINE)
    assert [row["within"] for row in rows] == [False, True]
    assert "not measured" in rows[0]["measured"]
    again = [*cut[:1], change("x.offline-1", 4, True, boot=OTHER), change("x.offline-1", 14, False, boot=OTHER)]
    lines = probe_log(lambda at_s: at_s < 10, seconds=30) + probe_log(lambda at_s: at_s > 14, 20, OTHER, from_s=3)
    assert [row["within"] for row in from_link_log(again, lines, OFFLINE)] == [True, True]


def test_what_a_power_cut_hides_is_known_from_the_devices_journal() -> None:
    """Its last sample says how many were sent; so what went into the window is counted, and lost. What came is not counted twice."""
    cut = [change("x.offline-1", 10, True), change("x.offline-1", 3, False, boot=OTHER)]
    lines = probe_log(lambda at_s: at_s < 10, seconds=30)
    journaled = [{"boot": BOOT[:16], "started_ms": 0, "sent": sent, "at_ns": at_s * S} for sent, at_s in ((40, 8), (100, 20), (95, 19))]
    (row, *_) = from_link_log(cut, lines, OFFLINE, journaled=journaled)
    assert row["within"]
    assert row["measured"].startswith("45 of 45 lost"), "from a second after the first step to the sample"
    for other in ({"sent": 50}, {"boot": OTHER[:16]}, {"at_ns": 10 * S}):
        (row, *_) = from_link_log(cut, lines, OFFLINE, journaled=[{**journaled[1], **other}])
        assert not row["within"], f"nothing of it was sent into the window: {other}"


def test_a_packet_that_the_power_caught_on_its_way_is_not_lost_by_the_link() -> None:
    """What a slow link still held when the power went says nothing about the link: only where nothing was to pass is it counted."""
    lines = probe_log(lambda at_s: at_s < 10, seconds=30)
    journaled = [{"boot": BOOT[:16], "started_ms": 0, "sent": 100, "at_ns": 20 * S}]
    asked = {NAME: bandwidth({"loss_percent": 0.0, "delay_ms": 5000.0}, for_s=60.0)}
    for known in ((), journaled):
        rows = from_link_log([change(NAME, 0, True, fault="bandwidth")], lines, asked, BEFORE, journaled=known)
        assert any(row["what"].endswith("loss up") and row["measured"].startswith("0 of ") for row in rows), rows


def test_a_life_of_the_probe_of_which_nothing_came_is_counted_from_its_start() -> None:
    """A boot that began and ended inside of an outage."""
    dark = [change("x.offline-1", 10, True), change("x.offline-1", 3, False, boot=OTHER)]
    lines = probe_log(lambda at_s: at_s < 5, seconds=5) + probe_log(lambda at_s: True, 20, OTHER, from_s=2)
    journaled = [{"boot": BOOT[:16], "started_ms": 12_000, "sent": 40, "at_ns": 20 * S}]
    (row, *_) = from_link_log(dark, lines, OFFLINE, journaled=journaled)
    assert row["measured"].startswith("40 of 40 lost")


def test_under_another_fault_that_loses_packets_any_will_do() -> None:
    """Between two windows a link that loses nine of ten is as it must be; one that passes nothing is not."""
    lossy = [change("x.bandwidth-1", 0, True, word="90 % lost", fault="bandwidth"), *GONE]
    tenth = probe_log(lambda at_s: not 10 <= at_s < 20 and int(at_s * 5) % 10 == 0)
    rows = from_link_log(lossy, tenth, {**OFFLINE, NAME: bandwidth({"loss_percent": 90.0})})
    assert [row["within"] for row in rows] == [True, True]
    assert not from_link_log(GONE, tenth, OFFLINE)[1]["within"]


def jammed(jammer: str, word: str, arrives: Any, **more: Any) -> list[Row]:
    """What is said of a jammer that was planned so, and that the device calls otherwise, or not."""
    on = [change("x.jamming-1", 10, True, word=word, fault="jamming"), change("x.jamming-1", 20, False, fault="jamming")]
    return from_link_log(on, probe_log(arrives), {"x.jamming-1": {"fault": "jamming", "jammer": jammer, **more}})


def one_third(at_s: float) -> bool:
    return not (10 <= at_s < 20 and int(at_s * 5) % 3 == 0)


def test_a_jammer_that_answers_jams_some() -> None:
    """While it is on some are lost; none lost is none jammed."""
    assert jammed("reactive", "reactive jammer, 30 %", one_third)[0]["within"]
    assert not jammed("reactive", "reactive jammer, 30 %", lambda at_s: True)[0]["within"]


@pytest.mark.parametrize("word", ["reactive: whatever", "deceptive jammer", ""])
def test_what_a_device_calls_a_fault_changes_nothing(word: str) -> None:
    """The plan says which jammer it is: nothing passes a constant one, and one that answers need not hit everything."""
    assert not jammed("constant", word, one_third)[0]["within"]
    assert jammed("reactive", word, one_third)[0]["within"]
    asked = [row["asked"] for row in jammed("constant", word, lambda at_s: not 10 <= at_s < 20, at_s=1)]
    assert asked == ["nothing passes", "nothing passes", "it passes"]


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


@pytest.mark.parametrize(
    ("down", "wrong"),
    [
        (lambda at_s: not in_any(FIVE, at_s), []),
        (lambda at_s: True, ["loss down"]),
        (lambda at_s: False, ["loss down, while it was off"]),
    ],
    ids=["as asked", "never on", "never off"],
)
def test_answers_that_are_not_heard_are_counted_while_a_jammer_answers_what_is_sent(down: Any, wrong: list[str]) -> None:
    """Two profiles at once: a third of the packets is jammed all along, and of those that come the answers are lost in the windows."""
    link = bandwidth({}, {"loss_percent": 100.0}, at_s=1, for_s=2, every_s=4, times=5, stage="send")
    jammer = {"fault": "jamming", "jammer": "reactive", "probability_percent": 33.0}
    on = [change("x.jamming-1", 0, True, fault="jamming"), *fault_of(NAME, *FIVE), change("x.jamming-1", 60, False, fault="jamming")]
    rows = from_link_log(on, told_log(lambda at_s: int(at_s * 5) % 3 != 0, down), {NAME: link, "x.jamming-1": jammer}, BEFORE)
    assert [row["what"].removeprefix(f"{NAME}, while it was on: ") for row in rows if not row["within"]] == wrong
    assert any(row["tolerance"] == "not judged: a jammer answers what is sent" for row in rows)


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
    (first, *_), (both, *_) = (from_link_log(faults, lines, OFFLINE, unlogged=flood) for faults in (GONE, twice))
    assert (first["within"], first["measured"]) == (False, "not measured: packets came and were not logged")
    assert (both["within"], both["measured"]) == (True, "40 of 40 lost, 100 %")
    elsewhere = [{"not_logged": 40, "received_ns": 50 * S + ahead}]
    assert from_link_log(GONE, lines, OFFLINE, unlogged=elsewhere)[0]["within"]


def test_a_step_that_took_long_is_neither_inside_nor_outside() -> None:
    """On from 8 s on at the earliest, and until 23 s at the latest: what is lost or passes in between says nothing."""
    slow = [{**GONE[0], "began_ns": 8 * S}, {**GONE[1], "began_ns": 18 * S, "done_ns": 23 * S}]
    rows = from_link_log(slow, probe_log(lambda at_s: not 8.5 <= at_s < 18.2), OFFLINE)
    assert [(row["within"], row["measured"].split(",")[0]) for row in rows] == [(True, "30 of 30 lost"), (True, "215 of 215 received")]


def test_without_such_faults_nothing_is_said() -> None:
    """Bandwidth is measured otherwise."""
    assert from_link_log([change(NAME, 0, True, fault="bandwidth")], probe_log(lambda at_s: True), {NAME: bandwidth()}) == []
    assert from_link_log([], [], {}) == []


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
    for row in from_link_log(GONE, lines, OFFLINE):
        assert set(row) == {"what", "asked", "measured", "tolerance", "within"}
        assert said(row)
