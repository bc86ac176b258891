"""How a link is measured: how much is sent over links of each speed, and what of it is said. No packet is sent here."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from runner.errors import LabError
from runner.judgement import reached
from runner.judgement.chance import FEWEST, packets_needed
from runner.model.profile import Bandwidth, Burst, Direction, Jamming, Link, Offline, Pace
from runner.story import arming as links
from runner.story import measure
from runner.story.measure import ETHERNET_BYTES, FEWEST_ROUND_TRIPS, LONGEST_S, Expected, Probe

OPEN = Direction()


def bandwidth(**up: Any) -> Bandwidth:
    return Bandwidth(fault="bandwidth", up=Direction(**up), down=Direction(**up))


# ---- how much is sent -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("longest_s", [30.0, LONGEST_S])
@pytest.mark.parametrize("rate_kbit_s", [0.15, 0.264, 0.547, 2.4, 9.6, 62.0, 2000.0])
def test_enough_packets_go_over_the_slowest_link(rate_kbit_s: float, longest_s: float) -> None:
    """As many as are judged, and never as fast as the link is: what is lost must be lost by chance."""
    rate, duration_s = measure._round_trips_of(rate_kbit_s, 200, longest_s)
    packets = duration_s * 1000 * rate / (measure.SMALL_BYTES * 8)
    assert packets >= FEWEST_ROUND_TRIPS > FEWEST
    assert rate <= rate_kbit_s * 0.61
    assert duration_s <= max(longest_s, FEWEST_ROUND_TRIPS * measure.SMALL_BYTES * 8 / 1000 / (rate_kbit_s * 0.6)) + 0.1


def test_a_rare_loss_is_looked_for_in_more_packets() -> None:
    """One in a hundred cannot be told from none in two hundred, nor thirty in a hundred in bursts of ten in a few dozen."""
    (rare, bursts, none) = (
        links.expected_of([each]).packets
        for each in (
            bandwidth(loss_percent=1.0),
            bandwidth(burst=Burst(p_percent=4.286, r_percent=10.0)),
            bandwidth(rate_kbit_s=64.0),
        )
    )
    assert rare > 300 / 0.99
    assert bursts >= 1.2 * packets_needed(bandwidth(burst=Burst(p_percent=4.286, r_percent=10.0)).up.model_dump(mode="json"))
    assert none == Expected().packets


def test_what_comes_down_a_lossy_link_is_enough_although_fewer_went_up() -> None:
    """Half of them never arrive, so twice as many are sent."""
    asked = bandwidth(loss_percent=50.0)
    assert links.expected_of([asked]).packets * 0.5 >= packets_needed(asked.down.model_dump(mode="json"))


def test_the_longest_delay_of_a_trace_is_waited_for() -> None:
    """A trace has no `delay_ms`; its worst point is what an answer may take."""
    trace = (Pace(at_s=0, delay_ms=16.0), Pace(at_s=14, delay_ms=70.0))
    asked = Bandwidth(fault="bandwidth", up=Direction(trace=trace), down=Direction(delay_ms=5.0))
    assert links.expected_of([asked]).round_trip_ms == 75.0


# ---- what is said of it ---------------------------------------------------------------------------------------------------


class Link_:
    """A device and a far end with nothing between them but a rate: what more is sent does not arrive. `device_kbit_s` is what a
    busy device manages to send. They count frames, as the probe does."""

    def __init__(self, link_kbit_s: float, device_kbit_s: float = 1e9, **lies: Any) -> None:
        self.link_kbit_s, self.device_kbit_s, self.arriving, self.lies = link_kbit_s, device_kbit_s, 0.0, lies

    async def device(self, do: str, **words: Any) -> dict[str, Any]:
        if do in ("probe_start", "probe_stop"):
            return {}
        if do == "probe_catch":
            await asyncio.sleep(0)
            return {"rate_kbit_s": self.arriving, "sent": 1, "received": 1, **self.lies}
        return {**self._sent(words, self.device_kbit_s), "echoes": 9, "rtt_p50_ms": 1.0, "rtt_p95_ms": 1.0, **self.lies}

    async def far_end(self, do: str, **words: Any) -> dict[str, Any]:
        if do == "send":
            return self._sent(words, 1e9)
        return {"rate_kbit_s": self.arriving, "received": words.get("sent", 0), "bursts": {}, "duplicates": 0, "reordered": 0}

    def _sent(self, words: dict[str, Any], most_kbit_s: float) -> dict[str, Any]:
        framed = min(words["rate_kbit_s"], most_kbit_s)
        size = words["size"]
        self.arriving = min(framed, self.link_kbit_s * size / (size - ETHERNET_BYTES))
        return {"sent": round(framed * 1000 / 8 / size * words["duration_s"]), "took_s": words["duration_s"]}

    def probe(self, clock: Any) -> Probe:
        session, far_end = SimpleNamespace(ask=self.device), SimpleNamespace(ask=self.far_end)
        return Probe(session, far_end, "10.77.0.1", "w", clock)  # type: ignore[arg-type]

    def measured(self, asked_kbit_s: float, clock: Any) -> dict[str, Any]:
        return asyncio.run(measure.measure(self.probe(clock), Expected(asked_kbit_s, asked_kbit_s)))


@pytest.mark.parametrize("rate_kbit_s", [0.25, 9.6, 256.0])
def test_a_rate_is_one_of_ip_packets(rate_kbit_s: float, clock: Any) -> None:
    """The probe counts Ethernet's header, which is a sixth of a small packet; a shaper is told to leave it out. So it is taken off."""
    found = Link_(rate_kbit_s).measured(rate_kbit_s, clock)
    for way in ("up", "down"):
        assert found[way]["rate_kbit_s"] == pytest.approx(rate_kbit_s, rel=0.01)
        assert found[way]["offered_kbit_s"] == pytest.approx(rate_kbit_s * measure.OVERFILL, rel=0.12)


