"""The page of heat and scarcity, made of answers that were written down; nothing is tried here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.heat_and_scarcity import page
from benchmarks.heat_and_scarcity.__main__ import PAGE, RESULTS, results_of, shipped
from benchmarks.heat_and_scarcity.kept import Kept, kept_of
from benchmarks.page import into

ABOUT = {"device": "qemu-pi", "what": "a board", "machine": {"cores": "2"}}
CAP = {"what": "limit of memory", "asked": "64.0 MiB", "measured": "64.0 MiB", "tolerance": "", "within": True}
GONE = {"what": "the group", "asked": "gone", "measured": "gone", "tolerance": "", "within": True}
ANSWER: dict[str, Any] = {
    "schema": "stageflow-runner/1", "exit_code": 0, "device": "qemu-pi", "profiles": ["memory-64m"], "on": ["64 MiB"],
    "rows": {"before": [], "during": [CAP], "after": [GONE]}, "reached": True, "reverted": True,
}  # fmt: skip


def answer(**changes: Any) -> Kept:
    return kept_of("memory-64m", "64 MiB", {**ANSWER, **changes}, 41.2, 1)


def failed(exit_code: int, found: str) -> Kept:
    return kept_of("memory-64m", "64 MiB", {"exit_code": exit_code, "error": {"found": found}}, 41.2, 2)


def test_each_thing_asked_is_a_row() -> None:
    """What, asked, measured and whether it is within; the profile and its seconds once. What was refused was not tried, and says why."""
    text = page.markdown([answer(), failed(2, "no clock may be turned")], ABOUT)
    assert "| `memory-64m` | limit of memory | 64.0 MiB | 64.0 MiB |  | yes | 41 |" in text
    assert "| reached | 1 of 1 profiles |" in text
    assert "- `memory-64m`: no clock may be turned" in text


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (answer(), "reached"),
        (answer(reached=False, rows={"during": [{**CAP, "within": False}], "after": [GONE]}), "not reached: limit of memory"),
        (answer(reached=False, rows={}), "not reached: nothing was measured"),
        (answer(reverted=False, rows={"during": [CAP], "after": [{**GONE, "within": False}]}), "NOT AS IT WAS AFTERWARDS: the group"),
        (answer(reverted=False, rows={"during": [CAP]}), "NOT AS IT WAS AFTERWARDS: nobody looked"),
        (failed(3, "qemu-pi is quarantined"), "qemu-pi is quarantined"),
        (failed(2, "no clock may be turned"), "no clock may be turned"),
    ],
)
def test_a_verdict_is_words(found: Kept, said: str) -> None:
    """What is not reached, not as it was, or was stopped, is never a table alone; nothing measured is not reached."""
    assert said in found.verdict
    assert (found.reached and found.reverted) == (found.verdict == "reached")


def test_what_was_stopped_counts_as_not_reached() -> None:
    """Its reason stands where the figures would."""
    text = page.markdown([failed(3, "qemu-pi is quarantined")], ABOUT)
    assert "| reached | 0 of 1 profiles |" in text
    assert "| `memory-64m` | – | – | qemu-pi is quarantined | – | **no** | 41 |" in text


def test_every_shipped_profile_has_its_place() -> None:
    """Tried, or with the reason why not; and what is no fault of the device is none of these."""
    names = set(shipped())
    assert {"memory-64m", "disk-full", "clock-drift", "heat-ramp", "fan-failure"} <= names
    assert not names & {"gprs", "steady", "edge-001-cuts"}
    assert [each.name for each in results_of({"profiles": {}}, shipped())] == sorted(names)


def test_the_page_is_what_the_results_say() -> None:
    """Made again from results.json it is the same to the letter."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    assert into(text, page.markdown(results_of(kept, shipped()), kept)) == text
    assert kept["profiles"], "somebody has tried them"
