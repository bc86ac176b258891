"""Page and chart of the link profiles, made of results that were written down; nothing is measured here."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.links import chart, page
from benchmarks.links.__main__ import CHART, PAGE, RESULTS, WATCHED_S, not_alone, results_of, shipped, watched_s
from benchmarks.links.kept import Kept
from benchmarks.page import into

GOOD = {"sent": 200, "received": 200, "bursts": {}, "rate_kbit_s": None}
BEFORE = {"up": GOOD, "down": GOOD, "echoes": 200, "rtt_p50_ms": 5.0, "rtt_p95_ms": 9.0}
NARROW: dict[str, Any] = {
    "fault": "bandwidth", "up": {"rate_kbit_s": 26.8, "delay_ms": 500.0}, "down": {"rate_kbit_s": 53.6, "delay_ms": 500.0},
}  # fmt: skip
ABOUT = {"device": "qemu-pi", "what": "a board", "machine": {"cores": "2"}}
NOTHING_PASSES = {"what": "try.offline-1, while it was on", "asked": "nothing passes", "measured": "47 of 47 lost, 100 %", "tolerance": ""}


def kept(up_kbit_s: float = 26.1, **more: Any) -> Kept:
    during = {"up": {**GOOD, "rate_kbit_s": up_kbit_s}, "down": {**GOOD, "rate_kbit_s": 52.0}, "rtt_p50_ms": 1040.0, "rtt_p95_ms": 1100.0}
    said = {"name": "gprs", "title": "GPRS", "does": "", "links": [NARROW], "before": BEFORE, "during": during, "after": BEFORE}
    return Kept(**{**said, "seconds": 37.4, **more})


AWAY = Kept("flapping", "", "", came_and_went=[{**NOTHING_PASSES, "within": True}], before=BEFORE, after=BEFORE)
TIED = Kept("edge-003-gone", "", "", why="it is tied to the stage forward of its entry")


def test_each_thing_asked_is_a_row() -> None:
    """What, asked, measured, tolerance and whether it is within; the profile and its seconds once. What was not measured says why."""
    text = page.markdown([kept(), AWAY, TIED], ABOUT)
    assert "| `gprs` | rate up | 26.8 kbit/s | 26.1 kbit/s | 21.44 to 32.16 | yes | 37 |" in text
    assert "|  | round trip | 1000 ms | 1040 ms |" in text
    assert "| `flapping` | try.offline-1, while it was on | nothing passes | 47 of 47 lost, 100 % |  | yes | 0 |" in text
    assert "| reached | 2 of 2 profiles |" in text
    assert "- `edge-003-gone`: it is tied to the stage forward of its entry" in text


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (kept(), "reached"),
        (kept(up_kbit_s=900.0), "not reached: rate up"),
        (Kept("x", "", "", before=BEFORE, after=BEFORE), "not reached: nothing was measured"),
        (kept(after={}), "reached; NOT AS IT WAS AFTERWARDS"),
        (kept(after={**BEFORE, "rtt_p50_ms": 1000.0}), "reached; NOT AS IT WAS AFTERWARDS"),
        (TIED, "it is tied to the stage forward of its entry"),
    ],
)
def test_a_verdict_is_words(found: Kept, said: str) -> None:
    """What is not reached, or not as it was, is never a colour alone; nothing measured is not reached."""
    assert found.verdict == said


def test_the_chart_says_what_it_draws() -> None:
    """Well-formed, with a title and a description; what is outside of its tolerance is a cross, and in words beside it."""
    picture = ElementTree.fromstring(chart.svg([kept(), kept(900.0, name="wide"), AWAY, TIED]))
    words = "".join(picture.itertext())
    assert "Asked against measured for 3 link profiles; 2 of them reached" in words
    assert "not reached: rate up" in words and "nothing passes: 47 of 47 lost, 100 %" in words
    assert "edge-003-gone" not in words
    crosses = [each for each in picture.iter() if each.get("class") == "outside"]
    assert len(crosses) == 1
    assert "prefers-color-scheme: dark" in words


def test_what_is_off_the_scale_stands_at_its_end() -> None:
    """And in the order of what it is."""
    assert chart.RATE.x(1e9) == chart.RATE.x(chart.RATE.highest) > chart.RATE.x(1000) > chart.RATE.x(0.15) > chart.RATE.x(0)


def test_what_is_tied_to_a_stage_is_not_tried_alone() -> None:
    """Those say so; everything else that is shipped and does something to a link is tried."""
    every = shipped()
    tied = {name for name, profile in every.items() if not_alone(profile)}
    assert tied == {name for name, profile in every.items() if any(link.stage for link in profile.links)}
    assert len(every) - len(tied) >= 25


def test_what_comes_and_goes_is_watched_for_a_bounded_time() -> None:
    """Until it has come a few times, or for a while, but once to its end; what is on all the time is measured at once."""
    watched = {name: watched_s(profile.links) for name, profile in shipped().items()}
    assert watched["gprs"] == 0.0 < watched["jam-constant"] < watched["jam-random"] == WATCHED_S
    assert watched["offline-minutes"] > 120 > WATCHED_S


@pytest.mark.skipif(not RESULTS.exists(), reason="nobody has measured yet")
def test_the_page_and_the_chart_are_made_from_the_results() -> None:
    """Neither was edited by hand, and every shipped profile is in them, measured or with the reason why not."""
    import json

    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    every = results_of(results)
    text = PAGE.read_text(encoding="utf-8")
    assert into(text, page.markdown(every, results)) == text
    assert chart.svg(every) == CHART.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in shipped())
    assert re.search(r"images/links\.svg", text)