def test_a_link_that_is_not_slow_is_seen(clock: Any) -> None:
    """The negative control: everything that is sent arrives, and that is more than was asked."""
    found = Link_(1e6).measured(256.0, clock)
    assert found["up"]["rate_kbit_s"] > 256.0 * 1.2


def test_a_link_at_rest_has_rates_too(clock: Any) -> None:
    """As far as it is filled to find out; afterwards it must carry no less. A narrower one is seen by that alone."""
    before, after = (asyncio.run(measure.at_rest(Link_(rate).probe(clock))) for rate in (1e6, 700.0))
    assert before["up"]["rate_kbit_s"] >= measure.OPEN_KBIT_S
    wrong = [row["what"] for row in reached.restored(before, after) if not row["within"]]
    assert wrong == ["rate up, afterwards", "rate down, afterwards"]
    assert all(row["within"] for row in reached.restored(before, before))


def test_a_device_that_cannot_fill_the_link_is_said_to_be_it(clock: Any) -> None:
    """Not the link was too slow: nobody knows how fast it is."""
    found = Link_(6000.0, device_kbit_s=2000.0).measured(6000.0, clock)
    rows = {row["what"]: row for row in reached.compare([bandwidth(rate_kbit_s=6000.0).model_dump(mode="json")], found, found)}
    assert rows["rate up"]["measured"].startswith("not measured: only 1979 ")
    assert not rows["rate up"]["within"]
    assert rows["rate down"]["within"]


@pytest.mark.parametrize("lie", ["fast", -1, True, [1], float("nan"), 2**60, {"a": 1}], ids=repr)
@pytest.mark.parametrize("key", ["rtt_p50_ms", "rtt_p95_ms", "echoes", "rate_kbit_s"])
def test_a_device_that_counts_nonsense_is_an_error_of_the_lab(key: str, lie: Any, clock: Any) -> None:
    """It is said which number, and what it was; nothing is judged by it."""
    with pytest.raises(LabError, match=f"the device says that it measured {key}"):
        Link_(64.0, **{key: lie}).measured(64.0, clock)


# ---- what is measured at once ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "at_once"),
    [
        (bandwidth(rate_kbit_s=64.0), True),
        (bandwidth(trace=(Pace(at_s=0, delay_ms=16.0), Pace(at_s=14, delay_ms=70.0))), True),
        (bandwidth(rate_kbit_s=64.0).model_copy(update={"at_s": 5.0}), False),
        (Offline(fault="offline"), True),
        (Offline(fault="offline", stage="send"), False),
        (Offline(fault="offline", for_s=5.0), False),
        (Jamming(fault="jamming", jammer="reactive", probability_percent=33.0, answer_ms=200.0), True),
        (Jamming(fault="jamming", jammer="random", mean_on_s=4.0, mean_off_s=6.0), False),
    ],
)
def test_only_what_is_on_all_the_time_is_measured_at_once(held: Link, at_once: bool) -> None:
    """A trace is, by its range; what comes and goes is read from the log of the light probe."""
    assert links.constant([held]) is at_once


# ---- at rest --------------------------------------------------------------------------------------------------------------


def test_a_board_is_measured_when_it_is_calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Just started it is busy: the calmest of a few is what others are held against, and calm enough ends it."""
    trips = iter([800.0, 90.0, 20.0, 5.0])
    asked: list[str] = []

    async def measured(*_: Any) -> dict[str, Any]:
        return {"up": {}, "down": {}, "echoes": 0, "rtt_p95_ms": next(trips)}

    async def ask(do: str, **_: Any) -> dict[str, Any]:
        asked.append(do)
        return {}

    monkeypatch.setattr(measure, "measure", measured)
    probe = Probe(SimpleNamespace(ask=ask), SimpleNamespace(), "10.77.0.1", "w", SimpleNamespace())  # type: ignore[arg-type]
    asyncio.run(measure.at_rest(probe))
    assert next(trips) == 5.0
    assert asked == ["probe_start", "probe_stop"]
